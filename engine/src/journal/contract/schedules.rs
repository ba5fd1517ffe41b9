//! What every journal promises about schedules and their ticks.

use super::*;
use crate::event::{Arrival, Fate, Pause, Schedule, Tick, TickCause};
use crate::journal::{ScheduledEnd, Settlement, Start, TickFilter};

/// Adds a schedule or replaces the one of the same id.
pub(super) async fn put(journal: &dyn Journal, schedule: Schedule, at: jiff::Timestamp) {
    let from = journal.schedule(&schedule.id).await.unwrap();
    let settlement = Settlement { from, to: Some(schedule), ..Settlement::default() };
    assert!(journal.settle(&settlement, at).await.unwrap());
}

fn skipped(schedule: &str, due: i64, because: &str) -> Tick {
    Tick::new(schedule, t(due), TickCause::Due, Fate::Skipped { because: because.into() }, t(due + 1))
}

fn starting(from: &Schedule, run: &str, until: Option<i64>) -> Settlement {
    let start = Start { until: until.map(t), ..Start::new(new_run(run)) };
    Settlement { starts: vec![start], ..Settlement::of(from) }
}

async fn end(journal: &dyn Journal, run: &str, at: i64) {
    let tenure = claim(journal, run, "one", at).await;
    journal.append(&tenure, &[succeeded()], t(at), Sync::Now).await.unwrap();
}

async fn ends(journal: &dyn Journal) -> Vec<(String, String)> {
    let ends = journal.scheduled_ends(100).await.unwrap();
    ends.into_iter().map(|end| (end.schedule, end.run.to_string())).collect()
}

pub(super) async fn schedules_are_found_by_what_is_due(journal: &dyn Journal) {
    for (id, due) in [("late", 90), ("b", 10), ("a", 10)] {
        put(journal, schedule(id, due), t(0)).await;
    }
    assert_eq!(journal.schedules_due(t(9)).await.unwrap(), []);
    assert_eq!(journal.schedules_due(t(10)).await.unwrap(), [schedule("a", 10), schedule("b", 10)]);
    put(journal, schedule("a", 50), t(1)).await;
    put(journal, schedule("b", 20), t(1)).await;
    assert_eq!(journal.schedules_due(t(50)).await.unwrap(), [schedule("b", 20), schedule("a", 50)]);
    assert_eq!(journal.schedule("b").await.unwrap(), Some(schedule("b", 20)));
    assert_eq!(journal.schedule("c").await.unwrap(), None);
    // One that fires once and is paused is due when it goes on.
    let mut paused = schedule("b", 20);
    paused.standing.paused = Some(Pause::new("ann", "the site is closed", t(2)));
    put(journal, paused.clone(), t(2)).await;
    assert_eq!(journal.schedules_due(t(50)).await.unwrap(), [schedule("a", 50)]);
    assert_eq!(journal.schedules().await.unwrap(), [schedule("a", 50), schedule("late", 90), paused]);
    assert_eq!(journal.next_due(t(0)).await.unwrap(), Some(t(50)));
    assert_eq!(journal.next_due(t(90)).await.unwrap(), None);
}

pub(super) async fn schedules_are_replaced_and_removed(journal: &dyn Journal) {
    put(journal, schedule("late", 90), t(0)).await;
    put(journal, schedule("early", 10), t(0)).await;
    assert_eq!(journal.schedules().await.unwrap(), [schedule("early", 10), schedule("late", 90)]);
    put(journal, schedule("late", 5), t(0)).await;
    assert_eq!(journal.schedules().await.unwrap(), [schedule("late", 5), schedule("early", 10)]);
    let remove = Settlement::remove(&schedule("late", 5));
    assert!(journal.settle(&remove, t(1)).await.unwrap());
    assert!(!journal.settle(&remove, t(1)).await.unwrap(), "it is gone");
    assert_eq!(journal.schedules().await.unwrap(), [schedule("early", 10)]);
    // A name is taken once.
    assert!(!journal.settle(&Settlement::add(schedule("early", 7)), t(1)).await.unwrap());
    assert!(journal.settle(&Settlement::add(schedule("late", 7)), t(1)).await.unwrap());
    assert_eq!(kind(journal.settle(&Settlement::default(), t(1)).await), ErrorKind::Invalid);
    let two = Settlement::of(&schedule("late", 7)).to(schedule("other", 7));
    assert_eq!(kind(journal.settle(&two, t(1)).await), ErrorKind::Invalid);
}

