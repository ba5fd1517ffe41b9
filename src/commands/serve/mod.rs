//! `relight serve`: schedules, leases and parked runs, as long as it runs.

mod install;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use relight_engine::journal::{Notification, RunFilter, Summary};
use relight_engine::worker::Worker;
use relight_engine::{Engine, Error};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::interrupt::{Interrupts, Means};
use crate::notify::{Notifier, Source};
use crate::report::Audience;
use crate::retention::{Rules, keep_tidy};
use crate::secrets::Secrets;
use crate::service::{self, Health, Options, Server, Tls};
use crate::serving::{Serving, watch_leases};
use crate::setup::Home;
use crate::{environment, platform, supervisor, terminal};
use install::Supervisor;

/// How often it is looked whether anything is open.
const LOOK: Duration = Duration::from_secs(2);

/// Keep runs, schedules and leases going
///
/// Drives runs that were detached or parked for a time, starts what is scheduled, and closes leases at their
/// deadline. Listens to nobody, unless an address is given: then people and programs with a token (`relight token`) start, follow, stop
/// and answer runs over HTTP. Writes what it does to standard error. Ctrl-C lets everything park and ends.
///
/// With --install the operating system runs it: the description of the service is written where systemd or launchd look for it, for Windows a
/// script that makes it, and what is left to be typed is said.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// End when nothing is open any more
    #[arg(long, conflicts_with = "install")]
    until_closed: bool,

    /// Listen at this address, such as 127.0.0.1:7411; port 0 takes a free one, which is said
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Certificate of the service, as PEM: needed at an address that others can reach
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of that certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Say what there is to say in this FILE instead of on standard error; at 10 MB it becomes FILE.1 and is begun anew
    #[arg(long, value_name = "FILE", conflicts_with = "install")]
    log: Option<PathBuf>,

    /// Take variables that are not set from this FILE, with NAME=VALUE in each line, if it is there
    #[arg(long, value_name = "FILE", conflicts_with = "install")]
    env_file: Option<PathBuf>,

    /// Speak to the Service Control Manager, which has started this
    #[cfg(windows)]
    #[arg(long, hide = true, conflicts_with = "install")]
    as_service: bool,

    /// Describe the service to the operating system, and start nothing
    #[arg(long)]
    install: bool,

    /// Print that description instead of writing it
    #[arg(long, requires = "install")]
    print: bool,

    /// Whose service it is; this system's when left out
    #[arg(long = "for", value_name = "WHO", requires = "install")]
    supervisor: Option<Supervisor>,
}

