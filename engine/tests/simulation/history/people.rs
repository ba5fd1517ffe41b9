//! What people do: they stop runs, close leases early or extend them, answer, and resume what waits for them.

use jiff::Timestamp;
use relight_engine::ErrorKind;
use relight_engine::event::{Park, RunId};
use relight_engine::journal::{PruneFilter, Status, Summary};

use super::History;
use crate::clock::minutes;

/// What a person did last for a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Care {
    /// How many records the run had.
    seq: u64,
    at: Timestamp,
    times: u32,
}

impl Care {
    /// Returns when the person looks at the run again; never, when enough was tried.
    pub(super) fn again(&self, run: &Summary) -> Option<Timestamp> {
        let pause = if self.seq == run.seq { minutes(10) } else { minutes(0) };
        (self.times <= 60).then(|| self.at + pause)
    }
}

impl History {
    /// A person stops a run, closes a lease early, extends it, or takes old runs away.
    pub(super) async fn meddle(&mut self) {
        if self.chance.per_mille(200) {
            return self.prune().await;
        }
        let open: Vec<RunId> =
            self.runs().await.into_iter().filter(|run| !run.status.is_over()).map(|run| run.id).collect();
        let leases = self.journal.leases().await.expect("leases");
        if self.chance.per_mille(500) && !open.is_empty() {
            let run = self.chance.one_of(&open).clone();
            self.say(|_| format!("a person stops {run}"));
            if let Err(error) = self.desk().stop(&run, "ann").await {
                self.violated(format!("an open run cannot be stopped: {error:?}"));
            }
        } else if !leases.is_empty() && self.chance.per_mille(400) {
            let lease = self.chance.one_of(&leases).clone();
            let to = self.time.now() + minutes(self.chance.from(1, 120) as i64);
            self.say(|_| format!("a person extends {} to {to}", lease.id));
            match self.desk().extend_lease(&lease.id, to, "ann").await {
                Ok(extended) => {
                    let mut state = self.world.state();
                    let door = state.doors.get_mut(&lease.door).filter(|door| door.deadline == extended.from);
                    if let Some(door) = door {
                        door.deadline = to;
                    }
                }
                // Its time is over, it is being opened or closed, or that is no later.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                Err(error) => self.violated(format!("a lease cannot be extended: {error:?}")),
            }
        } else if !leases.is_empty() {
            let lease = self.chance.one_of(&leases).id.clone();
            self.say(|_| format!("a person closes {lease}"));
            match self.desk().close_lease(&lease).await {
                Ok(run) => self.start_command(run, None),
                Err(error) => self.violated(format!("a lease cannot be closed: {error:?}")),
            }
        }
    }

    /// A person takes runs away that were over for a while. Nothing may happen for them any more.
    async fn prune(&mut self) {
        let now = self.time.now();
        let old = PruneFilter::all().before(now - minutes(self.chance.from(1, 60) as i64));
        let old = self.journal.prunable(&old.keeping(self.chance.below(3))).await.expect("runs");
        let ids: Vec<RunId> = old.into_iter().map(|run| run.id).collect();
        let gone = self.journal.prune(&ids, now).await.expect("runs are taken away");
        self.say(|_| format!("a person prunes {gone:?}"));
        for run in gone {
            let effects = self.world.state().effects_of(&run);
            self.pruned.insert(run, effects);
        }
    }

    /// Checks that nothing came after a run was taken away: neither an effect nor the run itself.
    pub(super) async fn verify_pruned(&mut self) {
        for (run, before) in self.pruned.clone() {
            let after = self.world.state().effects_of(&run);
            if before != after || self.journal.run(&run).await.expect("a run").is_some() {
                self.violated(format!("{run} was pruned after {before} effects, and has {after}"));
            }
        }
    }

    /// A person does what the runs ask for. Returns whether there was anything.
    pub(super) async fn serve_people(&mut self) -> bool {
        let mut acted = false;
        for run in self.runs().await.into_iter().filter(|run| run.status == Status::Parked) {
            let now = self.time.now();
            let care = self.care.get(&run.id).copied();
            if care.is_some_and(|care| care.again(&run).is_none_or(|again| again > now)) {
                continue;
            }
            let answer = match &run.park {
                Some(Park::Question { choices, .. }) => {
                    Some(choices.first().cloned().unwrap_or_else(|| "yes".into()))
                }
                Some(Park::Undecided { .. }) => {
                    let key = (run.id.clone(), run.step);
                    let happened = self.world.state().effects.contains_key(&key);
                    Some(if happened { "done" } else { "again" }.to_owned())
                }
                Some(Park::Exhausted { .. } | Park::Denied { .. } | Park::Halted { .. }) => None,
                Some(Park::Interrupted) if self.interrupted.contains(&run.id) => None,
                // Its child heard of it first.
                Some(Park::Child { run: child }) if self.interrupted.contains(&run.id) => {
                    let child = self.journal.run(child).await.expect("a run");
                    match child.and_then(|child| child.park) {
                        Some(Park::Interrupted) => None,
                        _ => continue,
                    }
                }
                _ => continue,
            };
            let times = care.map_or(0, |care| care.times) + 1;
            self.care.insert(run.id.clone(), Care { seq: run.seq, at: now, times });
            acted = true;
            self.say(|_| format!("a person sees {} parked: {:?} {answer:?}", run.id, run.park));
            match answer {
                Some(answer) => {
                    if let Err(error) = self.desk().answer(&run.id, &answer, "ann").await {
                        self.violated(format!("a question cannot be answered: {error:?}"));
                    }
                }
                None => self.start_command(run.id, None),
            }
        }
        acted
    }
}
