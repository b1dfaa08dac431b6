//! `drydock run`: rehearse, verify, upgrade for real, compare.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use drydock::report::{Phase, Report};
use drydock::verdict::{UpgradeFailure, Verdict};
use postgres::Server;
use program::{Done, drydock};
use rstest::rstest;

fn run(url: &str, script: &str) -> Done {
    let mut command = drydock(url);
    command.args(["run", "--yes", "-o", "json", "--", "sh", "-c", script]);
    Done::of(command)
}

#[test]
fn a_rehearsed_migration_is_applied_as_predicted() {
    let database = Server::shared().database();
    let done = run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE orders (id int PRIMARY KEY)'",
    )
    .expect(0);
    assert_eq!(done.stdout.lines().count(), 2, "{done}");
    let report = done.report();
    assert_eq!(report.phase, Phase::Upgrade);
    assert_eq!(report.verdict, Verdict::Passed);
    assert!(report.bound_to.is_some());
    assert!(report.rehearsed_command_millis.is_some(), "{done}");
    assert_eq!(database.psql("SELECT count(*) FROM orders"), "0");
}

#[test]
fn what_is_long_in_the_catalogue_is_predicted_as_it_will_be() {
    let database = Server::shared().database();
    // So many relations that the list of them is longer than a message that is read in one piece.
    database.psql(
        "CREATE FUNCTION long() RETURNS int LANGUAGE sql AS 'SELECT 1';
         CREATE TABLE gone (a int); CREATE TABLE kept (a int);
         DO $$BEGIN FOR n IN 1..6000 LOOP EXECUTE format('CREATE TYPE c%s AS ()', n);
         IF n % 1000 = 0 THEN COMMIT; END IF; END LOOP; END$$;
         DO $$BEGIN FOR n IN 6001..12000 LOOP EXECUTE format('CREATE TYPE c%s AS ()', n);
         IF n % 1000 = 0 THEN COMMIT; END IF; END LOOP; END$$;",
    );
    let done = run(
        &database.url,
        r#"body=$(head -c 100000 /dev/zero | tr '\0' x)
           printf 'DROP TABLE gone; ALTER TABLE kept ADD b int;
             CREATE OR REPLACE FUNCTION long() RETURNS int LANGUAGE sql AS $a$SELECT 2 /* %s */$a$;' "$body" \
           | psql "$DATABASE_URL" -Xq -v ON_ERROR_STOP=1"#,
    )
    .expect(0);
    assert_eq!(done.report().verdict, Verdict::Passed, "{done}");
}

#[test]
fn a_migration_that_fails_in_the_rehearsal_is_never_applied() {
    let database = Server::shared().database();
    let before = database.dump();
    let done = run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE a ()' -c 'CREATE TABLE a ()'",
    )
    .expect(1);
    assert_eq!(done.stdout.lines().count(), 1, "{done}");
    assert_eq!(database.dump(), before);
}

#[test]
fn a_definition_that_holds_the_time_at_which_it_was_written_is_reported_and_is_no_divergence() {
    for major in [13, 18] {
        let database = Server::shared_of(major).database();
        database.psql("CREATE TABLE orders (id int)");
        let done = run(
            &database.url,
            "psql \"$DATABASE_URL\" -Xq -v ON_ERROR_STOP=1 -c \"SET timezone = 'Asia/Kathmandu'\" \
             -c \"ALTER TABLE orders ADD at timestamptz DEFAULT 'now', ADD here timestamp DEFAULT 'now',
                    ADD clock time DEFAULT 'now', ADD day date DEFAULT 'today', ADD fine timestamptz DEFAULT now()\" \
             -c \"CREATE VIEW recent AS SELECT * FROM orders WHERE at > 'now'::timestamptz\"",
        )
        .expect(0);
        let report = done.report();
        assert_eq!(report.phase, Phase::Upgrade, "{major}");
        assert!(report.message.contains("but for the time"), "{done}");
        let rehearsal = done.stdout.lines().next().unwrap();
        let rehearsal: Report = serde_json::from_str(rehearsal).unwrap();
        let found = rehearsal
            .findings
            .iter()
            .find(|it| it.code == "DefinedByTheMoment")
            .unwrap_or_else(|| panic!("{major}: {done}"));
        for named in ["orders.at", "orders.here", "orders.clock", "public.recent"] {
            assert!(found.message.contains(named), "{major}: {}", found.message);
        }
        assert!(!found.message.contains("orders.fine"), "{}", found.message);
    }
}

