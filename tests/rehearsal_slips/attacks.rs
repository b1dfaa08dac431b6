//! What the hostile client says, and what the rehearsal is to make of it.

use drydock::verdict::NotRehearsed;

use crate::client::{
    bind, close, copy_data, copy_done, describe, execute, extended, flush, function_call, message,
    parse, query, sync, terminate,
};

/// Extended protocol: one statement with its Sync.
pub(crate) fn batch(sql: &str) -> Vec<u8> {
    [extended(sql), sync()].concat()
}

pub(crate) fn queries(strings: &[&str]) -> Vec<u8> {
    strings.iter().flat_map(|sql| query(sql)).collect()
}

/// A Query whose text is not UTF-8.
fn query_bytes(text: &[u8]) -> Vec<u8> {
    message(b'Q', &[text, b"\0"].concat())
}

/// What the rehearsal makes of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It emulates all of it, and nothing is left to say.
    Emulated,
    /// It does not rehearse this.
    NotRehearsed(NotRehearsed),
}

use NotRehearsed as Cause;
use Outcome::Emulated;

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) says: Vec<u8>,
    pub(crate) outcome: Outcome,
    /// Since which major version the server knows the syntax.
    pub(crate) since: u8,
}

fn attack(name: &'static str, outcome: Outcome, says: Vec<u8>) -> Attack {
    Attack {
        name,
        says,
        outcome,
        since: 13,
    }
}

fn refused(name: &'static str, cause: NotRehearsed, says: Vec<u8>) -> Attack {
    attack(name, Outcome::NotRehearsed(cause), says)
}

/// What makes both tripwires go, as far as SQL can.
const DROP_TABLE: &str = "DO $$DECLARE n text; BEGIN FOR n IN SELECT oid::regclass::text FROM pg_class \
    WHERE relname LIKE 'drydock%' AND relkind = 'r' LOOP EXECUTE 'DROP TABLE ' || n; END LOOP; END$$";
/// Nothing that the tripwires are made of is missing but the rows and the query behind them.
const DISARM: &str = "DO $$DECLARE n text; c refcursor; BEGIN FOR n IN SELECT oid::regclass::text FROM pg_class \
    WHERE relname LIKE 'drydock%' AND relkind = 'r' LOOP EXECUTE 'DELETE FROM ' || n; END LOOP; \
    SELECT name INTO c FROM pg_cursors WHERE name LIKE 'drydock%'; CLOSE c; END$$";
/// The same as a function.
const DISARMING: &str = "CREATE FUNCTION pg_temp.disarm() RETURNS void LANGUAGE plpgsql AS \
    $f$DECLARE n text; c refcursor; BEGIN FOR n IN SELECT oid::regclass::text FROM pg_class \
    WHERE relname LIKE 'drydock%' AND relkind = 'r' LOOP EXECUTE 'DELETE FROM ' || n; END LOOP; \
    SELECT name INTO c FROM pg_cursors WHERE name LIKE 'drydock%'; CLOSE c; END$f$";
pub(crate) const LEAK: &str = "CREATE TABLE leak (a int)";

pub(crate) fn attacks() -> Vec<Attack> {
    let mut all = settings();
    all.extend(control());
    all.extend(hidden());
    all.extend(batches());
    all.extend(names());
    all.extend(disarming());
    all.extend(beyond());
    all
}

