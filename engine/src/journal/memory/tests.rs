//! What only the journal in memory can do: crash, be cut, and be strict.

use serde_json::json;

use super::super::contract::sample::{
    answer, both, claim, kind, lease, new_run, owner, parked, schedule, started, t,
};
use super::state::reads_back;
use super::*;
use crate::error::ErrorKind;
use crate::event::{Effected, GENESIS, StepEnd};

fn result(step: u32, effected: Vec<Effected>) -> Event {
    Event::StepFinished { step, end: StepEnd::Ok(json!(step).into()), effected }
}

/// Two runs that touch the same tables, a word, and a claim after it.
async fn story() -> MemoryJournal {
    let journal = MemoryJournal::new();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    journal.prepare(new_run("b"), t(0)).await.unwrap();
    let a = claim(&journal, "a", "one", 1).await;
    let b = claim(&journal, "b", "one", 1).await;
    let opens = vec![Effected::LeaseOpened(lease("l", 50)), Effected::Scheduled(Box::new(schedule("s", 60)))];
    journal.append(&a, &[started(1), result(1, opens)], t(2), Sync::Now).await.unwrap();
    let closes = vec![Effected::LeaseClosed { id: "l".into() }];
    journal.append(&b, &[started(1), result(1, closes)], t(3), Sync::Now).await.unwrap();
    let reopens = vec![Effected::LeaseOpened(lease("l", 70))];
    journal.append(&a, &[started(2), result(2, reopens), parked(None)], t(4), Sync::Now).await.unwrap();
    journal.signal(&"a".into(), &answer(2), t(5)).await.unwrap();
    let a = claim(&journal, "a", "two", 6).await;
    let heard = Event::Signalled { signal: answer(2) };
    journal.append(&a, &[heard, started(3)], t(7), Sync::Now).await.unwrap();
    journal
}

#[tokio::test]
async fn a_line_cut_anywhere_is_a_consistent_prefix() {
    let whole = story().await;
    let (a, b) = (RunId::from("a"), RunId::from("b"));
    let all = whole.records(&a, 0).await.unwrap();
    assert_eq!(all.len(), 10);
    for seq in 1..=10 {
        let cut = whole.truncated(&a, seq);
        assert_eq!(cut.records(&a, 0).await.unwrap(), all[..seq as usize], "cut after {seq}");
        assert_eq!(cut.run(&a).await.unwrap().unwrap().seq, seq);
        assert_eq!(cut.records(&b, 0).await.unwrap(), whole.records(&b, 0).await.unwrap());
        let leases: Vec<_> = cut.leases().await.unwrap().iter().map(|lease| lease.deadline).collect();
        assert_eq!(leases, if seq < 6 { vec![] } else { vec![t(70)] }, "cut after {seq}");
        assert_eq!(cut.schedules().await.unwrap().len(), usize::from(seq >= 4), "cut after {seq}");
        let words = cut.signals(&a).await.unwrap();
        assert_eq!(words.len(), usize::from(seq == 8), "consumed at 9, came after 7: cut after {seq}");
        // The run goes on from there.
        cut.heartbeat(&owner("new"), t(9999)).await.unwrap();
        let claimed = cut.claim(&ClaimRequest::new(&a, &owner("new"), t(2000))).await.unwrap();
        assert!(matches!(claimed, Claim::Granted(_)), "cut after {seq}");
    }
    assert_eq!(whole.truncated(&a, 0).run(&a).await.unwrap(), None);
    assert_eq!(whole.truncated(&a, 99).records(&a, 0).await.unwrap(), all);
}

#[tokio::test]
async fn a_crash_loses_what_did_not_wait_for_the_disk() {
    let journal = MemoryJournal::new();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    let [start, end] = both(1);
    journal.append(&tenure, &[start], t(2), Sync::Now).await.unwrap();
    journal.append(&tenure, &[end], t(3), Sync::Soon).await.unwrap();
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 4);
    assert_eq!(journal.crash().records(&"a".into(), 0).await.unwrap().len(), 3);
    // There is one line to the disk: whatever waits for it takes along what came before.
    journal.heartbeat(&owner("two"), t(9)).await.unwrap();
    assert_eq!(journal.crash().records(&"a".into(), 0).await.unwrap().len(), 4);
    assert_eq!(journal.crash().crash().records(&"a".into(), 0).await.unwrap().len(), 4);
}

#[tokio::test]
async fn steps_out_of_order_are_refused() {
    let journal = MemoryJournal::new();
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(&journal, "a", "one", 1).await;
    let accepted = |step| Event::StepAccepted {
        step,
        continuation: json!(1),
        check_at: t(1),
        send_before: None,
        deadline: t(2),
        effected: vec![],
    };
    journal.append(&tenure, &both(1), t(2), Sync::Now).await.unwrap();
    for wrong in [
        vec![result(2, vec![])],
        vec![accepted(2)],
        vec![started(1)],
        vec![started(2), started(3)],
        vec![started(2), accepted(3)],
        vec![started(2), result(2, vec![]), result(2, vec![])],
    ] {
        assert_eq!(
            kind(journal.append(&tenure, &wrong, t(3), Sync::Now).await),
            ErrorKind::Storage,
            "{wrong:?}"
        );
    }
    // Another attempt starts the same step again.
    let right = [started(2), accepted(2), started(2), accepted(2), result(2, vec![])];
    journal.append(&tenure, &right, t(3), Sync::Now).await.unwrap();
}

#[tokio::test]
async fn an_event_that_does_not_read_back_is_refused() {
    let record = Record::follow(GENESIS, 1, t(0), &started(1)).unwrap();
    assert!(reads_back(&record, &started(1)).is_ok());
    assert_eq!(kind(reads_back(&record, &started(2))), ErrorKind::Storage);
    let cut = Record { body: record.body[1..].to_owned(), ..record };
    assert_eq!(kind(reads_back(&cut, &started(1))), ErrorKind::Storage);
}
