//! What a layer may know: libraries name no command of the program that is built from them.

use std::path::{Path, PathBuf};

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
