//! The commands that work on text and bytes.

use sha2::{Digest, Sha256};

use super::{
    call::{Call, Done, Failed},
    io::Unwritten,
};

impl Call<'_> {
    /// Returns what is in files, each with its name; the input where none is named. A file that cannot be read is told of
    /// and left out.
    async fn inputs<'w>(&self, words: &[&'w str]) -> (Vec<(&'w str, Vec<u8>)>, u32) {
        let words = if words.is_empty() { &["-"] } else { words };
        let (mut inputs, mut status) = (Vec::new(), 0);
        for word in words {
            match self.bytes(word).await {
                Ok(bytes) => inputs.push((*word, bytes)),
                Err(Failed(failed)) => status = failed,
            }
        }
        (inputs, status)
    }
}

pub(super) async fn cat(call: &mut Call<'_>) -> Done {
    let given = call.given("u", "").await?;
    let words = if given.rest.is_empty() { vec!["-"] } else { given.rest };
    let mut status = 0;
    for word in words {
        if word == "-" {
            // As it comes, however much it is.
            loop {
                let some = call.streams.input.some().await;
                if some.is_empty() {
                    break;
                }
                call.write(&some).await?;
            }
            continue;
        }
        match call.bytes(word).await {
            Ok(bytes) => call.write(&bytes).await?,
            Err(Failed(failed)) => status = failed,
        }
    }
    Ok(status)
}

pub(super) async fn tee(call: &mut Call<'_>) -> Done {
    let given = call.given("a", "").await?;
    let mut files = Vec::new();
    for word in &given.rest {
        match call.shell.writer(word, given.has('a')) {
            Ok(file) => files.push(file),
            Err(trouble) => return Err(call.about("", word, trouble).await),
        }
    }
    loop {
        let some = call.streams.input.some().await;
        if some.is_empty() {
            return Ok(0);
        }
        call.write(&some).await?;
        for file in &files {
            if let Err(why @ Unwritten::Disk(_)) = file.write(&some).await {
                return Err(call.complain(why).await);
            }
        }
    }
}

pub(super) async fn printf(call: &mut Call<'_>) -> Done {
    let Some((format, values)) = call.arguments.split_first() else { return Err(call.missing().await) };
    let mut values = values.iter();
    let mut text = String::new();
    // The format is used again until nothing is left to show.
    loop {
        let mut has_taken = false;
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('0') => text.push('\0'),
                    Some(char) => text.extend((char != '\\').then_some('\\').into_iter().chain([char])),
                    None => text.push('\\'),
                },
                '%' => match chars.next() {
                    Some('%') => text.push('%'),
                    Some('s' | 'd' | 'b') => {
                        has_taken = true;
                        text.push_str(values.next().map_or("", String::as_str));
                    }
                    odd => {
                        let odd = odd.map(String::from).unwrap_or_default();
                        return Err(call.complain(format!("%{odd}: invalid directive")).await);
                    }
                },
                char => text.push(char),
            }
        }
        if !has_taken || values.len() == 0 {
            break;
        }
    }
    call.say(&text).await
}

/// `head` and `tail`.
pub(super) async fn ends(call: &mut Call<'_>) -> Done {
    let short = call.arguments.first().and_then(|word| word.strip_prefix('-')?.parse::<usize>().ok());
    call.arguments = &call.arguments[usize::from(short.is_some())..];
    let given = call.given("q", "nc").await?;
    let is_head = call.name == "head";
    let count = given.value('n').or(given.value('c')).map_or(Ok(short.unwrap_or(10)), str::parse::<usize>);
    let Ok(count) = count else { return Err(call.complain("invalid number").await) };
    let (inputs, status) = call.inputs(&given.rest).await;
    for (_, bytes) in inputs {
        let pieces: Vec<&[u8]> = match given.has('c') {
            true => bytes.chunks(1).collect(),
            false => bytes.split_inclusive(|byte| *byte == b'\n').collect(),
        };
        let left = pieces.len().saturating_sub(count);
        let wanted = if is_head { &pieces[..count.min(pieces.len())] } else { &pieces[left..] };
        call.write(&wanted.concat()).await?;
    }
    Ok(status)
}

pub(super) async fn wc(call: &mut Call<'_>) -> Done {
    let given = call.given("lwc", "").await?;
    let is_plain = !['l', 'w', 'c'].iter().any(|letter| given.has(*letter));
    let (inputs, status) = call.inputs(&given.rest).await;
    for (name, bytes) in inputs {
        let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let counts = [('l', lines), ('w', words), ('c', bytes.len())];
        let shown = counts.iter().filter(|(letter, _)| is_plain || given.has(*letter));
        let mut parts: Vec<String> = shown.map(|(_, count)| count.to_string()).collect();
        parts.extend(Some(name.to_owned()).filter(|name| name != "-"));
        call.say(&format!("{}\n", parts.join(" "))).await?;
    }
    Ok(status)
}

