//! `relight logout`: what was kept of a sign-in is forgotten.

use clap::Args;
use relight_engine::Error;

use crate::accounts::is_tenant;
use crate::args::Global;
use crate::azure;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// Forget who signed in with `relight login`
///
/// What Entra ID has given out before stays good until it ends: an hour at most for what is used right now.
#[derive(Args, Debug)]
pub(crate) struct Logout {
    /// Directory to sign out of, by its id or domain; the one in use when left out
    #[arg(short, long, value_name = "TENANT")]
    tenant: Option<String>,

    /// Sign out everywhere: of every directory and cloud
    #[arg(long, conflicts_with = "tenant")]
    all: bool,
}

impl Logout {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        home.refuse_lab("the lab signs in by itself")?;
        let accounts = home.accounts()?;
        let gone = match (self.all, self.tenant) {
            (true, _) => accounts.forget(|_| true).await?,
            (false, Some(tenant)) => accounts.forget(|account| is_tenant(account, &tenant)).await?,
            (false, None) => {
                let cloud = azure::cloud(home.config()).await?;
                let tenant = azure::tenant(home.config());
                match accounts.current(&cloud.authority(), tenant.as_deref())? {
                    Some(current) => accounts.forget(|account| *account == current.account).await?,
                    None => Vec::new(),
                }
            }
        };
        if gone.is_empty() {
            let others = accounts.all()?;
            let nobody = Error::rejected("nobody is signed in there");
            return Err(match others.is_empty() {
                true => nobody,
                false => nobody.hint("see who is signed in elsewhere: relight whoami"),
            }
            .into());
        }
        for kept in gone {
            terminal::say(format!("Signed out: {} of tenant {}.", kept.account.user, kept.account.tenant));
        }
        Ok(Exit::Done)
    }
}
