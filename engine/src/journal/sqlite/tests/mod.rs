//! What only a journal on a disk can go through: damage, a full disk, other processes.

mod damage;
mod figures;
mod leaders;

use std::fs;
use std::path::PathBuf;

use futures::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use super::schema::FORMAT;
use super::*;
use crate::error::ErrorKind;
use crate::event::{Effected, Fate, KeptOutput, Stream, TickCause, fingerprint};
use crate::journal::contract::sample::{
    answer, both, claim, finished, kind, lease, new_run, note, owner, parked, request, schedule, started,
    succeeded, t,
};
use crate::journal::{ClaimRequest, Start};

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state").join("journal.db")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("state").join("journal.db-wal")
    }

    fn mark(&self) -> PathBuf {
        self.folder.path().join("state").join("journal.db-mark")
    }

    /// Puts other bytes in the place of the database, as if there had never been more.
    fn put(&self, bytes: &[u8]) {
        let _ = fs::remove_file(self.log());
        let _ = fs::remove_file(self.mark());
        fs::write(self.path(), bytes).unwrap();
    }

    fn open(&self) -> SqliteJournal {
        SqliteJournal::open(&self.path()).unwrap()
    }

    fn raw(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    fn refused(&self) -> Error {
        match SqliteJournal::open(&self.path()) {
            Ok(_) => panic!("the journal should not open"),
            Err(error) => self.says(error),
        }
    }

    /// Checks the manners of an error: its kind, the file's name, and a next step.
    fn says(&self, error: Error) -> Error {
        assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
        assert!(error.message().contains(self.path().to_str().unwrap()), "{error:?}");
        assert!(!error.hints().is_empty(), "{error:?}");
        error
    }
}

impl SqliteJournal {
    /// Runs SQL on the writer's own connection, inside a transaction.
    async fn sql(&self, sql: &'static str) -> Result<()> {
        self.write(|db| Ok(db.execute_batch(sql)?)).await
    }
}

/// A run with many steps, one with a word, one that is over, and entries in every table.
async fn story(journal: &SqliteJournal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let a = claim(journal, "a", "one", 1).await;
    for step in 1..=15 {
        let lease = Effected::LeaseOpened(lease(&format!("l{step}"), 100 + i64::from(step)));
        journal.append(&a, &[started(step), finished(step, vec![lease])], t(2), Sync::Now).await.unwrap();
    }
    for n in 0..12 {
        let id = format!("r{n}");
        journal.prepare(new_run(&id), t(n)).await.unwrap();
        let tenure = claim(journal, &id, "two", n + 1).await;
        let end = if n % 3 == 0 { succeeded() } else { parked((n % 3 == 1).then_some(50 + n)) };
        journal.append(&tenure, &[started(1), note(1), end], t(n + 2), Sync::Now).await.unwrap();
        if n % 3 != 0 {
            journal.signal(&id.as_str().into(), &answer(1), t(n + 3)).await.unwrap();
        }
        let schedule = schedule(&format!("s{n}"), 10 * n);
        let ticks = vec![Tick::new(&schedule.id, t(n), TickCause::Due, Fate::Ran { run: id.into() }, t(n))];
        let starts = vec![Start { until: Some(t(n + 90)), ..Start::new(new_run(&format!("r{n}"))) }];
        let added = Settlement { ticks, starts, ..Settlement::add(schedule) };
        assert!(journal.settle(&added, t(n)).await.unwrap());
    }
}

