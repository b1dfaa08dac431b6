//! What the witness knows about single catalogues: which rows are of temporary objects, which
//! relation a row is about, and who owns it.

use std::fmt::Write as _;

/// Catalogues that hold data or statistics, not structure: autovacuum and applications rewrite them
/// at any time.
pub(super) const LEFT_OUT: [&str; 4] = [
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_statistic",
    "pg_statistic_ext_data",
];

/// Catalogues whose rows are objects of their own, and how to tell those of temporary ones.
const OBJECTS: [(&str, &str); 7] = [
    (
        "pg_type",
        "typnamespace IN (SELECT oid FROM temporary_namespace)",
    ),
    (
        "pg_proc",
        "pronamespace IN (SELECT oid FROM temporary_namespace)",
    ),
    (
        "pg_constraint",
        "connamespace IN (SELECT oid FROM temporary_namespace)",
    ),
    (
        "pg_attrdef",
        "adrelid IN (SELECT oid FROM temporary_relation)",
    ),
    (
        "pg_rewrite",
        "ev_class IN (SELECT oid FROM temporary_relation)",
    ),
    (
        "pg_trigger",
        "tgrelid IN (SELECT oid FROM temporary_relation)",
    ),
    (
        "pg_policy",
        "polrelid IN (SELECT oid FROM temporary_relation)",
    ),
];

/// The sets of object identifiers that [`Catalogue::temporary`] refers to, as the beginning of a
/// query. A catalogue that the role cannot read contributes nothing.
pub(super) fn temporary_sets(is_covered: impl Fn(&str) -> bool) -> String {
    let mut sql = "\
WITH temporary_namespace AS MATERIALIZED (
    SELECT oid FROM pg_catalog.pg_namespace WHERE nspname ~ '^pg_(toast_)?temp_'),
temporary_relation AS MATERIALIZED (
    SELECT oid FROM pg_catalog.pg_class WHERE relpersistence = 't'),
temporary_object AS MATERIALIZED (
    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass::oid AS class, oid
        FROM temporary_namespace
    UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid FROM temporary_relation"
        .to_owned();
    for (name, temporary) in OBJECTS {
        if is_covered(name) {
            // Infallible: writing into a String.
            let _ = write!(
                sql,
                "\n    UNION ALL SELECT 'pg_catalog.{name}'::pg_catalog.regclass, oid \
                 FROM pg_catalog.{name} WHERE {temporary}"
            );
        }
    }
    sql.push(')');
    sql
}

/// Columns of `pg_class` that say what a relation is. The others are file names, statistics, and
/// hints that VACUUM resets (`relhasindex`, `relhasrules`, …).
pub(super) const STRUCTURE_OF_CLASS: &str = "ROW(c.oid, c.relname, c.relnamespace, c.reltype, \
    c.reloftype, c.relowner, c.relam, c.reltablespace, c.relisshared, c.relpersistence, c.relkind, \
    c.relnatts, c.relchecks, c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, \
    c.relreplident, c.relispartition, c.relacl, c.reloptions, c.relpartbound)::text";

/// How rows of one catalogue are read. Every expression calls the row `c`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Catalogue {
    /// Whether the row belongs to a temporary object.
    pub(super) temporary: String,
    /// The relation that the row is about.
    pub(super) relation: Option<String>,
    /// Who owns what the row is about.
    pub(super) owner: Option<String>,
    /// Which rows concern this database.
    pub(super) only: Option<&'static str>,
}

