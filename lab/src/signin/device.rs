//! Signing in with a device code: a program shows a code, a person confirms it on a page, and the program asks until then.
//!
//! ```text
//! devicecode ─► pending ─► confirmed ─► tokens, once
//!                  └─────► declined, or expired after a quarter of an hour
//! ```

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Refusal;
use crate::{http::Reply, seed::random_uuid};

/// How long a person has, in seconds.
const LIFE: i64 = 900;
/// How long a program waits between two questions, in seconds.
const PACE: i64 = 5;

/// The sign-ins that are under way. They end with the lab.
#[derive(Debug, Default)]
pub(crate) struct Devices(Vec<Device>);

#[derive(Debug)]
struct Device {
    code: String,
    shown: String,
    client: String,
    scope: String,
    expires: Timestamp,
    pace: i64,
    next: Timestamp,
    is_confirmed: bool,
}

impl Devices {
    /// Begins a sign-in and returns what the program shows. The time of the lab passes faster than the program's.
    pub(crate) fn begin(
        &mut self,
        client: &str,
        scope: &str,
        base: &str,
        speed: i64,
        confirms: bool,
        now: Timestamp,
    ) -> Value {
        let device = Device {
            code: format!("lab-{}", random_uuid()),
            shown: random_uuid().replace('-', "").to_uppercase().chars().take(9).collect(),
            client: client.to_owned(),
            scope: scope.to_owned(),
            expires: now + SignedDuration::from_secs(LIFE.saturating_mul(speed)),
            pace: PACE,
            next: now + SignedDuration::from_secs(PACE),
            is_confirmed: confirms,
        };
        let page = format!("{base}/devicelogin");
        let shown = json!({
            "user_code": device.shown,
            "device_code": device.code,
            "verification_uri": page,
            "expires_in": LIFE,
            "interval": PACE,
            "message": format!(
                "To sign in, use a web browser to open the page {page} and enter the code {} to authenticate.",
                device.shown
            ),
        });
        self.0.push(device);
        shown
    }

    /// Says that the person agrees. Returns whether there is such a code.
    pub(crate) fn confirm(&mut self, shown: &str, now: Timestamp) -> bool {
        let mut waiting = self.0.iter_mut().filter(|device| device.expires > now);
        let found = waiting.find(|device| device.shown.eq_ignore_ascii_case(shown.trim()));
        found.map(|device| device.is_confirmed = true).is_some()
    }

    /// Says that the person agrees to everything that is asked. Returns how much that is.
    pub(crate) fn confirm_all(&mut self) -> usize {
        self.0.iter_mut().for_each(|device| device.is_confirmed = true);
        self.0.len()
    }

    /// Answers a program that asks whether the person has agreed. Returns the scope that was asked for.
    pub(crate) fn redeem(&mut self, code: &str, client: &str, now: Timestamp) -> Result<String, Refusal> {
        let refused = |error, number, text: &str| Err(Refusal::new(400, error, number, text));
        let Some(at) = self.0.iter().position(|device| device.code == code && device.client == client) else {
            return refused("bad_verification_code", 70_000, "The provided device code is not valid.");
        };
        let device = &mut self.0[at];
        if device.expires <= now {
            return refused(
                "expired_token",
                70_020,
                "The provided value for the input parameter 'device_code' is not valid. It has expired.",
            );
        }
        if now < device.next {
            // As RFC 8628 has it: from now on a little slower.
            device.pace += PACE;
            device.next = now + SignedDuration::from_secs(device.pace);
            return refused("slow_down", 70_016, "The client asks too often.");
        }
        device.next = now + SignedDuration::from_secs(device.pace);
        if !device.is_confirmed {
            let text = "OAuth 2.0 device flow error. Authorization is pending. Continue polling.";
            return refused("authorization_pending", 70_016, text);
        }
        Ok(self.0.remove(at).scope)
    }
}

/// The page on which the person enters the code.
pub(crate) fn page(said: &str) -> Reply {
    let body = format!(
        "<!doctype html><title>Relight lab</title><h1>Sign in to the lab</h1><p>{said}</p>\
         <form method=post><input name=otc autofocus placeholder=Code><button>Confirm</button></form>"
    );
    Reply::raw(200, "text/html; charset=utf-8", body)
}
