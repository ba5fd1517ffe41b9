//! The commands of the shell, and what each does to the machine. Those that work on text are in `text`.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    Ended, Shell, Streams,
    call::{Call, Done, Failed},
    parse, text,
};
use crate::guest::status;
use crate::machine::{Node, Trouble, User, join, parent};

/// Runs a command.
pub(super) async fn call(
    shell: &mut Shell,
    name: &str,
    arguments: &[String],
    streams: &Streams,
) -> Result<u32, Ended> {
    let mut call = Call { shell, name, arguments, streams };
    let done = match name {
        "exit" | "logout" => {
            let status = arguments.first().map_or(Some(call.shell.status), |text| text.parse().ok());
            return Err(Ended(status.unwrap_or(2) & 0xff));
        }
        "sudo" => return sudo(call).await,
        "sh" | "bash" | "/bin/sh" | "/bin/bash" => script(call).await,
        "command" | "which" | "type" => known(&mut call).await,
        ":" | "true" => Ok(0),
        "false" => Ok(1),
        "set" => settings(call.shell, arguments),
        "trap" => at_the_end(call.shell, arguments),
        "export" | "readonly" | "unset" => variables(call.shell, name, arguments),
        "umask" => mask(&mut call).await,
        "cd" => cd(&mut call).await,
        "pwd" => call.say(&format!("{}\n", call.shell.folder)).await,
        "echo" => echo(&mut call).await,
        "printf" => text::printf(&mut call).await,
        "hostname" => call.say(&format!("{}\n", call.shell.computer.name)).await,
        "whoami" => call.say(&format!("{}\n", call.shell.user.name)).await,
        "id" => id(&mut call).await,
        "uname" => uname(&mut call).await,
        "date" => {
            call.say(&format!("{}\n", call.shell.computer.time().strftime("%a %b %e %H:%M:%S UTC %Y"))).await
        }
        "sleep" => sleep(&mut call).await,
        "test" | "[" => test(&mut call).await,
        "systemctl" => systemctl(&mut call).await,
        "getent" => getent(&mut call).await,
        "usermod" => usermod(&mut call).await,
        "sync" => Ok(0),
        "ls" => ls(&mut call).await,
        "mkdir" => mkdir(&mut call).await,
        "touch" => touch(&mut call).await,
        "chmod" => chmod(&mut call).await,
        "chown" => chown(&mut call).await,
        "rm" => rm(&mut call).await,
        "rmdir" => rmdir(&mut call).await,
        "mv" => mv(&mut call).await,
        "cp" => cp(&mut call).await,
        "stat" => stat(&mut call).await,
        "basename" | "dirname" => of_path(&mut call).await,
        "cat" => text::cat(&mut call).await,
        "tee" => text::tee(&mut call).await,
        "head" | "tail" => text::ends(&mut call).await,
        "wc" => text::wc(&mut call).await,
        "sort" => text::sort(&mut call).await,
        "uniq" => text::uniq(&mut call).await,
        "cut" => text::cut(&mut call).await,
        "grep" => text::grep(&mut call).await,
        "sha256sum" => text::sha256sum(&mut call).await,
        "read" => text::read(&mut call).await,
        _ => match status::told(&call.shell.computer, name) {
            Some(told) => call.say(&told).await,
            None => {
                let _ = streams.errors.write(format!("sh: 1: {name}: not found\n").as_bytes()).await;
                Ok(127)
            }
        },
    };
    Ok(done.unwrap_or_else(|Failed(status)| status))
}

const NAMES: [&str; 47] = [
    "basename",
    "bash",
    "cat",
    "cd",
    "chmod",
    "chown",
    "command",
    "cp",
    "cut",
    "date",
    "dirname",
    "echo",
    "exit",
    "export",
    "false",
    "getent",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "pwd",
    "read",
    "rm",
    "rmdir",
    "set",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sudo",
    "systemctl",
    "tail",
    "tee",
    "test",
    "touch",
    "trap",
    "true",
    "umask",
    "uname",
    "uniq",
    "usermod",
    "wc",
];

