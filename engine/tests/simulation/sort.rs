//! What may happen in a history.

use super::chance::Chance;

/// What may happen in a history. Each seed picks some of it, so that one sort of trouble does not hide another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sort {
    pub(crate) kills: bool,
    pub(crate) terms: bool,
    pub(crate) disk: bool,
    pub(crate) net: bool,
    pub(crate) outages: bool,
    pub(crate) freezes: bool,
    pub(crate) jumps: bool,
    pub(crate) people: bool,
    pub(crate) drops: bool,
    pub(crate) panics: bool,
    pub(crate) slow: bool,
    /// Whether runbooks run on schedules that repeat.
    pub(crate) schedules: bool,
    /// Whether some processes are of an older version of the program.
    pub(crate) versions: bool,
    /// How many runs may be under way at once; any number when 0. Then also one of each runbook that people run.
    pub(crate) room: u32,
    /// Whether processes are told which others are dead; else only heartbeats tell.
    pub(crate) told: bool,
    /// Whether the journal is a database on the disk.
    pub(crate) sqlite: bool,
}

impl Sort {
    pub(crate) fn of(chance: &mut Chance) -> Self {
        let sort = Sort::of_trouble(chance);
        let room = if chance.per_mille(300) { 1 + chance.below(3) as u32 } else { 0 };
        Sort { room, ..sort }
    }

    fn of_trouble(chance: &mut Chance) -> Self {
        let told = chance.per_mille(600);
        if chance.per_mille(150) {
            // A fair day: nothing goes wrong, and nothing may look as if it had.
            return Sort {
                told,
                terms: chance.per_mille(500),
                people: chance.per_mille(300),
                schedules: chance.per_mille(300),
                ..Sort::default()
            };
        }
        Sort {
            kills: chance.per_mille(500),
            terms: chance.per_mille(500),
            disk: chance.per_mille(300),
            net: chance.per_mille(500),
            outages: chance.per_mille(200),
            freezes: chance.per_mille(250),
            jumps: chance.per_mille(250),
            people: chance.per_mille(500),
            drops: chance.per_mille(150),
            panics: chance.per_mille(200),
            slow: chance.per_mille(200),
            schedules: chance.per_mille(300),
            versions: chance.per_mille(300),
            room: 0,
            told,
            sqlite: false,
        }
    }
}