/// Returns everything that can be seen of a journal, each with whether it could be read.
async fn seen(journal: &SqliteJournal) -> Vec<Option<String>> {
    fn shown<T: std::fmt::Debug>(result: Result<T>) -> Option<String> {
        result
            .inspect_err(|e| assert_eq!(e.kind(), ErrorKind::Storage, "{e:?}"))
            .ok()
            .map(|found| format!("{found:?}"))
    }
    let mut all = vec![
        shown(journal.runs(&RunFilter::default()).await),
        shown(journal.runs(&RunFilter::open().at_most(3)).await),
        shown(journal.leases().await),
        shown(journal.schedules().await),
        shown(journal.ticks(&TickFilter::default()).await),
        shown(journal.scheduled_ends(99).await),
        shown(journal.due(t(60), 5).await),
        shown(journal.due(t(5000), 99).await),
    ];
    for id in std::iter::once("a".to_owned()).chain((0..12).map(|n| format!("r{n}"))) {
        let id = RunId::from(id);
        all.push(shown(journal.run(&id).await));
        // A run that cannot be found is an answer only if it does not exist.
        all.push(journal.records(&id, 0).await.ok().map(|found| format!("{found:?}")));
        all.push(journal.sources(&id).await.ok().map(|found| format!("{found:?}")));
        all.push(shown(journal.signals(&id).await));
    }
    all
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let place = Place::new();
    let journal = place.open();
    story(&journal).await;
    journal.prepare(new_run("b"), t(0)).await.unwrap();
    let tenure = claim(&journal, "b", "one", 1).await;
    let before = seen(&journal).await;
    assert!(before.iter().all(Option::is_some));
    let ahead = journal.append(&tenure, &both(1), t(2), Sync::Soon).await.unwrap();
    // Dropping it writes what was only in line.
    drop(journal);
    assert!(!place.log().exists(), "closed in order, the log is part of the file");
    let journal = place.open();
    let records = journal.records(&"b".into(), 2).await.unwrap();
    assert_eq!(records.len() as u64, ahead.last - 2);
    let events: Vec<_> = records.iter().map(|record| record.event().unwrap()).collect();
    assert_eq!(events, both(1));
    // A tenure outlives the object, not the process that claimed it: its fence is in the file.
    journal.append(&tenure, &[started(2)], t(3), Sync::Soon).await.unwrap();
    journal.append(&tenure, &[note(2)], t(3), Sync::Soon).await.unwrap();
    assert_eq!(journal.run(&"b".into()).await.unwrap().unwrap().seq, 6);
    drop(journal);

    let reading = SqliteJournal::open_read_only(&place.path()).unwrap();
    let mut after = seen(&reading).await;
    after[0] = before[0].clone();
    after[1] = before[1].clone();
    after[5] = before[5].clone();
    assert_eq!(after, before);
    assert_eq!(kind(reading.prepare(new_run("c"), t(0)).await), ErrorKind::Storage);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path()), 0o600);
    assert_eq!(mode(&place.log()), 0o600);
    assert_eq!(mode(place.path().parent().unwrap()), 0o700);
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let place = Place::new();
    story(&place.open()).await;
    place.raw().pragma_update(None, "user_version", FORMAT + 1).unwrap();
    let error = place.refused();
    assert!(error.message().contains(&format!("format {}", FORMAT + 1)), "{error:?}");
    assert!(SqliteJournal::open_read_only(&place.path()).is_err());
    place.raw().pragma_update(None, "user_version", 0).unwrap();
    place.refused();
    place.raw().pragma_update(None, "user_version", FORMAT).unwrap();
    drop(place.open());
    place.raw().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(place.refused().message().contains("tables"));

    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    place.raw().execute_batch("CREATE TABLE mine (x)").unwrap();
    assert!(place.refused().message().contains("another program"));
    fs::write(place.path(), "not a database at all, but long enough to be asked about it".repeat(40))
        .unwrap();
    let before = fs::read(place.path()).unwrap();
    place.refused();
    assert_eq!(fs::read(place.path()).unwrap(), before);
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    place.refused();
    assert!(SqliteJournal::open_read_only(&place.folder.path().join("none.db")).is_err());
}

/// What came to the format after its first version.
const SINCE_FORMAT_1: &str = "
    DROP TABLE subscriptions; DROP TABLE deliveries;
    DROP TABLE ticks; DROP TABLE scheduled_runs; DROP TABLE places;
    DROP TABLE extended_leases; DROP TABLE labels; DROP TABLE uses; DROP TABLE pruned;
    DROP INDEX runs_ended; DROP INDEX runs_over; DROP INDEX runs_open; ALTER TABLE runs DROP COLUMN ended;
    CREATE INDEX runs_open ON runs (created, id) WHERE status IN ('prepared', 'running', 'parked');
    DROP INDEX runs_came_from; DROP INDEX runs_who; DROP INDEX runs_runbook;
    ALTER TABLE runs DROP COLUMN labels; ALTER TABLE runs DROP COLUMN who; ALTER TABLE runs DROP COLUMN came_from;
