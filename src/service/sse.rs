//! The events of a run as they are written, until it is over: server-sent events.
//!
//! Each has the number of its record as its id, so that who comes back with `Last-Event-ID` misses nothing and sees nothing twice. What a
//! step said comes before the record that keeps it, as an event `output` without an id.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use hyper::body::Bytes;
use jiff::Timestamp;
use relight_engine::event::{Event, Record};
use relight_engine::{Notice, Result, RunId};
use tokio::sync::OwnedSemaphorePermit;

use super::call::Shared;
use crate::report::json_line;

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long nothing is said at most, so that nobody between here and there thinks that nobody is there; and how long a token that was revoked
/// goes on being told.
const SILENCE: Duration = Duration::from_secs(15);

/// Follows a run from behind a record. Ends when the run is over, the service ends, or the token is worth nothing any more.
pub(super) fn follow(
    shared: Arc<Shared>,
    run: RunId,
    after: u64,
    token: String,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Bytes> + Send {
    let following = Following {
        shared,
        run,
        token,
        seen: after,
        said: Instant::now(),
        checked: Instant::now(),
        waiting: VecDeque::from([Bytes::from_static(b"retry: 2000\n\n")]),
        is_over: false,
        _place: place,
    };
    futures::stream::unfold(following, async |mut following| {
        let next = following.next().await?;
        Some((next, following))
    })
}

struct Following {
    shared: Arc<Shared>,
    run: RunId,
    token: String,
    /// The last record that was told.
    seen: u64,
    /// When anything was said last.
    said: Instant,
    /// When the token was last looked at.
    checked: Instant,
    waiting: VecDeque<Bytes>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                self.said = Instant::now();
                return Some(next);
            }
            if self.is_over || self.shared.engine.is_halted() || !self.may_go_on() {
                return None;
            }
            if let Err(error) = self.look().await {
                // Whoever follows comes back, and goes on where this ends.
                tracing::warn!("the events of run {}: {error:?}", self.run);
                return None;
            }
            if !self.waiting.is_empty() {
                continue;
            }
            if self.said.elapsed() > SILENCE {
                self.waiting.push_back(Bytes::from_static(b": nothing new\n\n"));
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.shared.engine.halted() => return None,
            }
        }
    }

    /// Looks from time to time whether the token is still worth something.
    fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < SILENCE {
            return true;
        }
        self.checked = Instant::now();
        matches!(self.shared.tokens.find(&self.token, Timestamp::now()), Ok(Some(_)))
    }

    async fn look(&mut self) -> Result<()> {
        let journal = self.shared.engine.journal();
        // One line tells whether there is anything to be read.
        let Some(summary) = journal.run(&self.run).await? else {
            self.is_over = true;
            return Ok(());
        };
        if summary.seq > self.seen {
            for record in journal.records(&self.run, self.seen).await? {
                self.tell(&record).await?;
                self.seen = record.seq;
            }
        } else if summary.status.is_over() {
            let end = format!("event: end\ndata: {{\"status\":\"{}\"}}\n\n", summary.status.as_str());
            self.waiting.push_back(end.into());
            self.is_over = true;
        }
        Ok(())
    }

    async fn tell(&mut self, record: &Record) -> Result<()> {
        let event = record.event()?;
        if let Event::OutputKept { step, output } = &event {
            let text = self.shared.engine.journal().kept(&output.sha256).await?;
            let said = Event::Output { step: *step, stream: output.stream, text };
            let line = json_line(&Notice::new(self.run.clone(), None, record.at, said));
            self.waiting.push_back(format!("event: output\ndata: {line}\n\n").into());
        }
        let name = name(record);
        let line = json_line(&Notice::new(self.run.clone(), Some(record.seq), record.at, event));
        self.waiting.push_back(format!("id: {}\nevent: {name}\ndata: {line}\n\n", record.seq).into());
        Ok(())
    }
}

/// Returns the word of a record's event.
fn name(record: &Record) -> String {
    let body: Option<serde_json::Value> = serde_json::from_str(&record.body).ok();
    body.and_then(|body| Some(body["event"].as_str()?.to_owned())).unwrap_or_default()
}
