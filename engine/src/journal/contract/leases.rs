//! What every journal promises of what is open.

use super::*;

pub(super) async fn leases_are_found_by_what_is_due_and_whose_they_are(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let other = Lease { subject: "/Other/VM".into(), door: "Node2:2179".into(), ..lease("b", 30) };
    let opened = [lease("c", 20), other.clone(), lease("a", 20)].map(Effected::LeaseOpened);
    journal.append(&tenure, &[started(1), finished(1, opened.into())], t(2), Sync::Now).await.unwrap();
    for (filter, expected) in [
        (LeaseFilter::Due(t(19)), vec![]),
        (LeaseFilter::Due(t(20)), vec!["a", "c"]),
        (LeaseFilter::Due(t(99)), vec!["a", "c", "b"]),
        (LeaseFilter::Id("b".into()), vec!["b"]),
        (LeaseFilter::Id("B".into()), vec![]),
        (LeaseFilter::Subject("/other/vm".into()), vec!["b"]),
        (LeaseFilter::Subject("/SUBSCRIPTIONS/1/VM".into()), vec!["a", "c"]),
        (LeaseFilter::Door("node2:2179".into()), vec!["b"]),
        (LeaseFilter::Door("node3:2179".into()), vec![]),
    ] {
        let found = journal.leases_where(&filter).await.unwrap();
        assert_eq!(found.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), expected, "{filter:?}");
    }
    // New terms move it to its new place.
    let moved = [lease("b", 10)].map(Effected::LeaseOpened);
    journal.append(&tenure, &[started(2), finished(2, moved.into())], t(3), Sync::Now).await.unwrap();
    assert_eq!(journal.leases_where(&LeaseFilter::Due(t(15))).await.unwrap(), [lease("b", 10)]);
    assert_eq!(journal.leases_where(&LeaseFilter::Door(other.door)).await.unwrap(), []);
}

pub(super) async fn a_forgotten_lease_is_off_the_list_and_its_reason_kept(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let opened = [lease("l", 20), lease("m", 30)].map(Effected::LeaseOpened);
    journal.append(&tenure, &[started(1), finished(1, opened.into())], t(2), Sync::Now).await.unwrap();
    assert!(!journal.forget_lease("nothing", "ann", "why not", t(3)).await.unwrap());
    assert!(journal.forget_lease("l", "ann", "the node burnt down", t(4)).await.unwrap());
    assert!(!journal.forget_lease("l", "bob", "again", t(5)).await.unwrap());
    assert!(journal.forget_lease("m", "bob", "so did this one", t(6)).await.unwrap());
    assert_eq!(journal.leases().await.unwrap(), []);
    assert_eq!(journal.leases_where(&LeaseFilter::Due(t(99))).await.unwrap(), []);
    let kept = journal.forgotten_leases().await.unwrap();
    let [second, first] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((&first.lease, first.by.as_str(), first.at), (&lease("l", 20), "ann", t(4)));
    assert_eq!((first.because.as_str(), second.by.as_str()), ("the node burnt down", "bob"));
}

/// Opens a lease in run `a`.
pub(super) async fn opened(journal: &dyn Journal, lease: Lease) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let opened = finished(1, vec![Effected::LeaseOpened(lease)]);
    journal.append(&tenure, &[started(1), opened], t(2), Sync::Now).await.unwrap();
}

