//! What upstream says: each answer is compared with what was expected, then passed on, kept, or
//! swallowed.

use super::event::{Note, Surroundings};
use super::replies::{Addressee, Expected, Message, Simple};
use super::upstream::Copying;
use super::{Flow, Stop, Transaction, answers, examination};
use crate::rehearsal::wire::{
    Backend, Data, Diagnostic, Field, Frame, Piece, SqlState, TransactionStatus,
};
use crate::report::ServerError;
use crate::verdict::{NotRehearsed, Verdict};

/// The class of errors that quote values.
const DATA_EXCEPTION: &str = "22";

/// SQLSTATE of everything but its end in a transaction block that has failed.
const IN_FAILED_TRANSACTION: &str = "25P02";

/// Tags that only transaction control has.
const CONTROL_TAGS: [&[u8]; 9] = [
    b"BEGIN",
    b"START TRANSACTION",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
    b"PREPARE TRANSACTION",
    b"COMMIT PREPARED",
    b"ROLLBACK PREPARED",
];

impl<S: Surroundings> Transaction<S> {
    pub(super) fn hear(&mut self, piece: Piece) -> Flow<()> {
        match piece {
            Piece::Data(data) => self.hear_data(&data),
            Piece::Frame(frame) => self.hear_frame(&frame),
        }
    }

    pub(super) fn slipped<T>(&self, what: &str) -> Flow<T> {
        Err(Stop::Slipped(what.to_owned()))
    }

    fn hear_data(&mut self, data: &Data) -> Flow<()> {
        let Some(front) = self.upstream.replies.front() else {
            return self.slipped("rows that nobody asked for");
        };
        if !matches!(front.message, Message::Execute(_)) {
            return self.slipped("rows before the statement ran");
        }
        match front.addressee {
            Addressee::Client | Addressee::Simple(_) => {
                if let Some(out) = self.for_client() {
                    out.extend_from_slice(data.bytes());
                }
            }
            Addressee::Ours => self.keep_rows(data)?,
            Addressee::Watch => {
                for row in self.whole_rows(data)? {
                    self.upstream.watched = Some(columns(&row)?);
                }
            }
            Addressee::Check
            | Addressee::Control(_)
            | Addressee::ClientControl(_)
            | Addressee::Whole => {}
        }
        Ok(())
    }

    /// Keeps rows for who asked. An examination counts all of them and keeps the first.
    fn keep_rows(&mut self, data: &Data) -> Flow<()> {
        let room = match &mut self.upstream.found {
            Some(found) => {
                *found += data.ended() as u64;
                examination::KEPT.saturating_sub(self.upstream.rows.len())
            }
            None => usize::MAX,
        };
        if room == 0 {
            self.upstream.cut_row.forget();
            return Ok(());
        }
        for row in self.whole_rows(data)?.into_iter().take(room) {
            self.upstream.rows.push(columns(&row)?);
        }
        Ok(())
    }

    /// The rows that end here, those included that came in parts.
    fn whole_rows(&mut self, data: &Data) -> Flow<Vec<Frame>> {
        self.upstream.cut_row.push(data).map_err(|error| {
            Stop::Lost(format!(
                "an answer to a question of the rehearsal's own cannot be read: {error}"
            ))
        })
    }

    fn hear_frame(&mut self, frame: &Frame) -> Flow<()> {
        let message = Backend::parse(frame).map_err(|error| Stop::Slipped(error.to_string()))?;
        match message {
            Backend::ErrorResponse(diagnostic) => self.hear_error(diagnostic),
            Backend::NoticeResponse(_) => {
                self.pass_unless_ours(frame);
                Ok(())
            }
            Backend::NotificationResponse { .. } => {
                self.pass(frame);
                Ok(())
            }
            Backend::ParameterStatus { name, value } => {
                self.hear_parameter(name, value);
                Ok(())
            }
            Backend::ReadyForQuery(status) => self.hear_ready(status),
            _ => self.hear_answer(frame, &message),
        }
    }

    fn pass_unless_ours(&mut self, frame: &Frame) {
        let ours = self.upstream.replies.front().is_some_and(|front| {
            matches!(front.addressee, Addressee::Control(_) | Addressee::Ours)
                && !matches!(front.message, Message::Sync)
        });
        if !ours {
            self.pass(frame);
        }
    }

    fn hear_ready(&mut self, status: TransactionStatus) -> Flow<()> {
        match self.upstream.replies.pop() {
            Some(Expected {
                message: Message::Sync,
                ..
            }) => {}
            _ => return self.slipped("ReadyForQuery that nobody asked for"),
        }
        match status {
            TransactionStatus::Idle if self.upstream.final_rollback => Ok(()),
            TransactionStatus::Idle => self.slipped("the transaction is over"),
            TransactionStatus::InTransaction => {
                self.upstream.aborted = false;
                Ok(())
            }
            TransactionStatus::Failed => {
                self.upstream.aborted = true;
                Ok(())
            }
        }
    }