async fn sudo(call: Call<'_>) -> Result<u32, Ended> {
    let mut words = call.arguments;
    let mut user = User::root();
    loop {
        match words {
            [flag, name, rest @ ..] if flag == "-u" => {
                user = User::new(name);
                words = rest;
            }
            [flag, rest @ ..] if flag.starts_with('-') => words = rest,
            _ => break,
        }
    }
    let Some((name, arguments)) = words.split_first() else {
        let Failed(status) = call.complain("a command is required").await;
        return Ok(status);
    };
    let mut shell = call.shell.clone();
    shell.variables.insert("HOME".to_owned(), shell.computer.home(&user));
    shell.variables.insert("USER".to_owned(), user.name.clone());
    shell.user = user;
    let done = Box::pin(self::call(&mut shell, name, arguments, call.streams)).await;
    Ok(done.unwrap_or_else(|Ended(status)| status))
}

/// `sh -c SCRIPT`, `sh FILE`, or `sh` with a script that comes in.
async fn script(call: Call<'_>) -> Done {
    let mut words = call.arguments;
    let mut is_text = false;
    let mut is_strict = false;
    while let [flag, rest @ ..] = words {
        let Some(letters) = flag.strip_prefix('-').filter(|_| !is_text) else { break };
        is_text = letters.contains('c');
        is_strict |= letters.contains('e');
        words = rest;
    }
    let script = match words.first() {
        Some(text) if is_text => text.clone().into_bytes(),
        Some(file) => call.bytes(file).await?,
        None => call.streams.input.all().await,
    };
    let mut shell = call.shell.clone();
    shell.is_strict = is_strict;
    let status = Box::pin(shell.run(&String::from_utf8_lossy(&script), call.streams)).await;
    call.shell.fuel = shell.fuel;
    Ok(status)
}

/// `command -v NAME`: whether there is such a command.
async fn known(call: &mut Call<'_>) -> Done {
    let wanted = call.arguments.iter().find(|word| !word.starts_with('-'));
    let is_known = |name: &&String| NAMES.contains(&name.as_str()) || status::LINUX.contains(&name.as_str());
    match wanted.filter(is_known) {
        Some(name) => call.say(&format!("/usr/bin/{name}\n")).await,
        None => Ok(127),
    }
}

fn settings(shell: &mut Shell, arguments: &[String]) -> Done {
    for word in arguments {
        if let Some(letters) = word.strip_prefix(['-', '+']) {
            let turns_on = word.starts_with('-');
            shell.is_strict = if letters.contains('e') { turns_on } else { shell.is_strict };
        }
    }
    Ok(0)
}

/// `trap '..' EXIT`: the only signal there is here is the end of the script.
fn at_the_end(shell: &mut Shell, arguments: &[String]) -> Done {
    match arguments {
        [what, when] if when == "EXIT" || when == "0" => {
            shell.trap = Some(what.clone()).filter(|what| what != "-");
            Ok(0)
        }
        _ => Ok(1),
    }
}

fn variables(shell: &mut Shell, name: &str, arguments: &[String]) -> Done {
    for word in arguments {
        match word.split_once('=') {
            Some((variable, value)) if parse::is_name(variable) => {
                shell.variables.insert(variable.to_owned(), value.to_owned());
            }
            None if name == "unset" => drop(shell.variables.remove(word)),
            _ => {}
        }
    }
    Ok(0)
}

async fn mask(call: &mut Call<'_>) -> Done {
    let Some(word) = call.arguments.first() else {
        return call.say(&format!("{:04o}\n", call.shell.mask)).await;
    };
    match u32::from_str_radix(word, 8) {
        Ok(mask) => call.shell.mask = mask & 0o777,
        Err(_) => return Err(call.complain(format!("Illegal mode: {word}")).await),
    }
    Ok(0)
}

async fn cd(call: &mut Call<'_>) -> Done {
    let home = call.shell.computer.home(&call.shell.user);
    let word = call.arguments.first().cloned().unwrap_or(home);
    let path = call.path(&word);
    let found = call.shell.computer.disk.files().list(&call.shell.user, &path).map(|_| ());
    match found {
        Ok(()) => call.shell.folder = path,
        Err(_) => {
            let said = format!("sh: 1: cd: can't cd to {word}\n");
            let _ = call.streams.errors.write(said.as_bytes()).await;
            return Ok(2);
        }
    }
    Ok(0)
}

