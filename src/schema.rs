//! What a catalogue is, without any I/O: snapshot, fingerprint, difference, state.

mod difference;
mod fingerprint;
mod scope;
mod snapshot;
mod state;

pub use difference::{Change, Difference};
pub use fingerprint::Fingerprint;
pub use scope::Scope;
pub use snapshot::{ObjectId, Snapshot};
pub use state::{State, StateDigest, VersionTable};