    fn hear_answer(&mut self, frame: &Frame, message: &Backend<'_>) -> Flow<()> {
        let Some(front) = self.upstream.replies.front() else {
            return self.slipped("an answer that nobody asked for");
        };
        let fits = match (&front.message, message) {
            (Message::Parse(..), Backend::ParseComplete)
            | (Message::Bind(..), Backend::BindComplete)
            | (Message::CloseStatement(_) | Message::ClosePortal(_), Backend::CloseComplete)
            | (Message::Function, Backend::FunctionCallResponse)
            | (
                Message::DescribePortal | Message::DescribeRows,
                Backend::RowDescription | Backend::NoData,
            )
            | (
                Message::Execute(_),
                Backend::CommandComplete(_)
                | Backend::EmptyQueryResponse
                | Backend::PortalSuspended,
            ) => true,
            (Message::DescribeStatement, Backend::ParameterDescription) => {
                return self.hear_parameters(frame);
            }
            (
                Message::Execute(_),
                Backend::CopyInResponse | Backend::CopyOutResponse | Backend::CopyDone,
            ) => return self.hear_copy(frame, message),
            _ => false,
        };
        if !fits {
            return self.slipped(&format!("{message:?} in the place of another answer"));
        }
        let Some(answered) = self.upstream.replies.pop() else {
            return Ok(());
        };
        match message {
            Backend::CommandComplete(tag) => self.hear_completion(frame, tag, answered),
            Backend::EmptyQueryResponse | Backend::PortalSuspended => {
                if let Message::Execute(Some(statement)) = answered.message {
                    self.output.notes.push(Note::Done(statement, String::new()));
                }
                self.pass_to(&answered.addressee, frame);
                Ok(())
            }
            _ => {
                self.apply(&answered);
                self.pass_to(&answered.addressee, frame);
                Ok(())
            }
        }
    }

    fn hear_parameters(&mut self, frame: &Frame) -> Flow<()> {
        if let Some(front) = self.upstream.replies.front_mut() {
            front.message = Message::DescribeRows;
            let addressee = front.addressee.clone();
            self.pass_to(&addressee, frame);
        }
        Ok(())
    }

    fn hear_copy(&mut self, frame: &Frame, message: &Backend<'_>) -> Flow<()> {
        let addressee = self.upstream.replies.front().map(|front| &front.addressee);
        if !matches!(addressee, Some(Addressee::Client | Addressee::Simple(_))) {
            return self.slipped("COPY that no client asked for");
        }
        self.upstream.copying = match message {
            Backend::CopyInResponse => Copying::In,
            Backend::CopyOutResponse => Copying::Out,
            _ => Copying::No,
        };
        self.pass(frame);
        Ok(())
    }

    /// What an answer makes true about the client's names.
    fn apply(&mut self, answered: &Expected) {
        let Some(client) = self.current.and_then(|id| self.clients.get_mut(&id)) else {
            return;
        };
        match (&answered.message, &answered.addressee) {
            (Message::Parse(name, Some(statement)), Addressee::Client) => {
                client.statements.made(name.clone(), statement.clone());
            }
            (Message::Bind(name, Some(statement)), Addressee::Client) => {
                client.portals.made(name.clone(), statement.clone());
            }
            (Message::CloseStatement(name), Addressee::Client) => client.statements.closed(name),
            (Message::ClosePortal(name), _) => client.portals.closed(name),
            _ => {}
        }
    }

    fn hear_completion(&mut self, frame: &Frame, tag: &[u8], answered: Expected) -> Flow<()> {
        self.upstream.copying = Copying::No;
        let statement = match answered.message {
            Message::Execute(statement) => statement,
            _ => None,
        };
        match &answered.addressee {
            Addressee::Control(control) if control.tag() != tag => {
                return self.slipped("transaction control with another command tag");
            }
            Addressee::ClientControl(control) if control.tag() != tag => {
                return self.slipped("a savepoint command with another command tag");
            }
            Addressee::Control(_) => return Ok(()),
            Addressee::ClientControl(_) => {}
            _ if CONTROL_TAGS.contains(&tag) => {
                return self.slipped("the command tag of transaction control");
            }
            Addressee::Ours | Addressee::Check | Addressee::Watch | Addressee::Whole => {
                return Ok(());
            }
            Addressee::Simple(simple) if simple.hold => {
                self.upstream.held = Some((frame.clone(), statement));
                return Ok(());
            }
            Addressee::Client | Addressee::Simple(_) => {}
        }
        self.note_done(statement, tag);
        self.pass(frame);
        Ok(())
    }

