//! A small shell of POSIX manners, for what people send over SSH.
//!
//! Owns running a script: variables, words, redirections, pipes. What each command does is in `commands`. The parts of a
//! pipe run one after another; what is typed at a terminal comes to `sh` line by line.

mod call;
mod commands;
mod expand;
mod io;
mod parse;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use futures::future::BoxFuture;

pub(crate) use io::{Input, Lost, Output, Queue, Sink, taken};
use parse::{After, Command, Kind, List, Pipeline, Redirect, SyntaxError, parse};

pub(crate) use commands::long;

use super::Computer;
use crate::machine::{Trouble, User};

/// How often one script may run commands, so that a loop without end has one.
const FUEL: u32 = 100_000;

/// A shell that somebody uses.
#[derive(Clone)]
pub(crate) struct Shell {
    pub(crate) computer: Arc<Computer>,
    pub(crate) user: User,
    /// Where relative paths begin.
    pub(crate) folder: String,
    variables: BTreeMap<String, String>,
    /// The status of the last command: `$?`.
    status: u32,
    /// What new files must not allow.
    mask: u32,
    /// Whether a failure ends the script: `set -e`.
    is_strict: bool,
    fuel: u32,
    /// What is run at the end of the script: `trap '..' EXIT`.
    trap: Option<String>,
    /// Where the milliseconds of `sleep` are counted, if it does not really wait.
    slept: Option<Arc<AtomicU64>>,
}

/// Where a command reads and writes.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) errors: Output,
}

/// A script ends here, with this status.
struct Ended(u32);

type Run<'a> = BoxFuture<'a, Result<u32, Ended>>;

impl Shell {
    /// Returns the shell of a user who just came in.
    pub(crate) fn new(computer: &Arc<Computer>, user: &User) -> Self {
        let home = computer.home(user);
        // One that cannot be entered is left, as a login does.
        let is_there = computer.disk.files().look(user, &home).is_ok();
        let variables = [
            ("HOME", home.as_str()),
            ("USER", &user.name),
            ("LOGNAME", &user.name),
            ("SHELL", "/bin/sh"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ];
        Shell {
            computer: Arc::clone(computer),
            user: user.clone(),
            folder: if is_there { home.clone() } else { "/".to_owned() },
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            status: 0,
            mask: 0o022,
            is_strict: false,
            fuel: FUEL,
            trap: None,
            slept: None,
        }
    }

    /// Returns the shell with these variables, in which `sleep` only counts.
    pub(crate) fn dreaming(mut self, slept: &Arc<AtomicU64>, variables: &[(String, String)]) -> Self {
        self.slept = Some(Arc::clone(slept));
        self.variables.extend(variables.iter().cloned());
        self
    }

    /// Runs a script and returns its status.
    pub(crate) async fn run(&mut self, script: &str, streams: &Streams) -> u32 {
        let status = match self.part(script, streams).await {
            Ok(status) | Err(Ended(status)) => status,
        };
        let Some(last) = self.trap.take() else { return status };
        self.status = status;
        match self.part(&last, streams).await {
            // Only a trap that says so changes how the script ended.
            Err(Ended(other)) => other,
            Ok(_) => status,
        }
    }

    /// Runs what was typed at a terminal. Returns the status with which the shell is left, if it is.
    pub(crate) async fn enter(&mut self, line: &str, streams: &Streams) -> Option<u32> {
        self.fuel = FUEL;
        match self.part(line, streams).await {
            Ok(_) => None,
            Err(Ended(status)) => Some(status),
        }
    }

    /// Returns the status of the last command.
    pub(crate) fn status(&self) -> u32 {
        self.status
    }

    /// Returns what stands before the cursor of a terminal.
    pub(crate) fn prompt(&self) -> String {
        let home = self.computer.home(&self.user);
        let folder = match self.folder.strip_prefix(&home) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
            _ => self.folder.clone(),
        };
        let sign = if self.user.is_root() { '#' } else { '$' };
        format!("{}@{}:{folder}{sign} ", self.user.name, self.computer.name)
    }

