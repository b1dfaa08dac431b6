//! What a rehearsal stops before the server sees it.
//!
//! A rollback undoes what a statement did to tables. Some statements do more than that, and some of
//! that hurts the application which goes on working while the rehearsal runs. Manual: "Sequence
//! Manipulation Functions" (setval is never rolled back), "System Administration Functions",
//! "Two-Phase Transactions", "Snapshot Synchronization Functions", COPY.

use super::arguments::{Argument, calls_of};
use super::body::Body;
use super::calls::Calls;
use super::command::{Command, Control, CopyEnd, Ddl, Object, Setting, Verb};
use super::lexer::TokenKind;
use super::split::Statement;

/// A statement that is not forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: RefusalCause,
    /// What in the statement is the reason, in the manual's words: "setval", "COPY … PROGRAM".
    pub what: &'static str,
    /// What it would do, as a sentence.
    pub effect: &'static str,
    /// What the user can do, as a sentence.
    pub advice: &'static str,
    /// The sequences that would be moved. When there are any, the statement is harmless if all of
    /// them were created in this rehearsal: nobody else can use them yet.
    pub sequences: Vec<SequenceRef>,
}

/// The causes of a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// PREPARE TRANSACTION and its relatives.
    TwoPhaseCommit,
    /// Snapshots cannot be given to or taken from another connection.
    SnapshotExchange,
    /// A rollback would not undo it.
    EffectOutlivesRollback,
}

/// How a statement names a sequence that it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceRef {
    /// Text that the server reads as `regclass`.
    Named(Vec<u8>),
    /// The sequence of a column: the arguments of `pg_get_serial_sequence`.
    OfColumn {
        /// The table, as `regclass` text.
        table: Vec<u8>,
        /// The column's name.
        column: Vec<u8>,
    },
    /// An expression, or a call inside a DO block.
    Unknown,
}

/// Why a statement must not be forwarded; `None` if it may.
#[must_use]
pub fn refusal(statement: &Statement<'_>, command: &Command) -> Option<Refusal> {
    let body = match command {
        Command::Do => Body::of(statement),
        _ => Body::default(),
    };
    by_command(command)
        .or_else(|| body.commands.iter().find_map(inside))
        .or_else(|| by_calls(statement, command, body.calls))
}

/// The same of a statement in a body: what else no function may run, the server refuses itself.
fn inside(command: &Command) -> Option<Refusal> {
    let mut refusal =
        by_command(command).filter(|it| it.cause == RefusalCause::EffectOutlivesRollback)?;
    if !refusal.sequences.is_empty() {
        // Which one it is then, is known when it runs.
        refusal.sequences = vec![SequenceRef::Unknown];
    }
    Some(refusal)
}

fn by_command(command: &Command) -> Option<Refusal> {
    let (cause, what, effect, advice) = match command {
        Command::Control(
            Control::PrepareTransaction | Control::CommitPrepared | Control::RollbackPrepared,
        ) => (
            RefusalCause::TwoPhaseCommit,
            "a two-phase transaction",
            "It would end or outlive the transaction that is rehearsed.",
            "Use an ordinary transaction in the migration.",
        ),
        Command::Setting(Setting::TransactionSnapshot) => (
            RefusalCause::SnapshotExchange,
            "SET TRANSACTION SNAPSHOT",
            "A rehearsal has one transaction, which cannot take the snapshot of another.",
            "Read the data in the migration's own transaction.",
        ),
        Command::Copy(copy) if copy.end == Some(CopyEnd::Program) => (
            RefusalCause::EffectOutlivesRollback,
            "COPY with PROGRAM",
            "The program would really run on the server.",
            "Run it outside of the migration, or copy through the client with \\copy.",
        ),
        Command::Copy(copy) if copy.end == Some(CopyEnd::File) => (
            RefusalCause::EffectOutlivesRollback,
            "COPY with a file of the server",
            "Files of the server are not part of the transaction.",
            "Copy through the client: COPY … FROM STDIN, or \\copy in psql.",
        ),
        Command::AlterSequence {
            name,
            restart: true,
        } => {
            let sequence = name.as_ref().map_or(SequenceRef::Unknown, |name| {
                SequenceRef::Named(name.quoted())
            });
            return Some(Refusal {
                cause: RefusalCause::EffectOutlivesRollback,
                what: "ALTER SEQUENCE with RESTART",
                effect: "It would lock the sequence, and every INSERT of the application that \
                         needs its next value would wait until the rehearsal ends.",
                advice: "Restart the sequence outside of the migration.",
                sequences: vec![sequence],
            });
        }
        _ => return None,
    };
    Some(Refusal {
        cause,
        what,
        effect,
        advice,
        sequences: Vec::new(),
    })
}