    fn pass_to(&mut self, addressee: &Addressee, frame: &Frame) {
        let simple_sees = matches!(frame.tag(), b'T' | b'I');
        match addressee {
            Addressee::Client => self.pass(frame),
            Addressee::Simple(_) if simple_sees => self.pass(frame),
            _ => {}
        }
    }

    fn hear_error(&mut self, mut diagnostic: Diagnostic<'_>) -> Flow<()> {
        self.say_as_to_a_query(&mut diagnostic);
        let error = server_error(&diagnostic);
        let code = diagnostic.code();
        if diagnostic.is_fatal() {
            self.pass_diagnostic(diagnostic);
            return Err(Stop::Lost(format!("{code}: {}", error.message)));
        }
        self.notice_causes(&diagnostic);
        let (skipped, synced) = self.upstream.replies.fail();
        self.upstream.aborted = true;
        self.upstream.copying = Copying::No;
        self.upstream.skipping = !synced;
        self.upstream.open = self.upstream.open && !synced;
        let Some(first) = skipped.first() else {
            return self.slipped("an error that belongs to no statement");
        };
        if first.addressee == Addressee::Whole && is_several(&diagnostic) {
            self.upstream.several = true;
            return Ok(());
        }
        let held = self
            .upstream
            .held
            .take()
            .and_then(|(_, statement)| statement);
        let mut failed = held.or_else(|| self.upstream.committing.take());
        for expected in &skipped {
            if let Message::Execute(Some(statement)) = expected.message {
                if failed.is_none() {
                    failed = Some(statement);
                } else {
                    self.output.notes.push(Note::Skipped(statement));
                }
            }
        }
        if failed.is_none() {
            failed = self.unparsed(first, &diagnostic);
        }
        match first.addressee.clone() {
            Addressee::Control(control) => {
                let message = format!(
                    "{control:?} failed with {code}: {}; the session no longer is what the rehearsal made of it",
                    error.message
                );
                return Err(Stop::Ended(
                    Verdict::NotRehearsed(NotRehearsed::RehearsalObjectTouched),
                    message,
                ));
            }
            Addressee::Ours => {
                self.upstream.error = Some(error);
                return Ok(());
            }
            Addressee::Simple(simple) => {
                if is_several(&diagnostic) {
                    self.not_rehearsed(
                        NotRehearsed::AmbiguousStatement,
                        "the server reads as several statements what was one when the string was cut; a setting that decides it changed under way",
                    );
                }
                let position = diagnostic.position().map(|p| p + simple.shift);
                if position.is_some() {
                    diagnostic.set_position(position);
                }
            }
            Addressee::ClientControl(_) => diagnostic.set_position(None),
            // The client took our prepared statements with its own.
            Addressee::Watch if code.as_str() == "26000" => {
                return Err(Stop::Ended(
                    Verdict::NotRehearsed(NotRehearsed::RehearsalObjectTouched),
                    "the command removed the rehearsal's own prepared statements".to_owned(),
                ));
            }
            // A cancellation that came too late for the client's statement, or somebody's own.
            Addressee::Watch if code.as_str() == "57014" => {
                return Err(Stop::Lost(
                    "a question of the rehearsal's own was cancelled".to_owned(),
                ));
            }
            // Raised by the test of the tripwire, or it could not be run: plpgsql was there before.
            Addressee::Watch if matches!(code.as_str(), "P0001" | "42501" | "42704") => {
                return Err(Stop::Ended(
                    Verdict::NotRehearsed(NotRehearsed::RehearsalObjectTouched),
                    "the command disabled the objects of the rehearsal that make a COMMIT impossible, or what they are tested with"
                        .to_owned(),
                ));
            }
            // The client's statement had failed before it: our transaction is still there.
            Addressee::Watch if code.as_str() == IN_FAILED_TRANSACTION => return Ok(()),
            Addressee::Watch => {
                return self.slipped(&format!("the watch over the transaction failed: {code}"));
            }
            Addressee::Client | Addressee::Check | Addressee::Whole => {}
        }
        if let Some(statement) = failed {
            self.note_violation(statement, &first.addressee, &error);
            self.output.notes.push(Note::Failed(statement, error));
        }
        self.upstream.faulted = true;
        self.pass_diagnostic(diagnostic);
        Ok(())
    }

