//! The only type in the program that can become transaction control upstream.
//!
//! Everything that a client says goes upstream as an extended-protocol statement which was read
//! before and is none of these; what it wants of transactions is translated into a [`Control`].
//! There is no COMMIT here, and no way to write one.

use bytes::BytesMut;

use crate::rehearsal::wire::{Bind, Frontend, Parse, Target};

/// What is prepared upstream in the place of a client's COMMIT, ROLLBACK and ROLLBACK TO, and never
/// run: a server lets nothing but these be bound in a failed block. There is no such savepoint, so
/// whoever does run it gets an error.
pub(super) const STAND_IN: &[u8] = b"ROLLBACK TO SAVEPOINT \"drydock stands in\"";

/// Transaction control that may be sent upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE`, once.
    Begin,
    /// `SAVEPOINT`
    Savepoint(Savepoint),
    /// `RELEASE SAVEPOINT`
    Release(Savepoint),
    /// `ROLLBACK TO SAVEPOINT`
    RollbackTo(Savepoint),
    /// The one `ROLLBACK` that ends the rehearsal.
    FinalRollback,
}

/// Which savepoint is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Savepoint {
    /// The one that stands for the virtual transaction.
    Virtual,
    /// One of our own inside a virtual transaction, for a question that is expected to fail.
    Inner,
    /// One of our own below the virtual transaction, to which the commands so far can be undone.
    Place,
    /// One of our own below all virtual transactions of a check.
    Aside,
    /// One of the client's, by the name as the server understands it (already folded).
    Client(Vec<u8>),
}

/// The random names of everything of ours that lives in the upstream session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    token: String,
}

impl Names {
    /// Derives the names from 64 random bits.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self {
            token: format!("drydock_{random:016x}"),
        }
    }

    /// What every name of ours contains.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether a text names one of our objects.
    #[must_use]
    pub fn occur_in(&self, text: &[u8]) -> bool {
        text.windows(self.token.len())
            .any(|window| window == self.token.as_bytes())
    }

    /// The temporary table whose constraint is violated at COMMIT.
    #[must_use]
    pub fn table(&self) -> String {
        format!("{}_table", self.token)
    }

    /// That constraint.
    #[must_use]
    pub fn constraint(&self) -> String {
        format!("{}_constraint", self.token)
    }

    /// The holdable cursor that fails at COMMIT.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}_cursor", self.token)
    }

    /// A prepared statement of ours.
    pub(super) fn statement(&self, what: &str) -> Vec<u8> {
        format!("{}_{what}", self.token).into_bytes()
    }

    fn savepoint(&self, savepoint: &Savepoint) -> Vec<u8> {
        match savepoint {
            Savepoint::Virtual => self.token.clone().into_bytes(),
            Savepoint::Inner => self.statement("inner"),
            Savepoint::Place => self.statement("place"),
            Savepoint::Aside => self.statement("aside"),
            Savepoint::Client(name) => name.clone(),
        }
    }
}