/// Settings that decide where a statement ends, changed under way.
fn settings() -> Vec<Attack> {
    const REST: &str = "savepoint x; select '\\''; rollback; create table leak(); --'";
    let all = |first: &str| query(&format!("BEGIN; {first}; {REST}"));
    vec![
        refused("SET standard_conforming_strings in the string", Cause::AmbiguousStatement,
            all("SET standard_conforming_strings = off")),
        refused("SET LOCAL in the string", Cause::AmbiguousStatement,
            all("SET LOCAL standard_conforming_strings TO off")),
        refused("set_config in the string", Cause::AmbiguousStatement,
            all("SELECT set_config('standard_conforming_strings', 'off', false)")),
        refused("set_config of a name that is put together", Cause::AmbiguousStatement,
            all("SELECT set_config('standard_' || 'conforming_strings', 'off', false)")),
        refused("a function that sets it", Cause::AmbiguousStatement, all("SELECT loosen()")),
        refused("DO that sets it", Cause::AmbiguousStatement,
            all("DO $$BEGIN PERFORM set_config('standard_' || 'conforming_strings', 'off', false); END$$")),
        attack("the string behind the SET", Emulated, queries(&[
            "SET standard_conforming_strings = off", LEAK,
            "SELECT '\\'; ROLLBACK; CREATE TABLE leak2 (a int); --'",
            "SELECT 1 AS \"\\\"; SELECT '\\''; COMMIT; --'"])),
        attack("the batch behind the SET", Emulated, [
            extended("SET standard_conforming_strings = off"), extended(LEAK),
            extended("SELECT '\\'; COMMIT; --'"), sync()].concat()),
        attack("a FunctionCall that sets it", Emulated, [
            query("BEGIN"), query("SELECT 'set_config'::regproc::oid"),
            // set_config(text, text, bool)
            function_call(2078, &[b"standard_conforming_strings", b"off", b"\0"]),
            query("SELECT '\\'; COMMIT; CREATE TABLE leak2 (a int); --'")].concat()),
        refused("an encoding where a backslash is half a character", Cause::AmbiguousStatement, [
            query("SET client_encoding = 'SJIS'"),
            query_bytes(b"SELECT '\x81\x5c'; COMMIT; CREATE TABLE leak (a int); --'")].concat()),
        attack("the same in one string, which is not in the encoding that is in force", Emulated,
            query_bytes(b"SET client_encoding = 'GBK'; SELECT E'\x81\x5c'; COMMIT; CREATE TABLE leak (a int); --'")),
        refused("the same by SET NAMES", Cause::AmbiguousStatement, [
            query("SET NAMES 'BIG5'"), query(LEAK)].concat()),
        attack("ALTER ROLE for the sessions to come", Emulated, queries(&[
            "ALTER ROLE CURRENT_USER SET standard_conforming_strings = off",
            "ALTER DATABASE postgres SET standard_conforming_strings = off",
            "SELECT '\\'; COMMIT; --'", LEAK])),
        attack("writes allowed outside of transactions", Emulated, queries(&[
            "SET default_transaction_read_only = off", "BEGIN", LEAK, "COMMIT", "ROLLBACK"])),
        attack("writes allowed by set_config", Emulated, queries(&[
            "SELECT set_config('default_transaction_read_only', 'off', false)", LEAK])),
    ]
}

