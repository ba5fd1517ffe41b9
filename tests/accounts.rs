//! Signing in with the real command: who is signed in, what is kept, and what is said when it does not work.

use std::path::PathBuf;
use std::sync::Arc;

use insta::assert_snapshot;
use relight_lab::{Lab, LabConfig};
use serde_json::Value;

use crate::support::sealed::{Relight, Sealed};

/// A cloud of one's own, which is a lab, and a user's folders.
struct Desk {
    lab: Lab,
    world: Sealed,
    authority: PathBuf,
}

impl Desk {
    async fn new() -> Self {
        let lab = Lab::start(LabConfig::new(Arc::new(jiff::Timestamp::now))).await.unwrap();
        let world = Sealed::new();
        let authority = world.write("ca.pem", &lab.descriptor().ca_pem);
        Desk { lab, world, authority }
    }

    fn relight(&self, args: &[&str]) -> Relight<'_> {
        let cloud = self.world.relight(args).env("RELIGHT_CLOUD_ARM", &self.lab.descriptor().url);
        cloud.env("RELIGHT_CLOUD_CA_BUNDLE", &self.authority).env("PATH", "/nowhere")
    }

    /// Signs in as a person does: starts it, reads the code, confirms it.
    fn sign_in(&self, args: &[&str]) {
        let mut login = self.relight(&[&["login"], args].concat()).spawn();
        login.wait_for("To sign in, use a web browser to open the page");
        assert_eq!(self.lab.confirm_devices(), 1);
        login.end().succeeds();
    }

    /// Returns everything that lies in the folder of the runs.
    fn kept(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.world.path("state")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
        all
    }

    /// Returns what is kept of whoever signed in last.
    fn refresh_token(&self) -> String {
        let text = std::fs::read_to_string(self.world.path("state/accounts.json")).unwrap();
        let content: Value = serde_json::from_str(&text).unwrap();
        content["accounts"][0]["refresh_token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_works_and_signs_out() {
    let desk = Desk::new().await;
    desk.sign_in(&[]);
    let who = desk.relight(&["whoami"]).run().succeeds();
    assert!(who.starts_with("name       operator@lab.example\n"), "{who}");
    assert!(who.contains("by         `relight login`, "), "{who}");
    assert!(who.contains("kept in a file that only you can read"), "{who}");
    let json: Value = serde_json::from_str(&desk.relight(&["whoami", "--json"]).run().succeeds()).unwrap();
    assert_eq!(json["tenant"], desk.lab.descriptor().tenant.as_str());

    let report =
        desk.relight(&["run", "site-report"]).env("AZURE_DEFAULTS_GROUP", "rg-edge").run().succeeds();
    assert!(report.contains("\"vms\": 6"), "{report}");
    let doctor = desk.relight(&["doctor"]).run();
    assert!(doctor.raw().contains("ok    sign-in    operator@lab.example of tenant"), "{doctor}");

    // The lab takes each refresh token once, and many processes share the last one.
    let many: Vec<_> = (0..6).map(|_| desk.relight(&["whoami"]).spawn()).collect();
    many.into_iter().for_each(|one| drop(one.end().succeeds()));

    // A service principal goes before a person, and that is said.
    let about = desk.lab.descriptor();
    let principal = |args: &[&str]| {
        desk.relight(args)
            .env("AZURE_TENANT_ID", &about.tenant)
            .env("AZURE_CLIENT_ID", &about.client_id)
            .env("AZURE_CLIENT_SECRET", &about.client_secret)
    };
    let who = principal(&["whoami"]).run().succeeds();
    assert!(who.contains(&format!("name       {}\n", about.client_id)), "{who}");
    assert!(who.contains("(AZURE_CLIENT_SECRET)\nsigned in, too: operator@lab.example of tenant "), "{who}");

    let kept = desk.refresh_token();
    let loud = desk.relight(&["whoami", "-vvv"]).run();
    assert!(!loud.raw().contains(&kept) && !loud.raw().contains(&desk.refresh_token()), "{loud}");
    desk.relight(&["logout"]).run().succeeds();
    assert!(!desk.kept().contains("operator"), "nothing of it is left");
    assert_eq!(desk.lab.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_work_says_what_was_tried_and_what_to_do() {
    let desk = Desk::new().await;
    assert_snapshot!(desk.relight(&["whoami"]).run(), @r"
    --- stderr
    denied

      x failed to sign in as Azure CLI (`az login`)
      `-> AzureCliCredential authentication failed. az not found on PATH To troubleshoot, visit https://aka.ms/azsdk/rust/identity/troubleshoot#azure-cli
      help: sign in with `relight login`
            or with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET
            tried, in this order: a service principal (AZURE_CLIENT_SECRET is not set), a workload identity (AZURE_FEDERATED_TOKEN_FILE is not set), a managed identity (AZURE_USE_MANAGED_IDENTITY is not set), a person (nobody is signed in here); then Azure CLI (`az login`), which failed
    --- exit 3
    ");
    assert_snapshot!(desk.relight(&["logout"]).run(), @r"
    --- stderr
    rejected

      x nobody is signed in there
    --- exit 1
    ");
    assert_snapshot!(desk.relight(&["login", "--lab"]).run(), @r"
    --- stderr
    invalid

      x the lab signs in by itself
      help: leave --lab out
    --- exit 2
    ");
    let nowhere = desk.relight(&["login", "--tenant", "nobody.example"]).run().to_string();
    assert!(nowhere.contains("x failed to begin a sign-in to nobody.example"), "{nowhere}");
    assert!(nowhere.contains("AADSTS90002: Tenant 'nobody.example' not found"), "{nowhere}");

    // A sign-in that ended elsewhere.
    desk.sign_in(&[]);
    let spent = desk.refresh_token();
    desk.relight(&["whoami"]).run().succeeds();
    let file = desk.world.path("state/accounts.json");
    let text = std::fs::read_to_string(&file).unwrap().replace(&desk.refresh_token(), &spent);
    std::fs::write(&file, text).unwrap();
    let refused = desk.relight(&["whoami"]).run();
    assert!(!refused.raw().contains(&spent));
    let said = refused.to_string();
    for words in [
        "denied",
        "x failed to sign in as operator@lab.example",
        "AADSTS70008: The refresh token has expired",
        "sign in with `relight login`",
        "--- exit 3",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A file that somebody broke.
    std::fs::write(&file, "{").unwrap();
    assert_snapshot!(desk.relight(&["whoami"]).run(), @r"
    --- stderr
    storage

      x failed to read [dir]/state/accounts.json
      `-> EOF while parsing an object at line 1 column 1
      help: delete it and sign in again
            sign in with `relight login`
    --- exit 5
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_goes_away_leaves_nothing_behind() {
    let desk = Desk::new().await;
    let mut login = desk.relight(&["login"]).spawn();
    login.wait_for("To sign in, use a web browser to open the page");
    login.signal("INT");
    assert!(!login.end().to_string().contains("Signed in"));
    assert!(!desk.world.path("state/accounts.json").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_comes_from_a_key_vault_and_stays_out_of_every_record() {
    let desk = Desk::new().await;
    desk.sign_in(&[]);
    let script = "/*---\ntitle = \"Ask the vault\"\neffects = [\"secret\", \"azure:write\"]\n---*/\n\
        let id = local::vm(\"web-01\", #{ group: \"rg-edge\" }).id;\n\
        arm::patch(id, \"2024-07-10\", #{ tags: #{ pw: secret(params.from) } }).tags.pw\n";
    let script = script.replace("\n---*/", "\n[params.from]\nhelp = \"Which\"\n---*/");
    let file = desk.world.write("work/vault.rhai", &script);
    let run = |from: &str| desk.relight(&["run", &file.to_string_lossy(), &format!("from={from}")]).run();
    let ran = run("keyvault:kv-edge/app-password");
    assert!(!ran.raw().contains("lab-password"), "{ran}");
    ran.succeeds();
    assert!(desk.lab.snapshot().to_string().contains("lab-password"), "it was sent");
    assert!(!desk.kept().contains("lab-password"), "and written nowhere");

    assert_snapshot!(run("keyvault:kv-payroll/app-password"), @r#"
    --- stderr
    run [id1] of vault
    done local::vm
      arm::patch: attempt 1 failed: the key vault `kv-payroll` does not give out `app-password`: 403 ForbiddenByRbac: Caller is not authorized to perform action on resource. If role assignments, deny assignments or role definitions were changed recently, please observe pro...
    denied

      x the key vault `kv-payroll` does not give out `app-password`
      `-> 403 ForbiddenByRbac: Caller is not authorized to perform action on resource. If role assignments, deny assignments or role definitions were changed recently, please observe propagation time. Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action' Resource: '/vaults/kv-payroll/secrets/app-password'
       ,-[vault:8:1]
     7 | let id = local::vm("web-01", #{ group: "rg-edge" }).id;
     8 | arm::patch(id, "2024-07-10", #{ tags: #{ pw: secret(params.from) } }).tags.pw
       : ^^^^^|^^^^
       :      `-- here
       `----
      help: operator@lab.example of tenant 4a2cfbdd-08d9-4300-816f-[id2] needs the role Key Vault Secrets User there, or the permission `get` in the vault's access policies
    run [id1] is parked. Go on with:
      relight runs resume [id1]
    --- exit 3
    "#);
    assert_snapshot!(run("keyvault:kv-edge/nothing"), @r#"
    --- stderr
    run [id3] of vault
    done local::vm
      arm::patch: attempt 1 failed: the key vault `kv-edge` does not give out `nothing`: 404 SecretNotFound: A secret with (name/id) nothing was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.
    denied

      x the key vault `kv-edge` does not give out `nothing`
      `-> 404 SecretNotFound: A secret with (name/id) nothing was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.
       ,-[vault:8:1]
     7 | let id = local::vm("web-01", #{ group: "rg-edge" }).id;
     8 | arm::patch(id, "2024-07-10", #{ tags: #{ pw: secret(params.from) } }).tags.pw
       : ^^^^^|^^^^
       :      `-- here
       `----
      help: look at its secrets: az keyvault secret list --vault-name kv-edge
    run [id3] is parked. Go on with:
      relight runs resume [id3]
    --- exit 3
    "#);
    assert_snapshot!(run("keyring:relight/nothing"), @r#"
    --- stderr
    run [id4] of vault
    done local::vm
      arm::patch: attempt 1 failed: there is no secret `keyring:relight/nothing`: there is no desktop session (DBUS_SESSION_BUS_ADDRESS is not set)
    denied

      x there is no secret `keyring:relight/nothing`
      `-> there is no desktop session (DBUS_SESSION_BUS_ADDRESS is not set)
       ,-[vault:8:1]
     7 | let id = local::vm("web-01", #{ group: "rg-edge" }).id;
     8 | arm::patch(id, "2024-07-10", #{ tags: #{ pw: secret(params.from) } }).tags.pw
       : ^^^^^|^^^^
       :      `-- here
       `----
      help: unlock the keyring, or keep the secret elsewhere
            a secret is kept in env:NAME, file:PATH, keyring:SERVICE/NAME or keyvault:VAULT/NAME
    run [id4] is parked. Go on with:
      relight runs resume [id4]
    --- exit 3
    "#);
    assert_snapshot!(run("vault:x"), @r#"
    --- stderr
    run [id5] of vault
    done local::vm
      arm::patch: attempt 1 failed: there is no secret `vault:x`
    denied

      x there is no secret `vault:x`
       ,-[vault:8:1]
     7 | let id = local::vm("web-01", #{ group: "rg-edge" }).id;
     8 | arm::patch(id, "2024-07-10", #{ tags: #{ pw: secret(params.from) } }).tags.pw
       : ^^^^^|^^^^
       :      `-- here
       `----
      help: a secret is kept in env:NAME, file:PATH, keyring:SERVICE/NAME or keyvault:VAULT/NAME
    run [id5] is parked. Go on with:
      relight runs resume [id5]
    --- exit 3
    "#);
}
