//! `schedule::after`: has a runbook run after a while.

use super::{Scheduled, appoint};
use crate::prelude::*;

/// Has a runbook run once, a while from now. It runs even when this run has ended by then, as long as a service such as
/// `relight serve` keeps schedules going.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// How long from now, such as `2h`.
    delay: Span,
    /// Name of the runbook. It may do no more than the one that schedules it.
    #[schemars(extend("format" = "runbook"))]
    runbook: String,
    /// Its parameters; `#{}` when it takes none.
    params: serde_json::Map<String, Value>,
    /// Id of the lease that it is there to close, such as the `lease` of a console. When a person extends that lease, the
    /// run is due with it.
    #[serde(default)]
    closes: Option<String>,
}

/// `schedule::after`.
pub(crate) struct After;

impl Operation for After {
    type Args = Args;
    type Output = Scheduled;

    const NAME: &'static str = "schedule::after";
    const SUMMARY: &'static str = "Has a runbook run once after a while.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Close a console again in two hours.",
                r#"schedule::after("2h", "disable-vm-connect", #{ vm: "web-01" }).runbook"#,
            )
            .on("edge")
            .gives(json!("disable-vm-connect")),
            Example::new(
                "Say which lease it closes, so that both move when somebody needs it open for longer.",
                r#"
                    let console = vmconnect::enable("web-01", #{ open_for: "2h" });
                    schedule::after("2h", "disable-vm-connect", #{ vm: console.vm }, #{ closes: console.lease }).runbook
                "#,
            )
            .on("edge")
            .gives(json!("disable-vm-connect")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Scheduled>> {
        appoint(cx, cx.after(args.delay.get()), &args.runbook, &args.params, |schedule| {
            schedule.closes.clone_from(&args.closes);
        })
    }
}
