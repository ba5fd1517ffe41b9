//! `compute::boot_diagnostics`: what the serial port and the screen of a virtual machine in Azure showed last.

use super::find::VMS;
use super::vm::Vm;
use crate::file::unwritten;
use crate::prelude::*;

/// How long the signed addresses are good: they are used at once.
const GOOD_FOR: &str = "5";
/// How long what is not there yet is waited for: a VM that was just started shows nothing for the first minutes.
const WITHIN: Duration = Duration::from_secs(5 * 60);
const LOOK: Duration = Duration::from_secs(20);
/// The longest log and the largest picture that are taken.
const LARGEST: usize = 16 << 20;

/// Writes the log of the serial port and the picture of the screen of a virtual machine in Azure into two files. What is not there yet is
/// waited for, up to 5 minutes. Confirmed (recorded): the addresses of both are signed, so that no token goes there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// VM: its name, its resource id, or a value with an `id`.
    vm: Ref,
    /// File for the log; named after the VM when left out.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    log: Option<String>,
    /// File for the picture, a bitmap; named after the VM when left out.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    screenshot: Option<String>,
    /// Resource group of the VM. The configured group when left out.
    #[serde(default)]
    group: Option<String>,
}

/// The files that were written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// File with the log.
    log: String,
    /// Bytes of the log.
    log_bytes: u64,
    /// File with the picture.
    screenshot: String,
    /// Bytes of the picture.
    screenshot_bytes: u64,
    /// The last line that the serial port wrote, without its control characters.
    last_line: String,
}

/// What is stored while the blobs are waited for.
#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    vm: ResourceId,
    until: Timestamp,
}

/// `compute::boot_diagnostics`.
pub(crate) struct BootDiagnostics(pub(crate) Azure);

impl Operation for BootDiagnostics {
    type Args = Args;
    type Output = Written;

    const NAME: &'static str = "compute::boot_diagnostics";
    const SUMMARY: &'static str =
        "Writes the serial log and a picture of the screen of a virtual machine in Azure.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureRead, Effect::FileWrite];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND, ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"compute::boot_diagnostics("jump-01", #{ group: "rg-cloud" }).last_line"#;
        vec![Example::new("See how far a VM got.", script).on("edge").gives(json!("jump-01 login:"))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Written>> {
        let vm = self.0.find_azure_vm(cx, &args.vm, args.group.as_deref()).await?;
        if !vm.has_boot_diagnostics {
            return Err(without_diagnostics(&vm));
        }
        self.fetch(cx, args, Waiting { vm: vm.id, until: cx.after(WITHIN) }).await
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<Written>> {
        self.fetch(cx, args, restored(Self::NAME, at)?).await
    }
}

impl BootDiagnostics {
    async fn fetch(&self, cx: &Cx, args: &Args, at: Waiting) -> Result<Outcome<Written>> {
        let path = format!("{}/retrieveBootDiagnosticsData?sasUriExpirationTimeInMinutes={GOOD_FOR}", at.vm);
        let places = self.0.arm.ask(&cx.into(), &path, VMS, None).await?;
        let blob = async |name: &str| match text(&places, &format!("/{name}")) {
            Some(address) => self.0.arm.download(address, LARGEST).await,
            None => Ok(None),
        };
        let (log, screen) = (blob("serialConsoleLogBlobUri").await?, blob("consoleScreenshotBlobUri").await?);
        let (Some(log), Some(screen)) = (log, screen) else {
            if cx.now() >= at.until {
                return Err(Error::rejected(format!("`{}` has shown nothing yet", at.vm.name()))
                    .code(ErrorCode::NOT_FOUND)
                    .hint("it may have been off since boot diagnostics were switched on: start it, then ask again"));
            }
            return Ok(Outcome::pending(&at, LOOK)?.within(WITHIN * 2).saying("nothing is there yet", None));
        };
        let named = |named: &Option<String>, end: &str| {
            named.clone().unwrap_or_else(|| format!("{}-{end}", at.vm.name()))
        };
        let (log_file, picture) = (named(&args.log, "serial.log"), named(&args.screenshot, "screen.bmp"));
        cx.file(&log_file)?.replace(&log).map_err(|e| unwritten(&log_file, e))?;
        cx.file(&picture)?.replace(&screen).map_err(|e| unwritten(&picture, e))?;
        Ok(Outcome::done(Written {
            last_line: last_line(&log),
            log_bytes: log.len() as u64,
            screenshot_bytes: screen.len() as u64,
            log: log_file,
            screenshot: picture,
        }))
    }
}

fn without_diagnostics(vm: &Vm) -> Error {
    Error::rejected(format!("Azure keeps nothing of what `{}` shows: boot diagnostics are off", vm.name))
        .code(ErrorCode::NOT_FOUND)
        .hint(format!("switch them on for the next time: az vm boot-diagnostics enable --ids {}", vm.id))
}

/// Returns the last line that says something.
fn last_line(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.chars().filter(|c| !c.is_control()).take(200).collect()
}
