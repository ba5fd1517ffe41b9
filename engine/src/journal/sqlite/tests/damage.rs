//! Bytes that changed under the journal: it never gives a wrong answer.

use super::*;

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_it() {
    let place = Place::new();
    story(&place.open()).await;
    let whole = fs::read(place.path()).unwrap();
    for (sql, names) in [
        ("UPDATE log SET body = zeroblob(length(body)) WHERE run = 1 AND first = 5", "record 5 of run a"),
        ("UPDATE log SET body = substr(body, 1, 100) WHERE run = 1 AND first = 5", "record 5 of run a"),
        ("UPDATE log SET first = 6 WHERE run = 1 AND first = 5", "record 5"),
        ("UPDATE log SET run = 2 WHERE run = 1 AND first = 7", "records 1 to 32"),
        ("UPDATE log SET prev = prev - 1 WHERE run = 1 AND first = 31", "record 29"),
        ("UPDATE log SET prev = n WHERE run = 1 AND first = 31", "records 1 to 32"),
        ("DELETE FROM log WHERE run = 1 AND first = 31", "records 1 to 32"),
        ("UPDATE heads SET last = last - 1 WHERE run = 1", "the row of run a"),
        ("UPDATE heads SET hash = zeroblob(32) WHERE run = 1", "the row of run a"),
        ("UPDATE heads SET step = -1 WHERE run = 1", "the row of run a"),
        ("DELETE FROM heads WHERE run = 1", "the row of run a"),
        ("UPDATE runs SET n = 99 WHERE id = 'a'", "the row of run a"),
        ("UPDATE runs SET wake = NULL, status = 'parked' WHERE id = 'a'", "the row of run a"),
        ("UPDATE runs SET status = 'odd' WHERE id = 'a'", "the row of run a"),
        ("UPDATE texts SET text = text || ' '", "the text of `book` in run a"),
        ("DELETE FROM texts", "the text of `book` in run a"),
        ("UPDATE leases SET body = replace(body, '1970', '1971') WHERE id = 'l3'", "the lease `l3`"),
        ("UPDATE leases SET id = 'l99' WHERE id = 'l3'", "the lease `l99`"),
        ("UPDATE leases SET deadline = '2999-01-01T00:00:00.000000000Z' WHERE id = 'l3'", "the lease `l3`"),
        ("UPDATE leases SET door = 'elsewhere' WHERE id = 'l3'", "the lease `l3`"),
        ("UPDATE schedules SET due = '2999-01-01T00:00:00.000000000Z' WHERE id = 's3'", "the schedule `s3`"),
        ("UPDATE schedules SET body = '{}' WHERE id = 's3'", "the schedule `s3`"),
        (
            "UPDATE ticks SET body = replace(body, '1970', '1971') WHERE schedule = 's3'",
            "the account of `s3`",
        ),
        ("UPDATE ticks SET schedule = 's9' WHERE schedule = 's3'", "the account of `s9`"),
        ("UPDATE scheduled_runs SET ended = 'failed' WHERE run = 'r3'", "the schedule of run r3"),
        ("UPDATE signals SET body = replace(body, 'yes', 'no')", "a word for run r1"),
        (
            "UPDATE owners SET until = '1970-01-01T00:00:00.000000000Z' WHERE id = 'one'",
            "the heartbeat of process one",
        ),
    ] {
        place.put(&whole);
        assert!(place.raw().execute(sql, []).unwrap() > 0, "{sql}");
        let journal = place.open();
        journal.heartbeat(&owner("three"), t(1000)).await.unwrap();
        let (a, r1) = (RunId::from("a"), RunId::from("r1"));
        let errors = [
            journal.records(&a, 0).await.err(),
            journal.run(&a).await.err(),
            journal.sources(&a).await.err(),
            journal.leases().await.err(),
            journal.schedules().await.err(),
            journal.ticks(&TickFilter::default()).await.err(),
            journal.scheduled_ends(99).await.err(),
            journal.signals(&r1).await.err(),
            journal.claim(&ClaimRequest::new(&a, &owner("three"), t(5))).await.err(),
        ];
        let said: Vec<Error> = errors.into_iter().flatten().map(|error| place.says(error)).collect();
        assert!(said.iter().any(|error| error.message().contains(names)), "{sql}: {said:?}");
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_record_is_named() {
    let place = Place::new();
    story(&place.open()).await;
    let db = place.raw();
    let row = "SELECT body FROM log WHERE run = 1 AND first = 5";
    let whole: Vec<u8> = db.query_row(row, [], |row| row.get(0)).unwrap();
    let journal = place.open();
    for at in 0..whole.len() {
        let mut body = whole.clone();
        body[at] ^= 1;
        db.execute("UPDATE log SET body = ?1 WHERE run = 1 AND first = 5", [body]).unwrap();
        let error = place.says(journal.records(&"a".into(), 0).await.unwrap_err());
        let named = ["record 5 ", "record 6 "].iter().any(|name| error.message().contains(name));
        assert!(named, "byte {at}: {error:?}");
    }
    db.execute("UPDATE log SET body = ?1 WHERE run = 1 AND first = 5", [whole]).unwrap();
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 32);
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_or_makes_no_difference() {
    let place = Place::new();
    story(&place.open()).await;
    let whole = fs::read(place.path()).unwrap();
    let expected = seen(&place.open()).await;
    let (mut dice, mut noticed, mut tried) = (Dice(1), 0, 0);
    for page in 0..whole.len() / 4096 {
        // The headers of the file and of each page decide the most, so they get more than their share.
        let head = if page == 0 { 108 } else { 12 };
        let spots: Vec<usize> = (0..20).map(|n| dice.below(if n % 2 == 0 { head } else { 4096 })).collect();
        for spot in spots {
            let mut bytes = whole.clone();
            bytes[page * 4096 + spot] ^= 1 << dice.below(8);
            place.put(&bytes);
            tried += 1;
            let journal = match SqliteJournal::open(&place.path()) {
                Ok(journal) => journal,
                Err(error) => {
                    place.says(error);
                    noticed += 1;
                    continue;
                }
            };
            let found = seen(&journal).await;
            for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    found.is_none() || found == expected,
                    "page {page}, byte {spot}, answer {n}: {found:?}"
                );
            }
            noticed += usize::from(found != expected);
            // Writing on top of the damage may fail, and no more than that.
            let _ = journal.prepare(new_run("new"), t(1)).await;
            let _ = journal.claim(&request("r1", "two", 9)).await;
        }
    }
    assert!(tried > 300 && noticed * 2 > tried, "{noticed} of {tried} noticed");
}

