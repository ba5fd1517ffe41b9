//! Which Azure is meant, and who signs in: what the environment and the configuration say.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use relight_engine::event::{Park, RunEnd};
use relight_engine::{Driven, Engine, Error, Result, RunRequest};
use relight_stdlib::azure::{Arm, ArmBuilder, Chosen, Cloud, Credential};
use relight_stdlib::net::Route;
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Dialer, Here};
use serde_json::Value;

use crate::accounts::Accounts;
use crate::config::{Config, KnownCloud};
use crate::environment::variable;
use crate::lab::LabFile;
use crate::record::Record;

/// The variable that `az` uses for the resource group of commands that name none.
pub(crate) const GROUP: &str = "AZURE_DEFAULTS_GROUP";
/// The variable that Azure's own tools use for the subscription.
pub(crate) const SUBSCRIPTION: &str = "AZURE_SUBSCRIPTION_ID";
/// The variable that Azure's own tools use for the directory.
const TENANT: &str = "AZURE_TENANT_ID";

/// Returns Azure as it is chosen, with the only subscription when none is.
///
/// # Errors
/// As [`reach`], and whatever keeps Azure from listing subscriptions.
pub(crate) async fn chosen(config: &Config, accounts: &Accounts, record: Option<&Record>) -> Result<Azure> {
    let mut azure = reach(config, accounts, record).await?;
    if azure.subscription.is_none()
        && let [only] = subscriptions(&azure).await?.as_slice()
    {
        // With several, the first step that needs one says how to choose.
        azure.subscription = Some(only.clone());
    }
    Ok(azure)
}

/// Returns Azure as it is chosen by the environment and the configuration. What is said to it may be recorded.
///
/// # Errors
/// `Denied` when no credential can be chosen, `Invalid` when the cloud is not described right.
pub(crate) async fn reach(config: &Config, accounts: &Accounts, record: Option<&Record>) -> Result<Azure> {
    let cloud = cloud(config).await?;
    let credential = credential(config, accounts, &cloud)?;
    Ok(Azure {
        arm: arm(cloud, credential, record).build()?,
        subscription: variable(SUBSCRIPTION).or_else(|| config.azure.subscription.clone()),
        group: variable(GROUP).or_else(|| config.azure.group.clone()),
        dial: Dialer::direct(),
        known_hosts: KnownHosts::in_memory(),
        here: Here::default(),
    })
}

/// Returns who signs in: whom the environment chooses, else who signed in here, else whom `az` knows.
///
/// # Errors
/// `Denied` when the environment chooses only half, `Storage` when nobody knows who signed in here.
pub(crate) fn credential(config: &Config, accounts: &Accounts, cloud: &Cloud) -> Result<Chosen> {
    let person = accounts.current(&cloud.authority(), tenant(config).as_deref())?;
    Chosen::from_environment(&variable, person.map(|kept| accounts.person(kept)))
}

/// Returns the directory that is meant where somebody signs in to several.
pub(crate) fn tenant(config: &Config) -> Option<String> {
    variable(TENANT).or_else(|| config.azure.tenant.clone())
}

/// Starts to describe a connection, of which everything that is said over it may be recorded.
fn arm(cloud: Cloud, credential: impl Into<Chosen>, record: Option<&Record>) -> ArmBuilder {
    let arm = Arm::builder(cloud, credential);
    match record.cloned() {
        Some(record) => arm.on_exchange(move |exchange| record.add(exchange)),
        None => arm,
    }
}

/// Returns a lab as Azure. What is said to it may be recorded.
///
/// # Errors
/// `Invalid` when the lab's file cannot be used.
pub(crate) fn in_lab(file: &LabFile, record: Option<&Record>) -> Result<Azure> {
    let (cloud, credential) = file.cloud()?;
    Ok(Azure {
        arm: arm(cloud, credential, record).clock(Arc::new(file.clock.clock())).build()?,
        subscription: Some(file.descriptor.subscription.clone()),
        group: Some(file.descriptor.resource_group.clone()),
        dial: in_the_labs_networks(file.descriptor.low_ports),
        known_hosts: KnownHosts::in_memory(),
        here: Here::default(),
    })
}

/// Returns how the ports of a lab's machines are reached. Its private addresses may be somebody else's where this runs.
fn in_the_labs_networks(low_ports: u16) -> Dialer {
    Dialer::routed(move |host, port| match host.parse::<Ipv4Addr>() {
        Ok(address) if address.is_private() || address.is_documentation() => Route::Nowhere,
        Ok(address) if address.is_loopback() && address != Ipv4Addr::LOCALHOST && port < 1024 => {
            Route::Via(SocketAddr::from((address, port + low_ports)))
        }
        _ => Route::Direct,
    })
}

