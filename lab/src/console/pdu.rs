//! The RDP preconnection PDU, version 2: how a client says which VM's console it wants.
//!
//! ```text
//! u32 size | u32 flags = 0 | u32 version = 2 | u32 id | u16 units | UTF-16LE units, NUL-terminated
//! ```
//!
//! All numbers are little-endian; the size counts everything.

/// What must be there before the text.
const HEAD: usize = 18;
/// More text than any console client has reason to send.
const MOST_UNITS: usize = 512;

/// A preconnection PDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The numeric id; console clients leave it 0.
    pub id: u32,
    /// The text, without its terminating NULs.
    pub blob: String,
}

/// What is wrong with a preconnection PDU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PduError {
    /// The connection ended or fell silent before the PDU was complete.
    #[error("the preconnection PDU ends after {got} bytes")]
    Truncated {
        /// How many bytes came.
        got: usize,
    },
    /// The first bytes are some other protocol's.
    #[error("the connection does not start with a preconnection PDU of version 2")]
    NotAPdu,
    /// The fields disagree.
    #[error("the preconnection PDU names {size} bytes but {units} units of text")]
    Sizes {
        /// The size field.
        size: u32,
        /// The text length field.
        units: u16,
    },
    /// The text is longer than the lab reads.
    #[error("the preconnection PDU has {0} units of text, more than {MOST_UNITS}")]
    TooLong(usize),
    /// The text is not UTF-16, or holds NULs before its end, or does not end in one.
    #[error("the text of the preconnection PDU is not NUL-terminated UTF-16")]
    Text,
}

impl Pdu {
    /// Reads a complete PDU.
    pub fn parse(bytes: &[u8]) -> Result<Self, PduError> {
        if missing(bytes)? > 0 {
            return Err(PduError::Truncated { got: bytes.len() });
        }
        let units: Vec<u16> =
            bytes[HEAD..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let text = String::from_utf16(&units).map_err(|_| PduError::Text)?;
        // Real clients end the text with one NUL or two.
        let blob = text.trim_end_matches('\0');
        if blob.len() == text.len() || blob.contains('\0') {
            return Err(PduError::Text);
        }
        Ok(Self { id: u32_at(bytes, 12), blob: blob.to_owned() })
    }

    /// Returns the bytes of the PDU, ended by one NUL.
    pub fn to_bytes(&self) -> Vec<u8> {
        let units: Vec<u16> = self.blob.encode_utf16().chain([0]).collect();
        let size = (HEAD + 2 * units.len()) as u32;
        let mut bytes = Vec::with_capacity(HEAD + 2 * units.len());
        for field in [size, 0, 2, self.id] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&(units.len() as u16).to_le_bytes());
        units.iter().for_each(|unit| bytes.extend_from_slice(&unit.to_le_bytes()));
        bytes
    }
}

/// Returns how many more bytes a PDU needs, looking no further than what is there.
pub(super) fn missing(bytes: &[u8]) -> Result<usize, PduError> {
    if bytes.len() >= 12 && (u32_at(bytes, 4) != 0 || u32_at(bytes, 8) != 2) {
        return Err(PduError::NotAPdu);
    }
    if bytes.len() < HEAD {
        return Ok(HEAD - bytes.len());
    }
    let size = u32_at(bytes, 0);
    let units = u16::from_le_bytes([bytes[16], bytes[17]]);
    let text = usize::from(units);
    if text > MOST_UNITS {
        return Err(PduError::TooLong(text));
    }
    if size as usize != HEAD + 2 * text {
        return Err(PduError::Sizes { size, units });
    }
    Ok((HEAD + 2 * text).saturating_sub(bytes.len()))
}

/// Reads a number; callers have checked that it is there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As sent by FreeRDP, byte for byte: 38 units, two of them NUL.
    #[test]
    fn a_real_client_is_understood() {
        let guid = "c824f7f0-0000-0000-0000-000000000032";
        let units: Vec<u16> = guid.encode_utf16().chain([0, 0]).collect();
        let mut bytes = vec![0x5e, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x26, 0];
        units.iter().for_each(|unit| bytes.extend_from_slice(&unit.to_le_bytes()));
        assert_eq!(bytes.len(), 94);
        assert_eq!(Pdu::parse(&bytes), Ok(Pdu { id: 0, blob: guid.into() }));
    }

    #[test]
    fn every_cut_is_noticed_and_no_byte_panics() {
        let good = Pdu { id: 0, blob: "x;EnhancedMode=0".into() }.to_bytes();
        for end in 0..good.len() {
            assert!(Pdu::parse(&good[..end]).is_err(), "{end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _ = Pdu::parse(&bad);
        }
        assert!(Pdu::parse(&good).is_ok());
    }

    #[test]
    fn other_protocols_and_lies_are_refused() {
        let x224 = [0x03, 0, 0, 0x2a, 0x25, 0xe0, 0, 0, 0, 0, 0, b'C', b'o', b'o', b'k', b'i', b'e', b':'];
        assert_eq!(Pdu::parse(&x224), Err(PduError::NotAPdu));
        let mut lie = Pdu { id: 0, blob: "abc".into() }.to_bytes();
        lie[0] += 2;
        assert!(matches!(Pdu::parse(&lie), Err(PduError::Sizes { .. })));
        let mut huge = Pdu { id: 0, blob: "abc".into() }.to_bytes();
        huge[17] = 0xff;
        assert!(matches!(Pdu::parse(&huge), Err(PduError::TooLong(_))));
    }
}
