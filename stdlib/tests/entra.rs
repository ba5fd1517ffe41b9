//! Signing in as a person, SSH certificates and key vaults, against the lab.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::{Error, ErrorKind, NextStep, Result, Secret};
use relight_lab::{GUEST_PASSWORD, Lab, LabConfig};
use relight_stdlib::azure::{
    Account, Arm, Cloud, Credential, DeviceLogin, Identity, Origin, Person, SignIns,
};
use relight_stdlib::{Azure, Dialer, Ref};

/// A place for refresh tokens that two processes share.
#[derive(Clone, Default)]
struct Shelf {
    token: Arc<Mutex<Option<Secret>>>,
    is_full: Arc<AtomicBool>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

#[async_trait]
impl SignIns for Shelf {
    async fn lock(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(self.lock.clone().lock_owned().await))
    }

    async fn refresh_token(&self, _: &Account) -> Result<Secret> {
        self.token.lock().unwrap().clone().ok_or_else(|| Error::new(ErrorKind::Denied, "gone"))
    }

    async fn keep(&self, _: &Account, token: &Secret) -> Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Error::storage("no space left on device"));
        }
        *self.token.lock().unwrap() = Some(token.clone());
        Ok(())
    }
}

struct Site {
    lab: Lab,
    cloud: Cloud,
}

impl Site {
    async fn with(faults: &[&str]) -> Self {
        Site::at(Arc::new(jiff::Timestamp::now), faults).await
    }

    async fn at(now: relight_lab::Now, faults: &[&str]) -> Self {
        let mut config = LabConfig::new(now);
        config.confirms_devices = true;
        config.faults = faults.iter().map(|fault| fault.parse().unwrap()).collect();
        let lab = Lab::start(config).await.unwrap();
        let about = lab.descriptor();
        let mut cloud = Cloud::public().with_ca_bundle(about.ca_pem.clone().into_bytes());
        cloud.arm = about.url.parse().unwrap();
        cloud.login = cloud.arm.clone();
        cloud.audience.clone_from(&about.url);
        cloud.vault_dns = about.vault_dns();
        Site { lab, cloud }
    }

    fn program(&self) -> Credential {
        let about = self.lab.descriptor();
        Credential::ClientSecret {
            tenant: about.tenant,
            client_id: about.client_id,
            secret: Secret::new(about.client_secret),
        }
    }

    async fn person(&self) -> (Account, Shelf) {
        let login = DeviceLogin::begin(&self.cloud, "organizations").await.unwrap();
        assert!(login.message.contains(&login.user_code) && login.page.ends_with("/devicelogin"));
        let (account, token) = login.finish().await.unwrap();
        let shelf = Shelf::default();
        shelf.keep(&account, &token).await.unwrap();
        (account, shelf)
    }

    fn arm(&self, credential: impl Into<relight_stdlib::azure::Chosen>) -> Arm {
        Arm::builder(self.cloud.clone(), credential).build().unwrap()
    }

    fn azure(&self, arm: Arm) -> Azure {
        let about = self.lab.descriptor();
        Azure {
            arm,
            subscription: Some(about.subscription),
            group: Some("rg-apps".to_owned()),
            dial: Dialer::direct(),
            known_hosts: relight_stdlib::ssh::KnownHosts::in_memory(),
            here: relight_stdlib::Here::default(),
        }
    }
}

/// The lab takes each refresh token once: one that is lost is the end of the sign-in.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_outlives_a_disk_that_is_full_for_a_while() {
    let site = Site::with(&[]).await;
    let (account, shelf) = site.person().await;
    let process = || site.arm(Credential::Person(Person::new(account.clone(), Arc::new(shelf.clone()))));
    let service = process();
    shelf.is_full.store(true, Ordering::SeqCst);
    service.sign_in().await.unwrap();
    service.ssh_pass().await.unwrap();
    shelf.is_full.store(false, Ordering::SeqCst);
    service.vault_secret(&"kv-edge/app-password".parse().unwrap()).await.unwrap();
    process().sign_in().await.unwrap();
}

