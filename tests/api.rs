//! The public interface of the crates that others embed, recorded in a file each: who changes it, sees it.
//!
//! Reads the sources, since rustdoc tells what it knows to unstable compilers alone. Follows modules and re-exports
//! from `lib.rs`; what a macro would make, or a glob would re-export, it refuses rather than leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, UseTree, Visibility};

/// Set to write down the interface as it is.
const UPDATE: &str = "UPDATE_API";

#[test]
fn the_public_interface_is_the_one_on_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut changed = Vec::new();
    for library in ["engine", "stdlib"] {
        let folder = root.join(library);
        let now = Library::read(&folder.join("src")).interface();
        let path = folder.join("public-api.txt");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, now.join("\n") + "\n").unwrap();
        }
        let recorded = std::fs::read_to_string(&path).unwrap_or_default();
        let before: BTreeSet<&str> = recorded.lines().collect();
        let after: BTreeSet<&str> = now.iter().map(String::as_str).collect();
        let removed = before.difference(&after).map(|line| format!("- {library}: {line}"));
        let added = after.difference(&before).map(|line| format!("+ {library}: {line}"));
        changed.extend(removed.chain(added));
    }
    assert!(
        changed.is_empty(),
        "the public interface is not the one on record:\n{}\n\nIf that is meant:\n  \
         {UPDATE}=1 cargo nextest run --workspace -E 'test(the_public_interface_is_the_one_on_record)'\n",
        changed.join("\n")
    );
}

/// The sources of a crate: what stands in each module.
struct Library(BTreeMap<Vec<String>, Vec<Item>>);

impl Library {
    fn read(src: &Path) -> Self {
        let mut library = Library(BTreeMap::new());
        library.add(Vec::new(), &src.join("lib.rs"), src);
        library
    }

    /// Adds a file and the modules that it declares; theirs lie in `folder`.
    fn add(&mut self, path: Vec<String>, file: &Path, folder: &Path) {
        let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for item in &parsed.items {
            let Item::Mod(module) = item else { continue };
            if is_left_out(&module.attrs) || module.content.is_some() {
                continue;
            }
            let name = module.ident.to_string();
            let inside = folder.join(&name);
            let file = [folder.join(format!("{name}.rs")), inside.join("mod.rs")];
            let file: &PathBuf =
                file.iter().find(|file| file.is_file()).expect("a declared module has a file");
            let mut path = path.clone();
            path.push(name);
            self.add(path, file, &inside);
        }
        let items = parsed.items.into_iter().filter(|item| !is_left_out(attributes(item))).collect();
        self.0.insert(path, items);
    }

    /// Returns every public item, a line each.
    fn interface(&self) -> Vec<String> {
        let mut lines = Lines::default();
        let mut types = BTreeMap::new();
        self.module(&[], &mut lines, &mut types);
        for (home, items) in &self.0 {
            for item in items {
                if let Item::Impl(block) = item {
                    self.implementation(home, block, &types, &mut lines);
                }
            }
        }
        let foreign = self.foreign(&lines, &types).into_iter().map(|path| format!("uses {path}"));
        foreign.chain(lines.all.iter().map(|(_, line)| line.clone())).collect()
    }

    /// Returns what an interface uses of other crates, the standard library aside.
    fn foreign(&self, lines: &Lines, types: &Types) -> BTreeSet<String> {
        let own: BTreeSet<&str> = types.keys().map(|(_, name)| name.as_str()).collect();
        let modules: BTreeSet<&String> = self.0.keys().flatten().collect();
        let is_foreign = |path: &[String]| {
            let is_near = ["std", "crate", "super", "self"].contains(&path[0].as_str());
            path.len() > 1 && !is_near && !modules.contains(&path[0])
        };
        let mut used = BTreeSet::new();
        for (home, items) in &self.0 {
            for item in items {
                let Item::Use(import) = item else { continue };
                let known = names(&import.tree, Vec::new()).into_iter().filter(|(path, name)| {
                    let is_used = lines.words.contains(&(home.clone(), name.clone()));
                    let is_type = name.starts_with(char::is_uppercase);
                    is_type && is_used && is_foreign(path) && !own.contains(name.as_str())
                });
                used.extend(known.map(|(path, _)| path.join("::")));
            }
        }
        used
    }

    fn module(&self, path: &[String], lines: &mut Lines, types: &mut Types) {
        let prefix: String = path.iter().map(|name| format!("{name}::")).collect();
        for item in &self.0[path] {
            match item {
                Item::Mod(module) if is_public(&module.vis) => {
                    let inside = [path, &[module.ident.to_string()]].concat();
                    self.module(&inside, lines, types);
                }
                Item::Use(reexport) if is_public(&reexport.vis) => {
                    for (from, name) in names(&reexport.tree, Vec::new()) {
                        assert!(name != "*", "a glob hides what it re-exports: {}::*", from.join("::"));
                        self.reexport(path, &from, &format!("{prefix}{name}"), lines, types);
                    }
                }
                item => declare(item, path, &prefix, lines, types),
            }
        }
    }

