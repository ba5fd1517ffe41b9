//! The promise that only a dead process can test: what was acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::sample::{both, claim, new_run, owner, request, t};
use crate::event::{self, Event, GENESIS};
use crate::journal::{Claim, Journal, Status, Sync};

const RUN: &str = "killed";
const WRITER: &str = "writer";
/// How a writer says which record is acknowledged.
const ACKNOWLEDGED: &str = "acknowledged ";

/// Writes to an empty journal, and says on standard output what it has acknowledged, until the process is killed:
/// the program that [`killed`] starts.
///
/// # Panics
/// When the journal fails.
pub async fn write_until_killed(journal: &dyn Journal) {
    journal.prepare(new_run(RUN), t(0)).await.unwrap();
    let tenure = claim(journal, RUN, WRITER, 1).await;
    for step in 1.. {
        let appended = journal.append(&tenure, &both(step), t(2), Sync::Now).await.unwrap();
        let last = appended.last;
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{ACKNOWLEDGED}{last}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Starts a program that calls [`write_until_killed`], kills it after `count` acknowledgements, and returns the
/// number of the last record of which it heard.
///
/// # Panics
/// When the program cannot be started, or ends by itself.
pub fn killed(mut writer: Command, count: usize) -> u64 {
    let mut writer = writer.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: String| line.split_once(ACKNOWLEDGED)?.1.trim().parse().ok();
    let heard: Vec<u64> = said.by_ref().filter_map(number).take(count).collect();
    assert_eq!(heard.len(), count, "the writer ended by itself");
    writer.kill().unwrap();
    writer.wait().unwrap();
    // What it said before it died counts as well.
    heard.into_iter().chain(said.filter_map(number)).max().unwrap_or_default()
}

/// Checks a journal whose writer was killed: whatever was acknowledged is there, whole and chained, nothing is there
/// by halves, and another process goes on.
///
/// # Panics
/// When the promise is not kept.
pub async fn prove_killed(journal: &dyn Journal, acknowledged: u64) {
    let records = journal.records(&RUN.into(), 0).await.unwrap();
    event::verify(GENESIS, 1, &records).unwrap();
    let last = records.last().unwrap();
    assert!(last.seq >= acknowledged, "record {acknowledged} was acknowledged, and {} is the last", last.seq);
    let is_whole = matches!(last.event().unwrap(), Event::StepFinished { .. } | Event::Claimed { .. });
    assert!(is_whole, "half of an append is there: {}", last.body);
    let summary = journal.run(&RUN.into()).await.unwrap().unwrap();
    assert_eq!((summary.seq, &summary.hash, summary.status), (last.seq, &last.hash, Status::Running));

    journal.heartbeat(&owner("next"), t(1000)).await.unwrap();
    let claimed = journal.claim(&request(RUN, "next", 3).dead(&owner(WRITER)).seen(last.seq)).await.unwrap();
    let Claim::Granted(tenure) = claimed else { panic!("another process goes on, not {claimed:?}") };
    journal.append(&tenure, &both(summary.step + 1), t(4), Sync::Now).await.unwrap();
}
