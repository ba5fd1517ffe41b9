//! `rdp::read`: reads a Remote Desktop file.

use super::read_file;
use crate::prelude::*;

/// Reads where a Remote Desktop file leads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File to read, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
}

/// Where a Remote Desktop file leads.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Contents {
    /// Address of the host.
    address: Option<String>,
    /// Port of the host; 3389 when the file names none.
    port: u16,
    /// Id by which Hyper-V knows the VM, when the file opens a console.
    vm_id: Option<String>,
    /// User name that is proposed.
    username: Option<String>,
}

/// `rdp::read`.
pub(crate) struct ReadRdp;

impl Operation for ReadRdp {
    type Args = Args;
    type Output = Contents;

    const NAME: &'static str = "rdp::read";
    const SUMMARY: &'static str = "Reads where a Remote Desktop file leads.";
    const EFFECTS: &'static [Effect] = &[Effect::FileRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "See to which port a file leads.",
                r#"rdp::write("x.rdp", #{ vm_id: "0a1b", addresses: ["192.0.2.10"] }); rdp::read("x.rdp").port"#,
            )
            .on("edge")
            .gives(json!(2179)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Contents>> {
        let file = read_file(&cx.file(&args.path)?)?;
        let vm_id = file.get("pcb").and_then(|pcb| pcb.split(';').next()).filter(|id| !id.is_empty());
        Ok(Outcome::done(Contents {
            address: file.text("full address"),
            port: file.get("server port").and_then(|port| port.trim().parse().ok()).unwrap_or(3389),
            vm_id: vm_id.map(str::to_owned),
            username: file.text("username"),
        }))
    }
}
