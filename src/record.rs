//! `--record FILE`: what is said to Azure, written down as it is said.
//!
//! After each exchange the file is replaced as a whole, so that whatever ends the program leaves one that can be read and
//! lacks at most the exchange under way.

use std::io::{self, ErrorKind as Io};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relight_engine::{Error, Result};
use relight_stdlib::azure::Exchange;
use relight_stdlib::azure::recording::Recorder;

use crate::{platform, terminal};

/// The largest file: it is written anew with each exchange, and more than this nobody reads.
const LARGEST: usize = 8 * 1024 * 1024;

/// A recording under way. Cheap to clone; the last one that is dropped takes away a file in which nothing is.
#[derive(Clone)]
pub(crate) struct Record(Arc<Inner>);

struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    recorder: Recorder,
    count: usize,
    /// Why nothing more is written.
    ended: Option<String>,
}

impl Record {
    /// Makes the file, which only its owner can read.
    ///
    /// # Errors
    /// `Invalid` when there is something already, or nothing can be written there.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let recorder = Recorder::new(concat!("relight ", env!("CARGO_PKG_VERSION")));
        let refused = |e: io::Error| {
            let shown = path.display();
            let error = Error::invalid(format!("nothing can be recorded into {shown}"));
            match e.kind() {
                _ if path.is_dir() => error.because("it is a folder").hint("name a file in it"),
                Io::AlreadyExists => {
                    error.because("it is there already").hint("name another file: a recording replaces none")
                }
                Io::NotFound => {
                    error.because("its folder is not there").hint("make the folder, or name another file")
                }
                _ => error.because(e),
            }
        };
        // A command that goes elsewhere later still means this file.
        let path = std::path::absolute(path).map_err(refused)?;
        platform::write_new_private(&path, recorder.text().as_bytes()).map_err(refused)?;
        let state = State { recorder, count: 0, ended: None };
        Ok(Record(Arc::new(Inner { path, state: Mutex::new(state) })))
    }

    /// Takes an exchange down. What keeps it from being written ends the recording, and nothing else.
    pub(crate) fn add(&self, exchange: &Exchange<'_>) {
        let mut state = self.0.state();
        if state.ended.is_some() {
            return;
        }
        state.recorder.add(exchange);
        let text = state.recorder.text();
        if text.len() > LARGEST {
            state.ended = Some(format!("it would be larger than {} MiB", LARGEST >> 20));
            return;
        }
        match platform::write_private(&self.0.path, text.as_bytes()) {
            Ok(()) => state.count += 1,
            Err(error) => state.ended = Some(error.to_string()),
        }
    }

    /// Says what became of it.
    pub(crate) fn tell(&self) {
        let (state, path) = (self.0.state(), self.0.path.display());
        match (&state.ended, state.count) {
            (Some(why), count) => {
                terminal::say(format!("The recording {path} ends after {count} exchanges: {why}"));
            }
            (None, 0) => terminal::say("Nothing was said to Azure, so nothing is recorded"),
            (None, count) => terminal::say(format!(
                "Recorded {count} exchanges in {path}, without secrets and names; read it before you hand it on"
            )),
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // An exchange is taken down whole or not at all, whatever panicked elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.state().count == 0 {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
