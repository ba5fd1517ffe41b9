//! Entra ID: discovery, and the grants for a program with a secret and for a person with a device code. In place of a token
//! an SSH certificate can be asked for.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    http::{Call, Reply, parse_form},
    seed::random_uuid,
    signin::{Refusal, certificate, device},
    state::State,
    token::{LIFETIME, Subject, VAULTS},
    vault,
};

/// The name of the person who confirms device codes.
const OPERATOR: &str = "operator@lab.example";

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
        ("GET" | "POST", ["devicelogin"]) => device_page(state, call, now),
        ("POST", [tenant, "oauth2", "v2.0", "devicecode"]) => {
            begin_device(state, call, tenant, now).unwrap_or_else(|refusal| refusal.into_reply(now))
        }
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
        "keyVaultDns": vault::dns(base),
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

/// Who signs in.
struct Person {
    client: String,
    object_id: String,
    /// The name that people use; programs have none.
    principal: Option<String>,
}

fn token(state: &mut State, call: &Call, tenant: &str, now: Timestamp) -> Result<Reply, Refusal> {
    let form = parse_form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let required = |name: &str| {
        field(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refusal::new(400, "invalid_request", 900_144, text)
        })
    };
    let grant = required("grant_type")?;
    check_tenant(state, tenant, grant == "client_credentials")?;
    let client = required("client_id")?;
    let (person, scope) = match grant {
        "client_credentials" => {
            if !client.eq_ignore_ascii_case(&state.world.client_id) {
                return Err(no_such_client(client));
            }
            if required("client_secret")? != state.world.client_secret {
                let text = format!("Invalid client secret provided for app '{client}'.");
                return Err(Refusal::new(401, "invalid_client", 7_000_215, text));
            }
            let object_id = state.world.object_id.clone();
            (Person { client: client.to_owned(), object_id, principal: None }, required("scope")?.to_owned())
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            let scope = state.devices.redeem(required("device_code")?, client, now)?;
            (operator(state, client), scope)
        }
        "refresh_token" => {
            let token = required("refresh_token")?;
            let claims = state.identity.token_key.open(token).filter(|claims| {
                claims["use"] == "refresh"
                    && claims["client"] == client
                    && claims["exp"].as_i64() > Some(now.as_second())
            });
            let id = claims.as_ref().and_then(|claims| claims["uti"].as_str()).unwrap_or_default().to_owned();
            if id.is_empty() || !state.spent_tokens.insert(id) {
                let text = "The refresh token has expired, was used already, or is malformed.";
                return Err(Refusal::new(400, "invalid_grant", 70_008, text));
            }
            let before = claims.and_then(|claims| Some(claims["scope"].as_str()?.to_owned()));
            let scope = field("scope").map(str::to_owned).or(before).unwrap_or_default();
            (operator(state, client), scope)
        }
        grant => {
            let text = format!("The app requested an unsupported grant type '{grant}'.");
            return Err(Refusal::new(400, "unsupported_grant_type", 70_003, text));
        }
    };
    if field("claims").is_some_and(|claims| serde_json::from_str::<Value>(claims).is_err()) {
        return Err(Refusal::new(400, "invalid_request", 9_000_411, "The parameter 'claims' is not JSON."));
    }
    let mut body = if field("token_type") == Some("ssh-cert") {
        certificate(state, &person, &scope, required("req_cnf")?, now)?
    } else {
        let answers = field("claims").is_some_and(answers_challenge);
        bearer(state, &person, &scope, answers, now)?
    };
    body["scope"] = json!(scope);
    let asks_for = |what: &str| scope.split(' ').any(|one| one == what);
    if let Some(name) = person.principal.as_deref().filter(|_| asks_for("openid")) {
        body["id_token"] = json!(state.identity.token_key.seal(&json!({
            "aud": person.client,
            "iss": format!("{}/{}/v2.0", state.base, state.world.tenant),
            "exp": now.as_second() + LIFETIME,
            "tid": state.world.tenant,
            "oid": person.object_id,
            "preferred_username": name,
            "ver": "2.0",
        })));
    }
    // Whoever comes with a refresh token was given one before, and gets the next.
    let stays = asks_for("offline_access") || field("grant_type") == Some("refresh_token");
    if person.principal.is_some() && stays {
        body["refresh_token"] = json!(state.identity.token_key.seal(&json!({
            "use": "refresh",
            "client": person.client,
            "scope": scope,
            "uti": random_uuid(),
            "exp": now.as_second() + REFRESH,
        })));
    }
    Ok(Reply::json(200, body).with("Cache-Control", "no-store, no-cache").with("Pragma", "no-cache"))
}

/// How long a refresh token is good, in seconds: ninety days.
const REFRESH: i64 = 90 * 86_400;

/// The client that Azure's command line and others are for people.
const PUBLIC_CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

