//! `drydock rehearse` and `drydock run`: the pipeline without a cluster.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::sync::watch;

use super::database::{self, Given};
use super::display::Display;
use super::output::{self, Format};
use super::signals;
use super::specification::SpecificationArgs;
use crate::api::Deniable;
use crate::dock::local::Local;
use crate::dock::plan::Plan;
use crate::dock::revisions::NOT_KNOWN;
use crate::postgres::url::{self, Environment, Target};
use crate::report::Report;
use crate::verdict::{ExitCode, Verdict};

/// Anything shorter is no address of a database, whatever else it may be.
const SHORTEST_ADDRESS: usize = 12;

/// Run a migration against the real database in a transaction that cannot commit, and prove it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock rehearse -- alembic upgrade head
  drydock rehearse --database-url postgresql://owner@db/orders --env ORDERS_DB -- ./migrate.sh
  drydock rehearse --each -- alembic upgrade head
  drydock rehearse -f migration.yaml -o markdown > comment.md
  drydock rehearse --listen 127.0.0.1:6543     any tool may connect; Ctrl-C ends it")]
pub(super) struct RehearseArgs {
    #[command(flatten)]
    specification: SpecificationArgs,
    #[command(flatten)]
    printing: PrintingArgs,
    /// Go the way back from each pending revision by itself, not from all of them together (Alembic)
    #[arg(
        long,
        conflicts_with_all = ["no_round_trip", "listen"],
        help_heading = "Round trip"
    )]
    each: bool,
    /// Open the rehearsal to any tool at this address; its URL is the first line on standard output
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
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
    /// Write up to five rows that an assertion finds to standard error, never into the report
    #[arg(long, conflicts_with = "quiet", help_heading = "Output")]
    show_rows: bool,
    /// With `-o sql`: write each statement as it was sent, with its literals and bind values. They
    /// may be secret, and are kept nowhere else
    #[arg(long, help_heading = "Output")]
    show_values: bool,
    /// Show neither progress nor the command's own output
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,
}

impl PrintingArgs {
    /// Prints, and says with which code to end: that of the verdict, unless all went well and only
    /// the report cannot be written.
    fn print(&self, reports: &[Report], verdict: &Verdict) -> ExitCode {
        let code = verdict.exit_code();
        let Err(error) = super::written(self.try_print(reports)) else {
            return code;
        };
        super::complain(&error);
        match code {
            ExitCode::Passed => ExitCode::Environment,
            worse => worse,
        }
    }

    fn try_print(&self, reports: &[Report]) -> std::io::Result<()> {
        output::print(reports, self.output, self.statements)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an IP address and a port, e.g. 127.0.0.1:6543; port 0 takes any free one".to_owned()
    })
}

/// Runs `drydock rehearse`.
pub(super) async fn rehearse(arguments: RehearseArgs) -> Result<ExitCode> {
    let mut local = prepare(
        &arguments.specification,
        &arguments.printing,
        arguments.listen,
        if arguments.each {
            WayBack::Each
        } else {
            WayBack::WhereKnown
        },
    )?;
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
    Ok(arguments
        .printing
        .print(std::slice::from_ref(&report), &report.verdict))
}

/// The first line on standard output of an open rehearsal.
async fn announce(
    mut progress: watch::Receiver<crate::dock::console::Progress>,
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
    let mut local = prepare(
        &arguments.specification,
        &arguments.printing,
        None,
        WayBack::OnDemand,
    )?;
    let stop = signals::stop()?;
    let (display, console) = Display::open(arguments.printing.quiet, stop.clone());
    let rehearsed = local.rehearse(&console).await;
    drop(console);
    display.close().await;

    let pending = rehearsed.verdict == Verdict::Passed && !rehearsed.nothing_to_do;
    if !pending {
        return Ok(arguments
            .printing
            .print(std::slice::from_ref(&rehearsed), &rehearsed.verdict));
    }
    if !arguments.yes {
        // Whoever is asked must have seen what will happen.
        arguments
            .printing
            .try_print(std::slice::from_ref(&rehearsed))
            .context("cannot write the report to standard output, so nothing is upgraded")?;
        if !confirm(&local.name(), stop.clone()).await? {
            write_line("drydock: not upgraded");
            // Not 0: whatever follows this command must not take the upgrade for done.
            return Ok(ExitCode::Interrupted);
        }
    }
    let (display, console) = Display::open(arguments.printing.quiet, stop);
    let upgraded = local.upgrade(&rehearsed, &console).await;
    drop(console);
    display.close().await;
    let verdict = upgraded.verdict.clone();
    let reports = if arguments.yes {
        vec![rehearsed, upgraded]
    } else {
        vec![upgraded]
    };
    Ok(arguments.printing.print(&reports, &verdict))
}

