use super::super::command::*;
use super::super::{LexSettings, Name, QualifiedName, Script};
use super::classify;
use proptest::prelude::*;
use rstest::rstest;

fn of(text: &str) -> Command {
    let script = Script::new(text.as_bytes(), LexSettings::default());
    script.single().map_or(Command::Empty, classify)
}

fn modes(
    isolation: Option<Isolation>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
) -> TransactionModes {
    TransactionModes {
        isolation,
        read_only,
        deferrable,
    }
}

#[rstest]
#[case("begin", Control::Begin(modes(None, None, None)))]
#[case("BEGIN WORK", Control::Begin(modes(None, None, None)))]
#[case(
    "/* x */ begin transaction -- y",
    Control::Begin(modes(None, None, None))
)]
#[case(
    "begin isolation level repeatable read, read only not deferrable",
    Control::Begin(modes(Some(Isolation::RepeatableRead), Some(true), Some(false)))
)]
#[case(
    "start transaction read write",
    Control::StartTransaction(modes(None, Some(false), None))
)]
#[case("commit", Control::Commit { chain: false })]
#[case("end", Control::Commit { chain: false })]
#[case("end transaction", Control::Commit { chain: false })]
#[case("commit work and chain", Control::Commit { chain: true })]
#[case("commit and no chain", Control::Commit { chain: false })]
#[case("rollback", Control::Rollback { chain: false })]
#[case("abort work", Control::Rollback { chain: false })]
#[case("rollback and chain", Control::Rollback { chain: true })]
#[case("savepoint A", Control::Savepoint("a".into()))]
#[case("savepoint \"A\"", Control::Savepoint("A".into()))]
#[case("savepoint savepoint", Control::Savepoint("savepoint".into()))]
#[case("release a", Control::Release("a".into()))]
#[case("release savepoint a", Control::Release("a".into()))]
#[case("release savepoint", Control::Release("savepoint".into()))]
#[case("rollback to a", Control::RollbackTo("a".into()))]
#[case("rollback work to savepoint a", Control::RollbackTo("a".into()))]
#[case("prepare transaction 'x'", Control::PrepareTransaction)]
#[case("commit prepared 'x'", Control::CommitPrepared)]
#[case("rollback prepared $$x$$", Control::RollbackPrepared)]
fn transaction_control_is_read_to_its_end(#[case] text: &str, #[case] expected: Control) {
    assert_eq!(of(text), Command::Control(expected));
}

#[rstest]
#[case("commit now")]
#[case("commit and")]
#[case("commit and chain 1")]
#[case("begin isolation level x")]
#[case("begin read only,")]
#[case("start")]
#[case("start read only")]
#[case("savepoint")]
#[case("savepoint select")]
#[case("savepoint a b")]
#[case("abort to a")]
#[case("rollback to")]
#[case("prepare transaction x")]
#[case("commit prepared")]
#[case("end if")]
fn control_words_in_other_forms_are_never_executed(#[case] text: &str) {
    assert_eq!(of(text), Command::MalformedControl);
}

fn set(scope: Scope, name: &str, value: Value) -> Command {
    Command::Setting(Setting::Set {
        scope,
        name: name.to_owned(),
        value,
    })
}