fn no_such_client(client: &str) -> Refusal {
    let text =
        format!("Application with identifier '{client}' was not found in the directory 'Relight lab'.");
    Refusal::new(400, "unauthorized_client", 700_016, text)
}

/// Checks the tenant. Programs must name theirs, people need not.
fn check_tenant(state: &State, tenant: &str, is_program: bool) -> Result<(), Refusal> {
    let is_general = matches!(tenant, "common" | "organizations") && !is_program;
    if is_general || state.world.tenant.eq_ignore_ascii_case(tenant) {
        return Ok(());
    }
    Err(Refusal::tenant(tenant))
}

/// The one person of the lab.
fn operator(state: &State, client: &str) -> Person {
    let object_id = state.world.seed().uuid("operator");
    Person { client: client.to_owned(), object_id, principal: Some(OPERATOR.to_owned()) }
}

/// Begins a sign-in with a device code.
fn begin_device(state: &mut State, call: &Call, tenant: &str, now: Timestamp) -> Result<Reply, Refusal> {
    check_tenant(state, tenant, false)?;
    let form = parse_form(&String::from_utf8_lossy(&call.body));
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let client = field("client_id");
    if !client.eq_ignore_ascii_case(PUBLIC_CLIENT) {
        return Err(no_such_client(client));
    }
    audience(field("scope"), &state.base)?;
    let speed = state.token_life / LIFETIME;
    let confirms = state.confirms_devices;
    let shown = state.devices.begin(client, field("scope"), &state.base, speed, confirms, now);
    Ok(Reply::json(200, shown))
}

/// The page for the person: a code that is entered there is confirmed.
fn device_page(state: &mut State, call: &Call, now: Timestamp) -> Reply {
    let form = parse_form(&String::from_utf8_lossy(&call.body));
    let code = form.iter().find(|(key, _)| key == "otc").map(|(_, value)| value.as_str());
    device::page(match code {
        None => "Enter the code that the program shows.",
        Some(code) if state.devices.confirm(code, now) => "You are signed in. You may close this page.",
        Some(_) => "There is no such code, or it is too old.",
    })
}

fn bearer(
    state: &State,
    person: &Person,
    scope: &str,
    answers: bool,
    now: Timestamp,
) -> Result<Value, Refusal> {
    let world = &state.world;
    let audience = audience(scope, &state.base)?;
    let issuer = format!("https://sts.windows.net/{}/", world.tenant);
    let token = state.identity.token_key.issue(
        &Subject {
            tenant: &world.tenant,
            object_id: &person.object_id,
            client_id: &person.client,
            principal: person.principal.as_deref(),
            audience: &audience,
            issuer: &issuer,
            answers_challenge: answers,
            life: state.token_life,
        },
        now,
    );
    Ok(json!({
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "ext_expires_in": LIFETIME,
        "access_token": token,
    }))
}

/// Answers with an SSH certificate instead of a token.
fn certificate(
    state: &State,
    person: &Person,
    scope: &str,
    key: &str,
    now: Timestamp,
) -> Result<Value, Refusal> {
    if !scope.split(' ').any(|one| certificate::SCOPES.contains(&one)) {
        let text = format!("The scope {scope} is not one for which SSH certificates are issued.");
        return Err(Refusal::new(400, "invalid_scope", 70_011, text));
    }
    let key = certificate::confirmed_key(key)?;
    let name = person.principal.as_deref().unwrap_or(&person.object_id);
    let bearer = certificate::Bearer {
        object_id: &person.object_id,
        tenant: &state.world.tenant,
        name,
        principal: name,
    };
    let signed = state.authority.sign(state.world.seed(), key, &bearer, now);
    let line = signed.and_then(|signed| signed.to_openssh().ok());
    let blob = line.as_deref().and_then(|line| line.split(' ').nth(1)).map(str::to_owned);
    let blob = blob
        .ok_or_else(|| Refusal::new(500, "server_error", 50_000, "The certificate could not be signed."))?;
    let expires = LIFETIME - 1;
    Ok(
        json!({"token_type": "ssh-cert", "expires_in": expires, "ext_expires_in": expires, "access_token": blob}),
    )
}

/// Returns the audience of a scope: the lab itself or the public ARM, whose name clients may use for any cloud.
fn audience(scope: &str, base: &str) -> Result<String, Refusal> {
    let Some(resource) = scope.split(' ').find_map(|scope| scope.strip_suffix("/.default")) else {
        let text = format!("The provided value for scope {scope} is not valid. It must end in '/.default'.");
        return Err(Refusal::new(400, "invalid_scope", 1002012, text));
    };
    // A trailing slash belongs to the audience, which is why such scopes have two.
    let plain = resource.trim_end_matches('/');
    let known = [base, "https://management.azure.com", "https://management.core.windows.net", VAULTS];
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