/// Asks on the terminal; Ctrl-C is a no.
async fn confirm(database: &str, mut stop: watch::Receiver<bool>) -> Result<bool> {
    {
        let mut err = std::io::stderr().lock();
        write!(err, "\nUpgrade {database} for real? [y/N] ")?;
        err.flush()?;
    }
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    let answer = tokio::select! {
        answer = answer => answer.context("cannot ask")??,
        Ok(_) = stop.wait_for(|stop| *stop) => {
            write_line("");
            return Ok(false);
        }
    };
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether the way back is gone where the specification does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WayBack {
    /// Where one is known.
    WhereKnown,
    /// It is not: an upgrade follows. No fixtures are let in either, since what they make the
    /// migration do is not what an upgrade does.
    OnDemand,
    /// From each revision, whatever the specification says.
    Each,
}

impl WayBack {
    fn decide(self, plan: &mut Plan, said: bool) -> Result<()> {
        let words = match (self, plan.rerun) {
            (Self::Each, _) => "--each goes the way back revision by revision",
            (_, true) => "--rerun (dryRun.rerun) runs Alembic's data migrations a second time",
            _ => "",
        };
        if !words.is_empty() {
            match plan.tool.alembic() {
                None => bail!("{words}, and this command is not Alembic's: leave it out"),
                Some(alembic) if alembic.history().is_none() => bail!("{words}, but {NOT_KNOWN}"),
                Some(_) => {}
            }
        }
        match self {
            Self::Each => (plan.each, plan.round_trip) = (true, true),
            Self::WhereKnown if !said => plan.round_trip = plan.tool.has_way_back(),
            Self::OnDemand | Self::WhereKnown => {}
        }
        Ok(())
    }
}

fn prepare(
    arguments: &SpecificationArgs,
    printing: &PrintingArgs,
    listen: Option<SocketAddr>,
    way_back: WayBack,
) -> Result<Local> {
    if printing.show_values && printing.output != Format::Sql {
        bail!("--show-values is for scripts only: add --output sql");
    }
    let specification = arguments.read(listen.is_some())?;
    if way_back == WayBack::OnDemand && !specification.spec.fixtures().is_empty() {
        bail!(
            "dryRun.fixtures are for `drydock rehearse`: with rows in the database that are none of \
             its own a dry run does not predict the upgrade. Rehearse with them, and `run` without"
        );
    }
    if listen.is_some() && !specification.spec.checks().is_empty() {
        bail!(
            "--listen opens the rehearsal to any tool and starts no command, so no checks either; \
             leave dryRun.checks out of the file"
        );
    }
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Given {
        target,
        dialect,
        text,
    } = database::find(arguments.database_url.as_deref(), &environment)?;
    let mut plan = Plan::of(&specification.spec);
    plan.show_rows = printing.show_rows;
    plan.show_values = printing.show_values;
    let said = specification.spec.dry_run.as_ref();
    let said = said.and_then(|dry_run| dry_run.round_trip).is_some();
    way_back.decide(&mut plan, said)?;
    looked_for(&plan, listen.is_some(), specification.spec.denied())?;
    if let Some(word) = naming(&plan.tool.command(), text.as_deref(), &target) {
        bail!(
            "the command itself names the database ({word}), so it would go around the rehearsal: \
             let it read the address from the variable, e.g. `-- sh -c 'psql \"$DATABASE_URL\" \
             …'`, with single quotes"
        );
    }
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

/// What is denied and never looked for would be let through.
fn looked_for(plan: &Plan, open: bool, denied: &[Deniable]) -> Result<()> {
    for code in denied {
        let (wanted, missing) = if code.is_of_rerun() {
            (plan.rerun, "--rerun (dryRun.rerun: Pending)")
        } else {
            (plan.round_trip, "--round-trip (dryRun.roundTrip: true)")
        };
        if open {
            bail!(
                "{code} is denied, and --listen looks for nothing of the kind: leave dryRun.deny out"
            );
        }
        if !wanted {
            bail!(
                "{code} is denied, and without {missing} nobody looks for it: add that, or leave it out of --deny (dryRun.deny)"
            );
        }
    }
    Ok(())
}

/// The word of a command that names the very database, without its password: usually a variable that
/// the shell has already replaced.
fn naming(command: &[String], text: Option<&str>, target: &Target) -> Option<String> {
    let same = |word: &str| {
        let Ok((named, _)) = url::parse(word, &Environment::new()) else {
            return false;
        };
        named.database == target.database
            && named.hosts.iter().any(|host| {
                target
                    .hosts
                    .iter()
                    .any(|known| known.name == host.name && known.port == host.port)
            })
    };
    let found = command.iter().any(|word| {
        text.is_some_and(|text| text.len() >= SHORTEST_ADDRESS && word.contains(text))
            || word.contains("://") && same(word)
    });
    let hosts: Vec<String> = target.hosts.iter().map(ToString::to_string).collect();
    found.then(|| format!("{} at {}", target.database, hosts.join(",")))
}
