//! `drydock report`: renders stored reports.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::output::{self, Format};
use crate::report::{FORMAT_VERSION, Report};
use crate::verdict::ExitCode;

/// Render a stored report.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  drydock rehearse -o json -- alembic upgrade head > report.json
  drydock report report.json -o html > report.html
  drydock report orders -n shop          the last report of the Migration `orders`
  kubectl logs job/orders-dryrun-… -c witness | drydock report")]
pub(super) struct ReportArgs {
    /// A file with reports as JSON, `-` for standard input, or the name of a Migration in the
    /// cluster; standard input when omitted
    #[arg(value_name = "FILE|NAME")]
    source: Option<String>,
    /// The form
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// List every statement, not only those that failed
    #[arg(long)]
    statements: bool,
    /// The Migration's namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &ReportArgs) -> Result<ExitCode> {
    let bytes = match arguments.source.as_deref() {
        None | Some("-") => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .context("cannot read standard input")?;
            bytes
        }
        Some(name) => {
            let path = PathBuf::from(name);
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
        }
    };
    let reports = parse(&unpacked(bytes)?)?;
    output::print(&reports, arguments.output, arguments.statements)
        .context("cannot write to standard output")?;
    Ok(ExitCode::Passed)
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
