//! A lab, a stepped clock and a client that trusts it.

use std::{
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use relight_lab::{Descriptor, Lab, LabConfig, Now};
use reqwest::{Client, Method, header::HeaderMap};
use serde_json::{Value, json};

/// The api-versions that the tests use unless they are about api-versions.
pub(crate) const CLUSTER: &str = "2026-04-30";
pub(crate) const JOBS: &str = "2026-10-15-preview";
pub(crate) const INSTANCE: &str = "2026-04-01-preview";
pub(crate) const MACHINE: &str = "2026-07-15";
pub(crate) const RESOURCES: &str = "2022-09-01";

/// A clock that moves only when told.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Mutex<Timestamp>>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new("2026-11-20T08:00:00Z".parse().expect("a time"))))
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.0.lock().expect("clock")
    }

    pub(crate) fn step(&self, seconds: i64) {
        *self.0.lock().expect("clock") += SignedDuration::from_secs(seconds);
    }

    pub(crate) fn as_now(&self) -> Now {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// A lab and someone who works with it.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) clock: Clock,
    pub(crate) about: Descriptor,
    pub(crate) client: Client,
    pub(crate) token: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    pub(crate) fn is(&self, status: u16, code: &str) -> bool {
        (self.status, self.code()) == (status, code)
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(faults: &[&str]) -> Self {
        let clock = Clock::new();
        let mut config = LabConfig::new(clock.as_now());
        config.faults = faults.iter().map(|fault| fault.parse().expect("a fault")).collect();
        Self::start(config, clock).await
    }

    pub(crate) async fn start(config: LabConfig, clock: Clock) -> Self {
        let lab = Lab::start(config).await.expect("a lab");
        let about = lab.descriptor();
        let client = client(&about);
        let mut site = Self { lab, clock, about, client, token: String::new() };
        site.sign_in().await;
        site
    }

    /// Gets a new token.
    pub(crate) async fn sign_in(&mut self) {
        let answer = self.ask_token(&self.token_form()).await;
        self.token = answer.body["access_token"].as_str().expect("a token").to_owned();
    }

    pub(crate) fn token_form(&self) -> String {
        let Descriptor { client_id, client_secret, .. } = &self.about;
        format!(
            "grant_type=client_credentials&client_id={client_id}&client_secret={client_secret}\
             &scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        )
    }

    pub(crate) async fn ask_token(&self, form: &str) -> Answer {
        let url = format!("{}/{}/oauth2/v2.0/token", self.about.url, self.about.tenant);
        let request = self.client.post(url).header("content-type", "application/x-www-form-urlencoded");
        read(request.body(form.to_owned()).send().await.expect("an answer")).await
    }

    /// Sends a request below the subscription and returns `None` when the connection was closed without an answer.
    pub(crate) async fn try_send(&self, method: Method, path: &str, body: Option<Value>) -> Option<Answer> {
        let url = match path.strip_prefix("https:") {
            Some(_) => path.to_owned(),
            None => format!("{}{}", self.about.url, path.replace("{s}", &self.scope())),
        };
        let mut request = self.client.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Some(read(request.send().await.ok()?).await)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.try_send(method, path, body).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) fn scope(&self) -> String {
        format!("/subscriptions/{}", self.about.subscription)
    }

    pub(crate) async fn vm(&self, name: &str) -> Value {
        self.get(&instance(name, "", INSTANCE)).await.body["properties"].clone()
    }

    /// Follows a status address, waiting as told, until it names an end.
    pub(crate) async fn follow(&self, started: &Answer) -> Answer {
        let mut wait = retry_after(started);
        let url = started
            .header("azure-asyncoperation")
            .or(started.header("location"))
            .expect("an address")
            .to_owned();
        for _ in 0..200 {
            self.clock.step(wait);
            let answer = self.get(&url).await;
            let status = answer.body["status"].as_str().unwrap_or_default().to_ascii_lowercase();
            let over = match answer.status {
                202 => false,
                200 if !status.is_empty() => {
                    matches!(status.as_str(), "succeeded" | "failed" | "canceled")
                }
                200 | 204 => true,
                _ => panic!("unexpected poll answer {answer:?}"),
            };
            if over {
                return answer;
            }
            wait = retry_after(&answer);
        }
        panic!("the operation never ended");
    }

    /// Opens the console port for a VM and waits for the end.
    pub(crate) async fn provision(&self, job: &str, vm: &str, node: &str) -> Answer {
        let started = self.send(Method::PUT, &job_path(job), Some(provision(vm, node))).await;
        assert_eq!(started.status, 201, "{started:?}");
        self.follow(&started).await
    }
}

pub(crate) fn retry_after(answer: &Answer) -> i64 {
    answer.header("retry-after").map_or(30, |seconds| seconds.parse().expect("seconds"))
}

pub(crate) fn client(about: &Descriptor) -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let authority = reqwest::Certificate::from_pem(about.ca_pem.as_bytes()).expect("a certificate");
    Client::builder().tls_certs_only([authority]).timeout(Duration::from_secs(20)).build().expect("a client")
}

async fn read(response: reqwest::Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer { status, headers, text, body }
}

pub(crate) fn job_path(job: &str) -> String {
    format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.AzureStackHCI/clusters/hq/jobs/{job}?api-version={JOBS}"
    )
}

pub(crate) fn provision(vm: &str, node: &str) -> Value {
    json!({"properties": {"jobType": "VmConnectProvision", "deploymentMode": "Deploy",
        "vmConnectProvisionJobDetails": [{"vmName": vm, "nodeName": node}]}})
}

pub(crate) fn remove(vm: &str, node: &str) -> Value {
    json!({"properties": {"jobType": "VmConnectRemove",
        "vmConnectRemoveJobDetails": [{"vmName": vm, "nodeName": node}]}})
}

pub(crate) fn instance(vm: &str, action: &str, version: &str) -> String {
    format!(
        "{{s}}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/{vm}/providers/\
         Microsoft.AzureStackHCI/virtualMachineInstances/default{action}?api-version={version}"
    )
}

pub(crate) fn group(name: &str) -> String {
    format!("{{s}}/resourceGroups/{name}?api-version={RESOURCES}")
}
