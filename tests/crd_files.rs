//! Files that are kept twice are the same, and the CRD's are what the code generates.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::Path};

/// `UPDATE=1 cargo test --test crd_files` writes them anew.
#[test]
fn the_crd_files_are_as_generated() {
    let generated = drydock::api::crd_yaml().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in [
        "crds/migrations.drydock.dev.yaml",
        "charts/drydock/files/migrations.drydock.dev.yaml",
    ] {
        let path = root.join(file);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &generated).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == generated,
            "{file} is not what `drydock crd` prints: run `UPDATE=1 cargo test --test crd_files`"
        );
    }
}

#[test]
fn the_charts_rules_for_prometheus_are_those_for_a_plain_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    assert_eq!(
        read("charts/drydock/files/prometheus-rules.yaml"),
        read("deploy/prometheus-rules.yaml")
    );
}
