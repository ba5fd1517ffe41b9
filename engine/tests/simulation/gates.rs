//! Gates: every point at which a process of the simulation touches time, the disk or the world.
//!
//! Whoever comes to one stops there until the simulation lets it through, one at a time, so that the order of
//! everything is the seed's. Between two gates there is nothing but computing. The simulation goes on only when
//! everybody stands at a gate: tasks of the runtime have yielded, and every script's thread (a thread of the operating
//! system) waits. How many threads there are is asked of the system; where it cannot tell, some time is given instead,
//! and a seed repeats only approximately.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::clock::Nap;

/// What a gate says to whoever it lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Go on.
    #[default]
    Go,
    /// Do it; the process dies before it hears that it was done.
    DieAfter,
    /// Do it; then the process stands still for a while.
    HoldAfter,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// To be let on after having been held.
    Held,
    /// To write to the disk.
    Write,
    /// To send a request, or to hear its answer.
    Request,
    /// For a time.
    Time,
}

/// Somebody at a gate.
pub(crate) struct Waiting {
    pub(crate) process: usize,
    pub(crate) kind: Kind,
    pub(crate) what: String,
    /// For whoever waits for a time: how long.
    pub(crate) nap: Option<Nap>,
    is_script: bool,
    /// What its script's thread did last: two threads of one process may want the same.
    behind: String,
    thread: ThreadId,
    runs: Option<Arc<Runs>>,
    go: oneshot::Sender<Pass>,
}

impl Waiting {
    /// Returns whether it must be let through also when its process is dead. A task that sleeps goes away with the
    /// runtime; a thread goes on until it notices.
    pub(crate) fn must_hear_of_its_death(&self) -> bool {
        self.nap.is_none() || self.is_script
    }
}

/// All gates of one history.
#[derive(Clone)]
pub(crate) struct Gates(Arc<Mutex<Inner>>, Arc<Threads>);

struct Inner {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    own: ThreadId,
    /// How many threads there are beside those of scripts.
    others: u64,
}

/// Leaves the gate when whoever waited there is gone.
struct Leave<'a>(&'a Gates, u64);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting.remove(&self.1);
    }
}

impl Gates {
    /// Must be called on the thread of the runtime, while there is no script's thread.
    pub(crate) fn new() -> Self {
        let threads = Threads::new();
        // The last threads of the history before are about to end. Counted here, one would be missed in this one.
        let patience = Instant::now() + Duration::from_secs(5);
        while threads.count().is_some() && states().is_none() && Instant::now() < patience {
            std::thread::yield_now();
        }
        let inner = Inner {
            waiting: BTreeMap::new(),
            next: 0,
            own: std::thread::current().id(),
            others: threads.count().unwrap_or_default(),
        };
        Gates(Arc::new(Mutex::new(inner)), Arc::new(threads))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic while the gates are held")
    }

    /// Waits to be let through.
    pub(crate) async fn pass(&self, process: usize, kind: Kind, what: impl Into<String>) -> Pass {
        self.stand(process, kind, what.into(), None).await
    }

    /// Waits for a time.
    pub(crate) async fn sleep(&self, process: usize, nap: Nap) {
        self.stand(process, Kind::Time, String::new(), Some(nap)).await;
    }

    async fn stand(&self, process: usize, kind: Kind, what: String, nap: Option<Nap>) -> Pass {
        let (go, gone) = oneshot::channel();
        let id = {
            let mut inner = self.lock();
            inner.next += 1;
            let id = inner.next;
            let thread = std::thread::current().id();
            let is_script = thread != inner.own;
            let (behind, runs) = match is_script {
                true => (LAST.take(), OWN.with(|own| own.get_or_init(Runs::here).clone())),
                false => Default::default(),
            };
            if is_script {
                LAST.set(if what.contains(' ') { what.clone() } else { behind.clone() });
            }
            inner
                .waiting
                .insert(id, Waiting { process, kind, what, nap, is_script, behind, thread, runs, go });
            id
        };
        let _leave = Leave(self, id);
        gone.await.unwrap_or_default()
    }

    /// Returns who waits, in an order that does not depend on who came first.
    pub(crate) fn waiting<T>(&self, mut look: impl FnMut(&Waiting) -> Option<T>) -> Vec<(u64, T)> {
        let inner = self.lock();
        let mut all: Vec<(&u64, &Waiting)> = inner.waiting.iter().collect();
        all.sort_by(|(a, one), (b, other)| {
            let key = |w: &'_ Waiting| (w.process, w.kind, w.nap);
            (key(one), &one.what, &one.behind, a).cmp(&(key(other), &other.what, &other.behind, b))
        });
        all.into_iter().filter_map(|(id, waiting)| Some((*id, look(waiting)?))).collect()
    }

