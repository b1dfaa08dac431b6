//! Everything that is read before anything is changed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::Lease;
use super::record::Said;
use super::tool::Tool;
use super::trouble::{asking, with_the_lock, witnessing};
use crate::postgres::ask::{Ask, AskError, one};
use crate::postgres::{catalog, version_table, wait};
use crate::report::{Database, Prediction};
use crate::schema::{Difference, Fingerprint, Scope, Snapshot, Span, State, VersionTable};
use crate::witness;

/// How long reading before a run may wait for a lock: a rehearsal is open meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database before a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Before {
    /// Which database.
    pub database: Database,
    /// What the witness compares with.
    pub witness: witness::Before,
    /// The catalogue, both scopes.
    pub snapshot: Snapshot,
    /// What a prediction reads only changes with; whoever reads this from a file predicts nothing.
    #[serde(skip)]
    mark: catalog::Mark,
    /// Fingerprint of the schema with the version tables.
    pub state: State,
    /// Version tables besides the well-known ones.
    pub version_tables: Vec<String>,
    /// Who holds the rehearsal, in a dry run: the witness asks for it by name even when whoever
    /// opened it did not live to tell.
    pub holder: Option<Holder>,
    /// Who holds the second transaction, once there is one.
    #[serde(default)]
    pub again: Option<Holder>,
}

/// The server process that holds a rehearsal's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its process id.
    pub backend_pid: i32,
    /// Its top transaction id, when it began with one.
    pub xid: Option<u64>,
}

impl Before {
    /// Reads it all on the lease's own session.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn take(lease: &mut Lease, tool: &Tool) -> Result<Self, Said> {
        let major = lease.database.major;
        let version_tables = tool.version_tables().to_vec();
        let reading = async {
            wait::bound(&mut lease.client, PATIENCE).await?;
            let (snapshot, mark) = catalog::marked(&mut lease.client, major).await?;
            let state = state(&mut lease.client, &snapshot, &version_tables).await?;
            Ok((snapshot, mark, state))
        };
        let (snapshot, mark, state) = match reading.await {
            Ok(read) => read,
            Err(error) => {
                let said: Said = asking("read the schema", &error);
                let message = with_the_lock(&mut lease.client, said.message, &error).await;
                return Err(Said::new(said.verdict, message));
            }
        };
        let witness = witness::Before::take(&mut lease.client, major)
            .await
            .map_err(|error| witnessing(&error))?;
        Ok(Self {
            database: lease.database.clone(),
            witness,
            snapshot,
            mark,
            state,
            version_tables,
            holder: None,
            again: None,
        })
    }

    /// Says that the rehearsal has not changed anything yet.
    ///
    /// # Errors
    /// When the rehearsal does not answer.
    pub async fn begin(&mut self, asker: &mut impl Ask) -> Result<(), Said> {
        self.mark
            .begin(asker)
            .await
            .map_err(|error| asking("read what was written", &error))
    }

    /// Reads the state inside the rehearsal, just before the rollback: of the schema only what has
    /// changed, since the rehearsal's locks are held meanwhile.
    ///
    /// # Errors
    /// When the rehearsal does not answer.
    pub async fn foresee(&self, asker: &mut impl Ask) -> Result<Foreseen, Said> {
        let reading = async {
            let later = catalog::since(asker, self.database.major, &self.mark).await?;
            let versions = version_table::read(asker, &self.version_tables).await?;
            // Inside the transaction `now()` is its beginning, as for the command.
            let began = time(asker, "now()").await?;
            let during = began.zip(time(asker, "clock_timestamp()").await?);
            Ok(Foreseen {
                later,
                versions,
                during: during.map(|(from, to)| Span { from, to }),
            })
        };
        reading
            .await
            .map_err(|error: AskError| asking("read the predicted schema", &error))
    }

    /// The prediction, from what was read inside the rehearsal.
    ///
    /// # Errors
    /// When that does not fit what was read before.
    pub fn predict(&self, foreseen: Foreseen) -> Result<Prediction, Said> {
        let during = foreseen.during;
        let versions = foreseen.versions.clone();
        let after = self.whole(foreseen)?;
        Ok(Prediction {
            before: self.state.clone(),
            predicted: State {
                fingerprint: Fingerprint::of(&after.scoped(Scope::Schema)),
                versions,
            },
            difference: Difference::between(&self.snapshot, &after),
            during,
            pieces: None,
        })
    }

    /// The whole catalogue as it was inside the rehearsal.
    ///
    /// # Errors
    /// When what was read does not fit what was read before.
    pub fn whole(&self, foreseen: Foreseen) -> Result<Snapshot, Said> {
        foreseen
            .later
            .onto(&self.snapshot, &self.mark)
            .map_err(|error| asking("read the predicted schema", &error))
    }
}

/// What a rehearsal read of its own changes.
#[derive(Debug)]
pub struct Foreseen {
    later: catalog::Later,
    versions: BTreeMap<String, VersionTable>,
    during: Option<Span>,
}

/// The catalogue and the state of a database as somebody sees it.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn read(
    asker: &mut impl Ask,
    major: u32,
    version_tables: &[String],
) -> Result<(Snapshot, State), AskError> {
    let snapshot = catalog::snapshot(asker, major).await?;
    let state = state(asker, &snapshot, version_tables).await?;
    Ok((snapshot, state))
}

/// A time of the server's; `None` when it has no sense.
///
/// # Errors
/// When the server does not answer.
pub(super) async fn time(
    asker: &mut impl Ask,
    function: &str,
) -> Result<Option<Timestamp>, AskError> {
    let sql = format!("SELECT (extract(epoch FROM pg_catalog.{function}) * 1000000)::bigint");
    let micros = one(asker, "the time", &sql).await?;
    Ok(micros
        .parse()
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok()))
}

async fn state(
    asker: &mut impl Ask,
    snapshot: &Snapshot,
    version_tables: &[String],
) -> Result<State, AskError> {
    let versions = version_table::read(asker, version_tables).await?;
    Ok(State {
        fingerprint: Fingerprint::of(&snapshot.scoped(Scope::Schema)),
        versions,
    })
}
