//! The user's container: finds the sidecar, runs what it says.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Folders, Link};
use crate::dock::record::Said;
use crate::dock::trouble::chain;
use crate::dock::{files, link, runner};
use crate::verdict::{Environment, Verdict};

/// How long the sidecar may take until it serves; it and this container start in the same second.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs the command that the sidecar names.
///
/// # Errors
/// When the sidecar cannot be found.
pub async fn run(
    folders: &Folders,
    output: mpsc::Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Said> {
    let began = Instant::now();
    let path = folders.link();
    while !path.exists() {
        if began.elapsed() > PATIENCE {
            return Err(Said::new(
                Verdict::Environment(Environment::Storage),
                format!("the sidecar never announced itself in {}", path.display()),
            ));
        }
        if tokio::time::timeout(LOOK_AGAIN, stop.wait_for(|stop| *stop))
            .await
            .is_ok_and(|asked| asked.is_ok())
        {
            return Ok(());
        }
    }
    let found: Link = files::read_json(&path)?;
    let runner = link::connect(found.address, &found.token)
        .await
        .map_err(|error| {
            Said::new(
                Verdict::Environment(Environment::ConnectionLost),
                chain(&error),
            )
        })?;
    runner::serve(runner, output, stop).await;
    Ok(())
}
