//! `drydock wait`: until the gate is open.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::api::Duration;
use crate::operator::wait::{Request, Subject, Waited, wait};
use crate::verdict::ExitCode;

/// Wait until the gate of a Migration is open.
///
/// Ends early, with the verdict's exit code, when the Migration comes to a standstill.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock wait orders -n shop                        the present specification
  drydock wait orders --image registry.example/orders:v42
  drydock wait --apply migration.yaml                apply it first (Helm hook, CI)")]
pub(super) struct WaitArgs {
    /// The Migration's name
    #[arg(required_unless_present = "apply", conflicts_with = "apply")]
    name: Option<String>,
    /// Apply the Migration in this file first (`-`: standard input), never by force
    #[arg(long, value_name = "FILE")]
    apply: Option<PathBuf>,
    /// Wait until this image is released, whatever the specification names
    #[arg(long)]
    image: Option<String>,
    /// The Migration's namespace; default: the file's, the context's, or the pod's
    #[arg(short, long)]
    namespace: Option<String>,
    /// How long to wait, e.g. 90s or 1h30m
    #[arg(long, default_value = "30m")]
    timeout: Duration,
}

/// Runs the subcommand.
pub(super) fn run(arguments: WaitArgs) -> Result<ExitCode> {
    let subject = match (arguments.apply, arguments.name) {
        (Some(path), _) => Subject::Apply(read(&path)?),
        (None, Some(name)) => Subject::Name(name),
        (None, None) => anyhow::bail!("give a Migration's name, or --apply FILE"),
    };
    let request = Request {
        namespace: arguments.namespace,
        subject,
        image: arguments.image,
        timeout: arguments.timeout.get(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let waited = runtime.block_on(wait(&request, |ready| {
        // A standstill's message begins with its reason.
        if ready.message.starts_with(&ready.reason) {
            say(&ready.message);
        } else {
            say(&format!("{}: {}", ready.reason, ready.message));
        }
    }));
    Ok(match waited {
        Ok(Waited::Open { message }) => {
            say(&message);
            ExitCode::Passed
        }
        Ok(Waited::Stalled { code, .. }) => code,
        Ok(Waited::TimedOut { message }) => {
            say(&format!("the time is over: {message}"));
            ExitCode::WaitTimedOut
        }
        Err(error) => {
            let code = error.exit_code();
            super::complain(&anyhow::Error::from(error));
            code
        }
    })
}

fn read(path: &PathBuf) -> Result<String> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "drydock: {line}");
}
