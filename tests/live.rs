//! A forward and a stream through it, by the real command: killed, interrupted, stopped, watched, read again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::sealed::Sealed;

const HELLO: &str = "ready on node-1\nlogin: ";

/// A host that greets whoever connects and sends back what it is sent.
fn host() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut bytes = [0; 1024];
                let _ = stream.write_all(HELLO.as_bytes());
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..read]);
                }
            });
        }
    });
    port
}

/// Returns a port at which nobody listens yet.
fn gate() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Opens a forward, waits until its gate is open, and reads the greeting through it.
fn tunnel(world: &Sealed) {
    let text = r#"/*---
title   = "Through a tunnel"
effects = ["net:forward", "net:probe"]
[params.port]
type = "int"
[params.gate]
type = "int"
---*/
let tunnel = net::forward("127.0.0.1", params.port);
note(`open at ${tunnel.port}`);
net::wait_for_port("127.0.0.1", params.gate, #{ wait: "1h" });
net::read(tunnel.address, tunnel.port, #{ up_to: "login:" })
"#;
    world.runbook("tunnel", text);
}

/// Describes a call in which no subscription has to be asked for, so that nothing but the host is reached.
macro_rules! relight {
    ($world:expr, $($arg:expr),+ $(,)?) => {
        $world.relight([$($arg),+]).env("AZURE_SUBSCRIPTION_ID", "s")
    };
}

fn local_port(line: &str) -> u16 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Connects and hears the greeting, or fails as a refused connection does.
fn visit(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut heard = vec![0; HELLO.len()];
    stream.read_exact(&mut heard)?;
    assert_eq!(heard, HELLO.as_bytes());
    Ok(stream)
}

fn visit_patiently(world: &Sealed, port: u16) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match visit(port) {
            Ok(stream) => return stream,
            Err(error) if Instant::now() > deadline => {
                let run = relight!(world, "runs", "show", "@last").run().raw();
                panic!("nobody answers at {port}: {error}\n{run}");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn is_closed(port: u16) -> bool {
    matches!(visit(port), Err(e) if e.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn killed_between_opening_and_first_use_the_same_port_is_open_again() {
    let world = Sealed::new();
    tunnel(&world);
    let host = format!("port={}", host());
    let gate = gate();
    let mut first = relight!(world, "run", "tunnel", &host, &format!("gate={gate}")).spawn();
    let port = local_port(&first.wait_for("open at"));
    let mut visitor = visit(port).unwrap();
    visitor.write_all(b"ada\n").unwrap();
    visitor.read_exact(&mut [0; 4]).unwrap();
    first.signal("KILL");
    let _ = first.end();
    assert!(is_closed(port));

    let second = relight!(world, "runs", "resume", "@last").spawn();
    // Before any step uses it: the run still waits.
    drop(visit_patiently(&world, port));
    let _gate = TcpListener::bind((Ipv4Addr::LOCALHOST, gate)).unwrap();
    let ended = second.end();
    let raw = ended.raw();
    let value: Value = serde_json::from_str(&ended.succeeds()).unwrap();
    assert_eq!(value, json!({ "text": HELLO, "bytes": HELLO.len(), "ended": "found" }));
    assert_eq!(raw.matches("net::read | ready on node-1").count(), 1, "{raw}");
    assert!(raw.contains("net::forward | closed after 2 connections"), "{raw}");

    // Read again, what went to standard output alone; the two of the forward besides.
    let read = relight!(world, "runs", "output", "@last", "4").run();
    assert_eq!(read.succeeds(), HELLO);
    let all = relight!(world, "runs", "output", "@last").run().raw();
    assert!(all.contains("step 1, net::forward:") && all.contains("0 bytes there and 23 back"), "{all}");
    let none = relight!(world, "runs", "output", "@last", "9").run();
    assert!(none.raw().contains("has no step 9"), "{none}");
}

#[test]
fn ctrl_c_closes_it_and_a_taken_port_parks_the_run() {
    let world = Sealed::new();
    tunnel(&world);
    let host = format!("port={}", host());
    let mut run = relight!(world, "run", "tunnel", &host, &format!("gate={}", gate())).spawn();
    let port = local_port(&run.wait_for("open at"));
    let mut visitor = visit(port).unwrap();
    visitor.write_all(b"0123456789").unwrap();
    visitor.read_exact(&mut [0; 10]).unwrap();
    run.signal("INT");
    let ended = run.end();
    let raw = ended.raw();
    ended.ends_with(3);
    assert!(raw.contains("closed after 1 connections, 10 bytes there and 33 back"), "{raw}");
    assert_eq!(visitor.read(&mut [0; 1]).unwrap_or(0), 0, "its visitors are gone with it");

    // Somebody else has the port by now.
    let squatter = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let refused = relight!(world, "runs", "resume", "@last").run();
    let raw = refused.raw();
    refused.ends_with(3);
    assert!(raw.contains(&format!("port {port} of this machine cannot be opened")), "{raw}");
    drop(squatter);

    let again = relight!(world, "runs", "resume", "@last").spawn();
    drop(visit_patiently(&world, port));
    relight!(world, "runs", "stop", "@last").run().succeeds();
    let ended = again.end();
    let raw = ended.raw();
    ended.ends_with(3);
    assert!(raw.contains("closed after 1 connections"), "{raw}");
    assert!(is_closed(port));
}

#[test]
fn programs_read_output_as_events() {
    let world = Sealed::new();
    tunnel(&world);
    let host = host();
    let (port, gate) = (format!("port={host}"), format!("gate={host}"));
    let events = relight!(world, "run", "tunnel", &port, &gate, "--json").run().json();
    let said = events.iter().filter(|event| event["event"] == "output" && event["stream"] == "stdout");
    let text: String = said.map(|event| event["text"].as_str().unwrap()).collect();
    assert_eq!(text, HELLO);
    let kept =
        events.iter().find(|event| event["event"] == "output_kept" && event["stream"] == "stdout").unwrap();
    assert_eq!((&kept["bytes"], &kept["step"]), (&json!(HELLO.len()), &json!(4)));
    let place = |word: &str| events.iter().rposition(|event| event["event"] == word).unwrap();
    assert_eq!(place("finished"), events.len() - 1);

    // Somebody who looks from elsewhere, later, sees it too; an export carries it.
    let watched = relight!(world, "runs", "watch", "@last").run().raw();
    assert!(watched.contains("net::read | ready on node-1"), "{watched}");
    let exported = relight!(world, "runs", "export", "@last").run().succeeds();
    world.write("work/run.json", &exported);
    relight!(world, "runs", "verify", "run.json").run().succeeds();
    let changed = exported.replace(r"node-1\nlogin", r"node-2\nlogin");
    world.write("work/run.json", &changed);
    assert!(
        relight!(world, "runs", "verify", "run.json")
            .run()
            .raw()
            .contains("is not the one that was recorded")
    );
}

/// Reads from a host that says `greeting` and nothing more, for an hour.
fn listener(world: &Sealed, greeting: &'static [u8]) -> String {
    let text = "/*---\ntitle = \"Listens\"\neffects = [\"net:probe\"]\n[params.port]\ntype = \"int\"\n---*/\n\
                net::read(\"127.0.0.1\", params.port, #{ within: \"1h\" })\n";
    world.runbook("listen", text);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut visitors = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(greeting);
            visitors.push(stream);
        }
    });
    format!("port={port}")
}

#[test]
fn a_call_that_listens_ends_at_the_first_ctrl_c_and_begins_anew() {
    let world = Sealed::new();
    let port = listener(&world, b"hello\n");
    let mut args = vec!["run", "listen", &port];
    for _ in 0..2 {
        let mut run = world.relight(&args).env("AZURE_SUBSCRIPTION_ID", "s").spawn();
        run.wait_for("net::read | hello");
        let began = Instant::now();
        run.signal("INT");
        let ended = run.end();
        assert!(ended.raw().contains("nothing is lost"), "{ended}");
        ended.ends_with(3);
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        args = vec!["runs", "resume", "@last"];
    }
    assert_eq!(relight!(world, "runs", "output", "@last").run().succeeds(), "hello\nhello\n");
}

#[test]
fn what_a_terminal_obeys_does_not_pass() {
    let world = Sealed::new();
    let port = listener(&world, b"\x1b]52;c;cm0gLXJm\x07\x1b[2Jgone\xff\rover\n");
    let mut run = relight!(world, "run", "listen", &port).spawn();
    let line = run.wait_for("net::read |");
    run.signal("INT");
    let read = relight!(world, "runs", "output", "@last");
    let shown = [run.end().raw(), read.run().raw()].concat();
    assert!(!shown.contains(['\x1b', '\x07', '\r']), "{shown:?}");
    assert_eq!(line, "net::read | \\u001b]52;c;cm0gLXJm\\u0007\\u001b[2Jgone\u{fffd}\\u000dover");
}

#[test]
fn what_became_of_a_file_is_shown() {
    let world = Sealed::new();
    let text = r#"/*---
title   = "Writes two files"
effects = ["file:write"]
---*/
let console = #{ vm_id: "0a1b", addresses: ["192.0.2.10"] };
for name in ["a.rdp", "b.rdp", "c.rdp"] { rdp::write(name, console); }
"#;
    world.runbook("files", text);
    let out = relight!(world, "run", "files").run().succeeds();
    assert_eq!(out, "a.rdp\nb.rdp\nc.rdp\n");
    std::fs::write(world.work().join("b.rdp"), "mine").unwrap();
    std::fs::remove_file(world.work().join("c.rdp")).unwrap();
    let shown = relight!(world, "runs", "show", "@last").run().succeeds();
    for (file, now) in [("a.rdp", "unchanged"), ("b.rdp", "changed"), ("c.rdp", "gone")] {
        let line = shown.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{shown}"));
        assert!(line.ends_with(&format!(" {now}")), "{line}");
    }
}