#[rstest]
#[case("set a = 'b'", set(Scope::Session, "a", Value::Single(b"b".into())))]
#[case("set A.B to OFF", set(Scope::Session, "a.b", Value::Single(b"off".into())))]
#[case("set session a = 1", set(Scope::Session, "a", Value::Single(b"1".into())))]
#[case("set local a to default", set(Scope::Local, "a", Value::Default))]
#[case(
    "set search_path = a, b",
    set(Scope::Session, "search_path", Value::Other)
)]
#[case("set a from current", set(Scope::Session, "a", Value::FromCurrent))]
#[case("set session.tenant = 5", set(Scope::Session, "session.tenant", Value::Single(b"5".into())))]
#[case("set local to 5", set(Scope::Session, "local", Value::Single(b"5".into())))]
#[case("set time zone 'UTC'", set(Scope::Session, "timezone", Value::Single(b"UTC".into())))]
#[case("set local time zone local", set(Scope::Local, "timezone", Value::Single(b"local".into())))]
#[case("set names 'SJIS'", set(Scope::Session, "client_encoding", Value::Single(b"SJIS".into())))]
#[case("set schema 'x'", set(Scope::Session, "search_path", Value::Single(b"x".into())))]
#[case("set role x", set(Scope::Session, "role", Value::Single(b"x".into())))]
#[case("set role to x", set(Scope::Session, "role", Value::Single(b"x".into())))]
#[case(
    "set session authorization default",
    set(Scope::Session, "session_authorization", Value::Default)
)]
#[case(
    "set local session authorization x",
    set(Scope::Local, "session_authorization", Value::Single(b"x".into()))
)]
#[case("reset a", Command::Setting(Setting::Reset("a".into())))]
#[case("reset time zone", Command::Setting(Setting::Reset("timezone".into())))]
#[case("reset all", Command::Setting(Setting::ResetAll))]
#[case("show transaction isolation level", Command::Setting(Setting::Show("transaction_isolation".into())))]
#[case("show ALL", Command::Setting(Setting::ShowAll))]
#[case(
    "set transaction read only",
    Command::Setting(Setting::Transaction(modes(None, Some(true), None)))
)]
#[case(
    "set local transaction isolation level serializable",
    Command::Setting(Setting::Transaction(modes(Some(Isolation::Serializable), None, None)))
)]
#[case(
    "set transaction snapshot 'x'",
    Command::Setting(Setting::TransactionSnapshot)
)]
#[case(
    "set session characteristics as transaction deferrable",
    Command::Setting(Setting::SessionCharacteristics(modes(None, None, Some(true))))
)]
#[case(
    "set constraints all deferred",
    Command::Setting(Setting::Constraints { constraints: Constraints::All, deferred: true })
)]
#[case(
    "set constraints a.b, C immediate",
    Command::Setting(Setting::Constraints {
        constraints: Constraints::Named(vec!["a.b".into(), "c".into()]),
        deferred: false,
    })
)]
#[case("discard all", Command::Discard(Discard::All))]
#[case("discard temporary", Command::Discard(Discard::Temp))]
fn settings_are_read(#[case] text: &str, #[case] expected: Command) {
    assert_eq!(of(text), expected);
}

#[rstest]
#[case("declare c cursor for select 1", Cursor::Declare { name: "c".into(), hold: false })]
#[case(
    "declare c binary no scroll cursor with hold for select 1",
    Cursor::Declare { name: "c".into(), hold: true }
)]
#[case("close c", Cursor::Close(Some("c".into())))]
#[case("close all", Cursor::Close(None))]
#[case("fetch forward 5 from c", Cursor::Fetch)]
#[case("move c", Cursor::Move)]
fn cursors_are_read(#[case] text: &str, #[case] expected: Cursor) {
    assert_eq!(of(text), Command::Cursor(expected));
}

#[rstest]
#[case("prepare p as select 1", Prepared::Prepare("p".into()))]
#[case("prepare transaction as select 1", Prepared::Prepare("transaction".into()))]
#[case("prepare transaction (int) as select 1", Prepared::Prepare("transaction".into()))]
#[case("execute p(1)", Prepared::Execute("p".into()))]
#[case("deallocate p", Prepared::Deallocate(Some("p".into())))]
#[case("deallocate prepare p", Prepared::Deallocate(Some("p".into())))]
#[case("deallocate prepare", Prepared::Deallocate(Some("prepare".into())))]
#[case("deallocate prepare all", Prepared::Deallocate(None))]
fn prepared_statements_are_read(#[case] text: &str, #[case] expected: Prepared) {
    assert_eq!(of(text), Command::Prepared(expected));
}

fn copy(from: bool, end: CopyEnd) -> Command {
    Command::Copy(CopyCommand {
        from,
        end: Some(end),
    })
}

fn explain(analyze: bool, inner: Command) -> Command {
    Command::Explain {
        analyze,
        inner: Box::new(inner),
    }
}

const QUERY: Command = Command::Query(Query { into: None });