/// Transaction control in every form.
fn control() -> Vec<Attack> {
    vec![
        attack("COMMIT", Emulated, queries(&["BEGIN", LEAK, "COMMIT"])),
        attack(
            "END and others",
            Emulated,
            queries(&[
                "begin work",
                LEAK,
                "end transaction",
                "BeGiN",
                "CREATE TABLE leak2 (a int)",
                "/**/CoMmIt/* */;;",
                "commit and no chain",
            ]),
        ),
        attack(
            "COMMIT AND CHAIN",
            Emulated,
            queries(&[
                "BEGIN",
                LEAK,
                "COMMIT AND CHAIN",
                "CREATE TABLE leak2 (a int)",
                "COMMIT WORK AND CHAIN",
                "CREATE TABLE leak3 (a int)",
            ]),
        ),
        attack(
            "ROLLBACK AND CHAIN",
            Emulated,
            queries(&[
                "BEGIN",
                LEAK,
                "ROLLBACK AND CHAIN",
                "CREATE TABLE leak2 (a int)",
                "COMMIT",
            ]),
        ),
        attack(
            "COMMIT AND CHAIN in a batch",
            Emulated,
            [
                batch("BEGIN"),
                batch(LEAK),
                batch("COMMIT AND CHAIN"),
                batch("CREATE TABLE leak2 (a int)"),
                batch("END"),
            ]
            .concat(),
        ),
        refused(
            "PREPARE TRANSACTION",
            Cause::TwoPhaseCommit,
            queries(&["BEGIN", LEAK, "PREPARE TRANSACTION 'slip'"]),
        ),
        refused(
            "PREPARE TRANSACTION in a batch",
            Cause::TwoPhaseCommit,
            [
                batch("BEGIN"),
                batch(LEAK),
                batch("PREPARE TRANSACTION 'slip'"),
            ]
            .concat(),
        ),
        refused(
            "PREPARE TRANSACTION in a string",
            Cause::TwoPhaseCommit,
            query("BEGIN; CREATE TABLE leak (a int); PREPARE /* */ TRANSACTION 'slip'; SELECT 1"),
        ),
        refused(
            "COMMIT PREPARED",
            Cause::TwoPhaseCommit,
            query("COMMIT PREPARED 'slip'"),
        ),
        refused(
            "ROLLBACK PREPARED",
            Cause::TwoPhaseCommit,
            batch("ROLLBACK PREPARED 'slip'"),
        ),
        refused(
            "SET TRANSACTION SNAPSHOT",
            Cause::SnapshotExchange,
            queries(&["BEGIN", "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'"]),
        ),
        refused(
            "DO with COMMIT",
            Cause::TransactionControlInBlock,
            query("DO $$BEGIN CREATE TABLE leak (a int); COMMIT; END$$"),
        ),
        refused(
            "DO with ROLLBACK",
            Cause::TransactionControlInBlock,
            batch("DO $$BEGIN ROLLBACK; CREATE TABLE leak (a int); END$$"),
        ),
        refused(
            "CALL with COMMIT",
            Cause::TransactionControlInBlock,
            query("CALL commits()"),
        ),
        refused(
            "CALL with COMMIT in a batch",
            Cause::TransactionControlInBlock,
            batch("CALL commits()"),
        ),
        attack(
            "nothing but whitespace in front",
            Emulated,
            queries(&[
                "BEGIN",
                LEAK,
                "\u{c}\t\r\n COMMIT\u{c}",
                "-- x\n--\rCOMMIT",
                "BEGIN",
                "COMMIT--",
            ]),
        ),
        Attack {
            since: 16,
            ..attack(
                "a vertical tab is white since 16",
                Emulated,
                [
                    queries(&[
                        "BEGIN",
                        LEAK,
                        "\u{b}COMMIT",
                        "BEGIN",
                        "CREATE TABLE leak2 (a int)",
                        "COMMIT\u{b}",
                        "\u{b}BEGIN; CREATE TABLE leak3 (a int);\u{b}END",
                    ]),
                    batch("\u{b}BEGIN"),
                    batch("CREATE TABLE leak4 (a int)"),
                    batch("\u{b}COMMIT\u{b}"),
                ]
                .concat(),
            )
        },
        attack(
            "bytes that are no whitespace",
            Emulated,
            queries(&[
                "BEGIN",
                LEAK,
                "\u{feff}COMMIT",
                "ROLLBACK",
                "\u{a0}COMMIT",
                "\u{85}COMMIT",
                "\u{1}COMMIT",
                "\u{7f}COMMIT",
            ]),
        ),
        attack(
            "words that only look like it",
            Emulated,
            queries(&[
                "BEGIN",
                "\"COMMIT\"",
                "ROLLBACK",
                "commıt",
                "COMMITTED",
                "COMMIT_",
                "COMMIT$",
                "U&\"COMMIT\"",
                "EXPLAIN COMMIT",
                "(COMMIT)",
                "BEGIN;;COMMIT)",
            ]),
        ),
    ]
}

