//! The user's container: finds the sidecar, runs what it says.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{Folders, Link};
use crate::dock::files::StorageError;
use crate::dock::record::Said;
use crate::dock::trouble::chain;
use crate::dock::{files, link, runner};
use crate::verdict::{Environment, Verdict};

/// How long the sidecar may take until it serves; it and this container start in the same second.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held by the kernel for as long as the runner's process lives, and so for as long as the command
/// can: a container's other processes go with its first one.
fn hold(folders: &Folders) -> Result<File, Said> {
    let path = folders.runner();
    let failed = |source: std::io::Error| {
        Said::from(StorageError::Write {
            path: path.clone(),
            source,
        })
    };
    let file = File::create(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    files::readable_by_all(&path)?;
    Ok(file)
}

/// Waits until the runner is gone, however it ended; at once when it never began.
///
/// # Errors
/// When the volume cannot be read.
pub(super) async fn over(folders: &Folders) -> Result<(), StorageError> {
    let path = folders.runner();
    let failed = |source| StorageError::Read {
        path: path.clone(),
        source,
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// Runs the command that the sidecar names.
///
/// # Errors
/// When the sidecar cannot be found.
pub async fn run(
    folders: &Folders,
    output: mpsc::Sender<Bytes>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Said> {
    let _alive = hold(folders)?;
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
