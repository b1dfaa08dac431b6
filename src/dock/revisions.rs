//! Reading Alembic's revisions where its command and its files are, without a database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::record::Said;
use super::tool::alembic::{
    Alembic, Heard, Lack, Revisions, calls_itself, is_for_several_databases, judge, lack,
};
use crate::report::{Check, Finding, Severity};
use crate::verdict::{Environment, NotRehearsed, Verdict};

/// How far below the working directory a revision file is looked for.
const DEPTH: usize = 6;

/// How many Python files are looked into.
const FILES: usize = 5_000;

/// What can be found.
pub const CODES: [&str; 12] = [
    "MissingDowngrade",
    "MissingRevision",
    "MultipleHeads",
    "NoRevisions",
    "RepeatedRevision",
    "RevisionCircle",
    "RevisionEnvironment",
    "RevisionFileBroken",
    "RevisionFilesNotRead",
    "RevisionsRefused",
    "SeveralBases",
    "SeveralDatabases",
];

/// Checks the revisions of the code that is here.
///
/// # Errors
/// When it is not known how Alembic is called, or it cannot be started.
pub async fn check(alembic: Option<&Alembic>) -> Result<Check, Said> {
    let (Some(command), target) = (
        alembic.and_then(Alembic::history),
        alembic.and_then(Alembic::target),
    ) else {
        return Err(Said::new(
            Verdict::NotRehearsed(NotRehearsed::NeverConnected),
            NOT_KNOWN,
        ));
    };
    let heard = hear(&command).await?;
    let here = PathBuf::from(".");
    let (revisions, mut findings) = judge(&heard, target, None, |id| file_of(&here, id));
    findings.extend(files(&Revisions::parse(&heard.output)));
    Ok(Check {
        drydock: env!("CARGO_PKG_VERSION").to_owned(),
        command,
        revisions,
        findings,
    })
}

/// Why nothing was looked at when the upgrade is a script of the user's own.
pub const NOT_KNOWN: &str = "how Alembic is called is not known from this command: say so in \
                             alembic.command (a wrapper that passes its arguments on will do)";

async fn hear(command: &[String]) -> Result<Heard, Said> {
    let (program, arguments) = command.split_first().ok_or_else(|| {
        Said::new(
            Verdict::Environment(Environment::CommandNotStarted),
            "no command was given",
        )
    })?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Said::new(
                Verdict::Environment(Environment::CommandNotStarted),
                format!("`{program}` could not be started: {error}"),
            )
        })?;
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push('\n');
    said.push_str(&String::from_utf8_lossy(&output.stdout));
    Ok(Heard {
        code: output.status.code(),
        output: said,
    })
}

/// What the files themselves say, as far as they are readable from here.
fn files(revisions: &Revisions) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unreadable = 0;
    let mut for_several = false;
    for revision in revisions.all().iter().rev() {
        let Ok(source) = std::fs::read_to_string(&revision.path) else {
            unreadable += 1;
            continue;
        };
        for_several |= is_for_several_databases(&source);
        let Some(lack) = lack(&source) else {
            continue;
        };
        findings.push(finding(
            "MissingDowngrade",
            Severity::Warning,
            format!(
                "the downgrade of revision `{}` {} ({})",
                revision.id,
                match lack {
                    Lack::Absent => "is missing",
                    Lack::Empty => "does nothing",
                    Lack::Raises => "only raises",
                },
                revision.path
            ),
        ));
    }
    if unreadable > 0 {
        findings.push(finding(
            "RevisionFilesNotRead",
            Severity::Info,
            format!("{unreadable} revision files cannot be read from here; their downgrades were not looked at"),
        ));
    }
    if for_several {
        findings.push(finding(
            "SeveralDatabases",
            Severity::Info,
            "the revisions are written for several databases (`upgrade(engine_name)`); a dry run \
             refuses them, since it would rehearse one and really migrate the others"
                .to_owned(),
        ));
    }
    findings
}

fn finding(code: &str, severity: Severity, message: String) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        message,
        statement: None,
    }
}

/// The file below a folder that calls itself by this identifier.
fn file_of(folder: &Path, revision: &str) -> Option<String> {
    let mut open = BTreeMap::from([(folder.to_path_buf(), 0_usize)]);
    let mut left = FILES;
    while let Some((folder, depth)) = open.pop_first() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // A link may lead in a circle.
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                let skipped = name.starts_with('.')
                    || ["site-packages", "node_modules", "__pycache__"].contains(&&*name);
                if depth < DEPTH && !skipped {
                    open.insert(path, depth + 1);
                }
            } else if kind.is_file() && name.ends_with(".py") {
                left = left.checked_sub(1)?;
                if std::fs::read_to_string(&path)
                    .is_ok_and(|source| calls_itself(&source, revision))
                {
                    let path = path.strip_prefix(".").unwrap_or(&path);
                    return Some(path.display().to_string());
                }
            }
        }
    }
    None
}
