//! Statements that define objects (manual: CREATE …, ALTER …, DROP …, COMMENT, GRANT, REVOKE,
//! REASSIGN OWNED, REFRESH MATERIALIZED VIEW, IMPORT FOREIGN SCHEMA, SECURITY LABEL).

use super::super::command::{
    Command, CreateIndex, CreateTable, Ddl, DetachPartition, DropIndex, Object, OnCommit,
    ServerObject, Verb,
};
use super::super::lexer::TokenKind;
use super::super::name::QualifiedName;
use super::super::tokens::Tokens;

/// What stands behind CREATE.
pub(super) fn create(tokens: &mut Tokens<'_>) -> Command {
    tokens.eat_all(&["or", "replace"]);
    tokens.eat_any(&["local", "global"]);
    let temporary = tokens.eat_any(&["temporary", "temp"]);
    tokens.eat_any(&[
        "unlogged",
        "recursive",
        "constraint",
        "trusted",
        "procedural",
    ]);
    let unique = tokens.eat("unique");
    let object = object(tokens);
    match object {
        Object::Table => create_table(tokens, temporary, false),
        Object::ForeignTable => create_table(tokens, temporary, true),
        Object::Index => create_index(tokens, unique),
        Object::Database => Command::Server(ServerObject::CreateDatabase),
        Object::Subscription => Command::Server(ServerObject::CreateSubscription),
        Object::Other if tokens.is("tablespace") => Command::Server(ServerObject::CreateTablespace),
        _ => {
            tokens.eat_all(&["if", "not", "exists"]);
            ddl(Verb::Create, object, temporary, tokens)
        }
    }
}

fn create_table(tokens: &mut Tokens<'_>, temporary: bool, foreign: bool) -> Command {
    let if_not_exists = tokens.eat_all(&["if", "not", "exists"]);
    let name = tokens.qualified_name();
    let mut on_commit = OnCommit::Preserve;
    while tokens.skip_to(&["on"]) {
        tokens.bump();
        if tokens.eat("commit") {
            on_commit = if tokens.eat("drop") {
                OnCommit::Drop
            } else if tokens.eat("delete") {
                OnCommit::DeleteRows
            } else {
                OnCommit::Preserve
            };
            break;
        }
    }
    Command::CreateTable(CreateTable {
        temporary: temporary || name.as_ref().is_some_and(QualifiedName::is_temporary),
        foreign,
        if_not_exists,
        name,
        on_commit,
    })
}

fn create_index(tokens: &mut Tokens<'_>, unique: bool) -> Command {
    let concurrently = tokens.eat("concurrently");
    let if_not_exists = tokens.eat_all(&["if", "not", "exists"]);
    let name = tokens.name();
    tokens.eat("on");
    let only = tokens.eat("only");
    Command::CreateIndex(CreateIndex {
        unique,
        concurrently,
        if_not_exists,
        name,
        only,
        relation: tokens.qualified_name(),
    })
}

/// What stands behind ALTER.
pub(super) fn alter(tokens: &mut Tokens<'_>) -> Command {
    if tokens.eat("system") {
        return Command::Server(ServerObject::AlterSystem);
    }
    let object = object(tokens);
    match object {
        Object::Subscription => Command::Server(ServerObject::AlterSubscription),
        Object::Database => alter_database(tokens),
        Object::Table => alter_table(tokens),
        Object::Sequence => {
            tokens.eat_all(&["if", "exists"]);
            let name = tokens.qualified_name();
            let restart = tokens.skip_to(&["restart"]);
            Command::AlterSequence { name, restart }
        }
        Object::Type => match tokens.qualified_name() {
            Some(name) if tokens.eat_all(&["add", "value"]) => Command::AddEnumValue(name),
            name => Command::Ddl(Ddl {
                verb: Verb::Alter,
                object,
                temporary: false,
                name,
            }),
        },
        _ => {
            tokens.eat_all(&["if", "exists"]);
            ddl(Verb::Alter, object, false, tokens)
        }
    }
}

fn alter_database(tokens: &mut Tokens<'_>) -> Command {
    let name = tokens.qualified_name();
    if tokens.eat_all(&["set", "tablespace"]) {
        return Command::Server(ServerObject::MoveDatabase);
    }
    Command::Ddl(Ddl {
        verb: Verb::Alter,
        object: Object::Database,
        name,
        temporary: false,
    })
}

