//! What can go wrong between the controller and the API server.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::operator::resources::ReportError;

/// Why the controller cannot run, or could not reconcile.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// No usable configuration, or no answer.
    #[error("cannot connect to the Kubernetes API server")]
    Connect(#[source] kube::Error),
    /// Not allowed, or the CRD is missing.
    #[error(
        "cannot list Migrations: is the CRD installed (`drydock crd | kubectl apply -f -`), and may this ServiceAccount list them?"
    )]
    List(#[source] kube::Error),
    /// The metrics could not be registered.
    #[error("cannot register the metrics")]
    Metrics(#[source] prometheus::Error),
    /// The port for metrics and health cannot be had.
    #[error("cannot listen on {address} for metrics and health")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Something could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The Migration is there, but is none that this version understands.
    #[error("the Migration is not one that this controller can read")]
    Unreadable(#[source] kube::Error),
    /// Something could not be written.
    #[error("cannot write {what}")]
    Write {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// A report could not be packed.
    #[error("cannot keep the report")]
    Report(#[source] ReportError),
}

impl ControllerError {
    /// A small, fixed set for a metric's label.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::List(_) | Self::Metrics(_) | Self::Listen { .. } => "start",
            Self::Read { .. } => "read",
            Self::Unreadable(_) => "unreadable",
            Self::Write { .. } => "write",
            Self::Report(_) => "report",
        }
    }
}

/// An error with all its sources, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
