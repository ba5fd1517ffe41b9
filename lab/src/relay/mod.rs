//! Azure Relay: a WebSocket through which a sender reaches what the agent of an Arc machine lets in.
//!
//! ```text
//! upgrade ─► signature ─► a listener? ─► the agent: its token, the port ─► what listens on the machine ─► bytes
//! ```
//!
//! Owns the sockets. What stands behind a machine's ports is for whoever starts the lab to say.

use std::{
    net::SocketAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    ext::ReasonPhrase,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

use crate::{
    Carried, arm,
    guest::{self, SSH},
    http::Call,
    relay_pass::{Pass, Refused},
    seed::random_uuid,
    state::{Site, State},
};

/// Below which path the relay answers.
pub(crate) const PREFIX: &str = "/$hc/";

/// After how long without a frame a connection is dropped.
const IDLE: Duration = Duration::from_secs(120);
/// How long the agent tries to reach what it is asked for.
const DIAL: Duration = Duration::from_secs(10);
/// How many bytes may be between the relay and a machine's own server.
const BETWEEN: usize = 256 * 1024;
/// How often a silent connection is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The most bytes of a frame.
const FRAME: usize = 32 * 1024;

/// What listens on a port of an Arc machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The machine's name.
    pub machine: String,
    /// The port on it, as seen from the machine itself.
    pub port: u16,
    /// Where it really listens.
    pub at: SocketAddr,
}

/// Reads `machine:port=address:port`.
impl FromStr for Guest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(there, here)| Some((there.rsplit_once(':')?, here)));
        let read = parts.and_then(|((machine, port), here)| {
            let machine = Some(machine.to_owned()).filter(|machine| !machine.is_empty())?;
            Some(Guest { machine, port: port.parse().ok()?, at: here.parse().ok()? })
        });
        read.ok_or_else(|| format!("`{text}` is not such as `db-01:22=127.0.0.1:2222`"))
    }
}

/// The open connections of a lab.
#[derive(Default)]
pub(crate) struct Relay(Mutex<JoinSet<()>>);

/// The port of a machine that somebody may connect to.
struct Target {
    group: String,
    machine: String,
    port: u16,
    /// Where it really listens, if that was said.
    at: Option<SocketAddr>,
}

/// A connection through the relay.
struct Way {
    site: Arc<Site>,
    machine: String,
}

/// What listens on a machine.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An answer other than an upgrade.
struct Refusal(u16, String);

/// Answers an upgrade.
pub(crate) async fn accept(
    mut request: Request<Incoming>,
    call: &Call,
    site: &Arc<Site>,
    relay: &Relay,
) -> Response<Full<Bytes>> {
    let asked = asked(&mut request);
    let found = target(&mut site.state(), call);
    let reached = match found {
        Ok(target) => reach(&target, site).await.map(|guest| (guest, target)),
        Err(refusal) => Err(refusal),
    };
    let answer = match (asked, reached) {
        (Ok((upgrade, key)), Ok((guest, target))) => {
            relay.carry(upgrade, guest, Way { site: Arc::clone(site), machine: target.machine });
            switching(&key)
        }
        (Err(refusal), _) | (_, Err(refusal)) => refused(refusal),
    };
    site.state().note_request(call, answer.status().as_u16());
    answer
}

