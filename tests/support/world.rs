//! World: the engine, the standard library, the lab and one clock, in one call.
//!
//! The time stands still until somebody waits, and then jumps to the end of the wait: a run of hours is over in
//! milliseconds, and the lab reads the same clock. A world that was used must leave no complaint of the lab behind.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Lease, Park, Record, RunEnd};
use relight_engine::journal::{Journal, MemoryJournal, OwnerId, RunFilter, SqliteJournal, Summary};
use relight_engine::worker::Worker;
use relight_engine::{
    Driven, Engine, EngineBuilder, Error, ErrorKind, Failure, Hint, Notice, Result, RunId, RunRequest,
    Secret, SecretSource,
};
use relight_lab::{Descriptor, Lab, LabConfig, LedgerEntry};
use relight_stdlib::azure::{Arm, Cloud, Credential};
use relight_stdlib::net::Route;
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Dialer, Here};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::runbooks::{SHIPPED, shipped};

/// The runbook that everything else is measured by.
pub(crate) const FLAGSHIP: &str = "recover-unbootable-vm";

/// When a world begins.
pub(crate) fn morning() -> Timestamp {
    "2026-11-20T08:00:00Z".parse().expect("a time")
}

/// A rehearsal: one site, one journal, one clock, and any number of processes over them.
pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) clock: SteppedClock,
    pub(crate) journal: Arc<dyn Journal>,
    /// The same journal, when it is kept in memory and can be cut.
    pub(crate) memory: Option<Arc<MemoryJournal>>,
    /// The folder in which runs write files.
    pub(crate) folder: TempDir,
    pub(crate) notices: Arc<Mutex<Vec<Notice>>>,
    secrets: BTreeMap<String, String>,
    is_restarted_at_once: AtomicBool,
    /// Whether several requests may be on their way at once.
    is_several: bool,
}

/// A run and how far it came.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) run: RunId,
    pub(crate) driven: Driven,
}

/// Secrets that a test hands out, and those in files of a folder.
struct Pocket(BTreeMap<String, String>, PathBuf);

#[async_trait::async_trait]
impl SecretSource for Pocket {
    async fn reveal(&self, name: &str) -> Result<Secret> {
        let missing = || Error::new(ErrorKind::Denied, format!("there is no secret `{name}`"));
        if let Some(file) = name.strip_prefix("file:") {
            return std::fs::read_to_string(self.1.join(file)).map(Secret::new).map_err(|_| missing());
        }
        self.0.get(name).map(Secret::new).ok_or_else(missing)
    }
}

impl World {
    /// The `edge` site with nothing wrong with it, and a journal in memory.
    pub(crate) async fn new() -> Self {
        World::with(&[]).await
    }

    /// The `edge` site with faults.
    pub(crate) async fn with(faults: &[&str]) -> Self {
        World::on("edge", faults).await
    }

    /// A named site with faults.
    pub(crate) async fn on(site: &str, faults: &[&str]) -> Self {
        World::start(site, faults, SteppedClock::jumping(morning())).await
    }

    /// A site whose time moves as the given clock does.
    pub(crate) async fn start(site: &str, faults: &[&str], clock: SteppedClock) -> Self {
        speak_tls();
        let now = clock.clone();
        let mut config = LabConfig::new(Arc::new(move || now.now()));
        config.world = site.parse().expect("a site that the lab knows");
        config.faults = faults.iter().map(|name| name.parse().expect("a fault that the lab knows")).collect();
        let memory = Arc::new(MemoryJournal::new());
        World {
            lab: Lab::start(config).await.expect("a lab"),
            clock,
            journal: memory.clone(),
            memory: Some(memory),
            folder: TempDir::new().expect("a folder"),
            notices: Arc::default(),
            secrets: BTreeMap::new(),
            is_restarted_at_once: AtomicBool::new(false),
            is_several: false,
        }
    }

    /// The `edge` site for what does several things at once: time stands still, but [`passing`](Self::passing).
    pub(crate) async fn of_several(site: &str) -> Self {
        let mut world = World::start(site, &[], SteppedClock::new(morning())).await;
        world.is_several = true;
        world
    }

