//! Tells people and programs that something needs them: what the journal's outbox holds goes to the receivers of the configuration.
//!
//! ```text
//!  outbox ─take─► attempt ─┬─ taken ───────► delivered
//!    ▲                     ├─ refused ─────► given up
//!    └──── later ◄─────────┴─ not now        (given up after three days)
//! ```
//!
//! Each receiver has one task, so that one that is dead holds up no other; a run, a lease or the worker waits for none. Owns: what
//! is sent, and when. Does not own: what is worth telling, and that it is not lost
//! ([`Outbox`](relight_engine::journal::Outbox)).
//!
//! Deliveries go by the system's clock, also in a lab: the world outside has no other.

mod answer;
mod command;
mod message;
mod signature;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use relight_engine::journal::{Bounds, CameTo, Delivery, Journal, Listener, OwnerId, Subscription, Taking};
use relight_engine::{Engine, Error, Result, SecretSource};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::answer::{Answer, rest};
use self::command::{PATIENCE, Program};
use self::message::Message;
use self::webhook::Webhook;
use crate::config::{By, Receiver};
use crate::outgoing::jitter;

/// How long an attempt may last before another process takes it up; longer than any attempt does.
const TAKEN: Duration = Duration::from_secs(45);
/// How often it is asked for what other processes wrote.
const ASK: Duration = Duration::from_secs(2);
/// How long news is gathered.
const GATHER: Duration = Duration::from_millis(20);
/// How long an attempt that is under way may go on when the service ends.
const LAST: Duration = Duration::from_secs(3);
/// How often what is kept is brought within its bounds.
const TIDY: Duration = Duration::from_secs(600);
/// The pause after the journal could not be read or written.
const BROKEN: Duration = Duration::from_secs(15);
/// How long what was delivered or given up is kept, and how much of it.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
const SETTLED: usize = 1000;
/// How many may wait for one receiver.
const WAITING: usize = 10_000;

/// Where notifications come from.
#[derive(Clone)]
pub(crate) struct Source {
    /// Whose service says so: `ann@edge-1`.
    pub(crate) from: String,
    /// What follows a command to mean the same place, such as ` --lab`.
    pub(crate) place: String,
    /// The values behind the names of secrets.
    pub(crate) secrets: Arc<dyn SecretSource>,
}

/// The tasks that tell receivers.
pub(crate) struct Notifier {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    journal: Arc<dyn Journal>,
    owner: OwnerId,
}

impl Notifier {
    /// Subscribes the receivers, and begins to tell them. Whoever was subscribed and is none of them any more is told nothing more.
    ///
    /// # Errors
    /// `Storage`; `Invalid` when the certificates of a receiver cannot be used.
    pub(crate) async fn start(engine: &Engine, receivers: &[Receiver], source: &Source) -> Result<Self> {
        let journal = engine.journal().clone();
        let mut lines = Vec::with_capacity(receivers.len());
        for receiver in receivers {
            lines.push((receiver.name.clone(), Way::of(receiver, source)?));
        }
        let subscriptions: Vec<Subscription> = receivers.iter().map(subscription).collect();
        for (name, waiting) in journal.outbox().subscribe(&subscriptions).await? {
            tracing::warn!(
                "{name} is no receiver any more: {waiting} notifications that waited for it are gone"
            );
        }
        let owner = OwnerId::fresh();
        if !receivers.is_empty() {
            journal.enter(&owner)?;
        }
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for (name, way) in lines {
            tracing::info!("notifying {name} ({})", way.as_str());
            let line = Line {
                name,
                way,
                source: source.clone(),
                journal: journal.clone(),
                owner: owner.clone(),
                stop: stop.subscribe(),
                failures: 0,
                is_broken: false,
            };
            tasks.spawn(line.run());
        }
        Ok(Notifier { tasks, stop, journal, owner })
    }

    /// Ends: what is under way gets a moment, then it is put back for the next service.
    pub(crate) async fn end(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a receiver's task failed: {error}");
            }
        }
        self.journal.leave(&self.owner);
    }
}

/// Sends one message to a receiver, to try it. Returns why it was not taken.
///
/// # Errors
/// `Invalid` when its certificates cannot be used; `Rejected` when it did not take the message.
pub(crate) async fn try_out(receiver: &Receiver, source: &Source) -> Result<()> {
    let way = Way::of(receiver, source)?;
    let once = OwnerId::fresh();
    let message = Message::test(&receiver.name, &source.from, &source.place, Timestamp::now(), once.as_str());
    let because = match way.tell(&message).await {
        Answer::Taken => return Ok(()),
        Answer::NotNow { because, .. } | Answer::Refused { because } => because,
    };
    let mut error = Error::rejected(format!("{} was not told: {because}", receiver.name));
    for name in receiver.secrets() {
        // Whoever tries it out is there to provide what is missing.
        if let Err(missing) = source.secrets.reveal(name).await {
            error = missing.hints().iter().cloned().fold(error, Error::hint);
        }
    }
    Err(error)
}

fn subscription(receiver: &Receiver) -> Subscription {
    Subscription::new(&receiver.name).on(receiver.on.clone()).of(receiver.runbooks.clone())
}

