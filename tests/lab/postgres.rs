//! Real PostgreSQL servers for integration tests: `#[path = "lab/postgres.rs"] mod postgres;`.
//!
//! A test takes a database of its own on the server that its process shares:
//!
//! ```ignore
//! let database = postgres::Server::shared().database();
//! database.psql("CREATE TABLE orders (id bigint)");
//! ```
//!
//! A test that needs a server of its own (other settings, TLS, passwords, a crash) asks [`Options`]
//! for one. Either is gone when the test process is, however that ended.
//!
//! `DRYDOCK_TEST_PG` chooses the major version (18 by default). Where the server's programs are
//! missing a test fails and says how to install them: a test that did not run must not pass.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Every major version that drydock supports.
pub const MAJORS: [u8; 6] = [13, 14, 15, 16, 17, 18];

/// The major version that this run of the tests is about.
pub fn major() -> u8 {
    match std::env::var("DRYDOCK_TEST_PG") {
        Ok(value) => value
            .parse()
            .ok()
            .filter(|major| MAJORS.contains(major))
            .unwrap_or_else(|| panic!("DRYDOCK_TEST_PG is {value:?}, not one of {MAJORS:?}")),
        Err(_) => 18,
    }
}

/// What a server is started with, beyond the defaults of the lab.
#[derive(Debug)]
pub struct Options {
    major: u8,
    conf: Vec<String>,
    hba: Option<Vec<String>>,
    address: Option<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Options {
    /// A server of that major version which trusts everybody on 127.0.0.1.
    pub fn new(major: u8) -> Self {
        Self {
            major,
            conf: Vec::new(),
            hba: None,
            address: None,
            files: Vec::new(),
        }
    }

    /// A line for postgresql.conf; it wins over the lab's own.
    pub fn conf(mut self, line: impl Into<String>) -> Self {
        self.conf.push(line.into());
        self
    }

    /// A line for pg_hba.conf. The first one replaces the lab's trust; the superuser `postgres`
    /// always gets in through the Unix socket, for the test's own questions.
    pub fn hba(mut self, line: impl Into<String>) -> Self {
        self.hba.get_or_insert_default().push(line.into());
        self
    }

    /// Listens on this address instead of 127.0.0.1, for clients that are elsewhere, such as pods.
    /// They need a password; the superuser's is `lab`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// A file of the data directory, such as a certificate, readable by the server alone.
    pub fn file(mut self, name: impl Into<String>, contents: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), contents.into()));
        self
    }

    /// Initialises a data directory and starts the server: about a second.
    pub fn start(self) -> Server {
        let programs = programs(self.major);
        let folder = tempfile::Builder::new()
            .prefix("drydock-pg-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let address = self.address.as_deref().unwrap_or("127.0.0.1");
        let conf = [
            "fsync = off".to_owned(),
            "full_page_writes = off".to_owned(),
            "shared_buffers = 32MB".to_owned(),
            format!("listen_addresses = '{address}'"),
            format!("unix_socket_directories = '{}'", folder.display()),
            // So that PREPARE TRANSACTION is refused by drydock and not by the server's default.
            "max_prepared_transactions = 10".to_owned(),
            "log_line_prefix = '%m [%p] %q%a %u@%d '".to_owned(),
        ];
        let hba = self.hba.unwrap_or_else(|| {
            let everybody = match self.address {
                None => "host all,replication all 127.0.0.1/32 trust",
                Some(_) => "host all,replication all all scram-sha-256",
            };
            vec!["local all all trust".to_owned(), everybody.to_owned()]
        });
        write(
            &folder,
            "postgresql.conf",
            &lines(conf.iter().chain(&self.conf)),
        );
        write(
            &folder,
            "pg_hba.conf",
            &format!("local all postgres trust\n{}", lines(&hba)),
        );
        std::fs::create_dir(folder.join("files")).expect("a folder for the server's files");
        for (name, contents) in &self.files {
            std::fs::write(folder.join("files").join(name), contents).expect("a server's file");
        }

        let mut child = Command::new(lab().join("postgres-server.sh"))
            .arg(&programs)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C on the terminal ends the test; the server then ends because the test did.
            .process_group(0)
            .spawn()
            .expect("tests/lab/postgres-server.sh");
        let control = Control {
            stdin: child.stdin.take().expect("a pipe"),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
        };
        let mut server = Server {
            major: self.major,
            host: address.to_owned(),
            port: 0,
            login: match self.address {
                None => "postgres",
                Some(_) => "postgres:lab",
            },
            folder,
            control: Some(Mutex::new(control)),
            child,
        };
        // Another test process may take the port between the look and the start.
        let started = (0..5).any(|_| {
            server.port = free_port(&server.host);
            server.ask(&format!("start {}", server.port))
        });
        assert!(
            started,
            "PostgreSQL {} did not start (its log is above)",
            server.major
        );
        if self.address.is_some() {
            let url = server.socket_url("postgres");
            psql(&url, "ALTER ROLE postgres PASSWORD 'lab'");
        }
        server
    }
}

/// A running PostgreSQL server; it is stopped and its data deleted when this value goes.
#[derive(Debug)]
pub struct Server {
    /// Its major version.
    pub major: u8,
    /// The address on which it listens.
    pub host: String,
    /// The port on which it listens.
    pub port: u16,
    login: &'static str,
    folder: PathBuf,
    // Taken before the child is waited for: closing it is what tells the child to end.
    control: Option<Mutex<Control>>,
    child: Child,
}

