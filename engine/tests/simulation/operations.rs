//! What scripts of the simulation can call: one operation of each sort that the engine tells apart.

use std::time::Duration;

use relight_engine::SecretRef;
use relight_engine::event::{Call, Effected};
use relight_engine::{Cx, Effect, EngineBuilder, Error, ErrorKind, Operation, Outcome, Probe, Redo, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::world::{Door, Reach};

/// What every operation takes.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Named {
    name: String,
}

/// Declares an operation that sends one request and looks for its trace in the world.
macro_rules! one_request {
    ($type:ident, $name:literal, $redo:expr) => {
        struct $type(Reach);

        impl Operation for $type {
            type Args = Named;
            type Output = String;
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "Sends one request.";
            const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
            const REDO: Redo = $redo;

            async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
                self.0.send(cx, $name, |_| {}).await?;
                Ok(Outcome::done(format!("{} is done", args.name)))
            }

            async fn probe(&self, cx: &Cx, args: &Named) -> Result<Probe<String>> {
                let key = (cx.run().clone(), cx.step());
                let happened = self.0.look(cx, $name, move |state| state.effects.contains_key(&key)).await?;
                Ok(match happened {
                    true => Probe::Found(Outcome::done(format!("{} was done", args.name))),
                    false => Probe::Absent,
                })
            }
        }
    };
}

one_request!(Put, "box::put", Redo::Resend);
one_request!(Find, "box::find", Redo::Probe);
one_request!(Post, "box::post", Redo::Ask);

/// Is accepted at once and done after some looks. Its two versions count them under different names.
struct Long<const VERSION: u32>(Reach);

impl<const VERSION: u32> Long<VERSION> {
    const COUNT: &'static str = if VERSION == 1 { "looks" } else { "seen" };
}

impl<const VERSION: u32> Operation for Long<VERSION> {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::long";
    const SUMMARY: &'static str = "Takes its time.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;
    const STATE_VERSION: u32 = VERSION;

    fn upgrade(_: u64, at: &Value) -> Option<Value> {
        Some(json!({ "seen": at["looks"] }))
    }

    async fn begin(&self, cx: &Cx, _: &Named) -> Result<Outcome<String>> {
        self.0.send(cx, Self::NAME, |_| {}).await?;
        Outcome::pending(&json!({ (Self::COUNT): 0 }), Duration::from_secs(20))
    }

    async fn resume(&self, cx: &Cx, args: &Named, at: &Value) -> Result<Outcome<String>> {
        self.0.look(cx, Self::NAME, |_| ()).await?;
        match at[Self::COUNT].as_u64().unwrap_or_default() {
            2.. => Ok(Outcome::done(format!("{} is over", args.name))),
            count => Outcome::pending(&json!({ (Self::COUNT): count + 1 }), Duration::from_secs(20)),
        }
    }
}

/// For how long a slow answer is on its way: longer than an interruption waits for it.
pub(crate) const SLOW: Duration = Duration::from_secs(250);

/// Answers only after minutes: longer than a heartbeat lasts.
struct Slow(Reach);

impl Operation for Slow {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::slow";
    const SUMMARY: &'static str = "Answers late.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Ask;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        self.0.send(cx, Self::NAME, |_| {}).await?;
        cx.clock().sleep_until(cx.after(SLOW)).await;
        Ok(Outcome::done(format!("{} is done at last", args.name)))
    }
}

/// Panics the first time, before it sends anything.
struct Panics(Reach);

impl Operation for Panics {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "box::panics";
    const SUMMARY: &'static str = "Has a bug.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        self.0.panics_once(cx);
        self.0.send(cx, Self::NAME, |_| {}).await?;
        Ok(Outcome::done(format!("{} is done", args.name)))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Login {
    password: SecretRef,
}

/// Uses a secret; the service says it back in its value and in its errors.
struct SignIn(Reach);

impl Operation for SignIn {
    type Args = Login;
    type Output = Value;
    const NAME: &'static str = "box::sign_in";
    const SUMMARY: &'static str = "Uses a secret.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite, Effect::Secret];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Login) -> Result<Outcome<Value>> {
        let secret = cx.secret(&args.password).await?;
        cx.progress(format!("signing in with {}", secret.expose()), None);
        if let Err(error) = self.0.send(cx, Self::NAME, |_| {}).await {
            return Err(Error::new(error.kind(), format!("{}: {}", error.message(), secret.expose())));
        }
        Outcome::pending(&json!({ "echo": secret.expose() }), Duration::from_secs(15))
    }