/// A COMMIT that a poor lexer takes for something else, or the other way round.
fn hidden() -> Vec<Attack> {
    let twice = |text: &str| [query("BEGIN"), query(LEAK), query(text), batch(text)].concat();
    vec![
        attack(
            "behind an E'' continuation",
            Emulated,
            twice("SELECT E'a'\n'\\'; COMMIT; --'"),
        ),
        attack(
            "behind a plain continuation",
            Emulated,
            twice("SELECT 'a'\n'\\'; COMMIT; --'"),
        ),
        attack(
            "behind a continuation over a comment",
            Emulated,
            twice("SELECT E'a' -- x\n '\\'; COMMIT; --'"),
        ),
        attack(
            "behind no continuation",
            Emulated,
            twice("SELECT E'a' '\\'; COMMIT; --'"),
        ),
        attack(
            "behind a dollar quote",
            Emulated,
            twice("SELECT $a$ $b$ $a$; COMMIT; SELECT $b$ $b$"),
        ),
        attack(
            "behind a dollar in a name",
            Emulated,
            twice("SELECT 1 AS a$b$; COMMIT; SELECT 2 AS a$b$"),
        ),
        attack(
            "behind a parameter",
            Emulated,
            twice("SELECT $1$a$; COMMIT; SELECT $a$"),
        ),
        attack(
            "behind a nested comment",
            Emulated,
            twice("SELECT 1 /* /* */ ; COMMIT; */; COMMIT /* -- */"),
        ),
        attack(
            "behind an operator that is no comment",
            Emulated,
            twice("SELECT 1 */* */ 2; COMMIT"),
        ),
        attack(
            "behind an operator in front of a comment",
            Emulated,
            twice("SELECT 4 +-- x\n 2; COMMIT"),
        ),
        attack(
            "in a quoted identifier",
            Emulated,
            twice("SELECT 1 AS \"a\"\"; COMMIT; --\""),
        ),
        attack(
            "in Unicode escapes",
            Emulated,
            twice("SELECT U&'\\0027; COMMIT; --' UESCAPE '!'; COMMIT"),
        ),
        attack(
            "in a bit string",
            Emulated,
            twice("SELECT B'1'; COMMIT; SELECT X'1F'; COMMIT"),
        ),
        attack(
            "behind a number",
            Emulated,
            twice("SELECT 1E'; COMMIT; --'"),
        ),
        attack("behind N''", Emulated, twice("SELECT N'\\'; COMMIT; --'")),
        attack(
            "carriage returns only",
            Emulated,
            twice("SELECT 1 -- x\r; COMMIT; SELECT 'a'\r'b'; COMMIT"),
        ),
        Attack {
            since: 14,
            ..attack(
                "behind BEGIN ATOMIC",
                Emulated,
                twice(
                    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; COMMIT; CREATE TABLE leak2 (a int)",
                ),
            )
        },
        Attack {
            since: 14,
            ..attack(
                "a name that begins a block",
                Emulated,
                twice(
                    "CREATE TABLE begin_atomic (atomic int); COMMIT; CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'; END",
                ),
            )
        },
        attack(
            "behind CREATE RULE with parentheses",
            Emulated,
            twice(
                "CREATE RULE r AS ON UPDATE TO kept DO ALSO (DELETE FROM kept; NOTIFY x); COMMIT",
            ),
        ),
        attack(
            "behind CREATE SCHEMA",
            Emulated,
            twice("CREATE SCHEMA s CREATE TABLE begin (a int); COMMIT"),
        ),
    ]
}