/// Returns what is needed to speak WebSocket with whoever asked for it.
fn asked(request: &mut Request<Incoming>) -> Result<(OnUpgrade, HeaderValue), Refusal> {
    let is = |name, word: &str| {
        let value = request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    if !is(UPGRADE, "websocket") || !is(CONNECTION, "upgrade") {
        return Err(Refusal(400, "This endpoint wants a WebSocket upgrade".to_owned()));
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let key = key.ok_or_else(|| Refusal(400, "The Sec-WebSocket-Key header is missing".to_owned()))?;
    Ok((hyper::upgrade::on(request), key))
}

/// Returns the port that is meant, if whoever asks may connect.
fn target(state: &mut State, call: &Call) -> Result<Target, Refusal> {
    let now = (state.now)();
    state.world.advance(now);
    let tracking = || format!("TrackingId:{}_G1, SystemTracker:lab, Timestamp:{now:.0}", random_uuid());
    let say = |status, text: &str| Refusal(status, format!("{text} {}", tracking()));
    if call.query("sb-hc-action") != Some("connect") {
        return Err(say(400, "The sb-hc-action must be connect."));
    }
    if call.query("sb-hc-id").is_none() {
        state.violations.push("a connection to the relay without an sb-hc-id".to_owned());
    }
    if call.query("sb-hc-token").is_some() {
        state.violations.push("the signature for the relay stands in an address".to_owned());
    }
    let path = call.path.strip_prefix(PREFIX).unwrap_or_default();
    let key = &state.identity.token_key;
    let signature = call.header("servicebusauthorization");
    let signature = signature.ok_or_else(|| say(401, "MissingToken: no authorization header is there."))?;
    Pass::check(signature, path, &state.base, key, now).map_err(|refused| match refused {
        Refused::Malformed => say(401, "MalformedToken: the token cannot be read."),
        Refused::Forged => say(401, "InvalidSignature: the token has an invalid signature."),
        Refused::Expired => say(401, "ExpiredToken: the token is expired."),
        Refused::Elsewhere => say(403, "Unauthorized: the token is not good for this path."),
    })?;
    if state.faults.expires_credentials(false) {
        return Err(say(401, "ExpiredToken: the token is expired."));
    }

    let world = &state.world;
    let endpoint = world.endpoints.iter().find(|it| Pass::path_of(world, &it.group, &it.machine) == path);
    let listening = endpoint.filter(|it| {
        it.listens <= now && arm::is_agent_connected(world, &state.faults, &it.group, &it.machine)
    });
    let Some(endpoint) = listening else {
        return Err(say(404, "Endpoint does not exist."));
    };

    // From here on it is the agent that speaks. How it refuses is inferred.
    let token = call.header("service-configuration-token").unwrap_or_default();
    let allowed = Pass::port_of(token, path, key, now)
        .filter(|port| endpoint.services.iter().any(|service| service.port == *port))
        .ok_or_else(|| say(403, "The service configuration token is not valid."))?;
    let wanted = call.header("microsoft-guestgateway-target").unwrap_or_default();
    let port = wanted.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port.filter(|port| *port == allowed) else {
        return Err(say(403, &format!("The connection to {wanted} is not allowed: the port is {allowed}.")));
    };
    if state.faults.ages_agent(&endpoint.machine) {
        return Err(say(403, &format!("The connection to {wanted} is not allowed.")));
    }
    let guest =
        state.guests.iter().find(|it| it.machine.eq_ignore_ascii_case(&endpoint.machine) && it.port == port);
    let (group, machine) = (endpoint.group.clone(), endpoint.machine.clone());
    Ok(Target { group, machine, port, at: guest.map(|guest| guest.at) })
}

/// Connects to what was named for the port, else to the machine's own SSH server.
async fn reach(target: &Target, site: &Arc<Site>) -> Result<Box<dyn Stream>, Refusal> {
    let Target { group, machine, port, at } = target;
    if let Some(at) = at {
        let connected = timeout(DIAL, TcpStream::connect(at)).await.ok().and_then(Result::ok);
        let stream = connected.ok_or_else(|| nothing_listens(*port))?;
        let _ = stream.set_nodelay(true);
        return Ok(Box::new(stream));
    }
    if *port != SSH || !site.state().world.serves_ssh(group, machine) {
        return Err(nothing_listens(*port));
    }
    let (here, there) = duplex(BETWEEN);
    let (site, group, machine) = (Arc::clone(site), group.clone(), machine.clone());
    tokio::spawn(async move { guest::serve(there, site, &group, &machine).await });
    Ok(Box::new(here))
}

fn nothing_listens(port: u16) -> Refusal {
    let text = format!(
        "connection to localhost:{port} failed: dial tcp [::1]:{port}: connect: connection refused. \
         TrackingId:{}_G1",
        random_uuid()
    );
    Refusal(503, text)
}

fn switching(key: &HeaderValue) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accepted) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    }
    response
}

