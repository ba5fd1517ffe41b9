//! `relight runs export`: a run as one file that anybody can verify without us.

use std::io::Write;

use clap::Args;

use crate::args::Global;
use crate::commands::which::Which;
use crate::exit::{Exit, Result};
use crate::exported::Exported;
use crate::setup::Home;
use crate::terminal;

/// Print a run as one JSON document: its texts and its chain of records
///
/// `relight runs verify FILE` checks it. It holds no secret: the journal keeps references to secrets only.
#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
}

impl Export {
    pub(super) async fn run(self, global: &Global) -> Result {
        let engine = Home::find(global)?.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        writeln!(terminal::out(), "{}", Exported::read(&engine, run).await?.text()?)?;
        Ok(Exit::Done)
    }
}
