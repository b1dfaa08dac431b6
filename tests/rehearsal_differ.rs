//! A client hears the same from a rehearsal as from the server itself, message by message.
//!
//! Each scenario is played on a direct connection and through a rehearsal, on databases with the
//! same contents. A new scenario is a line in one of the tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/client.rs"]
mod client;
#[path = "rehearsal_differ/extended.rs"]
mod extended;
#[path = "lab/postgres.rs"]
mod postgres;
#[path = "lab/rehearse.rs"]
mod rehearse;
#[path = "rehearsal_differ/simple.rs"]
mod simple;
#[path = "lab/transcript.rs"]
mod transcript;

use std::fmt::Write as _;

use client::{Client, Heard};
use postgres::{Options, Server, psql};
use rehearse::Rehearsed;
use rstest::rstest;

/// What every scenario finds.
const FIXTURE: &str = "
    CREATE TABLE parent (id int PRIMARY KEY, note text);
    INSERT INTO parent VALUES (1, 'one'), (2, 'two'), (3, NULL);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
    CREATE TABLE later (id int CONSTRAINT later_unique UNIQUE DEFERRABLE INITIALLY IMMEDIATE);
    CREATE TABLE checked (id int CHECK (id > 0), code varchar(3));
    CREATE FUNCTION fail() RETURNS int LANGUAGE plpgsql AS
        $$BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'a detail', HINT = 'a hint', ERRCODE = 'P0042'; END$$;
    CREATE FUNCTION chatty(n int) RETURNS int LANGUAGE plpgsql AS
        $$BEGIN FOR i IN 1..n LOOP RAISE NOTICE 'line %', i; END LOOP; RETURN n; END$$;
    CREATE FUNCTION add_parent(n int) RETURNS void LANGUAGE sql AS 'INSERT INTO parent VALUES (n)';
    CREATE FUNCTION use_large() RETURNS void LANGUAGE sql AS $$SELECT set_config('work_mem', '9MB', false)$$;
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE SEQUENCE counter;";

/// One side of a conversation.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) says: Vec<Say>,
}

/// A step of it.
pub(crate) enum Say {
    /// Says something.
    Bytes(Vec<u8>),
    /// Listens up to a message of this tag.
    Until(u8),
}

/// Scenarios that differ, by how their names begin, and why. A cause that the rehearsal cannot take
/// away is in docs/limitations.md.
const KNOWN: &[(&str, &str)] = &[
    (
        "BEGIN READ ONLY / SELECT 1 / SET TRANSACTION READ WRITE",
        "another 25001: the block is a savepoint",
    ),
    (
        "SHOW transaction_read_only",
        "the session is read-only outside of our transaction",
    ),
    (
        "BEGIN / DECLARE c CURSOR WITH HOLD",
        "our own holdable cursor is seen, the client's outlives CLOSE ALL",
    ),
    (
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1 / FETCH c / CLOSE ALL",
        "it outlives CLOSE ALL",
    ),
    ("PREPARE s (int)", "described before it fails"),
    (
        "BEGIN / SELECT set_config('work_mem', '8MB', true)",
        "outlives the virtual transaction",
    ),
    ("SHOW ALL", "settings of the rehearsal's session"),
    (
        "BEGIN / CREATE TEMP TABLE t (a int) ON COMMIT",
        "nothing commits",
    ),
    ("CREATE TEMP TABLE t (a int) ON COMMIT", "nothing commits"),
    (
        "CREATE TEMP TABLE t (a int UNIQUE DEFERRABLE",
        "constraints of the temporary schema",
    ),
    ("LISTEN channel", "nothing commits"),
    (
        "ALTER TYPE mood ADD VALUE",
        "nothing commits: 55P04, not rehearsed",
    ),
    (
        "SELECT now() = now(), txid_current_if_assigned()",
        "the tripwire has taken a transaction id",
    ),
    (
        "DISCARD ALL",
        "settings that did not change are reported by 13",
    ),
    (
        "DISCARD PLANS / DISCARD SEQUENCES / DISCARD TEMP / DISCARD ALL",
        "settings that did not change are reported by 13",
    ),
    (
        "SET work_mem = '8MB' / PREPARE s AS SELECT 1 / DISCARD ALL",
        "settings that did not change are reported by 13",
    ),
    (
        "SET work_mem = '8MB' / SHOW work_mem / SET LOCAL work_mem = ",
        "SET LOCAL in a batch warns",
    ),
    ("a Describe of neither kind", "the client is hung up on"),
    (
        "a Query in the middle of a batch",
        "18 itself loses its place: XX000, unexpected state STARTED",
    ),
    (
        "nothing is known by that name",
        "the unnamed portal behind a Bind that failed",
    ),
    (
        "COPY in, interrupted by a Parse",
        "the server gives up the session, the rehearsal the COPY",
    ),
    (
        "COPY parent FROM STDIN [\"10",
        "a Query in the midst of COPY",
    ),
];

