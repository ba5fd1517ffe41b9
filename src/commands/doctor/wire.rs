//! `relight doctor --wire`: what was inferred about Azure, held against what Azure answers here.

use std::io::Write;
use std::time::Duration;

use relight_stdlib::Ref;
use relight_stdlib::doctor::wire::{CheckedFact, Standing};
use serde_json::json;

use super::told::Layout;
use crate::exit::{Exit, Result};
use crate::report::Audience;
use crate::setup::Home;
use crate::terminal;

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(60);
const FACTS: Layout = Layout { word: 13, what: 22, next: 14 };

/// Looks at what the facts rest on, and tells each.
pub(super) async fn look(home: Home, machine: Option<&str>, group: Option<&str>, json: bool) -> Result {
    let machine = machine.map(Ref::parse).transpose()?;
    let session = home.connect(Audience::Log).await?;
    let checked = session.azure.check_wire(machine.as_ref(), group, WITHIN).await;
    session.close().await;
    let facts = checked?;
    match json {
        true => writeln!(terminal::out(), "{:#}", json!({ "format": 1, "facts": facts }))?,
        false => tell(&facts)?,
    }
    let differs = facts.iter().any(|fact| matches!(fact.standing, Standing::Different { .. }));
    Ok(if differs { Exit::Failed } else { Exit::Done })
}

/// Tells what differs first: that is what somebody has to mend.
fn tell(facts: &[CheckedFact]) -> Result<()> {
    let of = |word: &str| facts.iter().filter(|fact| told(&fact.standing).0 == word).collect::<Vec<_>>();
    let counts = ["different", "confirmed", "not reachable"].map(|word| (word, of(word)));
    for (word, facts) in &counts {
        for fact in facts {
            let (_, said, next) = told(&fact.standing);
            FACTS.tell(word, fact.id, &format!("{}{said}", fact.says), next.as_slice())?;
        }
    }
    let counts = counts.map(|(word, facts)| format!("{} {word}", facts.len()));
    writeln!(terminal::out(), "\n{}; names, ids and addresses stand for others.", counts.join(", "))?;
    if !counts[0].starts_with('0') {
        writeln!(terminal::out(), "What is different is our mistake: docs/wire.md says how to correct us.")?;
    }
    Ok(())
}

/// Returns the word for how a fact stands, how its sentence goes on, and what would show it.
fn told(standing: &Standing) -> (&'static str, String, Option<String>) {
    match standing {
        Standing::Confirmed { seen } => ("confirmed", format!("; here: {seen}"), None),
        Standing::Different { seen } => ("different", format!("; here: {seen}"), None),
        Standing::NotReachable { why, shown_by } => {
            ("not reachable", format!(": {why}"), shown_by.as_ref().map(|it| format!("shown by {it}")))
        }
    }
}
