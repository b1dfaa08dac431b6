//! What drydock knows about a migration tool: its command and its version table.

pub mod alembic;
mod generic;

pub use alembic::Alembic;
pub use generic::Generic;

/// The preset of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// Alembic, with its command line built from the preset.
    Alembic(Alembic),
    /// Any other command.
    Generic(Generic),
}

impl Tool {
    /// Chooses the preset for a command that was given word by word: Alembic when the program is
    /// called alembic, also behind `python -m` and behind `run` of uv, poetry, pipenv, pdm, hatch,
    /// rye and pixi.
    #[must_use]
    pub fn for_command(given: Generic) -> Self {
        if alembic::is_alembic(&given.command) {
            Self::Alembic(Alembic::given(given.command))
        } else {
            Self::Generic(given)
        }
    }

    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alembic(_) => "alembic",
            Self::Generic(_) => "generic",
        }
    }

    /// The upgrade, word by word; empty for an open rehearsal.
    #[must_use]
    pub fn command(&self) -> Vec<String> {
        match self {
            Self::Alembic(alembic) => alembic.command(),
            Self::Generic(generic) => generic.command.clone(),
        }
    }

    /// Alembic's other commands, when the upgrade is Alembic's.
    #[must_use]
    pub fn alembic(&self) -> Option<&Alembic> {
        match self {
            Self::Alembic(alembic) => Some(alembic),
            Self::Generic(_) => None,
        }
    }

    /// Whether a way back from the upgrade is known.
    #[must_use]
    pub fn has_way_back(&self) -> bool {
        match self {
            Self::Alembic(alembic) => alembic.downgrade("base").is_some(),
            Self::Generic(generic) => !generic.downgrade.is_empty(),
        }
    }

    /// Version tables besides the ones that are always looked for.
    #[must_use]
    pub fn version_tables(&self) -> &[String] {
        match self {
            Self::Alembic(_) => &[],
            Self::Generic(generic) => &generic.version_tables,
        }
    }

    /// Whether the tool itself remembers what it has applied, so that running it again after an
    /// interrupted attempt applies nothing twice.
    #[must_use]
    pub fn remembers(&self) -> bool {
        match self {
            Self::Alembic(_) => true,
            Self::Generic(generic) => !generic.version_tables.is_empty(),
        }
    }
}
