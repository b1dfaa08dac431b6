//! The PostgreSQL servers that every other integration test stands on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use std::path::Path;
use std::process::Command;

use postgres::{MAJORS, Options, Server};

#[test]
fn every_supported_major_version_starts_and_answers() {
    for major in MAJORS {
        let server = Server::start(major);
        let version = postgres::psql(&server.url("postgres"), "SHOW server_version_num");
        assert_eq!(version[..2], major.to_string());
        let over_socket = postgres::psql(&server.socket_url("postgres"), "SELECT 1");
        assert_eq!(over_socket, "1");
    }
}

#[test]
fn databases_are_apart_and_dumps_of_the_same_contents_are_equal() {
    let server = Server::shared();
    let (one, two) = (server.database(), server.database());
    one.psql("CREATE TABLE only_in_one (id bigserial)");
    assert_eq!(two.psql("SELECT to_regclass('only_in_one') IS NULL"), "t");
    assert_eq!(one.dump(), one.dump());
    let before = one.dump();
    one.psql("SELECT nextval('only_in_one_id_seq')");
    assert_ne!(one.dump(), before);
}

#[test]
fn a_server_comes_back_with_its_data_after_a_crash() {
    let server = Server::start(postgres::major());
    let database = server.database();
    database.psql("CREATE TABLE kept AS SELECT 1 AS id");
    server.crash();
    assert!(postgres::try_psql(&database.url, "SELECT 1").is_err());
    server.restart();
    assert_eq!(database.psql("SELECT id FROM kept"), "1");
    assert!(server.log().contains("was not properly shut down"));
}

#[test]
fn a_server_asks_for_passwords_when_told_so() {
    let server = Options::new(postgres::major())
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    let database = server.database();
    database.psql("CREATE ROLE app LOGIN PASSWORD 'secret'");
    let url = |password| {
        format!(
            "postgresql://app:{password}@127.0.0.1:{}/{}",
            server.port, database.name
        )
    };
    assert_eq!(postgres::psql(&url("secret"), "SELECT current_user"), "app");
    let refused = postgres::try_psql(&url("wrong"), "SELECT 1").unwrap_err();
    assert!(
        refused.contains("password authentication failed"),
        "{refused}"
    );
}

/// The other half of the next test, which runs this one in a process of its own.
#[test]
#[ignore = "run by a_killed_test_leaves_no_server_behind"]
fn kill_the_test_process() {
    let server = Server::start(postgres::major());
    println!("folder {}", server.socket_folder().display());
    let me = std::process::id().to_string();
    Command::new("kill")
        .args(["-KILL", &me])
        .status()
        .expect("kill");
    unreachable!("SIGKILL cannot be survived");
}

#[test]
fn a_killed_test_leaves_no_server_behind() {
    let test = std::env::current_exe().expect("this test");
    let output = Command::new(test)
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "kill_the_test_process",
        ])
        .output()
        .expect("the test in a process of its own");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let folder = printed
        .lines()
        .find_map(|line| line.split("folder ").nth(1));
    let folder = Path::new(folder.expect("the server's folder")).to_owned();
    for _ in 0..500 {
        if !folder.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!(
        "{} is still there ten seconds after SIGKILL",
        folder.display()
    );
}
