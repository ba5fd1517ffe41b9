//! A machine of Azure Arc as one whose agent installs extensions and runs scripts.

use crate::agent::COMMAND_FAILED;
use crate::agent::{About, Host, Located};
use crate::prelude::*;

/// A machine of Azure Arc.
pub(crate) struct ArcHost;

impl Host for ArcHost {
    /// All have extensions in the shape of the oldest.
    const EXTENSIONS: Api<'static> = Api {
        kind: "Microsoft.HybridCompute/machines/extensions",
        versions: &["2026-07-15", "2025-06-01", "2025-01-13", "2024-07-10"],
    };
    /// For years there were previews alone; the stable version of 2024-07-10 does not know the type.
    const RUN_COMMANDS: Api<'static> = Api {
        kind: "Microsoft.HybridCompute/machines/runCommands",
        versions: &[
            "2026-07-15",
            "2024-09-10-preview",
            "2024-07-31-preview",
            "2024-03-31-preview",
            "2023-10-03-preview",
        ],
    };
    const WITH_VIEW: &'static str = "";
    const LOGS: &'static str = "on the machine: `azcmagent logs` collects what the extension wrote";

    const INSTALL: About = About {
        name: "arc::extension_install",
        summary: "Installs an extension on an Arc machine and waits until it works.",
        example: (
            "Have SSH installed.",
            r#"arc::extension_install("db-01", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH").state"#,
            r#""Succeeded""#,
        ),
    };
    const REMOVE: About = About {
        name: "arc::extension_remove",
        summary: "Removes an extension from an Arc machine and waits until it is gone.",
        example: (
            "Remove an extension.",
            r#"arc::extension_remove("db-01", "AzureMonitorWindowsAgent").changed"#,
            "true",
        ),
    };
    const STATUS: About = About {
        name: "arc::extension_status",
        summary: "Reads one extension of an Arc machine.",
        example: (
            "See which version is installed.",
            r#"arc::extension_status("db-01", "AzureMonitorWindowsAgent").version"#,
            r#""1.31.0.0""#,
        ),
    };
    const RUN: About = About {
        name: "arc::run_command",
        summary: "Runs a script on an Arc machine as its administrator, through its agent.",
        example: (
            "Ask a machine for its name.",
            r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arc::run_command(app, "hostname").output
        "#,
            r#""app-01\n""#,
        ),
    };

    const INSTALL_CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH];
    const RUN_CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OUT_OF_TOUCH, COMMAND_FAILED];

    async fn find(azure: &Azure, cx: &Cx, machine: &Ref, group: Option<&str>) -> Result<Located> {
        let machine = azure.find_machine(cx, machine, group).await?;
        Ok(Located { id: machine.id, location: machine.location, os: machine.os, has_identity: true })
    }

    async fn check_takes_work(azure: &Azure, cx: &Cx, machine: &ResourceId) -> Result<()> {
        azure.check_in_touch(cx, machine).await
    }
}
