//! What is wrong with the revision files, from what Alembic says when it reads them.

use crate::report::{Finding, Severity};

/// How the files are broken, each thing once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A revision builds on one that no file has.
    Missing {
        /// The one that is not there.
        revision: String,
        /// Who names it, when Alembic says so.
        needed_by: Option<String>,
    },
    /// Two files have the same identifier; one of them is never run.
    Repeated {
        /// The identifier.
        revision: String,
    },
    /// They follow each other in a circle.
    Circle {
        /// Alembic's own sentence.
        said: String,
    },
    /// A file cannot be loaded.
    Broken {
        /// Which, with the line.
        place: String,
        /// Python's own sentence.
        said: String,
    },
    /// env.py was run for a mere list, without an address, and ended with an error.
    Environment {
        /// Where in it, with the line.
        place: String,
        /// Python's own sentence.
        said: String,
    },
    /// Anything else that Alembic refuses.
    Refused {
        /// Its own sentence.
        said: String,
    },
}

impl Trouble {
    /// Reads what Alembic wrote. Of a command that succeeded only warnings count.
    #[must_use]
    pub(super) fn all(output: &str, succeeded: bool) -> Vec<Self> {
        let mut found = Vec::new();
        let mut add = |trouble: Self| {
            if !found.contains(&trouble) {
                found.push(trouble);
            }
        };
        for line in output.lines() {
            if let Some(trouble) = warned(line) {
                add(trouble);
            }
        }
        if succeeded {
            return found;
        }
        let refused = output
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("FAILED: "));
        if let Some(said) = refused {
            let circle = said.contains("ycle is detected") || said.contains("elf-loop is detected");
            let said = said.to_owned();
            found.push(if circle {
                Self::Circle { said }
            } else {
                Self::Refused { said }
            });
        } else if found.is_empty()
            && let Some(trouble) = raised(output)
        {
            found.push(trouble);
        }
        found
    }

    /// What a reader should know. `file` knows which file calls itself by an identifier.
    #[must_use]
    pub(super) fn finding(&self, file: impl Fn(&str) -> Option<String>) -> Finding {
        let named = |revision: &str| match file(revision) {
            Some(path) => format!("`{revision}` ({path})"),
            None => format!("`{revision}`"),
        };
        let (code, message) = match self {
            Self::Missing {
                revision,
                needed_by,
            } => (
                "MissingRevision",
                format!(
                    "no file has the revision `{revision}`, {}: is its file missing in this image, \
                     or the identifier wrong?",
                    match needed_by {
                        Some(by) => format!("which {} names as its own down_revision", named(by)),
                        None => "which another one depends on".to_owned(),
                    }
                ),
            ),
            Self::Repeated { revision } => (
                "RepeatedRevision",
                format!(
                    "several files call themselves revision {}: Alembic runs one of them and never \
                     the others; give each its own identifier",
                    named(revision)
                ),
            ),
            Self::Circle { said } => (
                "RevisionCircle",
                format!("{said}: the down_revision or depends_on of one of them is wrong"),
            ),
            Self::Broken { place, said } => (
                "RevisionFileBroken",
                format!("a revision file cannot be loaded: {place}: {said}"),
            ),
            Self::Environment { place, said } => (
                "RevisionEnvironment",
                format!(
                    "`revision_environment` in Alembic's configuration makes it run env.py also to \
                     list the revisions, where it is given no database's address, and it ended \
                     there: {place}: {said}. Take the setting out, or let env.py do without an \
                     address"
                ),
            ),
            Self::Refused { said } => (
                "RevisionsRefused",
                format!("Alembic cannot read the revisions: {said}"),
            ),
        };
        Finding {
            code: code.to_owned(),
            // Of the revisions themselves it says nothing.
            severity: match self {
                Self::Environment { .. } => Severity::Warning,
                _ => Severity::Error,
            },
            message,
            statement: None,
        }
    }
}

/// `Revision X referenced from Y -> Z (head), message is not present` and `Revision X is present more
/// than once`.
fn warned(line: &str) -> Option<Trouble> {
    let (_, said) = line.split_once("UserWarning: Revision ")?;
    if let Some(revision) = said.strip_suffix(" is present more than once") {
        return Some(Trouble::Repeated {
            revision: revision.to_owned(),
        });
    }
    let (revision, rest) = said.split_once(" referenced from ")?;
    let needed_by = rest.split_once(" -> ").map(|(_, by)| {
        let end = by.find([' ', ',']).unwrap_or(by.len());
        by.get(..end).unwrap_or_default().to_owned()
    });
    Some(Trouble::Missing {
        revision: revision.to_owned(),
        needed_by,
    })
}

