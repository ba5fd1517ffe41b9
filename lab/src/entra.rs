//! Entra ID as far as a confidential client needs it: discovery and the client credentials grant.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    http::{Call, Reply, parse_form},
    seed::random_uuid,
    state::State,
    token::{LIFETIME, Subject},
};

/// Answers everything that is not ARM.
pub(crate) fn answer(state: &mut State, call: &Call, segments: &[String], now: Timestamp) -> Reply {
    if call.header("authorization").is_some_and(|value| value.to_ascii_lowercase().starts_with("bearer ")) {
        state.violations.push(format!("a bearer token was sent to {}, which is not ARM", call.path));
    }
    let lower: Vec<String> = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match (call.method.as_str(), lower.as_slice()) {
        ("GET", ["metadata", "endpoints"]) => metadata(state),
        ("GET", ["common", "discovery", "instance"]) => instances(state),
        ("GET", [tenant, "v2.0", ".well-known", "openid-configuration"]) => discovery(state, tenant),
        ("GET", [tenant, ".well-known", "openid-configuration"]) => discovery(state, tenant),
        ("POST", [tenant, "oauth2", "v2.0", "token"]) => {
            state.note_token_request(now);
            token(state, call, tenant, now).unwrap_or_else(|refusal| refusal.into_reply(now))
        }
        _ => Reply::json(404, json!({"error": {"code": "NotFound", "message": "Nothing is served here."}})),
    }
}

/// What `az cloud register` and other tools read about a cloud: one object, not a list.
fn metadata(state: &State) -> Reply {
    let base = &state.base;
    let suffixes = json!({
        "storage": "core.lab.invalid",
        "keyVaultDns": "vault.lab.invalid",
        "acrLoginServer": "azurecr.lab.invalid",
        "sqlServerHostname": "database.lab.invalid",
    });
    Reply::json(
        200,
        json!({
            "name": "RelightLab",
            "portal": base,
            "authentication": {
                "loginEndpoint": base,
                "audiences": [base],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "resourceManager": base,
            "graph": base,
            "graphAudience": base,
            "microsoftGraphResourceId": base,
            "activeDirectoryDataLake": base,
            "batch": base,
            "media": base,
            "sqlManagement": base,
            "gallery": base,
            "vmImageAliasDoc": base,
            "suffixes": suffixes,
        }),
    )
}

fn instances(state: &State) -> Reply {
    let host = state.base.trim_start_matches("https://");
    let endpoint = format!("{}/common/v2.0/.well-known/openid-configuration", state.base);
    let metadata = json!([{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]);
    Reply::json(
        200,
        json!({"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": metadata}),
    )
}

fn discovery(state: &State, tenant: &str) -> Reply {
    let is_general = matches!(tenant, "common" | "organizations");
    if !is_general && !state.world.tenant.eq_ignore_ascii_case(tenant) {
        return Refusal::tenant(tenant).into_reply((state.now)());
    }
    let base = &state.base;
    let issuer = if is_general { "{tenantid}" } else { tenant };
    Reply::json(
        200,
        json!({
            "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
            "response_types_supported": ["code"],
            "scopes_supported": ["openid"],
            "issuer": format!("{base}/{issuer}/v2.0"),
            "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
            "cloud_instance_name": base.trim_start_matches("https://"),
        }),
    )
}

/// An error as Entra words it.
struct Refusal {
    status: u16,
    error: &'static str,
    number: u32,
    text: String,
}

impl Refusal {
    fn new(status: u16, error: &'static str, number: u32, text: impl Into<String>) -> Self {
        Self { status, error, number, text: text.into() }
    }

    fn tenant(tenant: &str) -> Self {
        let text = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
        Self::new(400, "invalid_request", 90002, text)
    }

    fn into_reply(self, now: Timestamp) -> Reply {
        let (trace, correlation) = (random_uuid(), random_uuid());
        let stamp = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {stamp}",
            self.number, self.text
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
        });
        Reply::json(self.status, body)
    }
}

fn token(state: &State, call: &Call, tenant: &str, now: Timestamp) -> Result<Reply, Refusal> {
    let world = &state.world;
    if !world.tenant.eq_ignore_ascii_case(tenant) {
        return Err(Refusal::tenant(tenant));
    }
    let form = parse_form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let required = |name: &str| {
        field(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refusal::new(400, "invalid_request", 900144, text)
        })
    };
    let grant = required("grant_type")?;
    if grant != "client_credentials" {
        let text = format!("The app requested an unsupported grant type '{grant}'.");
        return Err(Refusal::new(400, "unsupported_grant_type", 70003, text));
    }
    let client = required("client_id")?;
    if !client.eq_ignore_ascii_case(&world.client_id) {
        let text =
            format!("Application with identifier '{client}' was not found in the directory 'Relight lab'.");
        return Err(Refusal::new(400, "unauthorized_client", 700016, text));
    }
    if required("client_secret")? != world.client_secret {
        let text = format!("Invalid client secret provided for app '{client}'.");
        return Err(Refusal::new(401, "invalid_client", 7000215, text));
    }
    let scope = required("scope")?;
    let audience = audience(scope, &state.base)?;

    let issuer = format!("https://sts.windows.net/{}/", world.tenant);
    let token = state.identity.token_key.issue(
        &Subject {
            tenant: &world.tenant,
            object_id: &world.object_id,
            client_id: &world.client_id,
            audience: &audience,
            issuer: &issuer,
            answers_challenge: field("claims").is_some_and(answers_challenge),
            life: state.token_life,
        },
        now,
    );
    let body = json!({
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "ext_expires_in": LIFETIME,
        "access_token": token,
    });
    Ok(Reply::json(200, body).with("Cache-Control", "no-store, no-cache").with("Pragma", "no-cache"))
}

/// Returns the audience of a scope: the lab itself or the public ARM, whose name clients may use for any cloud.
fn audience(scope: &str, base: &str) -> Result<String, Refusal> {
    let Some(resource) = scope.split(' ').find_map(|scope| scope.strip_suffix("/.default")) else {
        let text = format!("The provided value for scope {scope} is not valid. It must end in '/.default'.");
        return Err(Refusal::new(400, "invalid_scope", 1002012, text));
    };
    // A trailing slash belongs to the audience, which is why such scopes have two.
    let plain = resource.trim_end_matches('/');
    let known = [base, "https://management.azure.com", "https://management.core.windows.net"];
    if known.contains(&plain) {
        return Ok(resource.to_owned());
    }
    let text =
        format!("The resource principal named {resource} was not found in the tenant named Relight lab.");
    Err(Refusal::new(400, "invalid_resource", 500011, text))
}

fn answers_challenge(claims: &str) -> bool {
    serde_json::from_str::<Value>(claims)
        .is_ok_and(|claims| claims["access_token"]["nbf"]["value"].is_string())
}
