//! `compute::invoke_command`: runs a script on a virtual machine in Azure by the action that needs one permission only.

use std::collections::BTreeMap;

use relight_engine::Registered;

use super::find::VMS;
use crate::agent::COMMAND_FAILED;
use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation, register};

/// What the end of a script on Linux writes, so that its exit code is known: Azure does not tell it.
const MARK: &str = "relight-exit-code:";

/// Runs a script on a virtual machine in Azure as its administrator, by the action `runCommand`. It asks for one permission
/// (`virtualMachines/runCommand/action`), leaves nothing behind in Azure, and cannot be looked for afterwards: when a crash leaves it
/// unclear whether the script ran, a person is asked. `compute::run_command` can be looked for, and tells the exit code on Windows, too.
///
/// Confirmed: one at a time on a VM, the last 4 KiB of the output, 90 minutes at most, and that a script that fails is
/// reported as a success.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// Script: for `sh` on Linux, for PowerShell on Windows.
    script: String,
    /// Parameters by name. On Linux the script gets them as `$1` and so on, by the order of their names.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// Whether an exit code other than 0 is a value rather than an error; no when left out.
    #[serde(default)]
    may_fail: bool,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// How a script ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Invoked {
    /// Exit code of the script; none on Windows, and none where its first line names something else than a shell: nobody tells it there.
    exit_code: Option<i64>,
    /// What it wrote to its standard output.
    output: String,
    /// What it wrote to its standard error.
    error: String,
}

/// Which VM, and which system runs in it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    id: ResourceId,
    is_windows: bool,
}

/// `compute::invoke_command`.
struct InvokeCommand(Azure);

/// Returns the operation.
pub(super) fn operation(azure: &Azure) -> Registered {
    register(InvokeCommand(azure.clone()))
}

impl DesiredState for InvokeCommand {
    type Args = Args;
    type Target = Target;
    type Value = Invoked;

    const REDO: Redo = Redo::Ask;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, cx: &Cx, args: &Args, at: &Target, known: Known) -> Result<Look<Invoked>> {
        match &known.result {
            // The script has run: what it came to is asked for again, never the script.
            Some(result) if !result.pointer("/value").is_some_and(Value::is_array) => {
                let message = format!("Azure did not tell what the script on `{}` came to", at.id.name());
                Err(Error::new(ErrorKind::Transient, message))
            }
            Some(result) => {
                let invoked = Invoked::read(result);
                match invoked.exit_code {
                    Some(code) if code != 0 && !args.may_fail => Err(invoked.failed(code)),
                    _ => Ok(Look::Reached(invoked)),
                }
            }
            None if known.sent => Ok(Look::Blind),
            None => {
                let gone =
                    || Error::rejected(format!("`{}` is gone", at.id.name())).code(ErrorCode::NOT_FOUND);
                let vm = self.0.read_azure_vm(&cx.into(), &at.id).await?.ok_or_else(gone)?;
                if vm.is_off() { Err(vm.is_not_running()) } else { Ok(Look::Away) }
            }
        }
    }

    fn doing(&self, at: &Target) -> String {
        format!("a script on {}", at.id.name())
    }

    fn request<'a>(&self, args: &'a Args, at: &'a Target) -> Request<'a> {
        let command = if at.is_windows { "RunPowerShellScript" } else { "RunShellScript" };
        let lines = if at.is_windows {
            args.script.lines().map(str::to_owned).collect()
        } else {
            marked(&args.script)
        };
        let mut body = json!({ "commandId": command, "script": lines });
        if !args.parameters.is_empty() {
            let named = args.parameters.iter().map(|(name, value)| json!({ "name": name, "value": value }));
            body["parameters"] = named.collect();
        }
        Request::new(Method::Post, format!("{}/runCommand", at.id), VMS)
            .body(body)
            .finish(FinalState::Location)
    }
}

