//! From errors of connections and files to verdicts with a sentence.

use std::error::Error;

use super::record::Said;
use crate::guard::GuardError;
use crate::postgres::ask::{Ask, AskError};
use crate::postgres::connect::{ConnectError, Trouble};
use crate::postgres::identity::IdentityError;
use crate::postgres::wait::{self, LOCK_NOT_AVAILABLE};
use crate::rehearsal::proxy::OpenError;
use crate::verdict::{Environment, Verdict};
use crate::witness::WitnessError;

/// An error with all its causes on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// No connection came about.
#[must_use]
pub fn connecting(error: &ConnectError) -> Said {
    let (cause, advice) = match error.trouble() {
        Trouble::Unreachable => (
            Environment::Unreachable,
            "is the server up, and are host and port right?",
        ),
        Trouble::NotAccepting => (
            Environment::Unreachable,
            "the server takes no more connections at the moment",
        ),
        Trouble::AuthenticationFailed => (
            Environment::AuthenticationFailed,
            "check the role and its password",
        ),
        Trouble::TlsFailed => (
            Environment::TlsFailed,
            "check sslmode and sslrootcert in the URL",
        ),
        Trouble::DatabaseMissing => (
            Environment::DatabaseMissing,
            "check the database's name in the URL",
        ),
        Trouble::Configuration => (
            Environment::Configuration,
            "check the files that the URL names",
        ),
        Trouble::Unsupported => (
            Environment::UnsupportedServer,
            "only PostgreSQL servers can be rehearsed on",
        ),
        Trouble::Pooler => (
            Environment::Pooler,
            "give the server's own address (database.directUrlFrom)",
        ),
    };
    Said::new(
        Verdict::Environment(cause),
        format!("{}; {advice}", chain(error)),
    )
}

/// The server is not one to rehearse on.
#[must_use]
pub fn identifying(error: &IdentityError) -> Said {
    let (cause, advice) = match error {
        IdentityError::Pooler { .. } => (
            Environment::Pooler,
            "; give the server's own address (--database-url, or database.directUrlFrom)",
        ),
        IdentityError::Engine(_) | IdentityError::Version(_) => {
            (Environment::UnsupportedServer, "")
        }
        IdentityError::Recovery => (Environment::ReadOnly, "; give the primary's address"),
        IdentityError::ReadOnly(_) => (
            Environment::ReadOnly,
            "; give the role that the migration really uses",
        ),
        IdentityError::Elsewhere(_) => (
            Environment::IdentityMismatch,
            "; give the address of one server, or try again when a failover has ended",
        ),
        IdentityError::Ask { .. } => (Environment::ConnectionLost, ""),
    };
    Said::new(
        Verdict::Environment(cause),
        format!("{}{advice}", chain(error)),
    )
}

/// The rehearsal could not be opened.
#[must_use]
pub fn opening(error: &OpenError) -> Said {
    let cause = match error {
        OpenError::Connect(error) => return connecting(error),
        OpenError::Lost(_) => Environment::ConnectionLost,
        OpenError::Protocol(_) | OpenError::Refused { .. } | OpenError::NoTripwire => {
            Environment::UnsupportedServer
        }
    };
    Said::new(Verdict::Environment(cause), chain(error))
}

/// The guard could not be set up.
#[must_use]
pub fn guarding(error: &GuardError) -> Said {
    match error {
        GuardError::Connect(error) => connecting(error),
        GuardError::Elsewhere(error) => identifying(error),
    }
}

/// What the witness compares with could not be taken.
#[must_use]
pub fn witnessing(error: &WitnessError) -> Said {
    let cause = match error {
        WitnessError::Ask {
            source: AskError::Lost(_),
            ..
        } => Environment::ConnectionLost,
        _ => Environment::UnsupportedServer,
    };
    Said::new(Verdict::Environment(cause), chain(error))
}

/// A question of ours was not answered; `what` completes "could not …".
#[must_use]
pub fn asking(what: &str, error: &AskError) -> Said {
    let cause = match error {
        AskError::Lost(_) => Environment::ConnectionLost,
        AskError::Server { code, .. } if code == LOCK_NOT_AVAILABLE => Environment::Locked,
        AskError::Server { .. } | AskError::Shape(_) => Environment::UnsupportedServer,
    };
    Said::new(
        Verdict::Environment(cause),
        format!("could not {what}: {}", chain(error)),
    )
}

/// The sentence of an error, and if it is of a wait for a lock, for which one.
pub(super) async fn with_the_lock(asker: &mut impl Ask, text: String, error: &AskError) -> String {
    if error.code() != Some(LOCK_NOT_AVAILABLE) {
        return text;
    }
    match wait::in_the_way(asker).await {
        Ok(locks) if !locks.is_empty() => {
            format!(
                "{text}; it waited for {}. Try again when that has ended",
                locks.join("; for ")
            )
        }
        // They have ended, or cannot be asked for.
        _ => format!("{text}; try again"),
    }
}
