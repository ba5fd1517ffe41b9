//! `rdp::view`: shows a desktop with the viewer that is here.

use super::Viewer;
use crate::prelude::*;

/// Shows the desktop at a port with the viewer of Remote Desktop that is here: `mstsc`, the app for RDP files of macOS, FreeRDP.
/// It is waited for until the person closes it. Where there is no viewer, or no screen to show it on, nothing is shown, and the value
/// says so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Where the desktop is, such as what `ssh::forward` gives.
    at: At,
    /// User to propose.
    #[serde(default)]
    user: Option<String>,
    /// Title of the window; the address when left out.
    #[serde(default)]
    title: Option<String>,
}

/// The part of a forward that a viewer needs.
#[derive(Debug, Deserialize, JsonSchema)]
struct At {
    /// Address to connect to.
    address: String,
    /// Its port.
    port: u16,
}

/// What was shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Viewed {
    /// Name of the viewer; nothing when there was none.
    viewer: Option<String>,
}

/// `rdp::view`.
pub(crate) struct View(pub(crate) Option<Viewer>);

impl Operation for View {
    type Args = Args;
    type Output = Viewed;

    const NAME: &'static str = "rdp::view";
    const SUMMARY: &'static str = "Shows a desktop with the viewer that is here, until the person closes it.";
    const EFFECTS: &'static [Effect] = &[Effect::Screen];
    // A window that is opened again shows the same.
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        let script =
            r#"rdp::view(#{ address: "127.0.0.1", port: 3389 }, #{ user: "administrator" }).viewer == ()"#;
        vec![Example::new("See whether there was a viewer.", script).on("edge").gives(json!(true))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Viewed>> {
        let Some(viewer) = &self.0 else { return Ok(Outcome::done(Viewed { viewer: None })) };
        let at = format!("{}:{}", args.at.address, args.at.port);
        let title = args.title.as_deref().unwrap_or(&at);
        cx.progress(format!("{} shows {title} until it is closed", viewer.name()), None);
        tokio::select! {
            shown = viewer.open(&at, args.user.as_deref(), title) => shown?,
            () = cx.cancelled() => return Err(Error::new(ErrorKind::Unsent, "the viewer was closed with the run")),
        }
        Ok(Outcome::done(Viewed { viewer: Some(viewer.name()) }))
    }
}
