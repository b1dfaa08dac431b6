//! What a run cannot begin with: a server that is not there, not the right one or does not let us in,
//! a command that cannot be started. One list: exit code 6, the cause, the exact words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use drydock::verdict::{Environment, Verdict};
use postgres::{Options, Server};
use program::{Done, drydock, rehearse};
use rcgen::{CertificateParams, KeyPair};
use rstest::rstest;

/// Tries to rehearse; nothing may have been started, and no password shown.
#[track_caller]
fn refused(url: &str, cause: Environment, words: &str) {
    let done = rehearse(url, "echo started >&2").expect(6);
    let report = done.report();
    assert_eq!(report.verdict, Verdict::Environment(cause), "{url}\n{done}");
    assert!(
        report.message.contains(words),
        "{url}\n{done}\nexpected: {words}"
    );
    assert!(!done.stderr.contains("started"), "{done}");
    assert!(!format!("{done}").contains("hunter"), "{done}");
}

#[test]
fn a_server_that_is_not_there_or_does_not_let_us_in_is_told_apart() {
    let server = Options::new(postgres::major())
        .hba("host all clear 127.0.0.1/32 password")
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    postgres::psql(
        &server.socket_url("postgres"),
        "CREATE ROLE owner LOGIN PASSWORD 'hunter2'; CREATE ROLE clear LOGIN PASSWORD 'hunter2';
         CREATE ROLE reader LOGIN PASSWORD 'hunter2';
         ALTER ROLE reader SET default_transaction_read_only = on",
    );
    let port = server.port;
    let url = |rest: &str| format!("postgresql://{}", rest.replace("PORT", &port.to_string()));
    for (rest, cause, words) in [
        (
            "owner:hunter3@127.0.0.1:PORT/postgres",
            Environment::AuthenticationFailed,
            "password authentication failed for user \"owner\" (SQLSTATE 28P01); check the role and its password",
        ),
        (
            "nobody:hunter2@127.0.0.1:PORT/postgres",
            Environment::AuthenticationFailed,
            "password authentication failed for user \"nobody\"",
        ),
        (
            "owner@127.0.0.1:PORT/postgres",
            Environment::AuthenticationFailed,
            "asks for a password",
        ),
        (
            "clear:hunter2@127.0.0.1:PORT/postgres",
            Environment::AuthenticationFailed,
            "require_auth=password",
        ),
        (
            "owner:hunter2@127.0.0.1:PORT/nowhere",
            Environment::DatabaseMissing,
            "database \"nowhere\" does not exist (SQLSTATE 3D000); check the database's name in the URL",
        ),
        (
            "reader:hunter2@127.0.0.1:PORT/postgres",
            Environment::ReadOnly,
            "role \"reader\" may only read (default_transaction_read_only is on); give the role that the migration really uses",
        ),
        (
            "owner:hunter2@127.0.0.1:PORT/postgres?sslmode=require",
            Environment::TlsFailed,
            "check sslmode and sslrootcert in the URL",
        ),
        (
            "owner:hunter2@127.0.0.1:PORT/postgres?sslmode=verify-full&sslrootcert=/nosuch",
            Environment::Configuration,
            "/nosuch",
        ),
        (
            "owner:hunter2@127.0.0.1:1/postgres",
            Environment::Unreachable,
            "cannot connect to 127.0.0.1:1: Connection refused (os error 111); is the server up, and are host and port right?",
        ),
        (
            "owner:hunter2@no-such-host.invalid/postgres",
            Environment::Unreachable,
            "no-such-host.invalid",
        ),
        (
            "owner:hunter2@%2Fnosuch/postgres",
            Environment::Unreachable,
            "/nosuch",
        ),
    ] {
        refused(&url(rest), cause, words);
    }
    server.stop();
    refused(
        &url("owner:hunter2@127.0.0.1:PORT/postgres"),
        Environment::Unreachable,
        "is the server up",
    );
}

