//! What every journal promises of who drives a run, and of who does not any more.

use super::*;

pub(super) async fn a_run_is_driven_by_one_process_at_a_time(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let one = claim(journal, "a", "one", 1).await;
    assert_eq!(one.epoch, 1);
    journal.heartbeat(&owner("two"), t(1000)).await.unwrap();
    let held = journal.claim(&request("a", "two", 2)).await.unwrap();
    assert_eq!(held, Claim::Held { by: owner("one"), until: t(1000) });
    // Its own process may take it again, and voids its own older tenure with that.
    let again = claim(journal, "a", "one", 3).await;
    assert_eq!(again.epoch, 2);
    assert_eq!(kind(journal.append(&one, &[started(1)], t(4), Sync::Now).await), ErrorKind::Stopped);
    journal.append(&again, &[started(1)], t(4), Sync::Now).await.unwrap();
    let summary = journal.run(&"a".into()).await.unwrap().unwrap();
    assert_eq!((summary.status, summary.owner, summary.epoch), (Status::Running, Some(owner("one")), 2));
}

pub(super) async fn a_run_of_a_silent_process_is_taken_over(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    claim(journal, "a", "one", 1).await;
    journal.heartbeat(&owner("one"), t(10)).await.unwrap();
    journal.heartbeat(&owner("two"), t(100)).await.unwrap();
    assert_eq!(due(journal, 9).await, Vec::<String>::new());
    assert!(matches!(journal.claim(&request("a", "two", 9)).await.unwrap(), Claim::Held { .. }));
    assert_eq!(due(journal, 10).await, ["a"]);
    journal.heartbeat(&owner("one"), t(20)).await.unwrap();
    assert_eq!(due(journal, 10).await, Vec::<String>::new());
    assert!(matches!(journal.claim(&request("a", "two", 19)).await.unwrap(), Claim::Held { .. }));
    assert!(matches!(journal.claim(&request("a", "two", 20)).await.unwrap(), Claim::Granted(_)));
    assert_eq!(due(journal, 99).await, Vec::<String>::new());
}

pub(super) async fn a_run_of_a_process_known_to_be_dead_is_taken_over_at_once(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    claim(journal, "a", "one", 1).await;
    journal.heartbeat(&owner("two"), t(1000)).await.unwrap();
    let other = journal.claim(&request("a", "two", 2).dead(&owner("three"))).await.unwrap();
    assert!(matches!(other, Claim::Held { .. }), "somebody else's death is no reason");
    let granted = journal.claim(&request("a", "two", 2).dead(&owner("one"))).await.unwrap();
    assert!(matches!(granted, Claim::Granted(Tenure { epoch: 2, .. })));
}

pub(super) async fn a_run_that_went_on_is_not_claimed_by_who_has_not_read_it(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let one = claim(journal, "a", "one", 1).await;
    journal.heartbeat(&owner("two"), t(1000)).await.unwrap();
    let two = |seen: u64| request("a", "two", 3).seen(seen);
    assert!(matches!(journal.claim(&two(1)).await.unwrap(), Claim::Held { .. }), "who has it comes first");
    journal.append(&one, &[parked(None)], t(2), Sync::Now).await.unwrap();
    for seen in [0, 1, 2, 4] {
        assert_eq!(journal.claim(&two(seen)).await.unwrap(), Claim::Moved);
    }
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 3, "nothing is written");
    assert!(matches!(journal.claim(&two(3)).await.unwrap(), Claim::Granted(Tenure { epoch: 2, .. })));
}

pub(super) async fn a_claim_wants_a_run_and_a_heartbeat(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    assert_eq!(kind(journal.claim(&request("a", "one", 1)).await), ErrorKind::Storage);
    journal.heartbeat(&owner("one"), t(10)).await.unwrap();
    assert_eq!(kind(journal.claim(&request("b", "one", 1)).await), ErrorKind::Invalid);
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 1);
}

pub(super) async fn a_void_tenure_writes_nothing(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let old = claim(journal, "a", "one", 1).await;
    journal.heartbeat(&owner("two"), t(1000)).await.unwrap();
    let Claim::Granted(new) = journal.claim(&request("a", "two", 2).dead(&owner("one"))).await.unwrap()
    else {
        panic!("granted")
    };
    for sync in [Sync::Now, Sync::Soon, Sync::Now] {
        let opened = finished(1, vec![Effected::LeaseOpened(lease("l", 5))]);
        assert_eq!(kind(journal.append(&old, &[started(1), opened], t(3), sync).await), ErrorKind::Stopped);
    }
    let forged = Tenure { epoch: 3, ..old.clone() };
    assert_eq!(kind(journal.append(&forged, &[started(1)], t(3), Sync::Now).await), ErrorKind::Stopped);
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 3);
    assert_eq!(journal.leases().await.unwrap(), []);
    journal.append(&new, &[started(1)], t(4), Sync::Now).await.unwrap();
}
