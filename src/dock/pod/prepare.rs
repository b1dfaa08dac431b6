//! The init container: the binary for the runner, and an early look at the database.

use std::path::Path;
use std::time::Duration;

use crate::dock::before::Before;
use crate::dock::console::Console;
use crate::dock::decide::{Standing, standing};
use crate::dock::files;
use crate::dock::lease::Lease;
use crate::dock::record::Said;
use crate::report::Phase;
use crate::verdict::Verdict;

use super::{Pod, evidence};

/// How long another run may still hold the database before this one gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Copies the binary and sees whether the run can begin at all. The sidecar looks again under the
/// lock, so nothing here is relied on: it only lets a hopeless run end before an image is started.
///
/// # Errors
/// The verdict that ends the run.
pub async fn prepare(
    pod: &Pod,
    phase: Phase,
    program: &Path,
    console: &Console,
) -> Result<(), Said> {
    tokio::select! {
        looked = look(pod, phase, program) => looked,
        () = console.stopped() => Err(Said::new(
            Verdict::Interrupted,
            "the pod was stopped before anything was begun",
        )),
    }
}

async fn look(pod: &Pod, phase: Phase, program: &Path) -> Result<(), Said> {
    files::copy_program(program, &pod.folders.bin.join("drydock"))?;
    files::open_to_all(&pod.folders.results)?;
    let mut lease = Lease::take(&pod.target, &pod.run.id, PATIENCE).await?;
    if phase == Phase::DryRun {
        return Ok(());
    }
    let (report, _) = evidence(pod)?;
    lease.must_be(report.database.as_ref())?;
    let before = Before::take(&mut lease, &pod.plan.tool).await?;
    let Some(predicted) = &report.prediction else {
        return Ok(());
    };
    match standing(&before.state, predicted, pod.plan.tool.remembers()) {
        Standing::AsBefore | Standing::AsPredicted => Ok(()),
        Standing::Elsewhere { what } => Err(Said::new(
            Verdict::Drift,
            format!(
                "the database is no longer as it was rehearsed on: {what}. Nothing was written; \
                 it is rehearsed again"
            ),
        )),
    }
}
