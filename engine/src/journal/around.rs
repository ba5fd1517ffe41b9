//! A journal in front of another: what differs is written, everything else passes through.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Appended, Claim, ClaimRequest, ExtendRequest, Journal, LeaseFilter, NewRun, News, Outbox, OwnerId,
    Presence, PruneFilter, Queued, RunFilter, ScheduledEnd, Settlement, Status, Summary, Sync, Tenure,
    TickFilter,
};
use crate::error::Result;
use crate::event::{
    Event, ExtendedLease, ForgottenLease, Lease, Record, RunId, Schedule, Signal, Source, Tick,
};

/// A journal in front of another one, for watching it or for letting it fail.
///
/// Each method passes through to [`behind`](Self::behind) once [`allow`](Self::allow) has no
/// objection; override those that are to be different. Whoever is `Around` is a [`Journal`].
#[async_trait]
#[allow(missing_docs, reason = "each method is the one of `Journal`")]
pub trait Around: Send + std::marker::Sync + 'static {
    /// Returns the journal behind this one.
    fn behind(&self) -> &dyn Journal;

    /// Objects to a call before it passes through.
    ///
    /// # Errors
    /// Whatever the caller is to see in place of an answer.
    fn allow(&self) -> Result<()> {
        Ok(())
    }

    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        self.allow()?;
        self.behind().prepare(run, at).await
    }

    fn enter(&self, owner: &OwnerId) -> Result<()> {
        self.behind().enter(owner)
    }

    fn leave(&self, owner: &OwnerId) {
        self.behind().leave(owner);
    }

    fn presence(&self, owner: &OwnerId) -> Presence {
        self.behind().presence(owner)
    }

    async fn sweep(&self) -> Result<()> {
        self.allow()?;
        self.behind().sweep().await
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        self.allow()?;
        self.behind().heartbeat(owner, until).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.allow()?;
        self.behind().claim(request).await
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        self.allow()?;
        self.behind().append(tenure, events, at, sync).await
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        self.allow()?;
        self.behind().records(run, after).await
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        self.allow()?;
        self.behind().sources(run).await
    }

    async fn keep(&self, text: &str) -> Result<()> {
        self.allow()?;
        self.behind().keep(text).await
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        self.allow()?;
        self.behind().kept(fingerprint).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        self.allow()?;
        self.behind().run(run).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        self.allow()?;
        self.behind().runs(filter).await
    }

    async fn tally(&self) -> Result<Vec<(Status, u64)>> {
        self.allow()?;
        self.behind().tally().await
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>> {
        self.allow()?;
        self.behind().find(beginning, limit).await
    }

    async fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Summary>> {
        self.allow()?;
        self.behind().prunable(filter).await
    }

    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>> {
        self.allow()?;
        self.behind().prune(runs, at).await
    }

    async fn pruned(&self, run: &RunId) -> Result<Option<Timestamp>> {
        self.allow()?;
        self.behind().pruned(run).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        self.allow()?;
        self.behind().due(now, limit).await
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        self.allow()?;
        self.behind().next_due(after).await
    }

    fn news(&self) -> News {
        self.behind().news()
    }

    async fn was_written_past(&self) -> Result<bool> {
        self.allow()?;
        self.behind().was_written_past().await
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        self.allow()?;
        self.behind().signal(run, signal, at).await
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        self.allow()?;
        self.behind().signals(run).await
    }

    async fn signalled(&self, owner: &OwnerId) -> Result<Vec<RunId>> {
        self.allow()?;
        self.behind().signalled(owner).await
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        self.allow()?;
        self.behind().queue().await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        self.allow()?;
        self.behind().leases().await
    }

    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        self.allow()?;
        self.behind().leases_where(filter).await
    }

    async fn forget_lease(&self, id: &str, by: &str, because: &str, at: Timestamp) -> Result<bool> {
        self.allow()?;
        self.behind().forget_lease(id, by, because, at).await
    }

    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        self.allow()?;
        self.behind().forgotten_leases().await
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        self.allow()?;
        self.behind().extend_lease(request).await
    }

    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        self.allow()?;
        self.behind().extended_leases().await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        self.allow()?;
        self.behind().schedules().await
    }

    async fn schedules_due(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        self.allow()?;
        self.behind().schedules_due(now).await
    }

    async fn schedule(&self, id: &str) -> Result<Option<Schedule>> {
        self.allow()?;
        self.behind().schedule(id).await
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        self.allow()?;
        self.behind().settle(settlement, at).await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>> {
        self.allow()?;
        self.behind().ticks(filter).await
    }

    async fn prune_ticks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.allow()?;
        self.behind().prune_ticks(before, limit).await
    }

    async fn scheduled_ends(&self, limit: usize) -> Result<Vec<ScheduledEnd>> {
        self.allow()?;
        self.behind().scheduled_ends(limit).await
    }

    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>> {
        self.allow()?;
        self.behind().stop_overdue(now).await
    }

    fn outbox(&self) -> &dyn Outbox {
        self.behind().outbox()
    }
}

