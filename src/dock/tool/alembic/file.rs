//! What a revision file says of itself: a look at its lines, not at what Python would make of them.
//!
//! Of the downgrade it sees a `downgrade` that is not there, that is empty, and that only raises. It does not see what
//! a function does that is called there, nor whether the downgrade undoes the upgrade: that is for a
//! rehearsal.

/// What is wrong with a file's downgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// There is no function of that name.
    Absent,
    /// It does nothing although the upgrade does something.
    Empty,
    /// It only raises.
    Raises,
}

/// Looks at one file.
#[must_use]
pub fn lack(source: &str) -> Option<Lack> {
    let Some(downgrade) = statements(source, "downgrade") else {
        return (!is_brought(source, "downgrade")).then_some(Lack::Absent);
    };
    if downgrade
        .first()
        .is_some_and(|line| line.starts_with("raise"))
    {
        return Some(Lack::Raises);
    }
    let upgrades = statements(source, "upgrade").is_none_or(|lines| !lines.is_empty());
    (downgrade.is_empty() && upgrades).then_some(Lack::Empty)
}

/// Whether the file's `revision` is this one.
#[must_use]
pub fn calls_itself(source: &str, revision: &str) -> bool {
    source.lines().any(|line| {
        line.strip_prefix("revision")
            .and_then(|rest| rest.trim_start().strip_prefix([':', '=']))
            .and_then(|rest| rest.split(['"', '\'']).nth(1))
            .is_some_and(|id| id == revision)
    })
}

/// Whether the file was made from Alembic's template for several databases.
#[must_use]
pub fn is_for_several_databases(source: &str) -> bool {
    source.lines().any(|line| {
        line.strip_prefix("def upgrade(")
            .is_some_and(|rest| rest.starts_with("engine_name"))
    })
}

/// Whether the name is imported or assigned: then the function is elsewhere.
fn is_brought(source: &str, name: &str) -> bool {
    source.lines().any(|line| {
        let imported = line.starts_with("from ") || line.starts_with("import ");
        imported
            && line
                .split([' ', ',', '(', ')'])
                .any(|word| word == name || word == "*")
            || line
                .strip_prefix(name)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
    })
}

/// The lines of a function of the file's own that do something; `None` when it has no such function.
fn statements(source: &str, name: &str) -> Option<Vec<String>> {
    let mut lines = source.lines();
    let define = format!("def {name}(");
    let mut head = lines
        .find(|line| line.starts_with(&define))?
        .trim_end()
        .to_owned();
    // The parameters may go over several lines.
    while !ends_head(&head) {
        head.push_str(lines.next()?.trim());
    }
    let mut body = Vec::new();
    let behind = without_comment(&head);
    if let Some((_, rest)) = behind
        .rsplit_once("):")
        .or_else(|| behind.rsplit_once("None:"))
    {
        body.push(rest.trim().to_owned());
    }
    let mut quoted: Option<&str> = None;
    for line in lines {
        let text = line.trim();
        if let Some(quote) = quoted {
            if text.contains(quote) {
                quoted = None;
            }
            continue;
        }
        if !line.starts_with([' ', '\t']) && !text.is_empty() && !text.starts_with('#') {
            break;
        }
        // A string that stands alone, such as a docstring.
        if let Some(quote) = ["\"\"\"", "'''"]
            .into_iter()
            .find(|quote| text.trim_start_matches(['r', 'R']).starts_with(quote))
        {
            if text.matches(quote).count() < 2 {
                quoted = Some(quote);
            }
            continue;
        }
        body.push(without_comment(text).trim().to_owned());
    }
    body.retain(|line| {
        !matches!(
            line.trim_end_matches(';'),
            "" | "pass" | "..." | "return" | "return None"
        )
    });
    // A string alone on its line says something and does nothing.
    body.retain(|line| !(line.starts_with(['"', '\'']) && line.ends_with(['"', '\''])));
    Some(body)
}

fn ends_head(head: &str) -> bool {
    let head = without_comment(head);
    head.contains("):") || head.trim_end().ends_with(':') || head.contains("None:")
}

/// Good enough for lines that do nothing but end in a comment.
fn without_comment(line: &str) -> &str {
    match line.split_once('#') {
        Some((code, _)) if !code.contains(['"', '\'']) => code,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const UPGRADE: &str = "def upgrade() -> None:\n    op.add_column('t', c)\n\n\n";

    #[rstest]
    #[case("def downgrade() -> None:\n    pass\n", Some(Lack::Empty))]
    #[case("def downgrade(): pass\n", Some(Lack::Empty))]
    #[case(
        "def downgrade():\n    \"\"\"Nothing\n    to do.\"\"\"\n\n    # really\n    ...\n",
        Some(Lack::Empty)
    )]
    #[case(
        "def downgrade():\n    'none'\n    return  # for now\n",
        Some(Lack::Empty)
    )]
    #[case(
        "def downgrade(\n    engine_name: str,\n) -> None:\n    pass\n",
        Some(Lack::Empty)
    )]
    #[case(
        "def downgrade() -> None:\n    raise NotImplementedError(\n        'no'\n    )\n",
        Some(Lack::Raises)
    )]
    #[case("def downgrade(): raise NotImplementedError\n", Some(Lack::Raises))]
    #[case("", Some(Lack::Absent))]
    #[case("# def downgrade():\n", Some(Lack::Absent))]
    #[case("def downgrade() -> None:\n    op.drop_column('t', 'c')\n", None)]
    #[case("def downgrade(): op.drop_column('t', 'c')\n", None)]
    #[case(
        "def downgrade():\n    op.execute(\"\"\"\n        DROP TABLE t\n    \"\"\")\n",
        None
    )]
    #[case(
        "def downgrade():\n    if x:\n        raise ValueError\n    op.drop_table('t')\n",
        None
    )]
    #[case("from .shared import downgrade\n", None)]
    #[case("downgrade = irreversible\n", None)]
    fn a_downgrade_that_does_nothing_is_seen(
        #[case] downgrade: &str,
        #[case] expected: Option<Lack>,
    ) {
        assert_eq!(
            lack(&format!("{UPGRADE}{downgrade}")),
            expected,
            "{downgrade}"
        );
    }

    #[test]
    fn what_upgrades_nothing_needs_no_downgrade() {
        let merge = "def upgrade() -> None:\n    pass\n\n\ndef downgrade() -> None:\n    pass\n";
        assert_eq!(lack(merge), None);
    }

    #[rstest]
    #[case("revision = 'ae10'", true)]
    #[case("revision: str = \"ae10\"  # ours", true)]
    #[case("down_revision = 'ae10'", false)]
    #[case("revision = 'ae1'", false)]
    #[case("# revision = 'ae10'", false)]
    fn a_file_is_known_by_its_own_revision(#[case] line: &str, #[case] expected: bool) {
        assert_eq!(
            calls_itself(&format!("\"\"\"x\"\"\"\n{line}\n"), "ae10"),
            expected
        );
    }

    #[test]
    fn alembics_template_for_several_databases_is_recognised() {
        let source =
            "def upgrade(engine_name: str) -> None:\n    globals()[f\"upgrade_{engine_name}\"]()\n";
        assert!(is_for_several_databases(source));
        assert!(!is_for_several_databases(UPGRADE));
    }
}
