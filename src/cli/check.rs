//! `drydock check`: what can be said of the revisions without a database.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use super::output;
use crate::api::{self, AlembicSpec, CommandSpec, MigrationSpec};
use crate::dock::plan::Plan;
use crate::dock::revisions;
use crate::report::Check;
use crate::report::render::{Outline, markdown_of, text_of};
use crate::verdict::ExitCode;

/// Check Alembic's revisions without a database: one head, no gaps, downgrades.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock check                                alembic, as it is called without options
  drydock check --deny MissingDowngrade
  drydock check -- uv run alembic -c db/alembic.ini upgrade head

Exit codes:
  0 nothing is wrong   1 something is   2 usage   3 not looked at   6 Alembic cannot be started")]
pub(super) struct CheckArgs {
    /// A Migration, or its spec, as YAML
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A finding that is an error, by its code; repeatable, with dryRun.deny of the file
    #[arg(long, value_name = "FINDING", value_parser = PossibleValuesParser::new(revisions::CODES))]
    deny: Vec<String>,
    /// The form of what is printed
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// The upgrade as it is called, word by word [default: alembic upgrade head]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For a terminal or a log
    Text,
    /// For a comment on a pull request
    Markdown,
    /// For programs
    Json,
}

/// Runs the subcommand.
pub(super) async fn run(arguments: CheckArgs) -> Result<ExitCode> {
    let spec = specification(&arguments)?;
    let mut check = match revisions::check(Plan::of(&spec).tool.alembic()).await {
        Ok(check) => check,
        Err(said) => {
            super::complain(&anyhow::anyhow!("not looked at: {}", said.message));
            return Ok(said.verdict.exit_code());
        }
    };
    let mut denied = arguments.deny;
    denied.extend(spec.denied().iter().map(ToString::to_string));
    check.deny(&denied);
    super::written(print(&check, arguments.output))?;
    Ok(check.exit_code())
}

fn specification(arguments: &CheckArgs) -> Result<MigrationSpec> {
    let mut spec = match &arguments.file {
        None => MigrationSpec {
            alembic: Some(AlembicSpec::default()),
            ..MigrationSpec::default()
        },
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            api::from_yaml(&text).with_context(|| path.display().to_string())?
        }
    };
    if !arguments.command.is_empty() {
        spec.alembic = None;
        spec.command = Some(CommandSpec {
            upgrade: arguments.command.clone(),
            ..CommandSpec::default()
        });
    }
    if spec.alembic.is_none() && spec.command.is_none() {
        bail!("the file names no migration command: write `alembic: {{}}`");
    }
    Ok(spec)
}

fn print(check: &Check, form: Form) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let outline = Outline::of_check(check);
    let text = match form {
        Form::Text => text_of(&outline, output::style(&out, false)),
        Form::Markdown => markdown_of(&outline),
        Form::Json => serde_json::to_string(check)? + "\n",
    };
    out.write_all(text.as_bytes())?;
    out.flush()
}
