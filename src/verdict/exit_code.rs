//! Exit codes: public API, read by `podFailurePolicy` and by CI.

/// The process exit codes of every drydock command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ExitCode {
    /// Passed, or nothing to do.
    Passed = 0,
    /// The migration failed in the dry run.
    Failed = 1,
    /// The command line or a configuration file was wrong; nothing was started.
    Usage = 2,
    /// The command could not be rehearsed.
    NotRehearsed = 3,
    /// It is not proven that nothing was left behind.
    RollbackNotVerified = 4,
    /// Traffic blocked, lock wait or duration.
    BudgetExceeded = 5,
    /// No connection, a pooler, busy with another run, a command that cannot be started.
    Environment = 6,
    /// The database is not in the state that was rehearsed.
    Drift = 7,
    /// The real upgrade failed.
    UpgradeFailed = 8,
    /// The real upgrade landed on another state than predicted.
    UpgradeDiverged = 9,
    /// `drydock wait` timed out.
    WaitTimedOut = 10,
    /// Stopped by a signal; rolled back and verified.
    Interrupted = 130,
}

impl From<ExitCode> for u8 {
    fn from(code: ExitCode) -> Self {
        code as Self
    }
}
