//! What operations say and write: shown at once, and recorded together with whatever is recorded next.

use std::sync::Arc;

use super::Steps;
use crate::core::Notice;
use crate::cx::OnOutput;
use crate::event::{Event, Stream};
use crate::unrecorded::{Over, Piece};

impl Steps {
    /// Returns what takes a step's output.
    pub(super) fn on_output(&self, step: u32) -> OnOutput {
        let (parts, run, unrecorded) = (self.parts.clone(), self.log.run().clone(), self.unrecorded.clone());
        let (kept, operation) = match self.line().history.step(step) {
            Some(past) => (past.output, self.parts.language.operation(&past.operation)),
            None => (0, None),
        };
        let is_terminals = operation.is_some_and(|operation| operation.declaration.terminal);
        Arc::new(move |stream, bytes| {
            // What a terminal obeys comes only from what a person sits before.
            let stream = if is_terminals || stream != Stream::Terminal { stream } else { Stream::Stdout };
            let text = unrecorded.say(step, kept, stream, bytes);
            if !text.is_empty() {
                let event = Event::Output { step, stream, text };
                parts.show(Notice { run: run.clone(), seq: None, at: parts.clock.now(), event });
            }
        })
    }

    /// Takes what was said and written before events that are about to be recorded.
    pub(super) fn said_before(&self, events: &[Event]) -> Vec<Piece> {
        for event in events {
            let over = match event {
                Event::StepFinished { step, .. } => Over::Step(*step),
                Event::Parked { .. } | Event::Finished { .. } => Over::All,
                _ => continue,
            };
            for last in self.unrecorded.finish(over) {
                let (run, at) = (self.log.run().clone(), self.parts.clock.now());
                self.parts.show(Notice { run, seq: None, at, event: last });
            }
        }
        self.unrecorded.take()
    }
}
