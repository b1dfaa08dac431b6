//! A hostile client: whatever it says, nothing is committed, and the rehearsal says what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "rehearsal_slips/attacks.rs"]
mod attacks;
#[path = "lab/client.rs"]
mod client;
#[path = "rehearsal_slips/layers.rs"]
mod layers;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "lab/rehearse.rs"]
mod rehearse;
#[path = "lab/tamper.rs"]
mod tamper;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use attacks::Outcome::{self, Emulated};
use attacks::{LEAK, attacks, batch, queries};
use client::{Address, Client, Heard, errors, extended, message, query, sync, terminate};
use drydock::rehearsal::proxy::Record;
use drydock::verdict::{NotRehearsed as Cause, Verdict};
use postgres::{Database, Server};
use rehearse::Rehearsed;

/// A table that is there before, so that there is something to lose as well.
const FIXTURE: &str = "
    CREATE TABLE kept (a int PRIMARY KEY); INSERT INTO kept VALUES (1), (2);
    CREATE SEQUENCE counter START 5;
    CREATE FUNCTION loosen() RETURNS void LANGUAGE sql AS
        $$SELECT set_config('standard_conforming_strings', 'off', false)$$;
    CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$BEGIN CREATE TABLE leak (a int); COMMIT; END$$;";

/// Says everything, takes its leave, and hears whatever there is to be heard until then.
fn play(client: &mut Client, says: &[u8]) -> Vec<Heard> {
    client.send(says);
    client.send(&[sync(), terminate()].concat());
    let mut all = Vec::new();
    while let Some(heard) = client.hear() {
        let silent = heard.is_silence();
        all.push(heard);
        if silent {
            break;
        }
    }
    all
}

/// A database with its contents at the beginning.
struct Target<'a> {
    database: Database<'a>,
    before: String,
}

impl<'a> Target<'a> {
    fn on(server: &'a Server) -> Self {
        let database = server.database();
        database.psql(FIXTURE);
        let before = database.dump();
        Self { database, before }
    }

    /// Nothing in the database, no prepared transaction, no session.
    fn is_untouched(&self, pid: i32) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let asked = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        while self.database.psql(&asked) != "0" {
            if Instant::now() > deadline {
                return Err("the server's session is still there".to_owned());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.database.dump() != self.before {
            return Err("something was committed".to_owned());
        }
        let prepared = self
            .database
            .psql("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()");
        if prepared != "0" {
            return Err("a prepared transaction is left".to_owned());
        }
        Ok(())
    }
}

fn outcome(record: &Record) -> Result<Outcome, String> {
    match &record.verdict {
        None if record.gapless => Ok(Emulated),
        Some((Verdict::NotRehearsed(cause), _)) => Ok(Outcome::NotRehearsed(*cause)),
        other => Err(format!("verdict {other:?}, gapless: {}", record.gapless)),
    }
}

/// What is expected of the verdicts beside nothing being committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The one that each attack names.
    ItsVerdict,
    /// Any that is no pass in disguise: without the tripwires nothing of ours is touched.
    AnyVerdict,
}

