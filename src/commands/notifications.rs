//! `relight notifications`: what receivers were told, and are to be told.

use std::io::{self, Write};

use clap::{Args, Subcommand, ValueEnum};
use relight_engine::Error;
use relight_engine::journal::{Delivery, DeliveryFilter, DeliveryState};

use crate::args::{Global, Place};
use crate::config::Receiver;
use crate::exit::{Exit, Result};
use crate::format::{Table, brief, when};
use crate::notify::{Source, try_out};
use crate::secrets::Secrets;
use crate::setup::Home;
use crate::{azure, platform, terminal};

/// How long the title of a notification is in a table.
const TITLE: usize = 60;

/// See what receivers were told, and what waits for them
///
/// Receivers are declared below [[receiver]] in relight.toml: Teams, Slack, a signed webhook, or a command. `relight serve` tells them
/// of questions, parked and failed runs, late leases, missed firings and paused schedules.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Notifications {
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    at: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Test(Test),
}

/// List notifications, the newest first
#[derive(Args, Debug)]
struct List {
    /// Only those to this receiver
    #[arg(long, value_name = "NAME")]
    receiver: Option<String>,

    /// Only those in this state
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<State>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Send a receiver a message, to see that it arrives
#[derive(Args, Debug)]
struct Test {
    /// Name of the receiver, as relight.toml has it
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// On its way, or tried again later
    Waiting,
    /// The receiver has it
    Delivered,
    /// Not tried any more
    GivenUp,
}

impl Notifications {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::at(global, &self.at).await?;
        match self.command.unwrap_or(Command::List(self.list)) {
            Command::List(list) => list.run(&home).await,
            Command::Test(test) => test.run(&home).await,
        }
    }
}

impl List {
    async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let mut filter = DeliveryFilter::default().at_most(self.limit as usize);
        filter.receiver = self.receiver;
        filter.state = self.state.map(|state| match state {
            State::Waiting => DeliveryState::Waiting,
            State::Delivered => DeliveryState::Delivered,
            State::GivenUp => DeliveryState::GivenUp,
        });
        let found = match home.remote() {
            Some(client) => client.notifications(&filter).await?,
            None => engine.journal().outbox().deliveries(&filter).await?,
        };
        let mut out = terminal::out();
        if self.json {
            for delivery in &found {
                writeln!(out, "{}", serde_json::to_string(delivery).map_err(io::Error::from)?)?;
            }
            return Ok(Exit::Done);
        }
        if found.is_empty() {
            terminal::say(match home.remote().is_none() && home.config().receivers.is_empty() {
                true => "There is no receiver: declare one below [[receiver]] in relight.toml.",
                false => "There is no such notification.",
            });
            return Ok(Exit::Done);
        }
        let now = engine.clock().now();
        let mut table = Table::headed(&["RECEIVER", "ON", "WHEN", "STATE", "TRIED", "WHAT"]);
        for delivery in &found {
            let Delivery { receiver, notification, state, attempts, .. } = delivery;
            table.row([
                receiver.clone(),
                notification.occasion.as_str().to_owned(),
                when(now, notification.at),
                state.as_str().to_owned(),
                attempts.to_string(),
                what(delivery),
            ]);
        }
        for line in table.lines(0) {
            writeln!(out, "{line}")?;
        }
        Ok(Exit::Done)
    }
}

/// Returns what a receiver is told, and what is in the way.
fn what(delivery: &Delivery) -> String {
    let title = brief(&delivery.notification.title, TITLE);
    match &delivery.trouble {
        Some(trouble) if delivery.state != DeliveryState::Delivered => {
            format!("{title} ({})", brief(&trouble.because, TITLE))
        }
        _ => title,
    }
}

impl Test {
    async fn run(self, home: &Home) -> Result {
        home.refuse_remote("no test message can be sent")?;
        let receiver = find(&home.config().receivers, &self.name)?;
        // Only a secret in a key vault needs Azure.
        let azure = match needs_azure(receiver) {
            true => home.reach().await?,
            false => azure::nowhere()?,
        };
        let source = Source {
            from: platform::who(),
            place: home.same_place(),
            secrets: std::sync::Arc::new(Secrets(azure.arm)),
        };
        try_out(receiver, &source).await?;
        terminal::say(format!("{} has taken a test message.", receiver.name));
        Ok(Exit::Done)
    }
}

fn find<'a>(receivers: &'a [Receiver], name: &str) -> relight_engine::Result<&'a Receiver> {
    receivers.iter().find(|receiver| receiver.name == name).ok_or_else(|| {
        let error = Error::invalid(format!("there is no receiver `{name}`"));
        let names: Vec<&str> = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        match names.is_empty() {
            true => error.hint("declare one below [[receiver]] in relight.toml"),
            false => error.hint(format!("relight.toml has {}", names.join(", "))),
        }
    })
}

fn needs_azure(receiver: &Receiver) -> bool {
    receiver.secrets().any(|name| name.starts_with("keyvault:"))
}
