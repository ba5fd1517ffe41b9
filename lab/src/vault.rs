//! Key vaults: what they give out, and to whom. Each has a host of its own, `{vault}.vault.localhost`, on the lab's port.
//!
//! Inferred, from Microsoft's documentation and not from recordings: the words of the refusals.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    http::{Call, Reply},
    machine::GUEST_PASSWORD,
    seed::Seed,
    state::State,
    token::VAULTS,
};

/// What follows a vault's name.
const SUFFIX: &str = ".vault.localhost";
/// The versions that are known to be offered.
const API_VERSIONS: [&str; 5] = ["7.2", "7.3", "7.4", "7.5", "7.6"];

/// What a lab has.
const SECRETS: [Stored; 3] = [
    Stored { vault: "kv-edge", name: "app-password", value: GUEST_PASSWORD, is_enabled: true },
    Stored { vault: "kv-edge", name: "retired-password", value: "long gone", is_enabled: false },
    // Somebody else's: the lab's people and programs have no right to read it.
    Stored { vault: "kv-payroll", name: "app-password", value: "not for you", is_enabled: true },
];

struct Stored {
    vault: &'static str,
    name: &'static str,
    value: &'static str,
    is_enabled: bool,
}

/// Returns what follows a vault's name in its address, for a lab at `base`.
pub(crate) fn dns(base: &str) -> String {
    let port = base.rsplit(':').next().unwrap_or_default();
    format!("{}:{port}", &SUFFIX[1..])
}

/// Returns the vault that a request is for.
pub(crate) fn of(call: &Call) -> Option<&str> {
    let host = call.header("host")?;
    host.split(':').next().unwrap_or_default().strip_suffix(SUFFIX)
}

/// Answers a request to a vault.
pub(crate) fn answer(state: &State, call: &Call, vault: &str, now: Timestamp) -> Reply {
    if !state.holds_token_for(call, VAULTS, now) {
        let challenge =
            format!("Bearer authorization=\"{}/{}\", resource=\"{VAULTS}\"", state.base, state.world.tenant);
        let message = "AKV10000: Request is missing a Bearer or PoP token.";
        return refused(401, "Unauthorized", message, None).with("WWW-Authenticate", challenge);
    }
    let version = call.query("api-version").unwrap_or_default();
    if !API_VERSIONS.contains(&version) {
        return refused(
            400,
            "BadParameter",
            &format!("The specified version ({version}) is not recognized."),
            None,
        );
    }
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (name, wanted) = match segments.as_slice() {
        ["secrets", name] if call.method == "GET" => (*name, None),
        ["secrets", name, version] if call.method == "GET" => (*name, Some(*version)),
        _ => return refused(405, "MethodNotAllowed", "Nothing but reading secrets is offered here.", None),
    };
    if !vault.eq_ignore_ascii_case(SECRETS[0].vault) {
        let message = format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role \
             definitions were changed recently, please observe propagation time.\r\nAction: \
             'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\nResource: '/vaults/{vault}/secrets/{name}'"
        );
        return refused(403, "Forbidden", &message, Some("ForbiddenByRbac"));
    }
    let found =
        SECRETS.iter().find(|it| it.vault.eq_ignore_ascii_case(vault) && it.name.eq_ignore_ascii_case(name));
    let current = found.map(|it| version_of(state.world.seed(), it));
    match found.zip(current) {
        Some((_, current)) if wanted.is_some_and(|wanted| wanted != current) => absent(name),
        Some((stored, _)) if !stored.is_enabled => {
            let message = "Operation get is not allowed on a disabled secret.";
            refused(403, "Forbidden", message, Some("SecretDisabled"))
        }
        Some((stored, current)) => Reply::json(
            200,
            json!({
                "value": stored.value,
                "id": format!("https://{vault}{SUFFIX}/secrets/{}/{current}", stored.name),
                "attributes": {
                    "enabled": true,
                    "created": 1_700_000_000,
                    "updated": 1_700_000_000,
                    "recoveryLevel": "Recoverable+Purgeable",
                    "recoverableDays": 90,
                },
                "tags": {},
            }),
        ),
        None => absent(name),
    }
}

fn version_of(seed: Seed, stored: &Stored) -> String {
    seed.uuid(&format!("{} {}", stored.vault, stored.name)).replace('-', "")
}

fn absent(name: &str) -> Reply {
    let message = format!(
        "A secret with (name/id) {name} was not found in this key vault. If you recently deleted this secret you may be \
         able to recover it using the correct recovery command."
    );
    refused(404, "SecretNotFound", &message, None)
}

fn refused(status: u16, code: &str, message: &str, inner: Option<&str>) -> Reply {
    let inner = inner.map_or(Value::Null, |code| json!({ "code": code }));
    Reply::json(status, json!({ "error": { "code": code, "message": message, "innererror": inner } }))
}
