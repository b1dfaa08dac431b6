//! What is kept of a rehearsal: statements with their durations, findings, the verdict.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::rehearsal::transaction::{Note, StatementId};
use crate::report::{Finding, Statement, StatementOutcome};
use crate::verdict::Verdict;

/// Statements beyond it are counted, not kept.
const LIMIT: usize = 10_000;

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

/// Keeps what the core notes.
pub(super) struct Recorder {
    statements: Vec<Statement>,
    /// Where a statement is kept, and when it began, while it runs.
    running: BTreeMap<StatementId, (Option<usize>, Instant)>,
    /// The statement that failed last, and where it is kept.
    failed: Option<(StatementId, usize)>,
    omitted: u64,
    findings: Vec<Finding>,
    verdict: Option<(Verdict, String)>,
    commits: u32,
    progress: watch::Sender<Progress>,
}

/// What a recorder has kept.
#[derive(Debug)]
pub(super) struct Recorded {
    pub statements: Vec<Statement>,
    pub omitted: u64,
    pub findings: Vec<Finding>,
    pub verdict: Option<(Verdict, String)>,
    pub commits: u32,
    pub clients: u32,
}

impl Recorder {
    pub(super) fn new(progress: watch::Sender<Progress>) -> Self {
        Self {
            statements: Vec::new(),
            running: BTreeMap::new(),
            failed: None,
            omitted: 0,
            findings: Vec::new(),
            verdict: None,
            commits: 0,
            progress,
        }
    }

    /// A client came in.
    pub(super) fn joined(&mut self) {
        self.show(|progress| progress.clients += 1);
    }

    /// Keeps a note.
    pub(super) fn note(&mut self, note: Note) {
        match note {
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
                let kept = (self.statements.len() < LIMIT).then(|| {
                    self.statements.push(Statement {
                        text,
                        whole,
                        sent,
                        client: client.0,
                        transaction,
                        revision: None,
                        violation: None,
                        micros: 0,
                        outcome: StatementOutcome::Cut,
                    });
                    self.statements.len() - 1
                });
                self.omitted += u64::from(kept.is_none());
                self.running.insert(statement, (kept, now));
            }
            Note::Done(id, tag) => self.ended(id, StatementOutcome::Done { tag }),
            Note::Failed(id, error) => {
                self.failed = self
                    .running
                    .get(&id)
                    .and_then(|(kept, _)| *kept)
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
            Note::Substituted(id, by) => self.substituted(id, by),
            Note::Finding(finding) => self.findings.push(finding),
            Note::Verdict(verdict, message) => self.say(verdict, message),
            Note::VirtualEnd { committed } => self.commits += u32::from(committed),
        }
    }

    fn ended(&mut self, id: StatementId, outcome: StatementOutcome) {
        let Some((kept, since)) = self.running.remove(&id) else {
            return;
        };
        if let Some(statement) = kept.and_then(|index| self.statements.get_mut(index)) {
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
        let kept = self.running.get(&id).and_then(|(kept, _)| *kept);
        if let Some(statement) = kept.and_then(|index| self.statements.get_mut(index)) {
            statement.outcome = StatementOutcome::Substituted { by };
        }
    }

    /// The worse of two verdicts stays; of equals the first.
    fn say(&mut self, verdict: Verdict, message: String) {
        let replace = self
            .verdict
            .as_ref()
            .is_none_or(|(old, _)| old.clone().worst(verdict.clone()) != *old);
        if replace {
            self.verdict = Some((verdict, message));
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
            clients: self.progress.borrow().clients,
        }
    }
}
