//! Five layers keep the rehearsal from committing (ARCHITECTURE.md, "Safety, layer by layer"). Here
//! each of them stands alone: the others are taken away on the wire between us and the server, and
//! without the last one the same attack does commit.

use drydock::postgres::connect::{self, StartupSettings};
use drydock::postgres::url::{Environment, parse};
use drydock::rehearsal::proxy::Record;
use drydock::report::{RunId, Witnessed};
use drydock::verdict::{RollbackProof, Verdict};
use drydock::witness::{self, Before, Facts};

use crate::attacks::{LEAK, queries};
use crate::client::{Client, extended, query, sync};
use crate::postgres::Server;
use crate::rehearse::Rehearsed;
use crate::tamper::{Swap, Way, Wire};
use crate::{Expect, Target, play, try_all};

/// A statement that becomes another one on its way to the server.
const MARKER: &str = "SELECT 'this statement becomes another one on its way'";

fn becomes(statement: &str) -> Swap {
    Swap::new(Way::ToServer, MARKER, statement)
}

/// Takes away the second layer: what runs outside of our transaction may write.
fn without_read_only() -> Swap {
    Swap::bytes(
        Way::ToServer,
        b"default_transaction_read_only\0on\0",
        // Short for "off".
        b"default_transaction_read_only\0of\0",
    )
}

/// Takes away one tripwire: the table is not made.
fn without_constraint() -> Swap {
    Swap::new(Way::ToServer, "CREATE TEMP TABLE", "CREATE TEMP TEBLE")
}

/// Takes away the other: its query does not fail any more.
fn without_cursor() -> Swap {
    Swap::new(Way::ToServer, "(random() * 0)", "(random() + 9)")
}

/// Takes away what the fourth layer sees of a COMMIT.
fn without_signs() -> [Swap; 2] {
    [
        Swap::bytes(Way::ToUs, b"COMMIT\0", b"SELECT\0"),
        Swap::bytes(Way::ToUs, b"Z\0\0\0\x05I", b"Z\0\0\0\x05T"),
    ]
}

/// Takes away the transaction id that it compares, at the very end too.
fn without_id() -> Swap {
    let asked = "pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text";
    Swap::new(Way::ToServer, asked, "NULL::pg_catalog.text")
}

/// A database behind a wire.
struct Scene {
    target: Target<'static>,
    wire: Wire,
    major: u8,
}

impl Scene {
    fn on(major: u8, swaps: &[Swap]) -> Self {
        let server = Server::shared_of(major);
        Self {
            target: Target::on(server),
            wire: Wire::to(server.port, swaps),
            major,
        }
    }

    fn url(&self) -> String {
        let name = &self.target.database.name;
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.wire.port)
    }

    fn rehearse(&self, says: &[u8]) -> (Record, i32) {
        self.rehearse_with(|client| {
            play(client, says);
        })
    }

    fn rehearse_with(&self, act: impl FnOnce(&mut Client)) -> (Record, i32) {
        let name = &self.target.database.name;
        let rehearsed = Rehearsed::start_at(&self.url(), name, self.major);
        let pid = rehearsed.upstream_pid();
        let mut client = Client::connect(&rehearsed.url);
        // Lists that are read with the first write are known from now on.
        client.ask("INSERT INTO kept VALUES (100)");
        act(&mut client);
        (rehearsed.finish(), pid)
    }

    fn has(&self, table: &str) -> bool {
        let sql = format!("SELECT to_regclass('{table}') IS NOT NULL");
        self.target.database.psql(&sql) == "t"
    }

    fn logged(&self, words: &str) -> bool {
        let name = format!("@{} ", self.target.database.name);
        let log = self.target.database.server.log();
        log.lines()
            .any(|line| line.contains(&name) && line.contains(words))
    }
}

fn slipped(record: &Record) -> bool {
    !record.gapless && matches!(record.verdict, Some((Verdict::RollbackNotVerified, _)))
}

const MAJORS: [u8; 2] = [13, 18];

#[test]
fn the_first_layer_alone_lets_no_transaction_control_of_a_client_through() {
    for major in MAJORS {
        let swaps = [without_read_only(), without_constraint(), without_cursor()];
        let wire = Wire::to(Server::shared_of(major).port, &swaps);
        try_all(major, Expect::AnyVerdict, |database| {
            format!(
                "postgresql://postgres@127.0.0.1:{}/{}",
                wire.port, database.name
            )
        });
    }
}

#[test]
fn the_second_layer_alone_makes_what_runs_behind_a_slipped_rollback_fail() {
    for major in MAJORS {
        for says in [
            query(&format!("{MARKER}; {LEAK}")),
            query(&format!(
                "SELECT set_config('default_transaction_read_only', 'off', false); {MARKER}; {LEAK}"
            )),
            [extended(MARKER), extended(LEAK), sync()].concat(),
        ] {
            let mut swaps = vec![without_constraint(), without_cursor(), becomes("ROLLBACK")];
            let scene = Scene::on(major, &swaps);
            let (_, pid) = scene.rehearse(&says);
            scene.target.is_untouched(pid).unwrap();
            assert!(scene.logged("in a read-only transaction"), "{major}");

            swaps.push(without_read_only());
            let without = Scene::on(major, &swaps);
            without.rehearse(&says);
            assert!(without.has("leak"), "{major}: the test proves nothing");
        }
    }
}

