//! `drydock step …`: what runs in a pod's containers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::signals;
use crate::api::{MigrationSpec, pod};
use crate::dock::console::{Console, Progress};
use crate::dock::plan::Plan;
use crate::dock::pod::{self as steps, Folders, Pod};
use crate::dock::record::{Run, Said};
use crate::dock::trouble::chain;
use crate::postgres::url::{self, Environment, Parts, Password};
use crate::report::{Phase, RunId};
use crate::verdict::{Environment as Cause, EvidenceDigest, ExitCode, Verdict};

/// The steps.
#[derive(Debug, Subcommand)]
pub(super) enum Step {
    /// Copy the binary and look at the database (init container)
    Prepare {
        /// Which run this is
        #[arg(long, value_enum)]
        phase: PhaseArg,
    },
    /// Hold the rehearsal (sidecar of the dry run)
    Rehearse,
    /// Guard the upgrade (sidecar of the upgrade)
    Upgrade,
    /// Run the user's command (main container)
    Run,
    /// Verify, decide and report (main container)
    Verify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PhaseArg {
    DryRun,
    Upgrade,
}

/// Runs one step.
pub(super) async fn run(step: Step) -> Result<ExitCode> {
    let stop = signals::stop()?;
    if matches!(step, Step::Run) {
        return runner(stop).await;
    }
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let folders = folders();
    let pod = match from_environment(&environment, folders.clone()) {
        Ok(pod) => pod,
        Err(said) => {
            let run = Run {
                id: RunId(environment.get(pod::ENV_RUN).cloned().unwrap_or_default()),
                attempt: 1,
                command: Vec::new(),
                tool: String::new(),
                started: Timestamp::now(),
            };
            let phase = match step {
                Step::Prepare {
                    phase: PhaseArg::Upgrade,
                }
                | Step::Upgrade => Phase::Upgrade,
                _ => Phase::DryRun,
            };
            return finish(&step, steps::end(&run, phase, &folders, said));
        }
    };
    let console = Console {
        output: mpsc::channel(1).0,
        progress: watch::channel(Progress::default()).0,
        stop,
    };
    match step {
        Step::Prepare { phase } => {
            let phase = match phase {
                PhaseArg::DryRun => Phase::DryRun,
                PhaseArg::Upgrade => Phase::Upgrade,
            };
            let program = std::env::current_exe().context("cannot find this program's own file")?;
            match steps::prepare(&pod, phase, &program, &console).await {
                Ok(()) => Ok(ExitCode::Passed),
                Err(said) => finish(&step, steps::end(&pod.run, phase, &folders, said)),
            }
        }
        Step::Rehearse | Step::Upgrade => {
            let served = match step {
                Step::Rehearse => steps::rehearse(&pod, &console).await,
                _ => steps::upgrade(&pod, &console).await,
            };
            match served {
                Ok(()) => Ok(ExitCode::Passed),
                Err(said) => {
                    tracing::error!(message = said.message, "the sidecar could not serve");
                    Ok(said.verdict.exit_code())
                }
            }
        }
        Step::Verify => finish(&step, steps::verify(&pod, &console).await),
        Step::Run => Ok(ExitCode::Passed),
    }
}

/// In the user's container: the command's output is the container's log.
async fn runner(stop: watch::Receiver<bool>) -> Result<ExitCode> {
    let (output, mut chunks) = mpsc::channel::<bytes::Bytes>(64);
    let log = tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            let _ = std::io::stdout().lock().write_all(&chunk);
        }
        let _ = std::io::stdout().lock().flush();
    });
    let outcome = steps::run(&folders(), output, stop).await;
    let _ = log.await;
    Ok(match outcome {
        Ok(()) => ExitCode::Passed,
        Err(said) => {
            let _ = writeln!(std::io::stderr().lock(), "drydock: {}", said.message);
            said.verdict.exit_code()
        }
    })
}

/// The report as one line on standard output: the controller reads it from the log.
fn finish(step: &Step, (report, json): (crate::report::Report, Vec<u8>)) -> Result<ExitCode> {
    if matches!(step, Step::Verify | Step::Prepare { .. }) {
        let mut out = std::io::stdout().lock();
        out.write_all(&json)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .context("cannot write the report to standard output")?;
    }
    if report.verdict != Verdict::Passed {
        tracing::error!(message = report.message, "the run did not pass");
    }
    Ok(report.verdict.exit_code())
}

