//! The pure core against a model of the server: whatever a client says, and however it is cut into
//! packets, nothing is committed, and the client hears what the model itself would have said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/client.rs"]
mod client;
#[path = "rehearsal_model/scanner.rs"]
mod scanner;
#[path = "rehearsal_model/server.rs"]
mod server;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, ready};

use bytes::BytesMut;
use client::{bind, close, describe, execute, flush, parse, query, sync, terminate};
use drydock::rehearsal::transaction::{
    ClientId, Ending, Event, Names, Note, Opening, Output, Surroundings, Transaction, Welcome,
};
use drydock::rehearsal::wire::{FrameDecoder, Piece};
use drydock::verdict::Verdict;
use proptest::prelude::*;
use server::Server;

const CLIENT: ClientId = ClientId(1);

/// The core's surroundings: the model behind it, a client's bytes in front of it, and a schedule
/// that says which of two things happens first.
struct Model {
    server: Server,
    from_server: VecDeque<Piece>,
    server_decoder: FrameDecoder,
    server_buffer: BytesMut,
    packets: VecDeque<Vec<u8>>,
    from_client: VecDeque<Piece>,
    client_decoder: FrameDecoder,
    client_buffer: BytesMut,
    schedule: VecDeque<bool>,
    joined: bool,
    left: bool,
    said: Vec<u8>,
    notes: Vec<Note>,
    /// How the server stood just before the final ROLLBACK.
    ended_before_finish: usize,
}

impl Model {
    fn new(packets: Vec<Vec<u8>>, schedule: Vec<bool>) -> Self {
        let mut server = Server::new();
        // As the rehearsal is opened.
        server.hear(&query("BEGIN"));
        Self {
            server,
            from_server: VecDeque::new(),
            server_decoder: FrameDecoder::backend(),
            server_buffer: BytesMut::new(),
            packets: packets.into(),
            from_client: VecDeque::new(),
            client_decoder: FrameDecoder::frontend(),
            client_buffer: BytesMut::new(),
            schedule: schedule.into(),
            joined: false,
            left: false,
            said: Vec::new(),
            notes: Vec::new(),
            ended_before_finish: 0,
        }
    }

    fn collect(&mut self, output: &mut Output) {
        if let Some(outlet) = output.clients.get_mut(&CLIENT) {
            self.said.extend_from_slice(&outlet.bytes.split());
        }
        self.notes.append(&mut output.notes);
    }

    fn event(&mut self, output: &mut Output) -> Event {
        self.collect(output);
        let answers = self.server.hear(&output.upstream.split());
        self.server_buffer.extend_from_slice(&answers);
        while let Some(piece) = self.server_decoder.decode(&mut self.server_buffer).unwrap() {
            self.from_server.push_back(piece);
        }
        if !std::mem::replace(&mut self.joined, true) {
            return Event::Joined(
                CLIENT,
                Welcome {
                    settings: Vec::new(),
                    process_id: 1,
                    key: [0; 4],
                },
            );
        }
        let known = output.clients.contains_key(&CLIENT);
        let client_first = self.schedule.pop_front().unwrap_or(false) && known;
        if client_first && let Some(piece) = self.next_of_client() {
            return Event::Client(CLIENT, piece);
        }
        if let Some(piece) = self.from_server.pop_front() {
            return Event::Upstream(piece);
        }
        if let Some(piece) = self.next_of_client() {
            return Event::Client(CLIENT, piece);
        }
        if !std::mem::replace(&mut self.left, true) {
            return Event::Left(CLIENT);
        }
        self.ended_before_finish = self.server.ended;
        Event::Finish
    }

    fn next_of_client(&mut self) -> Option<Piece> {
        while self.from_client.is_empty() {
            let packet = self.packets.pop_front()?;
            self.client_buffer.extend_from_slice(&packet);
            while let Some(piece) = self.client_decoder.decode(&mut self.client_buffer).unwrap() {
                self.from_client.push_back(piece);
            }
        }
        self.from_client.pop_front()
    }
}

impl Surroundings for Model {
    fn next(&mut self, output: &mut Output) -> impl Future<Output = Event> + Send {
        ready(self.event(output))
    }
}

fn rehearse(packets: Vec<Vec<u8>>, schedule: Vec<bool>) -> (Ending, Model) {
    let opening = Opening {
        names: Names::new(7),
        parameters: vec![
            ("standard_conforming_strings".to_owned(), "on".to_owned()),
            ("client_encoding".to_owned(), "UTF8".to_owned()),
        ],
        login: "postgres".to_owned(),
        baseline: Vec::new(),
        top_xid: Some(700),
        sequences: BTreeSet::new(),
        own_locks: 1,
        substitute_below: 0,
        count_millis: 150,
        show_values: false,
        statement_timeout: 0,
        our_lock_timeout: false,
        tests_tripwire: false,
    };
    let transaction = Transaction::new(opening, Model::new(packets, schedule));
    let (ending, mut model, mut output) = futures::executor::block_on(transaction.run());
    model.collect(&mut output);
    // Whatever is still to be sent counts as sent.
    model.server.hear(&output.upstream);
    (ending, model)
}

