//! A sealed world for the real command: no environment, one folder for everything, stable words for
//! what differs each time.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

/// How fast the lab's time passes: a four-minute operation takes a second.
const SPEED: &str = "240";
/// The longest wait for a line or an end, so that a hanging test says where it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home, a temporary folder, a state and a working folder that nobody else sees.
pub(crate) struct Sealed {
    dir: TempDir,
    words: RefCell<Words>,
}

impl Sealed {
    /// Makes an empty world.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for folder in ["home", "tmp", "work"] {
            std::fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        Sealed { dir, words: RefCell::default() }
    }

    /// Returns a path inside the world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the folder in which commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Writes a runbook into the user's own library.
    pub(crate) fn runbook(&self, name: &str, text: &str) -> PathBuf {
        self.write(&format!("home/.config/relight/runbooks/{name}.rhai"), text)
    }

    /// Describes a call of the command.
    pub(crate) fn relight<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Relight<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relight"));
        command
            .args(args)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("RELIGHT_STATE", self.path("state"))
            .env("USER", "ada")
            .env("HOSTNAME", "desk-7")
            .env("TZ", "UTC")
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1");
        Relight { world: self, command }
    }

    /// Describes a call in the lab.
    pub(crate) fn in_lab<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Relight<'_> {
        self.relight(args).args(["--lab", "--lab-speed", SPEED])
    }

    /// Returns a text with stable words for what differs each time.
    pub(crate) fn stable(&self, text: &str) -> String {
        let text = text.replace(&*self.dir.path().to_string_lossy(), "[dir]");
        let mut words = self.words.borrow_mut();
        words.runs = runs_in(self.dir.path());
        words.stable(&text)
    }
}

/// A call of the command.
pub(crate) struct Relight<'a> {
    world: &'a Sealed,
    command: Command,
}

impl<'a> Relight<'a> {
    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    #[must_use = "compare the output, or call `succeeds`"]
    pub(crate) fn run(mut self) -> Output<'a> {
        let output = self.command.stdin(Stdio::null()).output().expect("relight runs");
        Output {
            world: self.world,
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts it and goes on.
    pub(crate) fn spawn(mut self) -> Running<'a> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("relight starts");
        let (send, lines) = channel();
        let err = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                // Whoever waits for lines may have seen enough.
                let _ = send.send(line);
            }
        });
        Running { world: self.world, child, lines, seen: String::new() }
    }
}

/// A command under way.
pub(crate) struct Running<'a> {
    world: &'a Sealed,
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl<'a> Running<'a> {
    /// Waits for a line on standard error that holds a text, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                let _ = self.child.kill();
                panic!("no line holds {text:?}:\n{}", self.seen);
            };
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("/bin/sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(sent.expect("a shell").success());
    }

    /// Waits for its end.
    #[must_use = "compare the output, or call `succeeds`"]
    pub(crate) fn end(mut self) -> Output<'a> {
        let mut out = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
        let status = self.child.wait().expect("relight ends");
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        Output { world: self.world, code: status.code(), out, err: std::mem::take(&mut self.seen) }
    }
}

/// What a test starts ends with it.
impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command printed, and how it ended. Written as a transcript.
pub(crate) struct Output<'a> {
    world: &'a Sealed,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Output<'_> {
    /// Returns the exit code; nothing after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.code
    }

    /// Returns standard output as it is.
    pub(crate) fn out(&self) -> &str {
        &self.out
    }

    /// Returns standard output and standard error as they are.
    pub(crate) fn raw(&self) -> String {
        format!("{}\n{}", self.out, self.err)
    }

    /// Returns standard output.
    #[track_caller]
    pub(crate) fn succeeds(self) -> String {
        self.ends_with(0)
    }

    /// Returns standard output, after a certain exit code.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self}");
        self.out
    }

    /// Returns standard output as JSON lines.
    #[track_caller]
    pub(crate) fn json(self) -> Vec<serde_json::Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.succeeds().lines().map(parse).collect()
    }

    /// Leaves out how far operations are: how often they say so depends on the machine.
    pub(crate) fn without_progress(mut self) -> Self {
        let is_progress = |line: &str| {
            let word = line.strip_prefix("  ").and_then(|rest| rest.split(' ').next());
            word.is_some_and(|word| word.contains("::") && word.ends_with(':'))
        };
        self.err =
            self.err.lines().filter(|line| !is_progress(line)).map(|line| format!("{line}\n")).collect();
        self
    }
}

impl fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.world.stable(&self.out))?;
        if !self.err.is_empty() {
            write!(f, "--- stderr\n{}", self.world.stable(&self.err))?;
        }
        match self.code {
            Some(0) => Ok(()),
            Some(code) => write!(f, "--- exit {code}"),
            None => write!(f, "--- killed"),
        }
    }
}

/// Gives the same word to the same id, in the order in which they appear.
#[derive(Default)]
struct Words {
    ids: Vec<String>,
    /// The ids of the world's runs, which are shown by their beginnings.
    runs: Vec<String>,
}

/// Returns the ids of all runs in the journals below a folder.
fn runs_in(folder: &Path) -> Vec<String> {
    let mut runs = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            runs.append(&mut runs_in(&path));
        } else if path.file_name().is_some_and(|name| name == "relight.db") {
            // A journal that a test has damaged tells nothing.
            let ids = rusqlite::Connection::open(&path).and_then(|db| {
                let mut ids = db.prepare("SELECT id FROM runs")?;
                ids.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
            });
            runs.append(&mut ids.unwrap_or_default());
        }
    }
    runs
}