";

#[tokio::test]
async fn a_journal_of_the_first_format_is_brought_to_the_current_one() {
    let place = Place::new();
    let journal = place.open();
    story(&journal).await;
    let mut before = seen(&journal).await;
    // It knew no ticks and no ends of scheduled runs.
    for unknown in &mut before[4..6] {
        *unknown = Some("[]".into());
    }
    drop(journal);
    place.raw().execute_batch(SINCE_FORMAT_1).unwrap();
    place.raw().pragma_update(None, "user_version", 1).unwrap();
    let Err(error) = SqliteJournal::open_read_only(&place.path()) else { panic!("it is only read") };
    assert!(place.says(error).message().contains("format 1"));
    let journal = place.open();
    assert_eq!(seen(&journal).await, before);
    assert_eq!(journal.extended_leases().await.unwrap(), []);
    drop(journal);
    SqliteJournal::open_read_only(&place.path()).unwrap();
}

/// A database that the first format's own program wrote says afterwards what its records say.
#[tokio::test]
async fn a_saved_journal_says_which_texts_its_runs_name() {
    let saved = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/journals/format-1.db");
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap()).unwrap();
    fs::copy(saved, place.path()).unwrap();
    let journal = place.open();
    let runs = journal.runs(&RunFilter::all()).await.unwrap();
    assert!(!runs.is_empty());
    for run in &runs {
        journal.sources(&run.id).await.unwrap();
    }
    drop(journal);
    let count = |sql: &str| place.raw().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(count("SELECT count(*) FROM texts") > 0);
    let nobody = "SELECT count(*) FROM texts WHERE fingerprint NOT IN (SELECT fingerprint FROM uses)";
    assert_eq!(count(nobody), 0, "a text that a run names would go with another run");
}

/// What is taken away makes the file smaller, and is not missed when the journal is opened again.
#[tokio::test]
async fn a_journal_whose_runs_were_pruned_is_smaller_and_whole() {
    let place = Place::new();
    let journal = place.open();
    let text = |n: i64| format!("{n} ").repeat(4000);
    let mut ids = Vec::new();
    for n in 0..60 {
        let id = format!("r{n:02}");
        journal.prepare(new_run(&id), t(n)).await.unwrap();
        let tenure = claim(&journal, &id, "two", n + 1).await;
        journal.keep(&text(n)).await.unwrap();
        let output =
            KeptOutput { stream: Stream::Stdout, sha256: fingerprint(&text(n)), bytes: 1, left_out: 0 };
        let events = [started(1), Event::OutputKept { step: 1, output }, note(1), succeeded()];
        journal.append(&tenure, &events, t(n + 2), Sync::Now).await.unwrap();
        ids.push(RunId::from(id));
    }
    drop(journal);
    let before = fs::metadata(place.path()).unwrap().len();
    let journal = place.open();
    // The last row of the log is among what goes.
    assert_eq!(journal.prune(&ids, t(99)).await.unwrap().len(), 60);
    drop(journal);
    let after = fs::metadata(place.path()).unwrap().len();
    assert!(after * 2 < before, "{before} bytes before, {after} after");
    let journal = place.open();
    journal.check().await.unwrap();
    journal.prepare(new_run("next"), t(100)).await.unwrap();
    assert_eq!(journal.records(&"next".into(), 0).await.unwrap().len(), 1);
    assert!(!journal.prepare(new_run("r07"), t(100)).await.unwrap());
}

