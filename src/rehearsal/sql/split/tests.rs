use super::*;
use proptest::prelude::*;
use rstest::rstest;

const ON: LexSettings = LexSettings {
    standard_conforming_strings: true,
};
const OFF: LexSettings = LexSettings {
    standard_conforming_strings: false,
};

fn texts(text: &str, settings: LexSettings) -> Vec<&str> {
    Script::new(text.as_bytes(), settings)
        .statements()
        .map(|statement| std::str::from_utf8(statement.text()).unwrap())
        .collect()
}

#[rstest]
#[case("", &[])]
#[case("  -- nothing\n", &[])]
#[case(";;", &[])]
#[case("select 1", &["select 1"])]
#[case("select 1;", &["select 1"])]
#[case(" /* a */ select 1 /* b */ ; ; select ';' -- ;\n", &["select 1", "select ';'"])]
#[case("select '''; commit; --'; end", &["select '''; commit; --'", "end"])]
#[case("select e'\\'; commit; --'; end", &["select e'\\'; commit; --'", "end"])]
#[case("select '\\'; commit; --'", &["select '\\'", "commit"])]
#[case("do $$ begin; commit; end $$; end", &["do $$ begin; commit; end $$", "end"])]
#[case(
    "create rule r as on insert to t do also (delete from u; select 1); end",
    &["create rule r as on insert to t do also (delete from u; select 1)", "end"]
)]
#[case(
    "create function f() returns int begin atomic select 1; select case when true then 2 end; end; commit",
    &[
        "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
        "commit",
    ]
)]
#[case(
    "CREATE OR REPLACE PROCEDURE p(a int) LANGUAGE sql BEGIN ATOMIC END; commit",
    &["CREATE OR REPLACE PROCEDURE p(a int) LANGUAGE sql BEGIN ATOMIC END", "commit"]
)]
#[case(
    "create function f() returns int begin atomic select 1 as end; select t.end from t; select 1 end; end; commit",
    &[
        "create function f() returns int begin atomic select 1 as end; select t.end from t; select 1 end; end",
        "commit",
    ]
)]
#[case(
    "create function f() returns int begin atomic select begin atomic; end; commit",
    &["create function f() returns int begin atomic select begin atomic; end", "commit"]
)]
#[case(
    "create procedure p() begin atomic create function g() returns int begin atomic select 1; end; end; commit",
    &[
        "create procedure p() begin atomic create function g() returns int begin atomic select 1; end; end",
        "commit",
    ]
)]
#[case("create view v as select begin atomic; commit; end", &[
    "create view v as select begin atomic", "commit", "end",
])]
#[case("begin; atomic; end", &["begin", "atomic", "end"])]
#[case("create function f() as 'begin atomic'; commit", &["create function f() as 'begin atomic'", "commit"])]
fn strings_are_cut_where_the_grammar_cuts_them(#[case] text: &str, #[case] expected: &[&str]) {
    assert_eq!(texts(text, ON), expected);
    assert_eq!(Script::new(text.as_bytes(), ON).problem(), None);
}

#[test]
fn the_cut_follows_standard_conforming_strings() {
    assert_eq!(
        texts("select '\\'; commit; --'; end", OFF),
        ["select '\\'; commit; --'", "end"]
    );
}

#[rstest]
#[case(
    "select 'a; commit",
    ProblemKind::Unterminated(Unterminated::String),
    7
)]
#[case("select 1; /* ", ProblemKind::Unterminated(Unterminated::Comment), 10)]
#[case(
    "select \"a; commit",
    ProblemKind::Unterminated(Unterminated::QuotedIdentifier),
    7
)]
#[case(
    "select $a$; commit; $$",
    ProblemKind::Unterminated(Unterminated::DollarQuote),
    7
)]
#[case("select 1); commit", ProblemKind::UnexpectedParenthesis, 8)]
#[case("select (1; commit", ProblemKind::OpenParenthesis, 17)]
#[case(
    "create function f() begin atomic select 1; commit",
    ProblemKind::OpenBody,
    49
)]
fn what_no_server_would_run_is_told(
    #[case] text: &str,
    #[case] kind: ProblemKind,
    #[case] offset: usize,
) {
    let problem = Script::new(text.as_bytes(), ON).problem();
    assert_eq!(problem, Some(Problem { kind, offset }));
}