/// The text of a refusal is its reason phrase, as the relay and the agent have it.
fn refused(Refusal(status, reason): Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    if let Ok(reason) = ReasonPhrase::try_from(reason.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    response
}

impl Relay {
    /// Carries bytes both ways until one side ends.
    fn carry(&self, upgrade: OnUpgrade, guest: Box<dyn Stream>, way: Way) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while open.try_join_next().is_some() {}
        open.spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                carry(upgraded, guest, &way).await;
            }
        });
    }

    /// Drops all connections at once.
    pub(crate) fn drop_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl Way {
    /// Returns whether a fault cuts the connection now.
    fn is_cut(&self, began: Instant, carried: &AtomicU64) -> bool {
        let faults = &mut self.site.state().faults;
        let is_far = faults.relay_carries(&self.machine).is_some_and(|after| match after {
            Carried::Bytes(count) => carried.load(Ordering::Relaxed) >= count,
            Carried::Seconds(count) => began.elapsed() >= Duration::from_secs(count.into()),
        });
        is_far && faults.cuts_relay(&self.machine)
    }

    /// Waits as long as so many bytes take on a slow line.
    async fn pace(&self, count: usize) {
        let pace = self.site.state().faults.relay_pace();
        if let Some(pace) = pace {
            sleep(Duration::from_micros(1_000_000 * count as u64 / pace)).await;
        }
    }

    /// Returns whether a fault has the connection outlive its credentials.
    fn is_over(&self) -> bool {
        self.site.state().faults.expires_credentials(true)
    }
}

async fn carry(upgraded: Upgraded, guest: Box<dyn Stream>, way: &Way) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut sender, mut received) = socket.split();
    let (mut said, mut heard) = split(guest);
    let began = Instant::now();
    let last = AtomicU64::new(0);
    let carried = AtomicU64::new(0);
    let alive = |count: usize| {
        last.store(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        carried.fetch_add(count as u64, Ordering::Relaxed);
    };
    let there = async {
        while let Some(Ok(message)) = received.next().await {
            alive(message.len());
            way.pace(message.len()).await;
            if way.is_cut(began, &carried) {
                return;
            }
            let written = match message {
                Message::Binary(bytes) => heard.write_all(&bytes).await,
                Message::Text(text) => heard.write_all(text.as_bytes()).await,
                Message::Close(_) => return,
                _ => Ok(()),
            };
            if written.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = vec![0; FRAME];
        while let Ok(count @ 1..) = said.read(&mut bytes).await {
            alive(count);
            way.pace(count).await;
            if way.is_cut(began, &carried) {
                return;
            }
            if sender.send(Message::binary(bytes[..count].to_vec())).await.is_err() {
                return;
            }
        }
        let reason = CloseFrame { code: CloseCode::Normal, reason: "the listener closed".into() };
        let _ = sender.send(Message::Close(Some(reason))).await;
    };
    let idle = async {
        loop {
            let silent = began.elapsed().saturating_sub(Duration::from_millis(last.load(Ordering::Relaxed)));
            match IDLE.checked_sub(silent).filter(|left| !left.is_zero()) {
                Some(left) => sleep(left).await,
                None => return,
            }
        }
    };
    let cut = async {
        while !way.is_cut(began, &carried) {
            sleep(LOOK).await;
        }
    };
    let over = async {
        while !way.is_over() {
            sleep(LOOK).await;
        }
    };
    let is_over = tokio::select! {
        () = there => false,
        () = back => false,
        () = idle => false,
        () = cut => false,
        () = over => true,
    };
    if is_over {
        let reason = CloseFrame { code: CloseCode::Policy, reason: "the token is expired".into() };
        let _ = sender.send(Message::Close(Some(reason))).await;
    }
}