impl Catalogue {
    /// What is known of the catalogue; of one that is not known, that its rows are never temporary.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "pg_class" => Self {
                temporary: "c.relpersistence = 't'".to_owned(),
                relation: Some("c.oid".to_owned()),
                owner: Some("c.relowner".to_owned()),
                only: None,
            },
            "pg_attribute" => Self::of_relation("attrelid"),
            "pg_attrdef" => Self::of_relation("adrelid"),
            "pg_index" => Self::of_relation("indrelid"),
            "pg_inherits" => Self::of_relation("inhrelid"),
            "pg_trigger" => Self::of_relation("tgrelid"),
            "pg_rewrite" => Self::of_relation("ev_class"),
            "pg_policy" => Self::of_relation("polrelid"),
            "pg_partitioned_table" => Self::of_relation("partrelid"),
            "pg_sequence" => Self::of_relation("seqrelid"),
            "pg_publication_rel" => Self::of_relation("prrelid"),
            "pg_foreign_table" => Self::of_relation("ftrelid"),
            "pg_statistic_ext" => Self::of_relation("stxrelid"),
            "pg_type" => Self::in_namespace("typnamespace").owned_by("typowner"),
            "pg_proc" => Self::in_namespace("pronamespace").owned_by("proowner"),
            "pg_operator" => Self::in_namespace("oprnamespace").owned_by("oprowner"),
            "pg_opclass" => Self::in_namespace("opcnamespace").owned_by("opcowner"),
            "pg_opfamily" => Self::in_namespace("opfnamespace").owned_by("opfowner"),
            "pg_collation" => Self::in_namespace("collnamespace").owned_by("collowner"),
            "pg_conversion" => Self::in_namespace("connamespace").owned_by("conowner"),
            "pg_ts_config" => Self::in_namespace("cfgnamespace").owned_by("cfgowner"),
            "pg_ts_dict" => Self::in_namespace("dictnamespace").owned_by("dictowner"),
            "pg_ts_parser" => Self::in_namespace("prsnamespace"),
            "pg_ts_template" => Self::in_namespace("tmplnamespace"),
            "pg_constraint" => Self {
                relation: Some("c.conrelid".to_owned()),
                owner: Some(owner_of_relation("conrelid")),
                ..Self::in_namespace("connamespace")
            },
            "pg_namespace" => Self {
                temporary: "c.oid IN (SELECT oid FROM temporary_namespace)".to_owned(),
                ..Self::permanent().owned_by("nspowner")
            },
            "pg_depend" => Self {
                temporary: format!(
                    "({} OR {})",
                    of_object("classid", "objid"),
                    of_object("refclassid", "refobjid")
                ),
                ..Self::permanent()
            },
            "pg_shdepend" => Self {
                temporary: of_object("classid", "objid"),
                only: Some(
                    "c.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database \
                     WHERE datname = pg_catalog.current_database()))",
                ),
                ..Self::permanent()
            },
            "pg_description" | "pg_seclabel" => Self {
                temporary: of_object("classoid", "objoid"),
                ..Self::permanent()
            },
            // Databases beside this one come and go, and no statement that a rehearsal lets through
            // makes one.
            "pg_database" => Self {
                only: Some("c.datname = pg_catalog.current_database()"),
                ..Self::permanent().owned_by("datdba")
            },
            "pg_event_trigger" => Self::permanent().owned_by("evtowner"),
            "pg_extension" => Self::permanent().owned_by("extowner"),
            "pg_foreign_data_wrapper" => Self::permanent().owned_by("fdwowner"),
            "pg_foreign_server" => Self::permanent().owned_by("srvowner"),
            "pg_language" => Self::permanent().owned_by("lanowner"),
            "pg_publication" => Self::permanent().owned_by("pubowner"),
            "pg_tablespace" => Self::permanent().owned_by("spcowner"),
            _ => Self::permanent(),
        }
    }

    fn permanent() -> Self {
        Self {
            temporary: "false".to_owned(),
            relation: None,
            owner: None,
            only: None,
        }
    }

    fn of_relation(column: &str) -> Self {
        Self {
            temporary: format!("c.{column} IN (SELECT oid FROM temporary_relation)"),
            relation: Some(format!("c.{column}")),
            owner: Some(owner_of_relation(column)),
            only: None,
        }
    }

    fn in_namespace(column: &str) -> Self {
        Self {
            temporary: format!("c.{column} IN (SELECT oid FROM temporary_namespace)"),
            ..Self::permanent()
        }
    }

    fn owned_by(self, column: &str) -> Self {
        Self {
            owner: Some(format!("c.{column}")),
            ..self
        }
    }
}

fn owner_of_relation(column: &str) -> String {
    format!("(SELECT o.relowner FROM pg_catalog.pg_class o WHERE o.oid = c.{column})")
}

fn of_object(class: &str, object: &str) -> String {
    format!("(c.{class}, c.{object}) IN (SELECT class, oid FROM temporary_object)")
}