/// A full disk: either it went as a whole, or nothing did.
#[tokio::test]
async fn a_prune_on_a_full_disk_is_all_or_nothing() {
    let place = Place::new();
    let journal = place.open();
    story(&journal).await;
    let free = journal.prunable(&PruneFilter::all()).await.unwrap();
    let ids: Vec<RunId> = free.into_iter().map(|run| run.id).collect();
    assert_eq!(ids.len(), 4);
    journal
        .sql("CREATE TABLE ballast AS SELECT zeroblob(3000) AS x; PRAGMA max_page_count = 1")
        .await
        .unwrap();
    journal
        .sql("INSERT INTO pruned SELECT hex(randomblob(40)), '' FROM log, log AS more LIMIT 2000")
        .await
        .unwrap_err();
    match journal.prune(&ids, t(99)).await {
        Ok(gone) => assert_eq!(gone, ids),
        Err(error) => {
            assert!(format!("{error:?}").contains("full"), "{error:?}");
            for id in &ids {
                assert!(!journal.records(id, 0).await.unwrap().is_empty());
            }
        }
    }
    journal.sql("PRAGMA max_page_count = 1000000; DROP TABLE ballast").await.unwrap();
    journal.prune(&ids, t(99)).await.unwrap();
    assert_eq!(journal.prunable(&PruneFilter::all()).await.unwrap(), []);
    journal.check().await.unwrap();
}

/// SQLite builds a table of such a list for each row that it writes.
#[test]
fn no_index_has_a_list_in_its_condition() {
    let place = Place::new();
    drop(place.open());
    let lists = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql LIKE '% IN (%'";
    assert_eq!(place.raw().query_row(lists, [], |row| row.get::<_, u32>(0)).unwrap(), 0);
}

#[test]
fn many_may_open_a_new_file_at_once() {
    for _ in 0..10 {
        let place = Place::new();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| drop(place.open()));
            }
        });
        drop(place.open());
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_can_be_mended() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    journal.sql("PRAGMA max_page_count = 1").await.unwrap();
    let large = |step| Event::StepFinished {
        step,
        end: crate::event::StepEnd::Ok(json!("x".repeat(100_000)).into()),
        effected: vec![],
    };

    let error =
        place.says(journal.append(&tenure, &[started(1), large(1)], t(2), Sync::Now).await.unwrap_err());
    assert!(format!("{error:?}").contains("full"), "{error:?}");
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 2);
    // What still fits is written, under the same tenure.
    journal.append(&tenure, &[started(1)], t(3), Sync::Now).await.unwrap();

    // Who did not wait learns of it with the next append, and with every one under this tenure.
    journal.append(&tenure, &[large(1)], t(4), Sync::Soon).await.unwrap();
    let lost = place.says(journal.append(&tenure, &both(2), t(5), Sync::Now).await.unwrap_err());
    assert!(format!("{lost:?}").contains("full"), "{lost:?}");
    journal.sql("PRAGMA max_page_count = 1000000").await.unwrap();
    for sync in [Sync::Soon, Sync::Now] {
        assert_eq!(kind(journal.append(&tenure, &both(2), t(5), sync).await), ErrorKind::Storage);
    }
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 3);
    let tenure = claim(&journal, "a", "one", 6).await;
    journal.append(&tenure, &[large(1)], t(7), Sync::Now).await.unwrap();
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_failure_of_one_is_not_that_of_its_neighbours() {
    let place = Place::new();
    let journal = place.open();
    for id in ["a", "b"] {
        journal.prepare(new_run(id), t(0)).await.unwrap();
    }
    let a = claim(&journal, "a", "one", 1).await;
    let b = claim(&journal, "b", "one", 1).await;
    place.raw().execute("UPDATE heads SET step = 7 WHERE run = 1", []).unwrap();
    let (first, second, damaged, word) = (both(1), both(2), a.run.clone(), answer(1));
    let (x, y, z) = tokio::join!(
        journal.append(&b, &first, t(2), Sync::Now),
        journal.signal(&damaged, &word, t(2)),
        journal.append(&b, &second, t(2), Sync::Now),
    );
    assert!(x.is_ok() && z.is_ok());
    let error = place.says(y.unwrap_err());
    assert!(error.message().contains("the row of run a"), "{error:?}");
    assert_eq!(journal.signals(&"a".into()).await.unwrap(), []);
    assert_eq!(kind(journal.claim(&ClaimRequest::new(&a.run, &a.owner, t(3))).await), ErrorKind::Storage);
}

#[tokio::test]
async fn a_failure_of_one_append_is_that_of_the_next() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    // So that only the transaction finds out.
    let wall = "CREATE TRIGGER wall BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'in the way'); END";
    place.raw().execute_batch(wall).unwrap();
    journal.append(&tenure, &both(1), t(2), Sync::Soon).await.unwrap();
    let error = place.says(journal.append(&tenure, &both(2), t(3), Sync::Now).await.unwrap_err());
    assert!(format!("{error:?}").contains("in the way"), "{error:?}");
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 2);
}