pub(super) async fn a_lease_is_extended_together_with_what_closes_it(journal: &dyn Journal) {
    opened(journal, lease("l", 20)).await;
    let closes = |id: &str, due: i64| schedule(id, due).closes("l");
    let repeats = Schedule { repeats: Some("0 3 * * *".into()), ..closes("nightly", 22) };
    let other = schedule("other", 21).closes("m");
    for planned in
        [closes("plan", 21), closes("early", 15), closes("late", 90), repeats.clone(), other.clone()]
    {
        put(journal, planned, t(0)).await;
    }
    let request = ExtendRequest::new(&lease("l", 20), t(50), "ann", t(3), "closing".into());
    let extended = journal.extend_lease(&request).await.unwrap().unwrap();
    assert_eq!((&extended.lease, extended.from, extended.at), (&lease("l", 50), t(20), t(3)));
    assert_eq!(
        (extended.by.as_str(), &extended.schedules[..]),
        ("ann", &["early".into(), "plan".into()][..])
    );

    assert_eq!(journal.leases().await.unwrap(), [lease("l", 50)]);
    assert_eq!(journal.leases_where(&LeaseFilter::Due(t(49))).await.unwrap(), []);
    assert_eq!(journal.leases_where(&LeaseFilter::Due(t(50))).await.unwrap(), [lease("l", 50)]);
    let planned = [other, repeats, closes("early", 50), closes("plan", 50), closes("late", 90)];
    assert_eq!(journal.schedules().await.unwrap(), planned);
    assert_eq!(journal.schedules_due(t(49)).await.unwrap().len(), 2);
    let stale = Settlement::remove(&closes("plan", 21));
    assert!(!journal.settle(&stale, t(30)).await.unwrap(), "it is not due then");

    // What was written is there, the last one first.
    let again = ExtendRequest::new(&lease("l", 50), t(60), "bob", t(4), "closing".into());
    let second = journal.extend_lease(&again).await.unwrap().unwrap();
    assert_eq!(journal.extended_leases().await.unwrap(), [second, extended]);
}

pub(super) async fn an_extension_is_of_the_lease_that_was_read_and_whose_closing_has_not_begun(
    journal: &dyn Journal,
) {
    opened(journal, lease("l", 20)).await;
    put(journal, schedule("plan", 21).closes("l"), t(0)).await;
    let request = ExtendRequest::new(&lease("l", 20), t(50), "ann", t(3), "closing".into());
    for wrong in [
        ExtendRequest { lease: "m".into(), ..request.clone() },
        ExtendRequest { from: t(19), ..request.clone() },
        ExtendRequest { to: t(20), ..request.clone() },
        ExtendRequest { to: t(10), ..request.clone() },
        ExtendRequest { unless: "a".into(), ..request.clone() },
    ] {
        assert_eq!(journal.extend_lease(&wrong).await.unwrap(), None, "{wrong:?}");
    }
    journal.prepare(new_run("closing"), t(3)).await.unwrap();
    assert_eq!(journal.extend_lease(&request).await.unwrap(), None);
    assert_eq!(journal.leases().await.unwrap(), [lease("l", 20)]);
    assert_eq!(journal.schedules().await.unwrap(), [schedule("plan", 21).closes("l")]);
    assert_eq!(journal.extended_leases().await.unwrap(), []);
}

pub(super) async fn a_closing_begins_only_while_its_lease_is_due(journal: &dyn Journal) {
    opened(journal, lease("l", 20)).await;
    let closing = |id: &str, due: i64| NewRun { due_lease: Some(("l".into(), t(due))), ..new_run(id) };
    assert!(!journal.prepare(closing("c", 19), t(21)).await.unwrap());
    let request = ExtendRequest::new(&lease("l", 20), t(50), "ann", t(3), "c".into());
    assert!(journal.extend_lease(&request).await.unwrap().is_some());
    assert!(!journal.prepare(closing("c", 20), t(21)).await.unwrap(), "it was extended since it was read");
    assert_eq!(journal.run(&"c".into()).await.unwrap(), None);
    assert!(journal.prepare(closing("c", 50), t(51)).await.unwrap());
    assert!(!journal.prepare(closing("c", 50), t(51)).await.unwrap(), "it begins once");
    assert!(journal.forget_lease("l", "ann", "it is gone", t(52)).await.unwrap());
    assert!(!journal.prepare(closing("d", 50), t(53)).await.unwrap(), "there is nothing to close");
}