async fn echo(call: &mut Call<'_>) -> Done {
    let (end, words) = match call.arguments {
        [flag, words @ ..] if flag == "-n" => ("", words),
        words => ("\n", words),
    };
    call.say(&format!("{}{end}", words.join(" "))).await
}

async fn id(call: &mut Call<'_>) -> Done {
    let given = call.given("unG", "").await?;
    let user = match given.rest.first() {
        None => call.shell.user.clone(),
        Some(name) if call.shell.computer.users().iter().any(|known| known == name) => User::new(name),
        Some(name) => return Err(call.complain(format!("'{name}': no such user")).await),
    };
    let (name, number) = (&user.name, user.number());
    let text = match (given.has('u'), given.has('n')) {
        (true, true) => name.clone(),
        (true, false) => number.to_string(),
        _ => format!("uid={number}({name}) gid={number}({name}) groups={number}({name})"),
    };
    call.say(&format!("{text}\n")).await
}

async fn uname(call: &mut Call<'_>) -> Done {
    let given = call.given("asnrmo", "").await?;
    let name = call.shell.computer.name.clone();
    let all = [('s', "Linux"), ('n', &name), ('r', "6.1.0-lab"), ('m', "x86_64"), ('o', "GNU/Linux")];
    let is_plain = given.options.is_empty();
    let wanted =
        all.iter().filter(|(letter, _)| given.has('a') || given.has(*letter) || (is_plain && *letter == 's'));
    let words: Vec<&str> = wanted.map(|(_, word)| *word).collect();
    call.say(&format!("{}\n", words.join(" "))).await
}

async fn sleep(call: &mut Call<'_>) -> Done {
    let Some(word) = call.arguments.first() else { return Err(call.missing().await) };
    let seconds = word.trim_end_matches('s').parse::<f64>().ok();
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(duration) => match &call.shell.slept {
            Some(slept) => {
                let more = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2);
                slept.fetch_add(more.min(u64::MAX / 2), Ordering::Relaxed);
            }
            None => tokio::time::sleep(duration).await,
        },
        None => return Err(call.complain(format!("invalid time interval '{word}'")).await),
    }
    Ok(0)
}

async fn test(call: &mut Call<'_>) -> Done {
    let mut words: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
    if call.name == "[" && words.pop() != Some("]") {
        let Failed(_) = call.complain("missing ]").await;
        return Ok(2);
    }
    let is_negated = words.first() == Some(&"!") && words.len() > 1;
    let words = if is_negated { &words[1..] } else { &words[..] };
    match holds(call.shell, words) {
        Some(holds) => Ok(u32::from(holds == is_negated)),
        None => {
            let Failed(_) = call.complain("unexpected operator").await;
            Ok(2)
        }
    }
}