/// Asks Azure for something, and returns its name.
async fn found(azure: &Azure) -> String {
    let machine = Ref::parse("app-01").unwrap();
    azure.locate(&Origin::outside_runs(), &machine, None).await.unwrap().id.name().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_once_and_every_process_goes_on_from_there() {
    let site = Site::with(&[]).await;
    let (account, shelf) = site.person().await;
    assert_eq!(
        (account.user.as_str(), &account.tenant),
        ("operator@lab.example", &site.lab.descriptor().tenant)
    );
    assert_eq!(account.authority, site.cloud.authority());

    // The lab takes each refresh token once: without the shelf's lock most of these would be refused.
    let processes: Vec<Arm> = (0..8)
        .map(|_| site.arm(Credential::Person(Person::new(account.clone(), Arc::new(shelf.clone())))))
        .collect();
    for identity in futures::future::join_all(processes.iter().map(Arm::identity)).await {
        let Identity { name, object_id, .. } = identity.unwrap();
        assert_eq!(
            (name.as_deref(), object_id.as_ref()),
            (Some("operator@lab.example"), Some(&account.object_id))
        );
    }
    assert_eq!(found(&site.azure(processes[0].clone())).await, "app-01");

    // A token that is spent is the end of it, and says what to do.
    let spent = shelf.refresh_token(&account).await.unwrap();
    processes[1].ssh_pass().await.unwrap();
    shelf.keep(&account, &spent).await.unwrap();
    let late = site.arm(Credential::Person(Person::new(account.clone(), Arc::new(shelf))));
    let error = late.sign_in().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.message(), "failed to sign in as operator@lab.example");
    assert!(error.hints().contains(&NextStep::SignIn.into()), "{error:?}");
    assert!(format!("{:?}", error.to_failure()).contains("AADSTS70008"), "{error:?}");
    assert!(!format!("{error:?}").contains(spent.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_answered_by_whoever_asks_for_tokens_by_requests_of_our_own() {
    let site = Site::with(&["cae-challenge=claims"]).await;
    let (account, shelf) = site.person().await;
    let person = Credential::Person(Person::new(account, Arc::new(shelf)));
    for credential in [person, site.program()] {
        assert_eq!(found(&site.azure(site.arm(credential))).await, "app-01");
    }
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_programs_get_certificates_and_machines_do_not() {
    let site = Site::with(&[]).await;
    let (account, shelf) = site.person().await;
    let person = site.arm(Credential::Person(Person::new(account, Arc::new(shelf))));
    let pass = person.ssh_pass().await.unwrap();
    assert_eq!(pass.principal(), "operator@lab.example");
    let again = person.ssh_pass().await.unwrap();
    assert_eq!(pass.certificate(), again.certificate(), "good for the next minutes");

    let program = site.arm(site.program()).ssh_pass().await.unwrap();
    assert!(!program.principal().is_empty());

    for credential in [Credential::ManagedIdentity { client_id: None }, Credential::AzureCli { tenant: None }]
    {
        let error = site.arm(credential).ssh_pass().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.message().starts_with("there is no SSH certificate for"), "{error}");
        assert!(error.hints().contains(&NextStep::SignIn.into()));
    }

    let azure = site.azure(person);
    let (origin, windows) = (Origin::outside_runs(), Ref::parse("db-01").unwrap());
    let mut elsewhere = azure.clone();
    elsewhere.group = Some(site.lab.descriptor().resource_group);
    let error = elsewhere.locate(&origin, &windows, None).await.unwrap().for_entra().unwrap_err();
    assert_eq!(error.message(), "`db-01` runs Windows, which takes no SSH certificates of Entra ID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_a_token_are_renewed_before_they_end() {
    let clock = SteppedClock::new(jiff::Timestamp::now());
    let now = clock.clone();
    let site = Site::at(Arc::new(move || now.now()), &[]).await;
    let arm =
        Arm::builder(site.cloud.clone(), site.program()).clock(Arc::new(clock.clone())).build().unwrap();
    let first = arm.ssh_pass().await.unwrap();
    clock.advance(std::time::Duration::from_secs(3_000));
    assert_eq!(arm.ssh_pass().await.unwrap().certificate(), first.certificate());
    clock.advance(std::time::Duration::from_secs(310));
    let second = arm.ssh_pass().await.unwrap();
    assert_ne!(second.certificate(), first.certificate());
    assert_eq!(second.key().public_key(), first.key().public_key(), "a key is made once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_vault_gives_out_what_one_may_read() {
    let site = Site::with(&[]).await;
    let arm = site.arm(site.program());
    let read = async |name: &str| arm.vault_secret(&name.parse().unwrap()).await;
    assert_eq!(read("kv-edge/app-password").await.unwrap().expose(), GUEST_PASSWORD);
    for (name, says, next) in [
        ("kv-edge/nothing", "SecretNotFound", "az keyvault secret list --vault-name kv-edge"),
        ("kv-edge/retired-password", "SecretDisabled", "enable the secret"),
        ("kv-payroll/app-password", "ForbiddenByRbac", "Key Vault Secrets User"),
        ("kv-edge/app-password/0123", "SecretNotFound", "az keyvault"),
    ] {
        let error = read(name).await.unwrap_err();
        let told = format!("{:?}", error.to_failure());
        assert_eq!(error.kind(), ErrorKind::Denied, "{name}");
        assert!(told.contains(says) && told.contains(next), "{name}: {told}");
    }
    assert_eq!(site.lab.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_refuses_a_token_is_asked_with_another_one() {
    let clock = SteppedClock::new(jiff::Timestamp::now());
    let now = clock.clone();
    let site = Site::at(Arc::new(move || now.now()), &[]).await;
    let secret = "kv-edge/app-password".parse().unwrap();
    let arm = site.arm(site.program());
    arm.vault_secret(&secret).await.unwrap();
    // What is cached here ends there, without a word.
    clock.advance(std::time::Duration::from_secs(2 * 3600));
    assert_eq!(arm.vault_secret(&secret).await.unwrap().expose(), GUEST_PASSWORD);
}

#[tokio::test]
async fn where_nobody_answers_it_may_be_tried_again() {
    let mut cloud = Cloud::public();
    cloud.login = "https://127.0.0.1:1".parse().unwrap();
    let error = DeviceLogin::begin(&cloud, "organizations").await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unsent, "failed to reach 127.0.0.1 to sign in"));
    cloud.login = "https://login.private/adfs".parse().unwrap();
    let error = DeviceLogin::begin(&cloud, "organizations").await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}