    /// Declares what a `pub use` names.
    fn reexport(&self, at: &[String], from: &[String], name: &str, lines: &mut Lines, types: &mut Types) {
        let home = &from[..from.len() - 1];
        let home = match home.split_first() {
            Some((first, rest)) if first == "crate" => rest.to_vec(),
            _ => [at, home].concat(),
        };
        let Some(items) = self.0.get(&home) else {
            lines.add(name, format!("pub use {} as {name}", from.join("::")));
            return;
        };
        let last = &from[from.len() - 1];
        let found = items.iter().find(|item| name_of(item).as_ref() == Some(last));
        match found {
            Some(item) => {
                let prefix =
                    name.rsplit_once("::").map_or(String::new(), |(prefix, _)| format!("{prefix}::"));
                declare(item, &home, &prefix, lines, types);
            }
            // It is handed on from further inside.
            None => {
                let inner = items.iter().filter_map(|item| match item {
                    Item::Use(inner) => names(&inner.tree, Vec::new()).into_iter().find(|(_, n)| n == last),
                    _ => None,
                });
                let (from, _) = inner.into_iter().next().unwrap_or_else(|| panic!("{name} is not found"));
                self.reexport(&home, &from, name, lines, types);
            }
        }
    }

    /// Adds what an `impl` block says about a public type.
    fn implementation(&self, home: &[String], block: &ItemImpl, types: &Types, lines: &mut Lines) {
        let syn::Type::Path(of) = &*block.self_ty else { return };
        let Some(ident) = of.path.segments.last().map(|segment| segment.ident.to_string()) else { return };
        // Two modules may have a type of one name; each block stands beside its own then.
        let public = types.get(&(home.to_vec(), ident.clone())).or_else(|| {
            let mut all = types.iter().filter(|((_, name), _)| *name == ident);
            all.next().filter(|_| all.next().is_none()).map(|(_, public)| public)
        });
        let is_shadowed = self.0[home].iter().any(|item| name_of(item).as_ref() == Some(&ident));
        let Some(public) = public.filter(|_| !is_shadowed || types.contains_key(&(home.to_vec(), ident)))
        else {
            return;
        };
        lines.home = home.to_vec();
        if let Some((of_trait, _)) = &block.trait_ {
            lines.add(public, format!("impl {} for {public}", shown(of_trait)));
            return;
        }
        for item in &block.items {
            match item {
                ImplItem::Fn(function) if is_public(&function.vis) && !is_left_out(&function.attrs) => {
                    let path = format!("{public}::{}", function.sig.ident);
                    lines.add(&path, signature(&function.sig, &path));
                }
                ImplItem::Const(constant) if is_public(&constant.vis) => {
                    let path = format!("{public}::{}", constant.ident);
                    lines.add(&path, format!("pub const {path}: {}", shown(&constant.ty)));
                }
                _ => {}
            }
        }
    }
}

/// The lines of an interface, sorted by what they are about.
#[derive(Default)]
struct Lines {
    all: BTreeSet<(String, String)>,
    /// The words of what each module declares.
    words: BTreeSet<(Vec<String>, String)>,
    /// The module that is read.
    home: Vec<String>,
}

impl Lines {
    fn add(&mut self, about: &str, line: String) {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.words.extend(words.map(|word| (self.home.clone(), word.to_owned())));
        self.all.insert((about.to_owned(), line));
    }
}

/// Where public types are defined, with the names under which others see them.
type Types = BTreeMap<(Vec<String>, String), String>;

/// Adds an item, if it is public, as others see it below `prefix`.
fn declare(item: &Item, home: &[String], prefix: &str, lines: &mut Lines, types: &mut Types) {
    let Some(name) = name_of(item) else { return };
    let public = format!("{prefix}{name}");
    lines.home = home.to_vec();
    let mut known = |generics: &syn::Generics| {
        // Of two names the one nearer to the crate.
        let known = types.entry((home.to_vec(), name.clone())).or_insert_with(|| public.clone());
        if public.len() < known.len() {
            known.clone_from(&public);
        }
        format!("{public}{}", shown(generics))
    };
    match item {
        Item::Struct(of) if is_public(&of.vis) => {
            let whole = known(&of.generics);
            lines.add(&public, format!("pub struct {whole}{}{}", tuple(&of.fields, false), marks(&of.attrs)));
            fields(&of.fields, &public, "pub ", lines);
        }
        Item::Enum(of) if is_public(&of.vis) => {
            let whole = known(&of.generics);
            lines.add(&public, format!("pub enum {whole}{}", marks(&of.attrs)));
            for variant in &of.variants {
                let path = format!("{public}::{}", variant.ident);
                lines.add(
                    &path,
                    format!("pub {path}{}{}", tuple(&variant.fields, true), marks(&variant.attrs)),
                );
                fields(&variant.fields, &path, "", lines);
            }
        }
        Item::Trait(of) if is_public(&of.vis) => {
            let whole = known(&of.generics);
            lines.add(&public, format!("pub trait {whole}: {}", shown(&of.supertraits)));
            for item in &of.items {
                let (said, has_default) = match item {
                    TraitItem::Fn(function) => (shown(&function.sig), function.default.is_some()),
                    TraitItem::Const(of) => {
                        (format!("const {}: {}", of.ident, shown(&of.ty)), of.default.is_some())
                    }
                    TraitItem::Type(of) => (format!("type {}: {}", of.ident, shown(&of.bounds)), false),
                    other => panic!("{public} has {}", shown(other)),
                };
                let default = if has_default { " { .. }" } else { "" };
                lines.add(&format!("{public}::{said}"), format!("    {said}{default}"));
            }
        }
        Item::Fn(of) if is_public(&of.vis) => {
            lines.add(&public, signature(&of.sig, &public));
        }
        Item::Const(of) if is_public(&of.vis) => {
            lines.add(&public, format!("pub const {public}: {}", shown(&of.ty)));
        }
        Item::Static(of) if is_public(&of.vis) => {
            lines.add(&public, format!("pub static {public}: {}", shown(&of.ty)));
        }
        Item::Type(of) if is_public(&of.vis) => {
            lines.add(&public, format!("pub type {public}{} = {}", shown(&of.generics), shown(&of.ty)));
        }
        _ => {}
    }
}

