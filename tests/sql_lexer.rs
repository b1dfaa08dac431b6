//! Cutting and telling apart, compared with what real servers make of the same strings.
//!
//! The server is asked without running anything: in a failed transaction a Parse answers
//! - with an error of the scanner or the grammar, if the text cannot be read;
//! - else with 42601 from `exec_parse_message`, if there is more than one command in it;
//! - else with 25P02, unless the command is one that ends the transaction or goes back in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use drydock::rehearsal::sql::{Command, Control, LexSettings, Script, classify};
use postgres::Server;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, NoTls};

const STATEMENTS: &[&str] = &[
    "select 1",
    "select 'a;b', E'it\\'s; ', U&'d\\0061t', b'01', x'ff', n'n'",
    "select 'a'\n  'b;' -- c ; '\n 'd'",
    "select E'a'\n'\\';'",
    "select '\\', ';'",
    "select $$;$$, $a$ $$ ; $a$, a$b$ from t",
    "select \"a;\"\"b\", U&\"c\" from \"T\" where x = $1",
    "select 1 /* ; /* ' ; */ $$ */ + 2 -- ; '",
    "select (1), (select (2)), 1.5e3, .5, 1e5",
    "with x as (insert into t values (1) returning *) select * from x",
    "insert into t (a, b) values (1, 'x;'), (2, E'\\\\;')",
    "update t set a = case when b then 'c' else 'd' end",
    "delete from only t where a in (1, 2)",
    "create table t (a int check (a > 0), b text default ';')",
    "create rule r as on insert to t do also (delete from u; select 1)",
    "create or replace function f(a int) returns int language sql as $body$ select 1; $body$",
    "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
    "create procedure p() begin atomic insert into t values (1); end",
    "create function f() returns int return 1",
    "create view v as select begin, atomic from t",
    "alter table t add column c text default 'x', drop column d",
    "do $$ begin perform 1; commit; end $$",
    "comment on table t is 'it''s;'",
    "copy t from stdin",
    "prepare p (int) as select $1",
    "prepare transaction_ as select 1",
    "execute p(1)",
    "deallocate prepare p",
    "declare c cursor with hold for select 1",
    "fetch all from c",
    "set standard_conforming_strings = on",
    "set local search_path = a, 'b'",
    "explain (costs off) select 1",
    "call p()",
    "lock table t",
    "begin",
    "begin isolation level serializable, read only",
    "start transaction",
    "commit",
    "commit work and no chain",
    "end",
    "end transaction",
    "rollback",
    "abort work",
    "rollback to savepoint s",
    "rollback work to s",
    "savepoint s",
    "release s",
    "release savepoint s",
    "prepare transaction 'x'",
    "commit prepared 'x'",
    "rollback prepared 'x'",
    "",
    " -- nothing\n",
];

const FRAGMENTS: &[&str] = &[
    "'",
    "''",
    "\\",
    "\\'",
    "E'",
    "e'\\'",
    "U&'",
    "u&\"",
    "b'",
    "\"",
    "$$",
    "$a$",
    "$1",
    "--",
    "\n",
    "\r",
    "/*",
    "*/",
    "(",
    ")",
    ";",
    " ; ",
    "begin atomic ",
    " end",
    " end;",
    "commit",
    " and chain",
    " work",
    " to s",
    " as end",
    "ü",
    "1",
    "1e",
    "0x",
    " ",
    ".",
    ",",
    "\t",
    "'\n'",
    "' --\n '",
    "create function f() returns int ",
    "case ",
    "prepared 'x'",
    "transaction ",
];

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Answer {
    Refused,
    Several,
    One { ends_transaction: bool },
}

async fn ask(client: &Client, text: &str) -> Answer {
    let error = match client.prepare(text).await {
        Ok(_) => {
            return Answer::One {
                ends_transaction: true,
            };
        }
        Err(error) => error,
    };
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("{error}: {text:?}"));
    match error.code().code() {
        "25P02" => Answer::One {
            ends_transaction: false,
        },
        "42601" if error.routine() == Some("exec_parse_message") => Answer::Several,
        _ => Answer::Refused,
    }
}

