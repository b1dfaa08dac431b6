//! The last of what a command wrote, without passwords.

/// What is kept.
const LIMIT: usize = 16 << 10;

/// Collects output and keeps its end.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    secrets: Vec<String>,
}

impl Tail {
    pub(super) fn new(mut secrets: Vec<String>) -> Self {
        // Longest first, so that no secret is cut by a shorter one inside it.
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self {
            bytes: Vec::new(),
            secrets,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Room is left in front so that a secret across the cut is still recognised whole.
        if self.bytes.len() > 4 * LIMIT {
            self.bytes.drain(..self.bytes.len() - 2 * LIMIT);
        }
    }

    pub(super) fn into_text(self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        let text = without_url_passwords(&text);
        let mut start = text.len().saturating_sub(LIMIT);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text.get(start..).unwrap_or_default().to_owned()
    }
}

/// Replaces the password of every `scheme://user:password@`.
fn without_url_passwords(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find("://") {
        let (before, after) = rest.split_at(found + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '"' | '\''))
            .unwrap_or(after.len());
        let (authority, remainder) = after.split_at(end);
        match (authority.find(':'), authority.rfind('@')) {
            (Some(colon), Some(at)) if colon < at => {
                clean.push_str(authority.get(..=colon).unwrap_or_default());
                clean.push_str("***");
                clean.push_str(authority.get(at..).unwrap_or_default());
            }
            _ => clean.push_str(authority),
        }
        rest = remainder;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::new(vec![]);
        for _ in 0..100_000 {
            tail.push(b"line\n");
        }
        tail.push("dernière".as_bytes());
        let text = tail.into_text();
        assert!(text.len() <= LIMIT);
        assert!(text.ends_with("line\ndernière"));
    }

    #[test]
    fn passwords_are_removed_by_value_and_by_place() {
        let mut tail = Tail::new(vec!["geheim".into(), String::new()]);
        tail.push(b"FATAL: geheim\npostgresql+psycopg://u:p%40ss@host:5432/db?x=1 ok://h/a:b@c");
        assert_eq!(
            tail.into_text(),
            "FATAL: ***\npostgresql+psycopg://u:***@host:5432/db?x=1 ok://h/a:b@c"
        );
    }
}
