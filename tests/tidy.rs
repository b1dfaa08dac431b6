//! The shape of the tree: directions between modules, sizes of files, names, purity.
//!
//! ARCHITECTURE.md says why each rule is there; a rule that needs an exception means that the
//! structure is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines before a file's own tests. Above it, a file holds two concepts.
const HARD_CAP: usize = 600;

/// What each part may name, besides itself. A file belongs to the longest part that is a prefix.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("verdict", &[]),
    ("schema", &[]),
    ("telemetry", &[]),
    ("report", &["schema", "verdict"]),
    ("api", &["verdict"]),
    ("postgres", &["schema"]),
    ("rehearsal/wire", &[]),
    ("rehearsal/sql", &[]),
    (
        "rehearsal/transaction",
        &["rehearsal/wire", "rehearsal/sql", "report", "verdict"],
    ),
    (
        "rehearsal/proxy",
        &[
            "rehearsal/wire",
            "rehearsal/sql",
            "rehearsal/transaction",
            "postgres",
            "report",
            "verdict",
            "schema",
        ],
    ),
    ("witness", &["postgres", "schema", "report", "verdict"]),
    ("guard", &["postgres", "schema", "report", "verdict"]),
    (
        "dock",
        &[
            "rehearsal",
            "witness",
            "guard",
            "postgres",
            "schema",
            "report",
            "verdict",
            "api",
        ],
    ),
    ("operator/gate", &["api"]),
    (
        "operator/pipeline",
        &["api", "report", "verdict", "schema", "operator/gate"],
    ),
    (
        "operator/resources",
        &[
            "api",
            "report",
            "verdict",
            "operator/pipeline",
            "operator/gate",
        ],
    ),
    ("operator", &["api", "report", "verdict", "schema"]),
];

/// Parts without I/O, clock, environment or randomness.
const PURE: &[&str] = &[
    "verdict",
    "schema",
    "report",
    "api",
    "rehearsal/wire",
    "rehearsal/sql",
    "rehearsal/transaction",
    "operator/pipeline",
    "operator/gate",
    "operator/resources",
    "dock/plan",
    "dock/tool",
];

/// What a pure part never names.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "tokio::",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "rand::",
    "kube::Client",
    "kube::client",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Path below `src` without the ending, with the text that comes before the file's own tests.
fn sources() -> BTreeMap<String, String> {
    let src = root().join("src");
    files_below(&src, "rs")
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().with_extension("");
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
            (name.display().to_string(), code.to_owned())
        })
        .filter(|(name, _)| !is_for_tests_only(&src, name))
        .collect()
}

/// Whether the file's parent declares it under `#[cfg(test)]`.
fn is_for_tests_only(src: &Path, name: &str) -> bool {
    name.rsplit_once('/').is_some_and(|(parent, module)| {
        fs::read_to_string(src.join(parent).with_extension("rs"))
            .is_ok_and(|text| text.contains(&format!("#[cfg(test)]\nmod {module};")))
    })
}