/// How a receiver is told.
enum Way {
    Webhook(Webhook, &'static str),
    Program(Program),
}

impl Way {
    fn of(receiver: &Receiver, source: &Source) -> Result<Self> {
        Ok(match &receiver.by {
            By::Webhook { address, form, ca_bundle } => {
                let webhook = Webhook::new(address, form, ca_bundle.as_deref(), source.secrets.clone())?;
                Way::Webhook(webhook, receiver.by.as_str())
            }
            By::Command { program, args } => {
                Way::Program(Program { program: program.clone(), args: args.clone(), patience: PATIENCE })
            }
        })
    }

    fn as_str(&self) -> &'static str {
        match self {
            Way::Webhook(_, form) => form,
            Way::Program(_) => "command",
        }
    }

    async fn tell(&self, message: &Message) -> Answer {
        match self {
            Way::Webhook(webhook, _) => webhook.send(message).await,
            Way::Program(program) => program.tell(message).await,
        }
    }
}

/// What is told to one receiver, one after the other.
struct Line {
    name: String,
    way: Way,
    source: Source,
    journal: Arc<dyn Journal>,
    owner: OwnerId,
    stop: watch::Receiver<bool>,
    /// How many attempts in a row came to nothing.
    failures: u32,
    /// Whether the journal failed last time: it is said once.
    is_broken: bool,
}

impl Line {
    async fn run(mut self) {
        let mut news = self.journal.news().listen();
        let mut tidied: Option<Timestamp> = None;
        while !*self.stop.borrow() {
            let now = Timestamp::now();
            if tidied.is_none_or(|last| now.duration_since(last).unsigned_abs() > TIDY) {
                tidied = Some(now);
                if let Err(error) = self.tidy(now).await {
                    self.say_broken(&error);
                }
            }
            let until = now.saturating_add(TAKEN).unwrap_or(Timestamp::MAX);
            match self.journal.outbox().take(&Taking::new(&self.name, &self.owner, now, until)).await {
                Ok(Some(delivery)) => self.deliver(&delivery).await,
                Ok(None) => self.wait(&mut news).await,
                Err(error) => {
                    self.say_broken(&error);
                    self.pause(BROKEN).await;
                    continue;
                }
            }
            self.is_broken = false;
        }
    }

    /// Makes one attempt, and rests when it came to nothing.
    async fn deliver(&mut self, delivery: &Delivery) {
        let message = Message {
            notification: delivery.notification.clone(),
            from: self.source.from.clone(),
            place: self.source.place.clone(),
            is_test: false,
        };
        let mut stop = self.stop.clone();
        let over = async {
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(LAST).await;
        };
        let answer = tokio::select! {
            answer = self.way.tell(&message) => Some(answer),
            () = over => None,
        };
        let now = Timestamp::now();
        let came_to = match &answer {
            Some(answer) => answer.comes_to(delivery, now, jitter()),
            None => CameTo::PutBack,
        };
        match self.journal.outbox().settle_delivery(delivery, &came_to, now).await {
            // It comes again, under the same id: better twice than never.
            Err(error) => {
                self.say_broken(&error);
                self.pause(BROKEN).await;
            }
            Ok(_) => self.tell_of(delivery, &came_to),
        }
        let asked = match answer {
            Some(Answer::NotNow { asked, .. }) => asked.unwrap_or_default().min(TIDY),
            // What is wrong with one says nothing about the next.
            Some(Answer::Taken | Answer::Refused { .. }) | None => return,
        };
        self.pause(rest(self.failures).max(asked)).await;
    }

    /// Says what a person should know: the first failure in a row, its end, and what is given up.
    fn tell_of(&mut self, delivery: &Delivery, came_to: &CameTo) {
        let (name, title) = (&self.name, &delivery.notification.title);
        match came_to {
            CameTo::Delivered => {
                if self.failures > 0 {
                    tracing::info!("{name} is notified again");
                }
                self.failures = 0;
            }
            CameTo::Later { because, .. } => {
                if self.failures == 0 {
                    tracing::warn!("{name} cannot be notified: {because}; it is tried again for three days");
                }
                self.failures = self.failures.saturating_add(1);
            }
            CameTo::GivenUp { because } => {
                tracing::error!("{name} is not notified of \"{title}\": {because}")
            }
            _ => {}
        }
    }

    /// Waits until something may be due.
    async fn wait(&mut self, news: &mut Listener) {
        let next = self.journal.outbox().next_delivery(&self.name).await.ok().flatten();
        let left =
            next.map(|next| Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default());
        let longest = left.map_or(ASK, |left| left.clamp(GATHER, ASK));
        tokio::select! {
            () = news.hear() => self.pause(GATHER).await,
            () = tokio::time::sleep(longest) => {}
            _ = self.stop.changed() => {}
        }
    }

    async fn pause(&self, length: Duration) {
        let mut stop = self.stop.clone();
        // Either of the two is enough.
        let _ = tokio::time::timeout(length, stop.wait_for(|stop| *stop)).await;
    }

    async fn tidy(&self, now: Timestamp) -> Result<()> {
        let before = now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN);
        let bounds = Bounds::new(before, SETTLED, WAITING);
        let crowded = self.journal.outbox().bound_deliveries(&self.name, &bounds, now).await?;
        if crowded > 0 {
            tracing::error!("{} is not notified of {crowded} things: more than {WAITING} waited", self.name);
        }
        Ok(())
    }

    fn say_broken(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.is_broken, true) {
            tracing::warn!("what {} is to be told cannot be read or written: {error:?}", self.name);
        }
    }
}
