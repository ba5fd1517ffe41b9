//! What every journal promises about the queue.

use super::*;
use crate::journal::{Claim, ConcurrencyLimit};

/// A run of some groups, each with how many may be under way.
fn limited(id: &str, limits: &[(&str, u32)]) -> NewRun {
    let limits = limits.iter().map(|(group, most)| ConcurrencyLimit::new(*group, *most)).collect();
    NewRun { limits, ..new_run(id) }
}

async fn add(journal: &dyn Journal, at: i64, id: &str, limits: &[(&str, u32)]) {
    assert!(journal.prepare(limited(id, limits), t(at)).await.unwrap());
}

async fn end(journal: &dyn Journal, run: &str, at: i64) {
    let tenure = claim(journal, run, "one", at).await;
    journal.append(&tenure, &[succeeded()], t(at), Sync::Now).await.unwrap();
}

/// Who waits, for which groups, and who keeps it waiting.
async fn queue(journal: &dyn Journal) -> Vec<String> {
    let queue = journal.queue().await.unwrap();
    let full = |full: &crate::journal::Full| {
        let by: Vec<&str> = full.by.iter().map(RunId::as_str).collect();
        format!("{} {} {}", full.limit.group, full.limit.most, by.join("+"))
    };
    queue
        .iter()
        .map(|one| {
            assert!(one.run.is_queued(), "{one:?}");
            let full: Vec<String> = one.full.iter().map(full).collect();
            format!("{}: {}", one.run.id, full.join(", "))
        })
        .collect()
}

pub(super) async fn a_run_waits_until_there_is_room(journal: &dyn Journal) {
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        add(journal, n as i64, id, &[("all", 2)]).await;
    }
    assert_eq!(due(journal, 99).await, ["a", "b"]);
    assert_eq!(queue(journal).await, ["c: all 2 a+b", "d: all 2 a+b"]);
    journal.heartbeat(&owner("one"), t(1000)).await.unwrap();
    assert_eq!(journal.claim(&request("c", "one", 5)).await.unwrap(), Claim::Queued);
    assert_eq!(journal.records(&"c".into(), 0).await.unwrap().len(), 1);
    // One that is parked is under way.
    let tenure = claim(journal, "a", "one", 6).await;
    journal.append(&tenure, &[parked(None)], t(6), Sync::Now).await.unwrap();
    assert_eq!(queue(journal).await.len(), 2);
    end(journal, "b", 7).await;
    assert_eq!(queue(journal).await, ["d: all 2 a+c"]);
    assert_eq!(due(journal, 7).await, ["c"]);
    assert_eq!(journal.next_due(t(6)).await.unwrap(), Some(t(7)));
    end(journal, "c", 8).await;
    assert_eq!(queue(journal).await, Vec::<String>::new());
    assert_eq!(due(journal, 8).await, ["d"]);
    // Whoever comes now finds both places taken.
    add(journal, 9, "e", &[("all", 2)]).await;
    assert_eq!(queue(journal).await, ["e: all 2 a+d"]);
    end(journal, "a", 10).await;
    assert_eq!(due(journal, 10).await, ["d", "e"]);
}

pub(super) async fn the_first_in_the_queue_for_which_there_is_room_is_next(journal: &dyn Journal) {
    add(journal, 1, "a", &[("all", 2), ("target:x", 1)]).await;
    add(journal, 2, "b", &[("all", 2), ("target:y", 1)]).await;
    add(journal, 3, "c", &[("all", 2), ("target:x", 1)]).await;
    add(journal, 4, "d", &[("all", 2), ("target:z", 1)]).await;
    add(journal, 5, "e", &[("all", 2), ("target:z", 1)]).await;
    assert_eq!(queue(journal).await[0], "c: all 2 a+b, target:x 1 a");
    // The first waits for a target: the next one goes.
    end(journal, "b", 6).await;
    assert_eq!(queue(journal).await, ["c: all 2 a+d, target:x 1 a", "e: all 2 a+d, target:z 1 d"]);
    end(journal, "a", 7).await;
    assert_eq!(queue(journal).await, ["e: all 2 c+d, target:z 1 d"]);
    end(journal, "c", 8).await;
    assert_eq!(queue(journal).await, ["e: target:z 1 d"]);
    end(journal, "d", 9).await;
    assert_eq!(due(journal, 9).await, ["e"]);
}