    /// Drives a future while time passes: whenever all is quiet, it goes on to the first who waits.
    pub(crate) async fn passing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let (mut before, mut quiet) = (None, 0);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            let Some(first) = self.clock.first_wait() else { continue };
            let notices = self.notices.lock().expect("no panic while noticing").len();
            let now = Some((self.lab.requests().len(), notices, first));
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            // A request or a script may be under way without a sign of it. A look that comes early does no harm,
            // and a net of minutes under a wait does.
            if quiet > if first < minutes(1) { 0 } else { 50 } {
                (before, quiet) = (None, 0);
                self.clock.advance(first);
            }
        }
    }

    /// Keeps runs in a database in the world's folder instead.
    pub(crate) fn on_disk(mut self) -> Self {
        self.journal = Arc::new(SqliteJournal::open(&self.database()).expect("a database"));
        self.memory = None;
        self
    }

    /// Hands out a secret.
    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns the secrets that are handed out.
    pub(crate) fn pocket(&self) -> Arc<dyn SecretSource> {
        Arc::new(Pocket(self.secrets.clone(), self.folder.path().to_owned()))
    }

    /// The host keys that every process over the same journal knows.
    fn known_hosts(&self) -> KnownHosts {
        KnownHosts::at(self.folder.path().join("known_hosts"))
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("relight.db")
    }

    /// A new process over the same journal: it knows nothing but what is recorded, has signed in nowhere, and can see
    /// that the one before it is gone.
    pub(crate) fn engine(&self) -> Engine {
        self.engine_over(self.journal.clone())
    }

    /// A new process over another journal.
    pub(crate) fn engine_over(&self, journal: Arc<dyn Journal>) -> Engine {
        self.builder().journal(journal).build().expect("an engine")
    }

    pub(crate) fn builder(&self) -> EngineBuilder {
        let clock = Arc::new(self.clock.clone());
        self.builder_with(&azure(&self.lab.descriptor(), clock, self.known_hosts()))
    }

    /// A builder of a process that reaches Azure in a way of its own.
    pub(crate) fn builder_with(&self, azure: &Azure) -> EngineBuilder {
        let about = self.lab.descriptor();
        let (group, notices) = (about.resource_group.clone(), self.notices.clone());
        Engine::builder()
            .operations(relight_stdlib::all(azure))
            .library(shipped())
            .clock(Arc::new(self.clock.clone()))
            .secrets(self.pocket())
            .environment(Arc::new(move |name| (name == "AZURE_DEFAULTS_GROUP").then(|| group.clone())))
            .owner(OwnerId::fresh(), Arc::new(|_| true))
            .observer(Arc::new(move |notice| {
                notices.lock().expect("no panic while noticing").push(notice.clone())
            }))
    }

    /// A request for a runbook of the library.
    pub(crate) fn request(&self, runbook: &str, params: &[(&str, &str)]) -> RunRequest {
        let mut request = RunRequest::new(runbook);
        request.workdir = self.folder.path().to_owned();
        params.iter().fold(request, |request, (name, value)| request.param(*name, *value))
    }

    /// A request for a script with effects.
    pub(crate) fn script(&self, effects: &[&str], script: &str) -> RunRequest {
        self.request("script", &[]).text(runbook(effects, script))
    }

    /// Runs a runbook of the library until it is over or a person must act.
    pub(crate) async fn run(&self, runbook: &str, params: &[(&str, &str)]) -> Ran {
        self.carry(&self.request(runbook, params)).await
    }

    /// Runs the flagship for the VM that does not boot.
    pub(crate) async fn recover(&self) -> Ran {
        self.run(FLAGSHIP, &[("vm", "web-01")]).await
    }

    /// Runs a script with effects.
    pub(crate) async fn run_script(&self, effects: &[&str], script: &str) -> Ran {
        self.carry(&self.script(effects, script)).await
    }

    pub(crate) async fn carry(&self, request: &RunRequest) -> Ran {
        let engine = self.engine();
        let run = engine.prepare(request).await.expect("a run is written down");
        self.go_on(&engine, run).await
    }

    /// Goes on with a parked run in a new process, as a person does who has looked at it for a minute.
    pub(crate) async fn resume(&self, run: &RunId) -> Ran {
        self.clock.advance(minutes(1));
        self.go_on(&self.engine(), run.clone()).await
    }

    async fn go_on(&self, engine: &Engine, run: RunId) -> Ran {
        let driven = self.passing(engine.run(&run)).await;
        let driven = driven.unwrap_or_else(|e| panic!("run {run} is driven: {e:?}"));
        Ran { run, driven }
    }

    /// Keeps everything going in a new process until a time: what is due before is done when it is due.
    ///
    /// Returns what went wrong on the way.
    pub(crate) async fn keep_until(&self, end: Timestamp) -> Vec<String> {
        let engine = self.engine();
        let troubles = Arc::new(Mutex::new(Vec::new()));
        let told = troubles.clone();
        let mut worker = Worker::new(&engine, move |what, error| {
            told.lock().expect("no panic while telling").push(format!("{what}: {error}"));
        });
        // A bound, so that a run which is due for ever is found rather than waited for.
        for _ in 0..200 {
            let found = worker.tick().await.expect("the journal is read");
            self.passing(worker.settle()).await;
            if !(found.runs.is_empty() && found.fired.is_empty() && found.closing.is_empty()) {
                continue;
            }
            match self.next_due().await.filter(|due| *due <= end) {
                Some(due) if due > self.clock.now() => self.clock.set(due),
                Some(_) => break,
                None => {
                    if self.clock.now() < end {
                        self.clock.set(end);
                    }
                    break;
                }
            }
        }
        let troubles = troubles.lock().expect("no panic while telling");
        troubles.clone()
    }

    pub(crate) async fn next_due(&self) -> Option<Timestamp> {
        let runs = self.journal.runs(&RunFilter::open()).await.expect("runs");
        let leases = self.leases().await;
        let schedules = self.journal.schedules().await.expect("schedules");
        let wakes = runs.into_iter().filter_map(|run| run.wake);
        let deadlines = leases.into_iter().map(|lease| lease.deadline);
        let all = wakes.chain(deadlines).chain(schedules.into_iter().map(|planned| planned.due));
        let now = self.clock.now();
        // Whatever is due already was looked at; the next thing is what is ahead.
        all.filter(|due| *due > now).min()
    }

    pub(crate) async fn leases(&self) -> Vec<Lease> {
        self.journal.leases().await.expect("leases")
    }

    pub(crate) async fn records(&self, run: &RunId) -> Vec<Record> {
        self.journal.records(run, 0).await.expect("records")
    }

    /// How many records all runs have: a process that drives one run may write those of others, too.
    pub(crate) async fn written(&self) -> u64 {
        let runs = self.journal.runs(&RunFilter::default()).await.expect("runs");
        let mut records = 0;
        for run in runs {
            records += run.seq;
            records += self.branches(&run.id).await.iter().map(|branch| branch.seq).sum::<u64>();
        }
        records
    }

    /// The branches of a run's steps, in their order.
    pub(crate) async fn branches(&self, run: &RunId) -> Vec<Summary> {
        let steps = self.journal.run(run).await.expect("a run").map_or(0, |run| run.step);
        let mut branches = Vec::new();
        for step in 1..=steps {
            branches.extend(self.engine().branches(run, step).await.expect("branches"));
        }
        branches
    }

    /// The runs and branches that cannot tell whether a request took effect.
    pub(crate) async fn undecided(&self) -> Vec<RunId> {
        let mut all = self.journal.runs(&RunFilter::default()).await.expect("runs");
        for run in all.clone() {
            all.extend(self.branches(&run.id).await);
        }
        all.retain(|run| matches!(run.park, Some(Park::Undecided { .. })));
        all.into_iter().map(|run| run.id).collect()
    }

    /// The names of the nodes whose console port is open.
    pub(crate) fn open_ports(&self) -> Vec<String> {
        open_ports(&self.lab.snapshot())
    }

    /// Every RDP file in the folder with its text, addresses reduced to what does not differ between labs.
    pub(crate) fn rdp_files(&self) -> Vec<(String, String)> {
        rdp_files(self.folder.path())
    }

    /// What the lab was told to change, as a multiset of requests.
    pub(crate) fn writes(&self) -> BTreeMap<String, usize> {
        writes(&self.lab.ledger())
    }

    /// What the lab complained about.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let at_once = self.is_restarted_at_once.load(Ordering::SeqCst);
        let is_forgiven = |complaint: &String| match complaint.as_str() {
            early if early.starts_with("poll of ") => at_once && early.contains("before the Retry-After"),
            // It was on its way when the other one was refused.
            again => self.is_several && again == "a token was used again after it had been refused",
        };
        self.lab.violations().into_iter().filter(|complaint| !is_forgiven(complaint)).collect()
    }

    /// Says that a process dies and the next one is there in the same instant: it cannot know that the one before was
    /// just told to wait, so one early look is forgiven.
    pub(crate) fn restarts_at_once(&self) {
        self.is_restarted_at_once.store(true, Ordering::SeqCst);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let violations = self.complaints();
            assert!(violations.is_empty(), "the lab complains:\n{}", violations.join("\n"));
        }
    }
}

