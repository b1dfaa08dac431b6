//! Alembic's command line: from the upgrade to the other commands that look at the same revisions.

mod file;
mod history;
mod judge;
mod line;
mod trouble;
mod versions;
mod words;

pub use file::{Lack, calls_itself, is_for_several_databases, lack};
pub use history::{Revision, Revisions};
pub use judge::{Heard, Seen, judge};
pub use line::{Pending, in_line};

/// The preset's settings, or a command that the user wrote out whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alembic {
    /// Program, launcher and Alembic's general options. `None` when the command is the user's own
    /// and its `upgrade` was not found.
    base: Option<Vec<String>>,
    target: String,
    command: Vec<String>,
}

impl Alembic {
    /// Builds the command from the preset: program (default `alembic`), `-c` file, `-x` arguments
    /// and the target revision (default `head`). A wrapper that passes its arguments on will do as
    /// program.
    #[must_use]
    pub fn new(
        program: Vec<String>,
        config: Option<String>,
        arguments: Vec<String>,
        target: Option<String>,
    ) -> Self {
        let mut base = if program.is_empty() {
            vec!["alembic".to_owned()]
        } else {
            program
        };
        if let Some(config) = config {
            base.extend(["-c".to_owned(), config]);
        }
        for argument in arguments {
            base.extend(["-x".to_owned(), argument]);
        }
        let target = target.unwrap_or_else(|| "head".to_owned());
        let mut command = base.clone();
        command.extend(["upgrade".to_owned(), target.clone()]);
        Self {
            base: Some(base),
            target,
            command,
        }
    }

    /// Takes a command that the user wrote out whole.
    #[must_use]
    pub fn given(command: Vec<String>) -> Self {
        let found = words::find(&command);
        Self {
            base: found.map(|found| found.base.to_vec()),
            target: found.map_or_else(String::new, |found| found.target.to_owned()),
            command,
        }
    }

    /// The upgrade, word by word.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        self.command.clone()
    }

    /// The revision that it upgrades to, as it was written: `head`, `heads`, `+1`, `billing@head`;
    /// `None` when that is not known.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.base.is_some().then_some(self.target.as_str())
    }

    /// Lists all revisions with their parents, files and messages; needs no database.
    #[must_use]
    pub fn history(&self) -> Option<Vec<String>> {
        self.other(&["history", "--verbose"])
    }

    /// Brings the database to a revision.
    #[must_use]
    pub fn upgrade(&self, revision: &str) -> Option<Vec<String>> {
        self.other(&["upgrade", revision])
    }

    /// Takes the database back to a revision, or by `-1`.
    #[must_use]
    pub fn downgrade(&self, revision: &str) -> Option<Vec<String>> {
        self.other(&["downgrade", revision])
    }

    /// Compares the models with the database.
    #[must_use]
    pub fn check(&self) -> Option<Vec<String>> {
        self.other(&["check"])
    }

    /// Writes a revision into the version table and runs nothing.
    #[must_use]
    pub fn stamp(&self, revision: &str) -> Option<Vec<String>> {
        self.other(&["stamp", revision])
    }

    /// Another command of Alembic's, called as the upgrade is called. `None` when it is not known
    /// how.
    fn other(&self, words: &[&str]) -> Option<Vec<String>> {
        let mut command = self.base.clone()?;
        command.extend(words.iter().map(|word| (*word).to_owned()));
        Some(command)
    }
}

/// Whether the program is Alembic, directly or behind one of the usual launchers.
pub(super) fn is_alembic(command: &[String]) -> bool {
    words::options_begin(command).is_some()
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
        let alembic = Alembic::new(
            words("python -m alembic"),
            Some("db/alembic.ini".into()),
            words("tenant=a verbose=1"),
            Some("ae10".into()),
        );
        let base = "python -m alembic -c db/alembic.ini -x tenant=a -x verbose=1";
        assert_eq!(alembic.command(), words(&format!("{base} upgrade ae10")));
        assert_eq!(
            alembic.history(),
            Some(words(&format!("{base} history --verbose")))
        );
    }

    #[test]
    fn other_commands_are_called_as_the_upgrade_is() {
        for alembic in [
            Alembic::given(words("uv run alembic -x a=b upgrade head")),
            Alembic::new(words("uv run alembic"), None, words("a=b"), None),
        ] {
            let whole = |rest: &str| Some(words(&format!("uv run alembic -x a=b {rest}")));
            assert_eq!(alembic.history(), whole("history --verbose"));
            assert_eq!(alembic.upgrade("ae10"), whole("upgrade ae10"));
            assert_eq!(alembic.downgrade("-1"), whole("downgrade -1"));
            assert_eq!(alembic.check(), whole("check"));
            assert_eq!(alembic.stamp("ae10"), whole("stamp ae10"));
            assert_eq!(alembic.target(), Some("head"));
        }
    }

    #[test]
    fn a_wrapper_that_passes_its_arguments_on_is_a_program() {
        let alembic = Alembic::new(words("./alembic.sh"), None, vec![], None);
        assert_eq!(alembic.check(), Some(words("./alembic.sh check")));
    }

    #[test]
    fn nothing_else_is_called_when_it_is_not_known_how() {
        let alembic = Alembic::given(words("alembic current"));
        assert_eq!(alembic.command(), words("alembic current"));
        assert_eq!(alembic.history(), None);
        assert_eq!(alembic.downgrade("base"), None);
        assert_eq!(alembic.check(), None);
        assert_eq!(alembic.target(), None);
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
