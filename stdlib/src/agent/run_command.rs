//! `run_command`: runs a script on a machine, through its agent.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use relight_engine::SecretRef;

use super::{COMMAND_FAILED, Host};
use crate::prelude::*;
use crate::reconcile::{Advanced, Change, DesiredState, Known, Look, Request};

/// How long a script may run, when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long Azure may take for all around it.
const AROUND: Duration = Duration::from_secs(20 * 60);
/// How long the removal of what has ended is waited for.
const REMOVED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Runs a script on a machine as its administrator, and waits for its end. Each call has a name of its own, under which it is looked
/// for before anything is sent again, and is removed from Azure when its end is on record. The text of the script is kept
/// there until then: secrets belong into `secrets`. Inferred: what Azure keeps of the output are its last 4 KiB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Machine: its name, its resource id, or a value with an `id`.
    machine: Ref,
    /// Script: for `sh` on Linux, for PowerShell on Windows.
    script: String,
    /// Parameters of the script by name.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// Parameters that Azure shows to nobody.
    #[serde(default)]
    secrets: BTreeMap<String, SecretRef>,
    /// How long the script may run; 10 minutes when left out.
    #[serde(default)]
    timeout: Option<Span>,
    /// Whether an exit code other than 0 is a value rather than an error; no when left out.
    #[serde(default)]
    may_fail: bool,
    /// Resource group of the machine. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

impl Args {
    fn timeout(&self) -> Duration {
        self.timeout.map_or(TIMEOUT, |span| span.get())
    }
}

/// How a script ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Ran {
    /// Exit code of the script; none when it did not come to one.
    exit_code: Option<i64>,
    /// Azure's word for how it ended: Succeeded, Failed, TimedOut or Canceled. Succeeded says nothing about the script.
    state: String,
    /// What it wrote to its standard output.
    output: String,
    /// What it wrote to its standard error.
    error: String,
}

/// `run_command`.
pub(super) struct RunCommand<H>(Azure, PhantomData<H>);

impl<H> RunCommand<H> {
    pub(super) fn new(azure: &Azure) -> Self {
        RunCommand(azure.clone(), PhantomData)
    }
}

/// A run command that was or will be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    id: ResourceId,
    machine: ResourceId,
    location: String,
}

/// What is stored between two looks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is waited for its end.
    Running(Change<Target>),
    /// Its end is known, and now stands here: it may be removed.
    Ended(Box<Ended>),
}

/// A run command that has ended.
#[derive(Serialize, Deserialize)]
struct Ended {
    removal: Change<ResourceId>,
    ran: Ran,
    /// Until when its removal is waited for.
    until: Timestamp,
}

impl<H: Host> DesiredState for RunCommand<H> {
    type Args = Args;
    type Target = Target;
    type Value = Ran;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _: &Args, at: &Target, known: Known) -> Result<Look<Ran>> {
        let Some(body) = self.0.arm.find(cx, &format!("{}{}", at.id, H::WITH_VIEW), H::RUN_COMMANDS).await?
        else {
            return match known.is_concluded() {
                // Sent again, it would run again.
                true => Err(Error::rejected(format!(
                    "somebody removed the run command `{}` before its end was seen",
                    at.id.name()
                ))),
                false if known.sent => Ok(Look::Away),
                false => H::check_takes_work(&self.0, cx, &at.machine).await.map(|()| Look::Away),
            };
        };
        let owned = |name: &str| {
            text(&body, &format!("/properties/instanceView/{name}")).unwrap_or_default().to_owned()
        };
        let state = owned("executionState");
        if ["Succeeded", "Failed", "TimedOut", "Canceled"].iter().any(|it| state.eq_ignore_ascii_case(it)) {
            let exit_code = body.pointer("/properties/instanceView/exitCode").and_then(Value::as_i64);
            // As they stand: a script means the spaces around its words.
            let whole = |name: &str| {
                let said = body.pointer(&format!("/properties/instanceView/{name}")).and_then(Value::as_str);
                said.unwrap_or_default().to_owned()
            };
            return Ok(Look::Reached(Ran {
                exit_code,
                state,
                output: whole("output"),
                error: whole("error"),
            }));
        }
        let provisioning = text(&body, "/properties/provisioningState").unwrap_or_default();
        if provisioning.eq_ignore_ascii_case("Failed") && known.is_concluded() {
            return Err(Error::rejected(format!("the agent of `{}` did not run the script", at.machine.name()))
                .because(owned("executionMessage"))
                .hint("the machine's owner may have blocked run commands: azcmagent config get extensions.blocklist"));
        }
        Ok(Look::Moving(if state.is_empty() { provisioning.to_owned() } else { state }, None))
    }

    fn doing(&self, at: &Target) -> String {
        format!("a script on {}", at.machine.name())
    }

    fn request<'a>(&self, args: &'a Args, at: &'a Target) -> Request<'a> {
        let pairs = |named: Vec<(&String, Value)>| -> Value {
            named.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
        };
        let mut properties = json!({
            "source": { "script": args.script },
            "asyncExecution": true,
            "timeoutInSeconds": args.timeout().as_secs(),
        });
        if !args.parameters.is_empty() {
            properties["parameters"] = pairs(args.parameters.iter().map(|(k, v)| (k, json!(v))).collect());
        }
        if !args.secrets.is_empty() {
            properties["protectedParameters"] =
                pairs(args.secrets.iter().map(|(k, v)| (k, json!(v))).collect());
        }
        let body = json!({ "location": at.location, "properties": properties });
        Request::new(Method::Put, at.id.to_string(), H::RUN_COMMANDS).body(body)
    }
}

