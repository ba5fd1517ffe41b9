//! Signing in as a person, and SSH certificates in place of tokens.

use std::process::Command;

use base64::{Engine, engine::general_purpose::URL_SAFE};
use reqwest::Method;
use russh::keys::{Algorithm, PrivateKey, ssh_key::LineEnding};
use serde_json::{Value, json};

use crate::support::{Site, group};

const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";
const ARM: &str = "scope=https%3A%2F%2Fmanagement.azure.com%2F.default+offline_access";
const LINUX: &str = "scope=https%3A%2F%2Fpas.windows.net%2FCheckMyAccess%2FLinux%2F.default";

impl Site {
    async fn begin(&self) -> Value {
        let url = format!("{}/organizations/oauth2/v2.0/devicecode", self.about.url);
        let request = self.client.post(url).header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("client_id={CLIENT}&{ARM}")).send().await.expect("an answer");
        answer.json().await.expect("json")
    }

    async fn redeem(&self, begun: &Value) -> Value {
        let code = begun["device_code"].as_str().expect("a code");
        let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
        self.ask_token(&format!("{grant}&client_id={CLIENT}&device_code={code}")).await.body
    }

    async fn refresh(&self, token: &Value, more: &str) -> Value {
        let token = token.as_str().expect("a token");
        let form = format!("grant_type=refresh_token&client_id={CLIENT}&refresh_token={token}&{more}");
        self.ask_token(&form).await.body
    }
}

#[tokio::test]
async fn a_person_confirms_a_code_and_stays_signed_in() {
    let mut site = Site::new().await;
    let begun = site.begin().await;
    assert_eq!(site.redeem(&begun).await["error"], "slow_down");
    site.clock.step(11);
    assert_eq!(site.redeem(&begun).await["error"], "authorization_pending");
    let page = begun["verification_uri"].as_str().expect("a page");
    for (code, said) in
        [("NONE", "no such code"), (begun["user_code"].as_str().expect("a code"), "signed in")]
    {
        let request = site.client.post(page).header("content-type", "application/x-www-form-urlencoded");
        let shown = request.body(format!("otc={code}")).send().await.expect("an answer").text().await;
        assert!(shown.as_ref().is_ok_and(|shown| shown.contains(said)), "{shown:?}");
    }
    site.clock.step(11);
    let tokens = site.redeem(&begun).await;
    assert_eq!(tokens["token_type"], "Bearer", "{tokens}");
    site.clock.step(11);
    assert_eq!(site.redeem(&begun).await["error"], "bad_verification_code", "good once");
    site.token = tokens["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(site.send(Method::GET, &group("rg-edge"), None).await.status, 200);

    let next = site.refresh(&tokens["refresh_token"], ARM).await;
    assert_eq!(next["token_type"], "Bearer", "{next}");
    assert_eq!(site.refresh(&tokens["refresh_token"], ARM).await["error"], "invalid_grant", "good once");
    assert_eq!(site.refresh(&next["refresh_token"], ARM).await["token_type"], "Bearer");

    let late = site.begin().await;
    site.clock.step(901);
    assert_eq!(site.redeem(&late).await["error"], "expired_token");
}

/// A new RSA key, and how it stands in a request for a certificate.
fn key() -> (PrivateKey, String) {
    let key = PrivateKey::random(&mut rand_core(), Algorithm::Rsa { hash: None }).expect("a key");
    let public = key.public_key().key_data().rsa().expect("an RSA key").clone();
    let part = |bytes: &[u8]| URL_SAFE.encode(bytes);
    let claims =
        json!({"kty": "RSA", "n": part(public.n().as_bytes()), "e": part(public.e().as_bytes()), "kid": "k"});
    let escaped: String = claims.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    (key, escaped)
}

fn rand_core() -> impl russh::keys::ssh_key::rand_core::CryptoRng {
    russh::keys::key::safe_rng()
}

#[tokio::test]
async fn certificates_are_such_as_openssh_reads() {
    let site = Site::new().await;
    let (key, claims) = key();
    let more = format!("&token_type=ssh-cert&req_cnf={claims}&key_id=k&client_info=1");
    let begun = site.begin().await;
    assert_eq!(site.lab.confirm_devices(), 1);
    site.clock.step(6);
    let tokens = site.redeem(&begun).await;
    let signed = site.refresh(&tokens["refresh_token"], &format!("{LINUX}{more}")).await;
    assert_eq!(
        (&signed["token_type"], &signed["expires_in"]),
        (&json!("ssh-cert"), &json!(3599)),
        "{signed}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("id-cert.pub");
    let blob = signed["access_token"].as_str().expect("a certificate");
    assert!(blob.starts_with("AAAA"), "{blob}");
    std::fs::write(&path, format!("ssh-rsa-cert-v01@openssh.com {blob}\n")).expect("a file");
    let id = folder.path().join("id");
    key.write_openssh_file(&id, LineEnding::LF).expect("a file");
    let authority = site.lab.ssh_authority().expect("a key");
    std::fs::write(folder.path().join("ca.pub"), format!("{authority}\n")).expect("a file");
    if let Ok(shown) = Command::new("ssh-keygen").arg("-L").arg("-f").arg(&path).output() {
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let fingerprint = key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
        for part in [
            "ssh-rsa-cert-v01@openssh.com user certificate",
            "operator@lab.example",
            "permit-pty",
            "oid@sshservice.azure.net",
            "using rsa-sha2-256",
            &site.about.tenant,
            &fingerprint,
        ] {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
    }

    let program = format!("{}&token_type=ssh-cert&req_cnf={claims}", site.token_form());
    assert_eq!(site.ask_token(&program).await.body["error"], "invalid_scope");
    let linux = LINUX.trim_start_matches("scope=");
    let program = program.replace("https%3A%2F%2Fmanagement.azure.com%2F.default", linux);
    assert_eq!(site.ask_token(&program).await.body["token_type"], "ssh-cert");
    let short = program.split("&req_cnf=").next().unwrap_or_default();
    assert_eq!(site.ask_token(short).await.status, 400);
    let ec = format!("{short}&req_cnf=%7B%22kty%22%3A%22EC%22%7D");
    assert_eq!(site.ask_token(&ec).await.body["error"], "invalid_request");
}