#[test]
fn a_certificate_that_does_not_satisfy_sslmode_is_refused() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let server = Options::new(postgres::major())
        .conf("ssl = on")
        .file("server.crt", certificate.clone())
        .file("server.key", key.serialize_pem())
        .hba("hostssl all all 127.0.0.1/32 trust")
        .start();
    let folder = tempfile::tempdir().unwrap();
    let stranger = folder.path().join("stranger.crt");
    let other = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let other = other.self_signed(&KeyPair::generate().unwrap()).unwrap();
    std::fs::write(&stranger, other.pem()).unwrap();
    let known = folder.path().join("known.crt");
    std::fs::write(&known, certificate).unwrap();
    let url = |host: &str, more: &str| {
        format!(
            "postgresql://postgres@{host}:{}/postgres?{more}",
            server.port
        )
    };
    refused(
        &url(
            "localhost",
            &format!("sslmode=verify-full&sslrootcert={}", stranger.display()),
        ),
        Environment::TlsFailed,
        "check sslmode and sslrootcert in the URL",
    );
    refused(
        &url(
            "127.0.0.1",
            &format!("sslmode=verify-full&sslrootcert={}", known.display()),
        ),
        Environment::TlsFailed,
        "127.0.0.1",
    );
    refused(
        &url("localhost", "sslmode=disable"),
        Environment::AuthenticationFailed,
        "no encryption",
    );
}

/// A server that says of itself what it likes, and knows a few answers.
fn pretending(version: &'static str, number: &'static str, recovery: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = pretend(stream.unwrap(), version, number, recovery);
        }
    });
    port
}

fn pretend(
    mut stream: TcpStream,
    version: &str,
    number: &str,
    recovery: &str,
) -> std::io::Result<()> {
    const SSL_REQUEST: i32 = 80_877_103;
    loop {
        let body = body(&mut stream)?;
        if body[..4] != SSL_REQUEST.to_be_bytes() {
            break;
        }
        stream.write_all(b"N")?;
    }
    let mut hello = message(b'R', &0_i32.to_be_bytes());
    for (name, value) in [("server_version", number), ("client_encoding", "UTF8")] {
        hello.extend(message(b'S', format!("{name}\0{value}\0").as_bytes()));
    }
    hello.extend(message(b'K', &[0, 0, 0, 7, 0, 0, 0, 1]));
    hello.extend(message(b'Z', b"I"));
    stream.write_all(&hello)?;
    loop {
        let mut kind = [0];
        stream.read_exact(&mut kind)?;
        let body = body(&mut stream)?;
        if kind == *b"X" {
            return Ok(());
        }
        let sql = String::from_utf8_lossy(&body).into_owned();
        let number = format!("{:0<6}", number.replace('.', "0"));
        let row: Vec<&str> = if sql.contains("version()") {
            vec![version]
        } else if sql.contains("current_database()") {
            vec![
                "d",
                "u",
                &number,
                &number,
                recovery,
                "off",
                "read committed",
                "f",
            ]
        } else {
            vec!["7"]
        };
        let mut fields = (row.len() as u16).to_be_bytes().to_vec();
        let mut values = fields.clone();
        for value in row {
            fields.extend(b"c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
            values.extend((value.len() as i32).to_be_bytes());
            values.extend(value.as_bytes());
        }
        let mut answer = message(b'T', &fields);
        answer.extend(message(b'D', &values));
        answer.extend(message(b'C', b"SELECT 1\0"));
        answer.extend(message(b'Z', b"I"));
        stream.write_all(&answer)?;
    }
}

/// The body of a message: four bytes of length, which counts itself, and as much less four.
fn body(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; i32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend((body.len() as i32 + 4).to_be_bytes());
    message.extend(body);
    message
}

#[rstest]
#[case::too_old(
    "PostgreSQL 12.22 on x86_64-pc-linux-gnu",
    "12.22",
    "f",
    Environment::UnsupportedServer,
    "is not supported; PostgreSQL 13 to 18 are"
)]
#[case::another_engine(
    "CockroachDB CCL v24.1.0",
    "13.0",
    "f",
    Environment::UnsupportedServer,
    "the server is not PostgreSQL but \"CockroachDB CCL v24.1.0\": its schema changes are not all undone by ROLLBACK"
)]
#[case::standby(
    "PostgreSQL 18.0 on x86_64-pc-linux-gnu",
    "18.0",
    "t",
    Environment::ReadOnly,
    "the server is in recovery: it is a standby, and a migration needs the primary; give the primary's address"
)]
fn a_server_that_cannot_be_rehearsed_on_is_refused(
    #[case] version: &'static str,
    #[case] number: &'static str,
    #[case] recovery: &'static str,
    #[case] cause: Environment,
    #[case] words: &str,
) {
    let port = pretending(version, number, recovery);
    refused(
        &format!("postgresql://u:hunter2@127.0.0.1:{port}/d"),
        cause,
        words,
    );
}