/// Command tags, SQLSTATEs and ReadyForQuery, in order; from the first one that is asked for.
fn skeleton(mut said: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while said.len() >= 5 {
        let length = u32::from_be_bytes(said[1..5].try_into().unwrap()) as usize;
        let (tag, body) = (said[0], &said[5..=length]);
        let text = String::from_utf8_lossy(body);
        match tag {
            b'C' | b'Z' => lines.push(format!(
                "{} {}",
                char::from(tag),
                text.trim_end_matches('\0')
            )),
            b'E' => {
                let code = text.split('\0').find(|field| field.starts_with('C'));
                lines.push(format!("E {}", code.unwrap_or_default()));
            }
            b'1' | b'2' | b'3' | b'n' | b'T' | b't' | b'I' => {
                lines.push(char::from(tag).to_string());
            }
            _ => {}
        }
        said = &said[length + 1..];
    }
    lines
}

fn text() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        8 => prop::sample::select(vec![
            "INSERT INTO t VALUES (1)", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a",
            "RELEASE a", "SELECT 1", "SELECT fail", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN",
        ]),
        3 => prop::sample::select(vec![
            "SET standard_conforming_strings = off", "SET standard_conforming_strings = on",
            "SELECT set_config('standard_conforming_strings', 'off', false), loosen",
            "START TRANSACTION", "END", "ABORT", "SAVEPOINT b", "ROLLBACK TO SAVEPOINT b", "RELEASE SAVEPOINT b",
            "DO $$BEGIN; COMMIT; END$$", "SELECT", "", "SELEKT", "COMMIT NOW", "SELECT tighten",
        ]),
        3 => prop::sample::select(vec![
            "SELECT '\\'; COMMIT; --'", "SELECT '\\''; COMMIT; --'", "SELECT E'\\'; COMMIT; --'",
            "SELECT E'a'\n'\\'; COMMIT; --'", "SELECT $a$;COMMIT;$a$", "SELECT 1 /* ; COMMIT /* */ ; */",
            "SELECT '\\', E'\\''; ROLLBACK; INSERT --'", "SELECT \"\\\"; COMMIT; --\"", "SELECT 'x\\'';COMMIT;'y'",
            "SELECT '", "SELECT 1 -- ; COMMIT\n", "/* COMMIT */ SELECT 1", "SELECT $$;", "SELECT '\\'\n'\\'; END; --'",
        ]),
    ];
    one.prop_map(str::to_owned)
}

/// A string of several statements now and then.
fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => text(),
        2 => prop::collection::vec(text(), 2..5).prop_map(|all| all.join("; ")),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "s", "c"])
}

/// What a client does in one go.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let run = |statement: &'static str, portal: &'static str| {
        [
            close(b'P', portal),
            bind(portal, statement, &[]),
            execute(portal, 0),
        ]
        .concat()
    };
    prop_oneof![
        6 => string().prop_map(|text| query(&text)),
        6 => (text(), any::<bool>()).prop_map(|(text, described)| {
            let describe = if described { describe(b'P', "") } else { Vec::new() };
            [parse("", &text), bind("", "", &[]), describe, execute("", 0)].concat()
        }),
        3 => (name(), text()).prop_map(|(name, text)| parse(name, &text)),
        1 => (name(), string()).prop_map(|(name, text)| parse(name, &text)),
        3 => (name(), prop::sample::select(vec!["", "p"])).prop_map(move |(name, portal)| run(name, portal)),
        1 => name().prop_map(|name| close(b'S', name)),
        1 => name().prop_map(|name| describe(b'S', name)),
        4 => Just(sync()),
        1 => Just(flush()),
    ]
}

fn packets(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("MODEL_CASES").map_or(1500, |cases| cases.parse().unwrap());
    ProptestConfig {
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// What was not read as the server reads it, once.
#[test]
fn a_setting_that_a_function_changes_is_known_before_the_text_behind_it_is_read() {
    let loosen = "SELECT set_config('standard_conforming_strings', 'off', false), loosen";
    let one = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    for said in [
        // Behind it in the same string.
        [
            query(loosen),
            query("SELECT tighten; SELECT '\\''; COMMIT; --'"),
        ]
        .concat(),
        // In a batch that a string ends.
        [
            query(loosen),
            one("SELECT tighten"),
            query("SELECT 1; SELECT '\\''; COMMIT; --'"),
        ]
        .concat(),
    ] {
        agrees([said, sync()].concat(), &[], Vec::new()).unwrap();
    }
}

/// Nothing is committed, and unless the rehearsal refuses, the client hears what a server says.
fn agrees(
    said: Vec<u8>,
    cuts: &[prop::sample::Index],
    schedule: Vec<bool>,
) -> Result<(), TestCaseError> {
    let expected = skeleton(&Server::new().hear(&said));
    let (ending, model) = rehearse(packets(&said, cuts), schedule);

    prop_assert_eq!(model.server.committed, 0, "something was committed");
    prop_assert_eq!(model.ended_before_finish, 0, "the transaction ended");
    prop_assert_eq!(model.server.ended, 1, "the final ROLLBACK is missing");
    prop_assert!(ending.gapless && ending.rolled_back, "{:?}", ending);

    let refused = model
        .notes
        .iter()
        .any(|note| matches!(note, Note::Verdict(Verdict::NotRehearsed(_), _)));
    let all = skeleton(&model.said);
    // Its own greeting, and nothing that comes when it has gone.
    let found = all.get(1..).unwrap_or_default();
    if !refused {
        prop_assert_eq!(found, &expected[..]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_commits_and_the_client_hears_what_the_server_would_say(
        steps in prop::collection::vec(step(), 1..14),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        schedule in prop::collection::vec(any::<bool>(), 0..60),
        farewell in any::<bool>(),
    ) {
        let mut said = steps.concat();
        said.extend(sync());
        if farewell {
            said.extend(terminate());
        }
        agrees(said, &cuts, schedule)?;
    }
}
