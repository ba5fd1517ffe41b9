//! Scripts and what becomes of them, each checked against `dash` by hand.

use super::*;
use crate::machine::{GUEST_USER, Os};

/// What a script did: its status, what it wrote, what it complained of.
async fn ran(computer: &Arc<Computer>, user: &str, script: &str, input: &str) -> (u32, String, String) {
    let (output, out) = Output::buffer();
    let (errors, err) = Output::buffer();
    let streams = Streams { input: Input::of(input.into()), output, errors };
    let status = Shell::new(computer, &User::new(user)).run(script, &streams).await;
    let text = |buffer| String::from_utf8(taken(buffer)).expect("text");
    (status, text(&out), text(&err))
}

/// Checks what scripts write on a new machine, all of which succeed and complain of nothing.
async fn write(cases: &[(&str, &str)]) {
    let mut offenders = Vec::new();
    for (script, wanted) in cases {
        let computer = Computer::alone(Os::Linux);
        let (status, out, err) = ran(&computer, GUEST_USER, script, "").await;
        if (status, out.as_str(), err.as_str()) != (0, wanted, "") {
            offenders.push(format!("{script:?}: {status} {out:?} {err:?}, not {wanted:?}"));
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[tokio::test]
async fn words_are_quoted_split_and_filled_in() {
    write(&[
        ("echo a  b 'c  d' \"e  f\"", "a b c  d e  f\n"),
        ("x='1  2'; echo $x; echo \"$x\"", "1 2\n1  2\n"),
        ("x=a; echo \"${x}b $x'c' \\$x\" '$x'", "ab a'c' $x $x\n"),
        ("echo $HOME ~ ~/x '~' $USER", "/home/azureuser /home/azureuser /home/azureuser/x ~ azureuser\n"),
        ("echo ${none:-some thing} \"${none:-}\"end", "some thing end\n"),
        ("echo $(echo one; echo two) \"$(printf 'a\\nb\\n\\n')\"", "one two a\nb\n"),
        ("echo `echo back`", "back\n"),
        ("set -- ; echo $# $?", "0 0\n"),
        ("echo a\\ b a\\\nb # not this", "a b ab\n"),
        ("echo '' \"\" x", "  x\n"),
        ("empty=; for x in $empty; do echo $x; done; echo none", "none\n"),
        ("cd /tmp; touch b a .c; echo * /tmp/? '*' x*", "a b /tmp/a /tmp/b * x*\n"),
        ("echo /etc/ssh*/none /e*/hostname", "/etc/ssh*/none /etc/hostname\n"),
        ("X=1 sh -c 'echo $X'; echo \"[$X]\"", "1\n[]\n"),
        ("a=$(echo 'x=y') ; echo $a a=b", "x=y a=b\n"),
    ])
    .await;
}

#[tokio::test]
async fn commands_follow_one_another() {
    write(&[
        ("true && echo a || echo b; false && echo c || echo d", "a\nd\n"),
        ("if false; then echo a; elif true; then echo b; else echo c; fi", "b\n"),
        ("if false\nthen\n echo a\nelse\n echo c\nfi", "c\n"),
        ("for x in 1 2 '3 4'; do echo \"<$x>\"; done", "<1>\n<2>\n<3 4>\n"),
        ("printf 'a\\nb\\n' | while read line; do echo \"[$line]\"; done", "[a]\n[b]\n"),
        ("! false && echo negated", "negated\n"),
        ("(cd /tmp; pwd); pwd; { echo in; echo group; }", "/tmp\n/home/azureuser\nin\ngroup\n"),
        ("printf 'b\\na\\nb\\n' | sort | uniq | wc -l", "2\n"),
        ("false; echo $?; foo 2>/dev/null; echo $?", "1\n127\n"),
        ("cat <<'END' | tail -n 1\none $HOME\ntwo $HOME\nEND\n", "two $HOME\n"),
        ("cat <<END\n$USER\nEND\necho after", "azureuser\nafter\n"),
        ("set -e; if false; then :; fi; false || true; ! true; echo on", "on\n"),
        ("exit 0; echo never", ""),
    ])
    .await;
}

#[tokio::test]
async fn files_are_made_read_and_changed() {
    write(&[
        ("echo one > f; echo two >> f; cat f; wc -l f; cat < f | head -1", "one\ntwo\n2 f\none\n"),
        ("mkdir -p a/b/c && ls a/b; ls -d a", "c\na\n"),
        (
            "umask 077; mkdir .ssh; echo k > .ssh/authorized_keys; stat -c '%a %U' .ssh .ssh/authorized_keys",
            "700 azureuser\n600 azureuser\n",
        ),
        ("touch f; chmod 640 f; stat -c %a f; chmod u+x,go-r f; stat -c %A f", "640\n-rwx------\n"),
        ("echo x > a; cp a b; mv a c; ls; rm b c; ls", "b\nc\n"),
        ("echo x | sudo tee /etc/motd; cat /etc/motd; sudo rm /etc/motd", "x\nx\n"),
        ("sudo sh -c 'echo r > /root/f; chmod 600 /root/f'; sudo cat /root/f", "r\n"),
        (
            "sudo touch /tmp/f; sudo chown azureuser:azureuser /tmp/f; echo mine > /tmp/f; cat /tmp/f",
            "mine\n",
        ),
        ("[ -f /etc/hostname ] && test -d /etc && [ ! -e /none ] && echo yes", "yes\n"),
        ("[ a = a ] && [ a != b ] && [ 2 -gt 1 ] && [ -n x ] && [ -z '' ] && echo yes", "yes\n"),
        (
            "printf '%s\\n' 'key one' >> f; grep -qxF 'key one' f && echo there; grep -vc key f || echo none",
            "there\n0\nnone\n",
        ),
        ("printf abc | sha256sum", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"),
        ("getent passwd azureuser | cut -d: -f6; dirname /a/b; basename /a/b", "/home/azureuser\n/a\nb\n"),
        ("echo both > f 2>&1; foo > g 2>&1; cat f g", "both\nsh: 1: foo: not found\n"),
    ])
    .await;
}

#[tokio::test]
async fn the_machine_says_what_it_is() {
    write(&[
        ("hostname; whoami; sudo whoami; id -u; sudo id -un", "box\nazureuser\nroot\n1000\nroot\n"),
        ("uname; uname -m; uname -sr", "Linux\nx86_64\nLinux 6.1.0-lab\n"),
        ("systemctl is-active ssh", "active\n"),
        ("grep ^ID= /etc/os-release", "ID=debian\n"),
        ("sleep 0.01; true", ""),
        ("command -v sudo > /dev/null && echo has", "has\n"),
    ])
    .await;
}

#[tokio::test]
async fn failures_have_their_status_and_their_words() {
    let computer = Computer::alone(Os::Linux);
    for (script, status, said) in [
        ("foo", 127, "sh: 1: foo: not found\n"),
        ("echo 'x", 2, "sh: 1: Syntax error: Unterminated quoted string\n"),
        ("true\nfi", 2, "sh: 2: Syntax error: \"fi\" unexpected\n"),
        ("exit 7", 7, ""),
        ("(exit 3)", 3, ""),
        ("false | true; exit $?", 0, ""),
        ("true | exit 5", 5, ""),
        ("set -e; false; echo never", 1, ""),
        ("sh -ec 'false; echo never'", 1, ""),
        ("cat /none", 1, "cat: /none: No such file or directory\n"),
        ("cat /root/x", 1, "cat: /root/x: Permission denied\n"),
        ("echo x > /etc/f", 2, "sh: 1: cannot create /etc/f: Permission denied\n"),
        ("mkdir /etc/d", 1, "mkdir: cannot create directory '/etc/d': Permission denied\n"),
        ("ls /none", 2, "ls: cannot access '/none': No such file or directory\n"),
        ("rm /etc", 1, "rm: cannot remove '/etc': Is a directory\n"),
        ("rm -f /none", 0, ""),
        ("cd /none", 2, "sh: 1: cd: can't cd to /none\n"),
        ("grep -q nothing /etc/hostname", 1, ""),
        ("systemctl is-active --quiet none", 3, ""),
        ("chown root /home/azureuser", 1, "chown: cannot access '/home/azureuser': Permission denied\n"),
        ("id nobody-known", 1, "id: 'nobody-known': no such user\n"),
    ] {
        let (code, out, err) = ran(&computer, GUEST_USER, script, "").await;
        assert_eq!((code, out.as_str(), err.as_str()), (status, "", said), "{script}");
    }
}

#[tokio::test]
async fn what_comes_in_is_read_once() {
    let computer = Computer::alone(Os::Linux);
    let (status, out, _) =
        ran(&computer, GUEST_USER, "read a; cat > f; echo $a; cat f", "one\ntwo\nthree\n").await;
    assert_eq!((status, out.as_str()), (0, "one\ntwo\nthree\n"));
    let (status, out, _) = ran(&computer, GUEST_USER, "sh", "echo from; echo input; exit 4").await;
    assert_eq!((status, out.as_str()), (4, "from\ninput\n"));
}

#[tokio::test]
async fn a_full_disk_and_a_loop_without_end_are_no_end_of_the_lab() {
    let computer = Computer::alone(Os::Linux);
    let much = "x".repeat(9 << 20);
    let (status, _, err) = ran(&computer, GUEST_USER, "cat > a; cp a b", &much).await;
    assert_eq!((status, err.as_str()), (1, "cp: cannot copy 'a': No space left on device\n"));
    let (status, _, err) = ran(&computer, GUEST_USER, "cat a a > c", "").await;
    assert_eq!((status, err.as_str()), (1, "cat: write error: No space left on device\n"));
    assert_eq!(ran(&computer, GUEST_USER, "while true; do :; done", "").await.0, 137);
}

#[tokio::test]
async fn root_and_others_have_their_own_folders() {
    let computer = Computer::alone(Os::Linux);
    assert_eq!(
        ran(&computer, "root", "pwd; echo ~ ~azureuser", "").await.1,
        "/root\n/root /home/azureuser\n"
    );
    let shell = Shell::new(&computer, &User::new(GUEST_USER));
    assert_eq!(shell.prompt(), "azureuser@box:~$ ");
}