/// Tries all attacks; `through` is the way to the server for a database's URL.
fn try_all(major: u8, expect: Expect, through: impl Fn(&Database<'_>) -> String) {
    let server = Server::shared_of(major);
    let target = Target::on(server);
    let url = through(&target.database);
    let chosen = std::env::var("SLIP").unwrap_or_default();
    let mut failures = Vec::new();
    for attack in attacks() {
        if attack.since > major || !attack.name.contains(&chosen) {
            continue;
        }
        let rehearsed = Rehearsed::start_at(&url, &target.database.name, major);
        let pid = rehearsed.upstream_pid();
        let heard = {
            let mut client = Client::connect(&rehearsed.url);
            play(&mut client, &attack.says)
        };
        let record = rehearsed.finish();
        let answered = heard.last().is_none_or(|heard| !heard.is_silence());
        let found = target
            .is_untouched(pid)
            .and_then(|()| answered.then_some(()).ok_or("no answer".to_owned()))
            .and_then(|()| outcome(&record))
            .and_then(|outcome| {
                (outcome == attack.outcome || expect == Expect::AnyVerdict)
                    .then_some(())
                    .ok_or(format!("{outcome:?} instead of {:?}", attack.outcome))
            });
        if let Err(failure) = found {
            failures.push(format!(
                "{}: {failure}; errors {:?}; {:?}",
                attack.name,
                errors(&heard),
                record.verdict
            ));
        }
        if target.database.dump() != target.before {
            target
                .database
                .psql("DROP TABLE IF EXISTS leak, leak2, leak3, leak4");
        }
    }
    assert!(failures.is_empty(), "{major}:\n{}", failures.join("\n"));
}

#[test]
fn nothing_commits_on_the_newest_server() {
    try_all(18, Expect::ItsVerdict, |database| database.url.clone());
}

#[test]
fn nothing_commits_on_the_oldest_server() {
    try_all(13, Expect::ItsVerdict, |database| database.url.clone());
}

/// Frames that no server would accept: the client is hung up on, others go on, nothing is committed.
#[test]
fn bytes_that_are_no_protocol_end_the_client_and_nothing_else() {
    let server = Server::shared();
    let target = Target::on(server);
    let rehearsed = Rehearsed::start(&target.database);
    let pid = rehearsed.upstream_pid();
    let header = |tag: u8, length: u32| [&[tag], &length.to_be_bytes()[..]].concat();
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("an unknown message", message(b'z', b"COMMIT\0")),
        ("a NUL as a message", message(0, b"COMMIT\0")),
        ("a message of the server", message(b'Z', b"I")),
        ("a password", message(b'p', b"secret\0")),
        ("a length of nothing", header(b'Q', 0)),
        ("a length that does not count itself", header(b'Q', 3)),
        ("a length beyond all bounds", header(b'Q', u32::MAX)),
        ("a length beyond the server's", header(b'Q', 0x4000_0000)),
        ("a Sync that is too long", header(b'S', 20_000)),
        ("a Query without an end", message(b'Q', b"COMMIT")),
        (
            "a Query with two ends",
            message(b'Q', b"SELECT 1\0COMMIT\0"),
        ),
        ("a Query of nothing", message(b'Q', b"")),
        (
            "a Parse with something behind",
            message(b'P', b"\0SELECT 1\0\0\0COMMIT\0"),
        ),
        (
            "a Parse that promises types",
            message(b'P', b"\0COMMIT\0\xff\xff"),
        ),
        ("an Execute without rows", message(b'E', b"\0")),
        ("a Sync with a body", message(b'S', b"COMMIT\0")),
        ("a Close of neither kind", message(b'C', b"xname\0")),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in &wrong {
        let mut client = Client::connect(&rehearsed.url);
        client.ask("BEGIN");
        client.ask(LEAK);
        client.send(bytes);
        client.send(&[query("COMMIT"), sync()].concat());
        client.send(&terminate());
        let mut heard = Vec::new();
        while let Some(message) = client.hear() {
            assert!(!message.is_silence(), "{name}: {heard:?}");
            heard.push(message);
        }
        // Skipped, or never read.
        assert!(heard.iter().all(|m| m.tag != b'C'), "{name}: {heard:?}");
    }
    // Half a message, and then silence.
    for bytes in [&query("COMMIT")[..4], &extended(LEAK)[..9], b"Q", &[][..]] {
        let mut client = Client::connect(&rehearsed.url);
        client.ask("BEGIN");
        client.ask(LEAK);
        client.send(bytes);
        client.hang_up();
    }
    // Somebody who does not introduce himself.
    for bytes in [
        &[0u8; 8][..],
        &[0xff; 64],
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\0",
        b"\0\0\0\x09\0\x03\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"QUIT\r\n",
    ] {
        let mut socket = Address::of(&rehearsed.url).socket();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
    }
    // And the others go on.
    let mut client = Client::connect(&rehearsed.url);
    assert_eq!(errors(&client.ask("SELECT * FROM leak")), ["42P01"]);
    let record = rehearsed.finish();
    target.is_untouched(pid).unwrap();
    assert_eq!(outcome(&record), Ok(Emulated));
}

#[test]
fn random_bytes_never_commit() {
    let server = Server::shared();
    let target = Target::on(server);
    let tags = b"QPBDECSHXFdcfp\0z";
    for _ in 0..60 {
        // What cannot be read may end a rehearsal, so each gets its own.
        let rehearsed = Rehearsed::start(&target.database);
        let pid = rehearsed.upstream_pid();
        let mut client = Client::connect(&rehearsed.url);
        client.send(&query(LEAK));
        for _ in 0..rand::random_range(1..8) {
            let mut body: Vec<u8> = (0..rand::random_range(0..40))
                .map(|_| rand::random())
                .collect();
            if rand::random() {
                body.extend_from_slice(b"\0COMMIT\0\0\0");
            }
            client.send(&message(tags[rand::random_range(0..tags.len())], &body));
            client.send(&query("COMMIT"));
        }
        client.send(&sync());
        client.send(&terminate());
        while client.hear().is_some() {}
        // It may end in the middle of what was sent, but nothing may have slipped.
        let verdict = rehearsed.finish().verdict;
        let slipped = matches!(verdict, Some((Verdict::RollbackNotVerified, _)));
        assert!(!slipped, "{verdict:?}");
        target.is_untouched(pid).unwrap();
    }
}

#[test]
fn a_replication_connection_is_refused() {
    let database = Server::shared().database();
    let rehearsed = Rehearsed::start(&database);
    for value in ["database", "true", "on", "1", "t", "yes"] {
        let Err(heard) = Client::try_connect(&rehearsed.url, &[("replication", value)]) else {
            panic!("replication={value} was let in");
        };
        assert_eq!(heard.field(b'C').as_deref(), Some("0A000"), "{value}");
    }
    assert!(rehearsed.finish().gapless);
}

#[test]
fn a_cancel_request_with_another_key_cancels_nothing() {
    let database = Server::shared().database();
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::connect(&rehearsed.url);
    client.send(&query("SELECT pg_sleep(1)"));
    let right = client.key.clone();
    for change in [0, 3, 4, 7] {
        let mut wrong = right.clone();
        wrong[change] ^= 0x55;
        client::cancel(&rehearsed.url, &wrong);
    }
    // The server's own process, which is not the client's.
    let pid = rehearsed.upstream_pid().to_be_bytes();
    client::cancel(&rehearsed.url, &[&pid, &right[4..]].concat());
    client::cancel(&rehearsed.url, &[&right[..], &[0; 28]].concat());
    assert_eq!(errors(&client.until(b'Z')), [""; 0]);
    assert!(rehearsed.finish().gapless);
}

/// A role whose sessions begin with what the lexer must know.
#[test]
fn settings_of_the_role_are_known_from_the_start() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let target = Target::on(server);
        let name = &target.database.name;
        target.database.psql(&format!(
            "ALTER DATABASE {name} SET standard_conforming_strings = off"
        ));
        // A dump names the setting.
        let target = Target {
            before: target.database.dump(),
            ..target
        };
        let rehearsed = Rehearsed::start(&target.database);
        let pid = rehearsed.upstream_pid();
        let mut client = Client::connect(&rehearsed.url);
        play(
            &mut client,
            &queries(&[
                "BEGIN",
                LEAK,
                "SELECT '\\'; COMMIT; CREATE TABLE leak2 (a int); --'",
                "SELECT '\\''; ROLLBACK; CREATE TABLE leak3 (a int); --'",
            ]),
        );
        let record = rehearsed.finish();
        target.is_untouched(pid).unwrap();
        assert_eq!(outcome(&record), Ok(Emulated), "{major}");
    }
}

#[test]
fn a_transaction_that_somebody_else_prepared_is_neither_committed_nor_rolled_back() {
    let server = Server::shared();
    let database = server.database();
    database.psql("BEGIN; CREATE TABLE foreign_table (a int); PREPARE TRANSACTION 'not_ours'");
    let rehearsed = Rehearsed::start(&database);
    let mut client = Client::connect(&rehearsed.url);
    for end in ["COMMIT PREPARED 'not_ours'", "ROLLBACK PREPARED 'not_ours'"] {
        play(
            &mut client,
            &[
                query(end),
                batch(end),
                query("BEGIN"),
                query(end),
                query("ROLLBACK"),
            ]
            .concat(),
        );
    }
    drop(client);
    let record = rehearsed.finish();
    assert_eq!(
        outcome(&record),
        Ok(Outcome::NotRehearsed(Cause::TwoPhaseCommit))
    );
    assert_eq!(
        database.psql("SELECT gid FROM pg_prepared_xacts"),
        "not_ours"
    );
    database.psql("ROLLBACK PREPARED 'not_ours'");
}