    async fn part(&mut self, script: &str, streams: &Streams) -> Result<u32, Ended> {
        match parse(script) {
            Ok(list) => self.list(&list, streams, false).await,
            Err(SyntaxError { line, text }) => {
                let said = format!("sh: {line}: Syntax error: {text}\n");
                let _ = streams.errors.write(said.as_bytes()).await;
                self.status = 2;
                Ok(2)
            }
        }
    }

    /// Runs commands. Where they are a condition, their failure ends nothing.
    fn list<'a>(&'a mut self, list: &'a List, streams: &'a Streams, is_condition: bool) -> Run<'a> {
        Box::pin(async move {
            for (n, (after, pipeline)) in list.iter().enumerate() {
                let runs = match after {
                    After::Anything => true,
                    After::Success => self.status == 0,
                    After::Failure => self.status != 0,
                };
                if !runs {
                    continue;
                }
                self.status = self.pipeline(pipeline, streams, is_condition).await?;
                let is_last = list.get(n + 1).is_none_or(|(after, _)| *after == After::Anything);
                let counts = is_last && !is_condition && !pipeline.is_negated;
                if self.is_strict && counts && self.status != 0 {
                    return Err(Ended(self.status));
                }
            }
            Ok(self.status)
        })
    }

    async fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        streams: &Streams,
        is_condition: bool,
    ) -> Result<u32, Ended> {
        let mut input = streams.input.clone();
        let mut status = 0;
        let last = pipeline.commands.len() - 1;
        for (n, command) in pipeline.commands.iter().enumerate() {
            if last == 0 {
                status = self.command(command, streams, is_condition).await?;
                break;
            }
            // Each part of a pipe is a shell of its own.
            let mut shell = self.clone();
            let (output, buffer) = Output::buffer();
            let output = if n == last { streams.output.clone() } else { output };
            let part = Streams { input: input.clone(), output, errors: streams.errors.clone() };
            status = match shell.command(command, &part, is_condition).await {
                Ok(status) | Err(Ended(status)) => status,
            };
            self.fuel = shell.fuel;
            input = Input::of(taken(&buffer));
        }
        Ok(if pipeline.is_negated { u32::from(status == 0) } else { status })
    }

    async fn command(
        &mut self,
        command: &Command,
        streams: &Streams,
        is_condition: bool,
    ) -> Result<u32, Ended> {
        self.fuel = self.fuel.checked_sub(1).ok_or(Ended(137))?;
        let streams = match self.redirected(&command.redirects, streams).await? {
            Ok(streams) => streams,
            Err(said) => {
                let _ = streams.errors.write(format!("sh: 1: {said}\n").as_bytes()).await;
                return Ok(2);
            }
        };
        match &command.kind {
            Kind::Simple { variables, words } => self.simple(variables, words, &streams).await,
            Kind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.list(condition, &streams, true).await? == 0 {
                        return self.list(body, &streams, is_condition).await;
                    }
                }
                self.status = 0;
                self.list(otherwise, &streams, is_condition).await
            }
            Kind::For { variable, words, body } => {
                let values = self.fields(words, &streams).await?;
                let mut status = 0;
                for value in values {
                    self.variables.insert(variable.clone(), value);
                    status = self.list(body, &streams, is_condition).await?;
                }
                Ok(status)
            }
            Kind::While { condition, wanted, body } => {
                let mut status = 0;
                while (self.list(condition, &streams, true).await? == 0) == *wanted {
                    status = self.list(body, &streams, is_condition).await?;
                }
                Ok(status)
            }
            Kind::Group(list) => self.list(list, &streams, is_condition).await,
            Kind::Subshell(list) => {
                let mut shell = self.clone();
                let ended = shell.list(list, &streams, is_condition).await;
                self.fuel = shell.fuel;
                ended.or_else(|Ended(status)| Ok(status))
            }
        }
    }

    async fn simple(
        &mut self,
        variables: &[(String, parse::Word)],
        words: &[parse::Word],
        streams: &Streams,
    ) -> Result<u32, Ended> {
        let fields = self.fields(words, streams).await?;
        let mut values = Vec::new();
        for (name, word) in variables {
            values.push((name.clone(), self.joined(word, streams).await?));
        }
        let Some((name, arguments)) = fields.split_first() else {
            self.variables.extend(values);
            // The status of what was put into a variable counts: `x=$(false)`.
            let has_output =
                |word: &parse::Word| word.iter().any(|part| matches!(part, parse::Part::Output { .. }));
            return Ok(if variables.iter().any(|(_, word)| has_output(word)) { self.status } else { 0 });
        };
        let before = self.variables.clone();
        let is_lent = !values.is_empty();
        self.variables.extend(values);
        let status = commands::call(self, name, arguments, streams).await;
        if is_lent {
            self.variables = before;
        }
        status
    }

    /// Returns the streams of a command, or what the shell says when one cannot be had.
    async fn redirected(
        &mut self,
        redirects: &[Redirect],
        streams: &Streams,
    ) -> Result<Result<Streams, String>, Ended> {
        let mut streams = streams.clone();
        for redirect in redirects {
            match redirect {
                Redirect::Here(word) => {
                    streams.input = Input::of(self.joined(word, &streams).await?.into_bytes());
                }
                Redirect::From(word) => {
                    let path = self.joined(word, &streams).await?;
                    if path == "/dev/null" {
                        streams.input = Input::of(Vec::new());
                        continue;
                    }
                    let files = self.computer.disk.files();
                    match files.read(&self.user, &files.absolute(&self.folder, &path)) {
                        Ok(bytes) => streams.input = Input::of(bytes.to_vec()),
                        Err(trouble) => return Ok(Err(format!("cannot open {path}: {trouble}"))),
                    }
                }
                Redirect::To { stream, file, appends } => {
                    let path = self.joined(file, &streams).await?;
                    let output = match self.writer(&path, *appends) {
                        Ok(output) => output,
                        Err(trouble) => return Ok(Err(format!("cannot create {path}: {trouble}"))),
                    };
                    match stream {
                        1 => streams.output = output,
                        2 => streams.errors = output,
                        _ => return Ok(Err(format!("{stream}: Bad file descriptor"))),
                    }
                }
                Redirect::Same { stream: 2, other: 1 } => streams.errors = streams.output.clone(),
                Redirect::Same { stream: 1, other: 2 } => streams.output = streams.errors.clone(),
                Redirect::Same { stream, other } if stream == other => {}
                Redirect::Same { other, .. } => return Ok(Err(format!("{other}: Bad file descriptor"))),
            }
        }
        Ok(Ok(streams))
    }

    fn writer(&self, path: &str, appends: bool) -> Result<Output, Trouble> {
        if path == "/dev/null" {
            return Ok(Output::Nowhere);
        }
        let (computer, user) = (Arc::clone(&self.computer), self.user.clone());
        let now = computer.seconds();
        let mut files = self.computer.disk.files();
        let path = files.absolute(&self.folder, path);
        files.create(&user, &path, 0o666 & !self.mask, now)?;
        if !appends {
            files.resize(&user, &path, 0, now)?;
        }
        drop(files);
        Ok(Output::File { computer, user, path })
    }

    /// Returns the status and the output of commands that stand inside a word.
    async fn output(&mut self, list: &List, streams: &Streams) -> (u32, String) {
        let mut shell = self.clone();
        let (output, buffer) = Output::buffer();
        let inside = Streams { output, ..streams.clone() };
        let status = match shell.list(list, &inside, true).await {
            Ok(status) | Err(Ended(status)) => status,
        };
        self.fuel = shell.fuel;
        (status, String::from_utf8_lossy(&taken(&buffer)).trim_end_matches('\n').to_owned())
    }
}