/// How the last question is recognised.
const LAST: &str = "this_is_the_end";

impl Scenario {
    fn is_known_to_differ(&self) -> bool {
        let script = ["at once: ", "extended: ", "pipelined: "]
            .iter()
            .find_map(|way| self.name.strip_prefix(way))
            .unwrap_or(&self.name);
        KNOWN.iter().any(|(begins, _)| script.starts_with(begins))
    }

    fn play(&self, client: &mut Client) -> Vec<Heard> {
        let mut heard = Vec::new();
        for say in &self.says {
            match say {
                Say::Bytes(bytes) => client.send(bytes),
                Say::Until(tag) => heard.extend(client.until(*tag)),
            }
        }
        client.send(&client::sync());
        // A syntax error is one in every state.
        client.send(&client::query(LAST));
        while let Some(message) = client.hear() {
            let last = message.tag == b'E'
                && message
                    .body
                    .windows(LAST.len())
                    .any(|w| w == LAST.as_bytes());
            let silent = message.is_silence();
            heard.push(message);
            if silent {
                break;
            }
            if last {
                heard.extend(client.until(b'Z'));
                break;
            }
        }
        heard
    }
}

/// Two databases of one server with the same contents: one for direct connections, one that
/// rehearsals leave as it is.
struct Stage {
    server: &'static Server,
    direct: String,
    rehearsed: String,
}

impl Stage {
    fn on(server: &'static Server) -> Self {
        let [direct, rehearsed] = [(); 2].map(|()| {
            let database = server.database();
            database.psql(FIXTURE);
            database.name
        });
        Self {
            server,
            direct,
            rehearsed,
        }
    }

    /// The first difference between the two ways, if there is one.
    fn difference(&self, scenario: &Scenario, through: &str) -> Option<String> {
        let direct = {
            let url = self.server.url(&self.direct);
            // The rehearsal's name for its session is what a RESET brings back.
            let named = [("application_name", "drydock/test")];
            let heard = scenario.play(&mut Client::connect_with(&url, &named));
            let again = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
            let reset = Client::connect(&url).ask(&format!("{again}; {FIXTURE}"));
            assert!(client::errors(&reset).is_empty(), "{}", scenario.name);
            transcript::lines(&heard)
        };
        let rehearsed = Rehearsed::start_at(through, &self.rehearsed, self.server.major);
        let found = {
            let mut client = Client::connect(&rehearsed.url);
            let heard = scenario.play(&mut client);
            client.send(&client::terminate());
            transcript::lines(&heard)
        };
        let record = rehearsed.finish();
        let mut report = String::new();
        if found != direct {
            write!(report, "{}", side_by_side(&direct, &found)).unwrap();
        }
        if !record.gapless || record.verdict.is_some() {
            writeln!(report, "  the record says {:?}", record.verdict).unwrap();
        }
        (!report.is_empty())
            .then(|| format!("{} ({}):\n{report}", scenario.name, self.server.major))
    }

    fn expect_the_same(&self, scenarios: &[Scenario], through: &str) {
        let before = postgres::pg_dump(&self.server.socket_url(&self.rehearsed));
        let chosen = std::env::var("DIFFER").unwrap_or_default();
        let differences: Vec<_> = scenarios
            .iter()
            .filter(|scenario| scenario.name.contains(&chosen) && !scenario.is_known_to_differ())
            .filter_map(|scenario| self.difference(scenario, through))
            .collect();
        let after = postgres::pg_dump(&self.server.socket_url(&self.rehearsed));
        assert!(
            differences.is_empty(),
            "{} of {} scenarios differ (- direct, + rehearsed):\n{}",
            differences.len(),
            scenarios.len(),
            differences.join("\n")
        );
        assert_eq!(after, before, "something was committed");
    }
}

