//! The service of Windows: a script for PowerShell that makes it.

use super::Service;
use crate::format::in_powershell;

/// A service with an account of its own, which nobody can sign in with and which may do nothing but what the script lets it: read the
/// program and the configuration, and write in the state folder. Begun some time after the system, and again when it fails.
pub(super) fn script(service: &Service) -> String {
    let command = [
        &[service.program.clone(), "serve".to_owned(), "--as-service".to_owned()],
        &*service.args,
        &["--env-file".to_owned(), service.environment.clone()],
        &["--log".to_owned(), within(&service.state, "serve.log")],
    ];
    // Its own folder for configuration would be another one.
    let roaming = service.config.strip_suffix("relight").unwrap_or(&service.config);
    let roaming = roaming.trim_end_matches(['\\', '/']);
    let reads: String = service
        .args
        .chunks(2)
        .map(|arg| {
            let right = if arg[0] == "--library" { "(OI)(CI)RX" } else { "RX" };
            let path = arg.last().map_or_else(String::new, |path| in_powershell(path));
            format!("Use-Tool icacls.exe {path} /grant \"${{account}}:{right}\"\n")
        })
        .collect();
    format!(
        r#"# Makes the service of Relight, or makes it anew. For PowerShell, as an administrator.
$ErrorActionPreference = 'Stop'
$account = 'NT SERVICE\relight'
$program = {program}
$state = {state}
$config = {config}
$key = 'HKLM:\SYSTEM\CurrentControlSet\Services\relight'

function Use-Tool([string] $tool) {{
    & $tool @args | Out-Host
    if ($LASTEXITCODE -ne 0) {{ throw "$tool $args ended with $LASTEXITCODE" }}
}}

if (Get-Service relight -ErrorAction SilentlyContinue) {{
    Stop-Service relight
    Use-Tool sc.exe delete relight
}}
New-Service -Name relight -DisplayName Relight -Description 'Runs, schedules and what is open' -StartupType Automatic -BinaryPathName {command} | Out-Null
Use-Tool sc.exe config relight start= delayed-auto obj= $account
Use-Tool sc.exe failure relight reset= 3600 actions= restart/5000/restart/5000/restart/60000
Use-Tool sc.exe failureflag relight 1
# Everybody on this machine can read this: secrets belong into service.env.
Set-ItemProperty -Path $key -Name Environment -Type MultiString -Value @({state_variable}, {roaming_variable})

New-Item -ItemType Directory -Force -Path $state, $config | Out-Null
# Both are for whoever runs this. Users, Authenticated Users and Everyone, whatever they are called here, have no business there.
$me = [Security.Principal.WindowsIdentity]::GetCurrent().Name
foreach ($folder in $state, $config) {{
    Use-Tool icacls.exe $folder /grant "${{me}}:(OI)(CI)F"
    Use-Tool icacls.exe $folder /inheritance:d
    Use-Tool icacls.exe $folder /remove:g '*S-1-5-32-545' '*S-1-5-11' '*S-1-1-0'
}}
Use-Tool icacls.exe $program /grant "${{account}}:RX"
Use-Tool icacls.exe $config /grant "${{account}}:(OI)(CI)RX"
Use-Tool icacls.exe $state /grant "${{account}}:(OI)(CI)M"
{reads}
Write-Host @'
The service is there. It signs in to Azure by itself: let it use the identity of this Arc-enabled machine,
  Add-LocalGroupMember 'Hybrid agent extension applications' 'NT SERVICE\relight'
or write AZURE_TENANT_ID=.., AZURE_CLIENT_ID=.. and AZURE_CLIENT_SECRET=.., each on a line of its own, into
  {environment}
Then:
  Start-Service relight
'@
"#,
        program = in_powershell(&service.program),
        state = in_powershell(&service.state),
        config = in_powershell(&service.config),
        command =
            in_powershell(&command.concat().iter().map(|word| word_of(word)).collect::<Vec<_>>().join(" ")),
        state_variable = in_powershell(&format!("RELIGHT_STATE={}", service.state)),
        roaming_variable = in_powershell(&format!("APPDATA={roaming}")),
        environment = service.environment,
    )
}

fn within(folder: &str, name: &str) -> String {
    // Also when a service of Windows is described elsewhere.
    let separator = if folder.contains('\\') { '\\' } else { '/' };
    format!("{}{separator}{name}", folder.trim_end_matches(separator))
}

/// Writes a word of a command line as programs on Windows take it apart. An unquoted path with a space would begin another program.
fn word_of(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut quoted = "\"".to_owned();
    let mut backslashes = 0;
    for c in word.chars() {
        match c {
            '\\' => backslashes += 1,
            // Those before a quote count twice, and the quote has one more.
            '"' => quoted.push_str(&"\\".repeat(std::mem::take(&mut backslashes) + 1)),
            _ => backslashes = 0,
        }
        quoted.push(c);
    }
    quoted.push_str(&"\\".repeat(backslashes));
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_made_with_its_paths_as_they_are() {
        let service = Service {
            program: r"C:\Program Files\relight\relight.exe".to_owned(),
            args: vec!["--library".to_owned(), r"D:\it's ours".to_owned()],
            state: r"C:\ProgramData\relight".to_owned(),
            config: r"C:\Users\ann\AppData\Roaming\relight".to_owned(),
            environment: r"C:\Users\ann\AppData\Roaming\relight\service.env".to_owned(),
        };
        let script = script(&service);
        for line in [
            r#"New-Service -Name relight -DisplayName Relight -Description 'Runs, schedules and what is open' -StartupType Automatic -BinaryPathName '"C:\Program Files\relight\relight.exe" serve --as-service --library "D:\it''s ours" --env-file C:\Users\ann\AppData\Roaming\relight\service.env --log C:\ProgramData\relight\serve.log' | Out-Null"#,
            r"Set-ItemProperty -Path $key -Name Environment -Type MultiString -Value @('RELIGHT_STATE=C:\ProgramData\relight', 'APPDATA=C:\Users\ann\AppData\Roaming')",
            r#"Use-Tool icacls.exe 'D:\it''s ours' /grant "${account}:(OI)(CI)RX""#,
        ] {
            assert!(script.lines().any(|it| it == line), "{line}\nis not in\n{script}");
        }
    }

    #[test]
    fn words_come_through_a_command_line() {
        for (word, written) in [
            (r"C:\relight.exe", r"C:\relight.exe"),
            (r"C:\a b\", r#""C:\a b\\""#),
            (r#"a\"b"#, r#""a\\\"b""#),
            (r"a\\b c", r#""a\\b c""#),
            ("", "\"\""),
        ] {
            assert_eq!(word_of(word), written);
        }
    }
}