#[tokio::test]
async fn a_torn_log_leaves_what_was_committed_before() {
    let place = Place::new();
    let journal = place.open();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    for step in 1..=20 {
        let opened = Effected::LeaseOpened(lease(&format!("l{step}"), 9));
        journal
            .append(&tenure, &[started(step), finished(step, vec![opened])], t(2), Sync::Now)
            .await
            .unwrap();
    }
    let all = journal.records(&"a".into(), 0).await.unwrap();
    let (file, log) = (fs::read(place.path()).unwrap(), fs::read(place.log()).unwrap());
    assert!(log.len() > 20 * 4096);

    let torn = Place::new();
    fs::create_dir_all(torn.path().parent().unwrap()).unwrap();
    // The tables at least are not in the log.
    fs::write(torn.path(), &file).unwrap();
    SqliteJournal::open_read_only(&torn.path()).unwrap();
    let mut dice = Dice(2);
    let mut lengths: Vec<usize> =
        (0..60).map(|_| dice.below(log.len())).chain([0, 31, 32, log.len()]).collect();
    lengths.sort_unstable();
    let mut longest = 0;
    for (n, length) in lengths.into_iter().enumerate() {
        for flip in [false, true] {
            let mut log = if flip { log.clone() } else { log[..length].to_vec() };
            if let (true, Some(byte)) = (flip, log.get_mut(length)) {
                *byte ^= 1 << (n % 8);
            }
            torn.put(&file);
            fs::write(torn.log(), &log).unwrap();
            let journal = torn.open();
            let Some(run) = journal.run(&"a".into()).await.unwrap() else {
                assert_eq!(longest, 0, "what was there at length {length} is gone");
                continue;
            };
            let records = journal.records(&"a".into(), 0).await.unwrap();
            assert_eq!(records, all[..run.seq as usize]);
            assert_eq!(journal.leases().await.unwrap().len() as u64, run.seq.saturating_sub(2) / 2);
            if !flip {
                assert!(run.seq >= longest, "length {length}");
                longest = run.seq;
            }
        }
    }
    assert_eq!(longest, 42);
}