    /// The statement that the server could not even parse, which so was never executed: it is
    /// recorded now. In a failed block that is none of the statement's own doing.
    fn unparsed(
        &mut self,
        first: &Expected,
        diagnostic: &Diagnostic<'_>,
    ) -> Option<super::StatementId> {
        let id = self.current?;
        if diagnostic.code().as_str() == IN_FAILED_TRANSACTION {
            return None;
        }
        let statement = match (&first.message, &first.addressee) {
            (Message::Parse(_, Some(statement)), Addressee::Client) => statement.clone(),
            (_, Addressee::Whole) => {
                let at = diagnostic.position().unwrap_or_default();
                let whole = std::mem::take(&mut self.upstream.whole);
                let begun = whole.iter().rposition(|statement| statement.shift < at);
                whole.into_iter().nth(begun.unwrap_or_default())?
            }
            _ => return None,
        };
        Some(self.begin_statement(id, &statement))
    }

    /// A Query has no parameters, and says so where one is named. The extended protocol, in which a
    /// Query's statements are sent, misses its type or its value.
    fn say_as_to_a_query(&self, diagnostic: &mut Diagnostic<'_>) {
        let front = self.upstream.replies.front();
        let Some(Addressee::Simple(Simple {
            parameter: Some(parameter),
            ..
        })) = front.map(|front| &front.addressee)
        else {
            return;
        };
        if matches!(
            diagnostic.code(),
            SqlState::INDETERMINATE_DATATYPE | SqlState::PROTOCOL_VIOLATION
        ) {
            let message = format!("there is no parameter ${}", parameter.number);
            *diagnostic = Diagnostic::new("ERROR", SqlState::UNDEFINED_PARAMETER, message);
            diagnostic.set_position(Some(parameter.position));
        }
    }

    fn pass_diagnostic(&mut self, diagnostic: Diagnostic<'_>) {
        if let Some(out) = self.for_client() {
            Backend::ErrorResponse(diagnostic).encode(out);
        }
    }

    fn hear_parameter(&mut self, name: &[u8], value: &[u8]) {
        self.upstream
            .parameters
            .insert(name.to_vec(), value.to_vec());
        let Some(id) = self.current.filter(|_| !self.upstream.settling) else {
            return;
        };
        if self.upstream.reports_when_ready() {
            self.upstream.unreported.insert(name.to_vec());
        } else {
            self.tell(id, name);
        }
    }

    /// Reports what has changed since the client was last ready. Upstream says so at each of its own
    /// ReadyForQuery, of which there may be several in one of the client's.
    pub(super) fn tell_changed(&mut self, id: super::ClientId) {
        for name in std::mem::take(&mut self.upstream.unreported) {
            self.tell(id, &name);
        }
    }

    /// Reports all settings to a client that it does not know yet.
    pub(super) fn tell_all(&mut self, id: super::ClientId) {
        let names: Vec<_> = self.upstream.parameters.keys().cloned().collect();
        for name in names {
            self.tell(id, &name);
        }
    }

    /// Reports one setting to a client, unless it knows the value already.
    pub(super) fn tell(&mut self, id: super::ClientId, name: &[u8]) {
        let (Some(client), Some(outlet), Some(value)) = (
            self.clients.get_mut(&id),
            self.output.clients.get_mut(&id),
            self.upstream.parameters.get(name),
        ) else {
            return;
        };
        if client.told.get(name).is_some_and(|told| told == value) {
            return;
        }
        client.told.insert(name.to_vec(), value.to_vec());
        if !client.gone {
            answers::parameter_status(&mut outlet.bytes, name, value);
        }
    }
}

fn columns(row: &Frame) -> Flow<Vec<Option<String>>> {
    let columns = Backend::columns(row.body())
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Stop::Slipped(error.to_string()))?;
    let text = |column: &[u8]| String::from_utf8_lossy(column).into_owned();
    Ok(columns.into_iter().map(|c| c.map(text)).collect())
}

/// "cannot insert multiple commands into a prepared statement", in any language: a syntax error
/// comes from another routine.
fn is_several(diagnostic: &Diagnostic<'_>) -> bool {
    diagnostic.code() == SqlState::SYNTAX_ERROR
        && diagnostic.get(Field::Routine) == Some(b"exec_parse_message")
}

pub(super) fn server_error(diagnostic: &Diagnostic<'_>) -> ServerError {
    let text = |field| diagnostic.text(field).map(std::borrow::Cow::into_owned);
    let (code, message) = (diagnostic.code().to_string(), diagnostic.message());
    let columns = match code.as_str() {
        "23503" | "23505" | "23P01" => text(Field::Detail)
            .map(|detail| ServerError::columns_of(&detail))
            .unwrap_or_default(),
        _ => text(Field::Column).into_iter().collect(),
    };
    ServerError {
        message: if code.starts_with(DATA_EXCEPTION) {
            ServerError::without_value(&message)
        } else if code == SqlState::SYNTAX_ERROR.as_str() {
            ServerError::without_constant(&message)
        } else {
            message.into_owned()
        },
        code,
        constraint: text(Field::Constraint),
        table: text(Field::Table),
        schema: text(Field::Schema),
        columns,
    }
}
