use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::rehearsal::sql::lexer::{LexSettings, Lexer};

fn read(text: &str) -> Option<Checks> {
    checks(text.as_bytes(), LexSettings::default())
}

fn place() -> Place {
    Place {
        table: "public.t".to_owned(),
        referenced: Some(Reference {
            table: "public.r".to_owned(),
            inherited: false,
            columns: vec!["id".to_owned()],
        }),
        ..Place::default()
    }
}

fn query(text: &str, code: &str, constraint: &str, column: &str) -> Option<String> {
    let checks = read(text)?;
    let found = checks.violated(code, Some(constraint), Some(column))?;
    let (Demand::Defined(definition) | Demand::Refers(definition, ..)) = &found.demand else {
        return None;
    };
    let only = checks.only;
    definition.query(&Place { only, ..place() })
}

#[rstest]
#[case(
    "ALTER TABLE ONLY t ALTER COLUMN \"A b\" SET NOT NULL, ALTER c SET NOT NULL",
    "23502",
    "SELECT * FROM ONLY public.t WHERE \"A b\" IS NULL"
)]
#[case(
    "alter table if exists t add column \"A b\" int not null",
    "23502",
    "SELECT * FROM public.t"
)]
#[case(
    "alter table t add primary key (\"A b\", c)",
    "23502",
    "SELECT * FROM public.t WHERE \"A b\" IS NULL"
)]
#[case(
    "alter table t add constraint x check (a > 0 -- why\n and b <> 'x, (') no inherit, add check (c > 0)",
    "23514",
    "SELECT * FROM public.t WHERE NOT (a > 0 and b <> 'x, (')"
)]
#[case(
    "alter table t add unique (a)",
    "23505",
    "SELECT * FROM public.t WHERE a IN (SELECT a FROM public.t GROUP BY 1 HAVING count(*) > 1)"
)]
#[case(
    "create unique index concurrently if not exists i on t using btree (lower(a) text_pattern_ops desc, (b || 'x'), \"user\") include (z) where c is null",
    "23505",
    "SELECT * FROM public.t WHERE (c is null) AND ((lower(a)), (b || 'x'), \"user\") IN (SELECT (lower(a)), (b || 'x'), \"user\" FROM public.t WHERE c is null GROUP BY 1, 2, 3 HAVING count(*) > 1)"
)]
#[case(
    "create unique index on t (a) nulls not distinct with (fillfactor = 70) tablespace x;",
    "23505",
    "SELECT * FROM public.t WHERE EXISTS (SELECT FROM (SELECT a AS drydock_1 FROM public.t GROUP BY 1 HAVING count(*) > 1) repeated WHERE drydock_1 IS NOT DISTINCT FROM a)"
)]
#[case(
    "alter table t add constraint x foreign key (a) references s.r (id) on delete cascade deferrable",
    "23503",
    "SELECT child.* FROM public.t child WHERE child.a IS NOT NULL AND NOT EXISTS (SELECT FROM public.r parent WHERE parent.id = child.a)"
)]
#[case(
    "alter table t add constraint x exclude using gist (a with =, tsrange(b, c) with &&) where (not d)",
    "23P01",
    "SELECT one.* FROM public.t one, LATERAL (SELECT (tsrange(b, c)) AS drydock_1) keys WHERE (not d) AND EXISTS (SELECT FROM public.t other WHERE (not d) AND other.ctid <> one.ctid AND other.a = one.a AND (tsrange(b, c)) && drydock_1)"
)]
fn the_query_for_a_constraint_that_a_statement_adds(
    #[case] text: &str,
    #[case] code: &str,
    #[case] expected: &str,
) {
    assert_eq!(query(text, code, "x", "A b").as_deref(), Some(expected));
}

#[rstest]
#[case("alter table t alter c set not null", "23502")]
#[case("alter table t add constraint x check (a > 0) not valid", "23514")]
#[case("alter table t add check (a > 0), add check (b > 0)", "23514")]
#[case("alter table t add check (a > 0), alter b type int", "23514")]
#[case("alter table t add check (a > 0), add b int check (b > 0)", "23514")]
#[case("alter table t add unique using index i", "23505")]
#[case("alter table t add unique (a, b without overlaps)", "23505")]
#[case("alter table t add foreign key (a, period b) references r", "23503")]
#[case("create unique index on t (a my_ops)", "23505")]
#[case("create unique index on t (a my_ops(x = 1))", "23505")]
#[case("create index on t (a)", "23505")]
#[case("create unique index on t", "23505")]
#[case("create unique index on t (a) where", "23505")]
#[case("alter table t add column \"A b\" int not null default 1", "23502")]
#[case("alter table t attach partition p for values in (1)", "23514")]
#[case("alter table t add exclude using gist (a)", "23P01")]
#[case("do 'alter table t add check (a > 0)'", "23514")]
#[case("alter table t add check (a > 0", "23514")]
#[case("update t set a = null", "23502")]
fn what_is_not_understood_has_no_query(#[case] text: &str, #[case] code: &str) {
    assert_eq!(query(text, code, "y", "A b"), None);
}

