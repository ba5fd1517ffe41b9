//! A world that counts what is sent to it, and logs that are cut off at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::effect::Effect;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Call, Effected};
use crate::log::{AroundLog, Label, Make, Next, RunLog};
use crate::operation::{Operation, Outcome, Probe, Redo};

/// What happened to the world, whoever did it.
#[derive(Clone, Default)]
pub(super) struct World(Arc<Mutex<BTreeMap<String, u32>>>);

impl World {
    /// Returns how often each request was sent.
    pub(super) fn sent(&self) -> BTreeMap<String, u32> {
        self.lock().clone()
    }

    fn send(&self, key: String) {
        *self.lock().entry(key).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.0.lock().expect("no panic while the world is held")
    }
}

/// What the operations of the world take.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Named {
    name: String,
}

/// Sends a request that is found again by the name of its step.
pub(super) struct Put(pub(super) World);

impl Operation for Put {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "world::put";
    const SUMMARY: &'static str = "Sends one request, which is answered at once.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        cx.may_send().await?;
        self.0.send(format!("{}-{}", cx.key(8), args.name));
        Ok(Outcome::done(args.name.clone()))
    }

    async fn probe(&self, cx: &Cx, args: &Named) -> Result<Probe<String>> {
        Ok(match self.0.lock().contains_key(&format!("{}-{}", cx.key(8), args.name)) {
            true => Probe::Found(Outcome::done(args.name.clone())),
            false => Probe::Absent,
        })
    }
}

/// Sends a request that goes on elsewhere, and opens what a lease closes.
pub(super) struct Job(pub(super) World);

impl Job {
    fn under_way(cx: &Cx, looks: u64) -> Result<Outcome<String>> {
        let close = Call::new(Close::NAME, json!({ "name": cx.lease_id() }));
        let lease = cx.lease(cx.after(Duration::from_secs(3600)), close);
        let pending = Outcome::pending(&looks, Duration::from_secs(5))?;
        Ok(if looks == 0 { pending.with(Effected::LeaseOpened(lease)) } else { pending })
    }
}

impl Operation for Job {
    type Args = Named;
    type Output = String;
    const NAME: &'static str = "world::job";
    const SUMMARY: &'static str = "Sends one request, which is done after two looks.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Probe;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<String>> {
        cx.may_send().await?;
        self.0.send(format!("{}-{}", cx.key(8), args.name));
        Job::under_way(cx, 0)
    }

    async fn resume(&self, cx: &Cx, args: &Named, at: &Value) -> Result<Outcome<String>> {
        match at.as_u64() {
            Some(looks @ 0..2) => Job::under_way(cx, looks + 1),
            _ => Ok(Outcome::done(args.name.clone())),
        }
    }

    async fn probe(&self, cx: &Cx, args: &Named) -> Result<Probe<String>> {
        Ok(match self.0.lock().contains_key(&format!("{}-{}", cx.key(8), args.name)) {
            true => Probe::Found(Job::under_way(cx, 0)?),
            false => Probe::Absent,
        })
    }
}

/// Closes what a job has opened.
pub(super) struct Close(pub(super) World);

impl Operation for Close {
    type Args = Named;
    type Output = bool;
    const NAME: &'static str = "world::close";
    const SUMMARY: &'static str = "Closes what is open.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, cx: &Cx, args: &Named) -> Result<Outcome<bool>> {
        cx.may_send().await?;
        self.0.send(format!("close-{}", args.name));
        Ok(Outcome::done(true).with(Effected::LeaseClosed { id: args.name.clone() }))
    }
}

/// The moments at which a driver may die: before something is made, and between what was made and its record.
#[derive(Default)]
pub(super) struct Moments {
    passed: AtomicUsize,
    last: usize,
}

impl Moments {
    /// A driver that dies at the moment of a number, counted from 0.
    pub(super) fn up_to(last: usize) -> Arc<Self> {
        Arc::new(Moments { passed: AtomicUsize::new(0), last })
    }

    fn pass(&self) -> Result<()> {
        match self.passed.fetch_add(1, Ordering::Relaxed) < self.last {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Storage, "the driver died")),
        }
    }
}

/// A log whose driver dies.
pub(super) struct Cut {
    pub(super) log: Arc<dyn RunLog>,
    pub(super) moments: Arc<Moments>,
}

#[async_trait]
impl AroundLog for Cut {
    fn behind(&self) -> &dyn RunLog {
        &*self.log
    }

    async fn next(&self, position: u64, label: Label, make: Make<'_>) -> Result<Next> {
        let cut = async {
            self.moments.pass()?;
            let entry = make.await?;
            self.moments.pass()?;
            Ok(entry)
        };
        self.log.next(position, label, Box::pin(cut)).await
    }
}
