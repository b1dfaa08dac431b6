//! A rehearsal on a database of the lab, from a test that is not asynchronous.

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
        let runtime = Runtime::new().unwrap();
        let (target, _) = parse(&database.url, &Environment::new()).unwrap();
        let (rehearsal, port) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let major = u32::from(database.server.major);
            let settings = Settings {
                run: RunId("test".to_owned()),
                user: target.user.clone(),
                password: Some(Password::new("secret")),
                database: database.name.clone(),
                substitute_below: 64 * 1024 * 1024,
                startup: StartupSettings::for_major("drydock/test", major),
            };
            let rehearsal = Rehearsal::open(&target, settings).await.unwrap();
            rehearsal.serve(listener);
            (rehearsal, port)
        });
        let url = format!(
            "postgresql://{}:secret@127.0.0.1:{port}/{}",
            target.user, database.name
        );
        Self {
            runtime,
            rehearsal,
            url,
        }
    }

    /// Rolls back.
    pub(crate) fn finish(self) -> Record {
        self.runtime.block_on(self.rehearsal.finish())
    }
}