impl Ran {
    /// The value of a run that succeeded.
    pub(crate) fn value(&self) -> &Value {
        match &self.driven {
            Driven::Ended(RunEnd::Succeeded { value }) => value,
            other => panic!("run {} should have succeeded: {other:#?}", self.run),
        }
    }

    /// The error of a run that failed.
    pub(crate) fn failure(&self) -> &Failure {
        match &self.driven {
            Driven::Ended(RunEnd::Failed { failure, .. }) => failure,
            other => panic!("run {} should have failed: {other:#?}", self.run),
        }
    }

    /// Why a run is parked.
    pub(crate) fn park(&self) -> &Park {
        match &self.driven {
            Driven::Parked(park, _) => park,
            other => panic!("run {} should be parked: {other:#?}", self.run),
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        matches!(self.driven, Driven::Ended(RunEnd::Succeeded { .. }))
    }
}

/// Everything that an error tells: message, causes and hints, one per line.
pub(crate) fn told(failure: &Failure) -> String {
    let error = failure.to_error();
    let mut text = error.message().to_owned();
    for line in failure.causes.iter().cloned().chain(error.hints().iter().map(Hint::to_string)) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

/// A runbook of a script and its effects.
pub(crate) fn runbook(effects: &[&str], script: &str) -> String {
    format!("/*---\ntitle = \"A script\"\neffects = {effects:?}\n---*/\n{script}\n")
}

/// The private addresses of a lab's machines may be somebody else's where this runs.
fn outside(low_ports: u16, host: &str, port: u16) -> Route {
    match host.parse::<Ipv4Addr>() {
        Ok(address) if address.is_private() => Route::Nowhere,
        // Where this user may not open them they are elsewhere.
        Ok(address) if address.is_loopback() && address != Ipv4Addr::LOCALHOST && port < 1024 => {
            Route::Via((address, port + low_ports).into())
        }
        _ => Route::Direct,
    }
}

/// How the standard library reaches a lab.
pub(crate) fn azure(about: &Descriptor, clock: Arc<dyn Clock>, known_hosts: KnownHosts) -> Azure {
    let mut cloud = Cloud::public();
    cloud.name = "lab".to_owned();
    cloud.arm = about.url.parse().expect("an address");
    cloud.login = cloud.arm.clone();
    cloud.audience.clone_from(&about.url);
    let credential = Credential::ClientSecret {
        tenant: about.tenant.clone(),
        client_id: about.client_id.clone(),
        secret: Secret::new(about.client_secret.clone()),
    };
    let cloud = cloud.with_ca_bundle(about.ca_pem.clone().into_bytes());
    Azure {
        arm: Arm::builder(cloud, credential).clock(clock).build().expect("a connection"),
        subscription: Some(about.subscription.clone()),
        group: Some(about.resource_group.clone()),
        dial: Dialer::routed({
            let low_ports = about.low_ports;
            move |host, port| outside(low_ports, host, port)
        }),
        known_hosts,
        here: Here { proxy: Some("relight proxy".to_owned()), viewer: None },
    }
}

pub(crate) fn speak_tls() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The requests that were accepted, each with how often: method, path and what the body says. Names that a run makes up
/// for its jobs stay, so that a second job for the same purpose shows as one that was not there before.
pub(crate) fn writes(ledger: &[LedgerEntry]) -> BTreeMap<String, usize> {
    let mut writes = BTreeMap::new();
    for entry in ledger.iter().filter(|entry| entry.effect) {
        *writes.entry(request(entry)).or_default() += 1;
    }
    writes
}

/// The requests that were accepted more than once, whether or not the second one had an effect: a request that was taken
/// is never sent again. Asking for credentials changes nothing, though it is a POST.
pub(crate) fn repeated(ledger: &[LedgerEntry]) -> Vec<String> {
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    // Asked for with a request of that kind, although nothing changes.
    const ASKS: [&str; 3] =
        ["/listcredentials", "/effectivenetworksecuritygroups", "/retrievebootdiagnosticsdata"];
    let asks = |entry: &&LedgerEntry| {
        let path = entry.path.to_ascii_lowercase();
        ASKS.iter().any(|end| path.ends_with(end))
    };
    let counted = ledger.iter().filter(|entry| entry.effect || entry.status < 400 && !asks(entry));
    for entry in counted {
        *accepted.entry(request(entry)).or_default() += 1;
    }
    let repeated = accepted.into_iter().filter(|(_, times)| *times > 1);
    repeated.map(|(request, times)| format!("{times} times {request}")).collect()
}

/// What was asked of the site, the same for every run of the same runbook: made-up names are left out.
pub(crate) fn purposes(ledger: &[LedgerEntry]) -> Vec<String> {
    let mut purposes: Vec<String> = ledger
        .iter()
        .filter(|entry| entry.effect)
        .map(|entry| {
            let request = request(entry);
            // A name that is made: its prefix, and digits that only the run knows.
            for (kind, prefix, digits) in [("/jobs/", 6, 12), ("/runcommands/", 8, 16)] {
                if let Some((before, after)) = request.split_once(kind) {
                    return format!("{before}{kind}{}*{}", &after[..prefix], &after[prefix + digits..]);
                }
            }
            // What has an extension run again is made up as well.
            if let Some(tag) = entry.body["properties"]["forceUpdateTag"].as_str() {
                let body = entry.body.to_string().replace(tag, "*");
                return format!("{} {} {body}", entry.method, entry.path.to_ascii_lowercase());
            }
            // Its description says which run made it, and until when.
            if let Some((before, _)) = request.split_once("/securityrules/relight-") {
                return format!("{before}/securityrules/relight-*");
            }
            request
        })
        .collect();
    purposes.sort();
    purposes
}

fn request(entry: &LedgerEntry) -> String {
    format!("{} {} {}", entry.method, entry.path.to_ascii_lowercase(), &entry.body_sha256[..12])
}

pub(crate) fn open_ports(snapshot: &Value) -> Vec<String> {
    let nodes = snapshot["clusters"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|c| c["nodes"].as_array().into_iter().flatten());
    nodes
        .filter(|node| node["port_open"] == true)
        .filter_map(|node| node["name"].as_str())
        .map(str::to_owned)
        .collect()
}

/// The RDP files of a folder. The network of a lab is its own, so its part of an address is left out.
pub(crate) fn rdp_files(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rdp"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, without_network(&std::fs::read_to_string(&path).expect("text")))
        })
        .collect();
    files.sort();
    files
}

