//! What a hundred thousand finished runs cost whoever lists, filters, opens and prunes them.
//!
//! The runs are written straight into the journal, with the records that a short run has, by two people, with a label each,
//! of five runbooks. Every tenth failed.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Table, Times, folder, is_quick, runtime, show, size, time};
use futures::future::join_all;
use jiff::Timestamp;
use relight_engine::event::{Event, RunEnd, RunId};
use relight_engine::journal::{
    Claim, ClaimRequest, Journal, OwnerId, PruneFilter, RunFilter, Sort, SqliteJournal, Status, Sync,
};
use relight_engine::{Engine, Error, Library, RunRequest};
use serde_json::json;

/// What a person waits for.
const GOAL: Duration = Duration::from_millis(100);
const RUNBOOKS: [&str; 5] = ["one", "two", "three", "four", "five"];
/// How many are written at once.
const AT_ONCE: usize = 500;

fn main() {
    let many = if is_quick() { 2_000 } else { 100_000 };
    let place = folder();
    let path = place.path().join("relight.db");
    let runtime = runtime();
    let journal = Arc::new(SqliteJournal::open(&path).unwrap());
    let library = RUNBOOKS.iter().fold(Library::new(), |library, name| {
        library.ship(name, &format!("/*---\ntitle = \"{name}\"\n---*/\nnote(\"{name}\")"))
    });
    let engine = Engine::builder().journal(journal.clone()).library(library).build().unwrap();
    let (_, filled) = time(|| runtime.block_on(fill(&engine, many)));

    let mut table = Table::new("Finished runs");
    table.note(format!("{many} runs are written"), show(filled));
    let rounds = if is_quick() { 3 } else { 20 };
    let page = || RunFilter::all().at_most(20);
    let middle = runtime.block_on(journal.run(&RunId::from(id(many / 2)))).unwrap().unwrap();
    for (what, filter) in [
        ("list the newest 20", page()),
        ("list 20 from the middle", page().after(&middle)),
        ("list the 20 changed last", page().sorted(Sort::Updated)),
        ("list 20 by runbook", page().sorted(Sort::Runbook)),
        ("filter by state", page().in_state(Status::Failed)),
        ("filter by runbook", page().of("three")),
        ("filter by who", page().by("bob@desk")),
        ("filter by a label", page().labelled("ticket", format!("INC{}", many / 2))),
        ("filter, and nothing fits", page().of("three").by("nobody")),
    ] {
        let mut times = Times::default();
        for _ in 0..rounds {
            times.push(time(|| runtime.block_on(journal.runs(&filter)).unwrap()).1);
        }
        table.goal(what, spread(&times), "<= 100 ms", times.at(99) <= GOAL);
    }
    let mut opened = Times::default();
    for n in 0..rounds {
        let run = RunId::from(id(n * many / rounds));
        opened.push(time(|| runtime.block_on(engine.history(&run)).unwrap()).1);
    }
    table.goal("open one", spread(&opened), "<= 100 ms", opened.at(99) <= GOAL);

    let before = size(&path);
    let (pieces, took) = time(|| runtime.block_on(prune(&journal)));
    drop((engine, journal));
    table.note("prune all of them", format!("{}, a piece of 100: {}", show(took), spread(&pieces)));
    table.note("the file, before and after", format!("{before:.1} MB, {:.1} MB", size(&path)));
    table.print();
}

fn spread(times: &Times) -> String {
    format!("p50 {}, p99 {}", show(times.median()), show(times.at(99)))
}

fn id(n: usize) -> String {
    format!("run{n:07}")
}

/// Writes runs that are over.
async fn fill(engine: &Engine, many: usize) {
    let journal = engine.journal();
    let owner = OwnerId::fresh();
    journal.heartbeat(&owner, Timestamp::MAX).await.unwrap();
    for from in (0..many).step_by(AT_ONCE) {
        join_all((from..(from + AT_ONCE).min(many)).map(|n| finished(engine, &owner, n))).await;
    }
}

async fn finished(engine: &Engine, owner: &OwnerId, n: usize) {
    let journal = engine.journal();
    let mut request = RunRequest::new(RUNBOOKS[n % RUNBOOKS.len()]).id(id(n));
    request.who = Some(if n.is_multiple_of(2) { "ann@desk" } else { "bob@desk" }.to_owned());
    request.labels.insert("ticket".to_owned(), format!("INC{n}"));
    let run = engine.prepare(&request).await.unwrap();
    let at = Timestamp::now();
    let Claim::Granted(tenure) = journal.claim(&ClaimRequest::new(&run, owner, at)).await.unwrap() else {
        panic!("nobody else drives it")
    };
    let end = match n % 10 {
        0 => RunEnd::Failed { failure: Error::rejected("it was refused").to_failure(), at: None },
        _ => RunEnd::Succeeded { value: json!({ "number": n }) },
    };
    let over = Event::Finished { end, parent: None };
    journal.append(&tenure, &[over], at, Sync::Now).await.unwrap();
}

/// Takes all of them away, and measures each piece.
async fn prune(journal: &SqliteJournal) -> Times {
    let mut pieces = Times::default();
    loop {
        let piece = journal.prunable(&PruneFilter::all().at_most(100)).await.unwrap();
        if piece.is_empty() {
            return pieces;
        }
        let ids: Vec<RunId> = piece.into_iter().map(|run| run.id).collect();
        let began = std::time::Instant::now();
        journal.prune(&ids, Timestamp::now()).await.unwrap();
        pieces.push(began.elapsed());
    }
}
