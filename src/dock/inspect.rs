//! What Alembic says of its revisions, asked in a dry run once its locks are gone.

use std::time::Duration;

use super::before::Before;
use super::command::Command;
use super::link::{CUT, How, Sidecar, Start};
use super::record::DryRun;
use super::rehearse::Stage;
use super::revisions::NOT_KNOWN;
use super::round_trip::Line;
use super::tool::Tool;
use super::tool::alembic::{Alembic, Heard, Seen, in_line, judge};
use crate::report::{Revisions, Severity};

/// How long Alembic may take to read its files.
const PATIENCE: Duration = Duration::from_secs(60);

impl Stage<'_> {
    /// Asks for the history, and judges it with what the rehearsal has seen of the database. Gives
    /// the link back for the next command, and the pending revisions in order.
    pub(super) async fn inspect(
        &self,
        before: &Before,
        record: &mut DryRun,
        link: Sidecar,
    ) -> (Option<Sidecar>, Line) {
        let Tool::Alembic(alembic) = &self.plan.tool else {
            let reason = "the revisions of this tool are not known; they are of Alembic";
            return (Some(link), Err(reason.to_owned()));
        };
        let Some(command) = alembic.history() else {
            record.revisions = Some(Revisions::not_looked_at(NOT_KNOWN));
            return (Some(link), Err(NOT_KNOWN.to_owned()));
        };
        let (heard, link) = self.hear(command, link).await;
        let Some(heard) = heard else {
            let reason = "Alembic did not say what revisions it has before it was ended";
            record.revisions = Some(Revisions::not_looked_at(reason));
            return (link, Err(reason.to_owned()));
        };
        if heard.output.ends_with(CUT) {
            let reason = "Alembic's history is longer than what is read of it";
            record.revisions = Some(Revisions::not_looked_at(reason));
            return (link, Err(reason.to_owned()));
        }
        let revisions = self.judge(alembic, before, record, &heard);
        (link, in_line(&heard.output, revisions))
    }

    fn judge<'a>(
        &self,
        alembic: &Alembic,
        before: &Before,
        record: &'a mut DryRun,
        heard: &Heard,
    ) -> &'a Revisions {
        let seen = Seen {
            before: &before.state.versions,
            after: record
                .prediction
                .as_ref()
                .map(|prediction| &prediction.predicted.versions),
            statements: &record.rehearsal.statements,
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

    /// Runs a command that needs no database and is given none.
    async fn hear(&self, command: Vec<String>, link: Sidecar) -> (Option<Heard>, Option<Sidecar>) {
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
        let Some(ended) = ended else {
            running.stop().await;
            return (None, None);
        };
        let code = match ended.how {
            How::Exited { code } => Some(code),
            _ => None,
        };
        let heard = Heard {
            code,
            output: ended.output,
        };
        (Some(heard), Some(running.over()))
    }
}
