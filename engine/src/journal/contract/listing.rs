//! What every journal promises of lists of runs.

use super::*;

pub(super) async fn runs_are_listed_newest_first(journal: &dyn Journal) {
    for (id, at) in [("b", 2), ("a", 1), ("d", 3), ("c", 3)] {
        journal.prepare(new_run(id), t(at)).await.unwrap();
    }
    let tenure = claim(journal, "d", "one", 4).await;
    journal.append(&tenure, &[succeeded()], t(5), Sync::Now).await.unwrap();
    let ids = async |filter| -> Vec<String> {
        journal.runs(&filter).await.unwrap().into_iter().map(|run| run.id.to_string()).collect()
    };
    assert_eq!(ids(RunFilter::default()).await, ["d", "c", "b", "a"]);
    assert_eq!(ids(RunFilter::open()).await, ["c", "b", "a"]);
    assert_eq!(ids(RunFilter::open().at_most(2)).await, ["c", "b"]);
    assert_eq!(ids(RunFilter::all().at_most(1)).await, ["d"]);
    assert_eq!(ids(RunFilter::all().in_state(Status::Succeeded)).await, ["d"]);
    assert_eq!(ids(RunFilter::open().in_state(Status::Succeeded)).await, [""; 0]);
    assert_eq!(ids(RunFilter::all().since(t(2))).await, ["d", "c", "b"]);
    journal.prepare(new_run("d.1.0"), t(6)).await.unwrap();
    let tally = journal.tally().await.unwrap();
    let of = |status| tally.iter().find(|(state, _)| *state == status).map(|(_, count)| *count);
    assert_eq!([Status::Prepared, Status::Succeeded, Status::Failed].map(of), [Some(3), Some(1), Some(0)]);
    assert_eq!(tally.len(), Status::ALL.len());
    let all = journal.runs(&RunFilter::all()).await.unwrap();
    assert_eq!(ids(RunFilter::all().of(&all[0].runbook)).await.len(), 4);
    assert_eq!(ids(RunFilter::all().of("another")).await, [""; 0]);
    // A page begins behind the last one, also between two of the same moment.
    for (at, run) in all.iter().enumerate() {
        let behind: Vec<String> = all[at + 1..].iter().map(|run| run.id.to_string()).collect();
        assert_eq!(ids(RunFilter::all().after(run)).await, behind);
        let next: Vec<String> = behind.iter().take(1).cloned().collect();
        assert_eq!(ids(RunFilter::open().since(t(0)).after(run).at_most(1)).await, next);
    }
}

/// Prepares a run of a runbook that somebody started and calls by labels.
async fn started_by(
    journal: &dyn Journal,
    id: &str,
    runbook: &str,
    who: &str,
    labels: &[(&str, &str)],
    at: i64,
) {
    let mut run = new_run(id);
    run.prepared.runbook = runbook.into();
    run.prepared.who = Some(who.into());
    run.prepared.labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    journal.prepare(run, t(at)).await.unwrap();
}

