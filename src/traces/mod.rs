//! Traces by OpenTelemetry: what runs did and how long it took, told to a collector. Off unless one is named.
//!
//! ```text
//!  Notice ─► what ended here ─► records of the run ─► spans ─► collector
//! ```
//!
//! A notice only says which run has something new: spans are made from the journal, which also knows what happened in a process that
//! is gone. A span is told by the process that wrote the record that ends it, so each is told once, and names follow from those of
//! runs, so all are of one trace. Owns: what is told, and when. Does not own: that nothing is lost; the journal is the
//! record, a trace is a view of it.
//!
//! Nothing waits for a collector. What it does not take is kept within bounds, the newest first.

mod collector;
mod fold;
mod ids;
mod span;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use relight_engine::event::{Cause, Event, Prepared};
use relight_engine::journal::Journal;
use relight_engine::{Error, Notice, Observer, Result, RunId, SecretSource};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use self::collector::{Answer, Collector};
use self::fold::Fold;
use self::span::{Attributes, Span, request};
use crate::config::Traces;
use crate::outgoing::jitter;

/// How many spans are sent at once, and how long they are gathered.
const BATCH: usize = 512;
const GATHER: Duration = Duration::from_secs(5);
/// How many ends of runs and steps may wait to be told; then the oldest are left out.
const WAITING: usize = 4096;
/// How many runs are remembered between two of their steps; others are read again.
const REMEMBERED: usize = 256;
/// The bounds of the pause before the same spans are sent again.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause that a collector gets when it asks for one.
const ASKED: Duration = Duration::from_secs(300);
/// How long it may take to tell what is left when the program ends.
const LAST: Duration = Duration::from_secs(3);

/// Returns the name of the trace in which a run is.
///
/// # Errors
/// `Invalid` when there is no such run, `Storage`.
pub(crate) async fn trace_of(journal: &dyn Journal, run: &RunId) -> Result<String> {
    let prepared = ids::prepared(journal, run).await?;
    Ok(ids::trace(&ids::root(journal, run, &prepared).await))
}

/// Sends a collector an empty request, as long as what is left may take at the end of a program. Returns why it did not take that, if it did not.
///
/// # Errors
/// `Invalid` when its certificates cannot be used.
pub(crate) async fn try_out(traces: &Traces, secrets: Arc<dyn SecretSource>) -> Result<Option<String>> {
    let collector = Collector::new(traces, secrets)?;
    let empty = r#"{"resourceSpans":[]}"#.to_owned();
    Ok(match tokio::time::timeout(LAST, collector.send(empty)).await {
        Ok(Answer::Taken { .. }) => None,
        Ok(Answer::NotNow { because, .. } | Answer::Refused { because }) => Some(because),
        Err(_) => Some(format!("no answer within {} s", LAST.as_secs())),
    })
}

/// Tells a collector what runs did.
pub(crate) struct Tracer {
    seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Tracer {
    /// Begins to tell it. Nothing is sent before something ended; `from` is where runs are driven, such as `ann@edge-1`.
    ///
    /// # Errors
    /// `Invalid` when the collector's certificates cannot be used.
    pub(crate) fn start(
        traces: &Traces,
        from: &str,
        journal: Arc<dyn Journal>,
        secrets: Arc<dyn SecretSource>,
    ) -> Result<Self> {
        let collector = Collector::new(traces, secrets)?;
        tracing::info!("traces go to {}", traces.url.origin().ascii_serialization());
        let (who, host) = from.rsplit_once('@').unwrap_or((from, ""));
        let resource = Attributes::default()
            .text("service.name", &traces.service)
            .text("service.version", env!("CARGO_PKG_VERSION"))
            .text("service.instance.id", &uuid::Uuid::new_v4().to_string())
            .perhaps("host.name", Some(host).filter(|host| !host.is_empty()))
            .text("process.owner", who)
            .number("process.pid", std::process::id().into());
        let (seen, stop) = (Arc::new(Seen::default()), watch::Sender::new(false));
        let exporter = Exporter {
            seen: seen.clone(),
            stop: stop.subscribe(),
            journal,
            collector,
            resource,
            folds: VecDeque::new(),
            failures: 0,
            lost: 0,
            is_broken: false,
        };
        Ok(Tracer { seen, stop, task: tokio::spawn(exporter.run()) })
    }

    /// Returns the observer to give to an engine.
    pub(crate) fn observer(&self) -> Observer {
        let seen = self.seen.clone();
        Arc::new(move |notice| seen.notice(notice))
    }

    /// Tells what is left, if that is quickly done.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(LAST, &mut self.task).await.is_err() {
            self.task.abort();
            let left = self.seen.in_hand.load(Ordering::Relaxed) + self.seen.ends().waiting.len();
            tracing::warn!("{}: the collector did not take them in time", lost(left as u64));
        }
    }
}

