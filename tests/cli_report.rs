//! `drydock report`: from files, from standard input, and from a cluster; here an API server of a few
//! lines that knows one Migration.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/program.rs"]
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use drydock::report::Report;
use drydock::verdict::Verdict;
use program::{Done, bare};
use serde_json::{Value, json};

fn report(run: &str, verdict: Verdict) -> Report {
    let document = json!({
        "format": 1, "drydock": "0.1.0", "run": run, "attempt": 1, "phase": "dryrun",
        "verdict": "Passed", "message": "a sentence", "nothingToDo": false,
        "command": ["alembic", "upgrade", "head"], "tool": "alembic", "commandExit": 0,
        "commandOutput": "", "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z",
        "commandMillis": 10, "database": null, "statements": [], "statementsOmitted": 0,
        "findings": [], "prediction": null, "boundTo": null, "witness": null,
        "ledger": {"sequences": [], "walBytes": null, "bloatBytes": null, "standbys": 0}
    });
    Report {
        verdict,
        ..serde_json::from_value(document).unwrap()
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// As the controller has it on what it makes for the Migration `orders`.
fn owner() -> Value {
    json!([{"apiVersion": "drydock.dev/v1alpha1", "kind": "Migration", "name": "orders", "uid": "u"}])
}

/// The ConfigMap that keeps a report.
fn stored(name: &str, created: &str, document: &[u8]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created,
                     "labels": {"drydock.dev/migration": "orders"}, "ownerReferences": owner()},
        "binaryData": {"report.json.gz": base64(&packed(document))}
    })
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

/// An API server with the Migration `orders` in the namespace `shop`.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn with(status: Value, maps: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &status, &maps);
            }
        });
        Self::at(&address.to_string())
    }

    fn at(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test",
                          "context": {"cluster": "test", "user": "test", "namespace": "shop"}}]
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Self { folder }
    }

    fn report(&self, arguments: &[&str]) -> Done {
        let mut command = self.command();
        command.args(arguments);
        Done::of(command)
    }

    fn command(&self) -> Command {
        let mut command = bare();
        command
            .arg("report")
            .current_dir(self.folder.path())
            .env("KUBECONFIG", self.folder.path().join("config"))
            .env_remove("KUBERNETES_SERVICE_HOST");
        command
    }
}

fn answer(stream: TcpStream, status: &Value, maps: &[Value]) {
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let mut header = String::new();
    while reader.read_line(&mut header).unwrap() > 2 {
        header.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (code, body) =
        if path.starts_with("/apis/drydock.dev/v1alpha1/namespaces/shop/migrations/orders") {
            let migration = json!({
                "apiVersion": "drydock.dev/v1alpha1", "kind": "Migration",
                "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
                "spec": {"image": "registry.example/orders:v1", "alembic": {},
                         "database": {"urlFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}},
                "status": status
            });
            ("200 OK", migration)
        } else if path.starts_with("/api/v1/namespaces/shop/configmaps?") {
            assert!(
                path.contains("labelSelector=drydock.dev%2Fmigration%3Dorders"),
                "{path}"
            );
            let list =
                json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {}, "items": maps});
            ("200 OK", list)
        } else {
            let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure",
                            "reason": "NotFound", "message": "not found", "code": 404,
                            "metadata": {}, "details": {}});
            ("404 Not Found", status)
        };
    let body = body.to_string();
    let mut stream = &stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn line(report: &Report) -> Vec<u8> {
    serde_json::to_vec(report).unwrap()
}

#[test]
fn the_latest_kept_report_of_a_migration_is_fetched_from_the_cluster() {
    let older = line(&report("orders-dryrun-1", Verdict::Failed));
    let newer = line(&report("orders-dryrun-2", Verdict::Passed));
    let cluster = Cluster::with(
        json!({}),
        vec![
            stored("orders-dryrun-2", "2026-01-02T00:00:00Z", &newer),
            stored("orders-dryrun-1", "2026-01-01T00:00:00Z", &older),
        ],
    );
    for arguments in [&["orders"][..], &["orders", "-n", "shop"]] {
        let done = cluster.report(arguments).expect(0);
        assert!(
            done.stdout
                .starts_with("✓ PASSED  dry run of alembic upgrade head\n"),
            "{done}"
        );
        assert!(done.stdout.contains("orders-dryrun-2"), "{done}");
        assert_eq!(done.stderr, "");
    }
    let done = cluster.report(&["orders", "-o", "json"]).expect(0);
    assert_eq!(done.stdout.trim_end().as_bytes(), newer);
}

