//! The witness proves a rollback, and does not prove what is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use drydock::postgres::ask::{Ask, one};
use drydock::postgres::connect::{self, Client, StartupSettings};
use drydock::postgres::url::{self, Environment};
use drydock::report::{CatalogueClass, CatalogueMove, Ledger, RunId, SequenceMoved, Witnessed};
use drydock::verdict::RollbackProof;
use drydock::witness::{self, Before, Bypass, Facts, Taken};
use postgres::{Options, Server};
use rstest::rstest;
use tokio::sync::{Mutex, MutexGuard};

/// A server where nothing happens that a test does not do, and a database that the plain role
/// `app` owns. One test at a time: catalogues that all databases share are compared too.
struct Stage {
    server: &'static Server,
    name: String,
    _alone: MutexGuard<'static, ()>,
}

fn quiet_server(major: u8) -> Server {
    let server = Options::new(major)
        .conf("autovacuum = off")
        .conf("wal_level = logical")
        .start();
    let roles = "CREATE ROLE app LOGIN; CREATE ROLE other LOGIN SUPERUSER";
    postgres::psql(&server.url("postgres"), roles);
    server
}

impl Stage {
    async fn on(major: u8) -> Self {
        static ALONE: Mutex<()> = Mutex::const_new(());
        static SERVERS: std::sync::Mutex<BTreeMap<u8, &'static Server>> =
            std::sync::Mutex::new(BTreeMap::new());
        let alone = ALONE.lock().await;
        let server = *SERVERS
            .lock()
            .unwrap()
            .entry(major)
            .or_insert_with(|| Box::leak(Box::new(quiet_server(major))));
        let database = server.database();
        database.psql(&format!(
            "ALTER DATABASE {} OWNER TO app; ALTER SCHEMA public OWNER TO app",
            database.name
        ));
        Self {
            server,
            name: database.name,
            _alone: alone,
        }
    }

    fn major(&self) -> u32 {
        u32::from(self.server.major)
    }

    fn sql(&self, role: &str, sql: &str) -> String {
        let url = format!(
            "postgresql://{role}@127.0.0.1:{}/{}",
            self.server.port, self.name
        );
        postgres::psql(&url, sql)
    }

    async fn connect(&self, role: &str) -> Client {
        self.connect_as(role, "drydock/run-1").await
    }

    async fn connect_as(&self, role: &str, application: &str) -> Client {
        self.connect_to(role, application, &self.name).await
    }

    async fn connect_to(&self, role: &str, application: &str, database: &str) -> Client {
        let port = self.server.port;
        let text = format!("postgresql://{role}@127.0.0.1:{port}/{database}");
        let (target, _) = url::parse(&text, &Environment::default()).unwrap();
        connect::client(
            &target,
            &StartupSettings::for_major(application, self.major()),
        )
        .await
        .unwrap()
    }

    /// Reads before, and hands it over as one container does to another.
    async fn before(&self, role: &str) -> Before {
        let mut client = self.connect(role).await;
        let before = Before::take(&mut client, self.major()).await.unwrap();
        serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap()
    }

    async fn verify(&self, role: &str, before: &Before, facts: &Facts) -> (Witnessed, Ledger) {
        let mut client = self.connect(role).await;
        witness::verify(&mut client, self.major(), before, facts)
            .await
            .unwrap()
    }

    /// Runs SQL in a transaction that is rolled back, and says which it was.
    async fn rehearse(&self, role: &str, sql: &str) -> Facts {
        let mut client = self.connect(role).await;
        client.ask("BEGIN").await.unwrap();
        client.ask(sql).await.unwrap();
        let facts = known(&mut client).await;
        client.ask("ROLLBACK").await.unwrap();
        facts
    }
}

async fn known(client: &mut Client) -> Facts {
    let xid = one(client, "xid", "SELECT pg_current_xact_id()").await;
    Facts {
        transactions: vec![Taken {
            xid: Some(xid.unwrap().parse().unwrap()),
            backend_pid: Some(client.backend_pid()),
        }],
        ..nothing_written()
    }
}

/// A rehearsal that was assigned no transaction id.
fn nothing_written() -> Facts {
    Facts {
        run: RunId("run-1".to_owned()),
        transactions: vec![],
        gapless: true,
        bypass: Bypass::None,
    }
}

fn moved<'a>(seen: &'a Witnessed, catalogue: &str) -> &'a CatalogueMove {
    seen.moved
        .iter()
        .find(|moved| moved.catalogue == catalogue)
        .unwrap_or_else(|| panic!("{catalogue} is not among {:?}", seen.moved))
}

const TABLES: &str = "CREATE TABLE orders (id bigserial PRIMARY KEY, note text); \
    CREATE TABLE lines (id bigint REFERENCES orders); \
    INSERT INTO orders (note) SELECT repeat('x', 1000) FROM generate_series(1, 100)";

