//! Builds the engine of a command: folders, library, cloud, credential, lab, journal.
//!
//! A command takes no more than it needs. [`Home`] reads a few files; [`Home::engine`] knows the
//! operations and opens nothing; [`Home::offline_engine`] opens the journal; [`Home::connect`] reaches Azure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock, SteppedClock, SystemClock};
use relight_engine::event::digest;
use relight_engine::journal::{Journal, SqliteJournal};
use relight_engine::{Engine, EngineBuilder, Error, Library, Result};
use relight_lab::Scope;
use relight_stdlib::rdp::Viewer;
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Here};

use crate::accounts::Accounts;
use crate::args::{Global, Place, Recorded};
use crate::azure::{self, GROUP, SUBSCRIPTION};
use crate::config::{Config, Traces};
use crate::environment::variable;
use crate::format::quoted;
use crate::lab::{self, Found, LabFile, OwnLab};
use crate::record::Record;
use crate::remote::{Client, RemoteJournal};
use crate::report::{Audience, Reporter};
use crate::secrets::Secrets;
use crate::serving::is_served;
use crate::traces::Tracer;
use crate::{memory, platform, runbooks};

/// Where this user keeps things, and what was chosen on the command line.
pub(crate) struct Home {
    global: Global,
    config: Config,
    folder: Option<PathBuf>,
    record: Option<Record>,
    remote: Option<Remote>,
}

/// A service that is asked instead of the journal here.
struct Remote {
    client: Client,
    /// What the time was there when it was asked.
    now: Timestamp,
}

