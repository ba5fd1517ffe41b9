//! What the operations of a run said and wrote that no record holds yet.
//!
//! Output is shown as it comes and kept up to a cap: its beginning, and of what comes after that the
//! end, which is known only when the step is over. Whatever is taken from here goes into the same
//! transaction as the next record, so that nobody waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::event::{Event, KeptOutput, Stream, WrittenFile, fingerprint};
use crate::limits::{OUTPUT_BEGINNING, OUTPUT_END};
use crate::redact::{RedactStream, Revealed};

/// What a run's operations handed on since the last record.
pub(crate) struct Unrecorded {
    revealed: Arc<Revealed>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    outputs: BTreeMap<u32, Output>,
    files: Vec<Event>,
}

/// A record to be, and the text that must be kept before it.
pub(crate) type Piece = (Event, Option<String>);

impl Unrecorded {
    pub(crate) fn new(revealed: Arc<Revealed>) -> Self {
        Unrecorded { revealed, inner: Mutex::default() }
    }

    /// Takes what a step says, and returns what can be shown of it by now. `kept` bytes of its output are
    /// on record already.
    pub(crate) fn say(&self, step: u32, kept: u64, stream: Stream, bytes: &[u8]) -> String {
        let mut inner = self.inner();
        let output = inner.outputs.entry(step).or_insert_with(|| Output { kept, ..Output::default() });
        let incoming = output.incoming.entry(stream).or_insert_with(|| Incoming::new(self.revealed.clone()));
        let text = incoming.push(bytes);
        output.keep(stream, &text);
        text
    }

    /// Takes note of a file.
    pub(crate) fn wrote(&self, step: u32, file: WrittenFile) {
        self.inner().files.push(Event::FileWritten { step, file });
    }

    /// Returns what was held back of the outputs that are over, as what is to be shown last. The output of
    /// one step is over with it, and all are when the run is put away.
    pub(crate) fn finish(&self, over: Over) -> Vec<Event> {
        let mut inner = self.inner();
        let mut last = Vec::new();
        for (&step, output) in &mut inner.outputs {
            if !over.includes(step) {
                continue;
            }
            for (stream, incoming) in take(&mut output.incoming) {
                let text = incoming.finish();
                if !text.is_empty() {
                    output.keep(stream, &text);
                    last.push(Event::Output { step, stream, text });
                }
            }
            output.close();
        }
        last
    }

    /// Returns whether something waits to be recorded.
    pub(crate) fn is_waiting(&self) -> bool {
        let inner = self.inner();
        !inner.files.is_empty() || inner.outputs.values().any(|output| !output.beginning.is_empty())
    }

    /// Returns what is to be recorded next, each thing once.
    pub(crate) fn take(&self) -> Vec<Piece> {
        let mut inner = self.inner();
        let mut pieces = Vec::new();
        for (&step, output) in &mut inner.outputs {
            for part in take(&mut output.beginning) {
                let Part { stream, text, left_out } = part;
                let (sha256, bytes) = (fingerprint(&text), text.len() as u64);
                let output = KeptOutput { stream, sha256, bytes, left_out };
                pieces.push((Event::OutputKept { step, output }, Some(text)));
            }
        }
        pieces.extend(take(&mut inner.files).into_iter().map(|file| (file, None)));
        pieces
    }

