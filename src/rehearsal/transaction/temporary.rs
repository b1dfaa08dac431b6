//! Temporary objects. The upstream session has one temporary schema, in which all clients' objects
//! live beside the tripwire; what a server does to them at COMMIT, at DISCARD and when a session
//! ends is done here, to the client's own and by name (manual, CREATE TABLE, "ON COMMIT").

use std::collections::BTreeSet;

use super::control::literal;
use super::event::Surroundings;
use super::replies::Addressee;
use super::upstream::NOT_EXACT;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::sql::OnCommit;
use crate::verdict::NotRehearsed;

/// An object by its catalogue and its OID there, as the server prints them: `1259,16384`.
pub(super) type Object = String;

/// A table on which a COMMIT acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Temporary {
    /// Its OID, which a renaming leaves alone.
    oid: String,
    action: OnCommit,
}

/// Objects in the temporary schema that are nobody's part.
const IN_THE_SCHEMA: &str = "d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
    AND d.refobjid = pg_catalog.pg_my_temp_schema() AND d.deptype = 'n' \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend whole WHERE whole.classid = d.classid \
    AND whole.objid = d.objid AND whole.deptype IN ('i', 'e'))";

/// A block that drops objects one by one, as long as there are any of them: the one takes others
/// along.
fn drop_all(objects: &BTreeSet<Object>) -> String {
    let objects: Vec<_> = objects.iter().map(|object| format!("({object})")).collect();
    format!(
        "DO $drydock$ DECLARE kind text; identity text; BEGIN LOOP \
         SELECT i.type, i.identity INTO kind, identity FROM pg_catalog.pg_depend d, \
         LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i \
         WHERE (d.classid, d.objid) IN ({}) AND {IN_THE_SCHEMA} LIMIT 1; EXIT WHEN NOT FOUND; \
         EXECUTE 'DROP ' || pg_catalog.replace(kind, ' object', '') || ' ' || identity || ' CASCADE'; \
         END LOOP; END $drydock$",
        objects.join(", ")
    )
}

/// A block that empties tables, if any row is in any of them: else it would write for nothing.
fn empty_all(tables: &[&str]) -> String {
    format!(
        "DO $drydock$ DECLARE one text; names text; filled bool; found_any bool := false; BEGIN \
         FOR one IN SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c \
         WHERE c.oid IN ({}) LOOP names := pg_catalog.concat_ws(', ', names, one); \
         EXECUTE 'SELECT EXISTS (SELECT FROM ' || one || ')' INTO filled; \
         found_any := found_any OR filled; END LOOP; \
         IF found_any THEN EXECUTE 'TRUNCATE ' || names; END IF; END $drydock$",
        tables.join(", ")
    )
}

impl<S: Surroundings> Transaction<S> {
    /// Keeps what the next COMMIT will have to do, once the table exists.
    pub(super) async fn remember_on_commit(
        &mut self,
        id: ClientId,
        table: &[u8],
        action: OnCommit,
    ) -> Flow<()> {
        self.settle().await?;
        if self.upstream.faulted {
            return Ok(());
        }
        let Some(table) = self.upstream.exactly(table) else {
            let message = format!(
                "what a COMMIT does to this temporary table cannot be rehearsed: {NOT_EXACT}"
            );
            return self
                .refuse(NotRehearsed::AmbiguousStatement, &message)
                .await;
        };
        let name = literal(&format!("pg_temp.{table}"));
        let sql = format!("SELECT pg_catalog.to_regclass({name})::oid");
        let rows = self.question(&sql).await?.unwrap_or_default();
        let oid = rows.into_iter().flatten().next().flatten();
        if let (Some(oid), Some(client)) = (oid, self.clients.get_mut(&id)) {
            client.on_commit.retain(|known| known.oid != oid);
            client.on_commit.push(Temporary { oid, action });
        }
        Ok(())
    }

    /// Sends what a COMMIT does to the client's temporary tables.
    pub(super) fn send_on_commit(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let of = |action: OnCommit| {
            let tables = client.on_commit.iter();
            tables.filter(move |table| table.action == action)
        };
        let to_empty: Vec<_> = of(OnCommit::DeleteRows).map(|t| t.oid.as_str()).collect();
        let to_drop: BTreeSet<_> = of(OnCommit::Drop)
            .map(|table| format!("'pg_catalog.pg_class'::pg_catalog.regclass, {}", table.oid))
            .collect();
        let empty = (!to_empty.is_empty()).then(|| empty_all(&to_empty));
        client
            .on_commit
            .retain(|table| table.action != OnCommit::Drop);
        self.send_drop_temporary(&to_drop);
        if let Some(empty) = empty {
            self.own_on_temporary(&empty, &Addressee::Check);
        }
    }

    /// A portal of the last Query would still be reading the tables.
    fn own_on_temporary(&mut self, sql: &str, addressee: &Addressee) {
        self.close_portal(b"");
        self.own(sql, addressee);
    }

    /// What the client whose session this is has in the temporary schema: all that is neither ours
    /// nor known to be another client's.
    pub(super) async fn temporary_objects(&mut self, id: ClientId) -> Flow<BTreeSet<Object>> {
        let ours = literal(&format!("pg_temp.{}", self.opening.names.table()));
        let sql = format!(
            "SELECT d.classid || ',' || d.objid FROM pg_catalog.pg_depend d WHERE {IN_THE_SCHEMA} \
             AND d.objid IS DISTINCT FROM pg_catalog.to_regclass({ours})::oid"
        );
        let rows = self.question(&sql).await?.unwrap_or_default();
        let others = |object: &Object| {
            self.clients
                .iter()
                .any(|(other, client)| *other != id && client.temporary.contains(object))
        };
        Ok(rows
            .into_iter()
            .flatten()
            .flatten()
            .filter(|object| !others(object))
            .collect())
    }

    /// Drops temporary objects of a client.
    pub(super) fn send_drop_temporary(&mut self, objects: &BTreeSet<Object>) {
        if !objects.is_empty() {
            self.deferred.stale();
            self.own_on_temporary(&drop_all(objects), &Addressee::Ours);
        }
    }
}
