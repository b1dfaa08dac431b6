//! The command line: arguments in, one library call each, an exit code out.
//!
//! Standard output carries data only (a report, the CRD, the URL of an open rehearsal); everything
//! else goes to standard error.

mod check;
mod controller;
mod database;
mod display;
mod output;
mod pipeline;
mod report;
mod signals;
mod specification;
mod step;
mod wait;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::telemetry;
use crate::verdict::ExitCode;

/// Rehearse a database migration against the real PostgreSQL, prove the rollback, then upgrade.
#[derive(Debug, Parser)]
#[command(
    name = "drydock",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "\
Exit codes:
  0 passed                  1 the migration failed       2 usage
  3 not rehearsed           4 rollback not verified      5 budget exceeded
  6 environment (retryable) 7 drift                      8 upgrade failed
  9 upgrade diverged       10 `wait` timed out         130 interrupted, rolled back and verified"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Rehearse(pipeline::RehearseArgs),
    Run(pipeline::RunArgs),
    Check(check::CheckArgs),
    Wait(wait::WaitArgs),
    Report(report::ReportArgs),
    Controller(controller::ControllerArgs),
    /// Print the CustomResourceDefinition as YAML
    Crd,
    /// Run one step of a pod; the controller's Jobs call it
    #[command(hide = true, subcommand)]
    Step(step::Step),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  drydock completions bash > /etc/bash_completion.d/drydock
  drydock completions zsh > \"${fpath[1]}/_drydock\"
  drydock completions fish > ~/.config/fish/completions/drydock.fish")]
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Runs the program with its arguments (the program's own name first).
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::Usage
            } else {
                ExitCode::Passed
            };
        }
    };
    let result = match cli.command {
        Command::Crd => crate::api::crd_yaml()
            .map_err(anyhow::Error::from)
            .and_then(|yaml| print(&yaml)),
        Command::Rehearse(arguments) => local(pipeline::rehearse(arguments)),
        Command::Run(arguments) => local(pipeline::run(arguments)),
        Command::Check(arguments) => local(check::run(arguments)),
        Command::Step(step) => {
            telemetry::install(telemetry::Format::Json, filter().as_deref(), "drydock=info");
            on_runtime(step::run(step))
        }
        Command::Report(arguments) => report::run(&arguments),
        Command::Wait(arguments) => wait::run(arguments),
        Command::Controller(arguments) => controller::run(arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "drydock", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::Usage
    })
}

/// Runs something for people: only warnings are logged, and plainly.
fn local(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    telemetry::install(
        telemetry::Format::Plain,
        filter().as_deref(),
        "drydock=warn",
    );
    on_runtime(work)
}

fn filter() -> Option<String> {
    std::env::var("DRYDOCK_LOG").ok()
}

/// One worker serves every socket, so that no message is handed from thread to thread; what computes
/// for long runs on this thread or, as the display does, on one of its own.
fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start")?;
    let result = runtime.block_on(work);
    // A thread may still wait for a line on standard input that nobody will write.
    runtime.shutdown_background();
    result
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A reader that has seen enough (`| head`) is no error.
fn written(result: std::io::Result<()>) -> anyhow::Result<ExitCode> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(ExitCode::Passed),
    }
}

/// `drydock: what: because: of what`, on standard error.
fn complain(error: &anyhow::Error) {
    let mut text = String::from("drydock: ");
    for (index, cause) in error.chain().enumerate() {
        if index > 0 {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
    }
    text.push('\n');
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
