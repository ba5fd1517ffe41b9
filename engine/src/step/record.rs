//! The one place from which a run's records are written.

use jiff::Timestamp;

use super::Steps;
use crate::core::Notice;
use crate::error::Result;
use crate::event::Event;
use crate::journal::Sync;
use crate::unrecorded::Piece;

impl Steps {
    /// Appends events, folds them into the past, and shows them.
    pub(super) async fn record(&self, mut events: Vec<Event>, sync: Sync) -> Result<()> {
        let at = self.core.clock.now();
        let is_public = |value: &str| self.public.holds(value, &self.line().history);
        events.iter_mut().for_each(|event| self.core.revealed.clean(event, &is_public));
        let events = self.stow(events).await?;
        let said = self.said_before(&events);
        let recorded = self.append(&said, events, at, sync).await;
        if recorded.is_err() {
            self.unrecorded.give_back(said);
        }
        recorded
    }

    /// Appends what was said and written, and events after it. The texts that the records name are on the
    /// disk then.
    pub(super) async fn append(
        &self,
        said: &[Piece],
        events: Vec<Event>,
        at: Timestamp,
        sync: Sync,
    ) -> Result<()> {
        for text in said.iter().filter_map(|(_, text)| text.as_ref()) {
            self.core.journal.keep(text).await?;
        }
        let events: Vec<Event> = said.iter().map(|(event, _)| event.clone()).chain(events).collect();
        if events.is_empty() {
            return Ok(());
        }
        let appended = self.core.journal.append(&self.tenure, &events, at, sync).await?;
        {
            let mut line = self.line();
            line.signalled |= appended.signalled;
            for event in &events {
                line.history.apply(event.clone(), at)?;
            }
        }
        for (event, record) in events.into_iter().zip(&appended.records) {
            self.core.show(Notice { run: self.tenure.run.clone(), seq: Some(record.seq), at, event });
        }
        Ok(())
    }
}
