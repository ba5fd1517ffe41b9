//! `schedule::cron`: has a runbook run again and again.

use relight_engine::event::Overlap;
use relight_engine::schedule::Rule;

use super::{Scheduled, appoint};
use crate::prelude::*;

/// Has a runbook run again and again, at the times of a rule, until `schedule::cancel` or an operator ends that. It goes on when this run
/// has ended, as long as a service such as `relight serve` keeps schedules going.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// When: minute, hour, day, month and weekday such as `0 3 * * SUN`, or a day such as `last weekday of the month at 03:00`.
    rule: String,
    /// Name of the runbook. It may do no more than the one that schedules it.
    #[schemars(extend("format" = "runbook"))]
    runbook: String,
    /// Its parameters; `#{}` when it takes none.
    params: serde_json::Map<String, Value>,
    /// Time zone of the rule, such as `Europe/Oslo`; UTC when left out.
    #[serde(default)]
    zone: Option<String>,
    /// What becomes of a firing while an earlier run is under way: `skip` (unless given), `buffer-one`, `buffer-all`, `cancel-other`,
    /// `terminate-other` or `allow-all`.
    #[serde(default)]
    overlap: Option<String>,
    /// How late a run may start; a firing that is later is missed. However late when left out.
    #[serde(default)]
    catch_up: Option<Span>,
}

/// `schedule::cron`.
pub(crate) struct Cron;

impl Operation for Cron {
    type Args = Args;
    type Output = Scheduled;

    const NAME: &'static str = "schedule::cron";
    const SUMMARY: &'static str = "Has a runbook run again and again.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Close a console every night, whoever forgot it.",
                r#"let nightly = schedule::cron("0 3 * * *", "disable-vm-connect", #{ vm: "web-01" }, #{ zone: "Europe/Oslo" });
                   nightly.runbook"#,
            )
            .on("edge")
            .gives(json!("disable-vm-connect")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Scheduled>> {
        let text = match &args.zone {
            Some(zone) => format!("{} in {zone}", args.rule.trim()),
            None => args.rule.trim().to_owned(),
        };
        let rule = Rule::parse(&text)?;
        let Some(due) = rule.next_after(cx.now()) else {
            return Err(Error::invalid(format!("`{rule}` never comes")));
        };
        let overlap = match &args.overlap {
            None => Overlap::default(),
            Some(word) => {
                let found = Overlap::ALL.into_iter().find(|overlap| overlap.as_str() == word);
                found.ok_or_else(|| {
                    Error::invalid(format!("`{word}` is no overlap policy"))
                        .hint(format!("give one of {}", Overlap::ALL.map(Overlap::as_str).join(", ")))
                })?
            }
        };
        appoint(cx, due, &args.runbook, &args.params, |schedule| {
            schedule.repeats = Some(rule.to_string());
            (schedule.terms.overlap, schedule.terms.catch_up) = (overlap, args.catch_up);
        })
    }
}
