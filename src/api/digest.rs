//! The input digest: what has to change for a run to be another run.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::migration::{MigrationSpec, Rerun};
use super::quantity::{Bytes, Duration};
use super::{AlembicSpec, ExposeAs};

/// Changes only when the canonical form changes, which starts every Migration's dry run anew.
const CANONICAL_VERSION: u32 = 1;

/// SHA-256 over everything that can change what a run does, in lower-case hexadecimal.
///
/// A value written out that equals its default does not change it, nor does `suspend`, nor
/// drydock's own image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct InputDigest(String);

impl InputDigest {
    /// Wraps a digest as kept in a status.
    #[must_use]
    pub fn from_hex(hex: String) -> Self {
        Self(hex)
    }

    /// The first 8 digits, as in the names of Jobs.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// The digest as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InputDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digest of everything that a run depends on.
#[must_use]
pub fn input_digest(spec: &MigrationSpec) -> InputDigest {
    let spec = without_defaults(spec.clone());
    InputDigest(sha256(
        &json!({ "version": CANONICAL_VERSION, "spec": spec }),
    ))
}

/// The digest of what is done to which database, whatever the image: the commands and the database
/// reference. An image that was released with the same commands need not be migrated again.
#[must_use]
pub fn commands_digest(spec: &MigrationSpec) -> String {
    let spec = without_defaults(spec.clone());
    sha256(&json!({
        "version": CANONICAL_VERSION,
        "alembic": spec.alembic,
        "command": spec.command,
        "database": {
            "urlFrom": spec.database.url_from,
            "host": spec.database.host,
            "port": spec.database.port,
            "name": spec.database.name,
            "directUrlFrom": spec.database.direct_url_from,
        },
    }))
}

fn without_defaults(mut spec: MigrationSpec) -> MigrationSpec {
    spec.suspend = false;
    if let Some(alembic) = &mut spec.alembic {
        drop_if(&mut alembic.command, |c| *c == ["alembic"]);
        drop_if(&mut alembic.target, |t| t == "head");
    }
    drop_if(&mut spec.database.port, |port| *port == 5432);
    let exposed = spec.database.exposed();
    drop_if(&mut spec.database.expose_as, |_| {
        exposed
            == ExposeAs {
                url: Some(super::DEFAULT_EXPOSED_URL.to_owned()),
                ..ExposeAs::default()
            }
    });
    drop_if(&mut spec.database.tls, |tls| *tls == Default::default());
    if let Some(dry_run) = &mut spec.dry_run {
        if let Some(budgets) = &mut dry_run.budgets {
            drop_if(&mut budgets.blocking, |b| *b == Duration::DEFAULT_BLOCKING);
            drop_if(&mut budgets.duration, |d| *d == Duration::DEFAULT_DURATION);
            drop_if(&mut budgets.assertion, |a| {
                *a == Duration::DEFAULT_ASSERTION
            });
            drop_if(&mut budgets.check, |c| *c == Duration::DEFAULT_CHECK);
        }
        drop_if(&mut dry_run.budgets, |b| *b == Default::default());
        if let Some(concurrently) = &mut dry_run.concurrently {
            drop_if(&mut concurrently.substitute_below, |s| {
                *s == Bytes::DEFAULT_SUBSTITUTE_BELOW
            });
        }
        drop_if(&mut dry_run.concurrently, |c| *c == Default::default());
        drop_if(&mut dry_run.round_trip, |wanted| !*wanted);
        drop_if(&mut dry_run.rerun, |rerun| *rerun == Rerun::Never);
    }
    drop_if(&mut spec.dry_run, |d| *d == Default::default());
    drop_if(&mut spec.upgrade, |u| *u == Default::default());
    drop_if(&mut spec.template, |t| *t == Default::default());
    if spec.alembic.is_none() && spec.command.is_none() {
        spec.alembic = Some(AlembicSpec::default());
    }
    spec
}

/// The longest text that [`mark`] keeps as it is.
const LONGEST_MARK: usize = 256;

/// What a status keeps of a text of any length to know it again: the text, or its digest.
#[must_use]
pub fn mark(text: &str) -> String {
    if text.len() <= LONGEST_MARK {
        text.to_owned()
    } else {
        format!("sha256:{}", sha256(&json!(text)))
    }
}

fn drop_if<T>(field: &mut Option<T>, is_default: impl FnOnce(&T) -> bool) {
    if field.as_ref().is_some_and(is_default) {
        *field = None;
    }
}

fn sha256(value: &Value) -> String {
    let mut canonical = String::new();
    write_canonical(value, &mut canonical);
    Sha256::digest(canonical)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// JSON without white space, keys sorted, null members left out.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
            members.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (i, (key, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::api::from_yaml;

    const MINIMAL: &str = "
image: registry.example/orders:v42
alembic: {}
database:
  urlFrom: {secretKeyRef: {name: orders-db, key: url}}
";

    fn digest(yaml: &str) -> InputDigest {
        input_digest(&from_yaml(yaml).unwrap())
    }

    /// A change of this value restarts every dry run in every cluster: change it only together with
    /// `CANONICAL_VERSION`.
    #[test]
    fn the_canonical_form_is_pinned() {
        assert_eq!(
            digest(MINIMAL).as_str(),
            "f79582f79d9d5569e711b60e95602c2f8661306a5850d7ff684e371cb6404f4e"
        );
    }

    #[rstest]
    #[case("suspend: true")]
    #[case("dryRun: {}")]
    #[case("dryRun: {budgets: {blocking: 300ms, duration: 10m}}")]
    #[case("dryRun: {concurrently: {substituteBelow: 64Mi}}")]
    #[case("dryRun: {rerun: Never}")]
    #[case("dryRun: {checks: []}")]
    #[case("dryRun: {budgets: {assertion: 5s, check: 1m}}")]
    #[case("upgrade: {}")]
    #[case("template: {}")]
    fn a_default_that_is_written_out_changes_nothing(#[case] line: &str) {
        assert_eq!(digest(&format!("{MINIMAL}{line}\n")), digest(MINIMAL));
    }

    #[rstest]
    #[case("alembic: {}", "alembic: {target: head, command: [alembic]}", true)]
    #[case("alembic: {}", "alembic: {target: base}", false)]
    #[case("alembic: {}", "command: {upgrade: [alembic, upgrade, head]}", false)]
    #[case("v42", "v43", false)]
    #[case("key: url", "key: uri", false)]
    fn only_what_changes_a_run_changes_its_digest(
        #[case] from: &str,
        #[case] to: &str,
        #[case] same: bool,
    ) {
        let changed = MINIMAL.replace(from, to);
        assert_ne!(changed, MINIMAL);
        assert_eq!(digest(&changed) == digest(MINIMAL), same);
    }

    #[rstest]
    #[case("dryRun: {budgets: {blocking: 1s}}")]
    #[case("dryRun: {budgets: {assertion: 1s}}")]
    #[case("dryRun: {assertions: [{name: a, sql: SELECT 1, expect: Empty}]}")]
    #[case("dryRun: {rerun: Pending}")]
    #[case("dryRun: {budgets: {check: 1s}}")]
    #[case("dryRun: {checks: [{name: a, command: [x]}]}")]
    #[case("upgrade: {lockTimeout: 1s}")]
    #[case("template: {env: [{name: A, value: b}]}")]
    fn every_setting_of_a_run_counts(#[case] line: &str) {
        assert_ne!(digest(&format!("{MINIMAL}{line}\n")), digest(MINIMAL));
    }

    #[test]
    fn a_check_is_another_one_when_its_command_or_its_time_is() {
        let of = |check: &str| digest(&format!("{MINIMAL}dryRun: {{checks: [{check}]}}\n"));
        let one = of("{name: a, command: [x]}");
        assert_eq!(one, of("{name: a, command: [x], at: After}"));
        assert_ne!(one, of("{name: a, command: [x], at: Before}"));
        assert_ne!(one, of("{name: a, command: [x, z]}"));
    }

    #[test]
    fn another_image_has_the_same_commands_and_another_database_has_not() {
        let of = |yaml: &str| commands_digest(&from_yaml(yaml).unwrap());
        assert_eq!(of(MINIMAL), of(&MINIMAL.replace("v42", "v43")));
        assert_ne!(of(MINIMAL), of(&MINIMAL.replace("orders-db", "other-db")));
        assert_ne!(
            of(MINIMAL),
            of(&MINIMAL.replace("alembic: {}", "alembic: {target: x}"))
        );
    }
}
