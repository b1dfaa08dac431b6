//! Getting into real servers: TLS, passwords, sockets, several hosts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;

use drydock::postgres::ask::{Ask, one};
use drydock::postgres::connect::{self, ConnectError, StartupSettings, Trouble};
use drydock::postgres::url::{self, Environment, Target};
use postgres::{Options, Server};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

fn target(text: &str) -> Target {
    url::parse(text, &Environment::new()).unwrap().0
}

fn settings() -> StartupSettings {
    StartupSettings::first("drydock/test")
}

async fn ask(text: &str, sql: &str) -> Result<String, ConnectError> {
    let mut client = connect::client(&target(text), &settings()).await?;
    Ok(one(&mut client, "a value", sql).await.unwrap())
}

/// Whether the session is encrypted, by the server's own word.
const ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

#[tokio::test]
async fn a_client_and_a_bare_stream_reach_the_server_over_tcp_and_over_its_socket() {
    for major in [13, 18] {
        let server = Server::shared_of(major);
        for text in [server.url("postgres"), server.socket_url("postgres")] {
            let mut client = connect::client(&target(&text), &settings()).await.unwrap();
            let name = one(
                &mut client,
                "name",
                "SELECT current_setting('application_name')",
            )
            .await;
            assert_eq!(name.unwrap(), "drydock/test");
            let pid = one(&mut client, "pid", "SELECT pg_backend_pid()")
                .await
                .unwrap();
            assert_eq!(pid, client.backend_pid().to_string());
            assert_eq!(client.major(), Some(u32::from(major)));

            let long_lived = StartupSettings::for_major("drydock/test", u32::from(major));
            let raw = connect::raw(&target(&text), &long_lived).await.unwrap();
            assert_eq!(raw.parameters["application_name"], "drydock/test");
            assert!(raw.backend_pid() > 0);
        }
    }
}

#[tokio::test]
async fn several_statements_give_the_rows_of_all_and_null_is_not_an_empty_string() {
    let mut client = connect::client(&target(&Server::shared().url("postgres")), &settings())
        .await
        .unwrap();
    let rows = client.ask("SELECT 1, NULL; SELECT '', 'a'").await.unwrap();
    assert_eq!(
        rows,
        [
            vec![Some("1".to_owned()), None],
            vec![Some(String::new()), Some("a".to_owned())]
        ]
    );
    let error = client.ask("SELECT 1/0").await.unwrap_err();
    assert_eq!(error.code(), Some("22012"));
    assert_eq!(
        client.ask("SELECT 2").await.unwrap(),
        [[Some("2".to_owned())]]
    );
}

