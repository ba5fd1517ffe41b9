//! What a script may use up, and who watches that it does not use more.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};

use rhai::{Dynamic, EvalContext, FnPtr};

use crate::error::Error;

/// What a script may use up in one evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory, everything together. Exact when the program has a [`MemoryMeter`]; else only the
    /// variables in sight count, from time to time.
    pub memory: u64,
    /// Bytes of memory of all scripts that are evaluated at the same time. When they exceed it, those
    /// that hold more than their share end.
    pub memory_of_all: u64,
    /// Rhai operations.
    pub operations: u64,
    /// Nested calls of script functions.
    pub call_depth: usize,
    /// Nesting of expressions.
    pub expression_depth: usize,
    /// Bytes of text in one value, all its parts together. Holds where memory is not measured.
    pub string: usize,
    /// Items of arrays in one value, nested ones included. Holds where memory is not measured.
    pub array: usize,
    /// Entries of maps in one value, nested ones included. Holds where memory is not measured.
    pub map: usize,
    /// Imported modules.
    pub modules: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 256 << 20,
            memory_of_all: 1 << 30,
            operations: 20_000_000,
            call_depth: 48,
            expression_depth: 64,
            string: 32 << 20,
            array: 250_000,
            map: 250_000,
            modules: 64,
        }
    }
}

/// Returns how many bytes the calling thread has allocated less how many it has freed, as the program's
/// allocator counts. Below zero when it freed what others allocated. Asked after every operation of a script,
/// so it must take nanoseconds.
pub type MemoryMeter = fn() -> i64;

/// How deep values may be nested when they are looked at. Deeper ones would use up the stack when they
/// are copied or dropped.
const NESTED: usize = 1000;
/// After how many operations the variables are looked at again, at least and at most. An operation nests a
/// value one level deeper at most, and a script's stack bears as many levels as the most operations here.
const LOOK_AFTER: (u64, u64) = (4_000, 40_000);
/// The same, at least, where memory is not measured.
const LOOK_UNMEASURED: u64 = 64;
/// Shorter texts are counted as often as they are held.
const LONG_TEXT: usize = 4 << 10;
/// How many parts of values are looked at.
const MOST_PARTS: u64 = 20_000_000;
/// How many operations may pass without one use of a variable, while more than this is held: as many levels
/// of nesting as fit into it are no danger.
const UNSEEN: (u64, i64) = (50_000, 1 << 20);
/// Smaller changes are not counted with all others.
const WORTH_COUNTING: i64 = 64 << 10;

/// What all evaluations of one language hold together.
#[derive(Default)]
pub(super) struct Together {
    held: AtomicI64,
    scripts: AtomicI64,
}

/// What one evaluation may still use up. It belongs to the thread that evaluates.
pub(super) struct Budget {
    limits: Limits,
    meter: Option<MemoryMeter>,
    together: Arc<Together>,
    /// What the thread holds that is not the script's.
    foreign: AtomicI64,
    /// How much of what the script holds is counted in `together`.
    counted: AtomicI64,
    operations: AtomicU64,
    /// After how many operations the variables are looked at again.
    look_at: AtomicU64,
    /// After how many operations a variable was last used.
    used_at: AtomicU64,
}

impl Budget {
    /// Begins to count for an evaluation on the calling thread.
    pub(super) fn new(limits: Limits, meter: Option<MemoryMeter>, together: Arc<Together>) -> Self {
        together.scripts.fetch_add(1, Relaxed);
        let budget = Budget {
            limits,
            meter,
            together,
            foreign: AtomicI64::new(0),
            counted: AtomicI64::new(0),
            operations: AtomicU64::new(0),
            look_at: AtomicU64::new(LOOK_AFTER.0),
            used_at: AtomicU64::new(0),
        };
        budget.renew();
        budget
    }

    /// Begins to count anew: what is held now is not counted.
    pub(super) fn renew(&self) {
        self.foreign.store(self.on_thread(), Relaxed);
    }

    /// Does work for the script that is not the script's own, such as a step. Of what it leaves in memory
    /// only what `take` makes of its result counts as the script's.
    pub(super) fn aside<T, U>(&self, work: impl FnOnce() -> T, take: impl FnOnce(&T) -> U) -> U {
        let before = self.on_thread();
        let result = work();
        let between = self.on_thread();
        let taken = take(&result);
        let size = self.on_thread() - between;
        drop(result);
        self.foreign.fetch_add(self.on_thread() - before - size, Relaxed);
        taken
    }

    /// Returns how many bytes the script holds, where memory is measured.
    fn held(&self) -> Option<i64> {
        self.meter.map(|_| self.on_thread() - self.foreign.load(Relaxed))
    }

