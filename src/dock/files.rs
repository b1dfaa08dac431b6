//! The files through which the steps of a pod hand over.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use super::record::Said;
use super::trouble::chain;
use crate::verdict::{Environment, Verdict};

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Writing: the volume is missing, full or read-only.
    #[error("cannot write {path}", path = .path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Reading.
    #[error("cannot read {path}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The contents are not what they must be.
    #[error("{path} is damaged", path = .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl From<StorageError> for Said {
    fn from(error: StorageError) -> Self {
        Self::new(
            Verdict::Environment(Environment::Storage),
            format!(
                "{}; is the volume mounted, and is there room on it?",
                chain(&error)
            ),
        )
    }
}

/// Writes a document so that a reader sees all of it or nothing.
///
/// # Errors
/// Names the file.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StorageError> {
    let bytes = serde_json::to_vec(value).map_err(|source| StorageError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    write(path, &bytes)
}

/// Writes bytes so that a reader sees all of them or nothing.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let failed = |source| StorageError::Write {
        path: path.to_owned(),
        source,
    };
    let mut half = path.as_os_str().to_owned();
    half.push(".part");
    let half = PathBuf::from(half);
    let mut file = fs::File::create(&half).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    fs::rename(&half, path).map_err(failed)
}

/// Reads a document.
///
/// # Errors
/// Names the file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StorageError> {
    serde_json::from_slice(&read(path)?).map_err(|source| StorageError::Damaged {
        path: path.to_owned(),
        source,
    })
}

/// Reads bytes.
///
/// # Errors
/// Names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, StorageError> {
    fs::read(path).map_err(|source| StorageError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Copies a program and makes it executable for everybody.
///
/// # Errors
/// Names the file.
pub fn copy_program(from: &Path, to: &Path) -> Result<(), StorageError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| StorageError::Write {
        path: to.to_owned(),
        source,
    };
    fs::copy(from, to).map_err(failed)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o555)).map_err(failed)
}

/// Opens a folder to every user: the migration's container may run as any.
///
/// # Errors
/// Names the folder.
pub fn open_to_all(folder: &Path) -> Result<(), StorageError> {
    permit(folder, 0o777)
}

/// Lets every user read a file.
///
/// # Errors
/// Names the file.
pub fn readable_by_all(path: &Path) -> Result<(), StorageError> {
    permit(path, 0o444)
}

/// Only the owner may change a mode, so one that fits is left alone.
fn permit(path: &Path, mode: u32) -> Result<(), StorageError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| StorageError::Write {
        path: path.to_owned(),
        source,
    };
    let found = fs::metadata(path).map_err(failed)?.permissions().mode();
    if found & mode == mode {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_back_and_leaves_no_half_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write_json(&path, &vec![1, 2]).unwrap();
        assert_eq!(read_json::<Vec<i32>>(&path).unwrap(), [1, 2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_volume_is_named_and_is_the_environments_fault() {
        let said = Said::from(write(Path::new("/no/such/volume/x"), b"").unwrap_err());
        assert_eq!(said.verdict, Verdict::Environment(Environment::Storage));
        assert!(
            said.message
                .starts_with("cannot write /no/such/volume/x: No such file")
        );
    }
}