#[tokio::test]
async fn a_cancel_request_stops_the_running_statement() {
    let target = target(&Server::shared().url("postgres"));
    let mut client = connect::client(&target, &settings()).await.unwrap();
    let (key, host) = (client.cancel_key(), client.host().clone());
    let sleeping = tokio::spawn(async move { client.ask("SELECT pg_sleep(60)").await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    connect::cancel(&target, &host, key).await.unwrap();
    let error = sleeping.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some("57014"));
}

#[tokio::test]
async fn a_connection_that_the_server_ends_is_noticed() {
    let target = target(&Server::shared().url("postgres"));
    let one_client = connect::client(&target, &settings()).await.unwrap();
    let mut other = connect::client(&target, &settings()).await.unwrap();
    let closed = one_client.closed();
    other
        .ask(&format!(
            "SELECT pg_terminate_backend({})",
            one_client.backend_pid()
        ))
        .await
        .unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(10), closed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_password_leaves_in_clear_text_or_as_md5_only_when_that_is_asked_for() {
    let server = Options::new(postgres::major())
        .conf("password_encryption = 'md5'")
        .hba("host all clear 127.0.0.1/32 password")
        .hba("host all digest 127.0.0.1/32 md5")
        .hba("host all all 127.0.0.1/32 scram-sha-256")
        .start();
    postgres::psql(
        &server.socket_url("postgres"),
        "CREATE ROLE clear LOGIN PASSWORD 's3cret'; CREATE ROLE digest LOGIN PASSWORD 's3cret';
         SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 's3cret'",
    );
    let url = |user: &str, password: &str, more: &str| {
        format!(
            "postgresql://{user}:{password}@127.0.0.1:{}/postgres{more}",
            server.port
        )
    };
    for (user, method) in [("clear", "password"), ("digest", "md5")] {
        let refused = ask(&url(user, "s3cret", ""), "SELECT 1").await.unwrap_err();
        assert!(matches!(refused, ConnectError::Method { .. }), "{refused}");
        assert!(
            refused
                .to_string()
                .contains(&format!("require_auth={method}")),
            "{refused}"
        );
        let asked_for = url(user, "s3cret", &format!("?require_auth={method}"));
        assert_eq!(ask(&asked_for, "SELECT current_user").await.unwrap(), user);
    }
    assert_eq!(
        ask(&url("app", "s3cret", ""), "SELECT current_user")
            .await
            .unwrap(),
        "app"
    );

    let wrong = ask(&url("app", "s3cret2", ""), "SELECT 1")
        .await
        .unwrap_err();
    assert_eq!(wrong.trouble(), Trouble::AuthenticationFailed);
    assert!(!format!("{wrong:?}").contains("s3cret"));
    let none = ask(
        &format!("postgresql://app@127.0.0.1:{}/postgres", server.port),
        "SELECT 1",
    )
    .await;
    assert!(matches!(none.unwrap_err(), ConnectError::NoPassword { .. }));
    let missing = ask(&server.url("nosuch"), "SELECT 1").await.unwrap_err();
    assert!(matches!(
        missing.trouble(),
        Trouble::AuthenticationFailed | Trouble::DatabaseMissing
    ));
}

#[tokio::test]
async fn a_missing_database_and_a_dead_server_are_told_apart() {
    let missing = ask(&Server::shared().url("nosuch"), "SELECT 1")
        .await
        .unwrap_err();
    assert_eq!(missing.trouble(), Trouble::DatabaseMissing);
    let dead = ask("postgresql://u@127.0.0.1:1/d", "SELECT 1")
        .await
        .unwrap_err();
    assert_eq!(dead.trouble(), Trouble::Unreachable);
    assert_eq!(dead.to_string(), "cannot connect to 127.0.0.1:1");
}

#[tokio::test]
async fn of_several_hosts_the_first_that_fits_is_taken_and_kept() {
    let server = Server::shared();
    let text = format!(
        "postgresql://postgres@127.0.0.1:1,localhost:{}/postgres",
        server.port
    );
    let (pinned, _) = connect::pin(
        &target(&format!("{text}?target_session_attrs=read-write")),
        &settings(),
    )
    .await
    .unwrap();
    assert_eq!(pinned.hosts.len(), 1);
    assert_eq!(pinned.hosts[0].port, server.port);
    assert_eq!(pinned.hosts[0].address, Some("127.0.0.1".parse().unwrap()));
    let standby = connect::pin(
        &target(&format!("{text}?target_session_attrs=standby")),
        &settings(),
    )
    .await;
    assert!(matches!(
        standby.unwrap_err(),
        ConnectError::SessionAttributes(_)
    ));
}

/// An authority, and certificates that it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.clone().self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, names: &[&str], common_name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_libpq() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(&["localhost"], "ignored");
    let server = Options::new(postgres::major())
        .conf("ssl = on")
        .conf("ssl_cert_file = 'server.crt'")
        .conf("ssl_key_file = 'server.key'")
        .conf("ssl_ca_file = 'ca.crt'")
        .file("server.crt", certificate)
        .file("server.key", key)
        .file("ca.crt", authority.pem.clone())
        .hba("hostssl all certified 127.0.0.1/32 cert")
        .hba("hostssl all tlsonly 127.0.0.1/32 scram-sha-256")
        .hba("hostnossl all plainonly 127.0.0.1/32 scram-sha-256")
        .hba("host all either 127.0.0.1/32 scram-sha-256")
        .start();
    for role in ["tlsonly", "plainonly", "either", "certified"] {
        postgres::psql(
            &server.socket_url("postgres"),
            &format!("CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT pg_read_all_stats TO {role}"),
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let root = file("root.crt", &authority.pem);
    let stranger = file("stranger.crt", &Authority::new().pem);
    let url = |user: &str, host: &str, more: &str| {
        format!(
            "postgresql://{user}:p@{host}:{}/postgres?{more}",
            server.port
        )
    };

    for (user, more, encrypted) in [
        ("either", "sslmode=disable", "f"),
        ("either", "sslmode=allow", "f"),
        ("tlsonly", "sslmode=allow", "t"),
        ("either", "sslmode=prefer", "t"),
        ("plainonly", "sslmode=prefer", "f"),
        ("either", "sslmode=require", "t"),
        ("tlsonly", "sslmode=require&channel_binding=require", "t"),
        ("tlsonly", "sslmode=require&channel_binding=disable", "t"),
    ] {
        let found = ask(&url(user, "127.0.0.1", more), ENCRYPTED).await;
        assert_eq!(found.unwrap(), encrypted, "{user} {more}");
    }
    for (host, more) in [
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={root}")),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={root}&channel_binding=require"),
        ),
    ] {
        assert_eq!(
            ask(&url("either", host, &more), ENCRYPTED).await.unwrap(),
            "t",
            "{more}"
        );
    }
    for (host, more, trouble) in [
        (
            "127.0.0.1",
            format!("sslmode=verify-full&sslrootcert={root}"),
            Trouble::TlsFailed,
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={stranger}"),
            Trouble::TlsFailed,
        ),
        (
            "localhost",
            format!("sslmode=verify-ca&sslrootcert={stranger}"),
            Trouble::TlsFailed,
        ),
        (
            "localhost",
            format!("sslmode=require&sslrootcert={stranger}"),
            Trouble::TlsFailed,
        ),
        (
            "localhost",
            "sslrootcert=system".to_owned(),
            Trouble::TlsFailed,
        ),
        (
            "localhost",
            "sslmode=verify-ca&sslrootcert=/nosuch".to_owned(),
            Trouble::Configuration,
        ),
        (
            "localhost",
            "sslmode=disable&channel_binding=require".to_owned(),
            Trouble::AuthenticationFailed,
        ),
    ] {
        let error = ask(&url("either", host, &more), "SELECT 1")
            .await
            .unwrap_err();
        assert_eq!(error.trouble(), trouble, "{more}: {error:?}");
    }
    let plain = ask(
        &url("plainonly", "localhost", "sslmode=require"),
        "SELECT 1",
    )
    .await
    .unwrap_err();
    assert_eq!(plain.trouble(), Trouble::AuthenticationFailed);

    let (certificate, key) = authority.sign(&[], "certified");
    let more = format!(
        "sslmode=verify-full&sslrootcert={root}&sslcert={}&sslkey={}",
        file("client.crt", &certificate),
        file("client.key", &key)
    );
    assert_eq!(
        ask(&url("certified", "localhost", &more), "SELECT current_user")
            .await
            .unwrap(),
        "certified"
    );
    if server.major >= 17 {
        let more = format!("sslnegotiation=direct&sslmode=verify-full&sslrootcert={root}");
        assert_eq!(
            ask(&url("either", "localhost", &more), ENCRYPTED)
                .await
                .unwrap(),
            "t"
        );
    }
}

#[tokio::test]
async fn a_self_signed_certificate_may_be_its_own_root_and_a_common_name_is_enough() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost");
    let certificate = params.self_signed(&key).unwrap().pem();
    let server = Options::new(postgres::major())
        .conf("ssl = on")
        .file("server.crt", certificate.clone())
        .file("server.key", key.serialize_pem())
        .start();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.crt");
    std::fs::write(&root, certificate).unwrap();
    let url = |host: &str| {
        format!(
            "postgresql://postgres@{host}:{}/postgres?sslmode=verify-full&sslrootcert={}",
            server.port,
            root.display()
        )
    };
    assert_eq!(ask(&url("localhost"), ENCRYPTED).await.unwrap(), "t");
    let other = ask(&url("127.0.0.1"), ENCRYPTED).await.unwrap_err();
    assert_eq!(other.trouble(), Trouble::TlsFailed);
}
