//! `relight certificate`: an SSH certificate of Entra ID in a file, for OpenSSH's own tools.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::args::Global;
use crate::certificate;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// Write a key and an SSH certificate of Entra ID, for OpenSSH's own tools
///
/// `relight connect MACHINE --entra --print-config` prints an entry for ~/.ssh/config that calls this
/// with every connection. Nothing is asked for while those that are there are good, for an hour. Prints the key's file.
#[derive(Args, Debug)]
pub(crate) struct Certificate {
    /// File of the key; the certificate lies beside it, with `-cert.pub` behind the name
    file: Option<PathBuf>,
}

impl Certificate {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let file = match self.file {
            Some(file) => file,
            None => certificate::usual_file(&home)?,
        };
        certificate::renew(&home.reach().await?.arm, &file).await?;
        writeln!(terminal::out(), "{}", file.display())?;
        Ok(Exit::Done)
    }
}