/// The differing part, with the line in front of it.
fn side_by_side(direct: &[String], found: &[String]) -> String {
    let common = direct.iter().zip(found).take_while(|(a, b)| a == b).count();
    let tail = direct[common..]
        .iter()
        .rev()
        .zip(found[common..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    for line in direct[..common].iter().rev().take(2).rev() {
        writeln!(text, "    {line}").unwrap();
    }
    for line in &direct[common..direct.len() - tail] {
        writeln!(text, "  - {line}").unwrap();
    }
    for line in &found[common..found.len() - tail] {
        writeln!(text, "  + {line}").unwrap();
    }
    text
}

fn play_all(major: u8, scenarios: &[Scenario]) {
    let stage = Stage::on(Server::shared_of(major));
    let through = stage.server.url(&stage.rehearsed);
    stage.expect_the_same(scenarios, &through);
}

#[test]
fn simple_queries_are_answered_as_by_the_newest_server() {
    play_all(18, &simple::scenarios());
}

#[test]
fn simple_queries_are_answered_as_by_the_oldest_server() {
    play_all(13, &simple::scenarios());
}

#[test]
fn batches_are_answered_as_by_the_newest_server() {
    play_all(18, &extended::scenarios());
}

#[test]
fn batches_are_answered_as_by_the_oldest_server() {
    play_all(13, &extended::scenarios());
}

/// Whatever a server says at the start of a session, our key aside.
#[test]
fn the_greeting_is_the_servers() {
    for major in [13, 18] {
        let stage = Stage::on(Server::shared_of(major));
        let parameters = [
            ("application_name", "tool"),
            ("client_encoding", "LATIN1"),
            (
                "options",
                "-c work_mem=5MB -c DateStyle=SQL,DMY --search-path=pg_catalog",
            ),
        ];
        for count in 0..=parameters.len() {
            let parameters = &parameters[..count];
            // The rehearsal names its session.
            let unnamed = ["S application_name", "S application_name=drydock/test"];
            let greeting = |url: &str| {
                let mut client = Client::connect_with(url, parameters);
                let mut lines = transcript::lines(&client.greeting);
                lines.retain(|line| !unnamed.contains(&line.as_str()));
                lines.sort();
                for name in ["work_mem", "search_path", "DateStyle"] {
                    lines.extend(transcript::lines(&client.ask(&format!("SHOW {name}"))));
                }
                lines
            };
            let direct = greeting(&stage.server.url(&stage.rehearsed));
            let rehearsed =
                Rehearsed::start_at(&stage.server.url(&stage.rehearsed), &stage.rehearsed, major);
            assert_eq!(greeting(&rehearsed.url), direct, "{major} {parameters:?}");
            assert!(rehearsed.finish().gapless);
        }
    }
}

/// Only protocol 3.0 is read here; a client that asks for more is told so, and goes on with that.
#[rstest]
#[case::newer((3, 2), &[], &[])]
#[case::with_an_option((3, 0), &[("_pq_.x", "1")], &["_pq_.x"])]
#[case::both((3, 2), &[("_pq_.x", "1"), ("application_name", "tool"), ("_pq_.y", "")], &["_pq_.x", "_pq_.y"])]
fn a_newer_protocol_and_its_options_are_declined_and_the_session_works(
    #[case] version: (u16, u16),
    #[case] parameters: &[(&str, &str)],
    #[case] declined: &[&str],
    #[values(13, 18)] major: u8,
) {
    let stage = Stage::on(Server::shared_of(major));
    let url = stage.server.url(&stage.rehearsed);
    let rehearsed = Rehearsed::start_at(&url, &stage.rehearsed, major);
    let negotiated = |url: &str| {
        let mut client = Client::try_version(url, version, parameters).expect("a session");
        let is_answer = |heard: &&Heard| heard.tag == b'v';
        let answers = client.greeting.iter().filter(is_answer);
        let answers: Vec<Vec<u8>> = answers.map(|heard| heard.body.clone()).collect();
        let worked = transcript::lines(&client.ask("BEGIN; SELECT 4711; COMMIT"));
        (answers, worked)
    };
    let through = negotiated(&rehearsed.url);

    let mut expected = [3_u16.to_be_bytes(), 0_u16.to_be_bytes()].concat();
    expected.extend(u32::try_from(declined.len()).unwrap().to_be_bytes());
    for name in declined {
        expected.extend([name.as_bytes(), b"\0"].concat());
    }
    assert_eq!(through.0, [expected]);
    let direct = negotiated(&url);
    assert_eq!(through.1, direct.1);
    // PostgreSQL 18 speaks 3.2 itself; what is older answers to the byte as we do.
    if major == 13 {
        assert_eq!(through.0, direct.0);
    }
    assert!(rehearsed.finish().gapless);
}

#[test]
fn a_cancel_request_ends_the_running_statement_as_on_the_server() {
    for major in [13, 18] {
        let stage = Stage::on(Server::shared_of(major));
        let url = stage.server.url(&stage.rehearsed);
        let play = |url: &str| {
            let mut client = Client::connect(url);
            let mut heard = Vec::new();
            client.ask("BEGIN; CREATE TABLE t (a int)");
            client.send(&client::query("SELECT 1; SELECT pg_sleep(60); SELECT 2"));
            heard.extend(client.until(b'C'));
            // Long enough for the second statement to be the one that runs.
            std::thread::sleep(std::time::Duration::from_millis(500));
            client::cancel(url, &client.key);
            heard.extend(client.until(b'Z'));
            heard.extend(client.ask("SELECT 1"));
            heard.extend(client.ask("ROLLBACK"));
            client.send(&[client::extended("SELECT pg_sleep(60)"), client::sync()].concat());
            std::thread::sleep(std::time::Duration::from_millis(500));
            client::cancel(url, &client.key);
            heard.extend(client.until(b'Z'));
            heard.extend(client.ask("SELECT 1"));
            transcript::lines(&heard)
        };
        let direct = play(&url);
        let rehearsed = Rehearsed::start_at(&url, &stage.rehearsed, major);
        assert_eq!(play(&rehearsed.url), direct, "{major}");
        assert!(rehearsed.finish().gapless);
    }
}

/// The way to the server makes no difference: TLS and SCRAM, bound to the channel or not.
#[test]
fn scenarios_end_the_same_over_tls_and_with_passwords() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for major in [13, 18] {
        let server = Options::new(major)
            .conf("ssl = on")
            .conf("ssl_cert_file = 'server.crt'")
            .conf("ssl_key_file = 'server.key'")
            .file("server.crt", key.cert.pem())
            .file("server.key", key.signing_key.serialize_pem())
            .hba("host all postgres 127.0.0.1/32 trust")
            .hba("hostssl all tool 127.0.0.1/32 scram-sha-256")
            .hba("hostnossl all plain 127.0.0.1/32 scram-sha-256")
            .start();
        psql(
            &server.socket_url("postgres"),
            "SET password_encryption = 'scram-sha-256';
             CREATE ROLE tool LOGIN SUPERUSER PASSWORD 'pässword'; CREATE ROLE plain LOGIN SUPERUSER PASSWORD 'x y'",
        );
        // It lives as long as the test's process, as the shared ones do.
        let stage = Stage::on(Box::leak(Box::new(server)));
        let some: Vec<_> = simple::scenarios()
            .into_iter()
            .step_by(20)
            .chain(extended::scenarios().into_iter().step_by(10))
            .collect();
        let (port, name) = (stage.server.port, &stage.rehearsed);
        for through in [
            format!(
                "postgresql://tool:p%C3%A4ssword@127.0.0.1:{port}/{name}?sslmode=require&channel_binding=require"
            ),
            format!("postgresql://plain:x%20y@127.0.0.1:{port}/{name}?sslmode=disable"),
        ] {
            stage.expect_the_same(&some, &through);
        }
        stage.server.stop();
    }
}