const MIGRATION: &str = "INSERT INTO orders (note) \
    SELECT repeat('y', 1000) FROM generate_series(1, 1000); \
    ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR'; \
    ALTER TABLE orders ALTER COLUMN id TYPE numeric; \
    CREATE INDEX ON orders (currency); DROP TABLE lines; \
    CREATE TABLE customers (id bigserial PRIMARY KEY, kind text UNIQUE); \
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
    CREATE TYPE mood AS ENUM ('good', 'bad'); \
    COMMENT ON TABLE orders IS 'paid'; GRANT SELECT ON orders TO PUBLIC; \
    DELETE FROM orders WHERE note LIKE 'x%'";

#[rstest]
#[tokio::test]
async fn a_migration_that_was_rolled_back_is_verified(#[values(13, 14, 15, 16, 17, 18)] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    let facts = stage.rehearse("app", MIGRATION).await;
    let (seen, ledger) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    assert_eq!(seen.xact_status.as_deref(), Some("aborted"));
    assert_eq!(seen.moved, vec![]);
    assert!(seen.unchanged.contains(&"pg_class".to_owned()));
    assert!(seen.unchanged.len() > 50, "{:?}", seen.unchanged);
    assert!(seen.nothing_committed_meanwhile);
    assert_eq!(seen.leftovers, Vec::<String>::new());
    assert!(ledger.wal_bytes.unwrap() > 1_000_000, "{ledger:?}");
    assert!(ledger.bloat_bytes.unwrap() > 1_000_000, "{ledger:?}");
    assert_eq!(
        ledger.sequences,
        vec![SequenceMoved {
            name: "public.orders_id_seq".to_owned(),
            before: Some(100),
            after: Some(1100),
        }]
    );
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn what_an_index_wrote_in_place_is_in_the_ledger_and_no_violation(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql(
        "app",
        "CREATE TABLE notes (id int); INSERT INTO notes SELECT generate_series(1, 100); \
         CREATE TABLE untouched (id int)",
    );
    let before = stage.before("app").await;
    let facts = stage.rehearse("app", "CREATE INDEX ON notes (id)").await;
    let (seen, ledger) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    let [notes] = &ledger.tables[..] else {
        panic!("{ledger:?}");
    };
    assert_eq!(notes.name, "public.notes");
    assert_eq!(
        (notes.before.has_index, notes.after.has_index),
        (false, true)
    );
    // PostgreSQL 18 leaves them alone where autovacuum is off, as it is here.
    let unknown_then_counted = if major == 18 { (-1, -1) } else { (0, 100) };
    assert_eq!(
        (notes.before.tuples, notes.after.tuples),
        unknown_then_counted
    );
}

#[rstest]
#[tokio::test]
async fn what_the_commands_own_role_committed_is_a_violation(
    #[values(13, 14, 15, 16, 17, 18)] major: u8,
) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let facts = stage
        .rehearse("app", "CREATE TABLE orders (id bigint)")
        .await;
    stage.sql("app", "CREATE TABLE orders (id bigint)");
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Violated);
    assert!(!seen.nothing_committed_meanwhile);
    let class = moved(&seen, "pg_class");
    assert_eq!(class.class, CatalogueClass::Real);
    assert_eq!(class.attributed_to, None);
    assert_eq!(class.detail, "1 new (orders)");
    // Its dependencies have no owner of their own: they go with the transaction.
    assert_eq!(moved(&seen, "pg_depend").attributed_to, None);
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn what_another_role_committed_is_its_own_as_long_as_the_record_is_whole(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    let facts = stage.rehearse("app", MIGRATION).await;
    stage.sql("other", "CREATE TABLE theirs (id bigint)");
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    let whose = moved(&seen, "pg_class").attributed_to.as_deref();
    assert!(whose.unwrap().starts_with("another session in transaction"));
    assert!(!seen.nothing_committed_meanwhile);

    for doubt in [
        Facts {
            gapless: false,
            ..facts.clone()
        },
        Facts {
            bypass: Bypass::Possible,
            ..facts
        },
    ] {
        let (seen, _) = stage.verify("app", &before, &doubt).await;
        assert_eq!(seen.rollback, RollbackProof::Violated);
    }
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_dropped_object_is_missed_even_when_nothing_new_is_there(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    stage.sql("app", "DROP TABLE lines");
    let doubt = Facts {
        gapless: false,
        ..nothing_written()
    };
    let (seen, _) = stage.verify("app", &before, &doubt).await;
    assert_eq!(seen.rollback, RollbackProof::Violated);
    assert_eq!(moved(&seen, "pg_class").class, CatalogueClass::Real);
    assert!(moved(&seen, "pg_class").detail.contains("gone"));
}

/// The committing transaction is older than the snapshot of before, which waits for it.
#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_transaction_that_was_running_before_is_found_when_it_commits(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let mut other = stage.connect_as("other", "theirs").await;
    other.ask("BEGIN").await.unwrap();
    other.ask("CREATE TABLE theirs (id bigint)").await.unwrap();
    let xid = known(&mut other).await.transactions[0].xid.unwrap();
    // Younger, and over before anything is read: it is not to blame, though it is of our role.
    stage.sql("app", "CREATE TABLE ours (id bigint)");
    let before = stage.before("app").await;
    other.ask("COMMIT").await.unwrap();
    let (seen, _) = stage.verify("app", &before, &nothing_written()).await;
    assert!(!seen.nothing_committed_meanwhile);
    let class = moved(&seen, "pg_class");
    assert_eq!(
        class.attributed_to,
        Some(format!("another session in transaction {xid}"))
    );
    assert_eq!(class.detail, "1 new (theirs)");
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
}

