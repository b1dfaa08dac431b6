//! Which server, database and role; and one run at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use drydock::postgres::ask::Ask;
use drydock::postgres::connect::{self, Client, StartupSettings};
use drydock::postgres::{identity, lock, url};
use postgres::{Database, Server};

async fn client(database: &Database<'_>, name: &str) -> Client {
    let (target, _) = url::parse(&database.url, &url::Environment::new()).unwrap();
    connect::client(&target, &StartupSettings::first(name))
        .await
        .unwrap()
}

#[tokio::test]
async fn two_connections_agree_about_the_place_and_other_databases_and_servers_do_not() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        let (here, there) = (server.database(), server.database());
        let mine = identity::check(&mut client(&here, "drydock/a").await)
            .await
            .unwrap();
        let same = identity::check(&mut client(&here, "drydock/b").await)
            .await
            .unwrap();
        assert_eq!(mine.place.disagreement(&same.place), None);
        assert_eq!(mine.place.major, u32::from(major));
        assert!(!mine.place.system_identifier.is_empty() && mine.place.timeline == 1);
        assert_eq!(mine.deadlock_timeout.as_millis(), 1000);
        assert_eq!(
            mine.warnings,
            [identity::Warning::Superuser("postgres".to_owned())]
        );
        let other = identity::check(&mut client(&there, "drydock/c").await)
            .await
            .unwrap();
        assert!(
            mine.place
                .disagreement(&other.place)
                .unwrap()
                .starts_with("database ")
        );
    }
}

#[tokio::test]
async fn a_roles_own_timeouts_are_known_and_a_role_that_may_only_read_is_refused() {
    let database = Server::shared().database();
    database.psql(
        "CREATE ROLE hasty LOGIN; ALTER ROLE hasty SET lock_timeout = '3s';
         ALTER ROLE hasty SET idle_in_transaction_session_timeout = '1min';
         ALTER ROLE hasty SET default_transaction_isolation = 'serializable';
         CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on",
    );
    let as_role = |role: &str| {
        let text = database.url.replace("postgres@", &format!("{role}@"));
        url::parse(&text, &url::Environment::new()).unwrap().0
    };
    let settings = StartupSettings::first("drydock/test");
    let mut hasty = connect::client(&as_role("hasty"), &settings).await.unwrap();
    let found = identity::check(&mut hasty).await.unwrap();
    assert_eq!(found.timeouts.lock.unwrap().as_secs(), 3);
    assert_eq!(found.timeouts.idle_in_transaction.unwrap().as_secs(), 60);
    assert_eq!(found.timeouts.statement, None);
    assert!(matches!(
        &found.warnings[..],
        [identity::Warning::Isolation { .. }]
    ));
    let mut reader = connect::client(&as_role("reader"), &settings)
        .await
        .unwrap();
    assert!(matches!(
        identity::check(&mut reader).await,
        Err(identity::IdentityError::ReadOnly(role)) if role == "reader"
    ));
}

#[tokio::test]
async fn one_run_at_a_time_holds_a_database_and_the_next_is_told_who() {
    let server = Server::shared();
    let (database, other) = (server.database(), server.database());
    let mut first = client(&database, "drydock/first").await;
    let mut second = client(&database, "drydock/second").await;
    assert_eq!(lock::try_take(&mut first).await.unwrap(), None);
    let holder = lock::try_take(&mut second).await.unwrap().unwrap();
    assert_eq!(holder.pid, Some(first.backend_pid()));
    assert_eq!(holder.application_name, "drydock/first");
    let mut elsewhere = client(&other, "drydock/elsewhere").await;
    assert_eq!(lock::try_take(&mut elsewhere).await.unwrap(), None);

    let pid = first.backend_pid();
    drop(first);
    let gone = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
    while !second.ask(&gone).await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(lock::try_take(&mut second).await.unwrap(), None);
}