/// Returns a function as others call it.
fn signature(of: &syn::Signature, path: &str) -> String {
    format!("pub {}", shown(of)).replacen(&format!("fn {}", of.ident), &format!("fn {path}"), 1)
}

/// Adds the fields that others see; those of a variant are as public as it is.
fn fields(of: &Fields, public: &str, mark: &str, lines: &mut Lines) {
    for field in of {
        let Some(name) = &field.ident else { continue };
        if mark.is_empty() || is_public(&field.vis) {
            let path = format!("{public}::{name}");
            lines.add(&path, format!("pub {path}: {}", shown(&field.ty)));
        }
    }
}

/// Returns the fields of a tuple, those that others do not see as `_`.
fn tuple(of: &Fields, is_variant: bool) -> String {
    let Fields::Unnamed(fields) = of else { return String::new() };
    let shown = fields.unnamed.iter().map(|field| match is_public(&field.vis) {
        true => format!("pub {}", shown(&field.ty)),
        false if is_variant => shown(&field.ty),
        false => "_".to_owned(),
    });
    format!("({})", shown.collect::<Vec<_>>().join(", "))
}

/// Returns what a type derives, and whether it will grow.
fn marks(attributes: &[Attribute]) -> String {
    let mut marks = BTreeSet::new();
    for attribute in attributes {
        if attribute.path().is_ident("non_exhaustive") {
            marks.insert("non_exhaustive".to_owned());
        } else if attribute.path().is_ident("derive") {
            let _ = attribute.parse_nested_meta(|meta| {
                marks.insert(shown(&meta.path));
                Ok(())
            });
        }
    }
    let marks: Vec<String> = marks.into_iter().collect();
    if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) }
}

/// Returns whether an item is for tests or fuzzing, or hidden.
fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let said = shown(attribute);
        said.contains("doc(hidden)") || (attribute.path().is_ident("cfg") && said.contains("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(of) => &of.attrs,
        Item::Enum(of) => &of.attrs,
        Item::Fn(of) => &of.attrs,
        Item::Impl(of) => &of.attrs,
        Item::Mod(of) => &of.attrs,
        Item::Struct(of) => &of.attrs,
        Item::Trait(of) => &of.attrs,
        Item::Type(of) => &of.attrs,
        Item::Use(of) => &of.attrs,
        _ => &[],
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(of) => &of.ident,
        Item::Enum(of) => &of.ident,
        Item::Fn(of) => &of.sig.ident,
        Item::Static(of) => &of.ident,
        Item::Struct(of) => &of.ident,
        Item::Trait(of) => &of.ident,
        Item::Type(of) => &of.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Returns what a `use` brings: where from, and under which name.
fn names(tree: &UseTree, from: Vec<String>) -> Vec<(Vec<String>, String)> {
    let with = |name: &syn::Ident| {
        let name = name.to_string();
        if name == "self" { from.clone() } else { [from.clone(), vec![name]].concat() }
    };
    match tree {
        UseTree::Path(path) => names(&path.tree, with(&path.ident)),
        UseTree::Name(name) => vec![(with(&name.ident), name.ident.to_string())],
        UseTree::Rename(name) => vec![(with(&name.ident), name.rename.to_string())],
        UseTree::Group(group) => group.items.iter().flat_map(|tree| names(tree, from.clone())).collect(),
        UseTree::Glob(_) => vec![(from, "*".to_owned())],
    }
}

/// Returns tokens as rustfmt would write them, more or less.
fn shown(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (apart, together) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("- >", "->"),
        ("& ", "&"),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" :", ":"),
        (" ;", ";"),
        ("[ ", "["),
        (" ]", "]"),
        ("# ", "#"),
        (" ->", "->"),
        ("->", " ->"),
        ("=>", "="),
        (" {", "{"),
        (" !", "!"),
        ("' ", "'"),
        (",)", ")"),
        ("Fn (", "Fn("),
        (" ?", "?"),
        ("? ", "?"),
    ] {
        text = text.replace(apart, together);
    }
    text.replace("->(", "-> (").replace("=(", "= (").replace("(mut self", "(self")
}