impl Words {
    fn stable(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = ' ';
        while let Some(next) = rest.chars().next() {
            let starts = !before.is_ascii_alphanumeric();
            let (word, len) = match starts.then(|| self.word(rest)).flatten() {
                Some((word, len)) => (word, len),
                None => (next.to_string(), next.len_utf8()),
            };
            out.push_str(&word);
            before = rest[..len].chars().next_back().unwrap_or(' ');
            rest = &rest[len..];
        }
        out.lines().map(|line| settled(line) + "\n").collect()
    }

    /// Returns the stable word for what a text begins with, and how long that is.
    fn word(&mut self, text: &str) -> Option<(String, usize)> {
        if let Some(len) = moment(text) {
            return Some(("[time]".to_owned(), len));
        }
        if let Some(len) = length(text) {
            return Some(("[long]".to_owned(), len));
        }
        if text.starts_with("127.") {
            let len = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
            return Some(("[address]".to_owned(), len));
        }
        let len = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let word = &text[..len];
        if let Some(run) = self.runs.iter().find(|run| len >= 4 && run.starts_with(word)).cloned() {
            return Some((self.id(&run), len));
        }
        let is_id = [12, 16, 20, 64].contains(&len)
            && word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c) || c == 's')
            && word.contains(|c: char| c.is_ascii_digit());
        is_id.then(|| (self.id(word), len))
    }

    fn id(&mut self, id: &str) -> String {
        let known = self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        format!("[id{}]", known + 1)
    }
}

/// Returns a line without what depends on the machine: whether something took long enough to be told,
/// and how far columns stand apart.
fn settled(line: &str) -> String {
    let mut line = line.replace("[long] ago", "now");
    if ["done ", "failed "].iter().any(|start| line.starts_with(start)) {
        line = line.replace("  [long]", "");
    }
    // A table's columns are as wide as what stands below them, and so is its head.
    let is_head = line.starts_with(|c: char| c.is_ascii_uppercase())
        && line.chars().all(|c| " -".contains(c) || c.is_ascii_uppercase() || c.is_ascii_digit());
    if is_head || ["[id", "[long]", "now"].iter().any(|word| line.contains(word)) {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> =
            line[indent..].split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        line = format!("{}{}", &line[..indent], words.join("  "));
    }
    line
}

/// Returns how long the moment is with which a text begins: `2026-11-20 14:05` or RFC 3339.
fn moment(text: &str) -> Option<usize> {
    let fits = |pattern: &str| {
        let mut chars = text.chars();
        pattern
            .chars()
            .all(|p| chars.next().is_some_and(|c| if p == '0' { c.is_ascii_digit() } else { c == p }))
    };
    if fits("0000-00-00T00:00") {
        return Some(text.find(|c: char| !(c.is_ascii_digit() || "-:.TZ".contains(c))).unwrap_or(text.len()));
    }
    fits("0000-00-00 00:00").then_some(16)
}

/// Returns how long the length of time is with which a text begins: `0.4s`, `3m58s`, `2m ago`.
fn length(text: &str) -> Option<usize> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let first = digits(text);
    if first == 0 {
        return None;
    }
    let rest = &text[first..];
    let tail = match rest.chars().next()? {
        's' => 1,
        '.' => {
            let more = digits(&rest[1..]);
            (more > 0 && rest[1 + more..].starts_with('s')).then_some(2 + more)?
        }
        'm' | 'h' | 'd' if rest[1..].starts_with(" ago") => 1,
        'm' | 'h' | 'd' => {
            let more = digits(&rest[1..]);
            let unit = rest[1 + more..].chars().next().filter(|c| "smh".contains(*c));
            (more > 0 && unit.is_some()).then_some(2 + more)?
        }
        _ => return None,
    };
    let ends = !text[first + tail..].starts_with(|c: char| c.is_ascii_alphanumeric());
    ends.then_some(first + tail)
}

#[test]
fn what_differs_each_time_has_a_stable_word() {
    let world = Sealed::new();
    let said = format!(
        "run 01a1fb50160ad158cdf0 in {}/x took 3m58s, 0.4s; 2m ago, closes 01a1fb50160ad158cdf0-3 at 2026-11-20 14:05 (in 2h)\n\
         done local::vm  1.2s\n2026-11-20T14:05:00.5Z 127.1.2.3 d7d3a25eb381e6f5 web-01 2h\n",
        world.dir.path().display()
    );
    assert_eq!(
        world.stable(&said),
        "run [id1] in [dir]/x took [long], [long]; now, closes [id1]-3 at [time] (in 2h)\n\
         done local::vm\n[time] [address] [id2] web-01 2h\n"
    );
    // A second later the same table is a column wider.
    let [now, later] =
        ["DUE   SHA-256\n(now)  x\n", "DUE       SHA-256\n(1s ago)  x\n"].map(|table| world.stable(table));
    assert_eq!((&*now, now == later), ("DUE  SHA-256\n(now)  x\n", true), "{later}");
}

/// Returns the id of the newest run.
pub(crate) fn newest_run(world: &Sealed) -> String {
    let runs = world.relight(["runs", "list", "--json", "--lab"]).run().json();
    runs[0]["id"].as_str().expect("an id").to_owned()
}

/// Returns whether a folder holds a file of that name.
pub(crate) fn holds(folder: &Path, name: &str) -> bool {
    folder.join(name).is_file()
}
