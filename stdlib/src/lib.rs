//! Azure Local and Azure Arc as operations for Relight runbooks.
//!
//! Each area is a folder, each operation a file: its name, its sentence, its arguments, its examples (which run as
//! tests against the lab), and its code. [`azure`] is how all of them talk to Azure.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod arc;
mod arm;
pub mod azure;
mod local;
pub mod net;
mod prelude;
mod rdp;
mod reconcile;
mod reference;
mod schedule;
mod vmconnect;

use relight_engine::{Error, Registered, Result};

pub use net::Dialer;
pub use reference::Ref;

/// What the operations work with: a connection, and the defaults for what a script leaves out.
#[derive(Clone, Debug)]
pub struct Azure {
    /// The connection to Azure Resource Manager.
    pub arm: azure::Arm,
    /// The subscription in which names are looked up.
    pub subscription: Option<String>,
    /// The resource group in which names are looked up first.
    pub group: Option<String>,
    /// How ports of hosts are reached.
    pub dial: Dialer,
}

impl Azure {
    /// Returns the subscription in which names are looked up.
    fn subscription(&self) -> Result<&str> {
        self.subscription.as_deref().filter(|s| !s.is_empty()).ok_or_else(|| {
            Error::invalid("no subscription is chosen, so a name cannot be looked up")
                .hint("set AZURE_SUBSCRIPTION_ID, or give the whole resource id")
        })
    }

    /// Returns the resource group that a call names, else the default one. An empty name counts as none.
    fn group<'a>(&'a self, named: Option<&'a str>) -> Option<&'a str> {
        named.or(self.group.as_deref()).filter(|group| !group.is_empty())
    }
}

/// Reads the parameter kind `resource_id`, for [`EngineBuilder::parameter_kind`](relight_engine::EngineBuilder).
///
/// # Errors
/// What is wrong with the text.
pub fn read_resource_id(text: &str) -> Result<serde_json::Value, String> {
    let id = azure::ResourceId::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(serde_json::Value::String(id.to_string()))
}

/// Returns every operation.
pub fn all(azure: &Azure) -> Vec<Registered> {
    let areas = [
        local::all(azure),
        vmconnect::all(azure),
        rdp::all(),
        net::all(azure),
        schedule::all(),
        arc::all(azure),
        arm::all(azure),
    ];
    areas.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn azure() -> Azure {
        let credential = azure::Credential::AzureCli { tenant: None };
        Azure {
            arm: azure::Arm::builder(azure::Cloud::public(), credential).build().unwrap(),
            subscription: Some("s".into()),
            group: None,
            dial: Dialer::direct(),
        }
    }

    /// The manners that every operation keeps. All offenders are named at once.
    #[test]
    fn every_operation_has_manners() {
        let mut problems = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for operation in all(&azure()) {
            let it = &operation.declaration;
            let mut check = |holds: bool, rule: &str| {
                if !holds {
                    problems.push(format!("{}: {rule}", it.name));
                }
            };
            check(names.insert(it.name), "the name is taken");
            check(it.name.split("::").count() == 2, "the name is area::verb");
            check(
                it.summary.starts_with(char::is_uppercase) && it.summary.ends_with('.'),
                "the summary is a sentence",
            );
            check(!it.examples.is_empty(), "there is an example");
            check(it.examples.iter().any(|e| e.gives.is_some()), "an example says what it gives");
            check(it.examples.iter().all(|e| e.world == Some("edge")), "examples name their world");
            for field in it.params.iter().chain(&it.output_fields()) {
                check(!field.help.is_empty(), &format!("`{}` is explained", field.name));
                check(!field.kind.is_empty(), &format!("`{}` has a type", field.name));
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
