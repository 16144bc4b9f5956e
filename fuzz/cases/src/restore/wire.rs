//! Changes to an encoded protobuf message that leave it one: a number gets another value, bytes
//! change, a field goes away or comes twice.
//!
//! Source: protobuf.dev, "Encoding". The fields' meaning is not needed: a string of bytes that can be
//! read as fields is taken for a message half of the time.

use crate::script::Script;

/// One field: where it starts, where its content starts and ends, its wire type.
#[derive(Clone, Copy, Debug)]
struct Field {
    start: usize,
    content: usize,
    end: usize,
    kind: u8,
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Changes one thing somewhere in `message`.
pub(crate) fn change(message: &mut Vec<u8>, script: &mut Script<'_>) {
    let fields = fields(message).unwrap_or_default();
    if fields.is_empty() || script.one_in(16) {
        add(message, script);
        return;
    }
    let field = fields[script.below(fields.len())];
    let inner = &message[field.content..field.end];
    if field.kind == BYTES && self::fields(inner).is_some_and(|inner| !inner.is_empty()) && !script.one_in(8) {
        let mut inner = inner.to_vec();
        change(&mut inner, script);
        replace_bytes(message, field, &inner);
        return;
    }
    match script.u8() % 16 {
        0 => drop(message.drain(field.start..field.end)),
        1 => {
            let again = message[field.start..field.end].to_vec();
            message.splice(field.start..field.start, again);
        }
        _ => set(message, field, script),
    }
}

/// Adds a field, which may have been left out because it is zero.
fn add(message: &mut Vec<u8>, script: &mut Script<'_>) {
    let number = 1 + u64::from(script.u8() % 32);
    if script.one_in(4) {
        message.extend(varint(number << 3 | u64::from(FIXED64)));
        message.extend(script.value().to_le_bytes());
    } else {
        message.extend(varint(number << 3 | u64::from(VARINT)));
        message.extend(varint(script.value()));
    }
}

/// Gives a field another value.
fn set(message: &mut Vec<u8>, field: Field, script: &mut Script<'_>) {
    let content = field.content..field.end;
    match field.kind {
        VARINT => drop(message.splice(content, varint(script.value()))),
        FIXED64 => message[content].copy_from_slice(&script.value().to_le_bytes()),
        FIXED32 => message[content].copy_from_slice(&(script.value() as u32).to_le_bytes()),
        _ => {
            let mut bytes = message[content].to_vec();
            let at = script.below(bytes.len().clamp(1, 1 << 16));
            let value = script.value().to_le_bytes();
            if bytes.len() >= at + 8 && script.flag() {
                bytes[at & !7..][..8].copy_from_slice(&value);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte = value[0];
            } else {
                bytes.push(value[0]);
            }
            replace_bytes(message, field, &bytes);
        }
    }
}

fn replace_bytes(message: &mut Vec<u8>, field: Field, bytes: &[u8]) {
    let mut tag = message[field.start..field.content].to_vec();
    let (_, tag_len) = read_varint(&tag, 0).expect("it was read before");
    tag.truncate(tag_len);
    tag.extend(varint(bytes.len() as u64));
    tag.extend(bytes);
    message.splice(field.start..field.end, tag);
}

/// The fields of a message; `None` if it is none.
fn fields(message: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let start = at;
        let (tag, content) = read_varint(message, at)?;
        let kind = (tag & 7) as u8;
        let (content, end) = match kind {
            VARINT => (content, read_varint(message, content)?.1),
            FIXED64 => (content, content + 8),
            FIXED32 => (content, content + 4),
            BYTES => {
                let (len, content) = read_varint(message, content)?;
                (content, content.checked_add(usize::try_from(len).ok()?)?)
            }
            _ => return None,
        };
        if tag >> 3 == 0 || tag >> 3 > 1000 || end > message.len() {
            return None;
        }
        fields.push(Field { start, content, end, kind });
        at = end;
    }
    Some(fields)
}

/// The number at `at` and where it ends.
fn read_varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i as u32).min(63);
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    None
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