    /// Lets somebody through.
    pub(crate) fn open(&self, id: u64, pass: Pass) {
        let waiting = self.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            let _ = waiting.go.send(pass);
        }
    }

    /// Waits until everybody stands at a gate or is gone.
    pub(crate) async fn settled(&self) {
        let began = Instant::now();
        let (mut last, mut looks) = (u64::MAX, 0u32);
        loop {
            looks += 1;
            // Whoever runs on the runtime goes on until it stands somewhere.
            let came = self.lock().next;
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            if came != self.lock().next || std::mem::replace(&mut last, came) != came {
                continue;
            }
            let (others, standing) = {
                let inner = self.lock();
                let standing: HashMap<ThreadId, Option<Arc<Runs>>> = inner
                    .waiting
                    .values()
                    .filter(|w| w.is_script)
                    .map(|w| (w.thread, w.runs.clone()))
                    .collect();
                (inner.others, standing)
            };
            match self.1.count() {
                Some(all) if all == others + standing.len() as u64 => {
                    // Whoever stands at a gate may have been told to leave it, and be on its way.
                    let slept = Runs::slept(standing.values());
                    // A thread that has just ended left its result to a task of the runtime.
                    for _ in 0..2 {
                        tokio::task::yield_now().await;
                    }
                    if slept.is_some()
                        && slept == Runs::slept(standing.values())
                        && came == self.lock().next
                        && self.1.count() == Some(all)
                    {
                        return;
                    }
                }
                // Somebody computes, or waits for something that is no gate: a parent for its child.
                Some(_) if looks % 40 == 0 => {
                    if asleep().await && came == self.lock().next {
                        return;
                    }
                }
                Some(_) => std::thread::yield_now(),
                None if began.elapsed() > Duration::from_millis(4) => return,
                None => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
    static OWN: OnceCell<Option<Arc<Runs>>> = const { OnceCell::new() };
}

/// How often a thread has run, as the system tells.
struct Runs {
    state: File,
    times: File,
}

impl Runs {
    fn here() -> Option<Arc<Self>> {
        let own = std::path::Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?);
        let (state, times) = (File::open(own.join("stat")).ok()?, File::open(own.join("schedstat")).ok()?);
        Some(Arc::new(Runs { state, times }))
    }

    /// Returns how often some threads have run, when all of them sleep.
    fn slept<'a>(threads: impl Iterator<Item = &'a Option<Arc<Runs>>>) -> Option<Vec<String>> {
        threads.flatten().map(|thread| thread.slept_once()).collect()
    }

    fn slept_once(&self) -> Option<String> {
        let told = |mut file: &File| {
            let mut text = String::new();
            file.rewind().ok()?;
            file.read_to_string(&mut text).ok()?;
            Some(text)
        };
        told(&self.state)?.rsplit_once(") ")?.1.starts_with('S').then_some(())?;
        told(&self.times)
    }
}

/// How many threads the process has: the number of links of the folder that lists them.
struct Threads(Option<File>);

impl Threads {
    fn new() -> Self {
        Threads(File::open("/proc/self/task").ok())
    }

    #[cfg(target_os = "linux")]
    fn count(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        self.0.as_ref()?.metadata().ok().map(|folder| folder.nlink())
    }

    #[cfg(not(target_os = "linux"))]
    fn count(&self) -> Option<u64> {
        // Nobody else lists them.
        self.0.as_ref().and(None)
    }
}

/// Returns whether no other thread has run between two looks.
async fn asleep() -> bool {
    let one = states();
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    std::thread::sleep(Duration::from_micros(20));
    one.is_some() && one == states()
}

/// Returns how often each other thread has run, when all of them sleep.
fn states() -> Option<Vec<(String, String)>> {
    let own = std::fs::read_link("/proc/thread-self").ok()?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task").ok()? {
        let path = entry.ok()?.path();
        if path.file_name() == own.file_name() {
            continue;
        }
        // A thread that has just ended is one that may have left something to do.
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let runs = std::fs::read_to_string(path.join("schedstat")).ok()?;
        if !stat.rsplit_once(") ")?.1.starts_with('S') {
            return None;
        }
        all.push((path.to_string_lossy().into_owned(), runs));
    }
    Some(all)
}