#[test]
fn a_name_that_is_also_a_files_is_the_file() {
    let stored_there = line(&report("in-the-cluster", Verdict::Passed));
    let cluster = Cluster::with(
        json!({}),
        vec![stored("a", "2026-01-01T00:00:00Z", &stored_there)],
    );
    let here = line(&report("in-the-file", Verdict::Passed));
    std::fs::write(cluster.folder.path().join("orders"), packed(&here)).unwrap();
    assert!(
        cluster
            .report(&["orders"])
            .expect(0)
            .stdout
            .contains("in-the-file")
    );
    let done = cluster.report(&["orders", "-n", "shop"]).expect(0);
    assert!(done.stdout.contains("in-the-cluster"));
}

#[test]
fn what_the_cluster_does_not_have_is_named() {
    let empty = Cluster::with(json!({}), vec![]);
    let done = empty.report(&["orders", "-n", "shop"]).expect(2);
    assert_eq!(
        done.stderr,
        "drydock: no report of the Migration orders is kept yet: one is stored when a dry run has \
         ended; `kubectl describe migration orders` says where it stands\n"
    );
    let done = empty.report(&["baskets", "-n", "shop"]).expect(2);
    assert_eq!(
        done.stderr,
        "drydock: there is no Migration baskets in the namespace shop\n"
    );
    let done = empty.report(&["baskets"]).expect(2);
    assert_eq!(
        done.stderr,
        "drydock: there is no file baskets here, and in the cluster there is no Migration baskets \
         in the namespace shop\n"
    );
    let mut document: Value = serde_json::from_slice(&line(&report("r", Verdict::Passed))).unwrap();
    document["format"] = json!(99);
    for (map, words) in [
        (
            stored("r", "2026-01-01T00:00:00Z", document.to_string().as_bytes()),
            "the report in the ConfigMap r has format 99, and this drydock reads up to 1",
        ),
        (
            stored("r", "2026-01-01T00:00:00Z", b"{}"),
            "the report in the ConfigMap r cannot be read: missing field `format`",
        ),
        (
            json!({"metadata": {"name": "r", "ownerReferences": owner()}}),
            "the ConfigMap r holds no usable report: the ConfigMap has no key report.json.gz",
        ),
    ] {
        let cluster = Cluster::with(json!({}), vec![map]);
        let done = cluster.report(&["orders", "-n", "shop"]).expect(2);
        assert!(done.stderr.contains(words), "{done}");
    }
}

#[test]
fn a_cluster_that_does_not_answer_is_no_usage_error() {
    let down = Cluster::at("127.0.0.1:1")
        .report(&["orders", "-n", "shop"])
        .expect(6);
    assert!(
        down.stderr
            .starts_with("drydock: cannot read the Migration: "),
        "{down}"
    );
    assert!(down.stderr.contains("refused"), "{down}");
    let nowhere = Cluster::at("127.0.0.1:1");
    let mut without = nowhere.command();
    without
        .env("KUBECONFIG", "/nosuch")
        .env("HOME", "/nosuch")
        .arg("orders");
    let done = Done::of(without).expect(6);
    assert!(
        done.stderr.starts_with(
            "drydock: there is no file orders here, and the cluster cannot be asked for a Migration: "
        ),
        "{done}"
    );
}

#[test]
fn a_missing_file_is_not_looked_for_in_the_cluster() {
    let cluster = Cluster::with(json!({}), vec![]);
    for name in ["report.json", "./orders", "reports/orders", "Orders"] {
        let done = cluster.report(&[name]).expect(2);
        assert_eq!(
            done.stderr,
            format!("drydock: cannot read {name}: No such file or directory (os error 2)\n")
        );
    }
}

#[test]
fn a_log_around_a_report_is_passed_over() {
    let mut child = bare()
        .arg("report")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = b"{\"level\":\"INFO\"}\nsomething\n".to_vec();
    input.extend(line(&report("r", Verdict::Passed)));
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let done = Done::from(child.wait_with_output().unwrap()).expect(0);
    assert!(done.stdout.starts_with("✓ PASSED"), "{done}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.json");
    let mut many = Vec::new();
    for _ in 0..2_000 {
        many.extend(line(&report("r", Verdict::Passed)));
        many.push(b'\n');
    }
    std::fs::write(&path, many).unwrap();
    let mut child = bare()
        .arg("report")
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let done = Done::from(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(done.stderr, "");
}
