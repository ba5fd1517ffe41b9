//! `relight new`: a first runbook to change.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use clap::Args;
use relight_engine::Error;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// Write a first runbook into the library
#[derive(Args, Debug)]
pub(crate) struct New {
    /// Name of the runbook, with / between folders
    name: String,
}

const TEMPLATE: &str = r#"/*---
title   = "TITLE"
summary = "Says how a VM is."
effects = ["azure:read"]

[params.vm]
help = "Azure Local VM: its name or its resource id"

[params.group]
help    = "Resource group of the VM"
default = "env:AZURE_DEFAULTS_GROUP"
---*/

let vm = local::vm(params.vm, #{ group: params.group });
note(`${vm.name} is ${vm.power_state} on ${vm.host}`);
"#;

impl New {
    pub(crate) fn run(self, global: &Global) -> Result {
        let library = Home::library_to_write(global)?;
        let name = self.name.strip_suffix(".rhai").unwrap_or(&self.name);
        let is_word = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        if !name.split('/').all(is_word) {
            return Err(Error::invalid(format!("`{name}` cannot be the name of a runbook"))
                .hint("a name is letters, digits, - and _, with / between folders of the library")
                .into());
        }
        let path = library.join(format!("{name}.rhai"));
        let failed = |e: io::Error| {
            let error = Error::invalid(format!("failed to write {}", path.display()));
            match e.kind() {
                io::ErrorKind::AlreadyExists => {
                    error.because("it is there already").hint("choose another name")
                }
                _ => error.because(e).hint("choose another folder with --library"),
            }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(TEMPLATE.replace("TITLE", &title(name)).as_bytes()).map_err(failed)?;
        writeln!(terminal::out(), "{}", path.display())?;
        terminal::say(format!(
            "Change it, then: relight check {name}\nTry it:          relight run {name} vm=web-01 --lab\nLook up calls:   relight docs"
        ));
        Ok(Exit::Done)
    }
}

/// Returns a name as a title: `web/restart-all` is "Restart all".
fn title(name: &str) -> String {
    let words = name.rsplit('/').next().unwrap_or(name).replace(['-', '_'], " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