/// Replaces `127.x.y.z` by `127.*.*.z`.
pub(crate) fn without_network(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("127.") {
        let (before, found) = rest.split_at(at);
        out.push_str(before);
        let fields: Vec<&str> = found.splitn(4, '.').collect();
        match fields.as_slice() {
            // Read from the left, so that an octet in the middle is never taken for the first.
            [_, x, y, last] if [x, y].iter().all(|octet| octet.parse::<u8>().is_ok()) => {
                out.push_str("127.*.*.");
                rest = last;
            }
            _ => {
                out.push_str("127.");
                rest = &found[4..];
            }
        }
    }
    out + rest
}

/// Replaces moments such as `2026-11-20T08:00:00Z` by a word.
fn without_times(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let is_time =
            word.len() >= 20 && word.is_char_boundary(20) && word[..20].parse::<Timestamp>().is_ok();
        if is_time { "(a time)" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Where two worlds differ, each place with what was expected and what is there.
pub(crate) fn differences(expected: &Value, got: &Value) -> Vec<String> {
    fn look(path: &str, expected: &Value, got: &Value, out: &mut Vec<String>) {
        match (expected, got) {
            (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
                one.iter()
                    .for_each(|(name, value)| look(&format!("{path}/{name}"), value, &other[name], out));
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                one.iter()
                    .zip(other)
                    .enumerate()
                    .for_each(|(n, (one, other))| look(&format!("{path}/{n}"), one, other, out));
            }
            (one, other) if one != other => out.push(format!("{path}: expected {one}, got {other}")),
            _ => {}
        }
    }
    let mut out = Vec::new();
    look("", expected, got, &mut out);
    out
}

/// Leaves out what only the run knows of a name that it made.
fn without_keys(text: &str) -> String {
    let mut parts = text.split("/relight-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "/relight-*" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit())
    })
}

/// What a run came to, the same in every lab and at every time of day.
pub(crate) fn plain_value(value: &Value) -> Value {
    const TIMES: [&str; 5] = ["closes_at", "due", "id", "lease", "run"];
    match value {
        Value::String(text) => Value::String(without_keys(&without_times(&without_network(text)))),
        Value::Array(items) => items.iter().map(plain_value).collect(),
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| !TIMES.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), plain_value(value))).collect())
        }
        other => other.clone(),
    }
}

pub(crate) const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}
