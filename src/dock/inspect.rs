//! What Alembic says of its revisions, asked before a dry run holds anything.

use std::time::Duration;

use super::before::Before;
use super::command::Command;
use super::link::{CUT, How, Sidecar, Start};
use super::record::{DryRun, Said};
use super::rehearse::{Audience, Stage};
use super::revisions::NOT_KNOWN;
use super::round_trip::Line;
use super::tool::Tool;
use super::tool::alembic::{Alembic, Heard, Revisions, Seen, in_line, judge};
use crate::report::{self, Severity};
use crate::verdict::{Environment, NotRehearsed, Verdict};

/// How long Alembic may take to read its files.
const PATIENCE: Duration = Duration::from_secs(60);

/// Paths that fit into one line of the link.
const FILES: usize = 2_000;

impl Stage<'_> {
    /// Asks for the history, where it is known how; gives the link back for the command.
    ///
    /// # Errors
    /// When the revisions are of several databases: the command would migrate one of them here and
    /// the others for real.
    pub(super) async fn ask(&self, audience: Audience) -> Result<(Audience, Option<Heard>), Said> {
        let history = self.plan.tool.alembic().and_then(Alembic::history);
        let (link, command) = match (audience, history) {
            (Audience::Command(link), Some(command)) => (link, command),
            (audience, _) => return Ok((audience, None)),
        };
        let (heard, mut link) = self.hear(command, link).await?;
        let files = match &heard {
            Some(heard) if heard.code == Some(0) => paths(heard),
            _ => Vec::new(),
        };
        if !files.is_empty()
            && let Some(file) = Command::look(&mut link, files).await
        {
            return Err(Said::new(
                Verdict::NotRehearsed(NotRehearsed::SeveralDatabases),
                format!(
                    "the revisions are written for several databases (`upgrade(engine_name)` in \
                     {file}): a rehearsal is of one database, and the command would really migrate \
                     the others, so it was not started. Give each database its own revisions and \
                     its own run"
                ),
            ));
        }
        Ok((Audience::Command(link), heard))
    }

    /// Judges what Alembic said with what the rehearsal has seen of the database. Gives the pending
    /// revisions in order.
    pub(super) fn inspect(
        &self,
        before: &Before,
        record: &mut DryRun,
        heard: Option<&Heard>,
    ) -> Line {
        let Tool::Alembic(alembic) = &self.plan.tool else {
            let reason = "the revisions of this tool are not known; they are of Alembic";
            return Err(reason.to_owned());
        };
        let Some(heard) = heard else {
            let reason = match alembic.history() {
                Some(_) => "Alembic did not say what revisions it has before it was ended",
                None => NOT_KNOWN,
            };
            record.revisions = Some(report::Revisions::not_looked_at(reason));
            return Err(reason.to_owned());
        };
        if heard.output.ends_with(CUT) {
            let reason = "Alembic's history is longer than what is read of it";
            record.revisions = Some(report::Revisions::not_looked_at(reason));
            return Err(reason.to_owned());
        }
        in_line(&heard.output, self.judge(alembic, before, record, heard))
    }

    fn judge<'a>(
        &self,
        alembic: &Alembic,
        before: &Before,
        record: &'a mut DryRun,
        heard: &Heard,
    ) -> &'a report::Revisions {
        let seen = Seen {
            before: &before.state.versions,
            after: record
                .prediction
                .as_ref()
                .map(|prediction| &prediction.predicted.versions),
            statements: &record.rehearsal.statements,
            unlocated: record
                .ended
                .as_ref()
                .is_some_and(|ended| ended.output.contains("Can't locate revision")),
        };
        // The files are in the command's container, not here.
        let (revisions, mut findings) = judge(heard, alembic.target(), Some(seen), |_| None);
        let passed = record
            .ended
            .as_ref()
            .is_some_and(|ended| ended.how == How::Exited { code: 0 });
        // Alembic itself has run over it, e.g. over a revision that two files have.
        for finding in findings.iter_mut().filter(|_| passed) {
            finding.severity = finding.severity.min(Severity::Warning);
        }
        record.findings.extend(findings);
        record.revisions.insert(revisions)
    }

    /// Runs a command that needs no database and is given none; what it says is `None` when it did
    /// not end in time.
    async fn hear(
        &self,
        command: Vec<String>,
        link: Sidecar,
    ) -> Result<(Option<Heard>, Sidecar), Said> {
        let mut unset = self.plan.expose.removed();
        unset.extend(self.plan.expose.url.iter().cloned());
        let start = Start {
            command,
            set: Vec::new(),
            unset,
            secrets: self
                .secret
                .iter()
                .map(|password| password.reveal().to_owned())
                .collect(),
            expendable: true,
            question: true,
        };
        let mut running = Command::start(link, start).await;
        let ended = tokio::select! {
            ended = tokio::time::timeout(PATIENCE, running.ended()) => ended.ok(),
            () = self.console.stopped() => None,
        };
        let heard = match ended {
            Some(ended) => Some(Heard {
                code: match ended.how {
                    How::Exited { code } => Some(code),
                    _ => None,
                },
                output: ended.output,
            }),
            // Its end must not be taken for that of the next command.
            None if running.stop().await.how == How::Lost => {
                return Err(Said::new(
                    Verdict::Environment(Environment::CommandNotStarted),
                    "what runs the command did not answer any more before the command was started",
                ));
            }
            None => None,
        };
        Ok((heard, running.over()))
    }
}

fn paths(heard: &Heard) -> Vec<String> {
    Revisions::parse(&heard.output)
        .all()
        .iter()
        .take(FILES)
        .map(|revision| revision.path.clone())
        .filter(|path| !path.is_empty())
        .collect()
}
