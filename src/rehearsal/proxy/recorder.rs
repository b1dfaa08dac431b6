//! What is kept of a rehearsal: statements with their durations, findings, the verdict.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lasting::{Lasting, Longest};
use crate::rehearsal::transaction::{ClientId, Note, PlainLock, StatementId};
use crate::report::{Finding, Statement, StatementOutcome};
use crate::verdict::Verdict;

/// Statements beyond it are counted, not kept, but for the one of them that failed last.
pub const KEPT: usize = 10_000;

/// How far a rehearsal is, for people who watch.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Statements so far.
    pub statements: u64,
    /// The statement that runs now, literals removed, and since when.
    pub current: Option<(String, Instant)>,
    /// Connections that the command has opened so far.
    pub clients: u32,
}

/// What a check of the user's did in a rehearsal. None of it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    /// How many statements it sent.
    pub statements: u64,
    /// How many connections it opened.
    pub clients: u32,
    /// What the rehearsal could not do for it, with its sentence.
    pub verdict: Option<(Verdict, String)>,
}

/// Keeps what the core notes.
pub(super) struct Recorder {
    /// While a check of the user's is at work.
    aside: Option<Beside>,
    /// What the last check did.
    beside: Beside,
    /// Connections of checks so far, which are not counted among the command's.
    others: u32,
    statements: Vec<Statement>,
    /// Where a statement is kept, and when it began, while it runs.
    running: BTreeMap<StatementId, (Place, Instant)>,
    /// The statement that failed last, and where it is kept.
    failed: Option<(StatementId, usize)>,
    omitted: u64,
    findings: Vec<Finding>,
    verdict: Option<(Verdict, String)>,
    commits: u32,
    pieces: u32,
    locked: Vec<PlainLock>,
    lasting: Lasting,
    progress: watch::Sender<Progress>,
}

/// Where a statement is kept.
enum Place {
    At(usize),
    /// Nowhere, unless it fails.
    Beyond(Box<Statement>),
}

impl Place {
    fn index(&self) -> Option<usize> {
        match self {
            Self::At(index) => Some(*index),
            Self::Beyond(_) => None,
        }
    }
}

/// What a recorder has kept.
#[derive(Debug)]
pub(super) struct Recorded {
    pub statements: Vec<Statement>,
    pub omitted: u64,
    pub findings: Vec<Finding>,
    pub verdict: Option<(Verdict, String)>,
    pub commits: u32,
    /// Those of them that may have written.
    pub pieces: u32,
    pub clients: u32,
    /// What plain forms of CONCURRENTLY statements locked.
    pub locked: Vec<PlainLock>,
    /// The longest pause and the longest transaction.
    pub longest: Longest,
}

impl Recorder {
    pub(super) fn new(progress: watch::Sender<Progress>) -> Self {
        Self {
            aside: None,
            beside: Beside::default(),
            others: 0,
            statements: Vec::new(),
            running: BTreeMap::new(),
            failed: None,
            omitted: 0,
            findings: Vec::new(),
            verdict: None,
            commits: 0,
            pieces: 0,
            locked: Vec::new(),
            lasting: Lasting::default(),
            progress,
        }
    }