/// Splits bytes into lines that all have an end.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| [line.strip_suffix(b"\n").unwrap_or(line), b"\n"].concat()).collect()
}

pub(super) async fn sort(call: &mut Call<'_>) -> Done {
    let given = call.given("ru", "").await?;
    let (inputs, status) = call.inputs(&given.rest).await;
    let mut all: Vec<Vec<u8>> = inputs.iter().flat_map(|(_, bytes)| lines(bytes)).collect();
    all.sort_unstable();
    if given.has('u') {
        all.dedup();
    }
    if given.has('r') {
        all.reverse();
    }
    call.write(&all.concat()).await?;
    Ok(status)
}

pub(super) async fn uniq(call: &mut Call<'_>) -> Done {
    let given = call.given("", "").await?;
    let (inputs, status) = call.inputs(&given.rest).await;
    let mut all: Vec<Vec<u8>> = inputs.iter().flat_map(|(_, bytes)| lines(bytes)).collect();
    all.dedup();
    call.write(&all.concat()).await?;
    Ok(status)
}

/// `cut -d SIGN -f LIST`.
pub(super) async fn cut(call: &mut Call<'_>) -> Done {
    let given = call.given("s", "df").await?;
    let sign = given.value('d').unwrap_or("\t");
    let fields = given.value('f').unwrap_or_default().split(',').map(str::parse::<usize>);
    let Ok(fields) = fields.collect::<Result<Vec<usize>, _>>() else {
        return Err(call.complain("invalid field list").await);
    };
    let (inputs, status) = call.inputs(&given.rest).await;
    for (_, bytes) in inputs {
        for line in String::from_utf8_lossy(&bytes).lines() {
            let parts: Vec<&str> = line.split(sign).collect();
            let shown: Vec<&str> = match parts.len() {
                1 => parts,
                _ => fields.iter().filter_map(|n| parts.get(n.checked_sub(1)?).copied()).collect(),
            };
            call.say(&format!("{}\n", shown.join(sign))).await?;
        }
    }
    Ok(status)
}

/// Finds lines with a text in them. Of regular expressions it knows `^`, `$` and `.*` at the ends; with -F none.
pub(super) async fn grep(call: &mut Call<'_>) -> Done {
    let given = call.given("qxFvciEhsn", "e").await?;
    let (pattern, words) = match (given.value('e'), given.rest.split_first()) {
        (Some(pattern), _) => (pattern, &given.rest[..]),
        (None, Some((pattern, words))) => (*pattern, words),
        (None, None) => return Err(call.missing().await),
    };
    let (starts, pattern) = match pattern.strip_prefix('^').filter(|_| !given.has('F')) {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (ends, pattern) = match pattern.strip_suffix('$').filter(|_| !given.has('F')) {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let fold = |text: &str| if given.has('i') { text.to_lowercase() } else { text.to_owned() };
    let (starts, ends) = (starts || given.has('x'), ends || given.has('x'));
    let pattern = fold(pattern);
    let is_met = |line: &str| match (starts, ends) {
        (true, true) => line == pattern,
        (true, false) => line.starts_with(&pattern),
        (false, true) => line.ends_with(&pattern),
        (false, false) => line.contains(&pattern),
    };
    let (inputs, status) = call.inputs(words).await;
    let mut found = 0;
    for (name, bytes) in &inputs {
        for (line, number) in String::from_utf8_lossy(bytes).lines().zip(1..) {
            if is_met(&fold(line)) == given.has('v') {
                continue;
            }
            found += 1;
            if given.has('q') || given.has('c') {
                continue;
            }
            let place = if words.len() > 1 && !given.has('h') { format!("{name}:") } else { String::new() };
            let number = if given.has('n') { format!("{number}:") } else { String::new() };
            call.say(&format!("{place}{number}{line}\n")).await?;
        }
    }
    if given.has('c') {
        call.say(&format!("{found}\n")).await?;
    }
    Ok(match (found, status) {
        (1.., _) if given.has('q') || status == 0 => 0,
        (0, 0) => 1,
        _ => 2,
    })
}

pub(super) async fn sha256sum(call: &mut Call<'_>) -> Done {
    let given = call.given("b", "").await?;
    let (inputs, status) = call.inputs(&given.rest).await;
    for (name, bytes) in inputs {
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        call.say(&format!("{digest}  {name}\n")).await?;
    }
    Ok(status)
}

/// Reads a line into a variable.
pub(super) async fn read(call: &mut Call<'_>) -> Done {
    let line = call.streams.input.line().await;
    let text = String::from_utf8_lossy(&line);
    let name = call.arguments.iter().find(|word| !word.starts_with('-'));
    if let Some(name) = name {
        let value = text.trim_end_matches('\n').trim_matches([' ', '\t']).to_owned();
        call.shell.variables.insert(name.clone(), value);
    }
    Ok(u32::from(!text.ends_with('\n')))
}
