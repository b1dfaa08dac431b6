//! The pinned Python programs, and the projects beside this file.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A project's folder.
pub(crate) fn project(name: &str) -> PathBuf {
    folder().join(name)
}

/// A program of the Python environment.
pub(crate) fn program(name: &str) -> String {
    static FOLDER: OnceLock<String> = OnceLock::new();
    let bin = FOLDER.get_or_init(|| {
        let output = Command::new(folder().join("python"))
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/projects/python");
        assert!(
            output.status.success(),
            "no Python environment; its error is above"
        );
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    });
    format!("{bin}/{name}")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects")
}
