//! `schedule::at`: has a runbook run at a time.

use super::{Scheduled, appoint};
use crate::prelude::*;

/// Has a runbook run once, at a time. A time that has passed means at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// When, such as `2026-11-21T03:00:00Z` or `2026-11-21T04:00:00+01:00`.
    #[schemars(extend("format" = "date-time"))]
    time: String,
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

/// `schedule::at`.
pub(crate) struct At;

impl Operation for At {
    type Args = Args;
    type Output = Scheduled;

    const NAME: &'static str = "schedule::at";
    const SUMMARY: &'static str = "Has a runbook run once at a time.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Close a console at a time.",
                r#"schedule::at("2031-11-21T04:00:00+01:00", "disable-vm-connect", #{ vm: "web-01" }).due"#,
            )
            .on("edge")
            .gives(json!("2031-11-21T03:00:00Z")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Scheduled>> {
        let due = args.time.trim().parse::<Timestamp>().map_err(|e| {
            Error::invalid(format!(
                "`{}` is not a time with a zone",
                crate::azure::wire::shortened(&args.time, 80)
            ))
            .because(e)
            .hint("write for example 2026-11-21T03:00:00Z, or 2026-11-21T04:00:00+01:00")
        })?;
        appoint(cx, due, &args.runbook, &args.params, |schedule| schedule.closes.clone_from(&args.closes))
    }
}
