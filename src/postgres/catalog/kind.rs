//! One kind of object: where its rows come from, what they are called, what defines them.

use super::touched::Touched;

/// Excludes objects that only their session sees.
const PERMANENT: &str = "n.nspname !~ '^pg_(toast|temp)'";

/// One kind of object. `identity` and the fields are SQL expressions over `from`, free of OIDs.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    since: u32,
    identity: &'static str,
    body: Option<&'static str>,
    fields: Vec<Field>,
    from: &'static str,
    conditions: Vec<&'static str>,
    /// Catalogues and expressions that name what its definition hangs on.
    keys: Vec<(&'static str, &'static str)>,
    always: &'static str,
}

#[derive(Debug, Clone)]
struct Field {
    name: &'static str,
    since: u32,
    until: u32,
    value: String,
}

impl Kind {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            since: 0,
            identity: "",
            body: None,
            fields: Vec::new(),
            from: "",
            conditions: Vec::new(),
            keys: Vec::new(),
            always: "",
        }
    }

    /// The first major version that has this kind.
    pub(super) fn since(mut self, major: u32) -> Self {
        self.since = major;
        self
    }

    /// Whether a major version has this kind.
    pub(super) fn exists_in(&self, major: u32) -> bool {
        self.since <= major
    }

    /// What the object is called.
    pub(super) fn identity(mut self, sql: &'static str) -> Self {
        self.identity = sql;
        self
    }

    /// The whole definition as `jsonb`, instead of fields.
    pub(super) fn body(mut self, sql: &'static str) -> Self {
        self.body = Some(sql);
        self
    }

    /// One part of the definition. NULL leaves it out, so defaults are written as NULL.
    pub(super) fn field(self, name: &'static str, sql: &'static str) -> Self {
        self.field_between(0, u32::MAX, name, sql)
    }

    /// A part that an older major version does not have.
    pub(super) fn field_since(self, major: u32, name: &'static str, sql: &'static str) -> Self {
        self.field_between(major, u32::MAX, name, sql)
    }

    /// A part as it is read from `since` up to and with `until`.
    pub(super) fn field_between(
        mut self,
        since: u32,
        until: u32,
        name: &'static str,
        sql: &str,
    ) -> Self {
        self.fields.push(Field {
            name,
            since,
            until,
            value: sql.to_owned(),
        });
        self
    }

    /// A list of texts whose order means nothing.
    pub(super) fn sorted(self, name: &'static str, column: &str) -> Self {
        let sql = format!("(SELECT array_agg(o ORDER BY o COLLATE \"C\") FROM unnest({column}) o)");
        self.field_between(0, u32::MAX, name, &sql)
    }

    /// Privileges; those that equal the built-in default are as good as none. `object` is an
    /// expression for the letter that `acldefault` wants.
    pub(super) fn acl(self, column: &str, object: &str, owner: &str) -> Self {
        let defaults = format!("acldefault(({object})::\"char\", {owner})");
        let sql = format!(
            "CASE WHEN {column} IS NOT NULL THEN NULLIF({}, {}) END",
            sorted_acl(column),
            sorted_acl(&defaults)
        );
        self.field_between(0, u32::MAX, "acl", &sql)
    }

    /// Privileges of something that has no built-in default.
    pub(super) fn grants(self, column: &str) -> Self {
        let sql = format!(
            "CASE WHEN {column} IS NOT NULL THEN {} END",
            sorted_acl(column)
        );
        self.field_between(0, u32::MAX, "acl", &sql)
    }

    /// FROM clause.
    pub(super) fn from(mut self, sql: &'static str) -> Self {
        self.from = sql;
        self
    }

    /// WHERE clause.
    pub(super) fn only(mut self, sql: &'static str) -> Self {
        self.conditions.push(sql);
        self
    }

    /// Without the objects of temporary schemas; `n` is the object's `pg_namespace`.
    pub(super) fn permanent(mut self) -> Self {
        self.conditions.push(PERMANENT);
        self
    }

    /// Its definition is another one only when the object that `oid` names in `catalogue` was
    /// touched. Kinds without a key are read again each time: there are few of them.
    pub(super) fn key(mut self, catalogue: &'static str, oid: &'static str) -> Self {
        self.keys.push((catalogue, oid));
        self
    }

    /// Which rows are read again each time, although the kind has keys.
    pub(super) fn always(mut self, sql: &'static str) -> Self {
        self.always = sql;
        self
    }

    /// Whether definitions may be left out.
    pub(super) fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The query for one major version: rows of kind, identity and definition, which is NULL for
    /// what was not touched.
    pub(super) fn query(&self, major: u32, touched: Option<&Touched>) -> String {
        let body = self.body.map_or_else(
            || {
                let fields: Vec<String> = self
                    .fields
                    .iter()
                    .filter(|field| (field.since..=field.until).contains(&major))
                    .map(|field| format!("'{}', {}", field.name, field.value))
                    .collect();
                format!(
                    "jsonb_strip_nulls(jsonb_build_object({}))",
                    fields.join(", ")
                )
            },
            str::to_owned,
        );
        let body = match touched {
            Some(touched) if self.has_key() => {
                let mut conditions: Vec<String> = self
                    .keys
                    .iter()
                    .map(|(catalogue, oid)| touched.holds(catalogue, oid))
                    .collect();
                if !self.always.is_empty() {
                    conditions.push(self.always.to_owned());
                }
                format!("CASE WHEN {} THEN {body} END", conditions.join(" OR "))
            }
            _ => body,
        };
        let mut sql = format!(
            "SELECT '{}', {}, {body} FROM {}",
            self.name, self.identity, self.from
        );
        for (at, condition) in self.conditions.iter().enumerate() {
            sql.push_str(if at == 0 { " WHERE " } else { " AND " });
            sql.push_str(&format!("({condition})"));
        }
        sql
    }
}

fn sorted_acl(list: &str) -> String {
    format!(
        "(SELECT coalesce(array_agg(a::text ORDER BY a::text COLLATE \"C\"), '{{}}') FROM unnest({list}) a)"
    )
}