/// A row for each group of functions, in the order in which they are reported.
const GROUPS: &[(Calls, RefusalCause, &str, &str, &str)] = &[
    (
        Calls::EXPORT_SNAPSHOT,
        RefusalCause::SnapshotExchange,
        "pg_export_snapshot",
        "A rehearsal has one transaction, whose snapshot nobody else may use.",
        "Read the data in the migration's own transaction.",
    ),
    (
        Calls::DBLINK,
        RefusalCause::EffectOutlivesRollback,
        "dblink",
        "It works on a connection of its own, where a COMMIT is real.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::SIGNAL,
        RefusalCause::EffectOutlivesRollback,
        "pg_terminate_backend or pg_cancel_backend",
        "It would end sessions of the application.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::REPLICATION,
        RefusalCause::EffectOutlivesRollback,
        "a function on replication slots or origins",
        "Slots are not part of the transaction: a moved one loses data for its consumer, a new one \
         keeps write-ahead log for ever.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::EMIT_MESSAGE,
        RefusalCause::EffectOutlivesRollback,
        "pg_logical_emit_message that is not transactional",
        "Its message would reach the consumers of logical decoding although nothing was committed.",
        "Pass true as its first argument.",
    ),
    (
        Calls::SERVER_FILE,
        RefusalCause::EffectOutlivesRollback,
        "a function on files of the server",
        "Files of the server are not part of the transaction.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::SERVER_CONTROL,
        RefusalCause::EffectOutlivesRollback,
        "a function that controls the server",
        "It would work on the whole server at once.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::STATISTICS_RESET,
        RefusalCause::EffectOutlivesRollback,
        "a function that resets statistics",
        "The statistics would be lost for good.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::OUTSIDE,
        RefusalCause::EffectOutlivesRollback,
        "a function that reaches out of the database (http, aws_…)",
        "What it asks another service to do would really be done.",
        OUTSIDE_OF_THE_MIGRATION,
    ),
    (
        Calls::SETVAL,
        RefusalCause::EffectOutlivesRollback,
        "setval",
        "A rollback does not move a sequence back: the application's next INSERT would get a \
         number from before or behind the data.",
        "Call setval outside of the migration, or only for sequences that the migration creates.",
    ),
];

const OUTSIDE_OF_THE_MIGRATION: &str = "Call it outside of the migration.";

/// Whether a command runs the expressions in it. The others name functions, or keep them for later.
fn runs_expressions(command: &Command) -> bool {
    match command {
        Command::Ddl(Ddl { verb, object, .. }) => matches!(
            (verb, object),
            (
                Verb::Alter,
                Object::Table | Object::ForeignTable | Object::Domain
            ) | (Verb::Create, Object::MaterializedView | Object::Schema)
        ),
        Command::Vacuum(_) | Command::Analyze | Command::Cluster(_) | Command::Truncate => false,
        Command::DropIndex(_) | Command::Reindex(_) | Command::Lock => false,
        _ => true,
    }
}

fn by_calls(statement: &Statement<'_>, command: &Command, inside: Calls) -> Option<Refusal> {
    if !runs_expressions(command) {
        return None;
    }
    let mut calls = statement.calls().union(inside);
    // Calls by such a name are found, but not their arguments.
    let escaped = || {
        let text = statement.text();
        statement.tokens().any(|token| {
            token.kind == TokenKind::QuotedIdentifier && text.get(token.start) != Some(&b'"')
        })
    };
    if calls.contains(Calls::EMIT_MESSAGE)
        && !inside.contains(Calls::EMIT_MESSAGE)
        && !escaped()
        && calls_of(statement.tokens(), "pg_logical_emit_message")
            .iter()
            .all(|arguments| is_true(arguments.first()))
    {
        calls = calls.without(Calls::EMIT_MESSAGE);
    }
    let (group, cause, what, effect, advice) = GROUPS
        .iter()
        .find(|(group, ..)| calls.contains(*group))
        .copied()?;
    let sequences = match group {
        Calls::SETVAL if inside.contains(group) || escaped() => vec![SequenceRef::Unknown],
        Calls::SETVAL => calls_of(statement.tokens(), "setval")
            .into_iter()
            .map(|arguments| match arguments.into_iter().next() {
                Some(Argument::Text(name)) => SequenceRef::Named(name),
                Some(Argument::SerialSequence(table, column)) => {
                    SequenceRef::OfColumn { table, column }
                }
                _ => SequenceRef::Unknown,
            })
            .collect(),
        _ => Vec::new(),
    };
    Some(Refusal {
        cause,
        what,
        effect,
        advice,
        sequences,
    })
}

