//! A client that sends the very messages it is told, and writes down the answers.

use std::collections::BTreeMap;

use bytes::{BufMut, BytesMut};
use drydock::postgres::connect::{self, StartupSettings, Stream};
use drydock::postgres::url::{Environment, parse};
use drydock::rehearsal::wire::{
    Backend, Bind, Field, FrameDecoder, Frontend, Parse, Piece, Target, TransactionStatus,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::{Duration, timeout};

/// How long an answer may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Client {
    runtime: Runtime,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    decoder: FrameDecoder,
    /// Settings as the server has reported them so far.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Client {
    /// Connects, with these settings in the startup packet.
    pub(crate) fn with(url: &str, settings: &[(&str, &str)]) -> Self {
        let runtime = Runtime::new().unwrap();
        let (target, _) = parse(url, &Environment::new()).unwrap();
        let startup = settings
            .iter()
            .fold(StartupSettings::first("test"), |startup, (name, value)| {
                startup.with(name, value)
            });
        let raw = runtime.block_on(connect::raw(&target, &startup)).unwrap();
        Self {
            runtime,
            stream: raw.stream,
            buffer: BytesMut::new(),
            decoder: FrameDecoder::backend(),
            settings: raw.parameters,
        }
    }

    /// Connects.
    pub(crate) fn new(url: &str) -> Self {
        Self::with(url, &[])
    }

    /// Sends messages in one write. A message is its tag and its parts:
    /// `Q sql`, `QL sql` (in LATIN1), `P statement sql`, `B portal statement`, `D portal`, `DS statement`, `E portal`,
    /// `E/rows portal`, `C portal`, `CS statement`, `S`, `H`, `d data`, `c`, `f reason`, `X`, and
    /// `F function argument`. The unnamed ones are `-`.
    pub(crate) fn send(&mut self, messages: &[&str]) {
        let mut out = BytesMut::new();
        for message in messages {
            encode(message, &mut out);
        }
        self.runtime.block_on(async {
            self.stream.write_all(&out).await.unwrap();
            self.stream.flush().await.unwrap();
        });
    }

    /// Sends messages and gives the answers up to the last ReadyForQuery.
    pub(crate) fn talk(&mut self, messages: &[&str]) -> Vec<String> {
        let ends = |message: &&&str| matches!(message.as_bytes(), [b'Q' | b'S' | b'F', ..]);
        let syncs = messages.iter().filter(ends).count();
        self.send(messages);
        self.hear(syncs)
    }

    /// One Query, and the columns of its last row.
    pub(crate) fn ask(&mut self, sql: &str) -> String {
        let answers = self.talk(&[&format!("Q {sql}")]);
        let row = answers.iter().rev().find_map(|a| a.strip_prefix("row "));
        row.map_or_else(|| panic!("no row: {answers:?}"), str::to_owned)
    }

    /// Answers up to the given number of ReadyForQuery, or to the end of the connection.
    pub(crate) fn hear(&mut self, mut ready: usize) -> Vec<String> {
        let mut said = Vec::new();
        while ready > 0 {
            let Some(answer) = self.answer() else {
                said.push("closed".to_owned());
                break;
            };
            ready -= usize::from(answer.starts_with("ready "));
            said.push(answer);
        }
        said
    }

    /// The next answer but reports of settings, which come at other places before PostgreSQL 14;
    /// `None` once the connection is closed.
    pub(crate) fn answer(&mut self) -> Option<String> {
        loop {
            match self.decoder.decode(&mut self.buffer).unwrap() {
                Some(Piece::Frame(frame)) => match Backend::parse(&frame).unwrap() {
                    Backend::ParameterStatus { name, value } => {
                        self.settings.insert(text(name), text(value));
                        continue;
                    }
                    message => return Some(describe(&message)),
                },
                Some(Piece::Data(data)) => {
                    // The frames of one chunk are one answer; none of the tests cares which.
                    let rows: Vec<_> = data
                        .frames()
                        .map(|frame| describe(&Backend::parse(&frame).unwrap()))
                        .collect();
                    return Some(rows.join("\n"));
                }
                None => {}
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let count = self
                .runtime
                .block_on(async { timeout(PATIENCE, read).await.expect("an answer in time") });
            if matches!(count, Ok(0) | Err(_)) {
                return None;
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn name(text: &str) -> &[u8] {
    if text == "-" { b"" } else { text.as_bytes() }
}

fn encode(message: &str, out: &mut BytesMut) {
    let (tag, rest) = message.split_once(' ').unwrap_or((message, ""));
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let latin1: Vec<u8> = rest.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    // One argument, and the result, as text.
    let mut arguments = BytesMut::from(&[0, 0, 0, 1][..]);
    arguments.put_i32(i32::try_from(second.len()).unwrap());
    arguments.put_slice(second.as_bytes());
    arguments.put_i16(0);
    let message = match tag {
        "F" => Frontend::FunctionCall {
            function: first.parse().unwrap(),
            arguments: &arguments,
        },
        "QL" => Frontend::Query(&latin1),
        "Q" => Frontend::Query(rest.as_bytes()),
        "P" => Frontend::Parse(Parse {
            statement: name(first),
            sql: second.as_bytes(),
            types: Parse::NO_TYPES,
        }),
        "B" => Frontend::Bind(Bind {
            portal: name(first),
            statement: name(second),
            values: Bind::NO_VALUES,
        }),
        "D" => Frontend::Describe(Target::Portal(name(first))),
        "DS" => Frontend::Describe(Target::Statement(name(first))),
        "C" => Frontend::Close(Target::Portal(name(first))),
        "CS" => Frontend::Close(Target::Statement(name(first))),
        "S" => Frontend::Sync,
        "H" => Frontend::Flush,
        "d" => Frontend::CopyData(rest.as_bytes()),
        "c" => Frontend::CopyDone,
        "f" => Frontend::CopyFail(rest.as_bytes()),
        "X" => Frontend::Terminate,
        execute => Frontend::Execute {
            portal: name(first),
            max_rows: execute
                .strip_prefix("E/")
                .map_or(0, |rows| rows.parse().unwrap()),
        },
    };
    message.encode(out);
}

fn describe(message: &Backend<'_>) -> String {
    match message {
        Backend::ReadyForQuery(status) => match status {
            TransactionStatus::Idle => "ready I".to_owned(),
            TransactionStatus::InTransaction => "ready T".to_owned(),
            TransactionStatus::Failed => "ready E".to_owned(),
        },
        Backend::CommandComplete(tag) => format!("done {}", text(tag)),
        Backend::ErrorResponse(error) => {
            let place = error.position().map(|at| format!(" at {at}"));
            format!("error {}{}", error.code(), place.unwrap_or_default())
        }
        Backend::NoticeResponse(notice) => {
            let severity = notice.text(Field::Severity).unwrap_or_default();
            format!("{} {}", severity.to_lowercase(), notice.code())
        }
        Backend::DataRow(row) => {
            let columns: Vec<_> = Backend::columns(row)
                .unwrap()
                .map(|column| column.unwrap().map_or_else(|| "∅".to_owned(), text))
                .collect();
            format!("row {}", columns.join("|"))
        }
        other => format!("{other:?}"),
    }
}
