//! Credentials of the relay that are over before their time, and connections that outlive theirs.

use std::fs;
use std::time::Instant;

use super::openssh::Machine;
use super::session::{EFFECTS, said, signing_in};
use super::{LOOK, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_over_are_asked_for_anew() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let fault = |text: &str| {
        machine.site.lab.clear_faults();
        machine.site.lab.inject(text.parse().unwrap());
    };
    let asked = || {
        let requests = machine.site.lab.requests();
        requests.iter().filter(|it| it.path.ends_with("/listCredentials")).count()
    };
    // The agent listens by now, so that nothing else is waited for below.
    assert!(machine.connect(&["true"]).output().unwrap().status.success());
    // Once is not noticed; whoever is refused with new ones hears what it is.
    fault("credentials-expire");
    let before = asked();
    let output = machine.connect(&["echo in"]).output().unwrap();
    assert_eq!(said(&output), (Some(0), "in\n".to_owned(), String::new()));
    assert_eq!(asked() - before, 2);
    fault("credentials-expire=9");
    let (code, _, err) = said(&machine.connect(&["echo in"]).output().unwrap());
    assert_eq!(code, Some(255));
    for words in ["the relay refuses the credentials for `db-01`", "ExpiredToken", "the right time"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    assert!(!err.contains("SharedAccessSignature"), "{err}");

    // A connection that is ended because it outlives its credentials is opened again, with new ones.
    machine.site.lab.clear_faults();
    let marker = machine.folder.join("begun");
    let text = format!(
        "{}ssh::exec(db, \"echo begun >> {}; while ! test -e {}; do sleep 0.1; done; echo done\", #{{ repeatable: true }}).stdout",
        signing_in(&machine),
        marker.display(),
        machine.folder.join("go").display()
    );
    let whole = format!("/*---\ntitle = \"outlives\"\neffects = {EFFECTS:?}\n---*/\n{text}\n");
    let file = machine.site.sealed.write("work/outlives.rhai", &whole);
    let run = machine.relight(&["run", &machine.place()]).arg(file).spawn().unwrap();
    let begun = || fs::read_to_string(&marker).unwrap_or_default().lines().count();
    let wait_for = |count: usize| {
        let deadline = Instant::now() + PATIENCE;
        while begun() < count {
            assert!(Instant::now() < deadline, "the command began {} times", begun());
            std::thread::sleep(LOOK);
        }
    };
    wait_for(1);
    let before = asked();
    fault("credentials-expire=1,open");
    wait_for(2);
    assert_eq!(asked() - before, 1);
    fs::write(machine.folder.join("go"), "").unwrap();
    let (code, out, err) = said(&run.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (Some(0), "done\n\n"), "{err}");
    assert!(err.contains("its credentials are over (the token is expired)"), "{err}");
    machine.site.is_content();
}