impl Home {
    /// Looks where things are. Opens nothing but the configuration.
    ///
    /// # Errors
    /// `Invalid` when the configuration is wrong or a chosen folder is not there.
    pub(crate) fn find(global: &Global) -> Result<Self> {
        if global.lab.is_none() && (global.lab_speed.is_some() || !global.lab_fault.is_empty()) {
            return Err(Error::invalid("--lab-speed and --lab-fault are for --lab").hint("add --lab"));
        }
        let config = Config::read(global.config.as_deref(), global.library.as_deref())?;
        let chosen = global.library.clone().or_else(|| config.library.path.clone());
        if let Some(folder) = chosen.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(Error::invalid(format!("there is no runbook folder {}", folder.display())).hint(
                "give another one with --library or RELIGHT_LIBRARY, or make it with `relight new NAME`",
            ));
        }
        let own =
            platform::config_folder().map(|folder| folder.join("runbooks")).filter(|folder| folder.is_dir());
        Ok(Home { global: global.clone(), config, folder: chosen.or(own), record: None, remote: None })
    }

    /// Looks where things are: here, or at a service, which is asked who it is.
    ///
    /// # Errors
    /// As [`find`](Self::find); `Unsent` when the service is not reached, `Denied` when it does not know the token.
    pub(crate) async fn at(global: &Global, place: &Place) -> Result<Self> {
        let home = Home::find(global)?;
        let Some(url) = &place.server else { return Ok(home) };
        home.refuse_lab("a service is over the lab, or is not, by itself")?;
        let client = Client::new(url, &home.config.remote)?;
        let now = client.now().await?;
        Ok(Home { remote: Some(Remote { client, now }), ..home })
    }

    /// Returns the service that is asked instead of the journal here, if one is.
    pub(crate) fn remote(&self) -> Option<&Client> {
        self.remote.as_ref().map(|remote| &remote.client)
    }

    /// Makes sure that the runs here are meant.
    ///
    /// # Errors
    /// `Invalid`, with `what` cannot be done, when those of a service are.
    pub(crate) fn refuse_remote(&self, what: &str) -> Result<()> {
        match &self.remote {
            Some(_) => Err(Error::invalid(format!("{what} through a service"))
                .hint("do it on the machine of the service, without --server")),
            None => Ok(()),
        }
    }

    /// Returns whether a service keeps the runs going.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub(crate) fn is_served(&self) -> Result<bool> {
        Ok(self.remote.is_some() || is_served(&self.state()?))
    }

    /// Writes down what is said to Azure from here on, when a file for it is named.
    ///
    /// # Errors
    /// `Invalid` when the file cannot be made.
    pub(crate) fn recorded(self, recorded: &Recorded) -> Result<Self> {
        let record = recorded.file.as_deref().map(Record::begin).transpose()?;
        Ok(Home { record, ..self })
    }

    /// Says what became of a recording, if there is one.
    pub(crate) fn tell_recorded(&self) {
        if let Some(record) = &self.record {
            record.tell();
        }
    }

    /// Returns what is written down, if anything is.
    pub(crate) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Looks where things are, before the runbook folder is there.
    ///
    /// # Errors
    /// `Invalid` when the configuration is wrong or there is no place for runbooks.
    pub(crate) fn library_to_write(global: &Global) -> Result<PathBuf> {
        let config = Config::read(global.config.as_deref(), global.library.as_deref())?;
        let own = || platform::config_folder().map(|folder| folder.join("runbooks"));
        global.library.clone().or(config.library.path).or_else(own).ok_or_else(|| {
            Error::invalid("there is no folder for runbooks")
                .hint("give one with --library or RELIGHT_LIBRARY")
        })
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Returns where traces of runs go, if they go anywhere.
    ///
    /// # Errors
    /// `Invalid` when a variable that says so cannot be used.
    pub(crate) fn traces(&self) -> Result<Option<Traces>> {
        Traces::chosen(self.config.traces.as_ref(), variable)
    }

    /// Returns the folder of one's own runbooks.
    pub(crate) fn library_folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Returns the runbooks: the folder's, and behind them those that ship.
    pub(crate) fn library(&self) -> Library {
        match &self.folder {
            Some(folder) => runbooks::shipped().folder(folder),
            None => runbooks::shipped(),
        }
    }

    /// Returns whether the lab is meant rather than Azure.
    pub(crate) fn is_lab(&self) -> bool {
        self.global.lab.is_some()
    }

    /// Makes sure that Azure is meant.
    ///
    /// # Errors
    /// `Invalid`, with `why`, when the lab is.
    pub(crate) fn refuse_lab(&self, why: &str) -> Result<()> {
        match self.is_lab() {
            true => Err(Error::invalid(why).hint("leave --lab out")),
            false => Ok(()),
        }
    }

    /// Returns whether another process runs the lab that is meant.
    pub(crate) fn is_lab_in_use(&self) -> bool {
        self.is_lab() && self.lab_folder().is_ok_and(|folder| lab::is_in_use(&folder))
    }

    /// Returns ` --lab` or what else must follow a command to mean the same place.
    pub(crate) fn same_place(&self) -> String {
        if let Some(remote) = &self.remote {
            return remote.client.option();
        }
        match &self.global.lab {
            None => String::new(),
            Some(None) => " --lab".to_owned(),
            Some(Some(file)) => format!(" --lab={}", crate::format::quoted(&file.to_string_lossy())),
        }
    }

    /// Returns who keeps going what is written down there, as people are told.
    pub(crate) fn keeper(&self) -> String {
        match &self.remote {
            Some(_) => "the service".to_owned(),
            None => format!("`relight serve{}`", self.same_place()),
        }
    }

    /// Returns the folder of the runs.
    ///
    /// # Errors
    /// `Invalid` when there is no place for state.
    pub(crate) fn state(&self) -> Result<PathBuf> {
        let chosen = variable("RELIGHT_STATE").map(PathBuf::from);
        let is_chosen = chosen.is_some();
        let state = || {
            let own = chosen.or_else(|| self.config.state.path.clone()).or_else(platform::state_folder);
            own.ok_or_else(|| Error::invalid("there is no folder for runs").hint("set RELIGHT_STATE to one"))
        };
        match &self.global.lab {
            None => state(),
            Some(None) => Ok(state()?.join("lab")),
            // Beside the lab that it belongs to, unless a place for state was chosen.
            Some(Some(_)) if !is_chosen => self.lab_folder(),
            Some(Some(file)) => {
                let whole = std::fs::canonicalize(file).unwrap_or_else(|_| file.clone());
                Ok(state()?.join(format!("lab-{}", &digest(&[&whole.to_string_lossy()])[..8])))
            }
        }
    }

    /// Returns the folder of the lab that is meant.
    fn lab_folder(&self) -> Result<PathBuf> {
        match &self.global.lab {
            Some(Some(file)) => Ok(file.parent().map(Path::to_owned).unwrap_or_default()),
            _ => self.state(),
        }
    }

    /// Returns the lab's file, if there is one already.
    fn file(&self) -> Result<Option<LabFile>> {
        match &self.global.lab {
            None => Ok(None),
            Some(Some(file)) => LabFile::read(file).map(Some),
            Some(None) => {
                let path = self.state()?.join(lab::LAB_FILE);
                path.is_file().then(|| LabFile::read(&path)).transpose()
            }
        }
    }

    /// Returns where the lab's world lies, also before there is one.
    fn scope(&self) -> Result<Option<Scope>> {
        Ok(match (self.is_lab(), self.file()?) {
            (false, _) => None,
            (true, Some(file)) => Some(file.descriptor.scope()),
            (true, None) => Some(lab::scope_of_new()),
        })
    }

    /// Returns an engine that knows the library and the operations, and opens and reaches nothing.
    ///
    /// # Errors
    /// `Invalid` when the operations cannot be built.
    pub(crate) fn engine(&self) -> Result<Engine> {
        self.builder(&azure::nowhere()?, None)?.build()
    }

    /// Returns an engine that can tell what a run would do.
    ///
    /// # Errors
    /// As [`engine`](Self::engine).
    pub(crate) fn planner(&self) -> Result<Engine> {
        self.builder(&azure::nowhere()?, self.scope()?)?.build()
    }

    /// Opens the journal, to look at runs and to leave signals for them; that of a service, if one is asked. Reaches no cloud.
    ///
    /// # Errors
    /// `Storage` when the journal cannot be opened.
    pub(crate) fn offline_engine(&self) -> Result<Engine> {
        let file = self.file()?;
        let scope = file.as_ref().map(|file| file.descriptor.scope());
        self.offline_engine_over(file, scope)
    }

    /// Opens the journal, to write runs down that somebody else drives. Reaches no cloud.
    ///
    /// # Errors
    /// As [`offline_engine`](Self::offline_engine).
    pub(crate) fn offline_engine_for_new_runs(&self) -> Result<Engine> {
        self.offline_engine_over(self.file()?, self.scope()?)
    }

    fn offline_engine_over(&self, file: Option<LabFile>, scope: Option<Scope>) -> Result<Engine> {
        if let Some(Remote { client, now }) = &self.remote {
            let clock = ScaledClock { origin: *now, began: Timestamp::now(), speed: 1 };
            let journal = Arc::new(RemoteJournal::new(client.clone()));
            return self.builder(&azure::nowhere()?, None)?.clock(Arc::new(clock)).journal(journal).build();
        }
        let clock: Arc<dyn Clock> = match &file {
            None => Arc::new(SystemClock),
            Some(file) if lab::is_asleep(&self.lab_folder()?) => {
                Arc::new(SteppedClock::new(file.clock.until))
            }
            Some(file) => Arc::new(file.clock.clock()),
        };
        let builder = self.builder(&azure::nowhere()?, scope)?;
        builder.clock(clock).journal(open(&self.state()?)?).build()
    }

    /// Returns Azure, or the lab that another process serves, for a command that keeps no journal.
    ///
    /// # Errors
    /// `Denied` when no credential can be chosen, `Invalid` when the lab cannot be used or nobody serves it.
    pub(crate) async fn reach(&self) -> Result<Azure> {
        let azure = match (&self.global.lab, self.file()?) {
            (None, _) => azure::reach(&self.config, &self.accounts()?, self.record()).await?,
            (Some(Some(_)), Some(file)) => azure::in_lab(&file, self.record())?,
            (Some(None), Some(file)) if file.serves && self.is_lab_in_use() => {
                azure::in_lab(&file, self.record())?
            }
            _ => {
                return Err(
                    Error::invalid("nobody serves the lab").hint("start `relight lab` in another terminal")
                );
            }
        };
        Ok(Azure { known_hosts: self.known_hosts()?, here: self.here(), ..azure })
    }

    /// Returns who is signed in here.
    ///
    /// # Errors
    /// `Invalid` when there is no place for state.
    pub(crate) fn accounts(&self) -> Result<Accounts> {
        Ok(Accounts::at(self.state()?))
    }

    /// Returns the host keys that this user trusts: beside the runs, and so apart for each lab.
    fn known_hosts(&self) -> Result<KnownHosts> {
        Ok(KnownHosts::at(self.state()?.join("known_hosts")))
    }

    /// Returns what this machine has for OpenSSH, and for whoever wants to see a desktop.
    fn here(&self) -> Here {
        let proxy = format!("{} proxy{}", program(), self.same_place());
        Here { proxy: Some(proxy), viewer: Viewer::find(variable) }
    }

    /// Opens the journal and gets ready to reach Azure or the lab. Nothing is sent yet.
    ///
    /// # Errors
    /// `Storage` when the journal cannot be opened, `Denied` when no credential can be chosen,
    /// `Invalid` when the lab cannot be used.
    pub(crate) async fn connect(self, audience: Audience) -> Result<Session> {
        self.refuse_remote("this cannot be done")?;
        let state = self.state()?;
        let (own, file) = match (&self.global.lab, lab::faults(&self.global.lab_fault)?) {
            (None, _) => (None, None),
            (Some(None), faults) => {
                let options = lab::Options { speed: self.global.lab_speed, ..lab::Options::new(faults) };
                match OwnLab::start(&state, options).await? {
                    Found::Own(own) => (Some(*own), None),
                    Found::Served(file) => (None, Some(self.shared(*file)?)),
                }
            }
            (Some(Some(file)), _) => (None, Some(self.shared(LabFile::read(file)?)?)),
        };
        let file = own.as_ref().map(|own| own.file().clone()).or(file);
        let clock: Arc<dyn Clock> = match &file {
            Some(file) => Arc::new(file.clock.clock()),
            None => Arc::new(SystemClock),
        };
        let azure = match &file {
            Some(file) => azure::in_lab(file, self.record())?,
            None => azure::chosen(&self.config, &self.accounts()?, self.record()).await?,
        };
        let azure = Azure { known_hosts: self.known_hosts()?, here: self.here(), ..azure };
        let journal = open(&state)?;
        let reporter = Reporter::new(audience, clock.clone());
        let mut builder = self
            .builder(&azure, file.as_ref().map(|file| file.descriptor.scope()))?
            .journal(journal.clone())
            .clock(clock)
            .observer(reporter.observer());
        let tracer = match self.traces()? {
            Some(traces) => {
                let secrets = Arc::new(Secrets(azure.arm.clone()));
                Some(Tracer::start(&traces, &platform::who(), journal, secrets)?)
            }
            None => None,
        };
        if let Some(tracer) = &tracer {
            builder = builder.observer(tracer.observer());
        }
        let engine = builder.build()?;
        reporter.learn(&engine);
        Ok(Session { engine, reporter, home: self, azure, lab: own, tracer })
    }

    /// Returns the file of a lab that others use too, unless something about it was to be different.
    fn shared(&self, file: LabFile) -> Result<LabFile> {
        let wishes =
            !self.global.lab_fault.is_empty() || self.global.lab_speed.is_some_and(|s| s != file.clock.speed);
        match wishes {
            false => Ok(file),
            true => {
                Err(Error::invalid("the faults and the speed of a lab that is served are not chosen here")
                    .hint("give --fault and --speed to `relight lab`"))
            }
        }
    }

    fn builder(&self, azure: &Azure, lab: Option<Scope>) -> Result<EngineBuilder> {
        let group = self.config.azure.group.clone();
        let subscription = azure.subscription.clone().or_else(|| self.config.azure.subscription.clone());
        let environment = move |name: &str| match (name, &lab) {
            // A default that is meant for Azure must not be looked for in the lab.
            (GROUP, Some(lab)) => Some(lab.resource_group.clone()),
            (SUBSCRIPTION, Some(lab)) => Some(lab.subscription.clone()),
            (GROUP, None) => variable(name).or_else(|| group.clone()),
            (SUBSCRIPTION, None) => variable(name).or_else(|| subscription.clone()),
            _ => variable(name),
        };
        let builder = match memory::meter() {
            Some(meter) => Engine::builder().memory_meter(meter),
            None => Engine::builder(),
        };
        Ok(builder
            .operations(relight_stdlib::all(azure))
            .library(self.library())
            .concurrency(self.config.concurrency.concurrency())
            .secrets(Arc::new(Secrets(azure.arm.clone())))
            .environment(Arc::new(environment))
            .parameter_kind("resource_id", Arc::new(relight_stdlib::read_resource_id)))
    }
}