fn is_below(path: &str, part: &str) -> bool {
    path == part
        || path
            .strip_prefix(part)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn without_comments(code: &str) -> String {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path that the code names with `crate::`, groups opened: `crate::rehearsal::{sql, wire}` is
/// `rehearsal/sql` and `rehearsal/wire`.
fn named(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for rest in without_comments(code).split("crate::").skip(1) {
        open(String::new(), &mut rest.chars().peekable(), &mut paths);
    }
    paths
}

/// Reads one path from `chars`, and all that a `{…}` behind it opens.
fn open(
    mut path: String,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    paths: &mut Vec<String>,
) {
    while let Some(&c) = chars.peek() {
        match c {
            ':' => {
                chars.next();
                if chars.peek() == Some(&':') {
                    chars.next();
                    path.push('/');
                }
            }
            '{' => {
                chars.next();
                while !matches!(chars.peek(), None | Some('}')) {
                    match chars.peek() {
                        Some(c) if c.is_whitespace() || *c == ',' => {
                            chars.next();
                        }
                        Some(c) if c.is_alphanumeric() || *c == '_' => {
                            open(path.clone(), chars, paths)
                        }
                        _ => return,
                    }
                }
                chars.next();
                return;
            }
            c if c.is_alphanumeric() || c == '_' => {
                path.push(c);
                chars.next();
            }
            _ => break,
        }
    }
    paths.push(path.trim_end_matches('/').to_owned());
    // `name as other`
    while chars.peek().is_some_and(|c| !matches!(c, ',' | '}' | ';')) && chars.peek() == Some(&' ')
    {
        chars.next();
        while chars
            .peek()
            .is_some_and(|c| c.is_alphanumeric() || *c == '_')
        {
            chars.next();
        }
    }
}

#[test]
fn groups_in_use_lines_are_opened() {
    let code = "use crate::rehearsal::{sql, wire::{frame, startup as s}};\nlet x = crate::report::Lock {};";
    let mut found = named(code);
    found.sort();
    assert_eq!(
        found,
        [
            "rehearsal/sql",
            "rehearsal/wire/frame",
            "rehearsal/wire/startup",
            "report/Lock"
        ]
    );
}

#[test]
fn modules_point_one_way() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        let Some((part, allowed)) = DIRECTIONS
            .iter()
            .filter(|(part, _)| is_below(&file, part))
            .max_by_key(|(part, _)| part.len())
        else {
            continue;
        };
        for path in named(&code) {
            if is_below(&path, part) || allowed.iter().any(|a| is_below(&path, a)) {
                continue;
            }
            let path = path.replace('/', "::");
            wrong.push(format!(
                "src/{file}.rs names crate::{path}, but {part} may not"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_parts_name_no_io_no_clock_no_environment_and_no_randomness() {
    let mut wrong = Vec::new();
    for (file, code) in sources() {
        if PURE.iter().any(|part| is_below(&file, part)) {
            let code = without_comments(&code);
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|name| code.contains(**name))
                    .map(|name| format!("src/{file}.rs names {name}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// String literals of a line of code, each with whether it is a byte string.
fn literals(line: &str) -> Vec<(bool, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = line[from..].find('"').map(|at| from + at) {
        let mut end = start + 1;
        while !matches!(line.as_bytes().get(end), None | Some(b'"')) {
            end += if line.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        let end = end.min(line.len());
        found.push((line[..start].ends_with('b'), &line[start + 1..end]));
        from = (end + 1).min(line.len());
    }
    found
}

/// The first layer of safety: what could become transaction control at the server is written in one
/// place, where there is no COMMIT.
#[test]
fn one_module_alone_spells_transaction_control() {
    const CONTROL: &str = "rehearsal/transaction/control";
    /// Command tags for clients, and for comparing with the server's.
    const TAGS: &[&str] = &[
        "rehearsal/transaction/block",
        "rehearsal/transaction/carry_out",
        "rehearsal/transaction/hearing",
    ];
    /// How error messages call a client's command.
    const COMMANDS: &[&str] = &["SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"];
    const WORDS: &[&str] = &[
        "ABORT",
        "BEGIN",
        "COMMIT",
        "END",
        "PREPARE",
        "RELEASE",
        "ROLLBACK",
        "SAVEPOINT",
        "START",
    ];
    let mut wrong = Vec::new();
    let sources = sources();
    for (name, code) in &sources {
        let inside = ["rehearsal/transaction", "rehearsal/proxy"]
            .iter()
            .any(|part| is_below(name, part));
        if !inside || name == CONTROL {
            continue;
        }
        for line in without_comments(code).lines() {
            for (bytes, literal) in literals(line) {
                let words: Vec<_> = literal.split_whitespace().collect();
                let control = words
                    .first()
                    .is_some_and(|first| WORDS.contains(&first.to_uppercase().as_str()));
                // More than that is a sentence.
                let short = words.len() <= 4;
                let tag = bytes || ["COMMIT", "ROLLBACK"].contains(&literal);
                let allowed = (tag && TAGS.contains(&name.as_str())) || COMMANDS.contains(&literal);
                if control && short && !allowed {
                    wrong.push(format!("{name}: {literal:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (_, literal) in without_comments(&sources[CONTROL])
        .lines()
        .flat_map(literals)
    {
        let first = literal.split_whitespace().next().unwrap_or_default();
        assert!(
            !["COMMIT", "END", "PREPARE"].contains(&first.to_uppercase().as_str()),
            "{literal:?}"
        );
    }
}

#[test]
fn no_file_holds_two_concepts() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(file, code)| (file, code.lines().count()))
        .filter(|(_, lines)| *lines > HARD_CAP)
        .map(|(file, lines)| format!("src/{file}.rs: {lines} lines before its tests"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn names_say_what_is_inside() {
    let vague = [
        "utils", "util", "helpers", "helper", "common", "manager", "types", "misc", "mod",
    ];
    let found: Vec<String> = sources()
        .into_keys()
        .filter(|file| file.split('/').any(|name| vague.contains(&name)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        "todo!(",
        "unimplemented!(",
        "#[ignore]",
        "FIXME",
        "To be written.",
    ];
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        for path in files_below(&root().join(folder), "rs") {
            if path.ends_with("tests/tidy.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            found.extend(
                marks
                    .iter()
                    .filter(|mark| text.contains(**mark))
                    .map(|mark| format!("{}: {mark}", path.display())),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The same list as `[bans]` in deny.toml, checked here too because it needs no tool.
#[test]
fn no_crate_that_we_avoid_is_locked() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let banned: Vec<&str> = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ name = \"")?.split('"').next())
        .collect();
    assert!(
        banned.contains(&"aws-lc-rs"),
        "deny.toml no longer lists what is banned"
    );
    let found: Vec<&&str> = banned
        .iter()
        .filter(|name| lock.contains(&format!("\nname = \"{name}\"\n")))
        .collect();
    assert!(found.is_empty(), "{found:?}");
}