/// The extended protocol.
fn batches() -> Vec<Attack> {
    vec![
        attack(
            "two commands in a Parse",
            Emulated,
            [
                batch(LEAK),
                batch("SELECT 1; COMMIT"),
                batch("COMMIT; SELECT 1"),
            ]
            .concat(),
        ),
        attack(
            "a batch that commits in the middle",
            Emulated,
            [
                extended("BEGIN"),
                extended(LEAK),
                extended("COMMIT"),
                extended("CREATE TABLE leak2 (a int)"),
                extended("BEGIN"),
                extended("CREATE TABLE leak3 (a int)"),
                extended("COMMIT AND CHAIN"),
                sync(),
                query("COMMIT"),
            ]
            .concat(),
        ),
        attack(
            "a batch without a Sync",
            Emulated,
            [extended(LEAK), extended("COMMIT"), flush(), terminate()].concat(),
        ),
        attack(
            "a ROLLBACK and more behind it",
            Emulated,
            [
                extended("BEGIN"),
                extended("ROLLBACK"),
                extended(LEAK),
                extended("COMMIT"),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a portal of a COMMIT that outlives its batch",
            Emulated,
            [
                query("BEGIN"),
                query(LEAK),
                parse("c", "COMMIT"),
                bind("p", "c", &[]),
                query("SELECT 1"),
                execute("p", 0),
                sync(),
                execute("p", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a portal of a COMMIT from outside a block",
            Emulated,
            [
                parse("c", "COMMIT"),
                bind("p", "c", &[]),
                query("SELECT 1"),
                query("BEGIN"),
                query(LEAK),
                execute("p", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a portal that is bound anew",
            Emulated,
            [
                query("BEGIN"),
                query(LEAK),
                parse("s", "SELECT 1"),
                parse("c", "COMMIT"),
                bind("p", "s", &[]),
                close(b'P', "p"),
                bind("p", "c", &[]),
                execute("p", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a portal whose name is taken",
            Emulated,
            [
                query("BEGIN"),
                query(LEAK),
                parse("s", "SELECT 1"),
                parse("c", "COMMIT"),
                bind("p", "c", &[]),
                bind("p", "s", &[]),
                sync(),
                execute("p", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a statement whose name is taken",
            Emulated,
            [
                query(LEAK),
                parse("s", "SELECT 1"),
                parse("s", "COMMIT"),
                sync(),
                bind("", "s", &[]),
                execute("", 0),
                sync(),
                close(b'S', "s"),
                parse("s", "COMMIT"),
                bind("", "s", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a COMMIT that was parsed before a Query",
            Emulated,
            [
                parse("", "COMMIT"),
                sync(),
                query("BEGIN"),
                query(LEAK),
                bind("", "", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "FETCH of a portal of a COMMIT",
            Emulated,
            [
                query("BEGIN"),
                query(LEAK),
                parse("c", "COMMIT"),
                bind("p", "c", &[]),
                query("FETCH ALL FROM p"),
                query("MOVE p"),
                describe(b'P', "p"),
                close(b'P', "p"),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "COPY with a COMMIT behind it",
            Emulated,
            [
                query("COPY kept FROM STDIN; COMMIT; CREATE TABLE leak (a int)"),
                copy_data("7\n"),
                copy_done(),
                query("COMMIT"),
            ]
            .concat(),
        ),
        attack(
            "COPY with a COMMIT in its midst",
            Emulated,
            [
                extended("COPY kept FROM STDIN"),
                copy_data("7\n"),
                extended("COMMIT"),
                sync(),
                copy_done(),
                query("COMMIT"),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "COPY data that looks like messages",
            Emulated,
            [
                query("COPY kept FROM STDIN"),
                message(b'd', &query("COMMIT")),
                copy_done(),
                query(LEAK),
            ]
            .concat(),
        ),
        attack(
            "copy messages for nobody",
            Emulated,
            [
                copy_data("COMMIT"),
                copy_done(),
                query(LEAK),
                copy_data("7\n"),
                batch("COMMIT"),
            ]
            .concat(),
        ),
        attack(
            "FunctionCall among the rest",
            Emulated,
            [
                extended(LEAK),
                function_call(177, &[&[0, 0, 0, 1], &[0, 0, 0, 2]]),
                sync(),
                batch("COMMIT"),
                function_call(4_000_000, &[]),
                function_call(0, &[]),
            ]
            .concat(),
        ),
    ]
}

/// Names of statements, through which control could come by another door.
fn names() -> Vec<Attack> {
    vec![
        attack(
            "EXECUTE of a COMMIT that was parsed",
            Emulated,
            [
                parse("c", "COMMIT"),
                sync(),
                query("BEGIN"),
                query(LEAK),
                query("EXECUTE c"),
                batch("EXECUTE c"),
                query("DO $$BEGIN EXECUTE 'EXECUTE c'; END$$"),
            ]
            .concat(),
        ),
        attack(
            "EXECUTE of a ROLLBACK that was parsed, and DDL behind it",
            Emulated,
            [
                parse("r", "ROLLBACK"),
                sync(),
                query("EXECUTE r; CREATE TABLE leak (a int)"),
                extended("EXECUTE r"),
                extended(LEAK),
                sync(),
            ]
            .concat(),
        ),
        refused(
            "tripwires closed by what was parsed, then committed by it, in one batch",
            Cause::RehearsalObjectTouched,
            [
                parse("a", "CLOSE ALL"),
                parse("c", "COMMIT"),
                sync(),
                extended("EXECUTE a"),
                extended(DROP_TABLE),
                extended(LEAK),
                extended("EXECUTE c"),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "PREPARE of a name that was parsed as COMMIT",
            Emulated,
            [
                parse("c", "COMMIT"),
                sync(),
                query("PREPARE c AS SELECT 1"),
                query("BEGIN"),
                query(LEAK),
                query("EXECUTE c"),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "Parse of a name that was prepared",
            Emulated,
            [
                query("PREPARE c AS SELECT 1"),
                parse("c", "COMMIT"),
                sync(),
                query(LEAK),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
                query("DEALLOCATE c"),
                parse("c", "COMMIT"),
                sync(),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
                query("EXECUTE c"),
            ]
            .concat(),
        ),
        attack(
            "a name that is freed by DEALLOCATE ALL",
            Emulated,
            [
                parse("c", "SELECT 1"),
                sync(),
                query("DEALLOCATE ALL"),
                parse("c", "COMMIT"),
                sync(),
                query(LEAK),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a name that is freed inside DO",
            Emulated,
            [
                parse("c", "SELECT 1"),
                sync(),
                query("DO $$BEGIN EXECUTE 'DEALLOCATE c'; END$$"),
                parse("c", "COMMIT"),
                sync(),
                query(LEAK),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
        attack(
            "a name that a rollback does not free",
            Emulated,
            [
                query("BEGIN"),
                parse("c", "COMMIT"),
                sync(),
                query("ROLLBACK"),
                parse("c", "SELECT 1"),
                sync(),
                query(LEAK),
                bind("", "c", &[]),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ),
    ]
}

/// What keeps a COMMIT from working is taken away.
fn disarming() -> Vec<Attack> {
    vec![
        attack("CLOSE ALL", Emulated, queries(&["BEGIN", LEAK, "CLOSE ALL", "COMMIT", "CLOSE ALL"])),
        attack("DISCARD ALL", Emulated, queries(&[LEAK, "DISCARD ALL", "DISCARD TEMP", "BEGIN", "COMMIT"])),
        attack("DISCARD ALL in a batch", Emulated, [batch(LEAK), batch("DISCARD ALL"), batch("DISCARD TEMPORARY"), batch("COMMIT")].concat()),
        attack("session_replication_role", Emulated, queries(&[
            "SET session_replication_role = replica", "BEGIN", LEAK, "COMMIT", "CREATE TABLE leak2 (a int)"])),
        attack("SET CONSTRAINTS ALL", Emulated, queries(&[
            "BEGIN", LEAK, "SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED", "COMMIT"])),
        refused("the temporary table is dropped", Cause::RehearsalObjectTouched, queries(&["BEGIN", DROP_TABLE, LEAK, "COMMIT", "CREATE TABLE leak2 (a int)"])),
        refused("both are gone", Cause::RehearsalObjectTouched, queries(&[
            "BEGIN", DROP_TABLE,
            "DO $$DECLARE c refcursor; BEGIN SELECT name INTO c FROM pg_cursors WHERE name LIKE 'drydock%'; CLOSE c; END$$",
            LEAK, "COMMIT"])),
        refused("a trigger leaves both without effect", Cause::RehearsalObjectTouched, queries(&[
            "CREATE FUNCTION disarm() RETURNS trigger LANGUAGE plpgsql AS $f$DECLARE c refcursor; t regclass; BEGIN \
             SELECT oid::regclass INTO t FROM pg_class WHERE relname LIKE 'drydock%table'; EXECUTE 'DELETE FROM ' || t; \
             SELECT name INTO c FROM pg_cursors WHERE name LIKE 'drydock%'; CLOSE c; RETURN NEW; END$f$",
            "CREATE TRIGGER disarms BEFORE INSERT ON kept FOR EACH ROW EXECUTE FUNCTION disarm()",
            "INSERT INTO kept VALUES (3)", "CREATE TABLE leak2 (a int)"])),
        refused("both are gone, in a batch", Cause::RehearsalObjectTouched, [
            extended(DROP_TABLE),
            extended("DO $$DECLARE c refcursor; BEGIN SELECT name INTO c FROM pg_cursors WHERE name LIKE 'drydock%'; CLOSE c; END$$"),
            extended(LEAK), extended("COMMIT"), sync()].concat()),
        refused("both are there, and neither would fire", Cause::RehearsalObjectTouched, queries(&["BEGIN", DISARM, LEAK, "COMMIT"])),
        refused("neither would fire, in autocommit", Cause::RehearsalObjectTouched, queries(&[DISARM, LEAK, "COMMIT"])),
        refused("a function disarms both", Cause::RehearsalObjectTouched, queries(&[LEAK, DISARMING, "SELECT pg_temp.disarm()", "CREATE TABLE leak2 (a int)"])),
        refused("a prepared statement disarms both", Cause::RehearsalObjectTouched, [
            query(DISARMING), extended("SELECT pg_temp.disarm()"), extended(LEAK), sync(), query("COMMIT")].concat()),
        refused("our statements are gone", Cause::RehearsalObjectTouched, queries(&[
            LEAK, "DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$", "COMMIT", "BEGIN", "COMMIT", "SELECT 1"])),
    ]
}

/// Effects that a ROLLBACK would not undo.
fn beyond() -> Vec<Attack> {
    let cause = Cause::EffectOutlivesRollback;
    vec![
        refused(
            "dblink",
            cause,
            query("SELECT dblink_exec('dbname=postgres', 'CREATE TABLE leak (a int)')"),
        ),
        // There is no such function here, and the server says so to the Parse.
        attack(
            "dblink in a batch",
            Emulated,
            batch("SELECT dblink_exec('dbname=postgres', 'SELECT 1')"),
        ),
        refused("setval", cause, query("SELECT setval('counter', 99)")),
        refused(
            "setval in a batch",
            cause,
            batch("SELECT pg_catalog.setval('counter', 99)"),
        ),
        refused(
            "ALTER SEQUENCE RESTART",
            cause,
            query("ALTER SEQUENCE counter RESTART WITH 99"),
        ),
        refused(
            "COPY to a program",
            cause,
            query("COPY kept TO PROGRAM 'cat > /tmp/leak'"),
        ),
        refused("COPY to a file", cause, batch("COPY kept TO '/tmp/leak'")),
        refused(
            "pg_logical_emit_message",
            cause,
            query("SELECT pg_logical_emit_message(false, 'a', 'b')"),
        ),
        refused(
            "a replication slot",
            cause,
            query("SELECT pg_create_physical_replication_slot('leak')"),
        ),
        refused(
            "ALTER SYSTEM",
            Cause::CannotRunInTransaction,
            query("ALTER SYSTEM SET work_mem = '1MB'"),
        ),
        refused(
            "CREATE DATABASE",
            Cause::CannotRunInTransaction,
            batch("CREATE DATABASE leak"),
        ),
        attack(
            "replication commands",
            Emulated,
            queries(&[
                LEAK,
                "START_REPLICATION SLOT leak LOGICAL 0/0",
                "CREATE_REPLICATION_SLOT leak PHYSICAL",
                "IDENTIFY_SYSTEM",
            ]),
        ),
    ]
}
