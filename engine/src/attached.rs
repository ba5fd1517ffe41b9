//! Operations that hold something open for the rest of the run.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::cx::Cx;
use crate::effect::Effect;
use crate::error::{Error, Result};
use crate::handles::{Handle, Opened, Recipe, Reopen};
use crate::operation::{Example, Opens, Operation, Outcome, Redo, Registered};
use crate::recorded;

/// An operation that opens something and holds it open for the rest of the run: a session, a tunnel, a port.
///
/// Its value is a *recipe*: enough to open the same thing again. Replay hands back the recipe; the thing is
/// opened again when it is needed ([`Reopen`]). It is closed when the run ends, parks or is stopped, the
/// last opened first. A step that uses it takes a [`Handle`] and asks [`Cx::live`].
///
/// Opening leaves nothing behind that closing the process does not end: it may be done any number of
/// times. What has to be taken back (a firewall rule, a lease) is an operation of its own.
pub trait Attached: Send + Sync + 'static {
    /// The arguments.
    type Args: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What opens the same thing again, and what the script sees of it.
    type Recipe: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// What is open.
    type Live: Send + Sync + 'static;

    /// The name in scripts: `area::verb`.
    const NAME: &'static str;
    /// One sentence that says what is true afterwards.
    const SUMMARY: &'static str;
    /// What it may do.
    const EFFECTS: &'static [Effect];
    /// Which codes its errors may have that a script can decide on.
    const CODES: &'static [ErrorCode] = &[];
    /// When it is opened again.
    const REOPEN: Reopen = Reopen::OnUse;
    /// Whether it needs a person's terminal, as [`Operation::TERMINAL`].
    const TERMINAL: bool = false;

    /// Returns examples; each runs as a test.
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Opens it: for the first time, or `again` as the recipe says. A recipe that is opened again stays what it is.
    ///
    /// What works behind it may keep a clone of `cx` for [`Cx::output`] and [`Cx::progress`].
    fn open(
        &self,
        cx: &Cx,
        args: &Self::Args,
        again: Option<&Self::Recipe>,
    ) -> impl Future<Output = Result<(Self::Recipe, Self::Live)>> + Send;

    /// Closes it in good order. Whatever is left of it is dropped afterwards, and after five seconds in any case.
    fn close(&self, _cx: &Cx, _live: &Self::Live) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// A recipe with the name of what it opened: the value of the step.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Held<R> {
    /// What to give to operations that use it.
    handle: Handle,
    #[serde(flatten)]
    recipe: R,
}

/// An attached operation as a plain one, which opens what it is for.
struct Opening<A>(Arc<A>);

impl<A: Attached> Operation for Opening<A> {
    type Args = A::Args;
    type Output = Held<A::Recipe>;

    const NAME: &'static str = A::NAME;
    const SUMMARY: &'static str = A::SUMMARY;
    const EFFECTS: &'static [Effect] = A::EFFECTS;
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = A::CODES;
    const TERMINAL: bool = A::TERMINAL;

    fn examples() -> Vec<Example> {
        A::examples()
    }

    async fn begin(&self, cx: &Cx, args: &A::Args) -> Result<Outcome<Held<A::Recipe>>> {
        let (recipe, live) = self.0.open(cx, args, None).await?;
        cx.around.handles.hold(cx.run(), cx.step(), A::NAME, A::REOPEN, opened(&self.0, cx, live));
        Ok(Outcome::done(Held { handle: Handle::new(cx.run(), cx.step()), recipe }))
    }
}

fn opened<A: Attached>(attached: &Arc<A>, cx: &Cx, live: A::Live) -> Opened {
    let live = Arc::new(live);
    let close = {
        let (attached, cx, live) = (attached.clone(), cx.clone(), live.clone());
        async move { attached.close(&cx, &live).await }.boxed()
    };
    Opened { live, close }
}

struct Opener<A>(Arc<A>);

impl<A: Attached> Opens for Opener<A> {
    fn recipe(&self, cx: Cx, args: Value, value: Value) -> Recipe {
        let attached = self.0.clone();
        let open = move || -> BoxFuture<'static, Result<Opened>> {
            let (attached, cx) = (attached.clone(), cx.clone());
            let (args, value) =
                (recorded::argument(&args).into_owned(), recorded::argument(&value).into_owned());
            Box::pin(async move {
                let unread =
                    |e| Error::unreadable(format!("the recipe of `{}` cannot be read", A::NAME)).because(e);
                let args: A::Args = serde_json::from_value(args).map_err(unread)?;
                let held: Held<A::Recipe> = serde_json::from_value(value).map_err(unread)?;
                let (_, live) = attached.open(&cx, &args, Some(&held.recipe)).await?;
                Ok(opened(&attached, &cx, live))
            })
        };
        Recipe { name: A::NAME, reopen: A::REOPEN, open: Box::new(open) }
    }
}

impl Registered {
    /// Registers an operation that holds something open.
    pub fn attached<A: Attached>(attached: A) -> Self {
        let attached = Arc::new(attached);
        let mut registered = Registered::new(Opening(attached.clone()));
        registered.opens = Some(Arc::new(Opener(attached)));
        registered
    }
}
