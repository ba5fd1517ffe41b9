//! Secrets that other processes used: known again before this one hears from a service.

use super::{Steps, Unwind};
use crate::error::Result;
use crate::event::{Cause, Park, RunId};
use crate::operation::Registered;
use crate::redact::secrets_in;
use crate::replay::History;
use crate::value::SecretRef;

impl Steps {
    /// Learns the secrets that earlier processes used, before this one hears from a service: what the
    /// service says could not be kept clean otherwise.
    pub(super) async fn remember_secrets(&self, operation: &Registered) -> Result<(), Unwind> {
        if operation.declaration.effects.is_empty() || std::mem::replace(&mut self.line().remembers, true) {
            return Ok(());
        }
        Box::pin(self.remember_all()).await
    }

    async fn remember_all(&self) -> Result<(), Unwind> {
        let (used, named, cause) = {
            let line = self.line();
            let (used, named) = self.secrets_of(&line.history);
            (used, named, line.history.prepared.cause.clone())
        };
        let cx = self.surroundings(0, 1);
        for secret in used {
            if !self.parts.revealed.knows(&secret.name)
                && let Err(error) = cx.secret(&secret).await
            {
                self.line().remembers = false;
                let error = error
                    .hint("an earlier step used it; without it, what comes next could not be kept clean");
                return Err(self.put_away(Park::Denied { failure: error.to_failure() }).await);
            }
        }
        // Those of the runs that this one came from, and what was only passed on, as far as they are here:
        // a lease is closed also where its opener's secrets are not.
        for secret in named.into_iter().chain(self.inherited(cause).await?) {
            if !self.parts.revealed.knows(&secret.name) {
                let _ = cx.secret(&secret).await;
            }
        }
        Ok(())
    }

    /// Returns the secrets that steps gave to services, and those that others only named.
    fn secrets_of(&self, history: &History) -> (Vec<SecretRef>, Vec<SecretRef>) {
        let (mut used, mut named) = (Vec::new(), Vec::new());
        for step in &history.steps {
            let operation = self.parts.language.operation(&step.operation);
            let reaches = operation.is_none_or(|operation| !operation.declaration.effects.is_empty());
            if reaches { &mut used } else { &mut named }.extend(secrets_in(&step.args));
        }
        (used, named)
    }

    /// Returns the secrets of the runs that this one came from. Each run is read once by one process.
    async fn inherited(&self, mut cause: Cause) -> Result<Vec<SecretRef>> {
        let mut found = Vec::new();
        loop {
            let run = match &cause {
                Cause::Run { id, .. } => id.clone(),
                // A lease is named after the run and the step that opened it.
                Cause::Lease { id } => RunId::from(id.rsplit_once('-').map_or("", |(run, _)| run)),
                Cause::Person | Cause::Rerun { .. } | Cause::Schedule { .. } => return Ok(found),
            };
            if !self.parts.revealed.meet(&run) {
                return Ok(found);
            }
            let records = self.log.past(&run).await?;
            if records.is_empty() {
                return Ok(found);
            }
            let history = History::read(&records)?;
            let (used, named) = self.secrets_of(&history);
            found.extend(used.into_iter().chain(named));
            cause = history.prepared.cause;
        }
    }
}
