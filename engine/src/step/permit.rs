//! What a step may call, and until when it may send.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use super::{SEND_MARGIN, Steps, Unwind, without_retry};
use crate::builtin::RUN;
use crate::cx::{Cx, Driving, SendPermit};
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::event::{Effected, Event, Progress, Stream};
use crate::journal::Sync;
use crate::log::Hold;
use crate::operation::Registered;
use crate::redact::secrets_in;
use crate::replay::PastStep;
use crate::runbook::Runbook;

/// How long after its record a step's request may leave. Whoever is suspended for longer asks the
/// journal first, which refuses when another process has the run by then.
const SEND_WITHIN: Duration = Duration::from_secs(30);

impl Driving for Steps {
    fn progress(&self, step: u32, progress: Progress) {
        self.parts.notice(self.log.run(), None, Event::Progress { step, progress });
    }

    fn output(&self, step: u32, stream: Stream, bytes: &[u8]) {
        self.take_output(step, stream, bytes);
    }

    fn extend(self: Arc<Self>, step: u32) -> BoxFuture<'static, Result<Timestamp>> {
        Box::pin(async move { self.extend_permit(step).await })
    }
}

impl Steps {
    pub(super) fn cx(&self, step: u32, past: &PastStep) -> Cx {
        let since = self.line().intended;
        let permit = past.send_before.as_ref().map(|(_, until)| SendPermit::new(*until, since, SEND_WITHIN));
        Cx { permit, ..self.surroundings(step, past.attempt) }
    }

    /// Returns what a step knows, without a permit to send.
    pub(super) fn surroundings(&self, step: u32, attempt: u32) -> Cx {
        Cx { around: self.around.clone(), step, attempt, permit: None, lease: None, told: None }
    }

    /// Returns until when a record that is written now permits its writer to send, if it is about
    /// something that changes the world.
    pub(super) fn send_before(&self, operation: &Registered) -> Option<Timestamp> {
        self.line().intended = self.parts.clock.elapsed();
        (!operation.declaration.is_read_only()).then(|| self.parts.after(SEND_WITHIN))
    }

    /// Asks the log for more time to send, which refuses when another process has the run.
    pub(super) async fn extend_permit(&self, step: u32) -> Result<Timestamp> {
        let send_before = self.parts.after(SEND_WITHIN);
        self.annotate(vec![Event::StepExtended { step, send_before }], Sync::Now).await?;
        Ok(send_before)
    }

    /// Waits until nobody else can still send for a step: whoever began it may only be suspended.
    pub(super) async fn outwait_its_maker(&self, past: &PastStep, hold: Hold) -> Result<(), Unwind> {
        let Some((maker, until)) = &past.send_before else { return Ok(()) };
        if self.line().is_intended_here || self.log.is_gone(maker) {
            return Ok(());
        }
        self.wait_until(until.saturating_add(SEND_MARGIN).unwrap_or(Timestamp::MAX), hold).await
    }

    pub(super) fn runbook(&self) -> Result<&Runbook> {
        self.runbook.get().ok_or_else(|| Error::invalid("the runbook is not known yet"))
    }

    /// Refuses a new call that the runbook must not make.
    pub(super) fn permit(&self, operation: &Registered, args: &Value) -> Result<()> {
        let declaration = &operation.declaration;
        let runbook = self.runbook()?;
        if let Some(effect) = runbook.effects.lacking_for(declaration.effects) {
            return Err(Error::invalid(format!(
                "`{}` requires the effect `{}`, which `{}` does not declare",
                declaration.name,
                effect.as_str(),
                runbook.name
            ))
            .hint(format!("add \"{}\" to the effects in the front matter", effect.as_str())));
        }
        if !secrets_in(args).is_empty() && !runbook.reach().allow(Effect::Secret) {
            return Err(Error::invalid(format!(
                "`{}` is given a secret, and `{}` says nothing of secrets",
                declaration.name, runbook.name
            ))
            .hint("add \"secret\" to the effects in the front matter"));
        }
        operation.check(&without_retry(args))?;
        match declaration.runbook_in(args) {
            // A child may be pinned; it is held to the same when it is prepared.
            Some(_) if declaration.name == RUN => Ok(()),
            Some(name) => self.permit_scheduled(name),
            None => Ok(()),
        }
    }

    /// Refuses to schedule a runbook that may do more than this one.
    pub(super) fn permit_scheduled(&self, name: &str) -> Result<()> {
        self.parts
            .library
            .runbook(name)?
            .check_granted(&self.runbook()?.reach(), "the runbook that schedules it")
    }

    /// Has what a step schedules do no more than the run itself may, also when it is due.
    pub(super) fn grant(&self, effected: &mut [Effected]) -> Result<()> {
        for effect in effected {
            let Effected::Scheduled(schedule) = effect else { continue };
            self.permit_scheduled(&schedule.runbook)?;
            schedule.granted = Some(self.runbook()?.reach());
        }
        Ok(())
    }
}