/// The end of a traceback: what was raised, and where the revision file was at fault.
fn raised(output: &str) -> Option<Trouble> {
    let begin = output.rfind("Traceback (most recent call last):")?;
    let trace = output.get(begin..)?;
    let said = trace.lines().rfind(|line| is_raised(line))?.to_owned();
    // Nothing else makes `history` run it.
    let of_environment = trace.contains(", in run_env\n");
    if let Some(revision) = said.strip_prefix("KeyError: '")
        && !of_environment
    {
        // What `depends_on` names is looked up without a warning.
        if trace.contains("_revision_map") || trace.contains("revision.py") {
            return Some(Trouble::Missing {
                revision: revision.trim_end_matches('\'').to_owned(),
                needed_by: None,
            });
        }
    }
    let place = trace.lines().rev().find_map(|line| {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (path, rest) = rest.split_once('"')?;
        let of_python = path.starts_with('<')
            || path.contains("/site-packages/")
            || path.contains("/dist-packages/");
        if of_python {
            return None;
        }
        let line: String = rest
            .strip_prefix(", line ")?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        Some(format!("{path}, line {line}"))
    });
    Some(match place {
        Some(place) if of_environment => Trouble::Environment { place, said },
        Some(place) if trace.contains("load_python_file") => Trouble::Broken { place, said },
        _ => Trouble::Refused { said },
    })
}

/// `ModuleNotFoundError: No module named 'x'`: unlike the frames above it, it is not indented.
fn is_raised(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default();
    !name.is_empty()
        && !line.starts_with("Traceback")
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(output: &str, succeeded: bool) -> Vec<(String, String)> {
        Trouble::all(output, succeeded)
            .iter()
            .map(|trouble| trouble.finding(|id| (id == "ffff").then(|| "versions/f.py".into())))
            .map(|finding| (finding.code, finding.message))
            .collect()
    }

    #[test]
    fn a_wrong_down_revision_names_both_revisions_and_the_file() {
        let output = "\
/venv/lib/alembic/script/revision.py:236: UserWarning: Revision zzzz referenced from zzzz -> ffff (head), add a, b is not present
  util.warn(
Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/alembic/script/revision.py\", line 240, in _revision_map
    down_revision = map_[downrev]
                    ~~~~^^^^^^^^^
KeyError: 'zzzz'
";
        assert_eq!(
            message(output, false),
            [(
                "MissingRevision".to_owned(),
                "no file has the revision `zzzz`, which `ffff` (versions/f.py) names as its own \
                 down_revision: is its file missing in this image, or the identifier wrong?"
                    .to_owned()
            )]
        );
    }

    #[test]
    fn a_dependency_that_is_not_there_is_named() {
        let output = "\
Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/alembic/script/revision.py\", line 380, in _normalize_depends_on
KeyError: 'nope'
";
        let found = message(output, false);
        assert_eq!(found[0].0, "MissingRevision");
        assert!(found[0].1.contains("`nope`, which another one depends on"));
    }

    #[test]
    fn an_identifier_that_two_files_have_is_found_although_alembic_succeeds() {
        let output = "x.py:208: UserWarning: Revision ffff is present more than once\n";
        let found = message(output, true);
        assert_eq!(found[0].0, "RepeatedRevision");
        assert!(found[0].1.contains("`ffff` (versions/f.py)"));
    }

    #[test]
    fn circles_and_other_refusals_are_told_apart() {
        let said = |text: &str| message(&format!("  FAILED: {text}\n"), false).remove(0);
        let (code, told) = said("Dependency self-loop is detected in revisions (ffff)");
        assert_eq!(code, "RevisionCircle");
        assert!(told.contains("(ffff)"), "{told}");
        let (code, _) = said("Branch name 'b' in revision c already used by revision d");
        assert_eq!(code, "RevisionsRefused");
    }

    #[test]
    fn a_file_that_cannot_be_loaded_is_named_with_its_line() {
        let output = "\
Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/alembic/util/pyfiles.py\", line 114, in load_python_file
    module = load_module_py(module_id, path)
  File \"<frozen importlib._bootstrap_external>\", line 940, in exec_module
  File \"/app/versions/bad.py\", line 1, in <module>
    import nonexistent_module
ModuleNotFoundError: No module named 'nonexistent_module'
";
        assert_eq!(
            message(output, false)[0],
            (
                "RevisionFileBroken".to_owned(),
                "a revision file cannot be loaded: /app/versions/bad.py, line 1: \
                 ModuleNotFoundError: No module named 'nonexistent_module'"
                    .to_owned()
            )
        );
    }

    #[test]
    fn an_environment_that_is_run_for_a_list_is_told_from_a_broken_revision() {
        let output = "\
Traceback (most recent call last):
  File \"/venv/lib/python3.11/site-packages/alembic/script/base.py\", line 545, in run_env
    util.load_python_file(self.dir, \"env.py\")
  File \"/venv/lib/python3.11/site-packages/alembic/util/pyfiles.py\", line 114, in load_python_file
    module = load_module_py(module_id, path)
  File \"/app/env.py\", line 7, in <module>
    with create_engine(os.environ[\"DATABASE_URL\"]).connect() as connection:
KeyError: 'DATABASE_URL'
";
        let (code, said) = message(output, false).remove(0);
        assert_eq!(code, "RevisionEnvironment");
        assert!(said.contains("revision_environment"), "{said}");
        assert!(said.contains("/app/env.py, line 7: KeyError"), "{said}");
    }

    #[test]
    fn a_success_without_warnings_has_no_trouble() {
        assert_eq!(Trouble::all("Rev: a (head)\nFAILED: no\n", true), []);
    }
}
