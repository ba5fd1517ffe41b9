//! `relight lab`: a local Azure that stays, for many commands and for other tools.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use relight_engine::Error;
use relight_lab::{Guest, WorldName};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::{in_powershell, quoted};
use crate::lab::{self, Found, LAB_FILE, Options, OwnLab};
use crate::setup::Home;
use crate::{platform, terminal};

/// Serve a local Azure to practise on
///
/// It speaks Azure's protocols on loopback: sign-in, Azure Local with clusters, nodes and virtual machines, and the
/// hosts' console ports. Use it with `relight --lab`, or with the Azure CLI. Ctrl-C ends it; the world is kept.
#[derive(Args, Debug)]
pub(crate) struct LabServer {
    /// Folder of the lab; the one that --lab uses when left out
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Port to listen on; the one of last time, or any
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Let time pass N times faster; as last time, or 60
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    speed: Option<u32>,

    /// Seed of a new world
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// A new world: edge, or site-of-N for N virtual machines
    #[arg(long, value_name = "NAME", default_value_t)]
    world: WorldName,

    /// Say what listens on a port of a machine, such as `db-01:22=127.0.0.1:2222` for an SSH server of one's own
    #[arg(long, value_name = "MACHINE:PORT=ADDRESS")]
    guest: Vec<Guest>,

    /// Switch a fault on, such as `reply-lost` or `throttled=3`
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,
}

impl LabServer {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let own = match &self.dir {
            Some(dir) => dir.clone(),
            None => Home::find(&Global { lab: Some(None), ..global.clone() })?.state()?,
        };
        platform::make_private_folder(&own)
            .map_err(|e| Error::storage(format!("failed to make the folder {}", own.display())).because(e))?;
        let dir = std::path::absolute(&own).unwrap_or(own);
        let options = Options {
            speed: self.speed,
            seed: self.seed,
            world: self.world,
            port: self.port,
            faults: lab::faults(&self.fault)?,
            guests: self.guest,
            serves: true,
        };
        let lab = match OwnLab::start(&dir, options).await? {
            Found::Own(lab) => lab,
            Found::Served(_) => return Err(Error::invalid("another process serves this lab").into()),
        };
        let saved = lab.file();
        let about = &saved.descriptor;
        let file = dir.join(LAB_FILE);
        // A program that waits for this line finds everything in the file.
        writeln!(terminal::out(), "{}", file.display())?;
        let lab_flag = match self.dir {
            None => "--lab".to_owned(),
            Some(_) => format!("--lab={}", quoted(&file.to_string_lossy())),
        };
        terminal::say(format!(
            "The lab is at {url}; a minute passes in {second:.1} s. Ctrl-C ends it.\n\n\
             With relight, in another terminal:\n  \
             relight run site-report {lab_flag}\n\n\
             With the Azure CLI:\n  \
             {variables}\n  \
             az cloud register --name lab --endpoint-resource-manager {url} --endpoint-active-directory {url} \
             --endpoint-active-directory-resource-id {url}\n  \
             az cloud set --name lab\n  \
             az login --service-principal --tenant {tenant} --username {client} --password '{secret}'\n  \
             az rest --url '{url}/subscriptions?api-version=2022-12-01'",
            url = about.url,
            second = 60.0 / f64::from(saved.clock.speed),
            variables = variables(&dir).join("\n  "),
            tenant = about.tenant,
            client = about.client_id,
            secret = about.client_secret,
        ));
        platform::interrupted().await;
        lab.stop().await;
        terminal::say("The lab has ended; its world is kept.");
        Ok(Exit::Done)
    }
}

/// Returns the lines with which the shell of this system has the Azure CLI use the lab.
fn variables(dir: &Path) -> Vec<String> {
    let (ca, azure) = (dir.join("world").join("ca.pem"), dir.join("azure"));
    let (ca, azure) = (ca.to_string_lossy(), azure.to_string_lossy());
    // A sign-in of one's own stays untouched, and nobody asks the public login host about the lab.
    let discovery = "AZURE_CORE_INSTANCE_DISCOVERY";
    if cfg!(windows) {
        let set = |name: &str, value: &str| format!("$env:{name} = {}", in_powershell(value));
        return vec![
            set("REQUESTS_CA_BUNDLE", &ca),
            set("AZURE_CONFIG_DIR", &azure),
            set(discovery, "false"),
        ];
    }
    vec![
        format!("export REQUESTS_CA_BUNDLE={} AZURE_CONFIG_DIR={}", quoted(&ca), quoted(&azure)),
        format!("export {discovery}=false"),
    ]
}