#[async_trait]
impl<T: Around> Journal for T {
    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        Around::prepare(self, run, at).await
    }

    fn enter(&self, owner: &OwnerId) -> Result<()> {
        Around::enter(self, owner)
    }

    fn leave(&self, owner: &OwnerId) {
        Around::leave(self, owner);
    }

    fn presence(&self, owner: &OwnerId) -> Presence {
        Around::presence(self, owner)
    }

    async fn sweep(&self) -> Result<()> {
        Around::sweep(self).await
    }

    async fn heartbeat(&self, owner: &OwnerId, until: Timestamp) -> Result<()> {
        Around::heartbeat(self, owner, until).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        Around::claim(self, request).await
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        Around::append(self, tenure, events, at, sync).await
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        Around::records(self, run, after).await
    }

    async fn sources(&self, run: &RunId) -> Result<Vec<Source>> {
        Around::sources(self, run).await
    }

    async fn keep(&self, text: &str) -> Result<()> {
        Around::keep(self, text).await
    }

    async fn kept(&self, fingerprint: &str) -> Result<String> {
        Around::kept(self, fingerprint).await
    }

    async fn run(&self, run: &RunId) -> Result<Option<Summary>> {
        Around::run(self, run).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<Summary>> {
        Around::runs(self, filter).await
    }

    async fn tally(&self) -> Result<Vec<(Status, u64)>> {
        Around::tally(self).await
    }

    async fn find(&self, beginning: &str, limit: usize) -> Result<Vec<Summary>> {
        Around::find(self, beginning, limit).await
    }

    async fn prunable(&self, filter: &PruneFilter) -> Result<Vec<Summary>> {
        Around::prunable(self, filter).await
    }

    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>> {
        Around::prune(self, runs, at).await
    }

    async fn pruned(&self, run: &RunId) -> Result<Option<Timestamp>> {
        Around::pruned(self, run).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<RunId>> {
        Around::due(self, now, limit).await
    }

    async fn next_due(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        Around::next_due(self, after).await
    }

    fn news(&self) -> News {
        Around::news(self)
    }

    async fn was_written_past(&self) -> Result<bool> {
        Around::was_written_past(self).await
    }

    async fn signal(&self, run: &RunId, signal: &Signal, at: Timestamp) -> Result<()> {
        Around::signal(self, run, signal, at).await
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        Around::signals(self, run).await
    }

    async fn signalled(&self, owner: &OwnerId) -> Result<Vec<RunId>> {
        Around::signalled(self, owner).await
    }

    async fn queue(&self) -> Result<Vec<Queued>> {
        Around::queue(self).await
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Around::leases(self).await
    }

    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        Around::leases_where(self, filter).await
    }

    async fn forget_lease(&self, id: &str, by: &str, because: &str, at: Timestamp) -> Result<bool> {
        Around::forget_lease(self, id, by, because, at).await
    }

    async fn forgotten_leases(&self) -> Result<Vec<ForgottenLease>> {
        Around::forgotten_leases(self).await
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        Around::extend_lease(self, request).await
    }

    async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        Around::extended_leases(self).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>> {
        Around::schedules(self).await
    }

    async fn schedules_due(&self, now: Timestamp) -> Result<Vec<Schedule>> {
        Around::schedules_due(self, now).await
    }

    async fn schedule(&self, id: &str) -> Result<Option<Schedule>> {
        Around::schedule(self, id).await
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        Around::settle(self, settlement, at).await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<Tick>> {
        Around::ticks(self, filter).await
    }

    async fn prune_ticks(&self, before: Timestamp, limit: usize) -> Result<usize> {
        Around::prune_ticks(self, before, limit).await
    }

    async fn scheduled_ends(&self, limit: usize) -> Result<Vec<ScheduledEnd>> {
        Around::scheduled_ends(self, limit).await
    }

    async fn stop_overdue(&self, now: Timestamp) -> Result<Vec<RunId>> {
        Around::stop_overdue(self, now).await
    }

    fn outbox(&self) -> &dyn Outbox {
        Around::outbox(self)
    }
}
