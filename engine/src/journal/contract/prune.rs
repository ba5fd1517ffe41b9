//! What every journal promises of runs that are taken away.

use serde_json::json;

use super::leases::opened;
use super::sample::*;
use super::schedules::put;
use crate::error::ErrorKind;
use crate::event::{Cause, Effected, Event, KeptOutput, RunId, Stream, fingerprint};
use crate::journal::{Journal, NewRun, PruneFilter, Settlement, Start, Sync};

/// A run that has ended, and where it came from.
async fn over(journal: &dyn Journal, id: &str, cause: Cause, at: i64) {
    begun(journal, id, cause, at).await;
    let tenure = claim(journal, id, "one", at).await;
    journal.append(&tenure, &[succeeded()], t(at), Sync::Now).await.unwrap();
}

async fn begun(journal: &dyn Journal, id: &str, cause: Cause, at: i64) {
    let mut run = new_run(id);
    run.prepared.cause = cause;
    assert!(journal.prepare(run, t(at)).await.unwrap());
}

fn child_of(id: &str) -> Cause {
    Cause::Run { id: id.into(), step: 1, branch: None }
}

async fn prunable(journal: &dyn Journal, filter: PruneFilter) -> Vec<String> {
    journal.prunable(&filter).await.unwrap().into_iter().map(|run| run.id.to_string()).collect()
}

fn ids(ids: &[&str]) -> Vec<RunId> {
    ids.iter().map(|id| RunId::from(*id)).collect()
}

pub(super) async fn what_is_over_is_pruned_by_age_and_number(journal: &dyn Journal) {
    for (id, at) in [("b", 20), ("a", 10), ("d", 40), ("c", 30)] {
        over(journal, id, Cause::Person, at).await;
    }
    begun(journal, "open", Cause::Person, 5).await;
    // It began long ago, and ended just now.
    begun(journal, "long", Cause::Person, 1).await;
    let tenure = claim(journal, "long", "one", 50).await;
    journal.append(&tenure, &[succeeded()], t(50), Sync::Now).await.unwrap();

    let all = PruneFilter::all;
    assert_eq!(prunable(journal, all()).await, ["long", "a", "b", "c", "d"]);
    assert_eq!(prunable(journal, all().before(t(30))).await, ["a", "b"]);
    assert_eq!(prunable(journal, all().keeping(2)).await, ["long", "a", "b"]);
    assert_eq!(prunable(journal, all().keeping(5)).await, [""; 0]);
    assert_eq!(prunable(journal, all().keeping(99)).await, [""; 0]);
    assert_eq!(prunable(journal, all().before(t(30)).keeping(4)).await, [""; 0]);
    assert_eq!(prunable(journal, all().before(t(30)).keeping(3)).await, ["a"]);
    assert_eq!(prunable(journal, all().of("book").at_most(2)).await, ["long", "a"]);
    assert_eq!(prunable(journal, all().of("another")).await, [""; 0]);
    let last = journal.run(&"a".into()).await.unwrap().unwrap();
    assert_eq!(prunable(journal, all().after(&last).at_most(2)).await, ["b", "c"]);

    let gone = journal.prune(&ids(&["b", "open", "nothing", "a"]), t(60)).await.unwrap();
    assert_eq!(gone, ids(&["b", "a"]));
    assert_eq!(prunable(journal, all()).await, ["long", "c", "d"]);
    assert_eq!(journal.run(&"a".into()).await.unwrap(), None);
    assert_eq!(journal.runs(&crate::journal::RunFilter::all()).await.unwrap().len(), 4);
    assert_eq!(journal.records(&"c".into(), 0).await.unwrap().len(), 3, "others are whole");
    assert_eq!(journal.sources(&"c".into()).await.unwrap(), new_run("c").sources);
}

pub(super) async fn what_was_pruned_does_not_start_again(journal: &dyn Journal) {
    over(journal, "a", Cause::Person, 1).await;
    assert_eq!(journal.pruned(&"a".into()).await.unwrap(), None);
    assert_eq!(journal.prune(&ids(&["a"]), t(9)).await.unwrap(), ids(&["a"]));
    assert_eq!(journal.pruned(&"a".into()).await.unwrap(), Some(t(9)));
    assert_eq!(journal.prune(&ids(&["a"]), t(10)).await.unwrap(), []);
    assert!(!journal.prepare(new_run("a"), t(11)).await.unwrap());
    put(journal, schedule("s", 20), t(12)).await;
    let start = Settlement { starts: vec![Start::new(new_run("a"))], ..Settlement::of(&schedule("s", 20)) };
    assert!(journal.settle(&start, t(21)).await.unwrap(), "the tick is accounted for");
    assert_eq!(journal.scheduled_ends(9).await.unwrap().len(), 1, "and the schedule hears that it is over");
    assert_eq!(journal.run(&"a".into()).await.unwrap(), None);
    assert_eq!(due(journal, 99).await, [""; 0]);
    journal.heartbeat(&owner("one"), t(1000)).await.unwrap();
    for error in [
        journal.claim(&request("a", "one", 22)).await.unwrap_err(),
        journal.records(&"a".into(), 0).await.unwrap_err(),
        journal.signal(&"a".into(), &answer(1), t(23)).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("was pruned"), "{error}");
    }
}