pub(super) async fn a_schedule_is_settled_by_who_has_read_it_last(journal: &dyn Journal) {
    let read = schedule("s", 10);
    put(journal, read.clone(), t(0)).await;
    journal.prepare(new_run("old"), t(0)).await.unwrap();
    let settlement = Settlement {
        ticks: vec![Tick::new("s", t(10), TickCause::Due, Fate::Ran { run: "a".into() }, t(11))],
        stops: vec![("old".into(), "the schedule".into()), ("none".into(), "the schedule".into())],
        ..starting(&read, "a", None)
    };
    assert!(journal.settle(&settlement.clone().to(schedule("s", 20)), t(11)).await.unwrap());
    // Another has read it before that, and wants the same, or more.
    assert!(!journal.settle(&settlement.to(schedule("s", 30)), t(12)).await.unwrap());
    assert!(!journal.settle(&Settlement { to: None, ..starting(&read, "b", None) }, t(12)).await.unwrap());
    assert_eq!(journal.schedules().await.unwrap(), [schedule("s", 20)]);
    assert_eq!(journal.ticks(&TickFilter::default()).await.unwrap().len(), 1);
    assert_eq!(due(journal, 99).await, ["old", "a"]);
    let stop = Signal::Stop { by: "the schedule".into() };
    assert_eq!(journal.signals(&"old".into()).await.unwrap(), [stop]);
    // The last one takes it away.
    let last = Settlement { to: None, ..starting(&schedule("s", 20), "c", None) };
    assert!(journal.settle(&last, t(21)).await.unwrap());
    assert_eq!(journal.schedules().await.unwrap(), []);
    assert_eq!(due(journal, 99).await, ["old", "a", "c"]);
    // A run that is no run is nothing at all.
    put(journal, schedule("s", 30), t(22)).await;
    let mut wrong = starting(&schedule("s", 30), "d", None).to(schedule("s", 40));
    wrong.starts[0].run.sources.clear();
    assert_eq!(kind(journal.settle(&wrong, t(30)).await), ErrorKind::Storage);
    assert_eq!(journal.schedules().await.unwrap(), [schedule("s", 30)]);
}

pub(super) async fn a_schedule_keeps_how_it_stands_when_its_step_is_done_again(journal: &dyn Journal) {
    let waits = |due: i64| {
        let mut waits = schedule("s", due);
        waits.standing.waiting = vec![Arrival::new(t(3), TickCause::Due)];
        waits.standing.failures = 2;
        waits
    };
    put(journal, waits(10), t(0)).await;
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let made = vec![Effected::Scheduled(Box::new(schedule("s", 50)))];
    journal.append(&tenure, &[started(1), finished(1, made)], t(5), Sync::Now).await.unwrap();
    assert_eq!(journal.schedules().await.unwrap(), [waits(50)]);
    // And what waits has an account when a step removes it.
    let gone = vec![Effected::Unscheduled { id: "s".into() }, Effected::Unscheduled { id: "none".into() }];
    journal.append(&tenure, &[started(2), finished(2, gone)], t(6), Sync::Now).await.unwrap();
    assert_eq!(journal.schedules().await.unwrap(), []);
    let because = "the schedule was removed".to_owned();
    let account = Tick::new("s", t(3), TickCause::Due, Fate::Skipped { because }, t(6));
    assert_eq!(journal.ticks(&TickFilter::of("s")).await.unwrap(), [account]);
}

pub(super) async fn a_tick_has_one_account_and_those_that_say_the_same_are_one(journal: &dyn Journal) {
    for id in ["s", "other"] {
        put(journal, schedule(id, 10), t(0)).await;
    }
    let after = |tick: Tick, previous: i64| tick.after(Some(t(previous)));
    let account = async |id: &str, ticks: Vec<Tick>| {
        let settlement = Settlement { ticks, ..Settlement::of(&schedule(id, 10)) };
        assert!(journal.settle(&settlement, t(50)).await.unwrap());
    };
    account("s", vec![skipped("s", 10, "paused"), after(skipped("s", 20, "paused"), 10)]).await;
    account("other", vec![skipped("other", 10, "paused")]).await;
    account("s", vec![after(skipped("s", 30, "paused"), 20)]).await;
    account("s", vec![after(skipped("s", 40, "busy"), 30)]).await;
    let mut first = skipped("s", 10, "paused");
    (first.last, first.count, first.at) = (t(30), 3, t(31));
    let busy = skipped("s", 40, "busy");
    assert_eq!(journal.ticks(&TickFilter::of("s")).await.unwrap(), [busy.clone(), first.clone()]);
    let all = journal.ticks(&TickFilter::default()).await.unwrap();
    assert_eq!(all, [busy.clone(), skipped("other", 10, "paused"), first]);
    assert_eq!(journal.ticks(&TickFilter::default().at_most(1)).await.unwrap(), [busy]);
    // Two that ran are two, and what does not follow is another.
    let ran =
        |due: i64, run: &str| Tick::new("s", t(due), TickCause::Due, Fate::Ran { run: run.into() }, t(due));
    account("s", vec![ran(50, "a"), after(ran(60, "b"), 50), skipped("s", 5, "busy")]).await;
    account("s", vec![after(skipped("s", 70, "busy"), 60), skipped("s", 80, "busy")]).await;
    assert_eq!(journal.ticks(&TickFilter::of("s")).await.unwrap().len(), 7);
    assert_eq!(journal.ticks(&TickFilter::of("nobody")).await.unwrap(), []);
}

