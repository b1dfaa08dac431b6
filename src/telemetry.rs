//! Where log lines go: to standard error, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people: level, message, fields.
    Plain,
    /// One JSON object a line, with times, for a cluster's log collector.
    Json,
}

/// Installs the process's subscriber; a second call changes nothing.
///
/// `filter` is a directive such as `drydock=debug`; a malformed one falls back to `default`.
pub fn install(format: Format, filter: Option<&str>, default: &str) {
    let filter = filter
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // The only error is that a subscriber is installed already.
    let _ = match format {
        Format::Plain => builder
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}
