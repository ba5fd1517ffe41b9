//! The program's memory, and who counts it: no script may use up what all runs share.
//!
//! jemalloc keeps two counters per thread, which is what the engine asks after every operation of a script.
//! On Windows it does not build or cannot be linked; there, scripts are bounded value by value only.

#[cfg(not(windows))]
mod counted {
    use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    thread_local! {
        static COUNTERS: Option<(ThreadLocal<u64>, ThreadLocal<u64>)> =
            allocatedp::read().and_then(|allocated| Ok((allocated, deallocatedp::read()?))).ok();
    }

    /// Returns how many bytes the calling thread has allocated less how many it has freed.
    pub(crate) fn held() -> i64 {
        COUNTERS.with(|counters| {
            counters
                .as_ref()
                .map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()).cast_signed())
        })
    }
}

/// Returns what measures the memory of scripts, where there is something.
pub(crate) fn meter() -> Option<relight_engine::MemoryMeter> {
    #[cfg(not(windows))]
    return Some(counted::held);
    #[cfg(windows)]
    None
}