#[test]
fn something_that_is_no_database_at_all_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
            let _ = stream.read(&mut [0; 512]);
        }
    });
    let done = rehearse(
        &format!("postgresql://u:hunter2@127.0.0.1:{port}/d"),
        "true",
    )
    .expect(6);
    assert!(!format!("{done}").contains("hunter"), "{done}");
    assert!(
        done.report().message.contains(&format!("127.0.0.1:{port}")),
        "{done}"
    );
}

/// One address, and behind it, in turn, two servers: a load balancer that should not be one.
fn balancer(ports: [u16; 2], first: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let client = stream.unwrap();
            let turn = count.fetch_add(1, Ordering::Relaxed);
            let server =
                TcpStream::connect(("127.0.0.1", ports[usize::from(turn >= first)])).unwrap();
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    port
}

#[test]
fn one_address_with_two_servers_behind_it_is_noticed_by_whichever_connection_meets_the_other() {
    let (one, other) = (
        Server::start(postgres::major()),
        Server::start(postgres::major()),
    );
    for server in [&one, &other] {
        // One for each run: the lock of the last one goes with a session that is ended from afar.
        for database in ["d1", "d2", "d3"] {
            postgres::psql(
                &server.socket_url("postgres"),
                &format!("CREATE DATABASE {database}"),
            );
        }
    }
    // The lease comes first; then the rehearsal and the guard.
    for first in [1, 2] {
        let port = balancer([one.port, other.port], first);
        refused(
            &format!("postgresql://postgres@127.0.0.1:{port}/d{first}"),
            Environment::IdentityMismatch,
            "not every connection of this run reaches the same place: system identifier",
        );
    }
    // The witness is the last. Where it cannot look, nothing is verified.
    let port = balancer([one.port, other.port], 3);
    let url = format!("postgresql://postgres@127.0.0.1:{port}/d3");
    let done = rehearse(&url, "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'").expect(4);
    assert!(
        done.report()
            .message
            .contains("not every connection of this run reaches the same place"),
        "{done}"
    );
}

#[test]
fn a_standby_that_is_named_first_is_passed_over_and_all_connections_go_to_the_primary() {
    let server = Server::shared();
    let database = server.database();
    let url = format!(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
        pretending("PostgreSQL 18.0 on x86_64", "18.0", "t"),
        server.port,
        database.name
    );
    rehearse(&url, "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'").expect(0);
}

