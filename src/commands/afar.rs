//! Following a run that a service drives, as if it were driven here: what happens is told, and what it asks is answered.

use std::collections::HashSet;
use std::path::{Component, Path};
use std::time::Duration;

use relight_engine::event::{Event, Park, content_hash};
use relight_engine::journal::Summary;
use relight_engine::replay::History;
use relight_engine::{Answers as _, Driven, Engine, ErrorKind, RunId};

use super::foreground::{self, Answers, AtTerminal};
use super::{advice, files};
use crate::exit::Result;
use crate::remote::{Client, Followed};
use crate::report::{Audience, Reporter};
use crate::setup::Home;
use crate::{platform, terminal};

/// How long nothing is heard before it is looked whether a child run needs somebody.
const QUIET: Duration = Duration::from_secs(3);
/// How long to wait before a stream that has ended is asked for again, and how often.
const AGAIN: Duration = Duration::from_secs(2);
const TIMES: u32 = 15;

/// Where a command begins to follow a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// Everything is told.
    Beginning,
    /// What stands up to this record is past, and so is what the run was parked for there.
    Behind(u64),
}

/// Follows a run until it is over or a person must act elsewhere, and says what came of it.
pub(super) async fn carry(home: &Home, client: &Client, run: &RunId, from: From, answers: Answers) -> Result {
    let engine = &home.offline_engine()?;
    let audience = if answers.program { Audience::Program } else { Audience::Person };
    let reporter = Reporter::new(audience, engine.clock().clone());
    reporter.learn(engine);
    let id = engine.shortest(run).await?;
    let (seen, settled) = match from {
        // The first record says what the heading says.
        From::Beginning => (1, HashSet::new()),
        From::Behind(seen) => (seen, HashSet::from([(run.clone(), seen)])),
    };
    let mut past = engine.journal().records(run, 0).await?;
    past.retain(|record| record.seq <= seen);
    reporter.begin(engine, run, &id, &History::read(&past)?).await;
    let asked = AtTerminal { reporter: reporter.clone(), answers };
    let following = Following { engine, client, run, seen, settled, reporter: &reporter, asked: Some(asked) };
    let driven = following.follow().await;
    reporter.clear();
    if let Ok(Driven::Ended(_)) = &driven {
        // How the run ended is said all the same.
        if let Err(error) = fetch(engine, client, run).await {
            terminal::complain(&error);
        }
    }
    foreground::tell(engine, home, run, driven?, answers).await
}

/// Brings the files that a run wrote into its folder over there to this one. What is here already stays as it is.
async fn fetch(engine: &Engine, client: &Client, run: &RunId) -> relight_engine::Result<()> {
    let history = engine.history(run).await?;
    for file in files::written(&history) {
        let path = Path::new(&file.path);
        // The name comes from elsewhere: it stays below this folder.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let kept = match client.file(run, &file.path).await {
            Ok(content) if content_hash(&content) == file.sha256 => keep(path, &content),
            Ok(_) => Err("it came in another form than it was written in".to_owned()),
            Err(error) => Err(error.message().to_owned()),
        };
        if let Err(why) = kept {
            terminal::say(format!("{} is not brought here: {why}", file.path));
        }
    }
    Ok(())
}

/// Writes a file where there is none yet.
fn keep(path: &Path, content: &[u8]) -> std::result::Result<(), String> {
    if std::fs::read(path).is_ok_and(|known| known == content) {
        return Ok(());
    }
    if path.exists() {
        return Err("another file of this name is here".to_owned());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    platform::write_new_private(path, content).map_err(|e| e.to_string())
}

/// Tells what happens in a run from its beginning, until it is over or needs a person.
pub(super) async fn watch(
    engine: &Engine,
    client: &Client,
    run: &RunId,
    reporter: &Reporter,
) -> relight_engine::Result<()> {
    let id = engine.shortest(run).await?;
    let first = engine.journal().records(run, 0).await?;
    reporter.begin(engine, run, &id, &History::read(&first[..1.min(first.len())])?).await;
    let settled = HashSet::new();
    Following { engine, client, run, seen: 0, settled, reporter, asked: None }.follow().await.map(drop)
}

/// A run that is followed.
struct Following<'a> {
    engine: &'a Engine,
    client: &'a Client,
    run: &'a RunId,
    /// The last record that was told.
    seen: u64,
    /// For what somebody has done something already: a run, and the record at which it was parked.
    settled: HashSet<(RunId, u64)>,
    reporter: &'a Reporter,
    /// Who answers here.
    asked: Option<AtTerminal>,
}

impl Following<'_> {
    /// Tells the events of the run. Returns how far it came.
    async fn follow(mut self) -> relight_engine::Result<Driven> {
        let mut failed = 0;
        loop {
            // It may have come there before anybody followed.
            if let Some(driven) = self.stands().await? {
                return Ok(driven);
            }
            match self.client.follow(self.run, self.seen).await {
                Ok(events) => {
                    failed = 0;
                    if let Some(driven) = self.hear(events).await? {
                        return Ok(driven);
                    }
                }
                // A service that is started anew is there again in a moment.
                Err(error) if error.kind().is_retryable() && failed < TIMES => failed += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Tells the events of one stream until it ends.
    async fn hear(&mut self, mut events: Followed) -> relight_engine::Result<Option<Driven>> {
        loop {
            match tokio::time::timeout(QUIET, events.next(self.run)).await {
                Ok(Ok(Some(notice))) => {
                    self.seen = notice.seq.unwrap_or(self.seen);
                    self.reporter.notice(&notice);
                    if !matches!(notice.event, Event::Parked { .. } | Event::Finished { .. }) {
                        continue;
                    }
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) if error.kind() == ErrorKind::Transient => return Ok(None),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
            if let Some(driven) = self.stands().await? {
                return Ok(Some(driven));
            }
        }
    }

    /// Returns how far the run came, when it is over or needs somebody who is not here. What it asks is answered here, where somebody does.
    async fn stands(&mut self) -> relight_engine::Result<Option<Driven>> {
        let summary = match self.engine.find(self.run.as_str()).await {
            Err(error) if error.kind().is_retryable() => return Ok(None),
            found => found?,
        };
        if summary.seq > self.seen {
            // There is more to be told first.
            return Ok(None);
        }
        if summary.status.is_over() {
            let end = self.engine.history(self.run).await?.end;
            return Ok(end.map(Driven::Ended));
        }
        let needy = advice::in_need(self.engine, &summary).await?;
        let Some(park) = needy.park.clone().filter(|park| !park.is_waiting()) else { return Ok(None) };
        let place = (needy.id.clone(), needy.seq);
        if self.settled.contains(&place) {
            return Ok(None);
        }
        if let Park::Question { text, choices } = &park
            && self.answer(&needy, text, choices).await?
        {
            self.settled.insert(place);
            return Ok(None);
        }
        Ok(Some(Driven::Parked(park, summary.wake)))
    }

    /// Answers what a run asks, where somebody does. Returns whether somebody did.
    async fn answer(&self, run: &Summary, text: &str, choices: &[String]) -> relight_engine::Result<bool> {
        let Some(asked) = &self.asked else { return Ok(false) };
        let Some((answer, by)) = asked.answer(&run.id, text, choices).await else { return Ok(false) };
        match self.engine.answer(&run.id, &answer, &by).await {
            // Somebody else may have been faster.
            Err(error) if error.kind() != ErrorKind::Invalid => Err(error),
            _ => Ok(true),
        }
    }
}