pub(super) async fn a_run_that_its_maker_drives_keeps_its_time(journal: &dyn Journal) {
    add(journal, 1, "a", &[("all", 1)]).await;
    let run = NewRun { wake: Some(t(182)), ..limited("b", &[("all", 1)]) };
    journal.prepare(run, t(2)).await.unwrap();
    end(journal, "a", 10).await;
    assert_eq!(due(journal, 189).await, Vec::<String>::new());
    assert_eq!(due(journal, 190).await, ["b"]);
    claim(journal, "b", "one", 11).await;
}

pub(super) async fn who_is_stopped_in_the_queue_leaves_it(journal: &dyn Journal) {
    for (n, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
        add(journal, n as i64, id, &[("all", 1)]).await;
    }
    // A word wakes it, so that whoever drives it hears the word.
    journal.signal(&"b".into(), &Signal::Stop { by: "ann".into() }, t(5)).await.unwrap();
    assert_eq!(due(journal, 5).await, ["a", "b"]);
    end(journal, "b", 6).await;
    assert_eq!(queue(journal).await, ["c: all 1 a", "d: all 1 a"]);
    // Who takes it from the queue takes a place with it, although there is no room.
    journal.heartbeat(&owner("one"), t(1000)).await.unwrap();
    let claimed = journal.claim(&request("c", "one", 7).queued()).await.unwrap();
    assert!(matches!(claimed, Claim::Granted(_)), "{claimed:?}");
    assert_eq!(queue(journal).await, ["d: all 1 a+c"]);
    end(journal, "a", 8).await;
    assert_eq!(queue(journal).await, ["d: all 1 c"]);
    end(journal, "c", 9).await;
    assert_eq!(due(journal, 9).await, ["d"]);
}

pub(super) async fn a_run_that_is_wanted_at_once_waits_for_nobody(journal: &dyn Journal) {
    add(journal, 1, "a", &[("all", 1)]).await;
    let run = NewRun { at_once: true, ..limited("b", &[("all", 1)]) };
    journal.prepare(run, t(2)).await.unwrap();
    add(journal, 3, "c", &[("all", 1)]).await;
    assert_eq!(due(journal, 9).await, ["a", "b"]);
    end(journal, "a", 4).await;
    assert_eq!(queue(journal).await, ["c: all 1 b"]);
    end(journal, "b", 5).await;
    assert_eq!(due(journal, 9).await, ["c"]);
}

pub(super) async fn runs_of_schedules_stand_in_the_queue(journal: &dyn Journal) {
    add(journal, 1, "a", &[("target:x", 1)]).await;
    put(journal, schedule("s", 10), t(1)).await;
    let start = crate::journal::Start::new(limited("b", &[("target:x", 1)]));
    let settlement = Settlement { starts: vec![start], ..Settlement::of(&schedule("s", 10)) };
    assert!(journal.settle(&settlement, t(10)).await.unwrap());
    assert_eq!(queue(journal).await, ["b: target:x 1 a"]);
    end(journal, "a", 11).await;
    assert_eq!(due(journal, 11).await, ["b"]);
}

pub(super) async fn places_are_given_back_in_every_group(journal: &dyn Journal) {
    let groups = ["g1", "g2", "g3", "g4", "g5"];
    add(journal, 1, "a", &groups.map(|group| (group, 1))).await;
    for (n, group) in groups.into_iter().enumerate() {
        add(journal, 2 + n as i64, &format!("of-{group}"), &[(group, 1)]).await;
    }
    assert_eq!(queue(journal).await.len(), 5);
    end(journal, "a", 9).await;
    assert_eq!(due(journal, 9).await, groups.map(|group| format!("of-{group}")));
}
