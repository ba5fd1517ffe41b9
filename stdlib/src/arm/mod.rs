//! `arm`: the escape hatch. Any request to Azure Resource Manager, with the same journaling and the same waiting.

mod delete;
mod get;
mod patch;
mod post;
mod put;
mod register;

use relight_engine::Registered;
use serde::de::DeserializeOwned;

use crate::prelude::*;
use crate::reconcile::{DesiredState, Known, Look, Request, ResourceOperation, register};

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(get::Get(azure.clone())),
        register(Raw(azure.clone(), put::Put)),
        register(Raw(azure.clone(), patch::Patch)),
        register(Raw(azure.clone(), post::Post)),
        register(Raw(azure.clone(), delete::Delete)),
        register(self::register::Register(azure.clone())),
    ]
}

/// A request of which only the script knows what it means.
trait RawWrite: Send + Sync + 'static {
    type Args: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    const NAME: &'static str;
    const SUMMARY: &'static str;
    const METHOD: Method;
    const REDO: Redo;
    const CODES: &'static [ErrorCode];

    fn examples() -> Vec<Example>;

    fn asked(args: &Self::Args) -> Asked<'_>;
}

/// What the arguments ask for.
struct Asked<'a> {
    path: &'a str,
    version: &'a str,
    body: Option<&'a Value>,
    wait: Option<Span>,
}

/// The operation of a raw request: its own result is all there is to see.
struct Raw<W>(Azure, W);

impl<W: RawWrite> DesiredState for Raw<W> {
    type Args = W::Args;
    type Target = String;
    type Value = Value;

    const REDO: Redo = W::REDO;

    fn azure(&self) -> &Azure {
        &self.0
    }

    async fn look(&self, _cx: &Cx, _args: &W::Args, _path: &String, known: Known) -> Result<Look<Value>> {
        Ok(known.result.map_or(Look::Blind, Look::Reached))
    }

    fn doing(&self, path: &String) -> String {
        format!("{} {path}", W::METHOD)
    }

    fn request<'a>(&self, args: &'a W::Args, _path: &'a String) -> Request<'a> {
        let Asked { path, version, body, .. } = W::asked(args);
        Request::unknown(W::METHOD, path, version).body(body.cloned())
    }
}

impl<W: RawWrite> ResourceOperation for Raw<W> {
    const NAME: &'static str = W::NAME;
    const SUMMARY: &'static str = W::SUMMARY;
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const CODES: &'static [ErrorCode] = W::CODES;
    const WITHIN: Duration = Duration::from_secs(3600);

    fn examples() -> Vec<Example> {
        W::examples()
    }

    async fn target(&self, _cx: &Cx, args: &W::Args) -> Result<String> {
        Ok(W::asked(args).path.to_owned())
    }

    fn within(&self, args: &W::Args) -> Duration {
        W::asked(args).wait.map_or(Self::WITHIN, Span::get)
    }
}
