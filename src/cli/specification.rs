//! The run that the command line and `-f` describe together: one configuration language, flags
//! override single fields.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::api::{self, AlembicSpec, Bytes, CommandSpec, Deniable, Duration, MigrationSpec, Rerun};

/// What is to be rehearsed, shared by `rehearse` and `run`.
#[derive(Debug, Args)]
pub(super) struct SpecificationArgs {
    /// The database: a URL, or libpq's keyword=value
    ///
    /// Otherwise DRYDOCK_DATABASE_URL, DATABASE_URL, or libpq's PG* variables.
    #[arg(long, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// The variable that the command reads its database's URL from; repeatable [default:
    /// DATABASE_URL]
    #[arg(long = "env", value_name = "NAME")]
    variables: Vec<String>,
    /// A Migration, or its spec, as YAML; flags override single fields
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Use the Alembic preset: without a command, `alembic upgrade head`
    #[arg(long)]
    alembic: bool,
    /// How long a session of the application may wait behind the rehearsal [default: 300ms]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    blocking: Option<Duration>,
    /// How long the whole rehearsal may take [default: 10m]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    duration: Option<Duration>,
    /// Tables below this size are rehearsed in the plain form of a CONCURRENTLY [default: 64Mi]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    substitute_below: Option<Bytes>,
    /// PostgreSQL's lock_timeout for the real upgrade [default: the rehearsal's]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    pub(super) lock_timeout: Option<Duration>,
    /// Rehearse the way back, too: models, second upgrade, downgrade, upgrade again, in a second
    /// transaction [default of `rehearse` where a downgrade is known]
    #[arg(long, overrides_with = "no_round_trip", help_heading = "Round trip")]
    round_trip: bool,
    /// Rehearse the upgrade alone
    #[arg(long, help_heading = "Round trip")]
    no_round_trip: bool,
    /// Run each pending data migration a second time, and compare the rows (Alembic)
    #[arg(long, help_heading = "Round trip")]
    rerun: bool,
    /// Fail on this finding of the round trip, e.g. DowngradeLeftovers; repeatable
    #[arg(long, value_name = "FINDING", value_parser = deniable, help_heading = "Round trip")]
    deny: Vec<Deniable>,
    /// The migration command, unmodified, word by word
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A specification with what the cluster has no word for.
#[derive(Debug)]
pub(super) struct Specification {
    /// The same as a Migration's `spec`.
    pub(super) spec: MigrationSpec,
    /// Variables that carry the whole URL.
    pub(super) variables: Vec<String>,
}

impl SpecificationArgs {
    /// Reads the file and lays the flags over it. `open`: no command is wanted.
    ///
    /// # Errors
    /// When the file is malformed, or there is no command, or there are two.
    pub(super) fn read(&self, open: bool) -> Result<Specification> {
        let mut spec = match &self.file {
            None => MigrationSpec::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                api::from_yaml(&text).with_context(|| path.display().to_string())?
            }
        };
        if !self.command.is_empty() {
            if self.alembic {
                bail!(
                    "--alembic is for `alembic upgrade head` without a command; a command that is \
                     Alembic's is recognised, and one that calls it is named in a file with -f \
                     (alembic.command)"
                );
            }
            spec.command = Some(CommandSpec {
                upgrade: self.command.clone(),
                ..spec.command.take().unwrap_or_default()
            });
            spec.alembic = None;
        } else if self.alembic && spec.alembic.is_none() {
            spec.alembic = Some(AlembicSpec::default());
            spec.command = None;
        }
        if open {
            if !self.command.is_empty() || self.alembic {
                bail!("--listen opens the rehearsal to any tool; leave out the command");
            }
            spec.alembic = None;
            spec.command = None;
        } else if spec.alembic.is_none() && spec.command.is_none() {
            bail!(
                "no migration command: give it after `--`, e.g. `drydock rehearse -- alembic \
                 upgrade head`, or in a file with -f"
            );
        }
        for name in &self.variables {
            if name.is_empty() || name.contains(['=', '\0']) {
                bail!("--env {name:?} is not the name of an environment variable");
            }
        }
        let mut dry_run = spec.dry_run.take().unwrap_or_default();
        let mut budgets = dry_run.budgets.take().unwrap_or_default();
        budgets.blocking = self.blocking.or(budgets.blocking);
        budgets.duration = self.duration.or(budgets.duration);
        dry_run.budgets = Some(budgets);
        if self.substitute_below.is_some() {
            let mut concurrently = dry_run.concurrently.take().unwrap_or_default();
            concurrently.substitute_below = self.substitute_below;
            dry_run.concurrently = Some(concurrently);
        }
        let wanted = match (self.round_trip, self.no_round_trip) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        dry_run.round_trip = wanted.or(dry_run.round_trip);
        if self.rerun {
            dry_run.rerun = Some(Rerun::Pending);
        }
        dry_run.deny.extend(&self.deny);
        spec.dry_run = Some(dry_run);
        if self.lock_timeout.is_some() {
            let mut upgrade = spec.upgrade.take().unwrap_or_default();
            upgrade.lock_timeout = self.lock_timeout;
            spec.upgrade = Some(upgrade);
        }
        Ok(Specification {
            spec,
            variables: self.variables.clone(),
        })
    }
}

fn deniable(text: &str) -> Result<Deniable, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|error| error.to_string())
}
