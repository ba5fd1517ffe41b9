//! What an agent in a machine does for those outside: it installs extensions and runs scripts. Machines of Azure Arc have one, and
//! virtual machines in Azure; both are asked in the same words.

mod extension;
mod extension_install;
mod extension_remove;
mod extension_status;
mod run_command;

use relight_engine::Registered;

pub(crate) use extension::Extension;

use crate::prelude::*;
use crate::reconcile::register;

/// A command or a script came to an end, and says that it failed.
pub const COMMAND_FAILED: ErrorCode = ErrorCode::new("CommandFailed");

/// The kind of machine whose agent it is.
pub(crate) trait Host: Send + Sync + 'static {
    /// Its extensions.
    const EXTENSIONS: Api<'static>;
    /// Its run commands.
    const RUN_COMMANDS: Api<'static>;
    /// What follows the path of a part of it, so that what the agent says about that part is told as well.
    const WITH_VIEW: &'static str;
    /// Where somebody on the machine finds what an extension wrote.
    const LOGS: &'static str;

    const INSTALL: About;
    const REMOVE: About;
    const STATUS: About;
    const RUN: About;

    /// Which codes the errors of an installation may have.
    const INSTALL_CODES: &'static [ErrorCode];
    /// Which codes the errors of a script may have.
    const RUN_CODES: &'static [ErrorCode];

    /// Finds the machine that is meant.
    ///
    /// # Errors
    /// `NotFound`, and whatever Azure says.
    fn find(
        azure: &Azure,
        cx: &Cx,
        machine: &Ref,
        group: Option<&str>,
    ) -> impl Future<Output = Result<Located>> + Send;

    /// Returns the version that a machine of this kind is told where that is not simply the one that was asked for, knowing the one of that
    /// type that is there, and refuses what cannot work.
    ///
    /// # Errors
    /// `Invalid` for a version that is none, `Rejected` for what the machine lacks, and whatever Azure says.
    fn version(
        _azure: &Azure,
        _cx: &Cx,
        _on: &Located,
        _wanted: &Wanted<'_>,
        _found: Option<&Extension>,
    ) -> impl Future<Output = Result<Option<String>>> + Send {
        async { Ok(None) }
    }

    /// Makes sure that the agent takes up what it is told.
    ///
    /// # Errors
    /// `OutOfTouch` or `Off` when it does not.
    fn check_takes_work(
        azure: &Azure,
        cx: &Cx,
        machine: &ResourceId,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// What is said about an operation of one kind of machine.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    /// Title, script, world and value of an example.
    pub(crate) example: (&'static str, &'static str, &'static str),
}

impl About {
    fn examples(&self) -> Vec<Example> {
        let (title, script, value) = self.example;
        let value = serde_json::from_str(value).unwrap_or(Value::Null);
        vec![Example::new(title, script).on("edge").gives(value)]
    }
}

/// A machine, and the region that its parts must name.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) id: ResourceId,
    pub(crate) location: String,
    /// The kind of operating system, windows or linux, where Azure knows it.
    pub(crate) os: Option<String>,
    /// Whether it can sign in to Azure by itself.
    pub(crate) has_identity: bool,
}

/// An extension that is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) publisher: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) version: Option<&'a str>,
}

/// Returns the operations of a kind of machine.
pub(crate) fn all<H: Host>(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(extension_status::ExtensionStatus::<H>::new(azure)),
        register(extension_install::ExtensionInstall::<H>::new(azure)),
        register(extension_remove::ExtensionRemove::<H>::new(azure)),
        Registered::new(run_command::RunCommand::<H>::new(azure)),
    ]
}
