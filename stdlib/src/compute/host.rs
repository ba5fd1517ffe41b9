//! A virtual machine in Azure as one whose agent installs extensions and runs scripts.

use super::extensions;
use crate::agent::{About, COMMAND_FAILED, Extension, Host, Located, Wanted};
use crate::prelude::*;

/// A virtual machine in Azure.
pub(crate) struct AzureHost;

/// What all versions share.
const VERSIONS: &[&str] = &["2026-04-01", "2024-07-01", "2023-09-01", "2022-03-01"];

impl Host for AzureHost {
    const EXTENSIONS: Api<'static> =
        Api { kind: "Microsoft.Compute/virtualMachines/extensions", versions: VERSIONS };
    const RUN_COMMANDS: Api<'static> =
        Api { kind: "Microsoft.Compute/virtualMachines/runCommands", versions: VERSIONS };
    const WITH_VIEW: &'static str = "?$expand=instanceView";
    const LOGS: &'static str =
        "on the VM: /var/log/azure or C:\\WindowsAzure\\Logs\\Plugins holds what the extension wrote";

    const INSTALL: About = About {
        name: "compute::extension_install",
        summary: "Installs an extension on a virtual machine in Azure and waits until it works.",
        example: (
            "Let people sign in with Entra ID.",
            r#"compute::extension_install("jump-01", "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux", #{ group: "rg-cloud" }).state"#,
            r#""Succeeded""#,
        ),
    };
    const REMOVE: About = About {
        name: "compute::extension_remove",
        summary: "Removes an extension from a virtual machine in Azure and waits until it is gone.",
        example: (
            "What is not there is removed already.",
            r#"compute::extension_remove("jump-01", "CustomScript", #{ group: "rg-cloud" }).changed"#,
            "false",
        ),
    };
    const STATUS: About = About {
        name: "compute::extension_status",
        summary: "Reads one extension of a virtual machine in Azure.",
        example: (
            "See how an extension stands.",
            r#"
            let vm = compute::vm("sql-01", #{ group: "rg-cloud" });
            compute::extension_install(vm, "Microsoft.Azure.OpenSSH", "WindowsOpenSSH");
            compute::extension_status(vm, "WindowsOpenSSH").state
        "#,
            r#""Succeeded""#,
        ),
    };
    const RUN: About = About {
        name: "compute::run_command",
        summary: "Runs a script on a virtual machine in Azure as its administrator, through its agent.",
        example: (
            "Ask a VM for its name.",
            r#"compute::run_command("jump-01", "hostname", #{ group: "rg-cloud" }).output"#,
            r#""jump-01\n""#,
        ),
    };

    const INSTALL_CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH];
    const RUN_CODES: &'static [ErrorCode] =
        &[ErrorCode::NOT_FOUND, ErrorCode::BUSY, ErrorCode::OFF, ErrorCode::OUT_OF_TOUCH, COMMAND_FAILED];

    async fn find(azure: &Azure, cx: &Cx, machine: &Ref, group: Option<&str>) -> Result<Located> {
        let vm = azure.find_azure_vm(cx, machine, group).await?;
        Ok(Located { id: vm.id, location: vm.location, os: vm.os, has_identity: vm.has_identity })
    }

    async fn version(
        azure: &Azure,
        cx: &Cx,
        on: &Located,
        wanted: &Wanted<'_>,
        found: Option<&Extension>,
    ) -> Result<Option<String>> {
        extensions::version(azure, cx, on, wanted, found).await.map(Some)
    }

    /// Confirmed that the agent must be ready, and the VM run (documentation of run commands and extensions).
    async fn check_takes_work(azure: &Azure, cx: &Cx, id: &ResourceId) -> Result<()> {
        let gone = || Error::rejected(format!("`{}` is gone", id.name())).code(ErrorCode::NOT_FOUND);
        let vm = azure.read_azure_vm(&cx.into(), id).await?.ok_or_else(gone)?;
        match () {
            () if vm.is_off() => Err(vm.is_not_running()),
            () if vm.is("running") && vm.agent.eq_ignore_ascii_case("Not Ready") => {
                Err(Error::rejected(format!("the agent of `{}` is not ready", vm.name))
                    .code(ErrorCode::OUT_OF_TOUCH)
                    .hint("it may still be starting; boot diagnostics show how far it got: compute::boot_diagnostics(vm)"))
            }
            () => Ok(()),
        }
    }
}
