//! One kind of object: where its rows come from, what they are called, what defines them.

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
    /// The catalogue of the object that its identity and definition hang on, and an expression for
    /// its OID.
    key: Option<(&'static str, &'static str)>,
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
            key: None,
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

    /// It is another one only when the object that `oid` names in `catalogue` was touched, by
    /// itself or by something that it depends on. Kinds without a key are read again when one of
    /// the catalogues that they read was written: there are few of them.
    pub(super) fn key(mut self, catalogue: &'static str, oid: &'static str) -> Self {
        self.key = Some((catalogue, oid));
        self
    }

    /// The catalogue whose objects it hangs on, if it has a key.
    pub(super) fn hangs_on(&self) -> Option<&'static str> {
        self.key.map(|(catalogue, _)| catalogue)
    }

    /// The query for one major version: rows of kind, identity, definition and key (catalogue and
    /// OID); of the objects whose key is one of `touched` alone, or of all.
    pub(super) fn query(&self, major: u32, touched: Option<&[u32]>) -> String {
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
        let (key, oid) = self
            .key
            .map_or(("NULL".to_owned(), "NULL"), |(catalogue, oid)| {
                (format!("'{catalogue} '||{oid}"), oid)
            });
        let mut conditions: Vec<String> =
            self.conditions.iter().map(|it| format!("({it})")).collect();
        if let Some(touched) = touched {
            let touched: Vec<String> = touched.iter().map(ToString::to_string).collect();
            conditions.push(format!("{oid} = ANY('{{{}}}'::oid[])", touched.join(",")));
        }
        let mut sql = format!(
            "SELECT '{}', {}, {body}, {key} FROM {}",
            self.name, self.identity, self.from
        );
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        sql
    }
}

/// Whether the query of a kind reads one of some catalogues, by its name or by what a function says of
/// it.
pub(super) fn reads<'a>(sql: &str, mut catalogues: impl Iterator<Item = &'a str>) -> bool {
    let words = sql.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    // What the server writes out names anything; roles are none of an object's catalogues.
    let writes = |word: &str| word.starts_with("pg_get_") && word != "pg_get_userbyid";
    let anything = words.clone().any(writes)
        || ["::reg", "pg_identify_", "format_type"]
            .iter()
            .any(|part| sql.contains(part));
    catalogues.any(|catalogue| {
        // A view is named after what it shows.
        anything || words.clone().any(|word| word.starts_with(catalogue))
    })
}

fn sorted_acl(list: &str) -> String {
    format!(
        "(SELECT coalesce(array_agg(a::text ORDER BY a::text COLLATE \"C\"), '{{}}') FROM unnest({list}) a)"
    )
}