impl Control {
    /// The tag that the server must answer with.
    #[must_use]
    pub fn tag(&self) -> &'static [u8] {
        match self {
            Self::Begin => b"BEGIN",
            Self::Savepoint(_) => b"SAVEPOINT",
            Self::Release(_) => b"RELEASE",
            Self::RollbackTo(_) | Self::FinalRollback => b"ROLLBACK",
        }
    }

    /// The statement under which [`Control::prepare`] keeps it; `None` for what is not prepared.
    fn prepared(&self) -> Option<&'static str> {
        match self {
            Self::Savepoint(Savepoint::Virtual) => Some("savepoint"),
            Self::Release(Savepoint::Virtual) => Some("release"),
            Self::RollbackTo(Savepoint::Virtual) => Some("rollback_to"),
            _ => None,
        }
    }

    fn text(&self, names: &Names) -> Vec<u8> {
        let (command, savepoint) = match self {
            Self::Begin => {
                return b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE".to_vec();
            }
            Self::FinalRollback => return b"ROLLBACK".to_vec(),
            Self::Savepoint(savepoint) => ("SAVEPOINT ", savepoint),
            Self::Release(savepoint) => ("RELEASE SAVEPOINT ", savepoint),
            Self::RollbackTo(savepoint) => ("ROLLBACK TO SAVEPOINT ", savepoint),
        };
        let mut text = command.as_bytes().to_vec();
        text.push(b'"');
        for byte in names.savepoint(savepoint) {
            if byte == b'"' {
                text.push(b'"');
            }
            text.push(byte);
        }
        text.push(b'"');
        text
    }

    /// Appends the messages that run it, without a Sync.
    pub fn encode(&self, names: &Names, out: &mut BytesMut) {
        let statement = names.statement("control");
        // In front, since an error leaves it behind.
        Frontend::Close(Target::Statement(&statement)).encode(out);
        Frontend::Parse(Parse {
            statement: &statement,
            sql: &self.text(names),
            types: Parse::NO_TYPES,
        })
        .encode(out);
        run(&statement, out);
    }

    /// Writes Parse for those that are used all the time.
    pub(super) fn prepare(names: &Names, out: &mut BytesMut) -> usize {
        let all = [
            Self::Savepoint(Savepoint::Virtual),
            Self::Release(Savepoint::Virtual),
            Self::RollbackTo(Savepoint::Virtual),
        ];
        for control in &all {
            if let Some(name) = control.prepared() {
                Frontend::Parse(Parse {
                    statement: &names.statement(name),
                    sql: &control.text(names),
                    types: Parse::NO_TYPES,
                })
                .encode(out);
            }
        }
        all.len()
    }

    /// Writes the messages that run it, and says which answers they have. They use the unnamed
    /// portal, but not for an inner savepoint: there the client may be about to execute it. They
    /// never use the unnamed statement.
    pub(super) fn write(&self, names: &Names, out: &mut BytesMut) -> Shape {
        if let Some(name) = self.prepared() {
            run(&names.statement(name), out);
            return Shape::Prepared;
        }
        let (Self::Savepoint(Savepoint::Inner)
        | Self::Release(Savepoint::Inner)
        | Self::RollbackTo(Savepoint::Inner)) = self
        else {
            self.encode(names, out);
            return Shape::Once;
        };
        let name = names.statement("control");
        Frontend::Close(Target::Statement(&name)).encode(out);
        Frontend::Parse(Parse {
            statement: &name,
            sql: &self.text(names),
            types: Parse::NO_TYPES,
        })
        .encode(out);
        Frontend::Bind(Bind {
            portal: &name,
            statement: &name,
            values: Bind::NO_VALUES,
        })
        .encode(out);
        Frontend::Execute {
            portal: &name,
            max_rows: 0,
        }
        .encode(out);
        Shape::Aside
    }
}

/// Which messages were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Bind, Execute.
    Prepared,
    /// Close, Parse, Bind, Execute.
    Once,
    /// The same over a portal of our own, which is left.
    Aside,
}

pub(super) fn run(statement: &[u8], out: &mut BytesMut) {
    Frontend::Bind(Bind {
        portal: b"",
        statement,
        values: Bind::NO_VALUES,
    })
    .encode(out);
    Frontend::Execute {
        portal: b"",
        max_rows: 0,
    }
    .encode(out);
}

/// A string constant, whatever standard_conforming_strings is.
pub(super) fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_is_a_commit() {
        let names = Names::new(1);
        for control in [
            Control::Begin,
            Control::Savepoint(Savepoint::Virtual),
            Control::Release(Savepoint::Inner),
            Control::RollbackTo(Savepoint::Client(b"x\"; COMMIT; --".to_vec())),
            Control::FinalRollback,
        ] {
            let text = String::from_utf8(control.text(&names)).unwrap();
            let first = text.split(' ').next().unwrap();
            assert!(["BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK"].contains(&first));
        }
    }

    #[test]
    fn a_savepoint_of_the_client_cannot_leave_its_quotes() {
        let names = Names::new(1);
        let control = Control::Savepoint(Savepoint::Client(b"a\"; ROLLBACK; --".to_vec()));
        assert_eq!(
            control.text(&names),
            b"SAVEPOINT \"a\"\"; ROLLBACK; --\"".to_vec()
        );
    }

    #[test]
    fn our_names_are_found_in_a_message() {
        let names = Names::new(0xabc);
        let text = format!("relation \"{}\" does not exist", names.table());
        assert!(names.occur_in(text.as_bytes()));
        assert!(!names.occur_in(b"relation \"drydock_\" does not exist"));
    }
}