#[tokio::test]
async fn a_lock_that_another_program_holds_is_named() {
    let place = Place::new();
    let journal = place.open();
    journal.sql("PRAGMA busy_timeout = 1").await.unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = place.says(journal.prepare(new_run("a"), t(0)).await.unwrap_err());
    assert!(error.hints()[0].to_string().contains("fuser"), "{error:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(journal.prepare(new_run("a"), t(0)).await.unwrap());
}

#[tokio::test]
async fn a_database_that_may_not_be_written_is_named() {
    let place = Place::new();
    let journal = place.open();
    journal.sql("PRAGMA query_only = ON").await.unwrap();
    let error = place.says(journal.prepare(new_run("a"), t(0)).await.unwrap_err());
    assert!(error.hints()[0].to_string().contains("writable"), "{error:?}");
    assert_eq!(journal.run(&"a".into()).await.unwrap(), None);
}

#[tokio::test]
async fn after_a_failed_commit_the_database_is_opened_again() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    // Checked only by COMMIT itself, which makes it fail there.
    let broken =
        "PRAGMA defer_foreign_keys = ON; INSERT INTO signals (run, body, sum) VALUES ('none', '', '')";
    for step in 1..=3 {
        place.says(journal.sql(broken).await.unwrap_err());
        journal.append(&tenure, &both(step), t(2), Sync::Now).await.unwrap();
    }
    // Not while another file lies there, however often it is tried. Windows does not let an open one be moved away.
    place.says(journal.sql(broken).await.unwrap_err());
    if cfg!(unix) {
        let aside = place.path().with_extension("aside");
        fs::rename(place.path(), &aside).unwrap();
        for _ in 0..2 {
            place.says(journal.append(&tenure, &both(4), t(2), Sync::Now).await.unwrap_err());
        }
        fs::rename(&aside, place.path()).unwrap();
    }
    journal.append(&tenure, &both(4), t(2), Sync::Now).await.unwrap();
    let records = journal.records(&"a".into(), 0).await.unwrap();
    drop(journal);
    assert_eq!(place.open().records(&"a".into(), 0).await.unwrap(), records);
    assert_eq!(records.len(), 10);
}

#[tokio::test]
async fn a_database_that_lost_what_was_written_is_an_error() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let (first, log) = (fs::read(place.path()).unwrap(), fs::read(place.log()).unwrap());
    let tenure = claim(&journal, "a", "one", 1).await;
    journal.append(&tenure, &both(1), t(2), Sync::Now).await.unwrap();
    drop(journal);
    let whole = fs::read(place.path()).unwrap();
    let lost = || {
        let error = place.refused();
        assert!(error.message().contains("lost records"), "{error:?}");
        assert!(error.hints()[1].to_string().contains("journal.db-mark"), "{error:?}");
        assert!(SqliteJournal::open_read_only(&place.path()).is_err());
    };
    // The file is gone, is empty, or comes without the log that held the rest.
    fs::remove_file(place.path()).unwrap();
    lost();
    fs::write(place.path(), b"").unwrap();
    lost();
    fs::write(place.path(), &first).unwrap();
    lost();
    // An older moment of both is a loss as well.
    fs::write(place.path(), &first).unwrap();
    fs::write(place.log(), &log).unwrap();
    lost();
    // Whole again, or said to be all that there is.
    let _ = fs::remove_file(place.log());
    fs::write(place.path(), &whole).unwrap();
    assert_eq!(place.open().records(&"a".into(), 0).await.unwrap().len(), 4);
    fs::remove_file(place.mark()).unwrap();
    fs::write(place.path(), b"").unwrap();
    assert_eq!(place.open().run(&"a".into()).await.unwrap(), None);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_deleted_takes_nothing_more() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    fs::remove_file(place.path()).unwrap();
    place.says(journal.prepare(new_run("b"), t(0)).await.unwrap_err());
    place.says(journal.run(&"a".into()).await.unwrap_err());
    // Not even when another file takes its place.
    fs::remove_file(place.mark()).unwrap();
    drop(place.open());
    place.says(journal.prepare(new_run("b"), t(0)).await.unwrap_err());

    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    fs::remove_file(place.log()).unwrap();
    place.says(journal.prepare(new_run("b"), t(0)).await.unwrap_err());
}

