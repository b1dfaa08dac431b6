//! CONCURRENTLY in true autocommit: the plain form stands for it where the table is small enough,
//! behind the real form's own refusals.

use std::sync::Arc;

use super::control::literal;
use super::event::{Note, PlainLock, Surroundings};
use super::order::{ConcurrentKind, Concurrently, Statement};
use super::replies::{Addressee, Simple, StatementId};
use super::upstream::NOT_EXACT;
use super::virtual_transaction::Virtual;
use super::{ClientId, Flow, Transaction};
use crate::rehearsal::wire::SqlState;
use crate::report::units::bytes;
use crate::report::{Finding, ServerError, Severity};
use crate::verdict::NotRehearsed;

/// Transactions of others that hold a snapshot for a second and more, and the oldest one's age.
/// Those that the role may not look at are not among them.
const OLD_TRANSACTIONS: &str = "SELECT count(*), \
    floor(extract(epoch FROM max(pg_catalog.clock_timestamp() - xact_start)))::bigint \
    FROM pg_catalog.pg_stat_activity WHERE backend_xmin IS NOT NULL \
    AND datname = pg_catalog.current_database() AND backend_type = 'client backend' \
    AND application_name NOT LIKE 'drydock/%' AND pid <> pg_catalog.pg_backend_pid() \
    AND pg_catalog.clock_timestamp() - xact_start > '1 second'";

/// DETACH PARTITION … CONCURRENTLY leaves the partition's bounds as a CHECK, except for a hash
/// partition's. The server keeps the constraint with its lists folded to constants.
fn leave_check(partition: &[u8]) -> String {
    let partition = literal(&String::from_utf8_lossy(partition));
    format!(
        "DO $drydock$ DECLARE bounds text; list text; folded text; BEGIN \
         SELECT pg_catalog.pg_get_partition_constraintdef(c.oid) INTO bounds \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits h ON h.inhrelid = c.oid \
         JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = h.inhparent \
         WHERE c.oid = pg_catalog.to_regclass({partition}) AND c.relispartition AND p.partstrat <> 'h'; \
         IF bounds IS NULL THEN RETURN; END IF; \
         FOR list IN SELECT DISTINCT one.parts[1] FROM pg_catalog.regexp_matches(bounds, '(ARRAY[[][^]]*[]])', 'g') AS one(parts) LOOP \
         EXECUTE 'SELECT pg_catalog.quote_literal((' || list || ')::text) || ''::'' || pg_catalog.pg_typeof(' || list || ')' INTO folded; \
         bounds := pg_catalog.replace(bounds, list, folded); END LOOP; \
         IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = pg_catalog.to_regclass({partition}) \
         AND k.contype = 'c' AND pg_catalog.pg_get_constraintdef(k.oid) = 'CHECK (' || bounds || ')') THEN \
         EXECUTE 'ALTER TABLE ' || pg_catalog.to_regclass({partition})::text || ' ADD CHECK (' || bounds || ')'; \
         END IF; END $drydock$"
    )
}

/// What the catalogue says about the object of a CONCURRENTLY statement.
struct Known {
    relkind: String,
    bytes: u64,
    default_partition: bool,
    /// The table is a system catalogue.
    system: bool,
    /// It, as `pg_class.oid`.
    object: u32,
    /// The table of an index.
    table: Option<u32>,
    /// The indexes of a table.
    indexes: Vec<u32>,
    /// The partition that is named with it.
    partition: Option<u32>,
}

impl Known {
    /// What the plain form locks and the real one does not.
    fn locks(&self, kind: ConcurrentKind) -> Vec<PlainLock> {
        let lock = |readers| move |relation| PlainLock { relation, readers };
        let object = Some(self.object);
        let (hard, soft): (Vec<u32>, Option<u32>) = match kind {
            ConcurrentKind::CreateIndex => (Vec::new(), object),
            ConcurrentKind::DropIndex => (object.into_iter().chain(self.table).collect(), None),
            ConcurrentKind::ReindexIndex => (vec![self.object], self.table),
            ConcurrentKind::ReindexTable => (self.indexes.clone(), object),
            ConcurrentKind::DetachPartition => {
                (object.into_iter().chain(self.partition).collect(), None)
            }
        };
        let soft = soft.into_iter().map(lock(false));
        hard.into_iter().map(lock(true)).chain(soft).collect()
    }
}

