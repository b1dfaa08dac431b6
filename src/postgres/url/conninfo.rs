//! libpq's `keyword=value` strings.

use std::collections::BTreeMap;

use super::UrlError;

/// Spaces around `=` are allowed; a value may be quoted with `'`; `\` escapes one character.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, String>, UrlError> {
    let malformed = |what: &str| UrlError::Malformed(what.to_owned());
    let mut found = BTreeMap::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.peek().is_none() {
            return Ok(found);
        }
        let mut keyword = String::new();
        while let Some(c) = characters.next_if(|c| *c != '=' && !c.is_whitespace()) {
            keyword.push(c);
        }
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        if characters.next_if_eq(&'=').is_none() {
            return Err(malformed(if found.is_empty() {
                "it is neither a URL (postgresql://…) nor keyword=value"
            } else {
                "\"=\" is missing after a keyword"
            }));
        }
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        if characters.next_if_eq(&'\'').is_some() {
            loop {
                match characters.next() {
                    Some('\'') => break,
                    Some('\\') => value.extend(characters.next()),
                    Some(c) => value.push(c),
                    None => return Err(malformed("a quoted value is not closed")),
                }
            }
        } else {
            while let Some(c) = characters.next_if(|c| !c.is_whitespace()) {
                if c == '\\' {
                    value.extend(characters.next());
                } else {
                    value.push(c);
                }
            }
        }
        if !super::keywords::is_known(&keyword) {
            return Err(UrlError::UnknownKeyword(keyword));
        }
        found.insert(keyword, value);
    }
}

/// Writes one value so that [`parse`] gives it back.
pub(in crate::postgres) fn quote(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '\'' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_is_read_back() {
        for value in ["", "a b", "it's", "back\\slash", "plain", " ' \\ "] {
            let text = format!("password={} user=u", quote(value));
            assert_eq!(parse(&text).unwrap()["password"], value);
        }
    }
}