#[rstest]
#[case("", Command::Empty)]
#[case("-- nothing", Command::Empty)]
#[case("select 1", QUERY)]
#[case("((select 1) union (select 2))", QUERY)]
#[case(
    "with x as (insert into t values (1) returning *) select * from x",
    QUERY
)]
#[case("with x as (select 1) insert into t select * from x", QUERY)]
#[case("insert into t values (1)", Command::Modify)]
#[case(
    "merge into t using u on true when matched then delete",
    Command::Modify
)]
#[case("listen a", Command::Listen("a".into()))]
#[case("unlisten *", Command::Unlisten(None))]
#[case("unlisten a", Command::Unlisten(Some("a".into())))]
#[case("copy t from stdin", copy(true, CopyEnd::Client))]
#[case("copy s.t (a, b) to stdout (format csv)", copy(false, CopyEnd::Client))]
#[case("copy (select 1 from t) to '/x'", copy(false, CopyEnd::File))]
#[case("copy binary t from program 'x'", copy(true, CopyEnd::Program))]
#[case("explain select 1", explain(false, QUERY))]
#[case(
    "explain analyze verbose delete from t",
    explain(true, Command::Modify)
)]
#[case(
    "explain (analyze, costs off) delete from t",
    explain(true, Command::Modify)
)]
#[case("explain (analyze off) delete from t", explain(false, Command::Modify))]
#[case(
    "explain (analyze 'false') delete from t",
    explain(false, Command::Modify)
)]
#[case("explain (select 1)", explain(false, QUERY))]
#[case("do $$ begin end $$", Command::Do)]
#[case("cluster", Command::Cluster(None))]
#[case("cluster verbose t using i", Command::Cluster(Some("t".into())))]
#[case("cluster i on t", Command::Cluster(Some("t".into())))]
#[case("cluster (verbose) t", Command::Cluster(Some("t".into())))]
#[case("alter system reset all", Command::Server(ServerObject::AlterSystem))]
#[case(
    "alter database d set tablespace s",
    Command::Server(ServerObject::MoveDatabase)
)]
#[case(
    "create tablespace s location 'x'",
    Command::Server(ServerObject::CreateTablespace)
)]
#[case("alter sequence a.s increment 2 restart", Command::AlterSequence { name: Some("a.s".into()), restart: true })]
#[case("alter sequence s cycle", Command::AlterSequence { name: Some("s".into()), restart: false })]
#[case("alter type a.t add value if not exists 'x'", Command::AddEnumValue("a.t".into()))]
#[case("frobnicate", Command::Unknown)]
#[case("'begin'", Command::Unknown)]
#[case("\"begin\"", Command::Unknown)]
#[case("a_word_that_is_longer_than_any_command", Command::Unknown)]
fn statements_are_told_apart_by_their_leading_words(#[case] text: &str, #[case] expected: Command) {
    assert_eq!(of(text), expected);
}

fn table(temporary: bool, name: &str, on_commit: OnCommit) -> CreateTable {
    CreateTable {
        temporary,
        foreign: false,
        if_not_exists: false,
        name: Some(name.into()),
        on_commit,
    }
}

#[rstest]
#[case("create table a.t (a int)", table(false, "a.t", OnCommit::Preserve))]
#[case(
    "create temp table t (a int) on commit drop",
    table(true, "t", OnCommit::Drop)
)]
#[case(
    "create local temporary table t on commit delete rows as select 1",
    table(true, "t", OnCommit::DeleteRows)
)]
#[case(
    "create table pg_temp.t (a int)",
    table(true, "pg_temp.t", OnCommit::Preserve)
)]
#[case(
    "create table t (a int references u on delete cascade on update cascade)",
    table(false, "t", OnCommit::Preserve)
)]
#[case(
    "create unlogged table t as select 1",
    table(false, "t", OnCommit::Preserve)
)]
fn created_tables_are_read(#[case] text: &str, #[case] expected: CreateTable) {
    assert_eq!(of(text), Command::CreateTable(expected));
}

#[test]
fn select_into_creates_a_table() {
    let into = |text| match of(text) {
        Command::Query(query) => query.into,
        other => panic!("{other:?}"),
    };
    let temp = table(true, "t", OnCommit::Preserve);
    assert_eq!(into("select 1 into temp t"), Some(temp));
    let plain = table(false, "a.t", OnCommit::Preserve);
    assert_eq!(
        into("with x as (select 1) select * into table a.t from x"),
        Some(plain)
    );
    assert_eq!(
        into("select a from t where b in (select into_ from u)"),
        None
    );
}

fn index(name: Option<&str>, relation: &str) -> CreateIndex {
    CreateIndex {
        unique: false,
        concurrently: false,
        if_not_exists: false,
        name: name.map(Name::from),
        only: false,
        relation: Some(relation.into()),
    }
}