impl<H: Host> RunCommand<H> {
    async fn target(&self, cx: &Cx, args: &Args) -> Result<Target> {
        let machine = H::find(&self.0, cx, &args.machine, args.group.as_deref()).await?;
        let id = machine.id.child("runCommands", &format!("relight-{}", cx.key(16)))?;
        Ok(Target { id, machine: machine.id, location: machine.location })
    }

    async fn advance(&self, cx: &Cx, args: &Args, change: Change<Target>) -> Result<Outcome<Ran>> {
        let id = change.target().id.clone();
        Ok(match change.advance(self, cx, args).await? {
            Advanced::Reached(ran) => {
                // On record before it is removed: once removed, it would seem never to have been.
                let ended = Ended { removal: Change::of(id), ran, until: cx.after(REMOVED_WITHIN) };
                Outcome::pending(&State::Ended(Box::new(ended)), Duration::ZERO)?.within(AROUND)
            }
            Advanced::Wait { change, wait, said, percent } => {
                Outcome::pending(&State::Running(change), wait)?
                    .within(args.timeout().saturating_add(AROUND))
                    .saying(said, percent)
            }
        })
    }

    /// Removes what has ended, and hands over how.
    async fn remove(&self, cx: &Cx, args: &Args, at: Ended) -> Result<Outcome<Ran>> {
        let Ended { removal, ran, until } = at;
        let id = removal.target().clone();
        match removal.advance(&Removal::<H>(self.0.clone(), PhantomData), cx, args).await {
            Ok(Advanced::Reached(())) => {}
            Ok(Advanced::Wait { change: removal, wait, said, percent }) if cx.now() < until => {
                let state = State::Ended(Box::new(Ended { removal, ran, until }));
                return Ok(Outcome::pending(&state, wait)?.within(AROUND).saying(said, percent));
            }
            Err(error) if error.kind().is_retryable() => return Err(error),
            // The script has run, and that is what counts: what is left over costs nothing and is found by its name.
            Ok(_) | Err(_) => cx.progress(format!("{} stays in Azure", id.name()), None),
        }
        match ran.exit_code == Some(0) && ran.state.eq_ignore_ascii_case("Succeeded") || args.may_fail {
            true => Ok(Outcome::done(ran)),
            false => Err(failed(&ran)),
        }
    }
}

/// The removal of a run command that has ended.
struct Removal<H>(Azure, PhantomData<H>);

impl<H: Host> DesiredState for Removal<H> {
    type Args = Args;
    type Target = ResourceId;
    type Value = ();

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, _: &Args, id: &ResourceId, _: Known) -> Result<Look<()>> {
        Ok(match self.0.arm.find(cx, id.as_str(), H::RUN_COMMANDS).await? {
            None => Look::Reached(()),
            Some(body) => match text(&body, "/properties/provisioningState") {
                Some("Deleting") => Look::Moving("removing it from Azure".to_owned(), None),
                _ => Look::Away,
            },
        })
    }

    fn doing(&self, id: &ResourceId) -> String {
        format!("removing {}", id.name())
    }

    fn request<'a>(&self, _: &'a Args, id: &'a ResourceId) -> Request<'a> {
        Request::new(Method::Delete, id.to_string(), H::RUN_COMMANDS)
    }
}

fn failed(ran: &Ran) -> Error {
    let how = match (ran.exit_code, ran.state.as_str()) {
        (Some(code), "Succeeded" | "Failed") => format!("the script failed with exit code {code}"),
        (_, state) => format!("the script ended as {state}"),
    };
    let said = if ran.error.trim().is_empty() { &ran.output } else { &ran.error };
    let error = Error::rejected(how).code(COMMAND_FAILED);
    match said.trim().lines().next_back() {
        Some(last) => error.because(last.to_owned()),
        None => error,
    }
}

impl<H: Host> Operation for RunCommand<H> {
    type Args = Args;
    type Output = Ran;

    const NAME: &'static str = H::RUN.name;
    const SUMMARY: &'static str = H::RUN.summary;
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;
    const CODES: &'static [ErrorCode] = H::RUN_CODES;

    fn examples() -> Vec<Example> {
        H::RUN.examples()
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Ran>> {
        let change = Change::of(self.target(cx, args).await?);
        self.advance(cx, args, change).await
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Ran>> {
        match restored(Self::NAME, at)? {
            State::Running(change) => self.advance(cx, args, change).await,
            State::Ended(at) => self.remove(cx, args, *at).await,
        }
    }

    async fn probe(&self, cx: &Cx, args: &Args) -> Result<Probe<Ran>> {
        let target = self.target(cx, args).await?;
        match self.0.arm.find(cx, target.id.as_str(), H::RUN_COMMANDS).await? {
            None => Ok(Probe::Absent),
            Some(_) => self.advance(cx, args, Change::intended(target)).await.map(Probe::Found),
        }
    }
}
