//! Keys that a run makes: random, and so another one in each lab. What they leave behind is made the same, and which key it is, is looked at
//! here: the file and what lets its owner in belong together, and there is no second one.

use std::path::Path;

use relight_lab::{Lab, LedgerEntry};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The file of the private key.
pub(super) const FILE: &str = "made_key";
/// Where the machines keep whom they let in.
const AUTHORIZED: &str = "/home/azureuser/.ssh/authorized_keys";

/// Returns the public key that a run made in a folder, if it did.
fn made(folder: &Path) -> Option<String> {
    let line = std::fs::read_to_string(folder.join(FILE).with_extension("pub")).ok()?;
    Some(line.trim().to_owned())
}

/// Returns the files of a key, parts of them included, and what each machine lets in for it.
pub(super) fn traces(lab: &Lab, folder: &Path) -> Vec<(String, String)> {
    let Some(key) = made(folder) else { return Vec::new() };
    let names = std::fs::read_dir(folder).expect("a folder").map(|it| it.expect("an entry").file_name());
    let mut found: Vec<(String, String)> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.contains(FILE))
        .map(|name| {
            let text = std::fs::read_to_string(folder.join(&name)).expect("a key");
            let is_private = text.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----");
            (name, if is_private { "private".to_owned() } else { text.replace(&key, "KEY") })
        })
        .collect();
    found.sort();
    for machine in ["api-01", "batch-01"] {
        let Some(lines) = lab.guest_file(machine, AUTHORIZED) else { continue };
        let lines = String::from_utf8_lossy(&lines).replace(&key, "KEY");
        found.push((machine.to_owned(), lines.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    found
}

/// Replaces the digest of each file that holds the key by that of the same with a word in its place.
pub(super) fn without_key(mut world: Value, lab: &Lab, folder: &Path) -> Value {
    let Some(key) = made(folder) else { return world };
    for machine in world["files"].as_array_mut().into_iter().flatten() {
        let name = machine["machine"].as_str().unwrap_or_default().to_owned();
        for file in machine["changes"].as_array_mut().into_iter().flatten() {
            let held = lab.guest_file(&name, file["path"].as_str().unwrap_or_default());
            if let Some(text) =
                held.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|it| it.contains(&key))
            {
                file["sha256"] = digest(&text.replace(&key, "KEY")).into();
            }
        }
    }
    world
}

/// The same for what was sent.
pub(super) fn without_key_sent(mut ledger: Vec<LedgerEntry>, folder: &Path) -> Vec<LedgerEntry> {
    let Some(key) = made(folder) else { return ledger };
    for entry in &mut ledger {
        let text = entry.body.to_string();
        if text.contains(&key) {
            entry.body_sha256 = digest(&text.replace(&key, "KEY"));
        }
    }
    ledger
}

/// Leaves out the fingerprint of a key that was made.
pub(super) fn without_fingerprint(mut value: Value, folder: &Path) -> Value {
    if let (Some(_), Some(map)) = (made(folder), value.as_object_mut()) {
        map.remove("fingerprint");
    }
    value
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