    async fn resume(&self, cx: &Cx, _: &Login, _: &Value) -> Result<Outcome<Value>> {
        // The service remembers what it was sent, whichever process asks.
        let secret = super::CANARY;
        self.0.look(cx, Self::NAME, |_| ()).await?;
        Ok(Outcome::done(json!({ "echo": secret, secret: [format!("<{secret}>")] })))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Opened {
    name: String,
    minutes: u64,
}

/// How long a door may stay open when people extend that.
const LONGEST: Duration = Duration::from_secs(8 * 3600);

/// Opens a door with the duty to close it.
struct Open(Reach);

impl Operation for Open {
    type Args = Opened;
    type Output = String;
    const NAME: &'static str = "door::open";
    const SUMMARY: &'static str = "Opens a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Opened) -> Result<Outcome<String>> {
        let close = Call::new("door::close", json!({ "name": args.name }));
        let lease = cx
            .lease(cx.after(Duration::from_secs(60 * args.minutes)), close)
            .titled(format!("the door {}", args.name));
        let lease = lease.subject(&args.name).door(&args.name).latest(cx.after(LONGEST));
        Ok(Outcome::pending(&json!("intent"), Duration::ZERO)?.with(Effected::LeaseOpened(lease)))
    }

    async fn resume(&self, cx: &Cx, args: &Opened, at: &Value) -> Result<Outcome<String>> {
        let own = cx.leases_for(&args.name).await?.into_iter().find(|lease| lease.id == cx.lease_id());
        let Some(lease) = own.filter(|lease| lease.deadline > cx.now()) else {
            // Whoever closed it may have come before the request that was on its way.
            self.0.close(cx, Self::NAME, &args.name).await?;
            return Err(Error::rejected(format!("the time of {} is over", args.name)));
        };
        if at == "sent" {
            return Ok(Outcome::done(format!("{} is open", args.name)));
        }
        let (name, run) = (args.name.clone(), cx.run().clone());
        let open = move |state: &mut super::world::State| {
            state.doors.insert(name, Door { run, deadline: lease.deadline });
        };
        self.0.send(cx, Self::NAME, open).await?;
        Outcome::pending(&json!("sent"), Duration::ZERO)
    }
}

/// Closes a door. A look comes first: nothing is sent for one that is closed.
struct Close(Reach);

impl Operation for Close {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "door::close";
    const SUMMARY: &'static str = "Closes a door.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        self.0.close(cx, Self::NAME, &args.name).await?;
        let leases = cx.leases_for(&args.name).await?;
        let outcome = Outcome::done(format!("{} is closed", args.name));
        Ok(leases.into_iter().fold(outcome, |o, lease| o.with(Effected::LeaseClosed { id: lease.id })))
    }
}

#[derive(Deserialize, JsonSchema)]
struct Planned {
    runbook: String,
    minutes: u64,
}

/// Has a runbook run later.
struct Later(Reach);

impl Operation for Later {
    type Args = Planned;
    type Output = String;
    const NAME: &'static str = "later";
    const SUMMARY: &'static str = "Has a runbook run later.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Planned) -> Result<Outcome<String>> {
        if self.0.dead.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unsent, "the process is dead"));
        }
        let schedule = cx.schedule(&args.runbook, cx.after(Duration::from_secs(60 * args.minutes)));
        Ok(Outcome::done(cx.key(12)).with(Effected::Scheduled(Box::new(schedule))))
    }
}

/// Which operations repeat how: for the count of what they sent.
pub(crate) fn redo(operation: &str) -> Redo {
    match operation {
        "box::find" => Redo::Probe,
        "box::post" | "box::long" | "box::slow" => Redo::Ask,
        _ => Redo::Resend,
    }
}

/// Adds all of them, as the old or the new version of the program has them.
pub(crate) fn add(builder: EngineBuilder, reach: &Reach, is_old: bool) -> EngineBuilder {
    let builder = match is_old {
        true => builder.operation(Long::<1>(reach.clone())),
        false => builder.operation(Long::<2>(reach.clone())),
    };
    builder
        .operation(Put(reach.clone()))
        .operation(Find(reach.clone()))
        .operation(Post(reach.clone()))
        .operation(Slow(reach.clone()))
        .operation(Panics(reach.clone()))
        .operation(SignIn(reach.clone()))
        .operation(Open(reach.clone()))
        .operation(Close(reach.clone()))
        .operation(Later(reach.clone()))
}
