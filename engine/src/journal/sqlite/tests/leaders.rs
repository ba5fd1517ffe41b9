//! Scripts that commit for themselves and for whoever is in line.

use std::sync::mpsc;

use super::*;
use crate::bridge::{Bridge, on_own_thread};

/// Does something as a script would, on a thread that may block.
async fn as_script<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let bridge = Bridge::here();
    on_own_thread(move || bridge.wait(work)).await.unwrap().unwrap()
}

async fn driven(journal: &SqliteJournal, runs: &[&str]) -> Vec<Tenure> {
    let mut tenures = Vec::new();
    for run in runs {
        journal.prepare(new_run(run), t(0)).await.unwrap();
        tenures.push(claim(journal, run, "one", 1).await);
    }
    tenures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_scripts_commit_for_each_other() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    let names: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let tenures = driven(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let before = journal.commits();
    join_all(tenures.iter().cloned().map(|tenure| {
        let journal = journal.clone();
        as_script(async move {
            for step in 1..=20 {
                journal.append(&tenure, &[started(step)], t(2), Sync::Now).await.unwrap();
                journal.append(&tenure, &[note(step)], t(2), Sync::Soon).await.unwrap();
            }
            journal.append(&tenure, &[succeeded()], t(3), Sync::Now).await.unwrap();
        })
    }))
    .await;
    let commits = journal.commits() - before;
    assert!(commits < 2100, "{commits} commits for 2100 appends that waited");
    for tenure in tenures {
        assert_eq!(journal.records(&tenure.run, 0).await.unwrap().len(), 2 + 20 * 2 + 1);
    }
}

#[tokio::test]
async fn a_script_takes_along_what_is_held_back() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    let tenures = driven(&journal, &["a", "b"]).await;
    let before = journal.commits();
    as_script({
        let (journal, tenures) = (journal.clone(), tenures.clone());
        async move {
            journal.append(&tenures[0], &[started(1)], t(2), Sync::Soon).await.unwrap();
            journal.append(&tenures[1], &[started(1)], t(2), Sync::Soon).await.unwrap();
            journal.append(&tenures[0], &[note(1)], t(2), Sync::Now).await.unwrap();
        }
    })
    .await;
    assert!(!journal.lines.are_ahead());
    assert_eq!(journal.commits() - before, 1);
    // What nobody follows is written all the same.
    journal.append(&tenures[1], &[note(1)], t(2), Sync::Soon).await.unwrap();
    while journal.lines.are_ahead() {
        tokio::time::sleep(writer::HELD / 10).await;
    }
    assert_eq!(journal.commits() - before, 2);
    for tenure in tenures {
        assert_eq!(journal.records(&tenure.run, 2).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_commit_that_fails_is_everybodys_failure() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    let tenures = driven(&journal, &["a", "b"]).await;
    for tenure in &tenures {
        journal.append(tenure, &both(1), t(2), Sync::Soon).await.unwrap();
    }
    let first = as_script({
        let journal = journal.clone();
        let broken =
            "PRAGMA defer_foreign_keys = ON; INSERT INTO signals (run, body, sum) VALUES ('none', '', '')";
        async move { journal.sql(broken).await }
    })
    .await;
    let first = place.says(first.unwrap_err());
    for tenure in tenures {
        for sync in [Sync::Soon, Sync::Now] {
            let journal = journal.clone();
            let tenure = tenure.clone();
            let error =
                as_script(async move { journal.append(&tenure, &both(2), t(3), sync).await.unwrap_err() });
            assert_eq!(format!("{:?}", error.await), format!("{first:?}"));
        }
        assert_eq!(place.open().run(&tenure.run).await.unwrap().unwrap().seq, 2);
    }
}

#[tokio::test]
async fn a_panic_of_one_is_an_error_for_all() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    let tenures = driven(&journal, &["a"]).await;
    journal.append(&tenures[0], &both(1), t(2), Sync::Soon).await.unwrap();
    let panics = {
        let journal = journal.clone();
        async move { journal.write(|_| -> Rows<()> { panic!("on purpose, in a test") }).await }
    };
    assert_eq!(kind(as_script(panics).await), ErrorKind::Storage);
    for sync in [Sync::Soon, Sync::Now] {
        assert_eq!(kind(journal.append(&tenures[0], &both(2), t(3), sync).await), ErrorKind::Storage);
    }
    // Nothing is left open that would keep others out.
    assert!(place.open().prepare(new_run("b"), t(4)).await.unwrap());
}

#[tokio::test]
async fn dropping_it_writes_what_is_in_line_behind_a_commit() {
    let place = Place::new();
    let journal = place.open();
    let names: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
    let tenures = driven(&journal, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (release, released) = mpsc::channel::<()>();
    let (begin, began) = mpsc::channel();
    let slow = move |_: &Connection| {
        begin.send(()).unwrap();
        let _ = released.recv();
        Ok(())
    };
    let writer = journal.writer().unwrap();
    writer.put(writer::Job::new(slow, |_| {}));
    writer.press(true);
    began.recv().unwrap();
    for tenure in &tenures {
        journal.append(tenure, &both(1), t(2), Sync::Soon).await.unwrap();
    }
    let dropping = std::thread::spawn(move || drop(journal));
    drop(release);
    dropping.join().unwrap();
    assert!(!place.log().exists());
    let journal = place.open();
    for tenure in tenures {
        assert_eq!(journal.records(&tenure.run, 2).await.unwrap().len(), 2);
    }
}
