//! Starting a run: once, however often it is asked for.

use std::collections::BTreeMap;
use std::path::Component;

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use relight_engine::{Error, Given, ParamKind, RunId, RunRequest, Runbook};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::super::call::{self, Call};
use super::super::endpoint::{Endpoint, Header, IDEMPOTENCY_KEY, Needs, NoQuery};
use super::super::refusal::{Outcome, Refusal};
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::RunView;
use super::runbooks;
use crate::platform;
use crate::retention::FILES;

/// Where secrets are kept; a value with another beginning may be a secret itself.
const SOURCES: [&str; 4] = ["env:", "file:", "keyring:", "keyvault:"];

/// What to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// The name of a runbook of the service's library.
    runbook: String,
    /// Its parameters. A secret is given by where it is kept, such as `keyvault:VAULT/NAME`.
    #[serde(default)]
    params: Map<String, Value>,
    /// What it is called by, to be found again.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The run's id; made up when left out.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    id: Option<String>,
    /// Begins although as many runs are under way as may be.
    #[serde(default)]
    at_once: bool,
}

/// Starts a run.
pub(super) struct StartRun;

#[async_trait]
impl Endpoint for StartRun {
    const NAME: &'static str = "start_run";
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/v1/runs";
    const SUMMARY: &'static str = "Starts a run. Asking again with the same `Idempotency-Key`, or with the same `id`, returns the run that was \
                                   started first, also after the service was started anew.";
    const NEEDS: Needs = Needs::Role(Role::Run);
    const CHANGES: bool = true;
    const TAKES_BODY: bool = true;
    const GRANTED: &'static [(u16, &'static str)] =
        &[(201, "The run is written down, and goes on by itself."), (200, "It was before.")];
    const REFUSED: &'static [u16] = &[404, 409];
    const HEADERS: &'static [Header] = &[IDEMPOTENCY_KEY];
    type Query = NoQuery;
    type Body = Start;
    type Answer = Json<RunView>;

    fn about(_: &Call, start: &Start) -> call::About {
        call::About { runbook: Some(start.runbook.clone()), run: start.id.clone() }
    }

    async fn answer(call: &Call, _: NoQuery, start: Start) -> Outcome<Json<RunView>> {
        let (engine, tokens) = (&call.shared.engine, &call.shared.tokens);
        runbooks::exists(call, &start.runbook)?;
        let id = id_of(call, &start);
        let asked = asked(&id, &start);
        let conflict = || {
            Refusal::conflict(format!("another run was started as {id}"))
                .hint("give another id, or another Idempotency-Key")
        };
        let known = engine.journal().run(&id).await?;
        if let Some(run) = known {
            // One that was not started here has nothing to be compared with.
            return match tokens.was_started(id.as_str())? && tokens.is_same_start(id.as_str(), &asked)? {
                true => {
                    call.concerns(&run);
                    Ok(Json::new(RunView::of(engine, run)).with(StatusCode::OK))
                }
                false => Err(conflict()),
            };
        }
        if let Some(at) = engine.journal().pruned(&id).await? {
            return Err(Refusal::conflict(format!(
                "run {id} was started before, was over, and was pruned at {at:.0}"
            ))
            .hint("to start another, give another id, or another Idempotency-Key"));
        }
        let runbook = engine.library().runbook(&start.runbook)?;
        check(call, &runbook, &start.params)?;
        let mut request = RunRequest::new(&start.runbook).id(id.clone());
        let given = start.params.iter().filter(|(_, value)| !value.is_null());
        request.params = given.map(|(name, value)| (name.clone(), Given::Value(value.clone()))).collect();
        request.workdir = call.shared.state.join(FILES).join(id.as_str());
        request.who = Some(call.by().to_owned());
        request.labels = start.labels;
        request.at_once = start.at_once;
        engine.draft(&request)?;
        // From here on asking for something else under this id is refused, also after a crash.
        let is_first = tokio::task::block_in_place(|| tokens.is_same_start(id.as_str(), &asked));
        if !is_first? {
            return Err(conflict());
        }
        platform::make_private_folder(&request.workdir)
            .map_err(|e| Error::storage("the folder of the run cannot be made").because(e))?;
        engine.prepare(&request).await?;
        let run = engine.journal().run(&id).await?;
        let run = run.ok_or_else(|| Error::storage("the run is not there although it was written down"))?;
        call.concerns(&run);
        Ok(Json::new(RunView::of(engine, run)).at(format!("/v1/runs/{id}")))
    }
}

