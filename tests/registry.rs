//! The manners of every operation and every shipped runbook, over the registry. Each test names all offenders.

use relight_engine::{Declaration, Effect, Redo};

use crate::support::world::{SHIPPED, World};

/// Built-in operations whose examples need a person or another runbook, and why.
pub(crate) const NEEDS_MORE: [(&str, &str); 3] = [
    ("ask", "a person answers it"),
    ("confirm", "a person answers it"),
    ("run", "it names another runbook of the library"),
];

async fn operations() -> Vec<std::sync::Arc<Declaration>> {
    World::new().await.engine().operations()
}

/// Applies a rule to everything and fails with all that break it.
async fn each(rule: impl Fn(&Declaration, &mut dyn FnMut(String))) {
    let operations = operations().await;
    assert!(operations.len() > 30, "only {} operations are registered", operations.len());
    let mut offenders = Vec::new();
    for operation in &operations {
        rule(operation, &mut |what| offenders.push(format!("{}: {what}", operation.name)));
    }
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

fn is_word(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    starts && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text is one sentence: no full stop but the last one, abbreviations and names aside.
fn is_one_sentence(text: &str) -> bool {
    let mut breaks = text.trim_end_matches('.').match_indices(". ");
    text.ends_with('.')
        && !text.ends_with("..")
        && breaks.all(|(at, _)| !text[at + 2..].starts_with(char::is_uppercase))
}

#[tokio::test]
async fn names_are_area_and_verb_or_a_built_in_word() {
    const BUILT_IN: [&str; 10] =
        ["all", "ask", "confirm", "fail", "note", "now", "progress", "random", "run", "secret"];
    const WAITS: [&str; 2] = ["wait", "wait_until"];
    each(|operation, offends| match operation.name.split_once("::") {
        Some((area, verb)) if is_word(area) && is_word(verb) => {}
        None if BUILT_IN.contains(&operation.name) || WAITS.contains(&operation.name) => {}
        _ => offends("is neither area::verb nor a built-in word".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn names_are_taken_once_and_no_two_look_alike() {
    let operations = operations().await;
    let plain = |name: &str| name.replace([':', '_'], "").to_ascii_lowercase();
    let mut offenders = Vec::new();
    for (index, one) in operations.iter().enumerate() {
        for other in &operations[index + 1..] {
            if plain(one.name) == plain(other.name) {
                offenders.push(format!("{} and {}", one.name, other.name));
            }
            if one.summary == other.summary {
                offenders.push(format!("{} and {} have one summary", one.name, other.name));
            }
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[tokio::test]
async fn a_summary_is_one_sentence() {
    each(|operation, offends| {
        let summary = operation.summary;
        if !summary.starts_with(char::is_uppercase) {
            offends(format!("`{summary}` does not start upper-case"));
        }
        if !is_one_sentence(summary) {
            offends(format!("`{summary}` is not one sentence with a full stop"));
        }
        if summary.chars().count() > 120 {
            offends(format!("`{summary}` is longer than a line"));
        }
    })
    .await;
}

#[tokio::test]
async fn every_argument_and_every_field_is_explained() {
    each(|operation, offends| {
        for field in operation.params.iter().chain(&operation.output_fields()) {
            if field.help.trim().is_empty() || !field.help.trim().ends_with('.') {
                offends(format!("`{}` is not explained in a sentence: `{}`", field.name, field.help));
            }
            if field.kind.trim().is_empty() {
                offends(format!("`{}` has no type", field.name));
            }
            // A reference to a secret is told from a map by its `$`.
            if !is_word(field.name.trim_start_matches('$')) {
                offends(format!("`{}` is no word", field.name));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn positional_arguments_come_first() {
    each(|operation, offends| {
        let mut seen_optional = false;
        for param in &operation.params {
            if param.required && seen_optional {
                offends(format!("`{}` is required and stands behind an optional one", param.name));
            }
            seen_optional |= !param.required;
        }
    })
    .await;
}

/// A verb that changes something says so, one that looks does not, and nothing writes without being able to be refused.
#[tokio::test]
async fn effects_fit_the_verb() {
    const CHANGES: [(&str, Effect); 49] = [
        ("local::start", Effect::AzureWrite),
        ("local::stop", Effect::AzureWrite),
        ("local::restart", Effect::AzureWrite),
        ("local::power_off", Effect::AzureWrite),
        ("vmconnect::enable", Effect::AzureWrite),
        ("vmconnect::disable", Effect::AzureWrite),
        ("arc::extension_install", Effect::AzureWrite),
        ("arc::extension_remove", Effect::AzureWrite),
        ("arc::run_command", Effect::AzureWrite),
        ("arc::endpoint_create", Effect::AzureWrite),
        ("arc::service_configure", Effect::AzureWrite),
        ("arc::service_remove", Effect::AzureWrite),
        ("compute::start", Effect::AzureWrite),
        ("compute::restart", Effect::AzureWrite),
        ("compute::redeploy", Effect::AzureWrite),
        ("compute::power_off", Effect::AzureWrite),
        ("compute::deallocate", Effect::AzureWrite),
        ("compute::extension_install", Effect::AzureWrite),
        ("compute::identity_assign", Effect::AzureWrite),
        ("compute::extension_remove", Effect::AzureWrite),
        ("compute::run_command", Effect::AzureWrite),
        ("compute::invoke_command", Effect::AzureWrite),
        ("compute::boot_diagnostics", Effect::FileWrite),
        ("network::open_port", Effect::AzureWrite),
        ("network::close_port", Effect::AzureWrite),
        ("arm::register", Effect::AzureWrite),
        ("arm::put", Effect::AzureWrite),
        ("arm::patch", Effect::AzureWrite),
        ("arm::post", Effect::AzureWrite),
        ("arm::delete", Effect::AzureWrite),
        ("ssh::connect", Effect::Ssh),
        ("ssh::connect_entra", Effect::Ssh),
        ("ssh::exec", Effect::Ssh),
        ("ssh::upload", Effect::Ssh),
        ("ssh::download", Effect::FileWrite),
        ("ssh::forward", Effect::NetForward),
        ("ssh::trust", Effect::Ssh),
        ("ssh::key_pair", Effect::FileWrite),
        ("ssh::config", Effect::FileWrite),
        ("rdp::write", Effect::FileWrite),
        ("file::create_folder", Effect::FileWrite),
        ("file::write", Effect::FileWrite),
        ("file::checksums", Effect::FileWrite),
        ("net::forward", Effect::NetForward),
        ("rdp::set_address", Effect::FileWrite),
        ("rdp::read", Effect::FileRead),
        ("net::tcp_probe", Effect::NetProbe),
        ("net::first_reachable", Effect::NetProbe),
        ("secret", Effect::Secret),
    ];
    let operations = operations().await;
    for (name, effect) in CHANGES {
        let operation =
            operations.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name} is gone"));
        assert!(operation.effects.contains(&effect), "{name} does not declare {}", effect.as_str());
    }
    let known: Vec<&str> = CHANGES.iter().map(|(name, _)| *name).collect();
    each(|operation, offends| {
        let writes = operation.effects.iter().any(|effect| !effect.is_read_only());
        if writes && !known.contains(&operation.name) {
            offends("changes something: name it in this test with the effect it must declare".to_owned());
        }
        let (area, verb) = operation.split_name();
        let declares = |effect| operation.effects.contains(&effect);
        match area {
            "local" | "arc" | "arm" | "vmconnect"
                if !declares(Effect::AzureRead) && !declares(Effect::AzureWrite) =>
            {
                offends("talks to Azure and does not say so".to_owned());
            }
            "rdp" if ![Effect::FileRead, Effect::FileWrite, Effect::Screen].into_iter().any(declares) => {
                offends("works on files or a screen and does not say so".to_owned());
            }
            "net"
                if ![[Effect::NetProbe], [Effect::NetForward]].iter().any(|may| operation.effects == may) =>
            {
                offends("does more than probe and forward".to_owned());
            }
            _ => {}
        }
        let looks = ["get", "list", "show", "status", "read", "vm", "vms", "cluster", "clusters", "nodes"];
        if looks.contains(&verb) && writes {
            offends(format!("is called `{verb}` and changes something"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_only_reads_is_resent() {
    each(|operation, offends| {
        let reads = operation.effects.iter().all(|effect| effect.is_read_only());
        if reads && operation.redo != Redo::Resend {
            offends(format!("has no effect that changes anything and is {:?}", operation.redo));
        }
        // A POST cannot be told from its repetition: it must look first or ask.
        let posts = ["local::restart", "local::start", "local::stop", "local::power_off", "arm::post"];
        if posts.contains(&operation.name) && operation.redo == Redo::Resend {
            offends("sends a POST again without looking".to_owned());
        }
    })
    .await;
}

/// What starts a runbook is followed by checks and plans; they know it by the type of the argument.
#[tokio::test]
async fn an_argument_that_names_a_runbook_says_so() {
    each(|operation, offends| {
        for field in operation.params.iter().filter(|field| field.name == "runbook") {
            if field.kind != "runbook" || !field.required {
                offends(format!("`{}` is a {}", field.name, field.kind));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_operation_shows_an_example_that_runs() {
    each(|operation, offends| {
        let excepted = NEEDS_MORE.iter().any(|(name, _)| *name == operation.name);
        if operation.examples.is_empty() && !excepted {
            offends("has no example".to_owned());
        }
        let area = operation.split_name().0;
        for example in &operation.examples {
            if !example.script.contains(operation.name) {
                offends(format!("its example `{}` does not call it", example.title));
            }
            if !(example.title.starts_with(char::is_uppercase) && example.title.ends_with('.')) {
                offends(format!("its example's title `{}` is no sentence", example.title));
            }
            if !area.is_empty() && area != "schedule" && example.world.is_none() {
                offends(format!("its example `{}` names no world", example.title));
            }
        }
        if !operation.examples.iter().any(|example| example.gives.is_some()) && !excepted {
            offends("no example says what it gives".to_owned());
        }
    })
    .await;
}

#[tokio::test]
async fn the_exceptions_are_built_in_and_still_there() {
    let operations = operations().await;
    for (name, why) in NEEDS_MORE {
        let operation =
            operations.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name} is gone"));
        assert!(operation.split_name().0.is_empty(), "{name} is no built-in: {why}");
    }
}

/// Reading a runbook in any way, every example included, sends nothing: no call runs while compiling.
#[tokio::test]
async fn reading_a_runbook_sends_nothing() {
    let world = World::new().await;
    let engine = world.engine();
    let before = world.lab.requests();
    let effects = crate::examples::every_effect();
    let mut offenders = Vec::new();
    let mut read = 0;
    for (name, _) in SHIPPED {
        let findings = engine.check(name).expect("a shipped runbook");
        offenders.extend(findings.iter().map(|finding| format!("{name}: {finding:?}")));
        let params: &[(&str, &str)] = match name {
            "site-report" => &[],
            "open-ssh-port" | "start-and-wait" | "connect-azure-vm" => &[("vm", "jump-01")],
            "first-linux-vm" => &[("vm", "jump-01"), ("key", "first_key")],
            "reset-access" => &[("vm", "jump-01"), ("user", "me"), ("key", "ssh-ed25519 AAAA")],
            "enable-arc-ssh"
            | "enable-entra-ssh"
            | "enable-openssh"
            | "disable-arc-ssh"
            | "verify-host-keys"
            | "troubleshoot-ssh"
            | "collect-diagnostics" => &[("machine", "web-01")],
            "run-on-machine" => &[("machine", "web-01"), ("script", "hostname")],
            "connect-over-arc" => &[("machine", "web-01")],
            "rdp-over-ssh" => &[("machine", "web-01"), ("user", "me")],
            "copy-files" => &[
                ("machine", "web-01"),
                ("user", "me"),
                ("direction", "upload"),
                ("local", "conf"),
                ("remote", "/tmp/conf"),
            ],
            "add-ssh-key" => &[
                ("machine", "web-01"),
                ("user", "me"),
                ("key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"),
            ],
            _ => &[("vm", "web-01")],
        };
        match engine.plan(&world.request(name, params)) {
            Ok(plan) if plan.calls.is_empty() => offenders.push(format!("{name}: its plan is empty")),
            Ok(_) => read += 1,
            Err(error) => offenders.push(format!("{name}: {error:?}")),
        }
    }
    for operation in engine.operations() {
        for example in &operation.examples {
            match engine.plan(&world.script(&effects, example.script)) {
                Ok(_) => read += 1,
                Err(error) => offenders.push(format!("{}: {}: {error:?}", operation.name, example.title)),
            }
        }
        // The constants that tempt an optimiser: a call with nothing but constants in it.
        let constants: Vec<&str> = operation.positional().map(|_| r#""web-01""#).collect();
        let script = format!("if false {{ {}({}) }}", operation.name, constants.join(", "));
        let _ = engine.plan(&world.script(&effects, &script));
    }
    assert_eq!(world.lab.requests(), before, "something was sent");
    assert!(world.notices.lock().expect("notices").is_empty(), "something was recorded");
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
    println!("registry: {read} texts were compiled, checked and planned; no request");
}

/// The other way round: a run does send, so that the test above can fail.
#[tokio::test]
async fn running_a_runbook_sends_something() {
    let world = World::new().await;
    assert!(world.run("site-report", &[]).await.succeeded());
    assert!(!world.lab.requests().is_empty());
}

#[tokio::test]
async fn every_shipped_runbook_is_complete() {
    let world = World::new().await;
    let engine = world.engine();
    let mut offenders = Vec::new();
    for (name, text) in SHIPPED {
        let runbook = engine.library().runbook(name).expect("a runbook");
        let mut offends = |what: &str| offenders.push(format!("{name}: {what}"));
        if runbook.title.is_empty() || runbook.title.ends_with('.') {
            offends("its title is a headline without a full stop");
        }
        if !runbook.summary.ends_with('.') {
            offends("its summary is a sentence");
        }
        if runbook.roles.is_empty() {
            offends("it names no role");
        }
        for param in &runbook.params {
            if param.help.is_empty() || param.help.ends_with('.') {
                offends(&format!("`{}` is explained without a full stop", param.name));
            }
        }
        if !text.ends_with('\n') || text.contains('\t') {
            offends("it ends with a line break and holds no tab");
        }
    }
    let on_disk = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks")).expect("runbooks");
    let mut names: Vec<String> = on_disk
        .map(|it| it.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        SHIPPED.map(|(name, _)| name),
        "a runbook does not ship, or these tests do not know it"
    );
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[test]
fn sentences_are_told_apart() {
    assert!(is_one_sentence("Says so, e.g. for one."));
    assert!(!is_one_sentence("Says so. And more."));
    assert!(!is_one_sentence("Says so"));
}

/// The guide shows an operation as it is, and an operation on one resource stays that short.
#[test]
fn the_guides_example_is_the_real_file() {
    let guide = include_str!("../docs/operations.md");
    let file = include_str!("../stdlib/src/agent/extension_install.rs");
    assert!(
        guide.contains(&format!("```rust\n{file}```\n")),
        "docs/operations.md shows another stdlib/src/agent/extension_install.rs: copy it there"
    );
    for (name, most, text) in [
        // It tells three ways to be wished for, and is for two kinds of machine.
        ("extension_install.rs", 110, file),
        ("extension_remove.rs", 80, include_str!("../stdlib/src/agent/extension_remove.rs")),
        ("extension_status.rs", 80, include_str!("../stdlib/src/agent/extension_status.rs")),
        ("machine.rs", 80, include_str!("../stdlib/src/arc/machine.rs")),
    ] {
        let lines = text.lines().count();
        assert!(lines <= most, "{name} has {lines} lines: what is common belongs into the mould");
    }
}