impl<S: Surroundings> Transaction<S> {
    /// Runs the plain form, or refuses. True when the table is too large: the verdict is said, and the
    /// server refuses the text itself.
    pub(super) async fn substitute(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        form: &Concurrently,
    ) -> Flow<bool> {
        self.begin_work(id);
        if form.several {
            self.fail(
                id,
                statement,
                SqlState::FEATURE_NOT_SUPPORTED,
                "DROP INDEX CONCURRENTLY does not support dropping multiple objects",
            );
            return Ok(false);
        }
        if form.cascade {
            self.fail(
                id,
                statement,
                SqlState::FEATURE_NOT_SUPPORTED,
                "DROP INDEX CONCURRENTLY does not support CASCADE",
            );
            return Ok(false);
        }
        let partition = match form.partition.as_slice() {
            [] => Some(None),
            name => self.upstream.exactly(name).map(|name| Some(literal(name))),
        };
        let (Some(object), Some(partition)) = (self.upstream.exactly(&form.object), partition)
        else {
            let message = format!(
                "a CONCURRENTLY statement cannot run inside a transaction, and how large its table is cannot be told: {NOT_EXACT}"
            );
            self.refuse_statement(id, statement, NotRehearsed::AmbiguousStatement, &message)
                .await?;
            return Ok(false);
        };
        let (object, partition) = (literal(object), partition.unwrap_or("NULL".to_owned()));
        let known = match self.look_up(&object, &partition).await? {
            Ok(Some(known)) => known,
            // The server says in its own words what is missing.
            Ok(None) => return self.run_plain(id, statement, form, None).await,
            Err(error) => {
                self.fail_with(id, statement, &error);
                return Ok(false);
            }
        };
        if let Some((code, message)) = refusal(form.kind, &known) {
            self.fail(id, statement, code, &message);
            return Ok(false);
        }
        if known.bytes >= self.opening.substitute_below {
            let message = format!(
                "a CONCURRENTLY statement cannot run inside a transaction, and its table holds {}, too much to run the plain form in its place (concurrently.substituteBelow: {})",
                bytes(known.bytes),
                bytes(self.opening.substitute_below)
            );
            self.not_rehearsed(NotRehearsed::CannotRunInTransaction, &message);
            return Ok(true);
        }
        self.run_plain(id, statement, form, Some(known)).await
    }

    /// What there is to know, of literals: the object, and the partition or NULL.
    async fn look_up(
        &mut self,
        name: &str,
        partition: &str,
    ) -> Flow<Result<Option<Known>, ServerError>> {
        let sql = format!(
            "SELECT c.relkind, pg_catalog.pg_table_size(coalesce(p.oid, i.indrelid, c.oid)), \
             EXISTS (SELECT FROM pg_catalog.pg_partitioned_table t WHERE t.partrelid = c.oid AND t.partdefid <> 0), \
             n.nspname IN ('pg_catalog', 'pg_toast'), c.oid, i.indrelid, p.oid, \
             (SELECT pg_catalog.string_agg(x.indexrelid::text, ' ') FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
             LEFT JOIN pg_catalog.pg_class p ON p.oid = pg_catalog.to_regclass({partition}) \
             WHERE c.oid = pg_catalog.to_regclass({name})"
        );
        let row = match self.question(&sql).await? {
            Ok(rows) => rows.into_iter().next(),
            Err(error) => return Ok(Err(error)),
        };
        let Some(row) = row else {
            return Ok(Ok(None));
        };
        let text = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
        Ok(Ok(Some(Known {
            relkind: text(0),
            bytes: text(1).parse().unwrap_or(u64::MAX),
            default_partition: text(2) == "t",
            system: text(3) == "t",
            object: text(4).parse().unwrap_or_default(),
            table: text(5).parse().ok(),
            partition: text(6).parse().ok(),
            indexes: text(7)
                .split_whitespace()
                .filter_map(|oid| oid.parse().ok())
                .collect(),
        })))
    }

