//! What is asked for on the command line, as a run.

use std::collections::BTreeMap;

use relight_engine::{Error, RunRequest};
use serde_json::{Map, Value};

use crate::args::Assignment;
use crate::exit::Result;
use crate::platform;

/// Makes a request of what stands on the command line: a name in the library, or a file.
pub(super) fn request(runbook: &str, params: &[Assignment]) -> Result<RunRequest> {
    let workdir = std::env::current_dir()
        .map_err(|e| Error::invalid("the current folder cannot be used").because(e))?;
    let path = std::path::Path::new(runbook);
    let mut request = match path.extension().is_some_and(|ending| ending == "rhai") && path.is_file() {
        true => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::invalid(format!("failed to read {}", path.display())).because(e))?;
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            RunRequest::new(name).text(text)
        }
        false => RunRequest::new(runbook.strip_suffix(".rhai").unwrap_or(runbook)),
    };
    request.workdir = workdir;
    request.who = Some(platform::who());
    for Assignment { name, value } in params {
        request = request.param(name, value);
    }
    Ok(request)
}

/// Returns parameters by their names, as a service is given them.
///
/// # Errors
/// `Invalid` when one is given twice.
pub(super) fn params(given: &[Assignment]) -> relight_engine::Result<Map<String, Value>> {
    let mut params = Map::new();
    for Assignment { name, value } in given {
        if params.insert(name.clone(), Value::from(value.as_str())).is_some() {
            return Err(Error::invalid(format!("the parameter `{name}` is given twice")));
        }
    }
    Ok(params)
}

/// Returns labels by their names. Of several with one name the last counts.
pub(super) fn by_name(labels: &[Assignment]) -> BTreeMap<String, String> {
    labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
}
