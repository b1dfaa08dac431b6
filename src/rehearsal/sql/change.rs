//! Statements that change how the text behind them is read (manual, "Client Connection Defaults"
//! and "Version and Platform Compatibility": `client_encoding`, `standard_conforming_strings`).

use super::arguments::{Argument, calls_of};
use super::calls::Calls;
use super::command::{Command, Discard, Setting};
use super::split::Statement;

/// Which of the settings that decide how a string is read a statement may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// How constants are read.
    pub standard_conforming_strings: bool,
    /// How bytes are read.
    pub client_encoding: bool,
}

impl SettingsChange {
    const NONE: Self = Self {
        standard_conforming_strings: false,
        client_encoding: false,
    };
    const BOTH: Self = Self {
        standard_conforming_strings: true,
        client_encoding: true,
    };

    /// What `statement`, which is `command`, may change: by SET, RESET, DISCARD ALL, set_config, or
    /// in a DO block that mentions them. A function that changes them unseen is found out by the
    /// server's ParameterStatus.
    #[must_use]
    pub fn by(statement: &Statement<'_>, command: &Command) -> Self {
        match command {
            Command::Setting(Setting::Set { name, .. } | Setting::Reset(name)) => Self::named(name),
            Command::Setting(Setting::ResetAll) | Command::Discard(Discard::All) => Self::BOTH,
            Command::Do => Self {
                standard_conforming_strings: mentions(statement.text(), STRINGS)
                    || mentions(statement.text(), "set_config"),
                client_encoding: mentions(statement.text(), ENCODING)
                    || mentions(statement.text(), "set_config")
                    || mentions(statement.text(), "names"),
            },
            _ if statement.calls().contains(Calls::SET_CONFIG) => {
                let mut change = Self::NONE;
                for arguments in calls_of(statement.tokens(), "set_config") {
                    let this = match arguments.first() {
                        Some(Argument::Text(name)) => {
                            Self::named(&String::from_utf8_lossy(name).to_ascii_lowercase())
                        }
                        _ => Self::BOTH,
                    };
                    change.standard_conforming_strings |= this.standard_conforming_strings;
                    change.client_encoding |= this.client_encoding;
                }
                change
            }
            _ => Self::NONE,
        }
    }

    fn named(name: &str) -> Self {
        Self {
            standard_conforming_strings: name == STRINGS,
            client_encoding: name == ENCODING,
        }
    }

    /// Whether there is any.
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::NONE
    }
}

const STRINGS: &str = "standard_conforming_strings";
const ENCODING: &str = "client_encoding";

fn mentions(text: &[u8], word: &str) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::{LexSettings, Script, classify};
    use super::*;
    use rstest::rstest;

    const ON: LexSettings = LexSettings {
        standard_conforming_strings: true,
    };

    #[rstest]
    #[case("set standard_conforming_strings = off", true, false)]
    #[case("set local Standard_Conforming_Strings to on", true, false)]
    #[case("reset standard_conforming_strings", true, false)]
    #[case("reset all", true, true)]
    #[case("discard all", true, true)]
    #[case("set names 'latin1'", false, true)]
    #[case("set client_encoding = 'latin1'", false, true)]
    #[case(
        "select set_config('standard_conforming_strings', 'off', true)",
        true,
        false
    )]
    #[case("select pg_catalog.set_config($1, 'off', true)", true, true)]
    #[case("select set_config('search_path', '', false)", false, false)]
    #[case(
        "do $$ begin set standard_conforming_strings = off; end $$",
        true,
        false
    )]
    #[case("do $$ begin perform 1; end $$", false, false)]
    #[case("set search_path = a", false, false)]
    #[case("select 1", false, false)]
    fn statements_that_change_how_strings_are_read_are_found(
        #[case] text: &str,
        #[case] standard_conforming_strings: bool,
        #[case] client_encoding: bool,
    ) {
        let script = Script::new(text.as_bytes(), ON);
        let statement = script.single().unwrap();
        let change = SettingsChange::by(statement, &classify(statement));
        let expected = SettingsChange {
            standard_conforming_strings,
            client_encoding,
        };
        assert_eq!(change, expected);
    }

    #[test]
    fn only_what_is_read_differently_afterwards_is_lost_behind_a_change() {
        let is_lost = |text: &str| {
            let script = Script::new(text.as_bytes(), ON);
            let first = &script.pieces()[0];
            script.is_read_differently_behind(0, SettingsChange::by(first, &classify(first)))
        };
        assert!(!is_lost(
            "reset standard_conforming_strings; select 'a', E'\\n'; commit"
        ));
        assert!(is_lost(
            "reset standard_conforming_strings; select 1; select 'a\\b'"
        ));
        assert!(is_lost("reset standard_conforming_strings; select u&'a'"));
        assert!(!is_lost("reset standard_conforming_strings; select 'ä'"));
        assert!(is_lost("set names 'latin1'; select 'ä'"));
        assert!(!is_lost("set search_path = 'a\\b'; select 'a\\b', 'ä'"));
    }
}
