//! Reading a specification from a file.
//!
//! A whole `Migration`, the same among other objects, or a specification alone are all accepted, and
//! checked against the schema that the cluster checks with, so that a misspelt field is an error in
//! both places.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::database::VARIABLE_PATTERN;
use super::migration::MigrationSpec;
use super::quantity::{BYTES_PATTERN, Bytes, DURATION_PATTERN, Duration};
use super::schema;

/// Why a file holds no usable specification.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not YAML.
    #[error("the file is not YAML")]
    Yaml(#[source] Box<serde_saphyr::Error>),
    /// There is nothing in it.
    #[error(
        "the file is empty: it must hold a Migration, or the fields of a Migration's spec (e.g. `alembic: {{}}`)"
    )]
    Empty,
    /// Only other things are in it.
    #[error("the file holds no Migration of drydock.dev/v1alpha1, but {0}")]
    OtherKinds(String),
    /// It is not said which one is meant.
    #[error("the file holds {0} Migrations: keep one in it")]
    Several(usize),
    /// The fields are not as they must be; one line each, the field's path first.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// The schema and the structures do not agree.
    #[error("the specification cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// Reads a specification: a Migration's `spec`, or a bare one. Image and database may be missing,
/// because a command line gives them in another way.
///
/// # Errors
/// Says for every field what is wrong with it.
pub fn from_yaml(text: &str) -> Result<MigrationSpec, FileError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|e| FileError::Yaml(Box::new(e)))?;
    let (spec, path) = choose(documents)?;
    let mut problems = Vec::new();
    check(&spec, &SPEC_SCHEMA, path, &mut problems);
    if spec.get("alembic").is_some() && spec.get("command").is_some() {
        problems.push(format!(
            "{}: give exactly one of alembic and command",
            shown(path)
        ));
    }
    if problems.is_empty() {
        assertions(&spec, path, &mut problems);
        names(&spec, path, &mut problems);
    }
    if !problems.is_empty() {
        return Err(FileError::Invalid(problems));
    }
    serde_json::from_value(spec).map_err(FileError::Unreadable)
}

/// Lists of `dryRun` whose entries have names.
const NAMED: [&str; 3] = ["assertions", "checks", "fixtures"];

/// No name is given twice.
fn names(spec: &Value, path: &str, problems: &mut Vec<String>) {
    for field in NAMED {
        let list = spec
            .pointer(&format!("/dryRun/{field}"))
            .and_then(Value::as_array);
        let mut names = Vec::new();
        for (i, entry) in list.into_iter().flatten().enumerate() {
            let name = entry.get("name");
            if names.contains(&name) {
                let path = below(path, &format!("dryRun.{field}[{i}].name"));
                problems.push(format!("{path}: there are two of that name"));
            }
            names.push(name);
        }
    }
}

/// What the cluster checks with a rule.
fn assertions(spec: &Value, path: &str, problems: &mut Vec<String>) {
    let list = spec.pointer("/dryRun/assertions").and_then(Value::as_array);
    for (i, assertion) in list.into_iter().flatten().enumerate() {
        let path = below(path, &format!("dryRun.assertions[{i}]"));
        let by_value = assertion.get("expect").and_then(Value::as_str) == Some("Value");
        if by_value != assertion.get("value").is_some() {
            problems.push(format!(
                "{path}: value belongs to expect: Value, and to no other"
            ));
        }
    }
}

fn choose(documents: Vec<Value>) -> Result<(Value, &'static str), FileError> {
    let mut documents: Vec<Value> = documents.into_iter().filter(|d| !d.is_null()).collect();
    let is_object = |d: &Value| d.get("kind").is_some() || d.get("apiVersion").is_some();
    if documents.len() == 1 && !is_object(&documents[0]) {
        let mut document = documents.remove(0);
        return Ok(match document.get_mut("spec") {
            Some(spec) => (spec.take(), "spec"),
            None => (document, ""),
        });
    }
    if documents.is_empty() {
        return Err(FileError::Empty);
    }
    let name = |d: &Value| {
        let text = |key| d.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        format!("{} {}", text("apiVersion"), text("kind"))
    };
    let (mut migrations, others): (Vec<Value>, Vec<Value>) = documents
        .into_iter()
        .partition(|d| name(d) == "drydock.dev/v1alpha1 Migration");
    match migrations.len() {
        0 => Err(FileError::OtherKinds(
            others.iter().map(name).collect::<Vec<_>>().join(", "),
        )),
        1 => Ok((
            migrations[0]
                .get_mut("spec")
                .map_or_else(|| Value::Object(Map::new()), Value::take),
            "spec",
        )),
        several => Err(FileError::Several(several)),
    }
}

/// The schema of `spec`, without what is required in the cluster but may be given on a command line.
static SPEC_SCHEMA: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let crd = serde_json::to_value(schema::crd()).unwrap_or_default();
    let schema = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .and_then(Value::as_object);
    let mut schema = schema.cloned().unwrap_or_default();
    schema.remove("required");
    schema
});

