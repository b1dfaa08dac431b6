//! Statements that rebuild (manual: REINDEX, VACUUM, CLUSTER).

use super::super::command::{Command, Reindex, ReindexTarget};
use super::super::lexer::TokenKind;
use super::super::tokens::Tokens;
use super::is_off;

/// What stands behind REINDEX.
pub(super) fn reindex(tokens: &mut Tokens<'_>) -> Command {
    let mut concurrently = false;
    if tokens.eat_kind(TokenKind::OpenParenthesis) {
        while !tokens.is_at_end() && !tokens.eat_kind(TokenKind::CloseParenthesis) {
            if tokens.eat("concurrently") {
                concurrently = !is_off(tokens);
            } else {
                tokens.bump();
            }
        }
    }
    let target = if tokens.eat("index") {
        ReindexTarget::Index
    } else if tokens.eat("table") {
        ReindexTarget::Table
    } else if tokens.eat("schema") {
        ReindexTarget::Schema
    } else if tokens.eat("database") {
        ReindexTarget::Database
    } else if tokens.eat("system") {
        ReindexTarget::System
    } else {
        return Command::Unknown;
    };
    concurrently |= tokens.eat("concurrently");
    Command::Reindex(Reindex {
        target,
        concurrently,
        name: tokens.qualified_name(),
    })
}

/// What stands behind VACUUM: `[(options) | words] [table [(columns)] [, …]]`.
pub(super) fn vacuum(tokens: &mut Tokens<'_>) -> Command {
    tokens.skip_parentheses();
    while tokens.eat_any(&["full", "freeze", "verbose", "analyze", "analyse"]) {}
    let mut tables = Vec::new();
    loop {
        tokens.eat("only");
        tables.extend(tokens.qualified_name());
        tokens.skip_parentheses();
        if !tokens.eat_kind(TokenKind::Comma) {
            return Command::Vacuum(tables);
        }
    }
}

/// What stands behind CLUSTER: `[(options)] [table [USING index]]` or `index ON table`.
pub(super) fn cluster(tokens: &mut Tokens<'_>) -> Command {
    tokens.eat("verbose");
    tokens.skip_parentheses();
    let first = tokens.qualified_name();
    if tokens.eat("on") {
        return Command::Cluster(tokens.qualified_name());
    }
    Command::Cluster(first)
}
