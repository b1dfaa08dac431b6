//! Commands one after the other inside the second transaction, until something ends it.

use std::future::Future;
use std::time::Duration;

use crate::dock::before::Before;
use crate::dock::command::Command;
use crate::dock::holding::{Holding, Stop};
use crate::dock::lease::Lease;
use crate::dock::link::{How, Sidecar};
use crate::dock::record::Said;
use crate::dock::rehearse::Stage;
use crate::dock::rows::{self, Counts, Summed, Sums};
use crate::guard::Ended;
use crate::postgres::ask::AskError;
use crate::rehearsal::proxy::Asker;
use crate::report::{StepName, TripStep};
use crate::schema::Snapshot;

/// How long a connection may stay open behind the command that opened it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What ended a walk on the way.
pub(super) enum Cut {
    /// Something that only this reason tells.
    Because(String),
    /// The end of the second rehearsal, during a step.
    Stopped(Stop, String),
}

impl Cut {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self::Because(reason.into())
    }

    fn stopped(stop: Stop, step: &str) -> Self {
        Self::Stopped(stop, step.to_owned())
    }

    /// In words. The end of a rehearsal may be noticed before the word of the guard that ended it:
    /// `guard` is what the guard says behind it.
    pub(super) fn reason(self, guard: Option<Ended>) -> String {
        let said = guard.map(|ended| ended.message);
        match (self, said) {
            (Self::Because(reason), _) => reason,
            (Self::Stopped(Stop::Guard(Said { message, .. }), step), _)
            | (Self::Stopped(Stop::Rehearsal, step), Some(message)) => {
                format!("ended during the {step}: {message}")
            }
            (Self::Stopped(Stop::Rehearsal, step), None) => {
                format!("the second rehearsal ended by itself during the {step}")
            }
            (Self::Stopped(Stop::Lease, step), _) => {
                format!("the connection that holds drydock's lock was lost during the {step}")
            }
            (Self::Stopped(Stop::Asked, step), _) => format!("stopped during the {step}"),
        }
    }
}

impl From<Said> for Cut {
    fn from(said: Said) -> Self {
        Self::because(said.message)
    }
}

/// A second transaction that is held, and the link over which commands are started in it.
pub(super) struct Walk<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) lease: &'a Lease,
    pub(super) before: &'a Before,
    pub(super) holding: &'a mut Holding,
    pub(super) asker: Asker,
    pub(super) link: Option<Sidecar>,
}

impl Walk<'_> {
    /// Runs a command to its end.
    pub(super) async fn run(
        &mut self,
        name: StepName,
        command: Vec<String>,
    ) -> Result<TripStep, Cut> {
        let Some(link) = self.link.take() else {
            return Err(Cut::because("no command could be started any more"));
        };
        let start = self.holding.start(self.stage, command.clone());
        let mut running = Command::start(link, start).await;
        let ended = tokio::select! {
            ended = running.ended() => Ok(ended),
            found = self.holding.watch(self.lease, self.stage.console) => Err(found),
        };
        let ended = match ended {
            Ok(ended) => ended,
            Err(found) => {
                running.stop().await;
                return Err(Cut::stopped(found, name.words()));
            }
        };
        self.link = Some(running.over());
        let well = ended.how == How::Exited { code: 0 };
        Ok(TripStep {
            name,
            command,
            exit: match ended.how {
                How::Exited { code } => Some(code),
                _ => None,
            },
            millis: ended.millis,
            output: if well { String::new() } else { ended.output },
        })
    }

    /// Waits for an answer of the rehearsal's, or for what ends it.
    pub(super) async fn watched<T>(
        &mut self,
        step: &str,
        answer: impl Future<Output = T>,
    ) -> Result<T, Cut> {
        tokio::select! {
            answer = answer => Ok(answer),
            found = self.holding.watch(self.lease, self.stage.console) => {
                Err(Cut::stopped(found, step))
            }
        }
    }

    /// Puts the fixtures in, as the first transaction did.
    pub(super) async fn fixtures(&mut self) -> Result<(), Cut> {
        let (mut asker, before, stage) = (self.asker.clone(), self.before, self.stage);
        let mut again = Vec::new();
        let putting_in = stage.insert_fixtures(before, &mut asker, &mut again);
        Ok(self.watched("fixtures", putting_in).await??)
    }

    /// The whole catalogue as it stands now.
    pub(super) async fn look(&mut self, name: StepName) -> Result<Snapshot, Cut> {
        let (mut asker, before) = (self.asker.clone(), self.before);
        let foreseen = self
            .watched(name.words(), before.foresee(&mut asker))
            .await??;
        Ok(before.whole(foreseen)?)
    }

    /// What is in those of `tables` that can be read; of those that were read `before`, the same again.
    pub(super) async fn sums(
        &mut self,
        name: StepName,
        tables: &[String],
        before: Option<&Sums>,
    ) -> Result<Summed, Cut> {
        let mut asker = self.asker.clone();
        let summed = self
            .watched(name.words(), rows::sums(&mut asker, tables, before))
            .await?;
        Ok(summed.unwrap_or_else(|_| Summed {
            not_read: tables.to_vec(),
            ..Summed::default()
        }))
    }

    /// How many rows were written until now, by table, but for the version tables.
    pub(super) async fn counts(
        &mut self,
        name: StepName,
        versions: &[String],
    ) -> Result<Counts, Cut> {
        let mut asker = self.asker.clone();
        let counts = self
            .watched(name.words(), rows::counts(&mut asker, versions))
            .await?;
        Ok(counts.unwrap_or_default())
    }

    /// Sets the place to which [`Walk::undo`] leads.
    pub(super) async fn set_place(&mut self, name: StepName) -> Result<(), Cut> {
        let asker = self.asker.clone();
        self.alone(name, asker.set_place()).await
    }

    /// Undoes what was done since the place was set.
    pub(super) async fn undo(&mut self, name: StepName) -> Result<(), Cut> {
        let asker = self.asker.clone();
        self.alone(name, asker.undo()).await
    }

    async fn alone(
        &mut self,
        name: StepName,
        moving: impl Future<Output = Result<(), AskError>>,
    ) -> Result<(), Cut> {
        match self
            .watched(name.words(), tokio::time::timeout(PATIENCE, moving))
            .await?
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Cut::because(error.to_string())),
            Err(_) => Err(Cut::because(format!(
                "a connection of the command was still open {} s after the {}",
                PATIENCE.as_secs(),
                name.words()
            ))),
        }
    }
}
