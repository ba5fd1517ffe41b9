//! What a journal on this machine's disk can do.

use std::time::Instant;

use super::*;
use crate::event::Park;

/// Prints the figures of the documentation: `cargo test --release -- --ignored --nocapture figures`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn figures() {
    let place = Place::new();
    let journal = Arc::new(place.open());
    journal.prepare(new_run("single"), t(0)).await.unwrap();
    let tenure = claim(&*journal, "single", "one", 1).await;
    let began = Instant::now();
    for step in 1..=5000 {
        journal.append(&tenure, &both(step), t(2), Sync::Now).await.unwrap();
    }
    println!("single, one commit per append: {:.0}/s", 5000.0 / began.elapsed().as_secs_f64());

    let (began, before) = (Instant::now(), journal.commits());
    for step in 5001..=10_000 {
        journal.append(&tenure, &[started(step)], t(2), Sync::Now).await.unwrap();
        journal.append(&tenure, &[note(step)], t(2), Sync::Soon).await.unwrap();
    }
    let commits = journal.commits() - before;
    println!(
        "single, start Now + finish Soon: {:.0} steps/s, {commits} commits",
        5000.0 / began.elapsed().as_secs_f64()
    );

    let began = Instant::now();
    let records = journal.records(&"single".into(), 0).await.unwrap();
    println!("records() of {} with verification: {:?}", records.len(), began.elapsed());

    join_all((0..100).map(|n| journal.prepare(new_run(&format!("c{n}")), t(0)))).await;
    let (began, before) = (Instant::now(), journal.commits());
    let appenders = (0..100).map(|n| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let tenure = claim(&*journal, &format!("c{n}"), "one", 1).await;
            for step in 1..=100 {
                journal.append(&tenure, &both(step), t(2), Sync::Now).await.unwrap();
            }
        })
    });
    join_all(appenders).await;
    let commits = journal.commits() - before;
    println!("100 appenders: {:.0} appends/s, {commits} commits", 10_000.0 / began.elapsed().as_secs_f64());

    let began = Instant::now();
    let batch =
        |from: usize| (from..from + 10_000).map(|n| journal.prepare(new_run(&format!("p{n:06}")), t(0)));
    for from in (0..100_000).step_by(10_000) {
        join_all(batch(from)).await;
    }
    println!("100,000 prepared: {:?}", began.elapsed());
    let began = Instant::now();
    for from in (0..100_000).step_by(10_000) {
        join_all((from..from + 10_000).map(|n| {
            let journal = &journal;
            async move {
                let id = RunId::from(format!("p{n:06}"));
                let Claim::Granted(tenure) =
                    journal.claim(&ClaimRequest::new(&id, &owner("one"), t(1))).await.unwrap()
                else {
                    panic!("granted")
                };
                let event = Event::Parked { park: Park::Waiting, until: Some(t(5000 + n as i64)) };
                journal.append(&tenure, &[event], t(2), Sync::Now).await.unwrap();
            }
        }))
        .await;
    }
    println!("100,000 claimed and parked: {:?}", began.elapsed());
    for (name, now) in [("none", 3), ("half", 55_000), ("all", 200_000)] {
        let began = Instant::now();
        for _ in 0..100 {
            journal.due(t(now), 64).await.unwrap();
        }
        println!("due(64) with 100,000 parked, {name} due: {:?}", began.elapsed() / 100);
    }
    let began = Instant::now();
    for n in 0..1000 {
        journal.run(&RunId::from(format!("p{:06}", n * 97))).await.unwrap().unwrap();
    }
    println!("run(): {:?}", began.elapsed() / 1000);
    let began = Instant::now();
    println!(
        "runs(open, 50): {} in {:?}",
        journal.runs(&RunFilter::open().at_most(50)).await.unwrap().len(),
        began.elapsed()
    );
    let began = Instant::now();
    println!(
        "runs(all): {} in {:?}",
        journal.runs(&RunFilter::default()).await.unwrap().len(),
        began.elapsed()
    );
    let began = Instant::now();
    journal.check().await.unwrap();
    println!("check(): {:?}", began.elapsed());
    let began = Instant::now();
    drop(Arc::into_inner(journal).unwrap());
    println!("close: {:?}, file: {} MiB", began.elapsed(), fs::metadata(place.path()).unwrap().len() >> 20);
    let began = Instant::now();
    let journal = place.open();
    println!("open: {:?}", began.elapsed());
    drop(journal);
}
