//! What operations say and write: shown at once, and recorded together with whatever is recorded next.

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::Steps;
use crate::core::Notice;
use crate::cx::Driving;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Progress, Stream};
use crate::unrecorded::{Over, Piece};

impl Driving for Steps {
    fn progress(&self, step: u32, progress: Progress) {
        self.parts.notice(self.log.run(), None, Event::Progress { step, progress });
    }

    fn output(&self, step: u32, stream: Stream, bytes: &[u8]) {
        let (kept, operation) = match self.line().history.step(step) {
            Some(past) => (past.output, self.parts.language.operation(&past.operation)),
            None => (0, None),
        };
        let is_terminals = operation.is_some_and(|operation| operation.declaration.terminal);
        // What a terminal obeys comes only from what a person sits before.
        let stream = if is_terminals || stream != Stream::Terminal { stream } else { Stream::Stdout };
        let text = self.around.unrecorded.say(step, kept, stream, bytes);
        if !text.is_empty() {
            let (run, at) = (self.log.run().clone(), self.parts.clock.now());
            self.parts.show(Notice { run, seq: None, at, event: Event::Output { step, stream, text } });
        }
    }

    fn extend(&self, step: u32) -> BoxFuture<'static, Result<Timestamp>> {
        let steps = self.me.upgrade();
        Box::pin(async move {
            let steps =
                steps.ok_or_else(|| Error::new(ErrorKind::Stopped, "the run is not driven here any more"))?;
            steps.extend_permit(step).await
        })
    }
}

impl Steps {
    /// Takes what was said and written before events that are about to be recorded.
    pub(super) fn said_before(&self, events: &[Event]) -> Vec<Piece> {
        for event in events {
            let over = match event {
                Event::StepFinished { step, .. } => Over::Step(*step),
                Event::Parked { .. } | Event::Finished { .. } => Over::All,
                _ => continue,
            };
            for last in self.around.unrecorded.finish(over) {
                let (run, at) = (self.log.run().clone(), self.parts.clock.now());
                self.parts.show(Notice { run, seq: None, at, event: last });
            }
        }
        self.around.unrecorded.take()
    }
}