#[test]
fn another_time_than_that_of_the_upgrade_is_a_divergence() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int)");
    // The first run is the rehearsal.
    let folder = tempfile::tempdir().unwrap();
    let done = run(
        &database.url,
        &format!(
            "cd {}; if mkdir once; then at=now; else at=2001-01-01; fi; \
             psql \"$DATABASE_URL\" -Xqc \"ALTER TABLE orders ADD at timestamptz DEFAULT '$at'\"",
            folder.path().display()
        ),
    )
    .expect(9);
    assert_eq!(done.report().verdict, Verdict::UpgradeDiverged);
}

#[test]
fn large_objects_have_other_numbers_in_the_upgrade_and_do_not_diverge() {
    let database = Server::shared().database();
    let done = run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE orders ()' -c 'SELECT lo_create(0)'",
    )
    .expect(0);
    assert_eq!(done.report().phase, Phase::Upgrade);
    assert_eq!(
        database.psql("SELECT count(*) FROM pg_largeobject_metadata"),
        "1"
    );
}

#[test]
fn nothing_pending_is_released_without_an_upgrade() {
    let database = Server::shared().database();
    let done = run(&database.url, "psql \"$DATABASE_URL\" -Xqc 'SELECT 1'").expect(0);
    assert_eq!(done.stdout.lines().count(), 1, "{done}");
    assert!(done.report().nothing_to_do);
}

#[test]
fn a_migration_that_only_vacuums_is_upgraded_although_the_dry_run_skips_it() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1)");
    let done = run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc 'VACUUM (FREEZE) orders'",
    )
    .expect(0);
    assert_eq!(done.stdout.lines().count(), 2, "{done}");
    assert_eq!(
        database.psql("SELECT relallvisible FROM pg_class WHERE oid = 'orders'::regclass"),
        "1"
    );
}

/// The script behaves otherwise the second time.
#[test]
fn an_upgrade_that_lands_elsewhere_has_diverged_and_the_difference_is_named() {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second").display().to_string();
    let done = run(
        &database.url,
        &format!(
            "if [ -e {marker} ]; then t=text; else t=int; fi; touch {marker}; \
             psql \"$DATABASE_URL\" -Xqc \"CREATE TABLE orders (id $t)\""
        ),
    )
    .expect(9);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::UpgradeDiverged);
    assert!(report.message.contains("public.orders.id"), "{done}");
}

/// As whoever rotates credentials does.
#[test]
fn a_role_that_others_make_while_the_upgrade_runs_is_no_divergence() {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second").display().to_string();
    let role = format!("rotated_{}", database.name);
    let others = folder.path().join("others").display().to_string();
    let theirs = format!("psql '{}' -Xqc 'CREATE ROLE {role}'", database.url);
    std::fs::write(&others, theirs).unwrap();
    let done = run(
        &database.url,
        &format!(
            "if [ -e {marker} ]; then sh {others}; fi; touch {marker}; \
             psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE orders ()'"
        ),
    );
    database.psql(&format!("DROP ROLE IF EXISTS {role}"));
    assert_eq!(done.expect(0).report().verdict, Verdict::Passed);
}

#[test]
fn an_upgrade_that_fails_says_where_the_database_is() {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second").display().to_string();
    let done = run(
        &database.url,
        &format!(
            "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE one ()'; if [ -e {marker} ]; then exit 1; fi; \
             touch {marker}; psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE two ()'"
        ),
    )
    .expect(8);
    assert_eq!(
        done.report().verdict,
        Verdict::UpgradeFailed(UpgradeFailure::Partial)
    );
}

/// Of two statements that commit by themselves, the first one is there; the schema shows one of them.
#[rstest]
#[case::schema_as_before(
    "UPDATE orders SET total = total + 1",
    "ALTER TABLE orders ADD fee int"
)]
#[case::schema_as_rehearsed(
    "ALTER TABLE orders ADD fee int",
    "UPDATE orders SET total = total + 1"
)]
fn a_script_that_breaks_off_between_two_commits_is_unknown_whatever_the_schema_is(
    #[case] first: &str,
    #[case] then: &str,
) {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int, total int); INSERT INTO orders VALUES (1, 1)");
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second").display().to_string();
    let psql = "psql \"$DATABASE_URL\" -Xqc";
    let done = run(
        &database.url,
        &format!(
            "{psql} '{first}'; if [ -e {marker} ]; then exit 1; fi; touch {marker}; {psql} '{then}'"
        ),
    )
    .expect(8);
    let report = done.report();
    assert_eq!(
        report.verdict,
        Verdict::UpgradeFailed(UpgradeFailure::Unknown)
    );
    assert!(
        report.message.contains("commits in several pieces"),
        "{done}"
    );
}

