//! What a layer may know: libraries name no command of the program that is built from them, and modules that stand
//! beside each other do not depend on each other in circles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quote::ToTokens;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_library_names_a_command_an_option_or_a_variable_of_the_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for library in ["engine/src", "stdlib/src", "lab/src"] {
        sources(&root.join(library), &mut files);
    }
    assert!(files.len() > 100, "only {} files", files.len());
    let mut offenders = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (number, line) in
            code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            if ["`relight ", "\"relight ", "--lab", "--library", "--require", "RELIGHT_CLOUD", "relight.toml"]
                .iter()
                .any(|word| line.contains(word))
            {
                offenders.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(offenders.is_empty(), "say it as a `NextStep`:\n{}", offenders.join("\n"));
}

#[test]
fn modules_depend_on_each_other_in_no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = [("command", "src"), ("engine", "engine/src"), ("stdlib", "stdlib/src"), ("lab", "lab/src")];
    let mut found = Vec::new();
    for (name, folder) in crates {
        let dependencies = Dependencies::of(&root.join(folder));
        assert!(
            dependencies.0.values().map(BTreeMap::len).sum::<usize>() > 20,
            "{name}: hardly anything was read"
        );
        for circle in dependencies.circles() {
            let members: Vec<&str> = circle.members.iter().map(String::as_str).collect();
            found.push(format!("{name}: {}\n  {}", members.join(", "), circle.because.join("\n  ")));
        }
    }
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_whatever_an_import_looks_like() {
    for (one, other) in [
        ("use crate::b::B;", "use crate::{c::C, a::A};"),
        ("fn f() { crate::b::f() }", "use super::a;"),
        ("use super::{b::{self, B}};", "fn f(a: &crate::a::A) {}"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("lib.rs", "mod a; mod b; mod c;");
        write("a.rs", one);
        write("b.rs", other);
        write("c.rs", "#[cfg(test)]\nmod tests { use crate::a; }\n// crate::a::A");
        let circles = Dependencies::of(folder.path()).circles();
        let members: Vec<_> = circles.into_iter().map(|circle| circle.members).collect();
        assert_eq!(members, [["a".to_owned(), "b".to_owned()]], "{one} {other}");
    }
}

#[test]
fn the_step_machine_knows_whoever_keeps_runs_only_by_their_log() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/src");
    let mut files = vec![engine.join("machine.rs"), engine.join("cx.rs")];
    sources(&engine.join("step"), &mut files);
    assert!(files.len() > 15, "{files:?}");
    // What is written is data; who writes it is none of its business.
    let data = ["LeaseFilter", "NewRun", "Sync"];
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (line, number) in text.lines().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let foreign = ["Journal", "Core", "Tenure", "OwnerId", "Drives", "journal_log", "Worker"];
            let is_foreign = words.clone().any(|word| foreign.contains(&word));
            let imported = code.contains("crate::journal::")
                && words.any(|word| word.starts_with(char::is_uppercase) && !data.contains(&word));
            if is_foreign || imported {
                found.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "the step machine reaches past its log:\n{}", found.join("\n"));
}

/// What stands in one folder: for each module what it uses of those beside it, and where.
type Folder = BTreeMap<String, BTreeMap<String, String>>;

/// The dependencies between the modules of each folder of a crate.
struct Dependencies(BTreeMap<String, Folder>);

/// Modules of one folder of which each depends on each other.
struct Circle {
    members: Vec<String>,
    because: Vec<String>,
}

impl Dependencies {
    fn of(crate_folder: &Path) -> Self {
        let mut files = Vec::new();
        sources(crate_folder, &mut files);
        let modules: BTreeMap<Vec<String>, &PathBuf> =
            files.iter().map(|file| (module_of(file.strip_prefix(crate_folder).unwrap()), file)).collect();
        let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
        for (module, file) in &modules {
            if module.iter().any(|name| name == "tests") {
                continue;
            }
            for used in paths(&std::fs::read_to_string(file).unwrap(), module) {
                let known = (0..=used.len()).rev().find(|length| modules.contains_key(&used[..*length]));
                let used = &used[..known.unwrap_or(0)];
                let common = module.iter().zip(used).take_while(|(one, other)| one == other).count();
                if let (Some(user), Some(used)) = (module.get(common), used.get(common)) {
                    let folder = folders.entry(module[..common].join("/")).or_default();
                    let place = format!("{} uses {used}", module.join("/"));
                    folder.entry(user.clone()).or_default().entry(used.clone()).or_insert(place);
                }
            }
        }
        Dependencies(folders)
    }

    fn circles(&self) -> Vec<Circle> {
        let mut circles = Vec::new();
        for (name, folder) in &self.0 {
            let reached: BTreeMap<&str, BTreeSet<&str>> =
                folder.keys().map(|module| (module.as_str(), reach(folder, module))).collect();
            let mut seen = BTreeSet::new();
            for (module, below) in &reached {
                if !below.contains(module) || !seen.insert(*module) {
                    continue;
                }
                let together: BTreeSet<&str> = below
                    .iter()
                    .filter(|other| reached.get(*other).is_some_and(|back| back.contains(module)))
                    .copied()
                    .collect();
                seen.extend(&together);
                let inside = folder.iter().filter(|(user, _)| together.contains(user.as_str()));
                let because =
                    inside.flat_map(|(_, uses)| uses).filter(|(used, _)| together.contains(used.as_str()));
                let path = |module: &&str| {
                    if name.is_empty() { (*module).to_owned() } else { format!("{name}/{module}") }
                };
                circles.push(Circle {
                    members: together.iter().map(path).collect(),
                    because: because.map(|(_, place)| place.clone()).collect(),
                });
            }
        }
        circles
    }
}

/// Returns the modules of a folder that one depends on, directly or not.
fn reach<'a>(folder: &'a Folder, module: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> =
        folder.get(module).into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    while let Some(used) = next.pop() {
        if reached.insert(used) {
            next.extend(folder.get(used).into_iter().flat_map(BTreeMap::keys).map(String::as_str));
        }
    }
    reached
}

/// Returns the module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let mut parts: Vec<String> = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

/// Returns the paths inside its crate that a text names, tests aside.
fn paths(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut file = syn::parse_file(text).expect("a source that compiles");
    file.attrs.clear();
    file.items.retain(|item| !matches!(item, syn::Item::Mod(inner) if inner.attrs.iter().any(is_for_tests)));
    let mut text = file.to_token_stream().to_string();
    for sign in ["(", ")", "[", "]", "{", "}", "<", ">", "&", ",", ";"] {
        text = text.replace(sign, &format!(" {sign} "));
    }
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if tokens.get(at + 1) != Some(&"::") || at > 0 && tokens[at - 1] == "::" {
            continue;
        }
        let base = match *token {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        tree(&tokens, at + 2, base, &mut found);
    }
    found
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.to_token_stream().to_string().replace(' ', "") == "#[cfg(test)]"
}

/// Reads a path, or the paths in braces, and returns where it ends.
fn tree(tokens: &[&str], mut at: usize, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    at = tree(tokens, at, path.clone(), found);
                    // What it is called here, and what separates it from the next.
                    while tokens.get(at).is_some_and(|token| !matches!(*token, "," | "}")) {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(&"super") => _ = path.pop(),
            Some(&"self") => {}
            Some(name) => path.push((*name).to_owned()),
            None => return at,
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            found.push(path);
            return at;
        }
        at += 1;
    }
}