fn shown(path: &str) -> &str {
    if path.is_empty() { "spec" } else { path }
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

fn check(value: &Value, schema: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    if flag("x-kubernetes-int-or-string") && (value.is_string() || value.is_i64()) {
        return;
    }
    if value.is_null() && flag("nullable") {
        return;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => match value {
            Value::Object(members) => check_object(members, schema, path, problems),
            other => problems.push(wrong_type(path, "an object", other)),
        },
        Some("array") => match value {
            Value::Array(items) => {
                check_length(items.len(), schema, ("minItems", "item"), path, problems);
                if let Some(Value::Object(schema)) = schema.get("items") {
                    for (i, item) in items.iter().enumerate() {
                        check(item, schema, &format!("{path}[{i}]"), problems);
                    }
                }
            }
            other => problems.push(wrong_type(path, "a list", other)),
        },
        Some("string") => match value {
            Value::String(text) => check_text(text, schema, path, problems),
            other => problems.push(wrong_type(path, "a text", other)),
        },
        Some("integer") => match value.as_i64() {
            Some(number) => check_range(number, schema, path, problems),
            None => problems.push(wrong_type(path, "a whole number", value)),
        },
        Some("boolean") if !value.is_boolean() => {
            problems.push(wrong_type(path, "true or false", value));
        }
        _ => {}
    }
}

fn check_object(
    members: &Map<String, Value>,
    schema: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<String>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema
        .get("additionalProperties")
        .and_then(Value::as_object);
    for (name, member) in members {
        let known = properties
            .and_then(|p| p.get(name))
            .and_then(Value::as_object)
            .or(additional);
        match known {
            Some(schema) => check(member, schema, &below(path, name), problems),
            None if properties.is_some() => problems.push(format!(
                "{}: unknown field; known here are {}",
                below(path, name),
                properties
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            None => {}
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            problems.push(format!("{}: required", below(path, name)));
        }
    }
}

fn check_length(
    length: usize,
    schema: &Map<String, Value>,
    (bound, unit): (&str, &str),
    path: &str,
    problems: &mut Vec<String>,
) {
    let least = schema.get(bound).and_then(Value::as_u64).unwrap_or(0);
    if (length as u64) < least {
        problems.push(format!("{path}: must have at least {least} {unit}"));
    }
}

fn check_text(text: &str, schema: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    let problem = match schema.get("pattern").and_then(Value::as_str) {
        Some(DURATION_PATTERN) => text.parse::<Duration>().err().map(|e| e.to_string()),
        Some(BYTES_PATTERN) => text.parse::<Bytes>().err().map(|e| e.to_string()),
        Some(VARIABLE_PATTERN) if !is_variable(text) => Some(format!(
            "\"{text}\" is not the name of an environment variable"
        )),
        _ => not_listed(text, schema),
    };
    match problem {
        Some(problem) => problems.push(format!("{path}: {problem}")),
        None => check_length(
            text.len(),
            schema,
            ("minLength", "character"),
            path,
            problems,
        ),
    }
}

fn not_listed(text: &str, schema: &Map<String, Value>) -> Option<String> {
    let known = schema.get("enum").and_then(Value::as_array)?;
    let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
    (!known.contains(&text)).then(|| format!("\"{text}\" is none of {}", known.join(", ")))
}

fn check_range(number: i64, schema: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    #[allow(clippy::cast_precision_loss)] // only compared with small bounds
    let value = number as f64;
    if bound("minimum").is_some_and(|least| value < least)
        || bound("maximum").is_some_and(|most| value > most)
    {
        problems.push(format!(
            "{path}: {number} is not between {} and {}",
            bound("minimum").unwrap_or(f64::NEG_INFINITY),
            bound("maximum").unwrap_or(f64::INFINITY)
        ));
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn wrong_type(path: &str, wanted: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    format!("{}: must be {wanted}, not {found}", shown(path))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_whole_migration_its_spec_and_the_bare_fields_say_the_same() {
        let whole = "
apiVersion: v1
kind: Secret
metadata: {name: orders-db}
---
apiVersion: drydock.dev/v1alpha1
kind: Migration
metadata: {name: orders}
spec:
  alembic: {target: head}
";
        let spec = from_yaml(whole).unwrap();
        assert_eq!(from_yaml("spec: {alembic: {target: head}}").unwrap(), spec);
        assert_eq!(from_yaml("alembic: {target: head}").unwrap(), spec);
        assert_eq!(spec.alembic.unwrap().target.as_deref(), Some("head"));
    }

    #[rstest]
    #[case(
        "",
        "the file is empty: it must hold a Migration, or the fields of a Migration's spec (e.g. `alembic: {}`)"
    )]
    #[case(
        "apiVersion: v1\nkind: Secret\n",
        "the file holds no Migration of drydock.dev/v1alpha1, but v1 Secret"
    )]
    #[case(
        "apiVersion: drydock.dev/v1\nkind: Migration\n",
        "the file holds no Migration of drydock.dev/v1alpha1, but drydock.dev/v1 Migration"
    )]
    #[case(
        "alembik: {}",
        "alembik: unknown field; known here are alembic, command, database, dryRun, image, suspend, template, upgrade"
    )]
    #[case(
        "spec: {alembic: {tarket: head}}",
        "spec.alembic.tarket: unknown field; known here are command, config, target, x"
    )]
    #[case("alembic: true", "alembic: must be an object, not true")]
    #[case("alembic: {x: a=b}", "alembic.x: must be a list, not the text \"a=b\"")]
    #[case("alembic: {x: [1]}", "alembic.x[0]: must be a text, not the number 1")]
    #[case("command: {}", "command.upgrade: required")]
    #[case("command: {upgrade: []}", "command.upgrade: must have at least 1 item")]
    #[case(
        "{alembic: {}, command: {upgrade: [x]}}",
        "spec: give exactly one of alembic and command"
    )]
    #[case(
        "dryRun: {budgets: {blocking: 300}}",
        "dryRun.budgets.blocking: must be a text, not the number 300"
    )]
    #[case(
        "dryRun: {budgets: {blocking: fast}}",
        "dryRun.budgets.blocking: \"fast\" is not a duration: write e.g. 300ms, 90s, 10m or 1h30m"
    )]
    #[case(
        "dryRun: {concurrently: {substituteBelow: 64MB}}",
        "dryRun.concurrently.substituteBelow: \"64MB\" is not a size in bytes: write e.g. 512Ki, 64Mi or 1Gi"
    )]
    #[case(
        "database: {exposeAs: {url: MY-URL}}",
        "database.exposeAs.url: \"MY-URL\" is not the name of an environment variable"
    )]
    #[case(
        "database: {port: 70000}",
        "database.port: 70000 is not between 1 and 65535"
    )]
    #[case("template: {env: [{value: b}]}", "template.env[0].name: required")]
    #[case(
        "dryRun: {assertions: [{name: a, sql: SELECT 1, expect: None}]}",
        "dryRun.assertions[0].expect: \"None\" is none of Empty, NonEmpty, Value"
    )]
    #[case(
        "dryRun: {assertions: [{name: a, sql: SELECT 1, expect: Value}]}",
        "dryRun.assertions[0]: value belongs to expect: Value, and to no other"
    )]
    #[case(
        "spec: {dryRun: {assertions: [{name: a, sql: SELECT 1, expect: Empty}, {name: a, sql: SELECT 2, expect: Empty}]}}",
        "spec.dryRun.assertions[1].name: there are two of that name"
    )]
    #[case(
        "dryRun: {fixtures: [{name: '', sql: SELECT 1}]}",
        "dryRun.fixtures[0].name: must have at least 1 character"
    )]
    #[case("dryRun: {fixtures: [{name: a}]}", "dryRun.fixtures[0].sql: required")]
    #[case(
        "dryRun: {fixtures: [{name: a, sql: SELECT 1}, {name: a, sql: SELECT 1}]}",
        "dryRun.fixtures[1].name: there are two of that name"
    )]
    #[case(
        "dryRun: {checks: [{name: '', command: [x]}]}",
        "dryRun.checks[0].name: must have at least 1 character"
    )]
    #[case("dryRun: {checks: [{name: a}]}", "dryRun.checks[0].command: required")]
    #[case(
        "dryRun: {checks: [{name: a, command: []}]}",
        "dryRun.checks[0].command: must have at least 1 item"
    )]
    #[case(
        "dryRun: {checks: [{name: a, command: ./check.py}]}",
        "dryRun.checks[0].command: must be a list, not the text \"./check.py\""
    )]
    #[case(
        "dryRun: {checks: [{name: a, command: [x], at: Between}]}",
        "dryRun.checks[0].at: \"Between\" is none of Before, After"
    )]
    #[case(
        "dryRun: {checks: [{name: a, command: [x]}, {name: a, command: [x], at: Before}]}",
        "dryRun.checks[1].name: there are two of that name"
    )]
    #[case("- alembic", "spec: must be an object, not a list")]
    fn a_mistake_is_named_with_its_place(#[case] yaml: &str, #[case] message: &str) {
        assert_eq!(from_yaml(yaml).unwrap_err().to_string(), message);
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let error = from_yaml("{alembic: 1, suspend: maybe}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "alembic: must be an object, not the number 1\nsuspend: must be true or false, not the text \"maybe\""
        );
    }

    #[test]
    fn what_is_not_yaml_says_where() {
        let error = from_yaml("alembic: {").unwrap_err();
        assert_eq!(error.to_string(), "the file is not YAML");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("line 1"), "{source}");
    }
}