#[test]
fn each_tripwire_alone_makes_a_slipped_commit_fail() {
    for major in MAJORS {
        for (other, error) in [
            (without_cursor(), "duplicate key value"),
            (without_constraint(), "division by zero"),
        ] {
            let swaps = [without_read_only(), other, becomes("COMMIT")];
            let scene = Scene::on(major, &swaps);
            let (record, pid) = scene.rehearse(&queries(&[LEAK, MARKER]));
            scene.target.is_untouched(pid).unwrap();
            assert!(scene.logged(error), "{major}: {error}");
            assert!(slipped(&record), "{major}: {:?}", record.verdict);
        }
    }
}

#[test]
fn the_fourth_layer_alone_closes_the_connection_at_the_first_answer_that_does_not_fit() {
    let off = [without_read_only(), without_constraint(), without_cursor()];
    for major in MAJORS {
        for (statement, committed) in [
            ("COMMIT", true),
            ("COMMIT AND CHAIN", true),
            ("ROLLBACK", false),
            ("ROLLBACK AND CHAIN", false),
            ("BEGIN", false),
            ("SAVEPOINT other", false),
            ("PREPARE TRANSACTION 'slip'", false),
        ] {
            let mut swaps = off.to_vec();
            swaps.push(becomes(statement));
            let scene = Scene::on(major, &swaps);
            let (record, pid) =
                scene.rehearse(&queries(&[LEAK, MARKER, "CREATE TABLE late (a int)"]));
            assert!(
                slipped(&record),
                "{major} {statement}: {:?}",
                record.verdict
            );
            assert!(!scene.wire.sent("late"), "{major} {statement}: went on");
            assert_eq!(scene.has("leak"), committed, "{major} {statement}");
            if !committed {
                scene.target.is_untouched(pid).unwrap();
            }
        }
    }
}

#[test]
fn the_fourth_layer_finds_a_chained_commit_by_its_transaction_id() {
    let [hidden, _] = without_signs();
    for major in MAJORS {
        let swaps = [
            without_read_only(),
            without_constraint(),
            without_cursor(),
            // It sets our savepoint again as well, as if nothing had happened.
            becomes("COMMIT AND CHAIN"),
            hidden.clone(),
        ];
        let scene = Scene::on(major, &swaps);
        let (record, _) = scene.rehearse(&queries(&[
            "BEGIN",
            LEAK,
            MARKER,
            "SELECT txid_current()",
            "COMMIT",
        ]));
        assert!(scene.has("leak"), "{major}: the test proves nothing");
        assert!(slipped(&record), "{major}: {:?}", record.verdict);
    }
}

#[test]
fn the_fifth_layer_alone_sees_that_something_was_committed() {
    for major in MAJORS {
        let mut swaps = vec![
            without_read_only(),
            without_constraint(),
            without_cursor(),
            without_id(),
            becomes("COMMIT"),
        ];
        swaps.extend(without_signs());
        let scene = Scene::on(major, &swaps);
        let before = look(&scene, |asker, major| {
            Box::pin(async move { Before::take(asker, major).await.unwrap() })
        });
        let (record, pid) = scene.rehearse_with(|client| {
            client.ask(LEAK);
            client.ask(MARKER);
        });
        // The other layers are blind.
        assert!(record.gapless, "{major}: {:?}", record.verdict);
        assert!(record.verdict.is_none(), "{major}: {:?}", record.verdict);
        assert!(scene.has("leak"), "{major}: the test proves nothing");
        // It is told a transaction id, and need not be.
        for xid in [record.xid, None] {
            let facts = Facts {
                run: RunId("test".to_owned()),
                transactions: vec![witness::Taken {
                    xid,
                    backend_pid: Some(pid),
                }],
                gapless: record.gapless,
                bypass: witness::Bypass::None,
            };
            let seen = look(&scene, |asker, major| {
                let (before, facts) = (before.clone(), facts.clone());
                Box::pin(async move {
                    witness::verify(asker, major, &before, &facts)
                        .await
                        .unwrap()
                        .0
                })
            });
            let seen: Witnessed = seen;
            assert_eq!(seen.rollback, RollbackProof::Violated, "{major}");
        }
    }
}

type Looking<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

/// Looks at the database over a connection that took no part.
fn look<T>(
    scene: &Scene,
    what: impl for<'a> FnOnce(&'a mut connect::Client, u32) -> Looking<'a, T>,
) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (target, _) = parse(&scene.target.database.url, &Environment::new()).unwrap();
        let major = u32::from(scene.major);
        let settings = StartupSettings::for_major("drydock/test", major);
        let mut client = connect::client(&target, &settings).await.unwrap();
        what(&mut client, major).await
    })
}
