//! What a catalogue is, without any I/O: snapshot, fingerprint, difference, state.

mod difference;
mod fingerprint;
mod moment;
mod scope;
mod snapshot;
mod state;

pub use difference::{Change, Difference};
pub use fingerprint::Fingerprint;
pub use moment::{Span, holds_the_moment, same_but_for_the_moment};
pub use scope::Scope;
pub use snapshot::{ObjectId, Snapshot};
pub use state::{State, StateDigest, VersionTable};
