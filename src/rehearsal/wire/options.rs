//! The `options` parameter of a startup packet: command-line arguments of the backend (manual,
//! "Database Connection Control Functions", `options`; "Server Configuration", "Short Options").

/// Why `options` could not be read as settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An argument other than `-c name=value` and `--name=value`.
    #[error("invalid command-line argument for server process: {0}")]
    Unsupported(String),
    /// `-c` at the end, or an argument without `=`.
    #[error("{0} requires a value")]
    NoValue(String),
}

/// Splits `options` into settings, in order: arguments are separated by white space, a backslash
/// takes the next character literally, and a dash in a long option's name stands for an underscore.
///
/// # Errors
/// Whatever is not a setting. The server has a few short options of its own (`-e`, `-d 3`), which
/// no migration tool was seen to use.
pub fn split_options(options: &str) -> Result<Vec<(String, String)>, OptionsError> {
    let mut settings = Vec::new();
    let mut arguments = arguments(options).into_iter();
    while let Some(argument) = arguments.next() {
        let setting = if argument == "-c" {
            arguments.next().ok_or(OptionsError::NoValue(argument))?
        } else if let Some(setting) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix("-c"))
            .filter(|setting| !setting.is_empty())
        {
            setting.to_owned()
        } else {
            return Err(OptionsError::Unsupported(argument));
        };
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| OptionsError::NoValue(setting.clone()))?;
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn arguments(options: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        if c.is_ascii_whitespace() {
            arguments.extend(current.take());
            continue;
        }
        let current = current.get_or_insert_default();
        if c == '\\' {
            current.extend(chars.next());
        } else {
            current.push(c);
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("", &[])]
    #[case("-c search_path=app", &[("search_path", "app")])]
    #[case("-csearch_path=app  --geqo=off", &[("search_path", "app"), ("geqo", "off")])]
    #[case("--lock-timeout=5s", &[("lock_timeout", "5s")])]
    #[case(r"-c search_path=a,\ b\\c", &[("search_path", r"a, b\c")])]
    #[case("-c application_name=a=b", &[("application_name", "a=b")])]
    fn settings_are_read_as_the_server_reads_them(
        #[case] options: &str,
        #[case] expected: &[(&str, &str)],
    ) {
        let settings = split_options(options).unwrap();
        let settings: Vec<_> = settings
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(settings, expected);
    }

    #[rstest]
    #[case("-c")]
    #[case("-c name")]
    #[case("--name")]
    #[case("-- name=value")]
    #[case("-e")]
    #[case("geqo=off")]
    fn anything_else_is_an_error(#[case] options: &str) {
        assert!(split_options(options).is_err());
    }
}