pub(super) async fn the_end_of_a_run_waits_until_its_schedule_has_heard_of_it(journal: &dyn Journal) {
    for id in ["s", "gone", "later"] {
        put(journal, schedule(id, 10), t(0)).await;
    }
    for (id, run) in [("s", "b"), ("s", "a"), ("gone", "c"), ("later", "d")] {
        assert!(journal.settle(&starting(&schedule(id, 10), run, None), t(10)).await.unwrap());
    }
    assert_eq!(ends(journal).await, []);
    for (n, run) in ["a", "b", "c"].into_iter().enumerate() {
        end(journal, run, 11 + i64::try_from(n).unwrap()).await;
    }
    let told = |of: &[(&str, &str)]| -> Vec<(String, String)> {
        of.iter().map(|(schedule, run)| ((*schedule).to_owned(), (*run).to_owned())).collect()
    };
    assert_eq!(ends(journal).await, told(&[("s", "a"), ("s", "b"), ("gone", "c")]));
    let first = ScheduledEnd { run: "a".into(), schedule: "s".into(), status: Status::Succeeded };
    assert_eq!(journal.scheduled_ends(1).await.unwrap(), [first]);
    let heard = Settlement { heard: vec!["a".into()], ..Settlement::of(&schedule("s", 10)) };
    assert!(journal.settle(&heard, t(20)).await.unwrap());
    // Nobody waits for the runs of a schedule that is gone, whenever they end.
    for id in ["gone", "later"] {
        assert!(journal.settle(&Settlement::remove(&schedule(id, 10)), t(20)).await.unwrap());
    }
    end(journal, "d", 21).await;
    assert_eq!(ends(journal).await, told(&[("s", "b")]));
    // Whoever starts a run that is over already hears of it at once.
    assert!(journal.settle(&starting(&schedule("s", 10), "a", None), t(22)).await.unwrap());
    assert_eq!(ends(journal).await, told(&[("s", "a"), ("s", "b")]));
}

pub(super) async fn a_run_that_takes_too_long_is_asked_to_stop_once(journal: &dyn Journal) {
    put(journal, schedule("s", 10), t(0)).await;
    for (run, until) in [("slow", Some(30)), ("quick", Some(30)), ("free", None), ("late", Some(40))] {
        assert!(journal.settle(&starting(&schedule("s", 10), run, until), t(10)).await.unwrap());
    }
    end(journal, "quick", 20).await;
    assert_eq!(journal.next_due(t(10)).await.unwrap(), Some(t(30)));
    assert!(journal.stop_overdue(t(29)).await.unwrap().is_empty());
    assert_eq!(journal.stop_overdue(t(30)).await.unwrap(), [RunId::from("slow")]);
    assert!(journal.stop_overdue(t(35)).await.unwrap().is_empty(), "once");
    let signals = journal.signals(&"slow".into()).await.unwrap();
    let [Signal::Stop { by }] = &signals[..] else { panic!("{signals:?}") };
    assert!(by.contains("the schedule s"), "{by}");
    // Also when the schedule is gone, such as one that fires once.
    assert!(journal.settle(&Settlement::remove(&schedule("s", 10)), t(36)).await.unwrap());
    assert_eq!(journal.stop_overdue(t(99)).await.unwrap(), [RunId::from("late")]);
    end(journal, "slow", 100).await;
    assert!(journal.stop_overdue(t(999)).await.unwrap().is_empty());
}

pub(super) async fn accounts_of_ticks_go_but_the_newest_of_each_schedule(journal: &dyn Journal) {
    for (name, because) in [("a", "x"), ("b", "x")] {
        put(journal, schedule(name, 90), t(0)).await;
        for due in 10..14 {
            // Each says something else, so that none is one with another.
            let tick = skipped(name, due, &format!("{because}{due}"));
            let settlement = Settlement { ticks: vec![tick], ..Settlement::of(&schedule(name, 90)) };
            assert!(journal.settle(&settlement, t(due + 1)).await.unwrap());
        }
    }
    let left = async || journal.ticks(&TickFilter::default()).await.unwrap().len();
    assert_eq!(journal.prune_ticks(t(11), 99).await.unwrap(), 0);
    assert_eq!(journal.prune_ticks(t(13), 1).await.unwrap(), 1);
    assert_eq!(left().await, 7);
    assert_eq!(journal.prune_ticks(t(99), 99).await.unwrap(), 5);
    assert_eq!(left().await, 2);
    // The newest goes with its schedule.
    assert!(journal.settle(&Settlement::remove(&schedule("a", 90)), t(20)).await.unwrap());
    assert_eq!(journal.prune_ticks(t(99), 99).await.unwrap(), 1);
    let [last] = journal.ticks(&TickFilter::default()).await.unwrap().try_into().unwrap();
    assert_eq!((last.schedule.as_str(), last.due), ("b", t(13)));
}
