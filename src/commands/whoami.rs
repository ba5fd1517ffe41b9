//! `relight whoami`: as whom runs reach Azure.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::args::Global;
use crate::environment::variable;
use crate::exit::{Exit, Result};
use crate::format::{Table, when};
use crate::setup::Home;
use crate::terminal;

/// The variables that choose an identity before any person.
const CHOOSING: [&str; 4] =
    ["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_MANAGED_IDENTITY", "AZURE_CLIENT_ID"];

/// Returns the variable because of which nobody's sign-in here counts.
pub(super) fn hidden_by() -> Option<&'static str> {
    CHOOSING.into_iter().find(|name| variable(name).is_some())
}

/// Show as whom runs reach Azure, and whether that works
///
/// Asks for a token, and for nothing else.
#[derive(Args, Debug)]
pub(crate) struct Whoami {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Whoami {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let azure = home.reach().await?;
        let token = azure.arm.identity().await?;
        let (cloud, credential) = (azure.arm.cloud(), azure.arm.credential());
        let kept = match credential.person() {
            Some(person) => {
                home.accounts()?.all()?.into_iter().find(|kept| kept.account == *person.account())
            }
            None => None,
        };
        let mut out = terminal::out();
        if self.json {
            let value = json!({
                "name": token.name,
                "tenant": token.tenant,
                "object_id": token.object_id,
                "application": token.application,
                "credential": credential.describe(),
                "cloud": cloud.name,
                "authority": cloud.authority(),
                "subscription": azure.subscription,
            });
            writeln!(out, "{value:#}")?;
            return Ok(Exit::Done);
        }
        let mut table = Table::default();
        let mut row = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                table.row([name.to_owned(), value]);
            }
        };
        let name = token.name.or(token.application).unwrap_or_else(|| credential.describe());
        row("name", Some(name));
        row("tenant", token.tenant);
        row("object id", token.object_id);
        row("cloud", Some(format!("{}, signing in at {}", cloud.name, cloud.authority())));
        row("subscription", azure.subscription.clone());
        row(
            "by",
            Some(match &kept {
                Some(kept) => {
                    let since = when(jiff::Timestamp::now(), kept.since);
                    format!("`relight login`, {since}; kept {}", kept.place())
                }
                None => credential.describe(),
            }),
        );
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        if !home.is_lab() {
            let current = kept.map(|kept| kept.account);
            for other in
                home.accounts()?.all()?.into_iter().filter(|other| Some(&other.account) != current.as_ref())
            {
                let account = other.account;
                writeln!(
                    out,
                    "signed in, too: {} of tenant {} ({})",
                    account.user, account.tenant, other.cloud
                )?;
            }
        }
        Ok(Exit::Done)
    }
}