impl Serve {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let state = home.state()?;
        if self.install && (self.listen.is_some() || self.tls_cert.is_some()) {
            return Err(Error::invalid("where an installed service listens is not said here")
                .hint("write it below [service] in relight.toml, which the service reads when it starts")
                .into());
        }
        if self.install {
            let supervisor = self.supervisor.unwrap_or_else(Supervisor::of_this_system);
            supervisor.install(&state, global, self.print)?;
            return Ok(Exit::Done);
        }
        let options = self.options(&home)?;
        let config = home.config().clone();
        let session = home.connect(Audience::Log).await?;
        let _interrupts =
            Interrupts::watch(&session.engine, &session.reporter, Means::HandBack, "Letting the runs park");
        tracing::info!("serving the runs in {}", state.display());
        let _serving = Serving::announce(&state)?;
        let watching = tokio::spawn({
            let engine = session.engine.clone();
            async move { watch_leases(&engine).await }
        });
        let rules = Rules::of(&config.retention);
        let tidying = tokio::spawn({
            let (engine, state) = (session.engine.clone(), state.clone());
            async move {
                match rules {
                    Some(rules) => keep_tidy(&engine, &rules, &state).await,
                    None => std::future::pending().await,
                }
            }
        });
        let closed = tokio::spawn({
            let (engine, ends) = (session.engine.clone(), self.until_closed);
            async move {
                if ends {
                    all_is_closed(&engine).await;
                    engine.hand_back();
                }
            }
        });
        let source = Source {
            from: platform::who(),
            place: session.home.same_place(),
            secrets: Arc::new(Secrets(session.azure.arm.clone())),
        };
        let notifier = Notifier::start(&session.engine, &config.receivers, &source).await?;
        let health = Arc::new(Health::default());
        let server = match options {
            Some(options) => {
                Some(Server::start(&session.engine, state.clone(), options, health.clone()).await?)
            }
            None => None,
        };
        let pulse = move || {
            health.pulse();
            supervisor::alive();
        };
        let mut worker = Worker::new(&session.engine, |what, error| tracing::warn!("{what}: {error:?}"))
            .on_notification(|notification| tracing::warn!("{}", in_a_line(notification)))
            .on_pulse(pulse);
        supervisor::ready();
        worker.run().await;
        if let Some(server) = server {
            server.end().await;
        }
        // Also what was driven for a request, and the branches of a run that failed.
        session.engine.settle().await;
        notifier.end().await;
        closed.abort();
        for helper in [watching, tidying] {
            helper.abort();
            let _ = helper.await;
        }
        drop(worker);
        let leases = session.engine.leases().await;
        session.close().await;
        tracing::info!("everything is parked; the next `relight serve` goes on with it");
        let late = leases?.iter().filter(|open| open.is_late).count();
        // Whoever stops a service hears what it has not managed to close.
        if late > 0 {
            tracing::error!("{late} of what is open should have been closed by now: see `relight leases`");
            return Ok(Exit::Parked);
        }
        Ok(Exit::Done)
    }
}

impl Serve {
    /// Has the environment and the log be where they were chosen to be.
    ///
    /// # Errors
    /// `Invalid` when one of the files cannot be used.
    pub(crate) fn prepare(&self) -> relight_engine::Result<()> {
        if let Some(log) = &self.log {
            terminal::say_to(log)?;
        }
        self.env_file.as_deref().map_or(Ok(()), environment::take)
    }

    /// Returns whether the Service Control Manager is to be spoken to.
    #[cfg(windows)]
    pub(crate) fn is_for_service_manager(&self) -> bool {
        self.as_service
    }

    /// Returns where to listen: what the command line says, else the configuration.
    fn options(&self, home: &Home) -> relight_engine::Result<Option<Options>> {
        let config = &home.config().service;
        let Some(listen) = self.listen.as_ref().or(config.listen.as_ref()) else { return Ok(None) };
        let cert = self.tls_cert.clone().or_else(|| config.tls_cert.clone());
        let key = self.tls_key.clone().or_else(|| config.tls_key.clone());
        let tls = match (cert, key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
            (None, None) => None,
            _ => {
                return Err(Error::invalid("a certificate needs its key, and a key its certificate")
                    .hint("name both below [service] in relight.toml, or neither"));
            }
        };
        let address = service::address(listen)?;
        Ok(Some(Options { address, tls, secrets: config.secrets.clone() }))
    }
}

/// Says what became of ticks, and why.
fn in_a_line(notification: &Notification) -> String {
    match &notification.text {
        Some(because) => format!("{}: {because}", notification.title),
        None => notification.title.clone(),
    }
}

/// Waits until nothing is open, and no run is under way that could open something or is still closing it.
async fn all_is_closed(engine: &Engine) {
    loop {
        let open = async {
            let journal = engine.journal();
            let under_way = journal.runs(&RunFilter::open()).await?;
            // One in the queue is begun by the end of another, which is under way.
            let goes_on = |run: &Summary| !run.is_queued() && (run.park.is_none() || run.wake.is_some());
            let is_driven = under_way.iter().any(goes_on);
            Ok::<_, Error>(is_driven || !journal.leases().await?.is_empty())
        };
        match open.await {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => tracing::warn!("what is open cannot be read: {error}"),
        }
        engine.clock().sleep(LOOK).await;
    }
}
