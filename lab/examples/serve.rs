//! Serves a lab until interrupted, for trying it with `az rest` or `curl`.
//!
//! ```text
//! cargo run -p relight-lab --example serve -- [FOLDER] [FAULT ..]
//! ```
//!
//! Prints what a client needs to know as JSON.

use std::{error::Error, io::Write, path::PathBuf};

use relight_lab::{Lab, LabConfig, system_clock};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = LabConfig::new(system_clock());
    config.dir = arguments.next().map(PathBuf::from);
    config.faults = arguments.map(|fault| fault.parse()).collect::<Result<_, _>>()?;

    let lab = Lab::start(config).await?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&lab.descriptor())?)?;
    tokio::signal::ctrl_c().await?;
    for violation in lab.violations() {
        writeln!(std::io::stderr(), "violation: {violation}")?;
    }
    lab.stop().await;
    Ok(())
}
