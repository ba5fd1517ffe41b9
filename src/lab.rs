//! The local Azure behind `--lab`: one of this process's own, or one that `relight lab` serves.
//!
//! Owns the lab's folder: the saved world, the lock that says who runs it, and `lab.json`, by which
//! other processes find it. Lab time only goes forward, also from one process to the next: what it
//! may have reached is written down before it gets there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock};
use relight_engine::{Error, Result, Secret};
use relight_lab::{Descriptor, Fault, Guest, Lab, LabConfig, LabError, Scope, WorldName};
use relight_stdlib::azure::{Cloud, Credential};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::platform;

/// How much faster than real time the lab's time passes: a minute in a second.
pub(crate) const SPEED: u32 = 60;
/// How often the time is written down.
const BEAT: Duration = Duration::from_millis(200);

/// The file by which a lab is found.
pub(crate) const LAB_FILE: &str = "lab.json";

/// The file that whoever runs a lab holds locked.
const LOCK: &str = "lab.lock";

/// What another process needs to use a lab, and the next one to go on with it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LabFile {
    /// Where it is and how to sign in.
    pub(crate) descriptor: Descriptor,
    /// Its time.
    pub(crate) clock: Time,
    /// Whether it stays until somebody ends it, rather than until its run is over.
    #[serde(default)]
    pub(crate) serves: bool,
}

/// A lab's time: `origin` when the wall clock showed `began`, and from there `speed` times faster.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Time {
    pub(crate) origin: Timestamp,
    pub(crate) began: Timestamp,
    pub(crate) speed: u32,
    /// What it has not passed yet, whatever becomes of the process.
    pub(crate) until: Timestamp,
}

impl Time {
    /// Returns the clock that shows this time.
    pub(crate) fn clock(&self) -> ScaledClock {
        ScaledClock { origin: self.origin, began: self.began, speed: self.speed }
    }
}

impl LabFile {
    /// Reads the file of a lab.
    ///
    /// # Errors
    /// `Invalid` when there is none or it cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let wrong = |e: Box<dyn std::error::Error + Send + Sync>| {
            Error::invalid(format!("failed to read the lab's file {}", path.display()))
                .because(e)
                .hint("start a lab with `relight lab`; it says which file to give to --lab=FILE")
        };
        let text = std::fs::read(path).map_err(|e| wrong(e.into()))?;
        serde_json::from_slice(&text).map_err(|e| wrong(e.into()))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let failed =
            |e: std::io::Error| Error::storage(format!("failed to write {}", path.display())).because(e);
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        platform::write_private(path, &text).map_err(failed)
    }

    /// Returns the lab as a cloud, and how to sign in there.
    ///
    /// # Errors
    /// `Invalid` when the file's address is none.
    pub(crate) fn cloud(&self) -> Result<(Cloud, Credential)> {
        let Descriptor { url, ca_pem, tenant, client_id, client_secret, .. } = &self.descriptor;
        let mut cloud = Cloud::public();
        cloud.name = "lab".to_owned();
        cloud.arm = url
            .parse()
            .map_err(|e| Error::invalid(format!("the lab's address `{url}` is none")).because(e))?;
        cloud.login = cloud.arm.clone();
        cloud.audience.clone_from(url);
        cloud.vault_dns = self.descriptor.vault_dns();
        let credential = Credential::ClientSecret {
            tenant: tenant.clone(),
            client_id: client_id.clone(),
            secret: Secret::new(client_secret.clone()),
        };
        Ok((cloud.with_ca_bundle(ca_pem.clone().into_bytes()), credential))
    }
}

/// How to start a lab.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How fast its time passes; as last time unless set.
    pub(crate) speed: Option<u32>,
    /// Decides every id of a new world.
    pub(crate) seed: u64,
    /// The world to build when none is saved.
    pub(crate) world: WorldName,
    /// The port; any unless set.
    pub(crate) port: Option<u16>,
    /// Faults that are switched on from the start.
    pub(crate) faults: Vec<Fault>,
    /// What listens on ports of machines.
    pub(crate) guests: Vec<Guest>,
    /// Whether it stays until somebody ends it.
    pub(crate) serves: bool,
}

impl Options {
    /// Returns the options of a lab for one run.
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Options {
            speed: None,
            seed: 1,
            world: WorldName::default(),
            port: None,
            faults,
            guests: Vec::new(),
            serves: false,
        }
    }
}

