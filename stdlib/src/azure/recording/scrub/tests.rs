use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::azure::wire::Response;

const ARM: &str = "https://127.0.0.1:4433";
const MACHINE: &str = "/subscriptions/9f1c2a77-0f3e-4b6a-9d2e-5a8f00c1d2e3/resourceGroups/Contoso-RG/providers/Microsoft.HybridCompute/machines/paris";

/// Exchanges through one scrubber, as the file holds them.
#[derive(Default)]
struct Tape(Scrubber);

impl Tape {
    fn add(
        &mut self,
        method: Method,
        path: &str,
        request: Option<&Value>,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Recorded {
        let url = format!("{ARM}{path}").parse().unwrap();
        let answer = Response::new(200, headers.iter().copied(), body.to_string().as_bytes());
        self.0.exchange(&Exchange { method, url: &url, request, answer: &answer, step: None })
    }

    fn get(&mut self, path: &str, body: &Value) -> Recorded {
        self.add(Method::Get, path, None, &[], body)
    }
}

fn written(recorded: &Recorded) -> String {
    serde_json::to_string(recorded).unwrap()
}

#[test]
fn azures_words_stay_and_names_become_others() {
    let mut tape = Tape::default();
    let body = json!({
        "id": MACHINE,
        "name": "Paris",
        "type": "Microsoft.HybridCompute/machines",
        "location": "eastus2",
        "tags": {"owner": "ada", "cost-centre": "12"},
        "properties": {
            "provisioningState": "Succeeded", "status": "Connected", "osType": "windows",
            "agentVersion": "1.50.02909.1", "vmId": "5bf8e2a1-7e0c-4d55-8f0e-1f60b2a7c9d4",
            "machineFqdn": "paris.contoso.local", "lastStatusChange": "2026-11-20T10:00:00.123Z",
            "addresses": ["192.168.1.17", "20.50.1.2", "fe80::1", "10.1.0.0/16"], "port": 22,
            "privateLinkScopeResourceId": null,
        },
    });
    let recorded = tape.get(&format!("{MACHINE}?api-version=2026-07-15&$expand=instanceView"), &body);
    assert_eq!(
        recorded.url,
        "https://management.azure.com/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/resourceGroups-1/providers/Microsoft.HybridCompute/machines/machines-1?api-version=2026-07-15&$expand=instanceView",
    );
    assert_eq!(
        recorded.body,
        json!({
            "id": "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/resourceGroups-1/providers/Microsoft.HybridCompute/machines/machines-1",
            "name": "machines-1",
            "type": "Microsoft.HybridCompute/machines",
            "location": "eastus2",
            "tags": {"field-1": "text-1", "field-2": "text-2"},
            "properties": {
                "provisioningState": "Succeeded", "status": "Connected", "osType": "windows",
                "agentVersion": "1.50.02909.1", "vmId": "00000000-0000-0000-0000-000000000002",
                "machineFqdn": "text-3", "lastStatusChange": "2026-11-20T10:00:00.123Z",
                "addresses": ["10.0.0.1", "198.18.0.1", "2001:db8::1", "10.0.0.2/16"], "port": 22,
                "privateLinkScopeResourceId": null,
            },
        })
    );
}

#[test]
fn refusals_keep_their_sentences() {
    let mut tape = Tape::default();
    let path = format!("{MACHINE}?api-version=2031-01-01");
    for (said, told) in [
        (
            "No registered resource provider found for location 'eastus' and API version '2031-01-01' for type 'clusters/jobs'. The supported api-versions are '2026-10-15-preview, 2026-02-15-preview'. The supported locations are 'eastus, westeurope'.",
            "No registered resource provider found for location 'text-1' and API version '2031-01-01' for type 'clusters/jobs'. The supported api-versions are '2026-10-15-preview, 2026-02-15-preview'. The supported locations are 'eastus, westeurope'.",
        ),
        (
            "The client 'ada@contoso.example' with object id '6a1f7c52-0000-4000-8000-000000000abc' does not have authorization to perform action 'Microsoft.HybridCompute/machines/write' over scope '/subscriptions/9F1C2A77-0f3e-4b6a-9d2e-5a8f00c1d2e3/resourcegroups/contoso-rg' or the scope is invalid.",
            "The client 'user-1' with object id '00000000-0000-0000-0000-000000000002' does not have authorization to perform action 'Microsoft.HybridCompute/machines/write' over scope '/subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/resourceGroups-1' or the scope is invalid.",
        ),
        (
            "HCRP409: machine PARIS at 10.20.30.40 is busy, see https://portal.contoso.example/x?sig=abc.",
            "HCRP409: machine machines-1 at 10.0.0.1 is busy, see https://host-1.example/part-1?masked.",
        ),
    ] {
        let recorded = tape.get(&path, &json!({"error": {"code": "Conflict", "message": said}}));
        assert_eq!(recorded.body["error"], json!({"code": "Conflict", "message": told}));
    }
}

#[test]
fn the_address_in_a_header_is_the_one_that_is_asked() {
    let mut tape = Tape::default();
    let status = "/subscriptions/9f1c2a77-0f3e-4b6a-9d2e-5a8f00c1d2e3/providers/Microsoft.HybridCompute/locations/eastus/operationstatus/51a7*6BCD?api-version=2026-07-15&t=638&c=MII&s=qGZ&h=-tv";
    let put = tape.add(
        Method::Put,
        &format!("{MACHINE}/extensions/x?api-version=2026-07-15"),
        Some(&json!({"properties": {"protectedSettings": {"a": "hush"}, "settings": {"a": "b"}}})),
        &[("Azure-AsyncOperation", &format!("{ARM}{status}")), ("Location", status), ("X-Secret", "hush")],
        &Value::Null,
    );
    let poll = tape.get(status, &json!({"status": "InProgress"}));
    assert_eq!(put.headers["azure-asyncoperation"], poll.url);
    assert_eq!(put.headers["location"], poll.url);
    assert_eq!(put.headers.len(), 2);
    for signed in ["638", "MII", "qGZ", "-tv", "6BCD", "hush"] {
        assert!(!format!("{}{}", written(&put), poll.url).contains(signed), "{signed}");
    }
}

#[test]
fn what_gives_credentials_is_masked() {
    let mut tape = Tape::default();
    let body = json!({"relay": {"namespaceName": "relay", "accessKey": "SharedAccessSignature sr=x", "expiresOn": 17}, "serviceConfigurationToken": "eyJ"});
    let path = format!(
        "{MACHINE}/providers/Microsoft.HybridConnectivity/endpoints/default/listCredentials?expiresin=3600&api-version=2024-12-01"
    );
    let recorded = tape.add(Method::Post, &path, Some(&json!({"serviceName": "SSH"})), &[], &body);
    assert_eq!(recorded.request, json!({"serviceName": "SSH"}));
    assert_eq!(
        recorded.body,
        json!({"relay": {"namespaceName": "masked", "accessKey": "masked", "expiresOn": "masked"}, "serviceConfigurationToken": "masked"})
    );
    let unasked = tape.get(MACHINE, &json!({"value": [{"primaryKey": "k", "key": "x", "adminPassword": "y", "sasUri": "https://a/?sig=z"}]}));
    assert_eq!(
        unasked.body,
        json!({"value": [{"primaryKey": "text-1", "key": "masked", "adminPassword": "masked", "sasUri": "masked"}]})
    );
}

/// Somebody's own text, by which it is looked for afterwards: no word of Azure, and none that a stand-in has.
fn canary() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{3,8}[0-9]{2}[a-z]{2,6}",
        "[A-Z]{4,8}-[A-Z0-9]{5}",
        "[a-z]{5,9}-prod-[0-9]{2}",
        "[a-z]{4,8}@[a-z]{4,8}\\.org",
        "[a-z]{4,8}\\.[a-z]{4,8}\\.local7",
        "(1[0-9]{2}|9[0-9])\\.(2[0-4][0-9])\\.1[0-9]\\.7[0-9]",
        "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[1-9a-f]{12}",
        "[A-Za-z0-9+/]{30,60}=",
        "eyJ[A-Za-z0-9]{20}\\.[A-Za-z0-9_-]{20}",
        "correct horse [0-9]{3}x battery",
    ]
}