/// What ended in this process and is not told yet.
#[derive(Default)]
struct Seen {
    ends: Mutex<Ends>,
    /// Something came, or there is enough of it.
    news: Notify,
    full: Notify,
    /// How many spans are being sent.
    in_hand: AtomicUsize,
}

#[derive(Default)]
struct Ends {
    waiting: VecDeque<(RunId, u64)>,
    /// How many were left out.
    dropped: u64,
}

impl Seen {
    fn notice(&self, notice: &Notice) {
        let (Event::StepFinished { .. } | Event::Finished { .. }, Some(seq)) = (&notice.event, notice.seq)
        else {
            return;
        };
        let waiting = {
            let mut ends = self.ends();
            if ends.waiting.len() >= WAITING {
                ends.waiting.pop_front();
                ends.dropped += 1;
            }
            ends.waiting.push_back((notice.run.clone(), seq));
            ends.waiting.len()
        };
        self.news.notify_one();
        if waiting >= BATCH {
            self.full.notify_one();
        }
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task behind a tracer.
struct Exporter {
    seen: Arc<Seen>,
    stop: watch::Receiver<bool>,
    journal: Arc<dyn Journal>,
    collector: Collector,
    /// Who tells.
    resource: Attributes,
    /// What is known of runs that are not over, the one that was looked at last behind the others.
    folds: VecDeque<(RunId, Fold)>,
    /// How many requests in a row came to nothing.
    failures: u32,
    /// How many spans nobody was told of since that was last said.
    lost: u64,
    /// Whether the journal failed last time: it is said once.
    is_broken: bool,
}

impl Exporter {
    async fn run(mut self) {
        loop {
            self.wait().await;
            let is_last = self.is_stopping();
            let spans = self.gather().await;
            self.seen.in_hand.store(spans.len(), Ordering::Relaxed);
            let mut spans = spans.into_iter().peekable();
            while spans.peek().is_some() {
                let batch: Vec<Span> = spans.by_ref().take(BATCH).collect();
                self.tell(batch).await;
            }
            if is_last {
                break;
            }
        }
        if self.lost > 0 {
            tracing::warn!("{}: no collector took them", lost(self.lost));
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until something ended and some time went by, or enough ended, or nothing will any more.
    async fn wait(&mut self) {
        let mut stop = self.stop.clone();
        let stopped = async {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let enough = async {
            self.seen.news.notified().await;
            let _ = tokio::time::timeout(GATHER, self.seen.full.notified()).await;
        };
        tokio::select! {
            () = stopped => {}
            () = enough => {}
        }
    }

    /// Makes spans of what ended.
    async fn gather(&mut self) -> Vec<Span> {
        let (ends, dropped) = {
            let mut ends = self.seen.ends();
            (std::mem::take(&mut ends.waiting), std::mem::take(&mut ends.dropped))
        };
        self.lost += dropped;
        let mut by_run: BTreeMap<RunId, BTreeSet<u64>> = BTreeMap::new();
        for (run, seq) in ends {
            by_run.entry(run).or_default().insert(seq);
        }
        let mut spans = Vec::new();
        for (run, ended) in by_run {
            match self.spans(&run, &ended).await {
                Ok(all) => {
                    spans.extend(all);
                    self.is_broken = false;
                }
                Err(error) => {
                    self.lost += ended.len() as u64;
                    if !std::mem::replace(&mut self.is_broken, true) {
                        tracing::warn!(run = %run, "a run cannot be read for its trace: {error:?}");
                    }
                }
            }
        }
        spans
    }

    /// Returns the spans that these records of a run ended.
    async fn spans(&mut self, run: &RunId, ended: &BTreeSet<u64>) -> Result<Vec<Span>> {
        let known = self.folds.iter().position(|(known, _)| known == run);
        let mut fold = known.and_then(|known| self.folds.remove(known)).map(|(_, fold)| fold);
        let records = self.journal.records(run, fold.as_ref().map_or(0, |fold| fold.seq)).await?;
        // What is behind is told when it is heard of.
        let last = ended.last().copied().unwrap_or_default();
        let (mut spans, mut is_over) = (Vec::new(), false);
        for record in records.iter().take_while(|record| record.seq <= last) {
            match (&mut fold, record.event()?) {
                (None, Event::Prepared(prepared)) => {
                    let root = ids::root(&*self.journal, run, &prepared).await;
                    let link = self.link(&prepared).await;
                    fold = Some(Fold::new(run, &prepared, record.at, &root, link));
                }
                (None, _) => {
                    return Err(Error::storage(format!("the record of run {run} has no beginning")));
                }
                (Some(fold), event) => {
                    is_over = matches!(event, Event::Finished { .. });
                    let all = fold.apply(record.seq, record.at, event);
                    if ended.contains(&record.seq) {
                        spans.extend(all);
                    }
                }
            }
        }
        if let Some(fold) = fold.filter(|_| !is_over) {
            self.folds.push_back((run.clone(), fold));
            if self.folds.len() > REMEMBERED {
                self.folds.pop_front();
            }
        }
        Ok(spans)
    }

    /// Returns the run that one came from without being a part of it, and the one above that.
    async fn link(&self, prepared: &Prepared) -> Option<(RunId, RunId)> {
        let is_part = matches!(prepared.cause, Cause::Run { .. });
        let of = prepared.came_from().filter(|_| !is_part)?;
        let prepared = ids::prepared(&*self.journal, &of).await.ok()?;
        let root = ids::root(&*self.journal, &of, &prepared).await;
        Some((of, root))
    }

    /// Tells a batch, as often as it takes.
    async fn tell(&mut self, batch: Vec<Span>) {
        let many = batch.len();
        let body = request(&self.resource, batch);
        loop {
            let (because, asked, is_away) = match self.collector.send(body.clone()).await {
                Answer::Taken { refused } => {
                    self.taken(refused);
                    break;
                }
                Answer::Refused { because } => {
                    self.failed(&because);
                    self.lost += many as u64;
                    break;
                }
                Answer::NotNow { because, asked, is_away } => (because, asked, is_away),
            };
            self.failed(&because);
            // Who is not there now is not there in three seconds; the program is to end.
            if is_away && self.is_stopping() {
                self.lost += many as u64;
                break;
            }
            let pause = pause(self.failures, asked, jitter());
            let mut stop = self.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop), if is_away => {}
            }
        }
        self.seen.in_hand.fetch_sub(many, Ordering::Relaxed);
    }

    fn taken(&mut self, refused: u64) {
        if self.failures > 0 {
            tracing::info!("the collector takes traces again; {}", lost(self.lost));
        }
        (self.failures, self.lost) = (0, 0);
        if refused > 0 {
            tracing::warn!("the collector refused {refused} spans of those that it took");
        }
    }

    /// Says that the collector did not take something, once in a row.
    fn failed(&mut self, because: &str) {
        if self.failures == 0 {
            tracing::warn!("traces are not taken: {because}");
        }
        self.failures = self.failures.saturating_add(1);
    }
}

/// Returns how long to wait after so many failures in a row: at least half of a pause that doubles, and what was asked for.
fn pause(failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let pause = FIRST.saturating_mul(doubled).min(LONGEST).mul_f64(0.5 + jitter / 2.0);
    pause.max(asked.unwrap_or_default().min(ASKED))
}

/// Says how many spans nobody will see.
fn lost(spans: u64) -> String {
    match spans {
        1 => "1 span is lost".to_owned(),
        spans => format!("{spans} spans are lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_unless_longer_ones_are_asked_for() {
        let pauses: Vec<u128> =
            [1, 2, 3, 8, 9, 99].map(|failures| pause(failures, None, 1.0).as_millis()).into();
        assert_eq!(pauses, [200, 400, 800, 25_600, 30_000, 30_000]);
        assert_eq!(pause(1, None, 0.0), Duration::from_millis(100));
        let asked = |seconds| pause(1, Some(Duration::from_secs(seconds)), 0.0).as_secs();
        assert_eq!((asked(9), asked(9999)), (9, 300));
    }

    #[test]
    fn only_ends_are_remembered_and_the_oldest_are_left_out() {
        let seen = Seen::default();
        let run = RunId::from("a1");
        let at = jiff::Timestamp::UNIX_EPOCH;
        let notice = |seq, event| Notice::new(run.clone(), seq, at, event);
        seen.notice(&notice(Some(1), Event::Claimed { owner: "x".into(), epoch: 1 }));
        assert!(seen.ends().waiting.is_empty());
        let end = || Event::StepFinished {
            step: 1,
            end: relight_engine::event::StepEnd::Ok(serde_json::Value::Null.into()),
            effected: Vec::new(),
        };
        for seq in 1..=WAITING as u64 + 3 {
            seen.notice(&notice(Some(seq), end()));
        }
        let ends = seen.ends();
        assert_eq!((ends.waiting.len(), ends.dropped), (WAITING, 3));
        assert_eq!(ends.waiting.front(), Some(&(run.clone(), 4)));
    }
}