/// Statements in a row, most of them damaged.
fn mutant(random: &mut StdRng) -> String {
    let count = random.random_range(1..4);
    let mut text = (0..count)
        .filter_map(|_| STATEMENTS.choose(random).copied())
        .collect::<Vec<_>>()
        .join(if random.random_bool(0.5) { ";" } else { " ;\n" });
    for _ in 0..random.random_range(0..4) {
        let mut at = random.random_range(0..=text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        match random.random_range(0..3) {
            0 if at < text.len() => {
                text.remove(at);
            }
            _ => text.insert_str(at, FRAGMENTS.choose(random).unwrap()),
        }
    }
    text
}

/// Compares one string; how many statements the server found, if it could read the string.
async fn compare(client: &Client, text: &str, settings: LexSettings) -> Option<usize> {
    let whole = ask(client, text).await;
    let script = Script::new(text.as_bytes(), settings);
    if script.problem().is_some() {
        assert_eq!(whole, Answer::Refused, "{:?}: {text:?}", script.problem());
        return None;
    }
    if whole == Answer::Refused {
        return None;
    }
    let count = script.statements().count();
    assert_eq!(count > 1, whole == Answer::Several, "{count}: {text:?}");
    for statement in script.statements() {
        let piece = std::str::from_utf8(statement.piece()).unwrap();
        let command = classify(statement);
        let ends_transaction = matches!(
            command,
            Command::Control(
                Control::Commit { .. }
                    | Control::Rollback { .. }
                    | Control::RollbackTo(_)
                    | Control::PrepareTransaction
            )
        );
        let answer = ask(client, piece).await;
        assert_eq!(
            answer,
            Answer::One { ends_transaction },
            "{command:?}: {piece:?} of {text:?}"
        );
        assert_ne!(command, Command::MalformedControl, "{piece:?}");
    }
    Some(count)
}

async fn connect(server: &Server, settings: LexSettings) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let value = if settings.standard_conforming_strings {
        "on"
    } else {
        "off"
    };
    // By itself: in the transaction that fails it would be undone.
    client
        .batch_execute(&format!("set standard_conforming_strings = {value}"))
        .await
        .unwrap();
    client.batch_execute("begin").await.unwrap();
    client.batch_execute("select 1 / 0").await.unwrap_err();
    client
}

#[tokio::test]
async fn strings_are_cut_and_told_apart_as_real_servers_do() {
    for major in [13, 18] {
        for standard_conforming_strings in [true, false] {
            let settings = LexSettings {
                standard_conforming_strings,
            };
            let client = connect(Server::shared_of(major), settings).await;
            // The same strings in every run: a failure can be repeated.
            let mut random = StdRng::seed_from_u64(7);
            let (mut read, mut several) = (0, 0);
            for _ in 0..5_000 {
                if let Some(count) = compare(&client, &mutant(&mut random), settings).await {
                    read += 1;
                    several += usize::from(count > 1);
                }
            }
            // Else the strings are so damaged that nothing was compared.
            assert!(
                read > 1_000 && several > 500,
                "{read} read, {several} several"
            );
        }
    }
}

#[tokio::test]
async fn as_many_statements_run_as_were_cut() {
    let server = Server::shared();
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for text in [
        "select 1; select ';'; select E'\\';' ; select $$;$$",
        "select '\\'; select 2 -- '\n;;; select 3 /* ; */",
        "select E'a'\n'\\';'; select (1)",
        "",
        " ; -- x\n ;",
    ] {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let messages = client.simple_query(text).await.unwrap();
        let ran = messages
            .iter()
            .filter(|message| {
                matches!(message, tokio_postgres::SimpleQueryMessage::CommandComplete(rows) if *rows > 0)
            })
            .count();
        assert_eq!(script.statements().count(), ran, "{text:?}");
    }
}