#[test]
fn index_statements_are_read() {
    let plain = index(Some("i"), "s.t");
    assert_eq!(
        of("create index i on s.t (a)"),
        Command::CreateIndex(plain.clone())
    );
    assert_eq!(
        of("create unique index concurrently if not exists I on only s.t using btree (a)"),
        Command::CreateIndex(CreateIndex {
            unique: true,
            concurrently: true,
            if_not_exists: true,
            only: true,
            ..plain
        })
    );
    let unnamed = index(None, "t");
    assert_eq!(
        of("create index concurrently on t (a)"),
        Command::CreateIndex(CreateIndex {
            concurrently: true,
            ..unnamed
        })
    );
    assert_eq!(
        of("drop index concurrently if exists a.i, j cascade"),
        Command::DropIndex(DropIndex {
            concurrently: true,
            if_exists: true,
            names: vec!["a.i".into(), "j".into()],
            cascade: true,
        })
    );
    let reindex = |target, concurrently, name: Option<&str>| {
        Command::Reindex(Reindex {
            target,
            concurrently,
            name: name.map(QualifiedName::from),
        })
    };
    let table = ReindexTarget::Table;
    assert_eq!(of("reindex table t"), reindex(table, false, Some("t")));
    assert_eq!(
        of("reindex (verbose) table concurrently a.t"),
        reindex(table, true, Some("a.t"))
    );
    assert_eq!(
        of("reindex (concurrently, verbose) table t"),
        reindex(table, true, Some("t"))
    );
    assert_eq!(
        of("reindex (concurrently off) table t"),
        reindex(table, false, Some("t"))
    );
    assert_eq!(
        of("reindex system"),
        reindex(ReindexTarget::System, false, None)
    );
    assert_eq!(
        of("alter table if exists only a.t * detach partition p concurrently"),
        Command::DetachPartition(DetachPartition {
            table: "a.t".into(),
            partition: "p".into(),
            finalize: false,
        })
    );
}

#[rstest]
#[case(
    "alter table only a.t add column b int",
    Verb::Alter,
    Object::Table,
    Some("a.t")
)]
#[case(
    "alter table t detach partition p",
    Verb::Alter,
    Object::Table,
    Some("t")
)]
#[case(
    "create or replace view v as select 1",
    Verb::Create,
    Object::View,
    Some("v")
)]
#[case(
    "create materialized view if not exists v as select 1",
    Verb::Create,
    Object::MaterializedView,
    Some("v")
)]
#[case(
    "create or replace function a.f() returns int",
    Verb::Create,
    Object::Routine,
    Some("a.f")
)]
#[case(
    "create constraint trigger g after insert on t",
    Verb::Create,
    Object::Trigger,
    Some("g")
)]
#[case(
    "create schema if not exists s",
    Verb::Create,
    Object::Schema,
    Some("s")
)]
#[case("create schema authorization u", Verb::Create, Object::Schema, None)]
#[case("create type t as enum ('a')", Verb::Create, Object::Type, Some("t"))]
#[case(
    "create user mapping for u server s",
    Verb::Create,
    Object::UserMapping,
    None
)]
#[case("create role r", Verb::Create, Object::Role, Some("r"))]
#[case("alter type t rename to u", Verb::Alter, Object::Type, Some("t"))]
#[case("drop table if exists a.t, u", Verb::Drop, Object::Table, Some("a.t"))]
#[case("drop owned by u", Verb::Drop, Object::Other, None)]
#[case("comment on table t is 'x'", Verb::Comment, Object::Table, Some("t"))]
#[case("grant select on t to u", Verb::Grant, Object::Other, None)]
#[case(
    "refresh materialized view concurrently v",
    Verb::Refresh,
    Object::MaterializedView,
    Some("v")
)]
fn definitions_are_read(
    #[case] text: &str,
    #[case] verb: Verb,
    #[case] object: Object,
    #[case] name: Option<&str>,
) {
    let expected = Ddl {
        verb,
        object,
        name: name.map(QualifiedName::from),
        temporary: false,
    };
    assert_eq!(of(text), Command::Ddl(expected));
}

proptest! {
    #[test]
    fn a_control_word_in_front_is_always_control(
        word in prop::sample::select(vec![
            "begin", "START", "commit", "End", "rollback", "abort", "savepoint", "release",
            "prepare transaction",
        ]),
        space in prop::sample::select(vec![" ", "\n", "/* x */", "--y\n"]),
        rest in r#"([a-z']|work|transaction|and|chain|to|prepared|'x'|[(,.=1 "]){0,6}"#,
    ) {
        let text = format!("{space}{word}{space}{rest}");
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let command = classify(&script.pieces()[0]);
        let is_prepare = matches!(command, Command::Prepared(_)) && word.starts_with("prepare");
        prop_assert!(
            is_prepare || matches!(command, Command::Control(_) | Command::MalformedControl),
            "{:?}: {:?}", text, command
        );
    }

    #[test]
    fn no_text_makes_the_classifier_panic(
        text in r#"([a-z]{1,3} |create |alter |table |index |on |set |to |explain |copy |reindex |concurrently |[;'"$\\().,=*\n/-]|E'|\$\$){0,24}"#,
    ) {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        for piece in script.pieces() {
            let command = classify(piece);
            let _ = super::super::refusal(piece, &command);
            let _ = super::super::without_concurrently(piece);
        }
    }
}
