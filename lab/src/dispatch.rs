//! Which part of the lab answers a request, and what is written down about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    LedgerEntry, arm,
    console::Console,
    entra,
    http::{Call, Outcome},
    listeners::Listeners,
    ports::Port,
    relay::{self, Relay},
    state::{Site, State},
    vault,
};

type Hook = Arc<dyn Fn(&LedgerEntry) + Send + Sync>;

/// A lab behind its socket.
pub(crate) struct Dispatch {
    site: Arc<Site>,
    hooks: Mutex<Vec<Hook>>,
    consoles: Listeners<Console>,
    ports: Listeners<Port>,
    relay: Relay,
}

impl Dispatch {
    pub(crate) fn new(state: State) -> Self {
        Dispatch {
            site: Arc::new(Site::new(state)),
            hooks: Mutex::default(),
            consoles: Listeners::default(),
            ports: Listeners::default(),
            relay: Relay::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.site.state()
    }

    pub(crate) fn hooks(&self) -> MutexGuard<'_, Vec<Hook>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes every port and waits for that.
    pub(crate) async fn close(&self) {
        self.consoles.close().await;
        self.ports.close().await;
    }

    /// Closes every port soon.
    pub(crate) fn abandon(&self) {
        self.consoles.abandon();
        self.ports.abandon();
    }

    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Answers one request for a connection through the relay.
    pub(crate) async fn connect(&self, request: Request<Incoming>, call: &Call) -> Response<Full<Bytes>> {
        relay::accept(request, call, &self.site, &self.relay).await
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, call: &Call) -> Outcome {
        let (outcome, entry) = answered(&mut self.state(), call);
        self.reconcile().await;
        if let Some(entry) = entry.filter(|entry| entry.effect) {
            let hooks = self.hooks().clone();
            // A hook may kill a process and wait for its end, so it must not hold up a worker.
            let ran = tokio::task::spawn_blocking(move || hooks.iter().for_each(|hook| hook(&entry))).await;
            if let Err(e) = ran {
                tracing::error!("a hook failed: {e}");
            }
        }
        outcome
    }

    /// Brings the ports in line with the world.
    pub(crate) async fn reconcile(&self) {
        self.consoles
            .reconcile(&self.site, || {
                self.state().open_consoles().into_iter().map(|at| (at, Console)).collect()
            })
            .await;
        self.ports.reconcile(&self.site, || self.state().open_ports()).await;
    }
}

/// Answers one request: moves the world to now, looks at the request, writes down what happened. The entry is what
/// was added to the ledger.
fn answered(state: &mut State, call: &Call) -> (Outcome, Option<LedgerEntry>) {
    let now = (state.now)();
    state.world.advance(now);
    if let Some(vault) = vault::of(call) {
        let reply = vault::answer(state, call, vault, now);
        state.note_request(call, reply.status);
        return (Outcome::Answer(reply), None);
    }
    if let Some(path) = arm::path_of_blob(call) {
        let reply = arm::blob(state, call, &path, now);
        state.note_request(call, reply.status);
        return (Outcome::Answer(reply), None);
    }
    let segments = call.segments();
    let first = segments.first().map(|s| s.to_ascii_lowercase()).unwrap_or_default();
    if !matches!(first.as_str(), "subscriptions" | "providers" | "tenants") {
        let reply = entra::answer(state, call, &segments, now);
        state.note_request(call, reply.status);
        return (Outcome::Answer(reply), None);
    }

    let answered = arm::answer(state, call, now);
    state.note_request(call, answered.status);
    let mut entry = None;
    if !call.is_read() && answered.status != 0 {
        let new = ledger_entry(state, call, now, &answered);
        state.ledger.push(new.clone());
        entry = Some(new);
        if let Err(e) = state.save() {
            // A write that is not saved must not be acknowledged: after a restart it would not have happened.
            tracing::error!("{e}");
            return (Outcome::HangUp, None);
        }
    }
    (answered.outcome, entry)
}

fn ledger_entry(state: &State, call: &Call, at: Timestamp, answered: &arm::Answered) -> LedgerEntry {
    let digest = Sha256::digest(&call.body);
    LedgerEntry {
        seq: state.ledger.len() as u64 + 1,
        at,
        method: call.method.clone(),
        path: call.path.clone(),
        api_version: call.query("api-version").unwrap_or_default().to_owned(),
        client_request_id: call.header("x-ms-client-request-id").map(str::to_owned),
        correlation_id: answered.correlation_id.clone(),
        body_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        body: serde_json::from_slice(&call.body).unwrap_or(Value::Null),
        status: answered.status,
        effect: answered.effect,
    }
}
