//! What of a catalogue binds an upgrade, and what is only reported.

/// The scope of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Part of the schema: it must be as it was rehearsed.
    Schema,
    /// Shared with the cluster or moved by everyday work: roles, memberships, settings, tablespaces,
    /// large objects. Reported; binds only where the migration itself changed it.
    Environment,
}

const ENVIRONMENT: &[&str] = &[
    "database",
    "large_objects",
    "parameter_acl",
    "role",
    "role_member",
    "setting",
    "tablespace",
];

impl Scope {
    /// The scope of a kind of object.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        if ENVIRONMENT.contains(&kind) {
            Self::Environment
        } else {
            Self::Schema
        }
    }
}
