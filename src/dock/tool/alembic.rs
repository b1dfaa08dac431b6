//! Alembic's command line.

use std::path::Path;

/// The preset's settings; `alembic upgrade head` when nothing is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alembic {
    program: Vec<String>,
    config: Option<String>,
    arguments: Vec<String>,
    target: Option<String>,
}

impl Alembic {
    /// Builds the command from the preset: program (default `alembic`), `-c` file, `-x` arguments
    /// and the target revision (default `head`).
    #[must_use]
    pub fn new(
        program: Vec<String>,
        config: Option<String>,
        arguments: Vec<String>,
        target: Option<String>,
    ) -> Self {
        Self {
            program: if program.is_empty() {
                vec!["alembic".to_owned()]
            } else {
                program
            },
            config,
            arguments,
            target: Some(target.unwrap_or_else(|| "head".to_owned())),
        }
    }

    /// Takes a command that the user wrote out whole.
    #[must_use]
    pub fn given(command: Vec<String>) -> Self {
        Self {
            program: command,
            config: None,
            arguments: Vec::new(),
            target: None,
        }
    }

    /// The upgrade, word by word.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        let mut command = self.program.clone();
        if let Some(config) = &self.config {
            command.extend(["-c".to_owned(), config.clone()]);
        }
        for argument in &self.arguments {
            command.extend(["-x".to_owned(), argument.clone()]);
        }
        if let Some(target) = &self.target {
            command.extend(["upgrade".to_owned(), target.clone()]);
        }
        command
    }
}

/// Whether the program is Alembic, directly or behind one of the usual launchers.
pub(super) fn is_alembic(command: &[String]) -> bool {
    let name = |word: &String| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name == "alembic")
    };
    let mut words = command.iter();
    let Some(first) = words.next() else {
        return false;
    };
    if name(first) {
        return true;
    }
    let launcher = Path::new(first)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    match launcher {
        "uv" | "poetry" | "pipenv" | "pdm" | "hatch" => {
            words.next().is_some_and(|word| word == "run") && words.next().is_some_and(name)
        }
        _ if launcher.starts_with("python") => {
            words.next().is_some_and(|word| word == "-m")
                && words.next().is_some_and(|word| word == "alembic")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_preset_without_settings_upgrades_to_the_head() {
        assert_eq!(
            Alembic::new(vec![], None, vec![], None).command(),
            words("alembic upgrade head")
        );
    }

    #[test]
    fn settings_go_where_alembic_wants_them() {
        assert_eq!(
            Alembic::new(
                words("python -m alembic"),
                Some("db/alembic.ini".into()),
                words("tenant=a verbose=1"),
                Some("ae10".into())
            )
            .command(),
            words("python -m alembic -c db/alembic.ini -x tenant=a -x verbose=1 upgrade ae10")
        );
    }

    #[test]
    fn alembic_is_recognised_behind_the_usual_launchers() {
        for command in [
            "alembic upgrade head",
            "/venv/bin/alembic upgrade head",
            "python3 -m alembic upgrade head",
            "uv run alembic upgrade head",
        ] {
            assert!(is_alembic(&words(command)), "{command}");
        }
        for command in [
            "psql -f alembic.sql",
            "python manage.py migrate",
            "uv run python",
        ] {
            assert!(!is_alembic(&words(command)), "{command}");
        }
    }
}
