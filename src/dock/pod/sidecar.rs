//! The native sidecar: holds the database for as long as the pod's main containers live.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand::distr::{Alphanumeric, SampleString};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Folders, Link, Pod, Record, evidence};
use crate::dock::before::Before;
use crate::dock::command::Command;
use crate::dock::console::Console;
use crate::dock::files;
use crate::dock::lease::Lease;
use crate::dock::link::{self, LinkError, Sidecar};
use crate::dock::record::Said;
use crate::dock::rehearse::{Audience, Stage};
use crate::dock::trouble::chain;
use crate::dock::upgrade::Upgrading;
use crate::report::Phase;
use crate::verdict::{Environment, RollbackProof, Verdict, Verified};

/// The ports that are tried first, so that they can be recognised; any free one does.
const REHEARSAL_PORT: u16 = 6543;
const LINK_PORT: u16 = 6544;
/// How long another run may still hold the database.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the witness's mark is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the runner of an upgrade may take to appear: its image may still have to be pulled. That
/// of a dry run is waited for until somebody mends what keeps it, or gives the dry run up.
const RUNNER_PATIENCE: Duration = Duration::from_secs(600);

/// The sidecar of a dry run. Returns when it is signalled.
///
/// # Errors
/// When not even a record could be left.
pub async fn rehearse(pod: &Pod, console: &Console) -> Result<(), Said> {
    serve(pod, Phase::DryRun, console).await
}

/// The sidecar of an upgrade. Returns when it is signalled.
///
/// # Errors
/// When not even a record could be left.
pub async fn upgrade(pod: &Pod, console: &Console) -> Result<(), Said> {
    serve(pod, Phase::Upgrade, console).await
}

async fn serve(pod: &Pod, phase: Phase, console: &Console) -> Result<(), Said> {
    if pod.folders.started().exists() {
        if !pod.folders.record().exists() {
            files::write_json(&pod.folders.record(), &Record::Crashed)?;
        }
        console.stopped().await;
        return Ok(());
    }
    files::write(&pod.folders.started(), b"")?;
    let door = Door::open(pod).await?;
    let mut lease = None;
    let record = match attempt(pod, phase, console, door, &mut lease).await {
        Ok(record) => record,
        Err(said) => Record::NotStarted(said),
    };
    files::write_json(&pod.folders.record(), &record)?;
    // The lock outlives the command: it goes with this process, but for a dry run that passed. Then
    // the command has ended, nothing is left to be seen, and the upgrade is already waiting.
    tokio::select! {
        () = console.stopped() => return Ok(()),
        () = passed(&pod.folders), if phase == Phase::DryRun => {}
    }
    drop(lease);
    console.stopped().await;
    Ok(())
}

/// Ends when the witness has seen that the dry run passed.
async fn passed(folders: &Folders) {
    while !folders.passed().exists() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn attempt(
    pod: &Pod,
    phase: Phase,
    console: &Console,
    mut door: Door,
    held: &mut Option<Lease>,
) -> Result<Record, Said> {
    // Before the database is held: a runner that never comes must not keep others from it.
    let runner = door.runner(phase, console).await?;
    files::write(&pod.folders.begun(), b"")?;
    let lease = match Lease::take(&pod.target, &pod.run.id, PATIENCE).await {
        Ok(lease) => held.insert(lease),
        Err(said) => return Err(refuse(runner, said).await),
    };
    let keep = |before: &Before| Ok(files::write_json(&pod.folders.before(), before)?);
    match phase {
        Phase::DryRun => {
            let stage = Stage {
                plan: &pod.plan,
                run: &pod.run,
                dialect: &pod.dialect,
                secret: pod.target.password.as_ref(),
                console,
            };
            let audience = Audience::Command(runner);
            let address = free(REHEARSAL_PORT).await;
            let (_, record) = stage.rehearse(lease, address, audience, keep).await?;
            Ok(Record::DryRun(Box::new(record)))
        }
        Phase::Upgrade => {
            let (report, digest) = match evidence(pod) {
                Ok(found) => found,
                Err(said) => return Err(refuse(runner, said).await),
            };
            let proof = report
                .witness
                .as_ref()
                .map_or(RollbackProof::Unknown, |witness| witness.rollback);
            let verified = Verified::check(&report.verdict, proof, &digest, &digest);
            let (Ok(verified), Some(predicted)) = (verified, &report.prediction) else {
                let said = Said::new(
                    Verdict::Environment(Environment::Configuration),
                    "the stored report is not one of a dry run that passed; rehearse again",
                );
                return Err(refuse(runner, said).await);
            };
            let upgrading = Upgrading {
                plan: &pod.plan,
                run: &pod.run,
                dialect: &pod.dialect,
                text: pod.text.as_deref(),
                console,
                verified,
                rehearsed_on: report.database.as_ref(),
            };
            let (_, record) = upgrading.upgrade(lease, predicted, runner, keep).await?;
            Ok(Record::Upgrade(Box::new(record)))
        }
    }
}

/// Lets the runner end well, so that the witness's verdict is the only one.
async fn refuse(runner: Sidecar, said: Said) -> Said {
    Command::nothing(runner, &said.message).await;
    said
}

/// Where the runner comes in.
struct Door {
    waiting: JoinHandle<Result<Sidecar, LinkError>>,
}

impl Door {
    async fn open(pod: &Pod) -> Result<Self, Said> {
        let failed = |error: &dyn std::error::Error| {
            Said::new(
                Verdict::Environment(Environment::Configuration),
                format!("cannot listen for the runner: {}", chain(error)),
            )
        };
        let listener = TcpListener::bind(free(LINK_PORT).await)
            .await
            .map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let token = Alphanumeric.sample_string(&mut rand::rng(), 32);
        files::write_json(
            &pod.folders.link(),
            &Link {
                address,
                token: token.clone(),
            },
        )?;
        // The runner's container may run as any user.
        files::readable_by_all(&pod.folders.link())?;
        Ok(Self {
            waiting: tokio::spawn(async move { link::accept(&listener, &token).await }),
        })
    }

    async fn runner(&mut self, phase: Phase, console: &Console) -> Result<Sidecar, Said> {
        let lost = |why: &str| {
            Said::new(
                Verdict::Environment(Environment::CommandNotStarted),
                format!("the migration's container never asked for its command: {why}"),
            )
        };
        let late = async {
            match phase {
                Phase::DryRun => std::future::pending().await,
                Phase::Upgrade => tokio::time::sleep(RUNNER_PATIENCE).await,
            }
        };
        tokio::select! {
            joined = &mut self.waiting => match joined {
                Ok(Ok(sidecar)) => Ok(sidecar),
                Ok(Err(error)) => Err(lost(&chain(&error))),
                Err(error) => Err(lost(&chain(&error))),
            },
            () = late => Err(lost("it did not start in time")),
            () = console.stopped() => Err(Said::new(
                Verdict::Interrupted,
                "the pod was stopped before the command started",
            )),
        }
    }
}

/// A loopback address with that port, or with any when it is taken.
async fn free(port: u16) -> SocketAddr {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address).await {
        Ok(_) => address,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}
