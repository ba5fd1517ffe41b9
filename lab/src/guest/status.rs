//! What a machine says about its own state, in the words of the programs that people ask.

use super::Computer;

/// The programs of Linux that are known here.
pub(super) const LINUX: [&str; 5] = ["df", "ip", "journalctl", "ss", "uptime"];

/// Returns what a program says, whatever it is given; nothing when it is none of these.
pub(super) fn told(computer: &Computer, program: &str) -> Option<String> {
    match (computer.is_windows, program) {
        (false, program) if LINUX.contains(&program) => Some(linux(computer, program)),
        (true, "systeminfo" | "ipconfig" | "netstat" | "wevtutil") => Some(windows(computer, program)),
        _ => None,
    }
}

fn linux(computer: &Computer, program: &str) -> String {
    let (now, name) = (computer.time(), &computer.name);
    let clock = now.strftime("%H:%M:%S");
    match program {
        "uptime" => format!(" {clock} up 20 days,  4:12,  0 users,  load average: 0.08, 0.03, 0.01\n"),
        "df" => "Filesystem      Size  Used Avail Use% Mounted on\n\
                 /dev/sda1        29G  4.1G   24G  15% /\n\
                 /dev/sda15      124M   12M  113M  10% /boot/efi\n"
            .to_owned(),
        "ip" => "lo               UNKNOWN        127.0.0.1/8 ::1/128\n\
                 eth0             UP             10.0.0.4/24\n"
            .to_owned(),
        "ss" => "State   Recv-Q  Send-Q   Local Address:Port    Peer Address:Port\n\
                 LISTEN  0       128            0.0.0.0:22           0.0.0.0:*\n\
                 LISTEN  0       128               [::]:22              [::]:*\n"
            .to_owned(),
        _ => {
            let at = now.strftime("%Y-%m-%dT%H:%M:%S+0000");
            format!(
                "{at} {name} kernel: ACPI: SPCR: Unexpected SPCR Access Width.  Defaulting to byte size\n"
            )
        }
    }
}

fn windows(computer: &Computer, program: &str) -> String {
    let name = computer.name.to_uppercase();
    match program {
        "systeminfo" => format!(
            "\r\nHost Name:                 {name}\r\n\
             OS Name:                   Microsoft Windows Server 2022 Datacenter Azure Edition\r\n\
             OS Version:                10.0.20348 N/A Build 20348\r\n\
             System Type:               x64-based PC\r\n"
        ),
        "ipconfig" => "\r\nWindows IP Configuration\r\n\r\n\r\nEthernet adapter Ethernet:\r\n\r\n   \
                       IPv4 Address. . . . . . . . . . . : 10.0.0.4\r\n"
            .to_owned(),
        "netstat" => "\r\nActive Connections\r\n\r\n  \
                      Proto  Local Address          Foreign Address        State\r\n  \
                      TCP    0.0.0.0:3389           0.0.0.0:0              LISTENING\r\n"
            .to_owned(),
        _ => format!(
            "Event[0]\r\n  Log Name: System\r\n  Source: Service Control Manager\r\n  Date: {}\r\n  \
             Event ID: 7036\r\n  Level: Warning\r\n  Computer: {name}\r\n",
            computer.time().strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
        ),
    }
}
