//! Whether the collector of traces takes what it is sent: an empty request is one, says the protocol.

use std::sync::Arc;

use relight_engine::Result;

use super::Found;
use crate::azure;
use crate::config::Traces;
use crate::secrets::Secrets;
use crate::setup::Home;
use crate::traces::try_out;

/// Asks the collector, if there is one.
pub(super) async fn look(home: &Home) -> Option<Found> {
    let traces = home.traces().transpose()?;
    Some(match traces {
        Ok(traces) => ask(home, &traces).await.unwrap_or_else(Found::Fail),
        Err(error) => Found::Fail(error),
    })
}

async fn ask(home: &Home, traces: &Traces) -> Result<Found> {
    // Only a secret in a key vault needs Azure.
    let azure = match traces.secrets().any(|name| name.starts_with("keyvault:")) {
        true => home.reach().await?,
        false => azure::nowhere()?,
    };
    let place = traces.url.origin().ascii_serialization();
    Ok(match try_out(traces, Arc::new(Secrets(azure.arm))).await? {
        None => Found::Ok(format!("{place} takes them")),
        Some(because) => Found::Warn(
            format!("{place} does not take them: {because}"),
            "runs go on without; look at [traces] in relight.toml and at the collector".to_owned(),
        ),
    })
}
