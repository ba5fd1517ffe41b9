//! Boot diagnostics: what a VM's serial port said and what its screen shows, as blobs behind signed addresses.

use serde_json::json;

use super::{AzureVm, Cx};
use crate::{
    arm::operations::sign_text,
    arm_error::ArmError,
    http::{Body, Call, Reply},
    machine::Os,
    state::State,
};

/// The first part of every blob's path.
const CONTAINER: &str = "bootdiagnostics";

/// How long an address is good, when nothing is said.
const MINUTES: i64 = 120;

pub(super) fn retrieve(cx: &mut Cx<'_>, vm: &AzureVm) -> Result<Reply, ArmError> {
    cx.only_query(&["sasUriExpirationTimeInMinutes"])?;
    cx.no_body()?;
    let minutes = match cx.call.query("sasUriExpirationTimeInMinutes") {
        None => MINUTES,
        Some(text) => text.parse().ok().filter(|it| (1..=1440).contains(it)).ok_or_else(|| {
            let message = format!(
                "The value '{text}' of parameter sasUriExpirationTimeInMinutes is out of range (1 to 1440)."
            );
            ArmError::service(400, "InvalidParameter", message)
        })?,
    };
    // Inferred: the words of Azure are not recorded.
    if !vm.has_diagnostics {
        let message = format!("Boot diagnostics is not enabled for VM '{}'.", vm.name);
        return Err(ArmError::service(409, "BootDiagnosticsNotEnabled", message));
    }
    let until = (cx.now + jiff::SignedDuration::from_mins(minutes)).as_second();
    let address = |name: &str| {
        let path = format!("{CONTAINER}/{}/{}.{}.{name}", vm.group, vm.name, vm.id);
        let signature = sign_text(&cx.world.client_secret, &[&path, &until.to_string()]);
        format!("{}/{path}?sv=2018-03-28&sr=b&se={until}&sp=r&sig={signature}", cx.base)
    };
    Ok(Reply::json(
        200,
        json!({
            "consoleScreenshotBlobUri": address("screenshot.bmp"),
            "serialConsoleLogBlobUri": address("serialconsole.log"),
        }),
    ))
}

/// Returns the path of a blob, when a request is for one.
pub(crate) fn path_of_blob(call: &Call) -> Option<String> {
    let path = call.segments().join("/");
    path.starts_with(CONTAINER).then_some(path)
}

/// Answers a request for a blob, which needs its signature and nothing else.
pub(crate) fn blob(state: &mut State, call: &Call, path: &str, now: jiff::Timestamp) -> Reply {
    let refused = |status, code: &str, message: &str| {
        Reply::raw(
            status,
            "application/xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
            ),
        )
    };
    if call.header("authorization").is_some() {
        state.violations.push("a token for Azure was sent with a signed address of a blob".to_owned());
    }
    let until = call.query("se").unwrap_or_default();
    let is_signed = call.query("sig") == Some(sign_text(&state.world.client_secret, &[path, until]).as_str());
    let is_over = until.parse::<i64>().is_ok_and(|until| until < now.as_second());
    if !is_signed || is_over || !call.is_read() {
        return refused(403, "AuthenticationFailed", "Server failed to authenticate the request.");
    }
    let vm = state.world.azure_vms.iter().find(|vm| path.contains(&vm.id));
    let Some(vm) = vm.filter(|vm| !state.faults.lacks_diagnostics(&vm.name)) else {
        return refused(404, "BlobNotFound", "The specified blob does not exist.");
    };
    match path.ends_with("serialconsole.log") {
        true => Reply::raw(200, "text/plain", serial_log(vm)),
        false => Reply { body: Body::Bytes("image/bmp", screen(vm)), ..Reply::empty(200) },
    }
}

/// Returns what the serial port said since the last start.
fn serial_log(vm: &AzureVm) -> String {
    match vm.os {
        Os::Linux => format!(
            "[    0.000000] Linux version 6.8.0-1017-azure (buildd@lcy02-amd64-001)\n\
             [    1.204112] systemd[1]: Hostname set to <{name}>.\n\
             [    4.778031] cloud-init[612]: Cloud-init v. 24.2 running 'init'\n\
             [    9.112090] systemd[1]: Started OpenBSD Secure Shell server.\n\
             \n{name} login: ",
            name = vm.name
        ),
        Os::Windows => {
            format!("<?xml version=\"1.0\"?>\nSAC>\nEVENT: The CMD command is now available.\n{}\n", vm.name)
        }
    }
}

/// Returns a picture of the screen: a bitmap of 64 by 48 points, of one colour that tells whether the VM is up.
fn screen(vm: &AzureVm) -> Vec<u8> {
    const WIDTH: u32 = 64;
    const HEIGHT: u32 = 48;
    let pixels = WIDTH * HEIGHT * 3;
    let colour: [u8; 3] = if vm.is_up() { [0x80, 0x30, 0x10] } else { [0, 0, 0] };
    let mut bitmap = b"BM".to_vec();
    for word in [54 + pixels, 0, 54, 40, WIDTH, HEIGHT] {
        bitmap.extend(word.to_le_bytes());
    }
    // One plane of 24 bits, not compressed.
    bitmap.extend([1, 0, 24, 0]);
    for word in [0, pixels, 2835, 2835, 0, 0] {
        bitmap.extend(u32::to_le_bytes(word));
    }
    bitmap.extend(colour.iter().copied().cycle().take(pixels as usize));
    bitmap
}
