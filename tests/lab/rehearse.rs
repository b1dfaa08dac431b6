//! A rehearsal on a database of the lab, from a test that is not asynchronous.

#![allow(dead_code)]

use drydock::postgres::ask::{Ask, Row};
use drydock::postgres::connect::StartupSettings;
use drydock::postgres::url::{Environment, Password, parse};
use drydock::rehearsal::proxy::{Record, Rehearsal, Settings};
use drydock::report::RunId;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::postgres::Database;

/// A rehearsal that serves.
pub(crate) struct Rehearsed {
    runtime: Runtime,
    rehearsal: Rehearsal,
    /// Where the command connects.
    pub(crate) url: String,
}

impl Rehearsed {
    /// Opens a rehearsal and listens on a free port.
    pub(crate) fn start(database: &Database<'_>) -> Self {
        Self::start_at(&database.url, &database.name, database.server.major)
    }

    /// The same over another way to the server.
    pub(crate) fn start_at(url: &str, database: &str, major: u8) -> Self {
        let runtime = Runtime::new().unwrap();
        let (target, _) = parse(url, &Environment::new()).unwrap();
        let (rehearsal, port) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let settings = Settings {
                run: RunId("test".to_owned()),
                user: target.user.clone(),
                password: Some(Password::new("secret")),
                database: database.to_owned(),
                substitute_below: 64 * 1024 * 1024,
                counting: std::time::Duration::from_millis(150),
                show_values: false,
                startup: StartupSettings::for_major("drydock/test", u32::from(major)),
            };
            let rehearsal = Rehearsal::open(&target, settings).await.unwrap();
            rehearsal.serve(listener);
            (rehearsal, port)
        });
        let url = format!(
            "postgresql://{}:secret@127.0.0.1:{port}/{database}",
            target.user
        );
        Self {
            runtime,
            rehearsal,
            url,
        }
    }

    /// The server process that holds the transaction.
    pub(crate) fn upstream_pid(&self) -> i32 {
        self.rehearsal.upstream().pid
    }

    /// Asks inside the transaction.
    pub(crate) fn ask(&self, sql: &str) -> Vec<Row> {
        let mut asker = self.rehearsal.asker();
        self.runtime.block_on(asker.ask(sql)).unwrap()
    }

    /// Sets the place to which `undo` leads.
    pub(crate) fn set_place(&self) {
        let asker = self.rehearsal.asker();
        self.runtime.block_on(asker.set_place()).unwrap();
    }

    /// Undoes what was done since.
    pub(crate) fn undo(&self) {
        let asker = self.rehearsal.asker();
        self.runtime.block_on(asker.undo()).unwrap();
    }

    /// Rolls back.
    pub(crate) fn finish(self) -> Record {
        self.runtime.block_on(self.rehearsal.finish())
    }
}
