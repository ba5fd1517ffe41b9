//! What others wrote and we ship: from where, under which licence, and with which known faults. Works offline.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use semver::{Version, VersionReq};
use serde_json::Value;

/// Licences under which a program may be given away without its source.
const ALLOWED: [&str; 12] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    // Binds changed files alone, and Rhai's `smartstring`, the only one, is used as it is.
    "MPL-2.0+",
];

/// Advisories that do not concern us, each with why.
const ACCEPTED: [(&str, &str); 0] = [];

/// The folder of a checkout of `rustsec/advisory-db`.
const ADVISORIES: &str = "RELIGHT_ADVISORIES";

#[test]
fn every_licence_allows_to_ship() {
    let mut offenders = Vec::new();
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence) {
            offenders.push(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(offenders.is_empty(), "not allowed:\n{}", offenders.join("\n"));
}

#[test]
fn everything_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str();
        let is_ours = source.is_none() && package["name"].as_str().is_some_and(|n| n.starts_with("relight"));
        assert!(
            is_ours || source.is_some_and(|s| s.starts_with("registry+")),
            "{}: {source:?}",
            package["name"]
        );
    }
}

/// Known vulnerabilities, by the database of RustSec, when a checkout of it is named.
#[test]
fn no_vulnerability_is_known() {
    let Ok(folder) = std::env::var(ADVISORIES) else {
        println!("skipped: {ADVISORIES} names no checkout of https://github.com/rustsec/advisory-db");
        return;
    };
    let (mut read, mut offenders) = (0, Vec::new());
    for package in packages() {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let version: Version = version.parse().unwrap();
        let Ok(advisories) = std::fs::read_dir(Path::new(&folder).join("crates").join(name)) else {
            continue;
        };
        for file in advisories {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let matter =
                text.split("```").nth(1).and_then(|part| part.strip_prefix("toml")).expect("front matter");
            let advisory: toml::Table = matter.parse().expect("TOML");
            read += 1;
            let id = advisory["advisory"]["id"].as_str().unwrap();
            if concerns(&advisory, &version) && !ACCEPTED.iter().any(|(accepted, _)| *accepted == id) {
                offenders.push(format!("{name} {version}: https://rustsec.org/advisories/{id}"));
            }
        }
    }
    println!("dependencies: {read} advisories about what we use were read");
    assert!(read > 0, "{folder} holds no advisory about anything that we use");
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[test]
fn expressions_of_licences_are_understood() {
    for good in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR (MIT AND ISC)", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["none", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND AGPL-3.0"] {
        assert!(!is_allowed(bad), "{bad}");
    }
}

#[test]
fn an_advisory_concerns_what_is_neither_patched_nor_unaffected() {
    let advisory: toml::Table =
        "[advisory]\nid = \"X\"\n[versions]\npatched = [\">= 0.23.18\"]\nunaffected = [\">= 0.23, < 0.23.13\", \"< 0.23\"]"
            .parse()
            .unwrap();
    for (version, is_concerned) in
        [("0.23.18", false), ("0.23.14", true), ("0.23.12", false), ("0.22.9", false)]
    {
        assert_eq!(concerns(&advisory, &version.parse().unwrap()), is_concerned, "{version}");
    }
}

/// Returns what is built here, as cargo describes it.
fn packages() -> Vec<Value> {
    let said = |program: &str, args: &[&str]| {
        let output =
            Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect(program);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let version = said("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a platform");
    let args = ["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host];
    let mut described: Value = serde_json::from_str(&said(env!("CARGO"), &args)).expect("JSON");
    let used: BTreeSet<String> = described["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["id"].as_str().expect("an id").to_owned())
        .collect();
    let packages: Vec<Value> = serde_json::from_value(described["packages"].take()).expect("packages");
    packages.into_iter().filter(|package| used.contains(package["id"].as_str().expect("an id"))).collect()
}

/// Evaluates an SPDX expression. `AND` binds closer than `OR`; `/` is an old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    any(&mut expression.replace('(', " ( ").replace(')', " ) ").split_whitespace().peekable())
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn any(words: Words<'_, '_>) -> bool {
    let mut is_good = all(words);
    while words.next_if_eq(&"OR").is_some() {
        is_good |= all(words);
    }
    is_good
}

fn all(words: Words<'_, '_>) -> bool {
    let mut is_good = one(words);
    while words.next_if_eq(&"AND").is_some() {
        is_good &= one(words);
    }
    is_good
}

fn one(words: Words<'_, '_>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let is_good = any(words);
        return words.next() == Some(")") && is_good;
    }
    let mut licence = words.next().unwrap_or_default().to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence += &format!(" WITH {}", words.next().unwrap_or_default());
    }
    ALLOWED.contains(&&*licence)
}

/// Returns whether an advisory warns of a version. One that only says that nobody maintains it does not.
fn concerns(advisory: &toml::Table, version: &Version) -> bool {
    let kind = advisory["advisory"].get("informational").and_then(toml::Value::as_str);
    let fits = |key: &str| {
        let requirements = advisory["versions"].get(key).and_then(toml::Value::as_array);
        requirements.into_iter().flatten().filter_map(toml::Value::as_str).any(|requirement| {
            VersionReq::parse(requirement).is_ok_and(|requirement| requirement.matches(version))
        })
    };
    !matches!(kind, Some("unmaintained" | "notice")) && !fits("patched") && !fits("unaffected")
}
