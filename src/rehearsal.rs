//! A transaction that cannot commit: a wire proxy that holds one upstream transaction in which
//! every client COMMIT is emulated.
//!
//! Direction: `wire` -> nothing, `sql` -> nothing, `transaction` -> `wire` and `sql`,
//! `proxy` -> its siblings, `postgres` and `report`.

pub mod proxy;
pub mod sql;
pub mod transaction;
pub mod wire;