/// Returns whether what a test says is so, if it says something.
fn holds(shell: &Shell, words: &[&str]) -> Option<bool> {
    let number = |text: &str| text.parse::<i64>().ok();
    let files = shell.computer.disk.files();
    let node = |word: &str| {
        let path = files.absolute(&shell.folder, word);
        files.look(&shell.user, &path).ok().map(|node| (node, path))
    };
    match words {
        [] => Some(false),
        [word] => Some(!word.is_empty()),
        ["-z", word] => Some(word.is_empty()),
        ["-n", word] => Some(!word.is_empty()),
        ["-e", word] => Some(node(word).is_some()),
        ["-f", word] => Some(node(word).is_some_and(|(node, _)| !node.is_folder())),
        ["-d", word] => Some(node(word).is_some_and(|(node, _)| node.is_folder())),
        ["-s", word] => Some(node(word).is_some_and(|(node, _)| node.size() > 0)),
        ["-r", word] => Some(node(word).is_some_and(|(node, path)| match node.is_folder() {
            true => files.list(&shell.user, &path).is_ok(),
            false => files.read(&shell.user, &path).is_ok(),
        })),
        ["-w", word] => Some(node(word).is_some_and(|(node, _)| files.may_write(&shell.user, node))),
        [a, "=" | "==", b] => Some(a == b),
        [a, "!=", b] => Some(a != b),
        [a, operator, b] => match (number(a), number(b)) {
            (Some(a), Some(b)) => match *operator {
                "-eq" => Some(a == b),
                "-ne" => Some(a != b),
                "-lt" => Some(a < b),
                "-le" => Some(a <= b),
                "-gt" => Some(a > b),
                "-ge" => Some(a >= b),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

async fn systemctl(call: &mut Call<'_>) -> Done {
    let words: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["is-active", "--quiet" | "-q", name] => Ok(if is_service(name) { 0 } else { 3 }),
        ["is-active", name] => {
            let word = if is_service(name) { "active" } else { "inactive" };
            call.say(&format!("{word}\n")).await.map(|_| if is_service(name) { 0 } else { 3 })
        }
        ["--failed", ..] => Ok(0),
        ["restart" | "reload" | "start" | "enable", name] if is_service(name) => Ok(0),
        [_, name] => {
            let text = format!("Unit {name}.service not found.\n");
            let _ = call.streams.errors.write(text.as_bytes()).await;
            Ok(5)
        }
        _ => Err(call.missing().await),
    }
}

fn is_service(name: &str) -> bool {
    matches!(name.trim_end_matches(".service"), "ssh" | "sshd" | "himdsd" | "gcad" | "extd")
}

async fn getent(call: &mut Call<'_>) -> Done {
    let [database, name] = call.arguments else { return Err(call.missing().await) };
    if database != "passwd" || !call.shell.computer.users().contains(name) {
        return Ok(2);
    }
    let user = User::new(name);
    let number = user.number();
    let home = call.shell.computer.home(&user);
    call.say(&format!("{name}:x:{number}:{number}::{home}:/bin/sh\n")).await
}

/// `usermod -p HASH USER`: what is kept of a password, in place of what was there.
async fn usermod(call: &mut Call<'_>) -> Done {
    let given = call.given("", "p").await?;
    let ([user], Some(hash)) = (&given.rest[..], given.value('p')) else { return Err(call.missing().await) };
    if !call.shell.user.is_root() {
        return Err(call.complain("Permission denied.").await);
    }
    if !call.shell.computer.users().iter().any(|known| known == user) {
        return Err(call.complain(format!("user '{user}' does not exist")).await);
    }
    call.shell.computer.keep_password(user, hash);
    Ok(0)
}

async fn ls(call: &mut Call<'_>) -> Done {
    let given = call.given("la1Adh", "").await?;
    let words = if given.rest.is_empty() { vec!["."] } else { given.rest.clone() };
    let mut status = 0;
    let mut lines = Vec::new();
    for word in &words {
        let path = call.path(word);
        let listed = {
            let files = call.shell.computer.disk.files();
            let user = &call.shell.user;
            files.look(user, &path).and_then(|node| {
                let names = match node.is_folder() && !given.has('d') {
                    true => files.list(user, &path)?.into_iter().map(str::to_owned).collect(),
                    false => vec![(*word).to_owned()],
                };
                let shown = names.into_iter().filter(|name| {
                    !name.starts_with('.') || given.has('a') || given.has('A') || name == word
                });
                Ok(shown
                    .map(|name| match given.has('l') {
                        false => name,
                        true => {
                            let inside = if name == *word { path.clone() } else { join(&path, &name) };
                            files.look(user, &inside).map_or(name.clone(), |node| long(node, &name))
                        }
                    })
                    .collect::<Vec<String>>())
            })
        };
        match listed {
            Ok(names) => lines.extend(names),
            Err(trouble) => {
                let Failed(_) = call.about("access", word, trouble).await;
                status = 2;
            }
        }
    }
    lines.iter_mut().for_each(|line| line.push('\n'));
    call.say(&lines.concat()).await?;
    Ok(status)
}

/// Returns a line of `ls -l`.
pub(crate) fn long(node: &Node, name: &str) -> String {
    let changed = jiff::Timestamp::from_second(i64::from(node.changed)).unwrap_or_default();
    let (letters, owner, size) = (node.letters(), &node.owner, node.size());
    format!("{letters} 1 {owner} {owner} {size:>8} {} {name}", changed.strftime("%b %e %H:%M"))
}

async fn mkdir(call: &mut Call<'_>) -> Done {
    let given = call.given("pv", "m").await?;
    if given.rest.is_empty() {
        return Err(call.missing().await);
    }
    let mode = match given.value('m').map(|text| u32::from_str_radix(text, 8)) {
        None => 0o777 & !call.shell.mask,
        Some(Ok(mode)) => mode & 0o777,
        Some(Err(_)) => return Err(call.complain("invalid mode").await),
    };
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let now = computer.seconds();
    let has_parents = given.has('p');
    let failures = call.each(given.rest, |path| {
        let mut files = computer.disk.files();
        if !has_parents {
            return files.make_folder(user, path, mode, now);
        }
        let ends: Vec<usize> =
            path.match_indices('/').map(|(at, _)| at).chain([path.len()]).skip(1).collect();
        for end in ends {
            match files.make_folder(user, &path[..end], mode, now) {
                Err(Trouble::Exists) if files.look(user, &path[..end]).is_ok_and(|node| node.is_folder()) => {
                }
                done => done?,
            }
        }
        Ok(())
    });
    call.told("create directory", failures).await
}

async fn touch(call: &mut Call<'_>) -> Done {
    let given = call.given("c", "").await?;
    let (computer, user, mask) = (&call.shell.computer, &call.shell.user, call.shell.mask);
    let now = computer.seconds();
    let failures = call.each(given.rest, |path| {
        let mut files = computer.disk.files();
        match files.look(user, path) {
            Ok(node) if node.is_folder() => Ok(()),
            _ => files.create(user, path, 0o666 & !mask, now),
        }
    });
    call.told("touch", failures).await
}

async fn chmod(call: &mut Call<'_>) -> Done {
    let given = call.given("Rv", "").await?;
    let Some((mode, words)) = given.rest.split_first().filter(|(_, words)| !words.is_empty()) else {
        return Err(call.missing().await);
    };
    if changed_mode(0, mode).is_none() {
        return Err(call.complain(format!("invalid mode: '{mode}'")).await);
    }
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let failures = call.each(words.iter().copied(), |path| {
        let mut files = computer.disk.files();
        let old = files.look(user, path)?.mode;
        files.change(user, path, changed_mode(old, mode), None, None)
    });
    call.told("access", failures).await
}

/// Returns a mode after a change such as `600`, `u+w` or `go-rwx`.
fn changed_mode(old: u32, change: &str) -> Option<u32> {
    if let Ok(mode) = u32::from_str_radix(change, 8) {
        return Some(mode & 0o777);
    }
    let mut mode = old;
    for part in change.split(',') {
        let at = part.find(['+', '-', '='])?;
        let whom = if at == 0 { "a" } else { &part[..at] };
        let places = whom.chars().map(|letter| match letter {
            'u' => Some(0o700),
            'g' => Some(0o070),
            'o' => Some(0o007),
            'a' => Some(0o777),
            _ => None,
        });
        let place = places.collect::<Option<Vec<u32>>>()?.into_iter().fold(0, |all, one| all | one);
        let bits = part[at + 1..].chars().map(|letter| match letter {
            'r' => Some(0o444),
            'w' => Some(0o222),
            'x' | 'X' => Some(0o111),
            _ => None,
        });
        let bits = bits.collect::<Option<Vec<u32>>>()?.into_iter().fold(0, |all, one| all | one) & place;
        mode = match &part[at..=at] {
            "+" => mode | bits,
            "-" => mode & !bits,
            _ => mode & !place | bits,
        };
    }
    Some(mode)
}

async fn chown(call: &mut Call<'_>) -> Done {
    let given = call.given("R", "").await?;
    let Some((owner, words)) = given.rest.split_first().filter(|(_, words)| !words.is_empty()) else {
        return Err(call.missing().await);
    };
    let name = owner.split([':', '.']).next().unwrap_or_default();
    if !name.is_empty() && !call.shell.computer.users().iter().any(|known| known == name) {
        return Err(call.complain(format!("invalid user: '{owner}'")).await);
    }
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let failures = call.each(words.iter().copied(), |path| {
        let mut files = computer.disk.files();
        let inside =
            files.all().filter(|(known, _)| given.has('R') && known.starts_with(&format!("{path}/")));
        let mut all: Vec<String> = inside.map(|(known, _)| known.to_owned()).collect();
        all.push(path.to_owned());
        let name = Some(name).filter(|name| !name.is_empty());
        all.iter().try_for_each(|path| files.change(user, path, None, name, None))
    });
    call.told("access", failures).await
}

async fn rm(call: &mut Call<'_>) -> Done {
    let given = call.given("rRfv", "").await?;
    let (is_deep, is_quiet) = (given.has('r') || given.has('R'), given.has('f'));
    if given.rest.is_empty() && !is_quiet {
        return Err(call.missing().await);
    }
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let failures = call.each(given.rest, |path| {
        let mut files = computer.disk.files();
        let done = if is_deep { files.remove_all(user, path) } else { files.remove(user, path, false) };
        match done {
            Err(Trouble::NotFound) if is_quiet => Ok(()),
            done => done,
        }
    });
    call.told("remove", failures).await
}

async fn rmdir(call: &mut Call<'_>) -> Done {
    let given = call.given("", "").await?;
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let failures = call.each(given.rest, |path| computer.disk.files().remove(user, path, true));
    call.told("remove", failures).await
}

/// Returns where a file goes: into a folder under its own name, or to a name.
fn target(call: &Call<'_>, from: &str, to: &str) -> String {
    let path = call.path(to);
    let is_folder =
        call.shell.computer.disk.files().look(&call.shell.user, &path).is_ok_and(|node| node.is_folder());
    let name = from.trim_end_matches('/').rsplit('/').next().unwrap_or(from);
    if is_folder { join(&path, name) } else { path }
}

async fn mv(call: &mut Call<'_>) -> Done {
    let given = call.given("fv", "").await?;
    let Some((to, from)) = given.rest.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(call.missing().await);
    };
    let (computer, user) = (&call.shell.computer, &call.shell.user);
    let failures = call.each(from.iter().copied(), |path| {
        let to = target(call, path, to);
        computer.disk.files().rename(user, path, &to, true)
    });
    call.told("move", failures).await
}

async fn cp(call: &mut Call<'_>) -> Done {
    let given = call.given("pfv", "").await?;
    let Some((to, from)) = given.rest.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(call.missing().await);
    };
    let (computer, user, mask) = (&call.shell.computer, &call.shell.user, call.shell.mask);
    let now = computer.seconds();
    let failures = call.each(from.iter().copied(), |path| {
        let to = target(call, path, to);
        let mut files = computer.disk.files();
        let bytes = files.read(user, path)?.to_vec();
        let mode = files.look(user, path)?.mode & !mask;
        files.create(user, &to, mode, now)?;
        files.resize(user, &to, 0, now)?;
        files.write(user, &to, None, &bytes, now)
    });
    call.told("copy", failures).await
}

async fn stat(call: &mut Call<'_>) -> Done {
    let given = call.given("L", "c").await?;
    let format = given.value('c').unwrap_or("%n %s %a %U");
    for word in &given.rest {
        let path = call.path(word);
        let found = call.shell.computer.disk.files().look(&call.shell.user, &path).cloned();
        let node = match found {
            Ok(node) => node,
            Err(trouble) => return Err(call.about("statx", word, trouble).await),
        };
        let number = User::new(&node.owner).number().to_string();
        let values = [
            ("%n", (*word).to_owned()),
            ("%s", node.size().to_string()),
            ("%a", format!("{:o}", node.mode)),
            ("%A", node.letters()),
            ("%U", node.owner.clone()),
            ("%G", node.owner.clone()),
            ("%u", number.clone()),
            ("%g", number),
            ("%Y", node.changed.to_string()),
        ];
        let text = values.iter().fold(format.to_owned(), |text, (sign, value)| text.replace(sign, value));
        call.say(&format!("{text}\n")).await?;
    }
    Ok(0)
}

async fn of_path(call: &mut Call<'_>) -> Done {
    let Some(word) = call.arguments.first() else { return Err(call.missing().await) };
    let plain = word.trim_end_matches('/');
    let text = match call.name {
        "basename" => plain.rsplit('/').next().unwrap_or_default(),
        _ if plain.contains('/') => parent(plain),
        _ => ".",
    };
    call.say(&format!("{text}\n")).await
}