#[derive(Debug)]
struct Control {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    /// A server with the lab's defaults.
    pub fn start(major: u8) -> Self {
        Options::new(major).start()
    }

    /// The server of [`major`] that all tests of this process share.
    pub fn shared() -> &'static Self {
        Self::shared_of(major())
    }

    /// The server of that major version that all tests of this process share.
    pub fn shared_of(major: u8) -> &'static Self {
        static SERVERS: Mutex<BTreeMap<u8, &'static Server>> = Mutex::new(BTreeMap::new());
        SERVERS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(major)
            // Never dropped: its end is the end of the process.
            .or_insert_with(|| Box::leak(Box::new(Self::start(major))))
    }

    /// A new, empty database.
    pub fn database(&self) -> Database<'_> {
        self.create("")
    }

    /// A new database with all that is in another one, to which nobody may be connected.
    pub fn copy_of(&self, other: &Database<'_>) -> Database<'_> {
        self.create(&format!("TEMPLATE {}", other.name))
    }

    fn create(&self, how: &str) -> Database<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        psql(
            &self.socket_url("postgres"),
            &format!("CREATE DATABASE {name} {how}"),
        );
        Database {
            server: self,
            url: self.url(&name),
            name,
        }
    }

    /// The URL of one of its databases, over TCP and as the superuser.
    pub fn url(&self, database: &str) -> String {
        let Self {
            login, host, port, ..
        } = self;
        format!("postgresql://{login}@{host}:{port}/{database}")
    }

    /// The URL of one of its databases, over the Unix socket and as the superuser.
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://postgres@{folder}:{}/{database}", self.port)
    }

    /// The folder of its Unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).expect("the server's log")
    }

    /// Ends every session and the server; `pg_ctl stop -m fast`.
    pub fn stop(&self) {
        self.ask("stop fast");
    }

    /// Ends the server as a crash would: no goodbye, recovery at the next start.
    pub fn crash(&self) {
        self.ask("stop immediate");
    }

    /// Starts it again on the same port with the same data.
    pub fn restart(&self) {
        assert!(
            self.ask(&format!("start {}", self.port)),
            "PostgreSQL did not start again"
        );
    }

    fn ask(&self, command: &str) -> bool {
        let control = self
            .control
            .as_ref()
            .expect("a server that was not dropped");
        let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = String::new();
        let asked = writeln!(control.stdin, "{command}")
            .and_then(|()| control.stdout.read_line(&mut answer));
        assert!(
            asked.is_ok() && !answer.is_empty(),
            "the server's supervisor is gone"
        );
        answer.trim() == "ok"
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control = None;
        let _ = self.child.wait();
    }
}

/// A database of a [`Server`].
#[derive(Debug)]
pub struct Database<'server> {
    /// The server that holds it.
    pub server: &'server Server,
    /// Its name.
    pub name: String,
    /// Its URL over TCP, as the superuser.
    pub url: String,
}

impl Database<'_> {
    /// Runs SQL that must succeed; see [`psql`].
    pub fn psql(&self, sql: &str) -> String {
        psql(&self.server.socket_url(&self.name), sql)
    }

    /// Everything in it, as SQL; see [`pg_dump`].
    pub fn dump(&self) -> String {
        pg_dump(&self.server.socket_url(&self.name))
    }
}

/// Runs SQL with `psql`, statement by statement, and gives the rows, columns divided by `|`.
///
/// # Panics
/// With psql's own words when a statement fails.
pub fn psql(url: &str, sql: &str) -> String {
    try_psql(url, sql).unwrap_or_else(|error| panic!("psql failed:\n{error}\n{sql}"))
}

/// As [`psql`], with psql's words as the error.
pub fn try_psql(url: &str, sql: &str) -> Result<String, String> {
    let mut child = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set=ON_ERROR_STOP=1", "--file=-", "--dbname", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql, of the Debian package postgresql-client");
    // psql leaves at the first failure without having read the rest.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(sql.as_bytes());
    let output = child.wait_with_output().expect("psql's output");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned())
    }
}

/// A database's structure, rows and sequence values as SQL, the same for the same contents.
pub fn pg_dump(url: &str) -> String {
    let output = Command::new(cache().join("postgres/client/bin/pg_dump"))
        // Without a fixed key every dump holds a random one.
        .args(["--restrict-key=drydock", "--dbname", url])
        .output()
        .unwrap_or_else(|_| panic!("no pg_dump: run `make postgres`"));
    assert!(
        output.status.success(),
        "pg_dump failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The folder of a major version's server programs.
pub fn programs(major: u8) -> PathBuf {
    let folder = cache().join(format!("postgres/{major}/bin"));
    // The real path: the server's user may not be able to walk through the home of the test's user.
    folder.canonicalize().unwrap_or_else(|_| {
        panic!(
            "PostgreSQL {major} is not in {}: run `make postgres`",
            folder.display()
        )
    })
}

fn cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .expect("HOME or XDG_CACHE_HOME")
        .join("drydock-lab")
}

fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

/// A port that nothing listens on, below those that the kernel gives to outgoing connections.
fn free_port(host: &str) -> u16 {
    loop {
        let port = rand::random_range(20_000..30_000);
        if TcpListener::bind((host, port)).is_ok() {
            return port;
        }
    }
}

fn write(folder: &Path, name: &str, contents: &str) {
    std::fs::write(folder.join(name), contents).expect("a file of the server's settings");
}

fn lines<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}
