//! `drydock report`: renders stored reports.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::output::{self, Format};
use crate::operator::reports::{FetchError, fetch_reports};
use crate::report::{FORMAT_VERSION, Report};
use crate::verdict::ExitCode;

/// Render a stored report.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock rehearse -o json -- alembic upgrade head > report.json
  drydock report report.json -o html > report.html
  drydock report orders -n shop          the last run of the Migration `orders`
  kubectl logs job/orders-dryrun-… -c witness | drydock report")]
pub(super) struct ReportArgs {
    /// A file with reports as JSON, `-` for standard input, or the name of a Migration in the
    /// cluster; standard input when omitted
    ///
    /// A name that is also a file's is the file, unless --namespace is given.
    #[arg(value_name = "FILE|NAME")]
    source: Option<String>,
    /// The form
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// List every statement, not only those that failed
    #[arg(long)]
    statements: bool,
    /// The Migration's namespace; default: the context's, or the pod's
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Where reports come from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Input,
    File(&'a Path),
    Cluster(&'a str),
}

impl ReportArgs {
    fn source(&self) -> Result<Source<'_>> {
        let Some(named) = self.source.as_deref() else {
            if self.namespace.is_some() {
                bail!("--namespace needs the name of a Migration");
            }
            return Ok(Source::Input);
        };
        if self.namespace.is_some() {
            return Ok(Source::Cluster(named));
        }
        let path = Path::new(named);
        Ok(if named == "-" {
            Source::Input
        } else if path.exists() || !could_be_a_name(named) {
            Source::File(path)
        } else {
            Source::Cluster(named)
        })
    }
}

/// Whether a missing file's name may have been meant for a Migration: Kubernetes would take it, and
/// it does not end as files with reports do.
fn could_be_a_name(text: &str) -> bool {
    let ends_like_a_file = [".json", ".gz", ".jsonl", ".log", ".txt"]
        .iter()
        .any(|end| text.ends_with(end));
    !ends_like_a_file
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}

/// Runs the subcommand.
pub(super) fn run(arguments: &ReportArgs) -> Result<ExitCode> {
    let reports = match arguments.source()? {
        Source::Input => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            parse(&unpacked(bytes)?)?
        }
        Source::File(path) => {
            let read = || -> Result<_> { parse(&unpacked(std::fs::read(path)?)?) };
            read().with_context(|| format!("cannot read {}", path.display()))?
        }
        Source::Cluster(name) => match fetch(arguments.namespace.as_deref(), name)? {
            Ok(reports) => reports,
            Err(error) => {
                let code = error.exit_code();
                super::complain(&match arguments.namespace {
                    Some(_) => anyhow::Error::from(error),
                    None => neither(name, error),
                });
                return Ok(code);
            }
        },
    };
    let printed = output::print(&reports, arguments.output, arguments.statements);
    super::written(printed)
}

/// For a name that could have been a file's as well as a Migration's.
fn neither(name: &str, error: FetchError) -> anyhow::Error {
    match error {
        FetchError::Missing { .. } => {
            anyhow::anyhow!("there is no file {name} here, and in the cluster {error}")
        }
        FetchError::Connect(_) | FetchError::Read { .. } => {
            anyhow::Error::from(error).context(format!(
                "there is no file {name} here, and the cluster cannot be asked for a Migration"
            ))
        }
        other => anyhow::Error::from(other),
    }
}

fn fetch(namespace: Option<&str>, name: &str) -> Result<Result<Vec<Report>, FetchError>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(fetch_reports(namespace, name)))
}

/// Stored reports are compressed; the magic number tells.
fn unpacked(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = flate2::write::GzDecoder::new(Vec::new());
    plain
        .write_all(&bytes)
        .context("the compressed report is damaged")?;
    plain.finish().context("the compressed report is damaged")
}

/// Reads documents one after another; other lines of a log around them are passed over.
fn parse(bytes: &[u8]) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    let mut trouble = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.first() != Some(&b'{') {
            continue;
        }
        let format: Result<Version, _> = serde_json::from_slice(line);
        match format {
            Ok(Version { format }) if format > FORMAT_VERSION => bail!(
                "the report has format {format}, and this drydock reads up to {FORMAT_VERSION}: \
                 use the drydock that wrote it, or a newer one"
            ),
            Ok(_) => reports.push(serde_json::from_slice(line).context("the report is damaged")?),
            Err(error) => trouble = Some(error),
        }
    }
    if reports.is_empty() {
        let error = anyhow::anyhow!(
            "there is no report in it: drydock writes one as a single line of JSON (`-o json`)"
        );
        return Err(match trouble {
            Some(trouble) => error.context(trouble.to_string()),
            None => error,
        });
    }
    Ok(reports)
}

#[derive(serde::Deserialize)]
struct Version {
    format: u32,
}