    /// A client came in.
    pub(super) fn joined(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.clients += 1;
            self.others += 1;
            return;
        }
        self.show(|progress| progress.clients += 1);
    }

    /// A client says something.
    pub(super) fn spoke(&mut self, client: ClientId) {
        self.lasting.spoke(client, Instant::now());
    }

    /// What the check that is just over did.
    pub(super) fn beside(&mut self) -> Beside {
        std::mem::take(&mut self.beside)
    }

    /// Keeps a note.
    pub(super) fn note(&mut self, note: Note) {
        if let Some(aside) = &mut self.aside {
            match note {
                Note::Begun { .. } => aside.statements += 1,
                Note::Verdict(verdict, message) => say(&mut aside.verdict, verdict, message),
                Note::Aside { begins: false } => {
                    self.beside = self.aside.take().unwrap_or_default();
                }
                _ => {}
            }
            return;
        }
        match note {
            Note::Aside { begins } => self.aside = begins.then(Beside::default),
            Note::Begun {
                statement,
                client,
                transaction,
                text,
                whole,
                sent,
            } => {
                let now = Instant::now();
                self.show(|progress| {
                    progress.statements += 1;
                    progress.current = Some((text.clone(), now));
                });
                let begun = Statement {
                    text,
                    whole,
                    sent,
                    client: client.0.saturating_sub(self.others),
                    transaction,
                    revision: None,
                    violation: None,
                    micros: 0,
                    outcome: StatementOutcome::Cut,
                };
                let place = if self.statements.len() < KEPT {
                    self.statements.push(begun);
                    Place::At(self.statements.len() - 1)
                } else {
                    self.omitted += 1;
                    Place::Beyond(Box::new(begun))
                };
                self.running.insert(statement, (place, now));
                let number = self.statements.len() as u64 + self.omitted;
                self.lasting
                    .begun(statement, number, client, transaction, now);
            }
            Note::Done(id, tag) => self.ended(id, StatementOutcome::Done { tag }),
            Note::Failed(id, error) => {
                self.keep(id);
                self.failed = self
                    .running
                    .get(&id)
                    .and_then(|(place, _)| place.index())
                    .map(|at| (id, at));
                self.ended(id, StatementOutcome::Error(error));
            }
            Note::Violated(id, violation) => {
                let failed = self.failed.filter(|(failed, _)| *failed == id);
                if let Some(statement) = failed.and_then(|(_, at)| self.statements.get_mut(at)) {
                    statement.violation = Some(violation);
                }
            }
            Note::Skipped(id) => self.ended(id, StatementOutcome::Cut),
            Note::Substituted { id, by, locks } => {
                self.locked.extend(locks);
                self.lasting.substituted(id);
                self.substituted(id, by);
            }
            Note::Finding(finding) => self.findings.push(finding),
            Note::Verdict(verdict, message) => say(&mut self.verdict, verdict, message),
            Note::Ready {
                client,
                transaction,
            } => self.lasting.ready(client, transaction, Instant::now()),
            Note::OwnTimeouts => self.lasting.end(),
            Note::VirtualEnd { committed, writes } => {
                self.commits += u32::from(committed);
                self.pieces += u32::from(committed && writes);
            }
        }
    }

    /// Keeps a statement that failed, wherever it comes: in the place of the last one beyond the
    /// bound.
    fn keep(&mut self, id: StatementId) {
        let Some((place, _)) = self.running.get_mut(&id) else {
            return;
        };
        if let Place::Beyond(statement) = place {
            if self.statements.len() == KEPT {
                self.omitted -= 1;
            }
            self.statements.truncate(KEPT);
            self.statements.push((**statement).clone());
            *place = Place::At(KEPT);
        }
    }

    fn ended(&mut self, id: StatementId, outcome: StatementOutcome) {
        self.lasting.ended(id, Instant::now());
        let Some((place, since)) = self.running.remove(&id) else {
            return;
        };
        if let Some(statement) = place
            .index()
            .and_then(|index| self.statements.get_mut(index))
        {
            if !matches!(statement.outcome, StatementOutcome::Substituted { .. })
                || matches!(outcome, StatementOutcome::Error(_))
            {
                statement.outcome = outcome;
            }
            statement.micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        }
        self.show(|progress| progress.current = None);
    }

    /// Wakes nobody: whoever watches looks now and then, which costs less than being told of every
    /// statement.
    fn show(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            change(progress);
            false
        });
    }

    /// Another form is run in a statement's place; its end is still to come.
    fn substituted(&mut self, id: StatementId, by: String) {
        let place = self.running.get(&id).map(|(place, _)| place);
        if let Some(statement) = place
            .and_then(Place::index)
            .and_then(|index| self.statements.get_mut(index))
        {
            statement.outcome = StatementOutcome::Substituted { by };
        }
    }

    /// Everything, once nothing more will come.
    pub(super) fn finish(self) -> Recorded {
        Recorded {
            statements: self.statements,
            omitted: self.omitted,
            findings: self.findings,
            verdict: self.verdict,
            commits: self.commits,
            pieces: self.pieces,
            clients: self.progress.borrow().clients,
            locked: self.locked,
            longest: self.lasting.longest(),
        }
    }
}

/// The worse of two verdicts stays; of equals the first.
fn say(said: &mut Option<(Verdict, String)>, verdict: Verdict, message: String) {
    let replace = said
        .as_ref()
        .is_none_or(|(old, _)| old.clone().worst(verdict.clone()) != *old);
    if replace {
        *said = Some((verdict, message));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::ServerError;

    fn begun(statement: StatementId, transaction: Option<u32>) -> Note {
        Note::Begun {
            statement,
            client: ClientId(1),
            transaction,
            text: statement.to_string(),
            whole: true,
            sent: None,
        }
    }

    #[test]
    fn the_longest_pause_in_a_transaction_and_its_place_are_kept() {
        let mut recorder = Recorder::new(watch::channel(Progress::default()).0);
        for (statement, transaction, millis) in [(0, None, 100), (1, Some(1), 1), (2, Some(1), 50)]
        {
            recorder.note(begun(statement, transaction));
            recorder.note(Note::Done(statement, "SELECT 1".to_owned()));
            recorder.note(Note::Ready {
                client: ClientId(1),
                transaction,
            });
            std::thread::sleep(Duration::from_millis(millis));
            recorder.spoke(ClientId(1));
        }
        recorder.note(begun(3, Some(1)));
        recorder.note(Note::Done(3, "COMMIT".to_owned()));
        let longest = recorder.finish().longest;
        let (pause, transaction) = (longest.pause.unwrap(), longest.transaction.unwrap());
        assert!(pause.time >= Duration::from_millis(50));
        assert!(transaction.time > pause.time);
        assert_eq!((pause.statement, transaction.statement), (3, 4));
    }

    #[test]
    fn a_statement_that_fails_is_kept_wherever_it_comes() {
        let mut recorder = Recorder::new(watch::channel(Progress::default()).0);
        for statement in 0..KEPT + 5 {
            recorder.note(begun(statement, None));
            recorder.note(match statement.checked_sub(KEPT) {
                Some(1 | 3) => Note::Failed(statement, ServerError::default()),
                _ => Note::Done(statement, "SELECT 1".to_owned()),
            });
        }
        let recorded = recorder.finish();
        assert_eq!(recorded.statements.len(), KEPT + 1);
        assert_eq!(recorded.omitted, 4);
        let last = recorded.statements.last().unwrap();
        assert_eq!(last.text, (KEPT + 3).to_string());
        assert!(matches!(last.outcome, StatementOutcome::Error(_)));
    }
}
