//! What operations say and write: shown at once, and recorded together with whatever is recorded next.

use super::Steps;
use crate::core::Notice;
use crate::event::{Event, Stream};
use crate::unrecorded::{Over, Piece};

impl Steps {
    /// Takes what a step says: shows it, and keeps it for the record.
    pub(super) fn take_output(&self, step: u32, stream: Stream, bytes: &[u8]) {
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
