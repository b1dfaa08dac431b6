//! `drydock rehearse` and `drydock run`: the pipeline without a cluster.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::database::{self, Given};
use super::display::Display;
use super::output::{self, Format};
use super::signals;
use super::specification::SpecificationArgs;
use crate::dock::local::Local;
use crate::dock::plan::Plan;
use crate::postgres::url::Environment;
use crate::report::Report;
use crate::verdict::{ExitCode, Verdict};

/// Run a migration against the real database in a transaction that cannot commit, and prove it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock rehearse -- alembic upgrade head
  drydock rehearse --database-url postgresql://owner@db/orders --env ORDERS_DB -- ./migrate.sh
  drydock rehearse -f migration.yaml -o markdown > comment.md
  drydock rehearse --listen 127.0.0.1:6543     any tool may connect; Ctrl-C ends it")]
pub(super) struct RehearseArgs {
    #[command(flatten)]
    specification: SpecificationArgs,
    #[command(flatten)]
    printing: PrintingArgs,
    /// Open the rehearsal to any tool at this address; its URL is the first line on standard output
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Rehearse, verify, really upgrade, and check that the result is what was rehearsed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock run -- alembic upgrade head
  drydock run --yes -f migration.yaml          asks nothing: for CI

The upgrade runs only if the rehearsal passed and its rollback is verified.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    specification: SpecificationArgs,
    #[command(flatten)]
    printing: PrintingArgs,
    /// Upgrade without asking
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct PrintingArgs {
    /// The form of the report on standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    output: Format,
    /// List every statement, not only those that failed
    #[arg(long, help_heading = "Output")]
    statements: bool,
    /// Show neither progress nor the command's own output
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

impl PrintingArgs {
    fn print(&self, reports: &[Report]) -> Result<()> {
        output::print(reports, self.output, self.statements)
            .context("cannot write the report to standard output")
    }
}

/// Runs `drydock rehearse`.
pub(super) async fn rehearse(arguments: RehearseArgs) -> Result<ExitCode> {
    let mut local = prepare(&arguments.specification, arguments.listen)?;
    let (display, console) = Display::open(arguments.printing.quiet, signals::stop()?);
    let announce = arguments
        .listen
        .is_some()
        .then(|| tokio::spawn(announce(console.progress.subscribe())));
    let report = local.rehearse(&console).await;
    drop(console);
    display.close().await;
    if let Some(announce) = announce {
        announce.abort();
    }
    arguments.printing.print(std::slice::from_ref(&report))?;
    Ok(report.verdict.exit_code())
}

/// The first line on standard output of an open rehearsal.
async fn announce(
    mut progress: tokio::sync::watch::Receiver<crate::dock::console::Progress>,
) -> std::io::Result<()> {
    let url = match progress.wait_for(|moment| moment.open_at.is_some()).await {
        Ok(moment) => moment.open_at.clone().unwrap_or_default(),
        Err(_) => return Ok(()),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{url}")?;
    out.flush()
}

/// Runs `drydock run`.
pub(super) async fn run(arguments: RunArgs) -> Result<ExitCode> {
    if !arguments.yes && !std::io::stdin().is_terminal() {
        bail!("nobody is there to be asked: add --yes to upgrade without asking");
    }
    let mut local = prepare(&arguments.specification, None)?;
    let stop = signals::stop()?;
    let (display, console) = Display::open(arguments.printing.quiet, stop.clone());
    let rehearsed = local.rehearse(&console).await;
    drop(console);
    display.close().await;

    let pending = rehearsed.verdict == Verdict::Passed && !rehearsed.nothing_to_do;
    if !pending {
        arguments.printing.print(std::slice::from_ref(&rehearsed))?;
        return Ok(rehearsed.verdict.exit_code());
    }
    if !arguments.yes {
        // Whoever is asked must have seen what will happen.
        arguments.printing.print(std::slice::from_ref(&rehearsed))?;
        if !confirm(&local.name())? {
            write_line("drydock: not upgraded");
            return Ok(rehearsed.verdict.exit_code());
        }
    }
    let (display, console) = Display::open(arguments.printing.quiet, stop);
    let upgraded = local.upgrade(&rehearsed, &console).await;
    drop(console);
    display.close().await;
    let code = upgraded.verdict.exit_code();
    if arguments.yes {
        arguments.printing.print(&[rehearsed, upgraded])?;
    } else {
        arguments.printing.print(&[upgraded])?;
    }
    Ok(code)
}

fn confirm(database: &str) -> Result<bool> {
    let mut err = std::io::stderr().lock();
    write!(err, "\nUpgrade {database} for real? [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn prepare(arguments: &SpecificationArgs, listen: Option<SocketAddr>) -> Result<Local> {
    let specification = arguments.read(listen.is_some())?;
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Given {
        target,
        dialect,
        text,
    } = database::find(arguments.database_url.as_deref(), &environment)?;
    let mut plan = Plan::of(&specification.spec);
    if !specification.variables.is_empty() {
        plan.expose.url = specification.variables;
    }
    // A variable that holds the real address must not reach the rehearsed command as it is.
    for name in database::VARIABLES {
        if environment.get(name) == text.as_ref() && text.is_some() {
            plan.expose.url.push(name.to_owned());
        }
    }
    plan.expose.url.sort();
    plan.expose.url.dedup();
    plan.expose.libpq = dialect.is_environment();
    Ok(Local::new(plan, target, dialect, text, listen))
}
