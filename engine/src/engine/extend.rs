//! Moving the deadline of a lease: explicit, to a time, and never further than what opened it allows.
//!
//! Owns: what may be extended, and what is said where it may not. Does not own: that a closing which begins at the
//! same moment and an extension exclude each other ([`Journal::extend_lease`](crate::journal::Journal)).

use jiff::Timestamp;

use super::Engine;
use super::leases::no_lease;
use crate::error::{Error, Result};
use crate::event::{ExtendedLease, Lease};
use crate::hint::NextStep;
use crate::journal::{ExtendRequest, LeaseFilter};
use crate::lease;
use crate::replay::History;

impl Engine {
    /// Moves the deadline of a lease to a later time, and with it what was scheduled to close it before. Who did so,
    /// when, and from which deadline is kept. Nothing is sent.
    ///
    /// # Errors
    /// `Invalid` when there is no such lease; when its time is over, its closing has begun, or it is still being
    /// opened; when `to` is no later than its deadline, or later than what opened it allows. `Storage`.
    pub async fn extend_lease(&self, id: &str, to: Timestamp, by: &str) -> Result<ExtendedLease> {
        let journal = self.journal();
        loop {
            let found = journal.leases_where(&LeaseFilter::Id(id.to_owned())).await?.pop();
            let Some(lease) = found else { return Err(no_lease(id)) };
            let now = self.clock().now();
            check(&lease, to, now)?;
            self.check_is_open(&lease).await?;
            let on_the_door = journal.leases_where(&LeaseFilter::Door(lease.door.clone())).await?;
            // It has ended since.
            let Some(first) = lease::first_of(&on_the_door) else { continue };
            let closing = lease::last_closing(&**journal, first).await?;
            if let Some(run) = closing.ends(&lease, &on_the_door) {
                return Err(Error::invalid(format!("{} is being closed", lease.title))
                    .hint(NextStep::ShowRun { run: run.clone() }));
            }
            let request = ExtendRequest::new(&lease, to, by, now, closing.next);
            if let Some(extended) = journal.extend_lease(&request).await? {
                return Ok(extended);
            }
        }
    }

    /// Returns the deadlines that were moved, the last one first.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn extended_leases(&self) -> Result<Vec<ExtendedLease>> {
        self.journal().extended_leases().await
    }

    /// The step that opens something says itself until when it is open, once it is.
    async fn check_is_open(&self, lease: &Lease) -> Result<()> {
        if self.journal().run(&lease.run).await?.is_none_or(|run| run.status.is_over()) {
            return Ok(());
        }
        let history = History::read(&self.journal().records(&lease.run, 0).await?)?;
        match history.unfinished() {
            Some(step) if lease::id_of(&lease.run, step) == lease.id => {
                Err(Error::invalid(format!("{} is still being opened", lease.title))
                    .hint("extend it when it is open")
                    .hint(NextStep::ShowRun { run: lease.run.clone() }))
            }
            _ => Ok(()),
        }
    }
}

fn check(lease: &Lease, to: Timestamp, now: Timestamp) -> Result<()> {
    let Lease { title, deadline, .. } = lease;
    if *deadline <= now {
        return Err(Error::invalid(format!("{title} was open until {deadline:.0}, and is to be closed"))
            .hint("open it anew when it is closed"));
    }
    let Some(latest) = lease.latest else {
        return Err(Error::invalid(format!("{title} cannot be extended: it closes at {deadline:.0}"))
            .hint("what opened it does not say how long it may stay open; open it anew when it is closed"));
    };
    if to <= *deadline {
        return Err(Error::invalid(format!("{title} is open until {deadline:.0} already"))
            .hint("name a later time; to have it closed earlier, close it"));
    }
    if to > latest {
        return Err(Error::invalid(format!(
            "{title} may stay open until {latest:.0}, and not until {to:.0}"
        ))
        .hint(match *deadline < latest {
            true => "name an earlier time, or open it anew when it is closed",
            false => "open it anew when it is closed",
        }));
    }
    Ok(())
}