#[tokio::test]
async fn a_panic_keeps_nobody_waiting() {
    let place = Place::new();
    let journal = place.open();
    let panics = journal.write(|_| -> Rows<()> { panic!("on purpose, in a test") });
    assert_eq!(kind(panics.await), ErrorKind::Storage);
    assert!(journal.prepare(new_run("a"), t(0)).await.unwrap());
    drop(journal);
    assert!(!place.open().prepare(new_run("a"), t(0)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_wins_each_epoch() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    for n in 0..25 {
        one.prepare(new_run(&format!("r{n}")), t(0)).await.unwrap();
    }
    one.heartbeat(&owner("one"), t(100)).await.unwrap();
    two.heartbeat(&owner("two"), t(100)).await.unwrap();
    for n in 0..25 {
        let id = RunId::from(format!("r{n}"));
        for round in 1..=2 {
            let at = t(200 * (round - 1));
            let (one_is, two_is) = (owner("one"), owner("two"));
            let [first, second] = [&one_is, &two_is].map(|by| ClaimRequest::new(&id, by, at));
            let (a, b) = tokio::join!(one.claim(&first), two.claim(&second));
            let granted =
                [a.unwrap(), b.unwrap()].into_iter().filter(|claim| matches!(claim, Claim::Granted(_)));
            // In the second round no heartbeat holds any more, so the slower one takes over.
            assert_eq!(granted.count() as i64, round, "run {id}");
        }
        let epochs = one
            .records(&id, 1)
            .await
            .unwrap()
            .iter()
            .map(|record| match record.event().unwrap() {
                Event::Claimed { epoch, .. } => epoch,
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>();
        assert_eq!(epochs, [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_process_that_was_taken_over_learns_it_in_time() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    one.prepare(new_run("a"), t(0)).await.unwrap();
    let old = claim(&one, "a", "one", 1).await;
    one.append(&old, &[started(1)], t(2), Sync::Now).await.unwrap();
    two.heartbeat(&owner("two"), t(100)).await.unwrap();
    let taken = two.claim(&request("a", "two", 3).dead(&owner("one"))).await.unwrap();
    let Claim::Granted(new) = taken else { panic!("granted") };
    // Without waiting for the disk it cannot know yet; before the next intent it does.
    one.append(&old, &[note(1)], t(4), Sync::Soon).await.unwrap();
    for sync in [Sync::Now, Sync::Soon, Sync::Now] {
        assert_eq!(kind(one.append(&old, &[started(2)], t(4), sync).await), ErrorKind::Stopped);
    }
    two.append(&new, &[note(1)], t(5), Sync::Now).await.unwrap();
    assert_eq!(one.run(&"a".into()).await.unwrap().unwrap().seq, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_share_commits() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    let prepared = join_all((0..100).map(|n| journal.prepare(new_run(&format!("r{n}")), t(0)))).await;
    assert!(prepared.into_iter().all(|done| done.unwrap()));
    journal.heartbeat(&owner("one"), t(1000)).await.unwrap();
    let before = journal.commits();
    let appenders = (0..100).map(|n| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let tenure = claim(&*journal, &format!("r{n}"), "one", 1).await;
            for step in 1..=10 {
                journal.append(&tenure, &both(step), t(2), Sync::Now).await.unwrap();
            }
        })
    });
    for appender in join_all(appenders).await {
        appender.unwrap();
    }
    let commits = journal.commits() - before;
    assert!(commits * 4 < 1000, "{commits} commits for 1000 appends");
}

#[tokio::test]
async fn a_loop_of_steps_costs_one_commit_each() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    let before = journal.commits();
    for step in 1..=50 {
        journal.append(&tenure, &[started(step)], t(2), Sync::Now).await.unwrap();
        journal.append(&tenure, &[note(step)], t(2), Sync::Soon).await.unwrap();
    }
    let commits = journal.commits() - before;
    assert!(commits <= 52, "{commits} commits for 50 steps");
}