/// An engine at work, and what must be put away after it.
pub(crate) struct Session {
    /// The engine.
    pub(crate) engine: Engine,
    /// Who tells what happens.
    pub(crate) reporter: Reporter,
    /// Where things are.
    pub(crate) home: Home,
    /// What the operations work with.
    pub(crate) azure: Azure,
    lab: Option<OwnLab>,
    tracer: Option<Tracer>,
}

impl Session {
    /// Puts everything away. What was recorded is on the disk.
    pub(crate) async fn close(self) {
        self.reporter.clear();
        if let Some(tracer) = self.tracer {
            tracer.end().await;
        }
        drop(self.engine);
        self.home.tell_recorded();
        if let Some(lab) = self.lab {
            lab.stop().await;
        }
    }
}

/// Opens the journal of a folder.
///
/// # Errors
/// `Storage` when the folder or the database cannot be used.
pub(crate) fn open(state: &Path) -> Result<Arc<dyn Journal>> {
    platform::make_private_folder(state).map_err(|e| {
        Error::storage(format!("failed to make the folder {}", state.display()))
            .because(e)
            .hint("set RELIGHT_STATE to a folder that you can write to")
    })?;
    let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(&database(state))?);
    #[cfg(debug_assertions)]
    let journal = crate::drill::wrap(journal)?;
    Ok(journal)
}

/// Returns the file of the journal.
pub(crate) fn database(state: &Path) -> PathBuf {
    state.join("relight.db")
}

/// Returns this program, as a shell reads it.
pub(crate) fn program() -> String {
    let program = std::env::current_exe().map(|file| file.display().to_string());
    quoted(&program.unwrap_or_else(|_| "relight".to_owned()))
}