    async fn run_plain(
        &mut self,
        id: ClientId,
        statement: &Arc<Statement>,
        form: &Concurrently,
        known: Option<Known>,
    ) -> Flow<bool> {
        if self.upstream.faulted {
            return Ok(false);
        }
        self.add_traits(id, statement);
        let number = self.begin_statement(id, statement);
        let (size, locks) = known.map_or((0, Vec::new()), |known| {
            (known.bytes, known.locks(form.kind))
        });
        self.output.notes.push(Note::Substituted {
            id: number,
            by: String::from_utf8_lossy(&form.plain).into_owned(),
            locks,
        });
        if form.kind == ConcurrentKind::DetachPartition {
            self.own(&leave_check(&form.partition), &Addressee::Check);
        }
        let addressee = Addressee::Simple(Simple::default());
        let retreat = self.open_retreat(id, number, statement);
        self.run_text(&form.plain, Some(number), &addressee);
        self.close_retreat(retreat);
        self.after_sending(id, statement);
        self.settle().await?;
        if self.upstream.faulted {
            return Ok(false);
        }
        let size = bytes(size);
        self.output.notes.push(Note::Finding(Finding {
            code: "ConcurrentlySubstituted".to_owned(),
            severity: Severity::Info,
            message: format!(
                "CONCURRENTLY cannot run inside a transaction; the plain form ran in its place on a table of {size}. The upgrade will run the real form"
            ),
            statement: Some(number),
        }));
        self.note_waiting(id, number).await?;
        Ok(false)
    }

    /// The real form waits for every transaction that is older than itself.
    async fn note_waiting(&mut self, id: ClientId, number: StatementId) -> Flow<()> {
        let own = self
            .clients
            .iter()
            .filter(|(other, client)| **other != id && client.state != Virtual::Idle)
            .count();
        let rows = self.question(OLD_TRANSACTIONS).await?.unwrap_or_default();
        let mut cells = rows.into_iter().flatten().flatten();
        let mut next = || cells.next().and_then(|cell| cell.parse::<u64>().ok());
        let (others, seconds) = (next().unwrap_or(0), next().unwrap_or(0));
        if own == 0 && others == 0 {
            return Ok(());
        }
        let mut whom = Vec::new();
        if own > 0 {
            whom.push(format!(
                "{own} other open transaction(s) of the command itself, which may be for ever"
            ));
        }
        if others > 0 {
            whom.push(format!(
                "{others} transaction(s) of other sessions, the oldest {seconds} s old"
            ));
        }
        self.output.notes.push(Note::Finding(Finding {
            code: "ConcurrentlyWouldWait".to_owned(),
            severity: Severity::Warning,
            message: format!("CONCURRENTLY would wait for {}", whom.join(" and for ")),
            statement: Some(number),
        }));
        Ok(())
    }
}

/// What the real form would say, in the server's words.
fn refusal(kind: ConcurrentKind, known: &Known) -> Option<(SqlState, String)> {
    let partitioned = known.relkind == "p";
    let partitioned_index = known.relkind == "I";
    match kind {
        ConcurrentKind::CreateIndex if partitioned => Some((
            SqlState::FEATURE_NOT_SUPPORTED,
            "cannot create index on partitioned table concurrently".to_owned(),
        )),
        ConcurrentKind::DropIndex if partitioned_index => Some((
            SqlState::FEATURE_NOT_SUPPORTED,
            "cannot drop partitioned index concurrently".to_owned(),
        )),
        ConcurrentKind::ReindexIndex | ConcurrentKind::ReindexTable if known.system => Some((
            SqlState::FEATURE_NOT_SUPPORTED,
            "cannot reindex system catalogs concurrently".to_owned(),
        )),
        ConcurrentKind::DetachPartition if known.default_partition => Some((
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot detach partitions concurrently when a default partition exists".to_owned(),
        )),
        _ => None,
    }
}