pub(super) async fn runs_are_listed_by_who_started_them_and_what_they_are_called(journal: &dyn Journal) {
    started_by(journal, "a", "book", "ann@desk", &[("ticket", "INC1"), ("site", "hq")], 1).await;
    started_by(journal, "b", "book", "bob@desk", &[("ticket", "INC1")], 2).await;
    started_by(journal, "c", "book", "ann@desk", &[("ticket", "INC2")], 3).await;
    journal.prepare(new_run("d"), t(4)).await.unwrap();
    let ids = async |filter: RunFilter| -> Vec<String> {
        journal.runs(&filter).await.unwrap().into_iter().map(|run| run.id.to_string()).collect()
    };
    let all = RunFilter::all;
    assert_eq!(ids(all().by("ann@desk")).await, ["c", "a"]);
    assert_eq!(ids(all().by("ann")).await, [""; 0]);
    assert_eq!(ids(all().labelled("ticket", "INC1")).await, ["b", "a"]);
    assert_eq!(ids(all().labelled("ticket", "INC1").labelled("site", "hq")).await, ["a"]);
    assert_eq!(ids(all().labelled("ticket", "INC1").by("bob@desk")).await, ["b"]);
    assert_eq!(ids(all().labelled("ticket", "INC3")).await, [""; 0]);
    assert_eq!(ids(all().labelled("INC1", "ticket")).await, [""; 0]);
    let run = journal.run(&"a".into()).await.unwrap().unwrap();
    assert_eq!((run.who.as_deref(), run.labels.len()), (Some("ann@desk"), 2));
    // They are part of the record, and stay when the run goes on.
    let tenure = claim(journal, "a", "one", 5).await;
    journal.append(&tenure, &[parked(None)], t(6), Sync::Now).await.unwrap();
    assert_eq!(ids(all().labelled("site", "hq").in_state(Status::Parked)).await, ["a"]);
    let Event::Prepared(first) = journal.records(&"a".into(), 0).await.unwrap()[0].event().unwrap() else {
        panic!("it begins with what is fixed about it")
    };
    assert_eq!((first.who, first.labels), (run.who, run.labels));
}

pub(super) async fn runs_are_listed_in_the_order_that_is_asked_for(journal: &dyn Journal) {
    for (id, runbook, at) in
        [("a", "two", 1), ("b", "one", 2), ("c", "two", 3), ("d", "one", 3), ("e", "one", 4)]
    {
        started_by(journal, id, runbook, "ann", &[], at).await;
    }
    for (id, at) in [("b", 9), ("a", 9), ("d", 7)] {
        let tenure = claim(journal, id, "one", at).await;
        journal.append(&tenure, &[succeeded()], t(at), Sync::Now).await.unwrap();
    }
    for (sort, order) in [
        (Sort::Created, ["e", "d", "c", "b", "a"]),
        (Sort::Updated, ["b", "a", "d", "e", "c"]),
        (Sort::Runbook, ["e", "d", "b", "c", "a"]),
    ] {
        let ids = async |filter: RunFilter| -> Vec<String> {
            let runs = journal.runs(&filter.sorted(sort)).await.unwrap();
            runs.into_iter().map(|run| run.id.to_string()).collect()
        };
        assert_eq!(ids(RunFilter::all()).await, order, "{sort:?}");
        let all = journal.runs(&RunFilter::all().sorted(sort)).await.unwrap();
        for (at, run) in all.iter().enumerate() {
            assert_eq!(ids(RunFilter::all().after(run)).await, order[at + 1..], "{sort:?} behind {}", run.id);
            let next: Vec<&str> = order[at + 1..].iter().take(1).copied().collect();
            assert_eq!(ids(RunFilter::all().after(run).at_most(1)).await, next, "{sort:?} behind {}", run.id);
        }
    }
}

pub(super) async fn a_run_is_found_by_the_beginning_of_its_id(journal: &dyn Journal) {
    for id in ["ab1", "ab2", "b", "aa", "abz", "ac", "ab1.2.0"] {
        journal.prepare(new_run(id), t(0)).await.unwrap();
    }
    let found = async |beginning, limit| -> Vec<String> {
        let runs = journal.find(beginning, limit).await.unwrap();
        runs.into_iter().map(|run| run.id.to_string()).collect()
    };
    assert_eq!(found("ab", 9).await, ["ab1", "ab2", "abz"]);
    assert_eq!(found("ab", 2).await, ["ab1", "ab2"]);
    assert_eq!(found("ab1", 2).await, ["ab1"]);
    assert_eq!(found("ab1.", 2).await, [""; 0]);
    assert_eq!(found("ab3", 2).await, [""; 0]);
    assert_eq!(found("a%", 2).await, [""; 0]);
    assert_eq!(found("", 1).await, ["aa"]);
}