impl ResourceOperation for InvokeCommand {
    const NAME: &'static str = "compute::invoke_command";
    const SUMMARY: &'static str =
        "Runs a script on a virtual machine in Azure by an action that leaves nothing behind.";
    const CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, COMMAND_FAILED];
    const WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

    fn examples() -> Vec<Example> {
        let script = r#"
            let vm = compute::vm("jump-01", #{ group: "rg-cloud" });
            let ran = compute::invoke_command(vm, "hostname; exit 3", #{ may_fail: true });
            [ran.output, ran.exit_code]
        "#;
        vec![Example::new("Ask a VM for its name.", script).on("edge").gives(json!(["jump-01\n", 3]))]
    }

    async fn target(&self, cx: &Cx, args: &Args) -> Result<Target> {
        let vm = self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?;
        Ok(Target { is_windows: vm.os.as_deref() == Some("windows"), id: vm.id })
    }
}

/// Returns the lines of a script that says its exit code in the end. The trap is kept also by one that says `exit`, and stands behind a
/// first line that names a shell; what another interpreter runs is left as it is.
fn marked(script: &str) -> Vec<String> {
    let mut lines: Vec<String> = script.lines().map(str::to_owned).collect();
    let trap = format!("trap 'code=$?; echo; echo \"{MARK}$code\"' EXIT");
    match lines.first().and_then(|first| first.strip_prefix("#!")) {
        None => lines.insert(0, trap),
        Some(interpreter)
            if interpreter
                .split([' ', '/'])
                .any(|word| ["sh", "bash", "dash", "ksh", "zsh"].contains(&word)) =>
        {
            lines.insert(1, trap);
        }
        Some(_) => {}
    }
    lines
}

impl Invoked {
    /// Reads the result: on Linux one text with both streams, on Windows one for each.
    fn read(result: &Value) -> Self {
        let all = || items(result, "/value");
        let of = |stream: &str| {
            let is_it = |it: &&Value| text(it, "/code").is_some_and(|code| code.contains(stream));
            all().find(is_it).map(|it| it["message"].as_str().unwrap_or_default().to_owned())
        };
        if let Some(output) = of("/StdOut/") {
            return Invoked { exit_code: None, output, error: of("/StdErr/").unwrap_or_default() };
        }
        let whole = all().next().and_then(|it| it["message"].as_str()).unwrap_or_default();
        let behind = whole.split_once("[stdout]\n").map_or(whole, |(_, behind)| behind);
        let (output, error) = behind.rsplit_once("\n[stderr]\n").unwrap_or((behind, ""));
        let (output, exit_code) = match output.rsplit_once(MARK) {
            // The trap begins with a line of its own.
            Some((said, code)) => (said.strip_suffix('\n').unwrap_or(said), code.trim().parse().ok()),
            None => (output, None),
        };
        Invoked { exit_code, output: output.to_owned(), error: error.to_owned() }
    }

    fn failed(&self, code: i64) -> Error {
        let said = if self.error.trim().is_empty() { &self.output } else { &self.error };
        let error = Error::rejected(format!("the script failed with exit code {code}")).code(COMMAND_FAILED);
        match said.trim().lines().next_back() {
            Some(last) => error.because(last.to_owned()),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script_stays_the_first() {
        let is_trap = |line: &String| line.starts_with("trap ");
        assert!(is_trap(&marked("hostname")[0]));
        for shell in ["#!/bin/bash", "#!/usr/bin/env bash", "#! /bin/sh -e"] {
            let lines = marked(&format!("{shell}\nhostname"));
            assert!(lines[0] == shell && is_trap(&lines[1]) && lines[2] == "hostname", "{lines:?}");
        }
        assert_eq!(marked("#!/usr/bin/python3\nprint(1)"), ["#!/usr/bin/python3", "print(1)"]);
    }

    #[test]
    fn what_a_script_said_is_told_apart() {
        let linux = |message: &str| {
            Invoked::read(&json!({"value": [{"code": "ProvisioningState/succeeded", "message": message}]}))
        };
        let ran = linux("Enable succeeded: \n[stdout]\none\n\nrelight-exit-code:4\n\n[stderr]\noh\n");
        assert_eq!((ran.output.as_str(), ran.exit_code, ran.error.as_str()), ("one\n", Some(4), "oh\n"));
        let ran = linux("Enable succeeded: \n[stdout]\nsilent\n[stderr]\n");
        assert_eq!((ran.output.as_str(), ran.exit_code, ran.error.as_str()), ("silent", None, ""));
        let windows = json!({"value": [
            {"code": "ComponentStatus/StdOut/succeeded", "message": "a"},
            {"code": "ComponentStatus/StdErr/succeeded", "message": "b"}]});
        let ran = Invoked::read(&windows);
        assert_eq!((ran.output.as_str(), ran.exit_code, ran.error.as_str()), ("a", None, "b"));
        for odd in [json!(null), json!({"value": [{}]}), json!({"value": 3})] {
            assert_eq!(Invoked::read(&odd).exit_code, None, "{odd}");
        }
    }
}