/// Returns the id of the run: given, or fixed by the key of this token, or a new one.
fn id_of(call: &Call, start: &Start) -> RunId {
    match (&start.id, call.header(IDEMPOTENCY_KEY.name)) {
        // It makes asking again asking for the same as well.
        (Some(id), _) => RunId::from(id.as_str()),
        (None, Some(key)) => RunId::derived(&["api", call.by(), key]),
        (None, None) => RunId::fresh(),
    }
}

/// Returns what tells one request from another. The id is part of it, so that equal parameters do not show.
fn asked(id: &RunId, start: &Start) -> Vec<u8> {
    let mut params: Vec<(&String, &Value)> = start.params.iter().collect();
    params.sort_by_key(|(name, _)| *name);
    let mut said = serde_json::json!([id, start.runbook, params]).to_string();
    if !start.labels.is_empty() {
        said.push_str(&serde_json::json!(start.labels).to_string());
    }
    Sha256::digest(said.as_bytes()).to_vec()
}

/// Makes sure that whoever asks may name these secrets and these paths.
///
/// A run uses them as whoever runs the service: without a limit anybody who may start a run could have it send any secret of that
/// machine somewhere, or read and write any file.
pub(super) fn check(call: &Call, runbook: &Runbook, params: &Map<String, Value>) -> Outcome<()> {
    for param in &runbook.params {
        let Some(value) = params.get(&param.name).filter(|value| !value.is_null()) else { continue };
        let text = value.as_str().unwrap_or_default();
        match param.kind {
            ParamKind::Secret if !SOURCES.iter().any(|source| text.starts_with(source)) => {
                // What was sent is not repeated: it may be the secret.
                return Err(Refusal::invalid(format!(
                    "the parameter `{}` is a secret, and is given by where it is kept",
                    param.name
                ))
                .hint("name it as env:NAME, file:PATH, keyring:SERVICE/NAME or keyvault:VAULT/NAME"));
            }
            ParamKind::Secret if !call.is(Role::Admin) && !is_allowed(&call.shared.secrets, text) => {
                return Err(Refusal::forbidden(format!(
                    "this token may not name the secret of the parameter `{}`",
                    param.name
                ))
                .hint("`secrets` below [service] in relight.toml lists those that every token may name"));
            }
            ParamKind::Path if !call.is(Role::Admin) && !is_inside(text) => {
                return Err(Refusal::forbidden(format!(
                    "this token may not name a path outside the run's folder, as the parameter `{}` does",
                    param.name
                ))
                .hint("give a path without `..` that does not begin at the root"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns whether a secret is one of a list, in which `*` at the end stands for anything.
fn is_allowed(allowed: &[String], secret: &str) -> bool {
    allowed.iter().any(|one| match one.strip_suffix('*') {
        Some(beginning) => secret.starts_with(beginning),
        None => one == secret,
    })
}

fn is_inside(path: &str) -> bool {
    // What is a drive or a share elsewhere is outside here, too.
    let is_plain = !path.contains(['\\', ':']);
    let mut parts = std::path::Path::new(path).components();
    is_plain && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_secrets_names_them_or_their_beginnings() {
        let allowed = ["keyvault:edge/*".to_owned(), "env:WEB".to_owned()];
        for (secret, expected) in
            [("keyvault:edge/a", true), ("env:WEB", true), ("env:WEB2", false), ("keyvault:other/a", false)]
        {
            assert_eq!(is_allowed(&allowed, secret), expected, "{secret}");
        }
    }

    #[test]
    fn a_path_stays_in_its_folder() {
        for (path, expected) in [
            ("a.rdp", true),
            ("./a/b", true),
            ("../a", false),
            ("a/../../b", false),
            ("/etc/passwd", false),
            ("C:\\a", false),
            ("\\\\host\\a", false),
        ] {
            assert_eq!(is_inside(path), expected, "{path}");
        }
    }
}
