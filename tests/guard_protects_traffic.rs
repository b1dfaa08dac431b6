//! The guard against real sessions that block each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use std::time::Duration;

use drydock::guard::{Budgets, Guard, name_of_command};
use drydock::postgres::ask::Ask;
use drydock::postgres::connect::{self, Client, StartupSettings};
use drydock::postgres::identity;
use drydock::postgres::url::{self, Target};
use drydock::report::RunId;
use drydock::verdict::{Budget, NotRehearsed, Verdict};
use postgres::{Database, Options, Server};

const PLENTY: Duration = Duration::from_secs(60);

fn target(database: &Database<'_>) -> Target {
    url::parse(&database.url, &url::Environment::default())
        .expect("a good URL")
        .0
}

fn run() -> RunId {
    RunId("orders-dryrun-1".to_owned())
}

async fn client(target: &Target, name: &str) -> Client {
    connect::client(target, &StartupSettings::first(name))
        .await
        .expect("a connection")
}

/// A rehearsal's backend that holds an AccessExclusiveLock on `orders`, and its guard.
async fn holding(target: &Target, budgets: Budgets) -> (Client, Guard) {
    let mut holder = client(target, "drydock/test").await;
    let place = identity::check(&mut holder).await.expect("a place").place;
    holder
        .ask("BEGIN; LOCK TABLE orders")
        .await
        .expect("the lock");
    let settings = StartupSettings::first("drydock/test");
    let guard = Guard::start(
        target,
        &settings,
        &place,
        &run(),
        holder.backend_pid(),
        budgets,
    )
    .await
    .expect("a guard");
    (holder, guard)
}

fn database(server: &Server) -> Database<'_> {
    let database = server.database();
    database.psql("CREATE TABLE orders (id int)");
    database
}

#[tokio::test]
async fn a_session_blocked_for_longer_than_the_budget_goes_on_and_the_rehearsal_is_ended() {
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: Duration::from_millis(200),
        duration: PLENTY,
    };
    let (holder, mut guard) = holding(&target, budgets).await;
    let mut application = client(&target, "orders-api").await;
    let reading = tokio::time::timeout(PLENTY, application.ask("SELECT count(*) FROM orders"));
    assert_eq!(
        reading.await.expect("released").expect("rows")[0][0].as_deref(),
        Some("0")
    );
    let ended = guard.events.recv().await.expect("a reason");
    assert_eq!(ended.verdict, Verdict::BudgetExceeded(Budget::Blocking));
    assert!(
        ended.message.contains("\"orders-api\""),
        "{}",
        ended.message
    );
    assert!(
        ended.message.contains("AccessShareLock on orders"),
        "{}",
        ended.message
    );
    holder.closed().await;
    let record = guard.stop().await;
    assert!(record.longest_wait >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_command_that_goes_around_its_rehearsal_and_waits_for_it_is_told_so() {
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: Duration::from_millis(200),
        duration: PLENTY,
    };
    let (holder, mut guard) = holding(&target, budgets).await;
    // From its first look at held locks on, the guard knows who came later.
    guard.watch().changed().await.expect("a look");
    let mut command = client(&target, "alembic").await;
    let reading = tokio::time::timeout(PLENTY, command.ask("SELECT count(*) FROM orders"));
    reading.await.expect("released").expect("rows");
    let ended = guard.events.recv().await.expect("a reason");
    assert_eq!(ended.verdict, Verdict::BudgetExceeded(Budget::Blocking));
    let advice = "does a part of the command go around the rehearsal?";
    assert!(ended.message.contains(advice), "{}", ended.message);
    holder.closed().await;
    assert!(guard.stop().await.bypass);
}

#[tokio::test]
async fn a_rehearsal_past_its_duration_is_ended() {
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: PLENTY,
        duration: Duration::from_millis(100),
    };
    let (holder, mut guard) = holding(&target, budgets).await;
    let ended = guard.events.recv().await.expect("a reason");
    assert_eq!(ended.verdict, Verdict::BudgetExceeded(Budget::Duration));
    holder.closed().await;
}

#[tokio::test]
async fn why_a_rehearsal_was_ended_is_known_to_who_first_noticed_its_end() {
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: PLENTY,
        duration: Duration::from_millis(100),
    };
    let (holder, guard) = holding(&target, budgets).await;
    holder.closed().await;
    let record = guard.stop().await;
    let ended = record.ended.expect("a reason");
    assert_eq!(ended.verdict, Verdict::BudgetExceeded(Budget::Duration));
}

#[tokio::test]
async fn a_guard_whose_connection_is_lost_closes_its_events_without_a_word() {
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let (mut holder, mut guard) = holding(&target, budgets).await;
    holder
        .ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = 'drydock/test' AND pid <> pg_backend_pid()
                AND datname = current_database()",
        )
        .await
        .expect("termination");
    assert_eq!(guard.events.recv().await, None);
}

