//! `relight token`: who may talk to the service.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use relight_engine::{Error, Span};

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::format::{Table, when};
use crate::service::{Grant, Role, Tokens};
use crate::setup::Home;
use crate::terminal;

/// Decide who may talk to `relight serve`
#[derive(Args, Debug)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a token, and print it: this once
#[derive(Args, Debug)]
struct Create {
    /// Whose it is, or what for: up to 63 letters, digits, `-`, `_`, `.` and `@`
    #[arg(value_parser = name)]
    name: String,

    /// What it may do; each role may do what those before it may
    #[arg(long, value_name = "ROLE", value_enum)]
    role: Role,

    /// Limit it to this runbook; may be given again
    #[arg(long = "runbook", value_name = "RUNBOOK")]
    runbooks: Vec<String>,

    /// How long it lasts, such as 90d; until it is revoked when left out
    #[arg(long, value_name = "DURATION")]
    expires: Option<Span>,
}

/// List tokens, the oldest first
#[derive(Args, Debug)]
struct List {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Make a token worth nothing, from now on
#[derive(Args, Debug)]
struct Revoke {
    /// Its name
    name: String,
}

impl Token {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let tokens = Tokens::open(&home.state()?)?;
        match self.command {
            Command::Create(create) => create.run(&home, &tokens),
            Command::List(list) => list.run(&tokens),
            Command::Revoke(revoke) => {
                tokens.revoke(&revoke.name, Timestamp::now())?;
                terminal::say(format!("{} is worth nothing any more.", revoke.name));
                Ok(Exit::Done)
            }
        }
    }
}

impl Create {
    fn run(self, home: &Home, tokens: &Tokens) -> Result {
        // A misspelt name would be a token that reaches nothing.
        for runbook in &self.runbooks {
            home.library().runbook(runbook)?;
        }
        let now = Timestamp::now();
        let expires = match self.expires {
            None => None,
            Some(span) => Some(
                now.checked_add(span.get())
                    .map_err(|e| Error::invalid("that is too long for a token").because(e))?,
            ),
        };
        let grant = Grant {
            name: self.name,
            role: self.role,
            runbooks: Some(self.runbooks).filter(|runbooks| !runbooks.is_empty()),
            created: now,
            expires,
            revoked: None,
        };
        let token = tokens.create(&grant)?;
        writeln!(terminal::out(), "{token}")?;
        terminal::say("Keep it: it is not shown again. What is kept here is its hash alone.");
        Ok(Exit::Done)
    }
}

impl List {
    fn run(self, tokens: &Tokens) -> Result {
        let tokens = tokens.list()?;
        let mut out = terminal::out();
        if self.json {
            for token in &tokens {
                writeln!(out, "{}", serde_json::to_string(token).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if tokens.is_empty() {
            terminal::say("There is no token. Make one: relight token create NAME --role view");
            return Ok(Exit::Done);
        }
        let now = Timestamp::now();
        let mut table = Table::headed(&["TOKEN", "ROLE", "RUNBOOKS", "MADE", "LASTS"]);
        for token in tokens {
            let lasts = match (token.revoked, token.expires) {
                (Some(revoked), _) => format!("revoked {}", when(now, revoked)),
                (None, Some(expires)) if expires <= now => format!("expired {}", when(now, expires)),
                (None, Some(expires)) => format!("until {}", when(now, expires)),
                (None, None) => "until it is revoked".to_owned(),
            };
            table.row([
                token.name,
                token.role.as_str().to_owned(),
                token.runbooks.map_or_else(|| "all".to_owned(), |runbooks| runbooks.join(", ")),
                when(now, token.created),
                lasts,
            ]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

/// Reads the name of a token: it stands in the audit journal, and in the record of what was answered with it.
fn name(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    match (1..=63).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a name has up to 63 letters, digits, `-`, `_`, `.` and `@`".to_owned()),
    }
}
