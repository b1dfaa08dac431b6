//! Which statements write, and which change what a COMMIT would check.

use super::calls::Calls;
use super::command::{Command, Cursor, Discard, Prepared};

/// Whether a statement can have written, for whoever must tell a reader from a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// It only reads, or changes nothing but the session.
    Reads,
    /// It calls functions, which may write.
    Unknown,
    /// It writes.
    Writes,
}

impl Command {
    /// Whether the statement, with what it calls, can write to the database.
    #[must_use]
    pub fn effect(&self, calls: Calls) -> Effect {
        let called = if calls.contains(Calls::FUNCTION) {
            Effect::Unknown
        } else {
            Effect::Reads
        };
        match self {
            Self::Empty | Self::Control(_) | Self::MalformedControl | Self::Unknown => {
                Effect::Reads
            }
            Self::Setting(_) | Self::Listen(_) | Self::Unlisten(_) | Self::Load => Effect::Reads,
            Self::Prepared(Prepared::Execute(_)) | Self::Cursor(Cursor::Fetch | Cursor::Move) => {
                Effect::Unknown
            }
            Self::Prepared(_) | Self::Cursor(Cursor::Close(_)) => Effect::Reads,
            Self::Discard(Discard::All | Discard::Temp) => Effect::Writes,
            Self::Discard(_) => Effect::Reads,
            Self::Do | Self::Call | Self::Lock => Effect::Unknown,
            Self::Explain { analyze: false, .. } => Effect::Reads,
            Self::Explain { inner, .. } => inner.effect(calls),
            Self::Copy(copy) if copy.from => Effect::Writes,
            Self::Query(_) | Self::Cursor(Cursor::Declare { .. }) | Self::Copy(_) => {
                let writing = Calls::DATA_MODIFYING.union(Calls::ROW_LOCK);
                if calls.intersects(writing) || matches!(self, Self::Query(q) if q.into.is_some()) {
                    Effect::Writes
                } else {
                    called
                }
            }
            _ => Effect::Writes,
        }
    }

    /// Whether the set of constraints that a COMMIT would check may be another one afterwards.
    #[must_use]
    pub fn may_change_constraints(&self) -> bool {
        matches!(
            self,
            Self::Ddl(_)
                | Self::CreateTable(_)
                | Self::CreateIndex(_)
                | Self::DropIndex(_)
                | Self::DetachPartition(_)
                | Self::Do
                | Self::Call
                | Self::Discard(Discard::All | Discard::Temp)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LexSettings, Script, classify};
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("select a from t where b in (1, 2)", Effect::Reads)]
    #[case("select count(*) from t", Effect::Reads)]
    #[case("select f(a) from t", Effect::Unknown)]
    #[case("select a from t for update", Effect::Writes)]
    #[case("select a from t for key share", Effect::Writes)]
    #[case("select 1 into t", Effect::Writes)]
    #[case(
        "with x as (delete from t returning *) select * from x",
        Effect::Writes
    )]
    #[case("explain delete from t", Effect::Reads)]
    #[case("explain analyze delete from t", Effect::Writes)]
    #[case("copy t to stdout", Effect::Reads)]
    #[case("copy t from stdin", Effect::Writes)]
    #[case("show all", Effect::Reads)]
    #[case("execute p", Effect::Unknown)]
    #[case("alter table t add c int", Effect::Writes)]
    #[case("do ''", Effect::Unknown)]
    fn writers_are_told_from_readers(#[case] text: &str, #[case] expected: Effect) {
        let script = Script::new(text.as_bytes(), LexSettings::default());
        let statement = script.single().unwrap();
        assert_eq!(classify(statement).effect(statement.calls()), expected);
    }
}
