//! Whether those are told who want to be: what was delivered last, what waits, and what was given up.

use jiff::Timestamp;
use relight_engine::Result;
use relight_engine::journal::{Delivery, DeliveryFilter, DeliveryState, Journal};

use super::Found;
use crate::config::Receiver;
use crate::format::{brief, relative, when};
use crate::setup::Home;

/// How many of the newest are looked through for the last trouble.
const NEWEST: usize = 100;

/// Looks at each receiver of the configuration.
pub(super) async fn look(home: &Home) -> Vec<Found> {
    let receivers = &home.config().receivers;
    if receivers.is_empty() {
        return Vec::new();
    }
    let engine = match home.offline_engine() {
        Ok(engine) => engine,
        Err(error) => return vec![Found::Fail(error)],
    };
    let mut found = Vec::with_capacity(receivers.len());
    for receiver in receivers {
        found.push(one(&**engine.journal(), receiver, &home.same_place()).await.unwrap_or_else(Found::Fail));
    }
    found
}

async fn one(journal: &dyn Journal, receiver: &Receiver, place: &str) -> Result<Found> {
    let (name, by) = (&receiver.name, receiver.by.as_str());
    if !journal.outbox().subscriptions().await?.iter().any(|one| one.receiver == *name) {
        let said = format!("{name} ({by}): is told nothing until `relight serve` has begun with it");
        return Ok(Found::Warn(said, format!("start it: relight serve{place}")));
    }
    let newest = async |state| {
        journal.outbox().deliveries(&DeliveryFilter::default().to(name).state(state).at_most(NEWEST)).await
    };
    let tally = journal.outbox().delivery_tally().await?;
    let count = |state| {
        tally
            .iter()
            .find(|(receiver, own, _)| receiver == name && *own == state)
            .map_or(0, |(.., count)| *count)
    };
    let now = Timestamp::now();
    let delivered = newest(DeliveryState::Delivered).await?.iter().filter_map(|it| it.settled).max();
    let last = match delivered {
        Some(at) => format!("last delivered {}", when(now, at)),
        None => "nothing was delivered yet".to_owned(),
    };
    let (waiting, given_up) = (count(DeliveryState::Waiting), count(DeliveryState::GivenUp));
    let mut said = format!("{name} ({by}): {last}, {waiting} waiting, {given_up} given up");
    let of_waiting = last_trouble(&newest(DeliveryState::Waiting).await?);
    let trouble = of_waiting.or(last_trouble(&newest(DeliveryState::GivenUp).await?));
    let Some((at, because)) = trouble else { return Ok(Found::Ok(said)) };
    said.push_str(&format!("; {}: {}", relative(now, at), brief(&because, 200)));
    Ok(Found::Warn(said, format!("try it: relight notifications test {name}{place}")))
}

fn last_trouble(deliveries: &[Delivery]) -> Option<(Timestamp, String)> {
    let troubles = deliveries.iter().filter_map(|delivery| delivery.trouble.as_ref());
    troubles.max_by_key(|trouble| trouble.at).map(|trouble| (trouble.at, trouble.because.clone()))
}
