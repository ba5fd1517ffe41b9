//! Tokens and how they are asked for.

use relight_lab::LabConfig;
use reqwest::Method;
use serde_json::json;

use crate::support::{Clock, RESOURCES, Site, group};

#[tokio::test]
async fn discovery_leads_to_the_token_endpoint() {
    let site = Site::new().await;
    let base = &site.about.url;
    for tenant in [site.about.tenant.as_str(), "common", "organizations"] {
        let found =
            site.client.get(format!("{base}/{tenant}/v2.0/.well-known/openid-configuration")).send().await;
        let found: serde_json::Value = found.expect("an answer").json().await.expect("json");
        assert_eq!(found["token_endpoint"], format!("{base}/{tenant}/oauth2/v2.0/token"));
    }
    let cloud = site.client.get(format!("{base}/metadata/endpoints?api-version=2022-09-01")).send().await;
    let cloud: serde_json::Value = cloud.expect("an answer").json().await.expect("json");
    assert_eq!(cloud["resourceManager"], *base);
    assert_eq!(cloud["authentication"]["loginEndpoint"], *base);
    let instance =
        site.client.get(format!("{base}/common/discovery/instance")).send().await.expect("an answer");
    assert_eq!(instance.status(), 200);
}

#[tokio::test]
async fn wrong_credentials_are_refused_in_entras_words() {
    let site = Site::new().await;
    let good = site.token_form();
    for (bad, status, error, number) in [
        (good.replace("client_secret=", "client_secret=x"), 401, "invalid_client", 7000215),
        (good.replace("client_id=", "client_id=x"), 400, "unauthorized_client", 700016),
        (good.replace("client_credentials", "password"), 400, "unsupported_grant_type", 70003),
        (good.replace("management.azure.com", "graph.microsoft.com"), 400, "invalid_resource", 500011),
        (good.replace("&scope=", "&nothing="), 400, "invalid_request", 900144),
    ] {
        let answer = site.ask_token(&bad).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)));
        assert_eq!(answer.body["error_codes"], json!([number]));
        let description = answer.body["error_description"].as_str().unwrap_or_default();
        assert!(description.starts_with(&format!("AADSTS{number}: ")), "{description}");
    }
}

#[tokio::test]
async fn tokens_look_like_jwts_and_end_after_an_hour() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut site = Site::new().await;
    let parts: Vec<&str> = site.token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let claims: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url")).expect("json");
    assert_eq!((&claims["tid"], &claims["appid"]), (&json!(site.about.tenant), &json!(site.about.client_id)));
    assert_eq!(claims["exp"].as_i64(), Some(site.clock.now().as_second() + 3600));

    site.clock.step(3599);
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);
    site.clock.step(1);
    let expired = site.get(&group("rg-edge")).await;
    assert!(expired.is(401, "ExpiredAuthenticationToken"));
    let header = expired.header("www-authenticate").unwrap_or_default();
    assert!(
        header.contains("error=\"invalid_token\", error_description=\"The access token has expired.\""),
        "{header}"
    );
    assert!(expired.message().contains("'11/20/2026 9:00:00 AM' is earlier than"), "{}", expired.message());
    site.sign_in().await;
    assert_eq!(site.get(&group("rg-edge")).await.status, 200);
}

#[tokio::test]
async fn arm_wants_a_token_of_this_lab() {
    let mut site = Site::new().await;
    let url = format!("{}/subscriptions?api-version={RESOURCES}", site.about.url);
    let bare = site.client.get(url).send().await.expect("an answer");
    assert_eq!(bare.status(), 401);
    assert!(bare.headers().contains_key("www-authenticate"));
    site.token = format!("{}x", site.token);
    let forged = site.send(Method::PUT, &group("x"), Some(json!({"location": "eastus"}))).await;
    assert!(forged.is(401, "InvalidAuthenticationToken"));
    let ledger = site.lab.ledger();
    assert_eq!((ledger.len(), ledger[0].status, ledger[0].effect), (1, 401, false));
}

#[tokio::test]
async fn a_bearer_sent_to_the_login_side_is_a_violation() {
    let site = Site::new().await;
    let url = format!("{}/common/discovery/instance", site.about.url);
    site.client.get(url).bearer_auth(&site.token).send().await.expect("an answer");
    assert!(site.lab.violations()[0].contains("bearer token was sent to /common/discovery/instance"));
}

#[tokio::test]
async fn asking_for_a_token_each_time_is_a_violation() {
    let mut site = Site::new().await;
    for _ in 0..19 {
        site.sign_in().await;
    }
    assert_eq!(site.lab.violations(), [""; 0]);
    site.sign_in().await;
    assert!(site.lab.violations()[0].starts_with("21 token requests"));
}

#[tokio::test]
async fn a_token_is_good_for_as_many_seconds_of_the_wall_clock_as_it_says() {
    let clock = Clock::new();
    let mut config = LabConfig::new(clock.as_now());
    config.speed = 60;
    let site = Site::start(config, clock).await;
    let answer = site.ask_token(&site.token_form()).await;
    assert_eq!(answer.body["expires_in"], 3600);
    site.clock.step(59 * 60 * 60);
    assert_eq!(site.get(&group("rg-edge")).await.status, 200, "59 minutes of the wall clock");
    site.clock.step(2 * 60 * 60);
    assert!(site.get(&group("rg-edge")).await.is(401, "ExpiredAuthenticationToken"));
}

#[tokio::test]
async fn who_measures_by_the_labs_clock_may_renew_as_often_as_that_says() {
    let clock = Clock::new();
    let mut config = LabConfig::new(clock.as_now());
    config.speed = 60;
    let mut site = Site::start(config, clock).await;
    for _ in 0..30 {
        site.sign_in().await;
        site.clock.step(3600);
    }
    assert_eq!(site.lab.violations(), Vec::<String>::new());
}