fn alter_table(tokens: &mut Tokens<'_>) -> Command {
    tokens.eat_all(&["if", "exists"]);
    tokens.eat("only");
    let table = tokens.qualified_name();
    tokens.eat_kind(TokenKind::Other(b'*'));
    if tokens.eat_all(&["detach", "partition"])
        && let (Some(table), Some(partition)) = (table.clone(), tokens.qualified_name())
    {
        let finalize = tokens.eat("finalize");
        if finalize || tokens.eat("concurrently") {
            return Command::DetachPartition(DetachPartition {
                table,
                partition,
                finalize,
            });
        }
    }
    Command::Ddl(Ddl {
        verb: Verb::Alter,
        object: Object::Table,
        temporary: table.as_ref().is_some_and(QualifiedName::is_temporary),
        name: table,
    })
}

/// What stands behind DROP.
pub(super) fn drop(tokens: &mut Tokens<'_>) -> Command {
    if tokens.eat("owned") {
        return ddl(Verb::Drop, Object::Other, false, tokens);
    }
    let object = object(tokens);
    match object {
        Object::Database => Command::Server(ServerObject::DropDatabase),
        Object::Subscription => Command::Server(ServerObject::DropSubscription),
        Object::Other if tokens.is("tablespace") => Command::Server(ServerObject::DropTablespace),
        Object::Index => drop_index(tokens),
        _ => {
            tokens.eat_all(&["if", "exists"]);
            ddl(Verb::Drop, object, false, tokens)
        }
    }
}

fn drop_index(tokens: &mut Tokens<'_>) -> Command {
    let concurrently = tokens.eat("concurrently");
    let if_exists = tokens.eat_all(&["if", "exists"]);
    let mut names = Vec::new();
    while let Some(name) = tokens.qualified_name() {
        names.push(name);
        if !tokens.eat_kind(TokenKind::Comma) {
            break;
        }
    }
    Command::DropIndex(DropIndex {
        concurrently,
        if_exists,
        names,
        cascade: tokens.eat("cascade"),
    })
}

/// COMMENT, GRANT, REVOKE, REASSIGN, REFRESH, IMPORT, SECURITY, whose word has been taken.
pub(super) fn other(word: &[u8], tokens: &mut Tokens<'_>) -> Command {
    let verb = match word {
        b"comment" => {
            tokens.eat("on");
            let object = object(tokens);
            return ddl(Verb::Comment, object, false, tokens);
        }
        b"refresh" => {
            let object = object(tokens);
            tokens.eat("concurrently");
            return ddl(Verb::Refresh, object, false, tokens);
        }
        b"grant" => Verb::Grant,
        b"revoke" => Verb::Revoke,
        b"reassign" => Verb::Reassign,
        b"import" => Verb::Import,
        _ => Verb::SecurityLabel,
    };
    // What follows is a list of privileges or of roles before it is a name.
    Command::Ddl(Ddl {
        verb,
        object: Object::Other,
        name: None,
        temporary: false,
    })
}

fn ddl(verb: Verb, object: Object, temporary: bool, tokens: &mut Tokens<'_>) -> Command {
    let name = match object {
        Object::Other => None,
        _ => tokens.qualified_name(),
    };
    Command::Ddl(Ddl {
        verb,
        object,
        temporary: temporary || name.as_ref().is_some_and(QualifiedName::is_temporary),
        name,
    })
}

/// Takes the words that name a kind of object; none of them when it is [`Object::Other`].
fn object(tokens: &mut Tokens<'_>) -> Object {
    const KINDS: &[(&[&str], Object)] = &[
        (&["table"], Object::Table),
        (&["index"], Object::Index),
        (&["view"], Object::View),
        (&["materialized", "view"], Object::MaterializedView),
        (&["sequence"], Object::Sequence),
        (&["schema"], Object::Schema),
        (&["type"], Object::Type),
        (&["domain"], Object::Domain),
        (&["function"], Object::Routine),
        (&["procedure"], Object::Routine),
        (&["routine"], Object::Routine),
        (&["aggregate"], Object::Routine),
        (&["trigger"], Object::Trigger),
        (&["event", "trigger"], Object::EventTrigger),
        (&["rule"], Object::Rule),
        (&["policy"], Object::Policy),
        (&["extension"], Object::Extension),
        (&["role"], Object::Role),
        (&["user", "mapping"], Object::UserMapping),
        (&["user"], Object::Role),
        (&["group"], Object::Role),
        (&["foreign", "table"], Object::ForeignTable),
        (&["foreign", "data", "wrapper"], Object::ForeignServer),
        (&["server"], Object::ForeignServer),
        (&["publication"], Object::Publication),
        (&["subscription"], Object::Subscription),
        (&["database"], Object::Database),
    ];
    KINDS
        .iter()
        .find(|(words, _)| tokens.eat_all(words))
        .map_or(Object::Other, |(_, object)| *object)
}