fn is_true(argument: Option<&Argument>) -> bool {
    match argument {
        Some(Argument::Word(word)) => word == b"true",
        Some(Argument::Text(text)) => [&b"t"[..], b"true"].contains(&&text[..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LexSettings, Script, classify};
    use super::*;
    use rstest::rstest;

    fn of(text: &str) -> Option<Refusal> {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let statement = script.single().unwrap();
        refusal(statement, &classify(statement))
    }

    #[rstest]
    #[case("select setval('s', 1)", "setval")]
    #[case("select pg_catalog.SETVAL ('s', 1)", "setval")]
    #[case("select \"setval\"('s', 1)", "setval")]
    #[case("alter sequence s restart with 5", "ALTER SEQUENCE with RESTART")]
    #[case("copy t from program 'x'", "COPY with PROGRAM")]
    #[case("copy (select 1) to '/tmp/x'", "COPY with a file of the server")]
    #[case("select * from dblink('x', 'y') as t(a int)", "dblink")]
    #[case("select dblink_exec('x')", "dblink")]
    #[case("select dblink_connect('x')", "dblink")]
    #[case("select public.dblink_send_query('x', 'y')", "dblink")]
    #[case("select nextval('s'), setval('s', 1)", "setval")]
    #[case("copy t to program 'x'", "COPY with PROGRAM")]
    #[case("copy t from '/tmp/x'", "COPY with a file of the server")]
    #[case(
        "select pg_cancel_backend(1)",
        "pg_terminate_backend or pg_cancel_backend"
    )]
    #[case(
        "select pg_drop_replication_slot('a')",
        "a function on replication slots or origins"
    )]
    #[case(
        "select pg_replication_slot_advance('a', '0/0')",
        "a function on replication slots or origins"
    )]
    #[case(
        "select * from pg_logical_slot_get_changes('a', null, null)",
        "a function on replication slots or origins"
    )]
    #[case(
        "select pg_file_write('a', 'b', true)",
        "a function on files of the server"
    )]
    #[case("select lo_import('x')", "a function on files of the server")]
    #[case("select pg_switch_wal()", "a function that controls the server")]
    #[case(
        "select pg_stat_reset_single_table_counters(1)",
        "a function that resets statistics"
    )]
    #[case(
        "select pg_stat_statements_reset()",
        "a function that resets statistics"
    )]
    #[case(
        "select aws_lambda.invoke('x', 'y')",
        "a function that reaches out of the database (http, aws_…)"
    )]
    #[case(
        "select http_post('x', 'y')",
        "a function that reaches out of the database (http, aws_…)"
    )]
    #[case("commit prepared 'x'", "a two-phase transaction")]
    #[case("rollback prepared 'x'", "a two-phase transaction")]
    #[case(
        "select pg_terminate_backend(pid) from pg_stat_activity",
        "pg_terminate_backend or pg_cancel_backend"
    )]
    #[case(
        "select pg_create_logical_replication_slot('a', 'b')",
        "a function on replication slots or origins"
    )]
    #[case(
        "select pg_logical_emit_message(false, 'a', 'b')",
        "pg_logical_emit_message that is not transactional"
    )]
    #[case("select lo_export(1, 'x')", "a function on files of the server")]
    #[case("select pg_reload_conf()", "a function that controls the server")]
    #[case("select pg_stat_reset()", "a function that resets statistics")]
    #[case(
        "select content from http_get('x')",
        "a function that reaches out of the database (http, aws_…)"
    )]
    #[case(
        "select aws_s3.query_export_to_s3('x')",
        "a function that reaches out of the database (http, aws_…)"
    )]
    #[case("select pg_export_snapshot()", "pg_export_snapshot")]
    #[case("do $$ begin perform setval('s', 1); end $$", "setval")]
    #[case("do 'begin execute $x$ select setval(''s'', 1) $x$; end'", "setval")]
    #[case("explain analyze select setval('s', 1)", "setval")]
    #[case("select U&\"setv\\0061l\"('s', 1)", "setval")]
    #[case("select U&\"setv!0061l\" UESCAPE '!' ('s', 1)", "setval")]
    #[case("select a.U&\"pg_catalog\".setval('s', 1)", "setval")]
    #[case("select 1 from a join b on setval('s', 1) > 0", "setval")]
    #[case("alter table t add c bigint default setval('s', 1)", "setval")]
    #[case("create table t as select setval('s', 1)", "setval")]
    #[case("create index on t (setval('s', 1))", "setval")]
    #[case("with a as (select 1) select setval('s', 1)", "setval")]
    #[case("insert into t (a) values (setval('s', 1))", "setval")]
    #[case("do $$ begin copy t to program 'x'; end $$", "COPY with PROGRAM")]
    #[case(
        "do $$ begin if a then copy t from '/x'; end if; end $$",
        "COPY with a file of the server"
    )]
    #[case(
        "do $$<<b>> begin alter sequence s restart; end $$",
        "ALTER SEQUENCE with RESTART"
    )]
    #[case(
        "do $$ begin execute 'copy t to program ''x'''; end $$",
        "COPY with PROGRAM"
    )]
    #[case(
        "do $$ begin execute format('alter sequence %I restart with %s', a, b); end $$",
        "ALTER SEQUENCE with RESTART"
    )]
    #[case(
        "do $$ begin execute format('copy %1$I to program %2$L', a, b); end $$",
        "COPY with PROGRAM"
    )]
    #[case("do $$ begin perform U&\"setv\\0061l\"('s', 1); end $$", "setval")]
    #[case("prepare transaction 'x'", "a two-phase transaction")]
    #[case("set transaction snapshot 'x'", "SET TRANSACTION SNAPSHOT")]
    fn effects_that_outlive_a_rollback_are_stopped(#[case] text: &str, #[case] what: &str) {
        assert_eq!(of(text).map(|r| r.what), Some(what));
    }

    #[rstest]
    #[case("select nextval('s')")]
    #[case("select 'setval(1)'")]
    #[case("select setval from t where setval in (1)")]
    #[case("alter sequence s owned by t.c")]
    #[case("copy t from stdin")]
    #[case("copy t (a, b) to stdout with (format csv)")]
    #[case("select pg_logical_emit_message(true, 'a', 'b')")]
    #[case("create function f() returns int language sql as $$ select setval('s', 1) $$")]
    #[case("create index concurrently i on t (a)")]
    #[case("vacuum t")]
    #[case("select pg_advisory_lock(1)")]
    #[case("create table http_get (id int)")]
    #[case("create table if not exists aws_costs.dblink (id int references http_get (id))")]
    #[case("insert into http_get (a) values (1)")]
    #[case("insert into x.aws_costs.http as dblink (a) values (1)")]
    #[case("create index on http_get (x)")]
    #[case("create unique index i on only aws_costs.dblink (x)")]
    #[case("create trigger t after insert on a execute function f.http_get('u')")]
    #[case("create trigger t after insert on a execute procedure http_get('u')")]
    #[case("grant execute on function pg_stat_reset() to r")]
    #[case("revoke all on function a(int), pg_switch_wal() from public")]
    #[case("drop function dblink_x(int), dblink_y(int)")]
    #[case("drop routine if exists dblink_x(int)")]
    #[case("comment on aggregate dblink_x(int) is 'x'")]
    #[case("create view v as select setval('s', 1)")]
    #[case("create function http_get(int) returns int language sql return 1")]
    #[case("analyze http_get (a)")]
    #[case("copy http_get (a) from stdin")]
    #[case("with http_get (a) as (select 1) select 1 from x as dblink (a)")]
    #[case("select http_status(a), http_requests(a) from http_get")]
    #[case("do $$ begin create index on http_get (x); end $$")]
    #[case("do $$ begin raise notice 'copy %', a; alter sequence s owned by none; end $$")]
    #[case("do $$ begin copy t from stdin; end $$")]
    fn everything_else_goes_on(#[case] text: &str) {
        assert_eq!(of(text), None);
    }

    #[test]
    fn moved_sequences_are_named_when_the_statement_names_them() {
        let named = |text: &str| SequenceRef::Named(text.into());
        let sequences = |text| of(text).unwrap().sequences;
        assert_eq!(
            sequences("select setval('a.s'::regclass, 1), setval('\"B\"', 2, false)"),
            [named("a.s"), named("\"B\"")]
        );
        let (table, column) = (b"t".to_vec(), b"id".to_vec());
        assert_eq!(
            sequences("select setval(pg_get_serial_sequence('t', 'id'), max(id)) from t"),
            [SequenceRef::OfColumn { table, column }]
        );
        assert_eq!(sequences("select setval($1, 1)"), [SequenceRef::Unknown]);
        assert_eq!(
            sequences("do $$begin perform setval('s', 1); end$$"),
            [SequenceRef::Unknown]
        );
        assert_eq!(
            sequences("select setval('s', 1), U&\"setv\\0061l\"('t', 1)"),
            [SequenceRef::Unknown]
        );
        assert_eq!(
            sequences("do $$begin alter sequence s restart; end$$"),
            [SequenceRef::Unknown]
        );
        assert_eq!(
            sequences("alter sequence if exists A.s restart"),
            [named("\"a\".\"s\"")]
        );
    }
}
