//! Following a run that a service drives, as if it were driven here: what happens is told, and what it asks is answered.

use std::time::Duration;

use relight_engine::event::{Event, Park};
use relight_engine::journal::Summary;
use relight_engine::replay::History;
use relight_engine::{Answers as _, Driven, Engine, ErrorKind, RunId};

use super::advice;
use super::foreground::{self, Answers, AtTerminal};
use crate::exit::Result;
use crate::remote::Client;
use crate::report::{Audience, Reporter};
use crate::setup::Home;

/// How long nothing is heard before it is looked whether a child run needs somebody.
const QUIET: Duration = Duration::from_secs(3);
/// How long to wait before a stream that has ended is asked for again, and how often.
const AGAIN: Duration = Duration::from_secs(2);
const TIMES: u32 = 15;

/// Follows a run until it is over or a person must act elsewhere, and says what came of it.
pub(super) async fn carry(home: &Home, client: &Client, run: &RunId, answers: Answers) -> Result {
    let engine = &home.offline_engine()?;
    let audience = if answers.program { Audience::Program } else { Audience::Person };
    let reporter = Reporter::new(audience, engine.clock().clone());
    reporter.learn(engine);
    let (id, history) = (engine.shortest(run).await?, engine.history(run).await?);
    let seen = engine.find(run.as_str()).await?.seq;
    reporter.begin(engine, run, &id, &history).await;
    let asked = AtTerminal { reporter: reporter.clone(), answers };
    let driven = follow(engine, client, run, seen, &reporter, Some(&asked)).await;
    reporter.clear();
    foreground::tell(engine, home, run, driven?, answers).await
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
    follow(engine, client, run, 0, reporter, None).await.map(drop)
}

/// Tells the events of a run from behind one. Returns how far the run came.
async fn follow(
    engine: &Engine,
    client: &Client,
    run: &RunId,
    mut seen: u64,
    reporter: &Reporter,
    asked: Option<&AtTerminal>,
) -> relight_engine::Result<Driven> {
    let mut failed = 0;
    loop {
        // It may have come there before anybody followed.
        if let Some(driven) = stands(engine, run, seen, asked).await? {
            return Ok(driven);
        }
        let mut events = match client.follow(run, seen).await {
            Ok(events) => events,
            // A service that is started anew is there again in a moment.
            Err(error) if error.kind().is_retryable() && failed < TIMES => {
                failed += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        loop {
            let notice = match tokio::time::timeout(QUIET, events.next(run)).await {
                Ok(Ok(Some(notice))) => notice,
                Ok(Ok(None)) => break,
                Ok(Err(error)) if error.kind() == ErrorKind::Transient => break,
                Ok(Err(error)) => return Err(error),
                Err(_) => match stands(engine, run, seen, asked).await? {
                    Some(driven) => return Ok(driven),
                    None => continue,
                },
            };
            failed = 0;
            seen = notice.seq.unwrap_or(seen);
            let is_put_away = matches!(notice.event, Event::Parked { .. } | Event::Finished { .. });
            reporter.notice(&notice);
            if is_put_away && let Some(driven) = stands(engine, run, seen, asked).await? {
                return Ok(driven);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Returns how far a run came, when it is over or needs somebody who is not here. What it asks is answered here, where somebody does.
async fn stands(
    engine: &Engine,
    run: &RunId,
    seen: u64,
    asked: Option<&AtTerminal>,
) -> relight_engine::Result<Option<Driven>> {
    let summary = engine.find(run.as_str()).await?;
    if summary.seq > seen {
        // There is more to be told first.
        return Ok(None);
    }
    if summary.status.is_over() {
        let end = engine.history(run).await?.end;
        return Ok(end.map(Driven::Ended));
    }
    let needy = advice::in_need(engine, &summary).await?;
    let Some(park) = needy.park.clone().filter(|park| !park.is_waiting()) else { return Ok(None) };
    if let Park::Question { text, choices } = &park
        && answer(engine, &needy, text, choices, asked).await?
    {
        return Ok(None);
    }
    Ok(Some(Driven::Parked(park, summary.wake)))
}

/// Answers what a run asks, where somebody does. Returns whether somebody did.
async fn answer(
    engine: &Engine,
    run: &Summary,
    text: &str,
    choices: &[String],
    asked: Option<&AtTerminal>,
) -> relight_engine::Result<bool> {
    let Some(asked) = asked else { return Ok(false) };
    let Some((answer, by)) = asked.answer(&run.id, text, choices).await else { return Ok(false) };
    match engine.answer(&run.id, &answer, &by).await {
        Ok(()) => Ok(true),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(true),
        Err(error) => Err(error),
    }
}