#[test]
fn a_backslash_that_others_would_read_differently_has_no_query() {
    let text = br"alter table t add check (a <> '\')')";
    let off = LexSettings {
        standard_conforming_strings: false,
    };
    assert_eq!(checks(text, off), None);
}

#[test]
fn a_constraint_that_exists_is_told_by_its_name() {
    let checks = read("ALTER TABLE t VALIDATE CONSTRAINT \"X\", VALIDATE CONSTRAINT y").unwrap();
    let found = checks.violated("23503", Some("y"), None).unwrap();
    assert_eq!(found.demand, Demand::Existing(Name::from("y")));
    assert_eq!(checks.violated("23503", Some("z"), None), None);
}

#[test]
fn a_domains_check_is_written_around_the_column() {
    let checks =
        read("alter domain d add constraint c check (VALUE > 0 or value is null or \"value\" = 1)");
    let checks = checks.unwrap();
    let found = checks.violated("23514", None, Some("a")).unwrap();
    let Demand::DomainCheck(pieces) = &found.demand else {
        panic!("{found:?}");
    };
    assert_eq!(pieces.join("a"), "a > 0 or a is null or \"value\" = 1");
    let checks = read("alter domain d set not null").unwrap();
    let found = checks.violated("23502", None, Some("a")).unwrap();
    assert_eq!(found.demand, Demand::DomainNotNull);
}

#[test]
fn rows_of_partitions_and_of_inheriting_tables_count_where_the_constraint_reaches_them() {
    let key = |sql: &str| Key {
        sql: sql.to_owned(),
        column: true,
    };
    let unique = Definition::Unique {
        keys: vec![key("a")],
        nulls_distinct: true,
        predicate: None,
    };
    let inherited = Place {
        inherited: true,
        ..place()
    };
    assert!(
        unique
            .query(&inherited)
            .unwrap()
            .contains("FROM ONLY public.t")
    );
    let partitioned = Place {
        partitioned: true,
        ..inherited.clone()
    };
    assert!(!unique.query(&partitioned).unwrap().contains("ONLY"));
    let exclusion = Definition::Exclusion {
        keys: vec![(key("a"), "=".to_owned())],
        predicate: None,
    };
    let query = exclusion.query(&partitioned).unwrap();
    assert!(query.contains("(other.tableoid, other.ctid) <> (one.tableoid, one.ctid)"));
    let check = Definition::Check {
        expression: "a".to_owned(),
    };
    assert!(!check.query(&inherited).unwrap().contains("ONLY"));
}

#[test]
fn match_full_means_all_columns_or_none() {
    let key = Definition::ForeignKey {
        columns: vec!["a".to_owned(), "b".to_owned()],
        full: true,
    };
    assert_eq!(key.query(&place()), None, "as many columns here as there");
    let mut place = place();
    place
        .referenced
        .as_mut()
        .unwrap()
        .columns
        .push("b".to_owned());
    let query = key.query(&place).unwrap();
    assert!(query.contains("WHERE (child.a IS NOT NULL OR child.b IS NOT NULL) AND NOT EXISTS"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reading_panic(
        text in r#"(alter table|alter domain|create unique index|)( ?(t|on|add|alter|column|set not null|check|unique|primary key|foreign key|references|exclude|using|with|where|constraint|validate|operator|value|only|\(|\)|,|\.|;|\[|\]|"a"|'x|"|\$\$|--|/\*|=|&&|é|\\)){0,16}"#,
    ) {
        if let Some(checks) = read(&text) {
            for code in ["23502", "23503", "23505", "23514", "23P01"] {
                if let Some(Demand::Defined(definition)) =
                    checks.violated(code, Some("t"), Some("t")).map(|found| &found.demand)
                {
                    let _ = definition.query(&place());
                }
            }
        }
    }

    #[test]
    fn an_identifier_is_read_back_as_the_same_name(text in "[^\0]{1,20}") {
        let name = Name::new(&text);
        let written = identifier(&name).unwrap();
        let tokens: Vec<_> = Lexer::new(written.as_bytes(), LexSettings::default()).collect();
        prop_assert_eq!(tokens.len(), 1);
        prop_assert_eq!(Name::read(tokens[0], written.as_bytes()), Some(name));
    }

    /// What is taken from a statement is one expression of it, whole: no quote or parenthesis of it
    /// can end the query's own.
    #[test]
    fn an_expression_stays_inside_of_its_parentheses(
        inner in r#"( ?(a|\(|\)|'x'|"y"|\$\$z\$\$|--c
|/\*d\*/|;|,|e'\\'')){1,10}"#,
    ) {
        let text = format!("alter table t add check ({inner})");
        if let Some(query) = query(&text, "23514", "c", "c") {
            let tokens = Lexer::new(query.as_bytes(), LexSettings::default());
            let mut depth = 0_i32;
            for token in tokens {
                match token.kind {
                    crate::rehearsal::sql::TokenKind::OpenParenthesis => depth += 1,
                    crate::rehearsal::sql::TokenKind::CloseParenthesis => depth -= 1,
                    crate::rehearsal::sql::TokenKind::Semicolon => depth = i32::MIN,
                    _ => {}
                }
                prop_assert!(depth >= 0, "{}", query);
            }
            prop_assert_eq!(depth, 0);
        }
    }
}
