//! ARM's error answers, with the texts that Azure uses.

use serde_json::{Map, Value, json};

use crate::http::Reply;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ArmError {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) target: Option<String>,
    /// Whether ARM itself refused (`gateway`) or the resource provider did (`service`).
    pub(crate) cause: &'static str,
}

impl ArmError {
    /// An error of ARM itself.
    pub(crate) fn gateway(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), target: None, cause: "gateway" }
    }

    /// An error of the resource provider.
    pub(crate) fn service(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), target: None, cause: "service" }
    }

    pub(crate) fn at(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut error = Map::new();
        error.insert("code".into(), json!(self.code));
        error.insert("message".into(), json!(self.message));
        if let Some(target) = self.target {
            error.insert("target".into(), json!(target));
        }
        let body = Value::Object(Map::from_iter([("error".to_owned(), Value::Object(error))]));
        Reply::json(self.status, body).with("x-ms-failure-cause", self.cause)
    }

    pub(crate) fn resource_not_found(full_type: &str, name: &str, group: &str) -> Self {
        Self::gateway(
            404,
            "ResourceNotFound",
            format!(
                "The Resource '{full_type}/{name}' under resource group '{group}' was not found. For more details \
                 please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        )
    }

    pub(crate) fn parent_not_found(action: &str, full_type: &str, parent: &str) -> Self {
        Self::gateway(
            404,
            "ParentResourceNotFound",
            format!(
                "Failed to perform '{action}' on resource(s) of type '{full_type}', because the parent resource \
                 '{parent}' could not be found."
            ),
        )
    }

    pub(crate) fn not_registered(namespace: &str) -> Self {
        let message = format!(
            "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for \
             how to register subscriptions."
        );
        Self::gateway(409, "MissingSubscriptionRegistration", message)
    }

    pub(crate) fn group_not_found(group: &str) -> Self {
        Self::gateway(404, "ResourceGroupNotFound", format!("Resource group '{group}' could not be found."))
    }

    pub(crate) fn subscription_not_found(subscription: &str) -> Self {
        Self::gateway(
            404,
            "SubscriptionNotFound",
            format!("The subscription '{subscription}' could not be found."),
        )
    }

    pub(crate) fn conflicting_operation(resource: &str) -> Self {
        Self::service(
            409,
            "ConflictingOperation",
            format!(
                "Unable to process request. There is already a previous running operation for resource {resource}. \
                 Please wait for the previous operation to complete."
            ),
        )
    }

    pub(crate) fn not_allowed(method: &str) -> Self {
        Self::gateway(
            405,
            "MethodNotAllowed",
            format!("The request method '{method}' is not supported here."),
        )
    }

    /// A body or query the lab does not know; Azure would often ignore it.
    pub(crate) fn undocumented(what: &str, name: &str) -> Self {
        Self::gateway(
            400,
            "InvalidRequestContent",
            format!("The request content was invalid: could not find {what} '{name}' on the request."),
        )
        .at(name)
    }
}