/// A body in which a canary stands anywhere, in any field, between words of Azure.
fn body(canary: String) -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        Just("name".to_owned()),
        Just("status".to_owned()),
        Just("type".to_owned()),
        Just("location".to_owned()),
        Just("message".to_owned()),
        Just("error".to_owned()),
        Just("tags".to_owned()),
        Just("version".to_owned()),
        Just("output".to_owned()),
        Just("nextLink".to_owned()),
        Just("id".to_owned()),
        Just("code".to_owned()),
        "[a-z]{1,12}",
        Just(canary.clone()),
    ];
    let text = prop_oneof![
        Just(canary.clone()),
        Just(format!("a sentence about '{canary}', of Azure.")),
        Just(format!("{MACHINE}/extensions/{canary}")),
        Just(format!("https://{canary}.blob.core.windows.net/{canary}?sv=1&sig={canary}")),
        Just(format!("{ARM}/subscriptions/{canary}/resourceGroups/{canary}?t={canary}")),
        Just("Succeeded".to_owned()),
    ];
    let leaf = prop_oneof![
        text.prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field.clone(), inner), 1..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_of_anybodys_own_is_written(
        (canary, body, request) in canary().prop_flat_map(|it| (Just(it.clone()), body(it.clone()), body(it))),
        in_path in any::<bool>(),
    ) {
        let mut tape = Tape::default();
        let escaped: String = canary.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        }).collect();
        let path = match in_path {
            true => format!("{MACHINE}/extensions/{escaped}?$filter=name%20eq%20'{escaped}'&x={escaped}&{escaped}=1"),
            false => format!("{MACHINE}?api-version={escaped}"),
        };
        let status = format!("{ARM}/providers/Microsoft.AzureStackHCI/locations/{escaped}/operationStatuses/{escaped}?s={escaped}");
        let headers = [("Location", status.as_str()), ("x-ms-error-code", canary.as_str()), ("content-type", canary.as_str())];
        let once = tape.add(Method::Put, &path, Some(&request), &headers, &body);
        let text = written(&once).to_lowercase();
        for needle in [canary.to_lowercase(), escaped.to_lowercase()] {
            // A part that is a stand-in by itself proves nothing.
            prop_assert!(!text.contains(&needle), "{needle} in {text}");
        }
        // By now every name is known: the same again is the same again.
        let mut again = || tape.add(Method::Put, &path, Some(&request), &headers, &body);
        prop_assert_eq!(again(), again());
    }

    #[test]
    fn a_name_is_one_other_name_wherever_it_stands(name in "[a-z]{7,12}", shout in any::<bool>()) {
        prop_assume!(!["machine", "machines"].contains(&name.as_str()));
        let mut tape = Tape::default();
        let written_as = if shout { name.to_uppercase() } else { name.clone() };
        let path = format!("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/{name}");
        let body = json!({"name": written_as, "error": {"message": format!("the machine {written_as} is busy")}, "properties": {"hostName": written_as}});
        let recorded = tape.get(&path, &body);
        prop_assert!(recorded.url.ends_with("/virtualMachines/virtualMachines-1"));
        prop_assert_eq!(recorded.body, json!({
            "name": "virtualMachines-1", "error": {"message": "the machine virtualMachines-1 is busy"},
            "properties": {"hostName": "virtualMachines-1"},
        }));
    }
}