    fn on_thread(&self) -> i64 {
        self.meter.map_or(0, |meter| meter())
    }

    pub(super) fn check(&self, operations: u64) -> Result<(), Error> {
        if operations < self.operations.swap(operations, Relaxed) {
            // A module, or something deferred: Rhai counts the operations of each from nothing.
            self.used_at.store(operations, Relaxed);
            self.look_at.store(operations + LOOK_AFTER.0, Relaxed);
        }
        let held = self.held();
        let (most, heavy) = UNSEEN;
        if operations.saturating_sub(self.used_at.load(Relaxed)) > most
            && held.is_none_or(|held| held > heavy)
        {
            return Err(Error::script(format!("the script did {most} operations without using a variable"))
                .hint("give what `this` is a name"));
        }
        held.map_or(Ok(()), |held| self.check_memory(held))
    }

    fn check_memory(&self, held: i64) -> Result<(), Error> {
        let (memory, memory_of_all) = (mib(self.limits.memory), mib(self.limits.memory_of_all));
        if held > as_signed(self.limits.memory) {
            return Err(Error::script(format!("the script holds more than {memory} MiB of memory"))
                .hint("look at the parts one by one, or in child runs"));
        }
        let change = held - self.counted.load(Relaxed);
        if change.abs() < WORTH_COUNTING {
            return Ok(());
        }
        self.counted.store(held, Relaxed);
        let all = self.together.held.fetch_add(change, Relaxed) + change;
        let most = as_signed(self.limits.memory_of_all);
        if all > most && held > most / self.together.scripts.load(Relaxed).max(1) {
            return Err(Error::script(format!(
                "all scripts together hold more than {memory_of_all} MiB of memory"
            ))
            .hint("run fewer of them at a time, or let each hold less"));
        }
        Ok(())
    }

    /// Looks from time to time at the variables in sight: how deep they are nested and, where memory is not
    /// measured, how much they hold.
    pub(super) fn look(&self, context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Result<(), Error> {
        let operations = self.operations.load(Relaxed);
        self.used_at.store(operations, Relaxed);
        if operations < self.look_at.load(Relaxed) {
            return Ok(());
        }
        let mut seen = Seen::default();
        let values = context.scope().iter_raw().map(|(_, _, value)| value).chain(context.this_ptr());
        for value in values {
            if !seen.is_shallow(value, NESTED) {
                return Err(Error::script(format!("a value is nested more than {NESTED} deep")));
            }
        }
        if self.meter.is_none() && seen.bytes > self.limits.memory {
            let memory = mib(self.limits.memory);
            return Err(Error::script(format!("the script holds more than {memory} MiB of memory"))
                .hint("look at the parts one by one, or in child runs"));
        }
        let (least, most) = LOOK_AFTER;
        let least = if self.meter.is_some() { least } else { LOOK_UNMEASURED };
        self.look_at.store(operations + (seen.parts / 4).clamp(least, most), Relaxed);
        Ok(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.together.held.fetch_sub(self.counted.load(Relaxed), Relaxed);
        self.together.scripts.fetch_sub(1, Relaxed);
    }
}

/// What a look at values has seen.
#[derive(Default)]
struct Seen {
    parts: u64,
    /// About how many bytes the parts take.
    bytes: u64,
    /// Where long texts stand: values share them.
    texts: HashSet<usize>,
}

impl Seen {
    fn is_shallow(&mut self, value: &Dynamic, depth: usize) -> bool {
        self.parts += 1;
        self.bytes += size_of::<Dynamic>() as u64;
        // Whoever holds the lock is this very thread. Closures may refer to each other in circles.
        if value.is_locked() || self.parts > MOST_PARTS {
            return true;
        }
        let Some(deeper) = depth.checked_sub(1) else { return false };
        if let Ok(text) = value.as_immutable_string_ref() {
            self.see(&text);
            return true;
        }
        if let Ok(list) = value.as_array_ref() {
            return list.iter().all(|item| self.is_shallow(item, deeper));
        }
        if let Ok(map) = value.as_map_ref() {
            return map.iter().all(|(name, item)| {
                self.bytes += name.len() as u64;
                self.is_shallow(item, deeper)
            });
        }
        if let Some(closure) = value.read_lock::<FnPtr>() {
            return closure.curry().iter().all(|item| self.is_shallow(item, deeper));
        }
        true
    }

    fn see(&mut self, text: &str) {
        let is_long = text.len() > LONG_TEXT;
        if !is_long || self.texts.insert(text.as_ptr().addr()) {
            self.bytes += text.len() as u64;
        }
    }
}

fn as_signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
