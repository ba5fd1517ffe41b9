//! `rdp::set_address`: makes a Remote Desktop file lead to another address of the host.

use super::write::check_address;
use super::{read_file, write_file};
use crate::prelude::*;

/// Puts another address into a Remote Desktop file and leaves the rest as it is. For a host with several networks,
/// whose file names an address that cannot be reached from where the file is opened.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File to change, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
    /// Address or name of the host.
    address: String,
}

/// `rdp::set_address`.
pub(crate) struct SetAddress;

impl Operation for SetAddress {
    type Args = Args;
    type Output = String;

    const NAME: &'static str = "rdp::set_address";
    const SUMMARY: &'static str = "Makes a Remote Desktop file lead to another address.";
    const EFFECTS: &'static [Effect] = &[Effect::FileRead, Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "Use another address of the host.",
                r#"rdp::write("x.rdp", #{ vm_id: "0a1b", addresses: ["192.0.2.10"] });
                   rdp::set_address("x.rdp", "192.0.2.11"); rdp::read("x.rdp").address"#,
            )
            .on("edge")
            .gives(json!("192.0.2.11")),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<String>> {
        let path = cx.file(&args.path)?;
        let mut file = read_file(&path)?;
        file.set("full address", check_address(&args.address)?);
        write_file(&path, &file)?;
        Ok(Outcome::done(args.path.clone()))
    }
}
