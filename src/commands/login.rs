//! `relight login`: a person signs in, in any browser, on any machine.

use clap::Args;
use relight_stdlib::azure::DeviceLogin;

use super::whoami::hidden_by;
use crate::args::Global;
use crate::azure;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// The directory of whoever signs in.
const HOME: &str = "organizations";

/// Sign in to Azure with a code that you confirm in a browser
///
/// On this machine or any other. What later commands need is kept in the keyring of the operating system; where there is none, in a file that only you can
/// read. Once for each directory and cloud.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Directory to sign in to, by its id or domain; your own when left out
    #[arg(short, long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl Login {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        home.refuse_lab("the lab signs in by itself")?;
        let cloud = azure::cloud(home.config()).await?;
        let tenant = self.tenant.or_else(|| azure::tenant(home.config()));
        let login = DeviceLogin::begin(&cloud, tenant.as_deref().unwrap_or(HOME)).await?;
        terminal::say(&login.message);
        let (account, token) = login.finish().await?;
        let kept = home.accounts()?.add(account, &cloud.name, &token).await?;
        let account = &kept.account;
        terminal::say(format!(
            "Signed in as {} of tenant {}, kept {}.",
            account.user,
            account.tenant,
            kept.place()
        ));
        if let Some(variable) = hidden_by() {
            terminal::say(format!("{variable} is set, and goes before it: unset it to use this sign-in."));
        }
        Ok(Exit::Done)
    }
}
