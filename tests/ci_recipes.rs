//! What docs/ci.md tells a pipeline to run is run: every line of its recipes that begins with `drydock`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "lab/postgres.rs"]
mod postgres;
#[path = "cli/program.rs"]
mod program;
#[path = "projects/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

use postgres::Server;
use program::Done;
use serde_json::Value;

/// The page's YAML.
fn recipes() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md");
    let page = std::fs::read_to_string(path).unwrap();
    page.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .map(|block| {
            serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{error}:\n{block}"))
        })
        .collect()
}

/// The lines of a recipe that a shell is given, in order.
fn lines(recipe: &Value) -> Vec<&str> {
    match recipe {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value) {
                ("run" | "entry", Value::String(text)) => text.lines().collect(),
                ("script" | "after_script", Value::Array(list)) => {
                    list.iter().map(|line| line.as_str().unwrap()).collect()
                }
                _ => lines(value),
            })
            .collect(),
        Value::Array(list) => list.iter().flat_map(lines).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_line_of_the_recipes_that_begins_with_drydock_does_what_it_says() {
    let recipes = recipes();
    let ours: Vec<&str> = recipes
        .iter()
        .flat_map(lines)
        .filter(|line| line.starts_with("drydock"))
        .collect();
    assert!(ours.len() >= 9, "{ours:#?}");
    assert!(ours.contains(&"drydock check"), "the hook: {ours:#?}");

    let database = Server::shared().database();
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args(["-R", "."])
        .arg(folder.path())
        .current_dir(python::project("revisions"))
        .status();
    assert!(copied.unwrap().success());
    let summary = folder.path().join("summary.md");
    let programs = [
        Path::new(env!("CARGO_BIN_EXE_drydock")).parent().unwrap(),
        Path::new(&python::program("")),
    ]
    .map(Path::to_path_buf);
    let path = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let path = std::env::join_paths(programs.into_iter().chain(path)).unwrap();
    let before = database.dump();
    for line in ours {
        let mut shell = Command::new("bash");
        shell
            .args(["-e", "-o", "pipefail", "-c", line])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("DATABASE_URL", &database.url)
            .env("STAGING_URL", &database.url)
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("DRYDOCK_DATABASE_URL");
        eprintln!("{line}");
        Done::of(shell).expect(0);
    }
    let summary = std::fs::read_to_string(summary).unwrap();
    for words in ["check of the revisions", "alembic upgrade head"] {
        assert!(summary.contains(words), "{words}: {summary}");
    }
    assert!(folder.path().join("report.json").exists());
    assert!(folder.path().join("report.md").exists());
    assert_eq!(database.dump(), before);
}
