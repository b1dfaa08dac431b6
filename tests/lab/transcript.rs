//! What a server said, as lines that two runs can be compared by.
//!
//! Left out, since no two sessions agree on it: process ids and keys, OIDs of what users made, and
//! where in the server's source an error was raised.

use crate::client::Heard;

/// The first OID that a server gives to what users make.
const FIRST_USER_OID: u32 = 16_384;

/// One line for each message.
pub(crate) fn lines(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(line).collect()
}

fn line(heard: &Heard) -> String {
    let body = &heard.body;
    let rest = match heard.tag {
        b'T' => row_description(body),
        b'D' => row(body),
        b'E' | b'N' => diagnostic(body),
        b't' => Reader(&body[2..]).oids(),
        b'K' => String::new(),
        b'S' => text(body).replace('\0', "="),
        _ => text(body),
    };
    format!("{} {}", char::from(heard.tag), rest.trim_end_matches('='))
        .trim_end()
        .to_owned()
}

fn text(bytes: &[u8]) -> String {
    let readable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ' || *byte == 0;
    if bytes.iter().all(readable) {
        let text = String::from_utf8_lossy(bytes);
        text.trim_end_matches('\0').to_owned()
    } else {
        bytes.escape_ascii().to_string()
    }
}

fn diagnostic(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter(|field| {
        field
            .first()
            .is_some_and(|code| !matches!(code, b'F' | b'L' | b'R' | b'V'))
    });
    let fields: Vec<_> = fields
        .map(|field| String::from_utf8_lossy(field).into_owned())
        .collect();
    fields.join(" ")
}

fn row_description(body: &[u8]) -> String {
    let mut reader = Reader(&body[2..]);
    let mut columns = Vec::new();
    while !reader.0.is_empty() {
        let name = reader.string();
        let table = reader.number(4);
        let (attribute, kind) = (reader.number(2), reader.number(4));
        let (size, modifier, format) = (reader.number(2), reader.number(4), reader.number(2));
        columns.push(format!(
            "{name}:{}:{attribute}:{}:{size}:{modifier}:{format}",
            oid(table),
            oid(kind)
        ));
    }
    columns.join(" ")
}

fn oid(number: u32) -> String {
    if number < FIRST_USER_OID {
        number.to_string()
    } else {
        "user".to_owned()
    }
}

fn row(body: &[u8]) -> String {
    let mut reader = Reader(&body[2..]);
    let mut columns = Vec::new();
    while !reader.0.is_empty() {
        let length = reader.number(4);
        columns.push(if length == u32::MAX {
            "NULL".to_owned()
        } else {
            text(reader.take(length as usize))
        });
    }
    columns.join("|")
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u32 {
        self.take(bytes)
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    fn string(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let name = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        name
    }

    fn oids(mut self) -> String {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            all.push(oid(self.number(4)));
        }
        all.join(" ")
    }
}