#[test]
fn a_script_of_one_transaction_that_fails_has_left_nothing() {
    let database = Server::shared().database();
    database.psql("CREATE TABLE orders (id int, total int)");
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("second").display().to_string();
    let done = run(
        &database.url,
        &format!(
            "then=; if [ -e {marker} ]; then then='SELECT 1/0;'; fi; touch {marker}; \
             psql \"$DATABASE_URL\" -Xq -v ON_ERROR_STOP=1 -c 'SELECT pg_advisory_lock(7)' \
             -c \"SELECT set_config('search_path', 'public', false), to_regclass('orders')\" -c \
             \"BEGIN; UPDATE orders SET total = 1; ALTER TABLE orders ADD fee int; $then COMMIT\""
        ),
    )
    .expect(8);
    assert_eq!(
        done.report().verdict,
        Verdict::UpgradeFailed(UpgradeFailure::NothingApplied),
        "{done}"
    );
}

#[test]
fn the_real_upgrade_reaches_its_database_with_the_users_own_sslmode() {
    for sslmode in [None, Some("allow")] {
        let database = Server::shared().database();
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let (_, address) = database.url.split_once("://postgres@").unwrap();
        let (host, rest) = address.split_once(':').unwrap();
        let (port, name) = rest.split_once('/').unwrap();
        let mut command = program::bare();
        command
            .env("PGHOST", host)
            .env("PGPORT", port)
            .env("PGDATABASE", name)
            .env("PGUSER", "postgres");
        if let Some(sslmode) = sslmode {
            command.env("PGSSLMODE", sslmode);
        }
        let script = format!(
            "echo \"$DATABASE_URL\" >> {}; psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE orders ()'",
            seen.display()
        );
        command.args(["run", "--yes", "-o", "json", "--", "sh", "-c", &script]);
        Done::of(command).expect(0);
        let seen = std::fs::read_to_string(seen).unwrap();
        let (rehearsal, upgrade) = seen.trim_end().split_once('\n').unwrap();
        assert!(rehearsal.ends_with("?sslmode=disable"), "{rehearsal}");
        let parameters = sslmode.map_or(String::new(), |mode| format!("?sslmode={mode}"));
        assert_eq!(
            upgrade,
            format!("postgresql://postgres@{host}:{port}/{name}{parameters}")
        );
    }
}

#[test]
fn the_real_upgrade_has_a_lock_timeout() {
    let database = Server::shared().database();
    run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc \"CREATE TABLE seen AS SELECT current_setting('lock_timeout') v\"",
    )
    .expect(0);
    assert_eq!(database.psql("SELECT v FROM seen"), "1500ms");
}

#[test]
fn a_command_that_reads_the_address_in_parts_has_it_too() {
    let database = Server::shared().database();
    let parts = serde_json::json!({
        "database": {"exposeAs": {
            "host": "PGHOST", "port": "PGPORT", "name": "PGDATABASE", "user": "PGUSER",
            "password": "PGPASSWORD",
        }},
        "command": {"upgrade": [
            "psql", "-Xqc", "CREATE TABLE seen AS SELECT current_setting('lock_timeout') v",
        ]},
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), parts.to_string()).unwrap();
    let mut command = drydock(&database.url);
    command
        .args(["run", "--yes", "-o", "json", "-f"])
        .arg(file.path());
    Done::of(command).expect(0);
    assert_eq!(database.psql("SELECT v FROM seen"), "1500ms");
}

#[test]
fn the_real_upgrade_keeps_the_options_of_its_surroundings() {
    let database = Server::shared().database();
    database.psql("CREATE SCHEMA app");
    let mut command = drydock(&database.url);
    let script = "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE orders ()' \
         -c \"CREATE TABLE seen AS SELECT current_setting('lock_timeout') v\"";
    command
        .env("PGOPTIONS", "-c search_path=app")
        .args(["run", "--yes", "-o", "json", "--", "sh", "-c", script]);
    Done::of(command).expect(0);
    assert_eq!(database.psql("SELECT v FROM app.seen"), "1500ms");
}

#[test]
fn the_real_upgrade_never_waits_longer_for_a_lock_than_its_role_would() {
    let database = Server::shared().database();
    database.psql(&format!(
        "ALTER DATABASE {} SET lock_timeout = '100ms'",
        database.name
    ));
    run(
        &database.url,
        "psql \"$DATABASE_URL\" -Xqc \"CREATE TABLE seen AS SELECT current_setting('lock_timeout') v\"",
    )
    .expect(0);
    assert_eq!(database.psql("SELECT v FROM seen"), "100ms");
}
