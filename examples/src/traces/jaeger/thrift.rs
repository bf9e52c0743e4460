//! Thrift as Jaeger speaks it: the binary protocol of its collector, and the compact one of its agent.
//!
//! Source: github.com/apache/thrift, doc/specs/thrift-binary-protocol.md and thrift-compact-protocol.md.

/// The fields of a struct, with their numbers, which ascend.
pub(super) type Fields = Vec<(i16, Value)>;

/// The values that Jaeger's messages are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    I64(i64),
    Double(f64),
    Text(String),
    Struct(Fields),
    /// All of its lists are of structs.
    List(Vec<Fields>),
}

/// Returns a struct in the binary protocol.
pub(super) fn binary(fields: &Fields) -> Vec<u8> {
    let mut out = Vec::new();
    binary_struct(&mut out, fields);
    out
}

fn binary_struct(out: &mut Vec<u8>, fields: &Fields) {
    for (id, value) in fields {
        out.push(match value {
            Value::Bool(_) => 2,
            Value::Double(_) => 4,
            Value::I32(_) => 8,
            Value::I64(_) => 10,
            Value::Text(_) => 11,
            Value::Struct(_) => BINARY_STRUCT,
            Value::List(_) => 15,
        });
        out.extend(id.to_be_bytes());
        binary_value(out, value);
    }
    out.push(STOP);
}

fn binary_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(value) => out.push((*value).into()),
        Value::I32(value) => out.extend(value.to_be_bytes()),
        Value::I64(value) => out.extend(value.to_be_bytes()),
        Value::Double(value) => out.extend(value.to_be_bytes()),
        Value::Text(text) => {
            out.extend(length(text.len()).to_be_bytes());
            out.extend(text.as_bytes());
        }
        Value::Struct(fields) => binary_struct(out, fields),
        Value::List(structs) => {
            out.push(BINARY_STRUCT);
            out.extend(length(structs.len()).to_be_bytes());
            for fields in structs {
                binary_struct(out, fields);
            }
        }
    }
}

/// What ends a struct in both protocols.
pub(super) const STOP: u8 = 0;
const BINARY_STRUCT: u8 = 12;
const COMPACT_STRUCT: u8 = 12;
/// The first byte of a message of the compact protocol.
pub(super) const COMPACT: u8 = 0x82;
/// The second one: version 1, and a call.
pub(super) const CALL: u8 = 0x21;

/// Returns a call of `method` in the compact protocol, the first of its client.
pub(super) fn compact_call(method: &str, arguments: &Fields) -> Vec<u8> {
    let mut out = vec![COMPACT, CALL];
    varint(&mut out, 1);
    compact_text(&mut out, method);
    compact_struct(&mut out, arguments);
    out
}

/// Returns how long a struct is in the compact protocol.
pub(super) fn compact_len(fields: &Fields) -> usize {
    let mut out = Vec::new();
    compact_struct(&mut out, fields);
    out.len()
}

fn compact_struct(out: &mut Vec<u8>, fields: &Fields) {
    let mut last = 0;
    for (id, value) in fields {
        let kind = match value {
            Value::Bool(true) => 1,
            Value::Bool(false) => 2,
            Value::I32(_) => 5,
            Value::I64(_) => 6,
            Value::Double(_) => 7,
            Value::Text(_) => 8,
            Value::List(_) => 9,
            Value::Struct(_) => COMPACT_STRUCT,
        };
        match u8::try_from(id - last) {
            Ok(step @ 1..=15) => out.push((step << 4) | kind),
            _ => {
                out.push(kind);
                varint(out, zigzag((*id).into()));
            }
        }
        last = *id;
        compact_value(out, value);
    }
    out.push(STOP);
}

fn compact_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        // It is in the head of the field.
        Value::Bool(_) => {}
        Value::I32(value) => varint(out, zigzag((*value).into())),
        Value::I64(value) => varint(out, zigzag(*value)),
        Value::Double(value) => out.extend(value.to_le_bytes()),
        Value::Text(text) => compact_text(out, text),
        Value::Struct(fields) => compact_struct(out, fields),
        Value::List(structs) => {
            match u8::try_from(structs.len()) {
                Ok(count @ 0..=14) => out.push((count << 4) | COMPACT_STRUCT),
                _ => {
                    out.push(0xF0 | COMPACT_STRUCT);
                    varint(out, structs.len() as u64);
                }
            }
            for fields in structs {
                compact_struct(out, fields);
            }
        }
    }
}

fn compact_text(out: &mut Vec<u8>, text: &str) {
    varint(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Lengths have 31 bits; what is sent is far shorter.
fn length(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
