//! Where in a command line Alembic's own words begin and end.

use std::path::Path;

/// A command that upgrades with Alembic, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Program, launcher and Alembic's general options: everything before `upgrade`.
    pub(super) base: &'a [String],
    /// The revision that it upgrades to.
    pub(super) target: &'a str,
}

/// Launchers that start what follows `run`.
const LAUNCHERS: &[&str] = &["uv", "poetry", "pipenv", "pdm", "hatch", "rye", "pixi"];

/// Alembic's general options that take the next word.
const OPTIONS_WITH_VALUE: &[&str] = &["-c", "--config", "-n", "--name", "-x"];

/// Where Alembic's own options begin, when the program is Alembic, directly or behind one of the
/// usual launchers.
pub(super) fn options_begin(command: &[String]) -> Option<usize> {
    let launched = LAUNCHERS.contains(&file_name(command.first()?))
        && command.get(1).is_some_and(|word| word == "run");
    if !launched {
        return own_options_begin(command);
    }
    let behind = command.get(2..)?;
    let begin = if behind.first()?.starts_with('-') {
        // Options of the launcher's own; which of them take a value, it alone knows.
        behind.iter().position(|word| is_called_alembic(word))? + 1
    } else {
        own_options_begin(behind)?
    };
    Some(begin + 2)
}

/// The same where no launcher is before the program: `alembic`, or `python -m alembic`.
fn own_options_begin(command: &[String]) -> Option<usize> {
    let first = command.first()?;
    if is_called_alembic(first) {
        return Some(1);
    }
    if !file_name(first).starts_with("python") {
        return None;
    }
    let mut at = 1;
    loop {
        match command.get(at)?.as_str() {
            "-m" => return (command.get(at + 1)? == "alembic").then_some(at + 2),
            "-X" | "-W" => at += 2,
            option if option.starts_with('-') => at += 1,
            _ => return None,
        }
    }
}

/// Finds the `upgrade` of a command whose program is Alembic.
pub(super) fn find(command: &[String]) -> Option<Found<'_>> {
    let mut at = options_begin(command)?;
    loop {
        let word = command.get(at)?.as_str();
        if word == "upgrade" {
            break;
        }
        if !word.starts_with('-') {
            return None;
        }
        at += if OPTIONS_WITH_VALUE.contains(&word) {
            2
        } else {
            1
        };
    }
    Some(Found {
        base: command.get(..at)?,
        target: target(command.get(at + 1..)?)?,
    })
}

/// The revision among the words behind `upgrade`; `None` when nothing would be run (`--sql`).
fn target(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    let mut target = None;
    while let Some(word) = words.next() {
        match word {
            "--sql" => return None,
            "--tag" => {
                words.next();
            }
            _ if word.starts_with("--") => {}
            _ => target = target.or(Some(word)),
        }
    }
    target
}

fn is_called_alembic(word: &str) -> bool {
    file_name(word) == "alembic"
}

fn file_name(word: &str) -> &str {
    Path::new(word)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case("alembic upgrade head", "alembic", "head")]
    #[case("/venv/bin/alembic upgrade +1", "/venv/bin/alembic", "+1")]
    #[case(
        "alembic -c db/alembic.ini -x a=b --name=tenants upgrade heads",
        "alembic -c db/alembic.ini -x a=b --name=tenants",
        "heads"
    )]
    #[case(
        "alembic -x upgrade -q upgrade --tag t ae10",
        "alembic -x upgrade -q",
        "ae10"
    )]
    #[case(
        "python3 -X dev -u -m alembic --raiseerr upgrade head",
        "python3 -X dev -u -m alembic --raiseerr",
        "head"
    )]
    #[case("uv run alembic upgrade head", "uv run alembic", "head")]
    #[case(
        "uv run --frozen --group db alembic upgrade head",
        "uv run --frozen --group db alembic",
        "head"
    )]
    #[case(
        "poetry run alembic upgrade base@head",
        "poetry run alembic",
        "base@head"
    )]
    #[case(
        "poetry run python -m alembic upgrade head",
        "poetry run python -m alembic",
        "head"
    )]
    #[case(
        "uv run python3.13 -X dev -m alembic -n tenants upgrade heads",
        "uv run python3.13 -X dev -m alembic -n tenants",
        "heads"
    )]
    #[case(
        "uv run --frozen python -m alembic upgrade head",
        "uv run --frozen python -m alembic",
        "head"
    )]
    #[case(
        "uv run --python python3.13 alembic upgrade head",
        "uv run --python python3.13 alembic",
        "head"
    )]
    fn the_words_before_upgrade_are_found(
        #[case] command: &str,
        #[case] base: &str,
        #[case] target: &str,
    ) {
        let command = words(command);
        let found = find(&command).unwrap();
        assert_eq!(found.base.join(" "), base);
        assert_eq!(found.target, target);
    }

    #[rstest]
    #[case("make migrate")]
    #[case("./migrate.sh")]
    #[case("sh -c alembic upgrade head")]
    #[case("psql -f alembic upgrade")]
    #[case("alembic current")]
    #[case("alembic downgrade -1")]
    #[case("alembic upgrade head --sql")]
    #[case("alembic upgrade")]
    #[case("uv run python alembic upgrade head")]
    #[case("uv run python -m app.alembic upgrade head")]
    #[case("poetry run python migrate.py -m alembic upgrade head")]
    #[case("poetry python -m alembic upgrade head")]
    #[case("alembic")]
    fn a_command_without_an_upgrade_of_alembics_own_has_none(#[case] command: &str) {
        assert_eq!(find(&words(command)), None, "{command}");
    }
}
