//! How large a value of a script may be: counted while it is turned into JSON, or checked.

use serde_json::{Number, Value};

use crate::limits::{DEPTH, PARTS, VALUE};

/// Checks that a value that came from outside can be recorded and read back by a script.
///
/// # Errors
/// Says which limit it exceeds.
pub(crate) fn check(value: &Value) -> Result<(), String> {
    measure(value, DEPTH, &mut Room::default())
}

/// Says of a number that no script can hold it.
pub(crate) fn too_large(number: &Number) -> String {
    format!("the number {number} is too large for a script")
}

/// What is left of the limits while a value is turned.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: usize,
    parts: usize,
}

impl Default for Room {
    fn default() -> Self {
        Room { bytes: VALUE, parts: PARTS }
    }
}

impl Room {
    /// Takes the room of one part.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.parts = self.parts.checked_sub(1).ok_or_else(|| format!("a value may have {PARTS} parts"))?;
        self.take_bytes(bytes)
    }

    /// Takes the room of a text as JSON writes it.
    pub(crate) fn take_text(&mut self, text: &str) -> Result<(), String> {
        let escapes = text.bytes().map(|byte| match byte {
            b'"' | b'\\' => 1,
            0..0x20 => 5,
            _ => 0,
        });
        self.take_bytes(text.len() + 3 + escapes.sum::<usize>())
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes =
            self.bytes.checked_sub(bytes).ok_or_else(|| format!("a value may have {} MiB", VALUE >> 20))?;
        Ok(())
    }
}

/// Returns how deep a part may be nested.
pub(crate) fn deeper(depth: usize) -> Result<usize, String> {
    depth.checked_sub(1).ok_or_else(|| format!("a value may be nested {DEPTH} deep"))
}

fn measure(value: &Value, depth: usize, room: &mut Room) -> Result<(), String> {
    room.take(4)?;
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) if number.is_u64() && !number.is_i64() => Err(too_large(number)),
        Value::Number(_) => Ok(()),
        Value::String(text) => room.take_text(text),
        Value::Array(items) => {
            let depth = deeper(depth)?;
            items.iter().try_for_each(|item| measure(item, depth, room))
        }
        Value::Object(map) => {
            let depth = deeper(depth)?;
            map.iter().try_for_each(|(name, item)| {
                room.take_text(name)?;
                measure(item, depth, room)
            })
        }
    }
}