/// Reads the names of faults.
///
/// # Errors
/// `Invalid` with the names that there are.
pub(crate) fn faults(names: &[String]) -> Result<Vec<Fault>> {
    let parse = |name: &String| {
        name.parse::<Fault>().map_err(|e| {
            Error::invalid(e.to_string()).hint(format!("the faults are {}", Fault::NAMES.join(", ")))
        })
    };
    names.iter().map(parse).collect()
}

/// A lab that this process runs.
pub(crate) struct OwnLab {
    lab: Lab,
    file: LabFile,
    path: PathBuf,
    beating: JoinHandle<()>,
    _lock: File,
}

/// What came of the wish for a lab of one's own.
pub(crate) enum Found {
    /// It runs in this process.
    Own(Box<OwnLab>),
    /// Another process serves it already.
    Served(Box<LabFile>),
}

impl OwnLab {
    /// Starts the lab of a folder, or finds that another process serves it.
    ///
    /// # Errors
    /// `Invalid` when another process has it and does not share it; `Storage` when the folder cannot be used.
    pub(crate) async fn start(folder: &Path, options: Options) -> Result<Found> {
        let failed = |e: std::io::Error| {
            Error::storage(format!("failed to use the lab's folder {}", folder.display())).because(e)
        };
        platform::make_private_folder(folder).map_err(failed)?;
        let path = folder.join(LAB_FILE);
        let before = path.is_file().then(|| LabFile::read(&path)).transpose()?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        if lock.try_lock().is_err() {
            return match before {
                Some(file) if file.serves && !options.serves => Ok(Found::Served(Box::new(file))),
                _ => Err(Error::invalid(format!("another process runs the lab in {}", folder.display()))
                    .hint("let both share one: start `relight lab` and leave it running, then use --lab as before")),
            };
        }
        let began = Timestamp::now();
        let speed = options.speed.or(before.as_ref().map(|file| file.clock.speed)).unwrap_or(SPEED);
        let origin = before.as_ref().map_or(began, |file| file.clock.until);
        let clock = ScaledClock { origin, began, speed };
        let config = LabConfig {
            seed: options.seed,
            dir: Some(folder.join("world")),
            faults: options.faults,
            guests: options.guests,
            world: options.world,
            port: options.port,
            speed,
            ..LabConfig::new(Arc::new(move || clock.now()))
        };
        let lab = Lab::start(config).await.map_err(not_started)?;
        let time = Time { origin, began, speed, until: horizon(clock) };
        let file = LabFile { descriptor: lab.descriptor(), clock: time, serves: options.serves };
        file.write(&path)?;
        let beating = tokio::spawn(beat(file.clone(), path.clone()));
        Ok(Found::Own(Box::new(OwnLab { lab, file, path, beating, _lock: lock })))
    }

    /// Returns what others need to use it.
    pub(crate) fn file(&self) -> &LabFile {
        &self.file
    }

    /// Stops it, and writes down how late it is.
    pub(crate) async fn stop(mut self) {
        self.beating.abort();
        self.lab.stop().await;
        self.file.clock.until = self.file.clock.clock().now();
        self.file.serves = false;
        // The last beat holds when this fails.
        let _ = self.file.write(&self.path);
    }
}

/// Returns whether a process runs the lab of a folder right now.
pub(crate) fn is_in_use(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err())
}

/// Returns whether there is a lab in a folder that no process runs right now: its time stands still.
pub(crate) fn is_asleep(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// Returns where the world of a lab of one's own lies, before there is one.
pub(crate) fn scope_of_new() -> Scope {
    let Options { world, seed, .. } = Options::new(Vec::new());
    Scope::of(&world, seed)
}

fn not_started(error: LabError) -> Error {
    Error::invalid("failed to start the lab").because(error)
}

/// The time that will not be passed before it is written down again. What a killed process leaves
/// unused of it is how far the lab's time jumps, so it is short.
fn horizon(clock: ScaledClock) -> Timestamp {
    clock.now().saturating_add(3 * BEAT * clock.speed.max(1)).unwrap_or(Timestamp::MAX)
}

/// Writes the time down, again and again.
async fn beat(mut file: LabFile, path: PathBuf) {
    loop {
        tokio::time::sleep(BEAT).await;
        file.clock.until = horizon(file.clock.clock());
        if let Err(error) = file.write(&path) {
            tracing::warn!("{error:?}");
        }
    }
}