#[rstest]
#[tokio::test]
async fn temporary_objects_of_others_do_not_matter(#[values(13, 14, 15, 16, 17, 18)] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    let facts = stage.rehearse("app", MIGRATION).await;
    let mut other = stage.connect_as("app", "theirs").await;
    other
        .ask(
            "CREATE TEMP TABLE cart (id bigserial PRIMARY KEY, kind text CHECK (kind <> '')); \
             CREATE INDEX ON cart (kind); CREATE TEMP VIEW seen AS SELECT * FROM orders; \
             COMMENT ON TABLE cart IS 'mine'; \
             CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER t BEFORE INSERT ON cart FOR EACH ROW EXECUTE FUNCTION pg_temp.f()",
        )
        .await
        .unwrap();
    let doubt = Facts {
        gapless: false,
        ..facts
    };
    let (seen, _) = stage.verify("app", &before, &doubt).await;
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    assert_eq!(
        moved(&seen, "pg_class").class,
        CatalogueClass::Temporary,
        "{seen:?}"
    );
    assert!(
        seen.moved
            .iter()
            .all(|moved| moved.class == CatalogueClass::Temporary),
        "{seen:?}"
    );
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn vacuum_and_analyze_leave_no_trace(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    stage.sql("app", "CREATE INDEX i ON orders (note)");
    let before = stage.before("other").await;
    let facts = stage.rehearse("app", MIGRATION).await;
    stage.sql("app", "DROP INDEX IF EXISTS never_there");
    stage.sql("other", "ANALYZE");
    stage.sql("other", "VACUUM");
    stage.sql("other", "VACUUM (FREEZE, ANALYZE)");
    let doubt = Facts {
        gapless: false,
        ..facts
    };
    let (seen, _) = stage.verify("other", &before, &doubt).await;
    assert_eq!(seen.moved, vec![]);
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_truncated_table_is_not_called_unchanged(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    stage.sql("app", "TRUNCATE orders, lines");
    let (seen, _) = stage.verify("app", &before, &nothing_written()).await;
    assert_eq!(moved(&seen, "pg_class").class, CatalogueClass::FileOnly);
    assert!(moved(&seen, "pg_class").attributed_to.is_some());
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");

    let doubt = Facts {
        bypass: Bypass::Possible,
        ..nothing_written()
    };
    let (seen, _) = stage.verify("app", &before, &doubt).await;
    assert_eq!(seen.rollback, RollbackProof::Unknown);
    assert_eq!(
        seen.unproven,
        vec!["files behind pg_class were replaced by somebody"]
    );
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_plain_role_says_what_it_cannot_read(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let (seen, ledger) = stage.verify("app", &before, &nothing_written()).await;
    assert_eq!(
        seen.not_covered,
        [
            "pg_authid",
            "pg_largeobject",
            "pg_statistic",
            "pg_statistic_ext_data",
            "pg_subscription",
            "pg_user_mapping"
        ]
    );
    assert!(
        seen.not_covered
            .iter()
            .all(|name| !seen.unchanged.contains(name))
    );
    assert_eq!(seen.rollback, RollbackProof::Verified);
    assert_eq!(ledger.standbys, None);

    let before = stage.before("other").await;
    let (seen, ledger) = stage.verify("other", &before, &nothing_written()).await;
    assert_eq!(seen.not_covered, Vec::<String>::new());
    assert!(seen.unchanged.contains(&"pg_authid".to_owned()));
    assert_eq!(ledger.standbys, Some(0));
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_catalogue_that_everybody_else_can_read_must_be_read(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("other", "REVOKE SELECT ON pg_catalog.pg_policy FROM PUBLIC");
    let before = stage.before("app").await;
    let (seen, _) = stage.verify("app", &before, &nothing_written()).await;
    assert_eq!(seen.rollback, RollbackProof::Unknown);
    assert_eq!(seen.unproven, vec!["this role cannot read pg_policy"]);
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_session_of_the_rehearsal_that_stays_is_found(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let mut rehearsal = stage.connect("app").await;
    rehearsal
        .ask("BEGIN; CREATE TABLE orders (id bigint)")
        .await
        .unwrap();
    let facts = known(&mut rehearsal).await;

    let began = Instant::now();
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(seen.rollback, RollbackProof::Violated);
    let session = format!("session {} (idle in transaction", rehearsal.backend_pid());
    assert!(
        seen.leftovers.len() == 1 && seen.leftovers[0].starts_with(&session),
        "{seen:?}"
    );

    // Known by its name alone.
    let nameless = Facts {
        transactions: vec![],
        ..facts.clone()
    };
    let (seen, _) = stage.verify("app", &before, &nameless).await;
    assert_eq!(seen.leftovers.len(), 1, "{seen:?}");

    // One that goes within the patience is none; the drop closes its socket.
    let end = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(rehearsal);
    });
    let (seen, _) = stage.verify("app", &before, &facts).await;
    end.await.unwrap();
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    assert!((300..2000).contains(&seen.millis), "{seen:?}");
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn the_session_that_holds_the_run_is_no_leftover(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let mut lease = stage.connect("app").await;
    lease.ask("SELECT pg_advisory_lock(1)").await.unwrap();
    let before = stage.before("app").await;
    let (seen, _) = stage.verify("app", &before, &nothing_written()).await;
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
}

/// Two namespaces with the same release, one server.
#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_run_of_the_same_name_in_another_database_is_no_leftover(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let elsewhere = stage.server.database();
    let mut other = stage
        .connect_to("app", "drydock/run-1", &elsewhere.name)
        .await;
    other
        .ask("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    let (seen, _) = stage.verify("app", &before, &nothing_written()).await;
    assert_eq!(seen.leftovers, [""; 0]);
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn prepared_transactions_and_slots_that_stay_are_found(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let mut rehearsal = stage.connect("app").await;
    rehearsal
        .ask("BEGIN; CREATE TABLE orders (id bigint)")
        .await
        .unwrap();
    let facts = known(&mut rehearsal).await;
    rehearsal
        .ask("PREPARE TRANSACTION 'slipped'")
        .await
        .unwrap();
    drop(rehearsal);
    stage.sql(
        "other",
        "SELECT pg_create_physical_replication_slot('pinned')",
    );
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Violated);
    assert_eq!(
        seen.leftovers,
        vec!["prepared transaction slipped", "replication slot pinned"]
    );
    assert_eq!(seen.xact_status.as_deref(), Some("in progress"));
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_logical_slot_that_somebody_else_makes_is_no_leftover(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let facts = stage
        .rehearse("app", "CREATE TABLE orders (id bigint)")
        .await;
    stage.sql(
        "other",
        "SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')",
    );
    let (seen, _) = stage.verify("app", &before, &facts).await;
    let around = Facts {
        bypass: Bypass::Possible,
        ..facts
    };
    let (possible, _) = stage.verify("app", &before, &around).await;
    stage.sql("other", "SELECT pg_drop_replication_slot('theirs')");
    assert_eq!(seen.rollback, RollbackProof::Verified, "{seen:?}");
    assert_eq!(possible.leftovers, vec!["replication slot theirs"]);
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_transaction_that_committed_is_a_violation_whatever_it_wrote(#[case] major: u8) {
    let stage = Stage::on(major).await;
    stage.sql("app", TABLES);
    let before = stage.before("app").await;
    let mut rehearsal = stage.connect("app").await;
    rehearsal.ask("BEGIN; DELETE FROM lines").await.unwrap();
    let facts = known(&mut rehearsal).await;
    rehearsal.ask("COMMIT").await.unwrap();
    drop(rehearsal);
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.moved, vec![]);
    assert_eq!(seen.xact_status.as_deref(), Some("committed"));
    assert_eq!(seen.rollback, RollbackProof::Violated);
}

#[rstest]
#[case(13)]
#[case(18)]
#[tokio::test]
async fn a_transaction_that_the_server_never_heard_of_proves_nothing(#[case] major: u8) {
    let stage = Stage::on(major).await;
    let before = stage.before("app").await;
    let facts = Facts {
        transactions: vec![Taken {
            xid: Some(4_000_000),
            backend_pid: None,
        }],
        ..nothing_written()
    };
    let (seen, _) = stage.verify("app", &before, &facts).await;
    assert_eq!(seen.rollback, RollbackProof::Unknown);
    assert_eq!(
        seen.unproven,
        vec!["the server does not know the fate of transaction 4000000"]
    );
}
