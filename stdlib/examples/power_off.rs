//! Embeds the Azure operations: turns a VM of the lab off. Killed while Azure is still at it and started again, the
//! program goes on with what it asked for, and asks for nothing twice.

use std::error::Error;
use std::sync::Arc;

use relight_engine::{Engine, Event, Notice, RunRequest, Secret};
use relight_lab::{Lab, LabConfig, system_clock};
use relight_stdlib::azure::{Arm, Cloud, Credential};
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Dialer, Here};

const RUNBOOK: &str = r#"/*---
title   = "Turn a VM off"
effects = ["azure:write"]
---*/
local::power_off(local::vm("web-01")).power_state
"#;

fn tell(seen: &Notice) {
    match &seen.event {
        Event::StepStarted { operation, .. } => println!("{operation}"),
        Event::StepAccepted { .. } => println!("Azure is at it"),
        _ => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // An Azure that goes on where it was when the program starts again.
    let lab = Lab::start(LabConfig { dir: Some("lab".into()), ..LabConfig::new(system_clock()) }).await?;
    let account = lab.descriptor();
    let mut cloud = Cloud::public().with_ca_bundle(account.ca_pem.into_bytes());
    cloud.arm = account.url.parse()?;
    cloud.login = cloud.arm.clone();
    let credential = Credential::ClientSecret {
        tenant: account.tenant,
        client_id: account.client_id,
        secret: Secret::new(account.client_secret),
    };

    let azure = Azure {
        arm: Arm::builder(cloud, credential).build()?,
        subscription: Some(account.subscription),
        group: Some(account.resource_group),
        dial: Dialer::direct(),
        known_hosts: KnownHosts::in_memory(),
        here: Here::default(),
    };
    let engine =
        Engine::open("runs.db")?.operations(relight_stdlib::all(&azure)).observer(Arc::new(tell)).build()?;
    let run = engine.prepare(&RunRequest::new("turn-off").text(RUNBOOK).id("turn-web-01-off")).await?;
    println!("{:?}", engine.run(&run).await?);
    println!("changes asked of Azure: {}", lab.ledger().len());
    Ok(())
}