fn from_environment(environment: &Environment, folders: Folders) -> std::result::Result<Pod, Said> {
    let missing = |what: String| Said::new(Verdict::Environment(Cause::Configuration), what);
    let get = |name: &str| {
        environment
            .get(name)
            .ok_or_else(|| missing(format!("the variable {name} is not set")))
    };
    let run = get(pod::ENV_RUN)?.clone();
    let spec: MigrationSpec = serde_json::from_str(get(pod::ENV_SPEC)?)
        .map_err(|error| missing(format!("{} is malformed: {error}", pod::ENV_SPEC)))?;
    let attempt = environment
        .get(pod::ENV_ATTEMPT)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let given = certificates(|path| Path::new(path).exists());
    let text = environment.get(pod::ENV_DATABASE_URL).cloned();
    let (target, dialect) = match &text {
        Some(text) => url::parse(text.trim(), &given),
        None => url::from_parts(parts(environment), &given),
    }
    .map_err(|error| missing(format!("the database's address: {}", chain(&error))))?;
    let plan = Plan::of(&spec);
    Ok(Pod {
        run: Run {
            id: RunId(run),
            attempt,
            command: plan.tool.command(),
            tool: plan.tool.name().to_owned(),
            started: Timestamp::now(),
        },
        plan,
        target,
        dialect,
        text: text.map(|text| text.trim().to_owned()),
        evidence: environment.get(pod::ENV_EVIDENCE).map(EvidenceDigest::new),
        folders,
    })
}

fn parts(environment: &Environment) -> Parts {
    let get = |name: &str| {
        environment
            .get(name)
            .filter(|text| !text.is_empty())
            .cloned()
    };
    Parts {
        host: get(pod::ENV_DATABASE_HOST),
        port: get(pod::ENV_DATABASE_PORT).and_then(|text| text.parse().ok()),
        database: get(pod::ENV_DATABASE_NAME),
        user: get(pod::ENV_DATABASE_USER),
        password: get(pod::ENV_DATABASE_PASSWORD).map(Password::new),
        keywords: BTreeMap::new(),
    }
}

/// Where the volumes are mounted; DRYDOCK_ROOT moves them all, for tests of the steps without a pod.
fn folders() -> Folders {
    match std::env::var_os("DRYDOCK_ROOT") {
        Some(root) => Folders::below(Path::new(&root)),
        None => Folders::default(),
    }
}

/// Mounted certificates fill what the URL leaves open, as libpq's variables do. Whoever gives
/// authorities wants the server verified, and libpq's default mode would not do it.
fn certificates(mounted: impl Fn(&str) -> bool) -> Environment {
    [
        ("PGSSLROOTCERT", pod::TLS_CA, pod::TLS_CA),
        ("PGSSLMODE", "verify-full", pod::TLS_CA),
        ("PGSSLCERT", pod::TLS_CERT, pod::TLS_CERT),
        ("PGSSLKEY", pod::TLS_KEY, pod::TLS_KEY),
    ]
    .into_iter()
    .filter(|(_, _, path)| mounted(path))
    .map(|(name, value, _)| (name.to_owned(), value.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::postgres::dialect::Entrance;
    use crate::postgres::url::{RootCertificates, SslMode};

    #[rstest]
    #[case("postgresql://u@db/app", SslMode::VerifyFull)]
    #[case("postgresql://u@db/app?sslmode=verify-ca", SslMode::VerifyCa)]
    #[case("postgresql://u@db/app?sslmode=require", SslMode::Require)]
    #[case("host=db user=u", SslMode::VerifyFull)]
    fn certificate_authorities_that_are_given_verify_the_server_unless_the_url_says_otherwise(
        #[case] text: &str,
        #[case] mode: SslMode,
    ) {
        let (target, _) = url::parse(text, &certificates(|path| path == pod::TLS_CA)).unwrap();
        assert_eq!(target.tls.mode, mode);
        assert_eq!(target.tls.roots, RootCertificates::File(pod::TLS_CA.into()));
        let (target, _) = url::parse(text, &certificates(|path| path != pod::TLS_CA)).unwrap();
        assert_ne!(target.tls.mode, SslMode::VerifyFull, "a client's own only");
    }

    #[test]
    fn certificate_authorities_verify_the_server_of_a_database_in_parts_for_drydock_alone() {
        let variables = Environment::from([
            (pod::ENV_DATABASE_HOST.to_owned(), "db".to_owned()),
            (pod::ENV_DATABASE_USER.to_owned(), "u".to_owned()),
        ]);
        let given = certificates(|path| path == pod::TLS_CA);
        let (target, dialect) = url::from_parts(parts(&variables), &given).unwrap();
        assert_eq!(target.tls.mode, SslMode::VerifyFull);
        // The command's container has no such file.
        let real = dialect.render_real(&Entrance {
            host: "db".to_owned(),
            port: 5432,
            user: "u".to_owned(),
            password: None,
            database: "app".to_owned(),
        });
        assert_eq!(real, "postgresql://u@db:5432/app");
    }
}
