//! The extended protocol: everything up to one Sync.

use std::sync::Arc;

use super::event::Surroundings;
use super::order::{Order, Statement, Traits};
use super::reading::{lexing_of, read_one};
use super::replies::{Addressee, Message};
use super::statements::Addressed;
use super::turns::query_text;
use super::upstream::Copying;
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::{Bind, Frame, Frontend, Parse, Piece, Target};
use crate::verdict::NotRehearsed;

/// What a function may do that is named by its number.
const FUNCTION: Traits = Traits {
    writes: true,
    surely_writes: false,
    constraints: true,
    catalogue: true,
    changes_session: true,
    runs_code: true,
    calls: true,
    changes_lexing: true,
    sets_lock_timeout: false,
    makes_code: true,
    sets_pauses: false,
    changes_role: false,
};

/// How a batch goes on.
enum Next {
    More,
    Over,
}

impl<S: Surroundings> Transaction<S> {
    /// Serves a batch that begins with `frame`.
    pub(super) async fn batch(&mut self, id: ClientId, frame: Frame) -> Flow<()> {
        self.upstream.faulted = false;
        self.upstream.held = None;
        let mut frame = frame;
        loop {
            match self.batch_message(id, &frame).await? {
                Next::Over => return Ok(()),
                Next::More => {}
            }
            frame = loop {
                match self.message(id).await? {
                    Some(Piece::Frame(frame)) => break frame,
                    // What was sent before the client heard of an error.
                    Some(Piece::Data(_)) => {}
                    None => return self.end_unit(id, false).await,
                }
            };
        }
    }