    /// Puts back what was taken and could not be recorded, before what came since.
    pub(crate) fn give_back(&self, pieces: Vec<Piece>) {
        let mut inner = self.inner();
        for piece in pieces.into_iter().rev() {
            match piece {
                (Event::OutputKept { step, output: KeptOutput { stream, left_out, .. } }, Some(text)) => {
                    let output = inner.outputs.entry(step).or_default();
                    output.beginning.insert(0, Part { stream, text, left_out });
                }
                (file, _) => inner.files.insert(0, file),
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while output is held")
    }
}

/// Which outputs are over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    /// That of one step.
    Step(u32),
    /// Those of all steps.
    All,
}

impl Over {
    fn includes(self, step: u32) -> bool {
        match self {
            Over::Step(over) => over == step,
            Over::All => true,
        }
    }
}

/// The output of one step.
#[derive(Default)]
struct Output {
    incoming: BTreeMap<Stream, Incoming>,
    /// How many bytes are on record or in `beginning`.
    kept: u64,
    /// What goes on record next.
    beginning: Vec<Part>,
    /// The last of what came after the beginning.
    end: VecDeque<Part>,
    end_bytes: usize,
    /// How many bytes were let go between the beginning and the end.
    left_out: u64,
}

struct Part {
    stream: Stream,
    text: String,
    left_out: u64,
}

impl Output {
    fn keep(&mut self, stream: Stream, text: &str) {
        let room = OUTPUT_BEGINNING.saturating_sub(usize::try_from(self.kept).unwrap_or(usize::MAX));
        let (first, rest) = text.split_at(whole(text, room));
        self.kept += first.len() as u64;
        if !rest.is_empty() {
            // Nothing more fits in front, so that what is kept stays in order.
            self.kept = self.kept.max(OUTPUT_BEGINNING as u64);
        }
        append(&mut self.beginning, stream, first);
        self.end_bytes += rest.len();
        for rest in chunks(rest) {
            match self.end.back_mut().filter(|last| last.stream == stream && last.text.len() < CHUNK) {
                Some(last) => last.text.push_str(rest),
                None => self.end.push_back(Part { stream, text: rest.to_owned(), left_out: 0 }),
            }
        }
        while self.end_bytes > OUTPUT_END
            && let Some(first) = self.end.pop_front()
        {
            self.end_bytes -= first.text.len();
            self.left_out += first.text.len() as u64;
        }
    }