/// Somebody's long ALTER TABLE: a view and a partitioned table are read under a lock.
#[test]
fn a_lock_on_what_has_to_be_read_ends_the_run_soon_and_is_named_with_its_holder() {
    for major in [13, 18] {
        for (setup, table) in [
            (
                "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t",
                "t",
            ),
            (
                "CREATE TABLE p (a int) PARTITION BY LIST (a); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
                "p",
            ),
        ] {
            let database = Server::shared_of(major).database();
            database.psql(setup);
            let socket = database.server.socket_url(&database.name);
            let lock = format!(
                "SET application_name = 'nightly'; BEGIN; \
                 LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)"
            );
            let holder = std::thread::spawn(move || postgres::try_psql(&socket, &lock));
            let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' \
                        AND locktype = 'relation' AND database = (SELECT oid FROM pg_database \
                        WHERE datname = current_database())";
            while database.psql(held) == "0" {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let began = std::time::Instant::now();
            refused(
                &database.url,
                Environment::Locked,
                &format!("waited for {table}, which session "),
            );
            refused(&database.url, Environment::Locked, "(nightly) has locked");
            assert!(began.elapsed().as_secs() < 60);
            database.psql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'nightly'",
            );
            let _ = holder.join();
            assert_eq!(rehearse(&database.url, "true").code, 3);
        }
    }
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("migrate.sh");
    std::fs::write(&plain, "true").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let plain = plain.display().to_string();
    for (program, words) in [
        (
            "no-such-migrator",
            "`no-such-migrator` was not found; is it installed and on PATH?".to_owned(),
        ),
        (plain.as_str(), format!("`{plain}` is not executable")),
    ] {
        let mut command = drydock(&database.url);
        command.args(["rehearse", "-o", "json", "--", program, "up"]);
        let done = Done::of(command).expect(6);
        assert_eq!(
            done.report().verdict,
            Verdict::Environment(Environment::CommandNotStarted)
        );
        assert_eq!(done.report().message, words);
    }
}

#[test]
fn an_address_that_is_taken_cannot_be_listened_on() {
    let database = Server::shared().database();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = drydock(&database.url);
    command.args(["rehearse", "--listen", &address, "-o", "json"]);
    let done = Done::of(command).expect(6);
    assert_eq!(
        done.report().message,
        format!(
            "cannot listen on {address}: Address already in use (os error 98); choose another address"
        )
    );
}

#[test]
fn a_report_that_cannot_be_written_does_not_change_a_verdict_that_is_not_passed() {
    let database = Server::shared().database();
    for (sql, code) in [("SELECT 1/0", 1), ("SELECT 1", 6)] {
        let mut command = drydock(&database.url);
        command
            .args(["rehearse", "-q", "--", "sh", "-c"])
            .arg(format!("psql \"$DATABASE_URL\" -Xqc '{sql}'"))
            .stdout(std::fs::File::create("/dev/full").unwrap());
        let done = Done::from(command.output().unwrap()).expect(code);
        assert_eq!(
            done.stderr,
            "drydock: cannot write to standard output: No space left on device (os error 28)\n"
        );
    }
}

#[test]
fn a_superuser_and_a_role_with_another_isolation_are_warned_about() {
    let database = Server::shared().database();
    let name = format!("serial_{}", database.name);
    database.psql(&format!(
        "CREATE ROLE {name} LOGIN; ALTER ROLE {name} SET default_transaction_isolation = 'repeatable read';
         GRANT CREATE ON SCHEMA public TO {name}"
    ));
    let findings = |url: &str| -> Vec<(String, String)> {
        let done = rehearse(url, "psql \"$DATABASE_URL\" -Xqc 'CREATE TABLE t ()'").expect(0);
        let findings = done.report().findings.into_iter();
        findings
            .map(|finding| (finding.code, finding.message))
            .collect()
    };
    assert_eq!(
        findings(&database.url),
        [(
            "SuperuserRole".to_owned(),
            "role \"postgres\" is a superuser: a migration may then have effects that no rollback \
             undoes; use the role that owns the tables"
                .to_owned()
        )]
    );
    assert_eq!(
        findings(&database.url.replace("postgres@", &format!("{name}@"))),
        [(
            "IsolationNotRehearsed".to_owned(),
            format!(
                "transactions of role \"{name}\" default to repeatable read; serialization failures \
                 are not rehearsed"
            )
        )]
    );
}
