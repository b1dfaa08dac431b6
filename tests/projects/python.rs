//! The pinned Python programs, and the projects beside this file.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// Alembic without its start, for tests that run it ten times each: the program, and the variable in
/// which it finds the process that has imported it already.
pub(crate) fn warm_alembic() -> (String, (&'static str, String)) {
    static SERVER: OnceLock<(Child, tempfile::TempDir)> = OnceLock::new();
    let (_, socket) = SERVER.get_or_init(|| {
        let socket = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new(program("python"))
            .arg(folder().join("warm/server.py"))
            .arg(socket.path().join("socket"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // It ends with this process, which holds the other end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/projects/warm/server.py");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut ready)
            .expect("its first line");
        assert_eq!(ready, "ready\n");
        (child, socket)
    });
    let address = socket.path().join("socket").display().to_string();
    let program = folder().join("warm/alembic").display().to_string();
    (program, ("WARM_ALEMBIC", address))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects")
}