    async fn batch_message(&mut self, id: ClientId, frame: &Frame) -> Flow<Next> {
        let message = match Frontend::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                self.expel(id, &error.to_string());
                self.end_unit(id, false).await?;
                return Ok(Next::Over);
            }
        };
        if self.upstream.faulted && !matches!(message, Frontend::Sync | Frontend::Terminate) {
            return Ok(Next::More);
        }
        match message {
            Frontend::Sync => {
                self.end_unit(id, false).await?;
                return Ok(Next::Over);
            }
            Frontend::Terminate => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.gone = true;
                }
                self.end_unit(id, false).await?;
                return Ok(Next::Over);
            }
            Frontend::Query(_) => {
                // What ran in the batch may have changed how the string is read.
                self.sync().await?;
                if !self.upstream.faulted {
                    self.query(id, query_text(frame)).await?;
                    return Ok(Next::Over);
                }
            }
            Frontend::FunctionCall { function, .. } => {
                self.begin_work(id);
                self.settle().await?;
                if !self.upstream.faulted && !self.may_call(id, function).await? {
                    self.end_unit(id, false).await?;
                    return Ok(Next::Over);
                }
                if !self.upstream.faulted {
                    self.add_to_block(id, FUNCTION);
                    self.forward(frame, Message::Function);
                    self.follow_constraints(FUNCTION);
                    self.upstream.replies.push(Message::Sync, Addressee::Ours);
                    self.settle().await?;
                    self.end_unit(id, false).await?;
                    return Ok(Next::Over);
                }
            }
            Frontend::Flush => {
                Frontend::Flush.encode(&mut self.output.upstream);
            }
            Frontend::Parse(parse) => self.batch_parse(id, frame, parse),
            Frontend::Bind(bind) => self.batch_bind(id, frame, bind),
            Frontend::Describe(target) => {
                self.begin_work(id);
                let message = match target {
                    Target::Statement(_) => Message::DescribeStatement,
                    Target::Portal(_) => Message::DescribePortal,
                };
                self.forward_target(id, frame, target, message);
            }
            Frontend::Close(target) => {
                self.begin_work(id);
                let message = match target {
                    Target::Statement(name) => Message::CloseStatement(name.to_vec()),
                    Target::Portal(name) => Message::ClosePortal(name.to_vec()),
                };
                self.forward_target(id, frame, target, message);
            }
            Frontend::Execute { portal, .. } => {
                self.batch_execute(id, frame, portal).await?;
            }
            // What was sent before the client heard of an error.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
            Frontend::Password(_) => {
                self.expel(id, "invalid frontend message type 112");
                self.end_unit(id, false).await?;
                return Ok(Next::Over);
            }
        }
        Ok(Next::More)
    }

    fn batch_parse(&mut self, id: ClientId, frame: &Frame, parse: Parse<'_>) {
        self.begin_work(id);
        let text = frame.bytes().slice_ref(parse.sql);
        let mut statement = read_one(&text, lexing_of(&self.upstream.parameters));
        if self.opening.show_values {
            statement.types = frame.bytes().slice_ref(parse.types);
        }
        let statement = Arc::new(statement);
        let name = parse.statement.to_vec();
        let upstream_name = self.claim_name(id, parse.statement);
        let failed = matches!(self.state(id), Virtual::Failed(_));
        let renamed = match self.addressed(id, &statement) {
            Addressed::AsWritten => None,
            Addressed::Renamed(text) | Addressed::Missing { text, .. } => Some(text),
        };
        let stand_in = statement.stand_in(failed).or(renamed.as_deref());
        let sent = if upstream_name.is_none() && stand_in.is_none() {
            frame.clone()
        } else {
            let parse = Parse {
                statement: upstream_name.as_deref().unwrap_or(parse.statement),
                sql: stand_in.unwrap_or(parse.sql),
                types: parse.types,
            };
            Frontend::Parse(parse).to_frame()
        };
        if name.is_empty()
            && let Some(client) = self.clients.get_mut(&id)
        {
            client.unnamed = Some(sent.clone());
        }
        self.forward(&sent, Message::Parse(name, Some(statement)));
    }

    fn batch_bind(&mut self, id: ClientId, frame: &Frame, bind: Bind<'_>) {
        self.begin_work(id);
        let statement = self.statement_named(id, bind.statement);
        let failed = matches!(self.state(id), Virtual::Failed(_));
        if failed
            && statement
                .as_ref()
                .is_some_and(|s| s.is_refused_when_failed())
        {
            return self.refuse_in_failed();
        }
        if statement.is_none() && bind.statement.is_empty() {
            self.drop_unnamed();
        }
        if statement.is_none() && !self.is_prepared_in_sql(id, bind.statement) {
            self.upstream.unread_portals.insert(bind.portal.to_vec());
        } else {
            self.upstream.unread_portals.remove(bind.portal);
        }
        let statement = self.with_values(statement, bind.values);
        let message = Message::Bind(bind.portal.to_vec(), statement);
        match self.alias(id, bind.statement) {
            None => self.forward(frame, message),
            Some(other) => {
                Frontend::Bind(Bind {
                    statement: &other,
                    ..bind
                })
                .encode(&mut self.output.upstream);
                self.expect(message, Addressee::Client);
            }
        }
    }

    /// Has the server refuse, in its own words, what it would not even bind in a failed block.
    fn refuse_in_failed(&mut self) {
        Frontend::Parse(Parse {
            statement: &self.opening.names.statement("own"),
            sql: b"SELECT",
            types: Parse::NO_TYPES,
        })
        .encode(&mut self.output.upstream);
        self.expect(Message::Parse(Vec::new(), None), Addressee::Client);
    }

    /// A Query has dropped the client's unnamed statement; upstream there may be one of a Query.
    fn drop_unnamed(&mut self) {
        self.close_statement(b"");
    }

    fn forward_target(
        &mut self,
        id: ClientId,
        frame: &Frame,
        target: Target<'_>,
        message: Message,
    ) {
        if target == Target::Statement(b"") && self.statement_named(id, b"").is_none() {
            self.drop_unnamed();
        }
        let alias = match target {
            Target::Statement(name) => self.alias(id, name),
            Target::Portal(_) => None,
        };
        let Some(other) = alias else {
            return self.forward(frame, message);
        };
        let target = Target::Statement(&other);
        let renamed = if matches!(message, Message::CloseStatement(_)) {
            Frontend::Close(target)
        } else {
            Frontend::Describe(target)
        };
        renamed.encode(&mut self.output.upstream);
        self.expect(message, Addressee::Client);
    }

    async fn batch_execute(&mut self, id: ClientId, frame: &Frame, portal: &[u8]) -> Flow<()> {
        self.begin_work(id);
        let Some(statement) = self.portal_named(id, portal) else {
            return self.execute_unknown(frame, portal).await;
        };
        let failed = matches!(self.state(id), Virtual::Failed(_));
        if !statement.is_plain() && !failed {
            self.settle().await?;
            if self.upstream.faulted || !self.carry_out(id, &statement).await? {
                return Ok(());
            }
        }
        if failed && !statement.may_run() {
            self.settle().await?;
            if self.upstream.faulted {
                return Ok(());
            }
            return self.run_in_failed_block(id, &statement).await;
        }
        self.execute_known(id, frame, &statement).await
    }

    async fn execute_known(
        &mut self,
        id: ClientId,
        frame: &Frame,
        statement: &Arc<Statement>,
    ) -> Flow<()> {
        self.add_traits(id, statement);
        let number = self.begin_statement(id, statement);
        let retreat = self.open_retreat(id, number, statement);
        self.forward(frame, Message::Execute(Some(number)));
        self.close_retreat(retreat);
        self.after_sending(id, statement);
        match &statement.order {
            Order::CopyIn => {
                self.settle().await?;
                if self.upstream.copying == Copying::In {
                    self.copy_in(id, false).await?;
                }
                Ok(())
            }
            Order::CreateTemporary { name, on_commit } => {
                self.remember_on_commit(id, name, *on_commit).await
            }
            // What follows in the batch must be read under the new value, which a server since 14
            // reports at ReadyForQuery only.
            _ if statement.traits.changes_lexing => self.sync().await,
            _ => Ok(()),
        }
    }

    /// A portal that no Bind of this transaction made: a cursor, or none. After our own prelude the
    /// unnamed portal is one of ours, and must not be run again.
    async fn execute_unknown(&mut self, frame: &Frame, portal: &[u8]) -> Flow<()> {
        if portal.is_empty() {
            self.close_portal(b"");
        }
        self.settle().await?;
        if self.upstream.faulted {
            return Ok(());
        }
        if self.upstream.unread_portals.contains(portal) {
            return self
                .refuse(
                    NotRehearsed::UnsupportedProtocol,
                    "a portal was bound to a statement that the rehearsal has not seen",
                )
                .await;
        }
        self.forward(frame, Message::Execute(None));
        self.settle().await
    }
}
