//! `schedule::cancel`: takes back what a run has scheduled.

use crate::prelude::*;

/// Takes back what this run or another has scheduled. Afterwards it is gone, also when it was before; a run that has begun goes on.
/// What a person has scheduled is that person's to remove.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// What scheduled it gave this `id`.
    id: String,
}

/// `schedule::cancel`.
pub(crate) struct Cancel;

impl Operation for Cancel {
    type Args = Args;
    type Output = ();

    const NAME: &'static str = "schedule::cancel";
    const SUMMARY: &'static str = "Takes back what a run has scheduled.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Close a console later, unless it is closed before.",
                r#"let later = schedule::after("2h", "disable-vm-connect", #{ vm: "web-01" });
                   schedule::cancel(later.id);"#,
            )
            .on("edge")
            .gives(json!(null)),
        ]
    }

    async fn begin(&self, _: &Cx, args: &Args) -> Result<Outcome<()>> {
        // The ids that follow from steps look like this; a person's names are for persons.
        let is_of_a_step = args.id.len() == 12 && args.id.chars().all(|c| c.is_ascii_hexdigit());
        if !is_of_a_step {
            return Err(Error::invalid(format!(
                "`{}` is not the id of anything that a run scheduled",
                crate::azure::wire::shortened(&args.id, 80)
            ))
            .hint("give the `id` of what `schedule::after`, `schedule::at` or `schedule::cron` returned"));
        }
        Ok(Outcome::done(()).with(Effected::Unscheduled { id: args.id.clone() }))
    }
}
