//! What receivers were told, and are to be told.

use async_trait::async_trait;
use hyper::Method;
use relight_engine::journal::{DeliveryFilter, DeliveryState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::call::Call;
use super::super::endpoint::{Endpoint, Needs, NoBody};
use super::super::refusal::Outcome;
use super::super::reply::Json;
use super::super::tokens::Role;
use super::super::views::DeliveryView;

/// How many notifications are shown unless more are asked for.
const USUAL: usize = 50;

/// Which notifications.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotificationQuery {
    /// Only those to this receiver.
    receiver: Option<String>,
    /// Only those in this state.
    state: Option<Reached>,
    /// At most so many; 50 when left out.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u16>,
}

/// How far a notification came.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Reached {
    /// On its way, or tried again later.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Not tried any more.
    GivenUp,
}

impl From<Reached> for DeliveryState {
    fn from(state: Reached) -> Self {
        match state {
            Reached::Waiting => DeliveryState::Waiting,
            Reached::Delivered => DeliveryState::Delivered,
            Reached::GivenUp => DeliveryState::GivenUp,
        }
    }
}

/// Notifications, the newest first: one for each receiver.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Notifications")]
pub(super) struct Notifications {
    notifications: Vec<DeliveryView>,
}

/// What is told to whom.
pub(super) struct ListNotifications;

#[async_trait]
impl Endpoint for ListNotifications {
    const NAME: &'static str = "list_notifications";
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/v1/notifications";
    const SUMMARY: &'static str =
        "Lists what receivers were told and are to be told, the newest first, and what is in the way.";
    const NEEDS: Needs = Needs::WholeRole(Role::View);
    const GRANTED: &'static [(u16, &'static str)] = &[(200, "The notifications.")];
    type Query = NotificationQuery;
    type Body = NoBody;
    type Answer = Json<Notifications>;

    async fn answer(call: &Call, query: NotificationQuery, _: NoBody) -> Outcome<Json<Notifications>> {
        let mut filter = DeliveryFilter::default().at_most(query.limit.map_or(USUAL, usize::from));
        filter.receiver = query.receiver;
        filter.state = query.state.map(Into::into);
        let found = call.shared.engine.journal().outbox().deliveries(&filter).await?;
        Ok(Json::new(Notifications { notifications: found.iter().map(DeliveryView::of).collect() }))
    }
}