    /// Puts the end behind the beginning: nothing more comes.
    fn close(&mut self) {
        self.end_bytes = 0;
        for part in take(&mut self.end) {
            match take(&mut self.left_out) {
                0 => append(&mut self.beginning, part.stream, &part.text),
                left_out => self.beginning.push(Part { left_out, ..part }),
            }
        }
    }
}

/// What is let go at a time has at least this size, and less than twice as much.
const CHUNK: usize = 4 << 10;

fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (chunk, left) = rest.split_at(whole(rest, CHUNK));
        rest = left;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Returns the longest length up to `most` that cuts no character.
fn whole(text: &str, most: usize) -> usize {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

fn append(parts: &mut Vec<Part>, stream: Stream, text: &str) {
    if text.is_empty() {
        return;
    }
    match parts.last_mut() {
        Some(last) if last.stream == stream => last.text.push_str(text),
        _ => parts.push(Part { stream, text: text.to_owned(), left_out: 0 }),
    }
}

/// One stream on its way: bytes become text, and secrets are taken out, wherever the pieces part.
struct Incoming {
    /// The beginning of a character whose rest is still to come.
    bytes: Vec<u8>,
    redact: RedactStream,
}

impl Incoming {
    fn new(revealed: Arc<Revealed>) -> Self {
        Incoming { bytes: Vec::new(), redact: RedactStream::new(revealed) }
    }

    fn push(&mut self, bytes: &[u8]) -> String {
        self.bytes.extend_from_slice(bytes);
        let cut = match self.bytes.utf8_chunks().last() {
            Some(last) if std::str::from_utf8(last.invalid()).is_err_and(|e| e.error_len().is_none()) => {
                self.bytes.len() - last.invalid().len()
            }
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(cut);
        let text = std::mem::replace(&mut self.bytes, rest);
        self.redact.push(&String::from_utf8_lossy(&text))
    }

    fn finish(mut self) -> String {
        let rest = String::from_utf8_lossy(&self.bytes).into_owned();
        let mut text = self.redact.push(&rest);
        text.push_str(&self.redact.finish());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Secret;

    const OUT: Stream = Stream::Stdout;

    fn kept(unrecorded: &Unrecorded) -> (String, Vec<(usize, u64)>) {
        let mut all = String::new();
        let mut pieces = Vec::new();
        for (event, text) in unrecorded.take() {
            let Event::OutputKept { output, .. } = event else { panic!("{event:?}") };
            let text = text.unwrap();
            assert_eq!((output.sha256, output.bytes), (fingerprint(&text), text.len() as u64));
            pieces.push((text.len(), output.left_out));
            all.push_str(&text);
        }
        (all, pieces)
    }

    #[test]
    fn a_secret_is_taken_out_wherever_the_pieces_part() {
        let revealed = Arc::new(Revealed::default());
        revealed.learn("env:PW", &Secret::new("hünter22")).unwrap();
        let said = "the password is hünter22, again: hünter22\nhünter22";
        for size in 1..20 {
            let unrecorded = Unrecorded::new(revealed.clone());
            let mut shown = String::new();
            for piece in said.as_bytes().chunks(size) {
                shown += &unrecorded.say(1, 0, OUT, piece);
            }
            assert!(shown.ends_with('\n'), "a whole line is shown at once: {shown:?}");
            for event in unrecorded.finish(Over::Step(1)) {
                let Event::Output { text, .. } = event else { panic!("{event:?}") };
                shown += &text;
            }
            assert_eq!(shown, said.replace("hünter22", "secret(env:PW)"), "{size}");
            assert_eq!(kept(&unrecorded).0, shown);
        }
    }

    #[test]
    fn the_beginning_and_the_end_are_kept_and_what_is_left_out_is_counted() {
        let unrecorded = Unrecorded::new(Arc::default());
        let line = "ü2345678901234567890123456789012345678901234567890123456789012\n";
        let lines = 3 * (OUTPUT_BEGINNING + OUTPUT_END) / line.len();
        let said: String = line.repeat(lines);
        let mut beginning = String::new();
        for piece in said.as_bytes().chunks(1000) {
            unrecorded.say(1, 0, OUT, piece);
            beginning += &kept(&unrecorded).0;
        }
        assert!(said.starts_with(&beginning) && beginning.len().abs_diff(OUTPUT_BEGINNING) < 2);
        assert!(!unrecorded.is_waiting(), "the end is not known yet");
        assert_eq!(unrecorded.finish(Over::All), []);
        let (end, pieces) = kept(&unrecorded);
        assert!(said.ends_with(&end) && OUTPUT_END - end.len() < 2 * CHUNK, "{}", end.len());
        let left_out: u64 = pieces.iter().map(|(_, left_out)| left_out).sum();
        assert_eq!(beginning.len() + end.len() + left_out as usize, said.len());
    }

    #[test]
    fn what_an_earlier_process_kept_counts() {
        let unrecorded = Unrecorded::new(Arc::default());
        unrecorded.say(1, OUTPUT_BEGINNING as u64 - 2, OUT, b"abcd");
        assert_eq!(kept(&unrecorded).0, "ab");
        unrecorded.finish(Over::All);
        assert_eq!(kept(&unrecorded), ("cd".into(), vec![(2, 0)]));
    }

    #[test]
    fn what_could_not_be_recorded_comes_again() {
        let unrecorded = Unrecorded::new(Arc::default());
        let file = |name: &str| WrittenFile { path: name.into(), sha256: fingerprint(name), bytes: 1 };
        unrecorded.say(1, 0, OUT, b"a");
        unrecorded.say(1, 0, Stream::Stderr, b"b");
        unrecorded.wrote(1, file("f"));
        let taken = unrecorded.take();
        assert!(!unrecorded.is_waiting());
        unrecorded.say(1, 0, OUT, b"c");
        unrecorded.wrote(1, file("g"));
        unrecorded.give_back(taken);
        let texts: Vec<Option<String>> = unrecorded.take().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts.iter().flatten().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(texts.len(), 5);
    }

    #[test]
    fn streams_stay_in_order_and_apart() {
        let unrecorded = Unrecorded::new(Arc::default());
        for (stream, text) in [(OUT, "a"), (OUT, "b"), (Stream::Stderr, "c"), (OUT, "d")] {
            assert_eq!(unrecorded.say(1, 0, stream, text.as_bytes()), text);
        }
        assert_eq!(kept(&unrecorded), ("abcd".into(), vec![(2, 0), (1, 0), (1, 0)]));
        assert_eq!(unrecorded.say(1, 0, OUT, &[0xff, 0xc3]), "\u{fffd}");
        assert_eq!(unrecorded.say(1, 0, OUT, &[0xbc]), "ü");
    }
}