/// Returns a connection for declarations and checks. Nothing is ever sent over it.
///
/// # Errors
/// `Invalid` when TLS cannot be set up.
pub(crate) fn nowhere() -> Result<Azure> {
    let arm = Arm::builder(Cloud::public(), Credential::AzureCli { tenant: None }).build()?;
    Ok(Azure {
        arm,
        subscription: None,
        group: None,
        dial: Dialer::direct(),
        known_hosts: KnownHosts::in_memory(),
        here: Here::default(),
    })
}

/// Returns the chosen cloud. Asks it to describe itself when only its address is known.
///
/// # Errors
/// `Invalid` when it is not described right; `Unsent` when it must be asked and gives no answer.
pub(crate) async fn cloud(config: &Config) -> Result<Cloud> {
    let own = config.cloud.as_ref();
    let from = |name: &str, or: Option<&String>| variable(name).or_else(|| or.cloned());
    let bundle = variable("RELIGHT_CLOUD_CA_BUNDLE").map(PathBuf::from);
    let trusted =
        bundle.or_else(|| own.and_then(|own| own.ca_bundle.clone())).map(read_bundle).transpose()?;
    let Some(arm) = from("RELIGHT_CLOUD_ARM", own.map(|own| &own.arm)) else {
        let mut cloud = match config.azure.cloud {
            KnownCloud::Public => Cloud::public(),
            KnownCloud::UsGov => Cloud::us_government(),
            KnownCloud::China => Cloud::china(),
        };
        // A proxy that reads along shows its own certificate for Azure's too.
        cloud.ca_bundle = trusted;
        return Ok(cloud);
    };
    let login = from("RELIGHT_CLOUD_LOGIN", own.and_then(|own| own.login.as_ref()));
    let audience = from("RELIGHT_CLOUD_AUDIENCE", own.and_then(|own| own.audience.as_ref()));
    let (Some(login), Some(audience)) = (login, audience) else {
        return Cloud::discover("own", &arm, trusted).await;
    };
    let mut cloud = Cloud::public();
    "own".clone_into(&mut cloud.name);
    cloud.arm = secure(&arm)?.parse().map_err(|e| wrong(&arm).because(e))?;
    cloud.login = secure(&login)?.parse().map_err(|e| wrong(&login).because(e))?;
    cloud.audience = audience;
    if let Some(vaults) = own.and_then(|own| own.vault_dns.clone()) {
        cloud.vault_dns = vaults;
    }
    cloud.ca_bundle = trusted;
    Ok(cloud)
}

fn read_bundle(path: PathBuf) -> Result<Arc<[u8]>> {
    let pem = std::fs::read(&path).map_err(|e| {
        Error::invalid(format!("failed to read the certificates {}", path.display())).because(e)
    })?;
    Ok(pem.into())
}

/// Returns an address, if tokens may travel there.
fn secure(address: &str) -> Result<&str> {
    match address.starts_with("https://") {
        true => Ok(address),
        false => Err(wrong(address).hint("it must start with https://")),
    }
}

fn wrong(address: &str) -> Error {
    Error::invalid(format!("the cloud's address `{address}` cannot be used"))
}

/// Returns the subscriptions that whoever signs in can use.
///
/// # Errors
/// Whatever keeps Azure from answering: `Denied` when nobody is signed in.
pub(crate) async fn subscriptions(azure: &Azure) -> Result<Vec<String>> {
    const ASK: &str = r#"/*---
title   = "List subscriptions"
effects = ["azure:read"]
---*/
arm::get("/subscriptions", "2022-12-01", #{ retry: #{ attempts: 3, then: "throw" } })
    .value.filter(|it| it.state == "Enabled").map(|it| it.subscriptionId)
"#;
    // A run in memory: the request is made, paced and retried like any other.
    let engine = Engine::builder().operations(relight_stdlib::all(azure)).build()?;
    let run = engine.prepare(&RunRequest::new("subscriptions").text(ASK)).await?;
    let hint = format!("set {SUBSCRIPTION}, and it need not be asked for");
    match engine.run(&run).await? {
        Driven::Ended(RunEnd::Succeeded { value: Value::Array(ids) }) => {
            Ok(ids.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Driven::Ended(RunEnd::Failed { failure, .. })
        | Driven::Parked(Park::Denied { failure } | Park::Exhausted { failure }, _) => {
            Err(failure.to_error().hint(hint))
        }
        _ => Err(Error::rejected("failed to list the subscriptions").hint(hint)),
    }
}