#[test]
fn a_unicode_string_is_an_error_while_backslashes_escape() {
    let text = b"select U&'a'";
    assert_eq!(Script::new(text, ON).problem(), None);
    let kind = ProblemKind::UnsafeUnicodeString;
    let problem = Script::new(text, OFF).problem();
    assert_eq!(problem, Some(Problem { kind, offset: 7 }));
}

#[rstest]
#[case("select '\\'", true)]
#[case("select u&'a'", true)]
#[case("select E'\\'', 'a'", false)]
#[case("select $$\\$$", false)]
fn constants_that_are_read_differently_under_another_setting_are_known(
    #[case] text: &str,
    #[case] depends: bool,
) {
    let script = Script::new(text.as_bytes(), ON);
    assert_eq!(script.pieces()[0].depends_on_settings(), depends);
}

#[test]
fn pieces_say_where_they_are() {
    let script = Script::new(b"select 1; /* x */ select 2 ;\n", ON);
    let [_, second, rest] = script.pieces() else {
        panic!("not three pieces");
    };
    assert_eq!(
        (second.piece(), second.piece_offset()),
        (&b" /* x */ select 2 "[..], 9)
    );
    assert_eq!((second.text(), second.offset()), (&b"select 2"[..], 18));
    assert_eq!(second.source(), b" /* x */ select 2 ;");
    assert!(rest.is_empty());
    assert!(script.single().is_none());
}

proptest! {
    #[test]
    fn the_pieces_one_behind_the_other_are_the_string(
        text in r#"([a-z]{1,3}|[;'"$\\() \n/*-]|E'|U&'|--|/\*|\*/|\$\$|\$a\$|create function|begin atomic|end){0,40}"#,
        standard_conforming_strings in any::<bool>(),
    ) {
        let settings = LexSettings { standard_conforming_strings };
        let script = Script::new(text.as_bytes(), settings);
        let joined: Vec<u8> = script.pieces().iter().flat_map(|p| p.source().to_vec()).collect();
        prop_assert_eq!(joined, text.as_bytes());
        for piece in script.pieces() {
            prop_assert!(piece.source().len() >= piece.piece().len());
            prop_assert!(piece.piece().len() >= piece.text().len());
        }
    }

    #[test]
    fn nested_statements_are_cut_as_they_were_built(statements in prop::collection::vec(nested(), 0..6)) {
        let text = statements.join(";");
        let script = Script::new(text.as_bytes(), ON);
        prop_assert_eq!(script.problem(), None);
        let cut: Vec<_> = script
            .statements()
            .map(|statement| String::from_utf8(statement.piece().to_vec()).unwrap())
            .collect();
        prop_assert_eq!(cut, statements);
    }
}

/// A statement that holds strings, comments, parentheses and bodies with other statements in them.
fn nested() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "select 1",
        "commit",
        "select 'a;b'",
        "select E'\\';'",
        "select \";\"",
        "values ($1)",
        "select 1 /* ; /* ; */ ; */ + 1",
        "select $$;$$",
        "select 1 -- ;\n + 1",
        "select 'it''s;'",
        "select case when a then b end",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|s| format!("select ({s})")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("create rule r as on x do ({a}; {b})")),
            inner.clone().prop_map(|s| format!(
                "create function f(a int) returns int begin atomic {s}; end"
            )),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(
                "create or replace procedure p() begin atomic {a}; {b}; end"
            )),
            inner
                .clone()
                .prop_map(|s| format!("do $b{0}$ {s}; $b{0}$", s.len())),
            inner.prop_map(|s| format!("/* {} */ select 1", s.replace("*/", "").replace("/*", ""))),
        ]
    })
}
