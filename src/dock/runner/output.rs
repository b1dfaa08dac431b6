//! The last of what a command wrote, without passwords and rows.

use super::redaction::{without_passwords, without_rows};

/// What is kept of a command.
const LIMIT: usize = 16 << 10;

/// What is kept of an answer to us; with its escapes it must fit into one line of the link.
const ANSWER: usize = 512 << 10;

/// Collects output and keeps its end.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    secrets: Vec<String>,
    limit: usize,
}

impl Tail {
    pub(super) fn new(secrets: Vec<String>, answer: bool) -> Self {
        Self {
            bytes: Vec::new(),
            secrets,
            limit: if answer { ANSWER } else { LIMIT },
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Room is left in front so that a secret across the cut is still recognised whole.
        if self.bytes.len() > 4 * self.limit {
            self.bytes.drain(..self.bytes.len() - 2 * self.limit);
        }
    }

    pub(super) fn into_text(self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = without_rows(&without_passwords(&text, &self.secrets));
        let mut start = text.len().saturating_sub(self.limit);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        text.get(start..).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::new(vec![], false);
        for _ in 0..100_000 {
            tail.push(b"line\n");
        }
        tail.push("dernière".as_bytes());
        let text = tail.into_text();
        assert!(text.len() <= LIMIT);
        assert!(text.ends_with("line\ndernière"));
    }
}