pub(super) async fn what_has_to_do_with_an_open_run_is_not_pruned(journal: &dyn Journal) {
    // A chain whose last run is open, a child of an open run with one of its own, a run that is done again.
    over(journal, "grandparent", Cause::Person, 1).await;
    over(journal, "parent", child_of("grandparent"), 2).await;
    begun(journal, "child", child_of("parent"), 3).await;
    over(journal, "done", child_of("child"), 4).await;
    over(journal, "below", child_of("done"), 5).await;
    over(journal, "first", Cause::Person, 6).await;
    begun(journal, "again", Cause::Rerun { of: "first".into() }, 7).await;
    over(journal, "other", child_of("nobody"), 8).await;
    let all = ids(&["grandparent", "parent", "done", "below", "first", "other"]);
    assert_eq!(prunable(journal, PruneFilter::all()).await, ["other"]);
    assert_eq!(journal.prune(&all, t(9)).await.unwrap(), ids(&["other"]));
    for run in ["child", "again"] {
        let tenure = claim(journal, run, "one", 10).await;
        journal.append(&tenure, &[succeeded()], t(10), Sync::Now).await.unwrap();
    }
    assert_eq!(journal.prune(&all, t(11)).await.unwrap(), all[..5]);
}

pub(super) async fn what_something_due_needs_is_not_pruned(journal: &dyn Journal) {
    let opens = lease("a-1", 20);
    opened(journal, opens.clone()).await;
    let tenure = claim(journal, "a", "one", 3).await;
    journal.append(&tenure, &[succeeded()], t(3), Sync::Now).await.unwrap();
    // A closing that came to nothing, and one that is behind a gap.
    let mut closings = opens.closings();
    let (first, second) = (closings.next().unwrap(), closings.next().unwrap());
    over(journal, first.as_str(), Cause::Lease { id: "other-1".into() }, 4).await;
    over(journal, "above", Cause::Person, 5).await;
    over(journal, "maker", child_of("above"), 5).await;
    let made = crate::event::Schedule { run: Some("maker".into()), ..schedule("s", 90) };
    put(journal, made.clone(), t(5)).await;
    let all = ids(&["a", first.as_str(), "above", "maker"]);
    assert_eq!(prunable(journal, PruneFilter::all()).await, [""; 0]);
    assert_eq!(journal.prune(&all, t(6)).await.unwrap(), []);
    // What a schedule has started and not heard the end of, too.
    let mut heard = made.clone();
    (heard.run, heard.standing.open) = (None, vec!["maker".into()]);
    put(journal, heard.clone(), t(6)).await;
    assert_eq!(prunable(journal, PruneFilter::all()).await, [""; 0]);
    assert!(journal.settle(&Settlement::remove(&heard), t(6)).await.unwrap());
    assert_eq!(prunable(journal, PruneFilter::all()).await, ["above", "maker"]);

    // The next closing is begun, and as long as it is open the opener is needed.
    begun(journal, second.as_str(), Cause::Lease { id: "a-1".into() }, 7).await;
    assert!(journal.forget_lease("a-1", "ann", "it is gone", t(8)).await.unwrap());
    assert_eq!(journal.prune(&all, t(9)).await.unwrap(), ids(&[first.as_str(), "above", "maker"]));
    let tenure = claim(journal, second.as_str(), "one", 10).await;
    journal.append(&tenure, &[succeeded()], t(10), Sync::Now).await.unwrap();
    assert_eq!(prunable(journal, PruneFilter::all()).await, ["a", second.as_str()]);
}