#[tokio::test]
async fn a_session_beside_the_rehearsal_is_seen() {
    let database = database(Server::shared());
    let target = target(&database);
    let _earlier = client(&target, "was there before").await;
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let (_holder, guard) = holding(&target, budgets).await;
    // Long enough for the guard to have looked before and after.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let beside = client(&target, "psql").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let record = guard.stop().await;
    assert!(record.bypass);
    let told = &record.findings[0];
    assert_eq!(told.code, "SessionBesideTheRehearsal");
    assert!(
        told.message
            .contains(&format!("pid {}", beside.backend_pid())),
        "{}",
        told.message
    );
    assert!(!told.message.contains("was there before"));
}

#[tokio::test]
async fn a_session_of_the_command_that_goes_around_its_rehearsal_ends_the_run_before_it_can_commit()
{
    let database = database(Server::shared());
    let target = target(&database);
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let (holder, mut guard) = holding(&target, budgets).await;
    guard.watch().changed().await.expect("a look");
    let mut around = client(&target, &name_of_command(&run(), holder.backend_pid())).await;
    let writing = "BEGIN; CREATE TABLE leaked (); SELECT pg_sleep(60); COMMIT";
    assert!(around.ask(writing).await.is_err());
    let ended = guard.events.recv().await.expect("a reason");
    assert_eq!(
        ended.verdict,
        Verdict::NotRehearsed(NotRehearsed::WentAround)
    );
    assert!(ended.message.contains("drydock-dry/"), "{}", ended.message);
    holder.closed().await;
    assert!(guard.stop().await.bypass);
    assert_eq!(database.psql("SELECT to_regclass('leaked') IS NULL"), "t");
}

/// A Migration of one name in two namespaces: their runs are called alike, and their databases are on
/// one server.
#[tokio::test]
async fn the_command_of_another_run_that_is_called_alike_is_left_alone() {
    let server = Server::shared();
    let (first, second) = (database(server), database(server));
    let (here, there) = (target(&first), target(&second));
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let (mut holder, mut guard) = holding(&here, budgets).await;
    let (mut other_holder, mut other_guard) = holding(&there, budgets).await;
    for holder in [&mut holder, &mut other_holder] {
        // As the rehearsal's own session is called once the command has connected to it.
        let name = name_of_command(&run(), holder.backend_pid());
        let rename = format!("SET application_name = '{name}'");
        holder.ask(&rename).await.expect("a name");
    }
    for guard in [&mut guard, &mut other_guard] {
        guard.watch().changed().await.expect("a look");
        let quiet = tokio::time::timeout(Duration::from_millis(200), guard.events.recv()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    for holder in [&mut holder, &mut other_holder] {
        holder.ask("SELECT 1").await.expect("it lives");
    }
}

#[tokio::test]
async fn whom_the_rehearsal_waits_for_is_named() {
    let database = database(Server::shared());
    let target = target(&database);
    let mut reader = client(&target, "nightly-report").await;
    reader
        .ask("BEGIN; SELECT count(*) FROM orders")
        .await
        .expect("rows");
    let mut waiting = client(&target, "drydock/test").await;
    let place = identity::check(&mut waiting).await.expect("a place").place;
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let settings = StartupSettings::first("drydock/test");
    let guard = Guard::start(
        &target,
        &settings,
        &place,
        &run(),
        waiting.backend_pid(),
        budgets,
    )
    .await
    .expect("a guard");
    let locking = waiting.ask("BEGIN; SET LOCAL lock_timeout = '400ms'; LOCK TABLE orders");
    assert_eq!(locking.await.expect_err("a timeout").code(), Some("55P03"));
    let record = guard.stop().await;
    let told = record
        .findings
        .iter()
        .find(|f| f.code == "WaitedForLock")
        .expect("a finding");
    assert!(
        told.message.contains("\"nightly-report\""),
        "{}",
        told.message
    );
}

#[tokio::test]
async fn a_rehearsal_that_fills_half_of_the_lock_table_is_ended() {
    let server = Options::new(18)
        .conf("max_connections = 20")
        .conf("max_locks_per_transaction = 10")
        .start();
    let database = database(&server);
    let budgets = Budgets {
        blocking: PLENTY,
        duration: PLENTY,
    };
    let (mut holder, mut guard) = holding(&target(&database), budgets).await;
    let created = holder
        .ask("DO $$ BEGIN FOR i IN 1..180 LOOP EXECUTE 'CREATE TABLE t' || i || ' (a int)'; END LOOP; END $$")
        .await;
    assert!(created.is_ok(), "{created:?}");
    let ended = guard.events.recv().await.expect("an end");
    assert_eq!(
        ended.verdict,
        Verdict::NotRehearsed(NotRehearsed::LockTable)
    );
    assert!(holder.ask("SELECT 1").await.is_err());
}
