//! A log in front of another: what differs is written, everything else passes through.

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{
    Closing, Duties, Entry, Hold, Label, Logged, Make, Next, OtherRuns, Patience, RunLog, Standing, Until,
    Woken,
};
use crate::drive::{Driven, Halt};
use crate::error::Result;
use crate::event::{Effected, Lease, Record, RunId, Signal};
use crate::journal::{LeaseFilter, NewRun};

/// A log in front of another one, for watching it or for letting it fail. Whoever is `AroundLog` is a [`RunLog`].
#[async_trait]
pub trait AroundLog: Send + Sync + 'static {
    /// Returns the log behind this one.
    fn behind(&self) -> &dyn RunLog;

    /// As [`RunLog::next`]; passes through unless it is written otherwise.
    ///
    /// # Errors
    /// As there.
    async fn next(&self, position: u64, label: Label, make: Make<'_>) -> Result<Next> {
        self.behind().next(position, label, make).await
    }
}

#[async_trait]
impl<T: AroundLog> RunLog for T {
    fn run(&self) -> &RunId {
        self.behind().run()
    }

    async fn next(&self, position: u64, label: Label, make: Make<'_>) -> Result<Next> {
        AroundLog::next(self, position, label, make).await
    }

    async fn annotate(&self, entry: Entry) -> Result<Vec<Logged>> {
        self.behind().annotate(entry).await
    }

    async fn text(&self, sha256: &str) -> Result<String> {
        self.behind().text(sha256).await
    }

    async fn wait(&self, until: Until, hold: Hold) -> Result<Woken> {
        self.behind().wait(until, hold).await
    }

    fn halted(&self) -> Option<Halt> {
        self.behind().halted()
    }

    async fn interrupted(&self, by_stop: bool) -> Result<()> {
        self.behind().interrupted(by_stop).await
    }

    fn is_gone(&self, driver: &str) -> bool {
        self.behind().is_gone(driver)
    }
}

#[async_trait]
impl<T: AroundLog> OtherRuns for T {
    async fn begin(&self, run: NewRun) -> Result<()> {
        self.behind().begin(run).await
    }

    fn drive(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>> {
        self.behind().drive(run, hold)
    }

    async fn let_go(&self, run: &RunId) {
        self.behind().let_go(run).await;
    }

    fn patience(&self, hold: Hold) -> Patience {
        self.behind().patience(hold)
    }

    async fn standing(&self, run: &RunId) -> Result<Option<Standing>> {
        self.behind().standing(run).await
    }

    async fn tell(&self, run: &RunId, signal: &Signal) -> Result<bool> {
        self.behind().tell(run, signal).await
    }

    async fn past(&self, run: &RunId) -> Result<Vec<Record>> {
        self.behind().past(run).await
    }
}

#[async_trait]
impl<T: AroundLog> Duties for T {
    async fn take_on(&self, duty: &Effected) -> Result<()> {
        self.behind().take_on(duty).await
    }

    async fn leases(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        self.behind().leases(filter).await
    }

    async fn close(&self, lease: &Lease, now: bool) -> Result<Closing> {
        self.behind().close(lease, now).await
    }

    fn drive_closing(&self, run: &RunId, hold: Hold) -> BoxFuture<'static, Result<Driven>> {
        self.behind().drive_closing(run, hold)
    }

    async fn check_wanted(&self, lease: &Lease) -> Result<()> {
        self.behind().check_wanted(lease).await
    }

    async fn is_being_opened(&self, lease: &str) -> Result<bool> {
        self.behind().is_being_opened(lease).await
    }
}