pub(super) async fn branches_go_with_their_run(journal: &dyn Journal) {
    let branch = |index| Cause::Run { id: "a".into(), step: 1, branch: Some(index) };
    over(journal, "a", Cause::Person, 1).await;
    over(journal, "ab", Cause::Person, 1).await;
    over(journal, "a.1.0", branch(0), 2).await;
    begun(journal, "a.1.1", branch(1), 3).await;
    assert_eq!(journal.prune(&ids(&["a", "a.1.0"]), t(4)).await.unwrap(), [], "a branch of it is open");
    let tenure = claim(journal, "a.1.1", "one", 5).await;
    journal.append(&tenure, &[succeeded()], t(5), Sync::Now).await.unwrap();
    assert_eq!(prunable(journal, PruneFilter::all()).await, ["a", "ab"]);
    assert_eq!(journal.prune(&ids(&["a.1.0", "a"]), t(6)).await.unwrap(), ids(&["a"]));
    for branch in ["a.1.0", "a.1.1"] {
        assert_eq!(journal.run(&branch.into()).await.unwrap(), None);
    }
    assert!(journal.run(&"ab".into()).await.unwrap().is_some());
}

pub(super) async fn texts_go_with_the_last_run_that_names_them(journal: &dyn Journal) {
    let said = |text: &str| Event::OutputKept {
        step: 1,
        output: KeptOutput {
            stream: Stream::Stdout,
            sha256: fingerprint(text),
            bytes: text.len() as u64,
            left_out: 0,
        },
    };
    let (shared, own) = ("said by both", "said by one");
    journal.keep(shared).await.unwrap();
    journal.keep(own).await.unwrap();
    for (run, texts) in [("a", &[shared, own][..]), ("b", &[shared])] {
        journal.prepare(new_run(run), t(1)).await.unwrap();
        let tenure = claim(journal, run, "one", 2).await;
        let said = texts.iter().map(|text| said(text));
        let events: Vec<Event> = [started(1)].into_iter().chain(said).chain([note(1), succeeded()]).collect();
        journal.append(&tenure, &events, t(3), Sync::Now).await.unwrap();
    }
    assert_eq!(journal.prune(&ids(&["a"]), t(4)).await.unwrap(), ids(&["a"]));
    assert_eq!(journal.kept(&fingerprint(shared)).await.unwrap(), shared);
    assert_eq!(kind(journal.kept(&fingerprint(own)).await), ErrorKind::Storage);
    assert_eq!(journal.sources(&"b".into()).await.unwrap(), new_run("b").sources);
    assert_eq!(journal.prune(&ids(&["b"]), t(5)).await.unwrap(), ids(&["b"]));
    assert_eq!(kind(journal.kept(&fingerprint(shared)).await), ErrorKind::Storage);

    // What is gone is not named, and is kept again first.
    journal.prepare(new_run("c"), t(6)).await.unwrap();
    assert_eq!(journal.sources(&"c".into()).await.unwrap(), new_run("c").sources);
    let tenure = claim(journal, "c", "one", 7).await;
    let events = [started(1), said(own)];
    assert_eq!(kind(journal.append(&tenure, &events, t(8), Sync::Now).await), ErrorKind::Storage);
    journal.keep(own).await.unwrap();
    journal.append(&tenure, &events, t(9), Sync::Now).await.unwrap();
    assert_eq!(journal.kept(&fingerprint(own)).await.unwrap(), own);
}

pub(super) async fn what_is_due_is_not_changed_by_pruning(journal: &dyn Journal) {
    for n in 0..5 {
        over(journal, &format!("r{n}"), Cause::Person, n).await;
    }
    journal.prepare(NewRun { wake: Some(t(70)), ..new_run("later") }, t(6)).await.unwrap();
    let opened = finished(1, vec![Effected::LeaseOpened(lease("later-1", 80))]);
    let tenure = claim(journal, "later", "one", 7).await;
    journal.append(&tenure, &[started(1), opened, parked(Some(60))], t(8), Sync::Now).await.unwrap();
    let before = (journal.next_due(t(10)).await.unwrap(), journal.run(&"later".into()).await.unwrap());
    assert_eq!(journal.prune(&ids(&["r4", "r1", "r0"]), t(9)).await.unwrap().len(), 3);
    assert_eq!((journal.next_due(t(10)).await.unwrap(), journal.run(&"later".into()).await.unwrap()), before);
    assert_eq!(due(journal, 60).await, ["later"]);
    // Whoever comes next is numbered as before.
    journal.prepare(new_run("new"), t(11)).await.unwrap();
    let tenure = claim(journal, "new", "one", 12).await;
    let said =
        Event::StepFinished { step: 1, end: crate::event::StepEnd::Ok(json!(1).into()), effected: vec![] };
    journal.append(&tenure, &[started(1), said, succeeded()], t(13), Sync::Now).await.unwrap();
    assert_eq!(journal.records(&"new".into(), 0).await.unwrap().len(), 5);
    assert_eq!(journal.records(&"r2".into(), 0).await.unwrap().len(), 3);
}
