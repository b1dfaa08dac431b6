//! The last of what a command wrote, or the first of an answer to us, without passwords and rows.

use crate::dock::link::CUT;

use super::redaction::{without_passwords, without_rows};

/// What is kept of a command.
const LIMIT: usize = 16 << 10;

/// What is kept of an answer to us; with its escapes it must fit into one line of the link.
const ANSWER: usize = 512 << 10;

/// Collects output and keeps its end; of an answer its beginning, which says when it is cut.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    secrets: Vec<String>,
    answer: bool,
    cut: bool,
}

impl Tail {
    pub(super) fn new(secrets: Vec<String>, answer: bool) -> Self {
        Self {
            bytes: Vec::new(),
            secrets,
            answer,
            cut: false,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        if self.answer {
            let room = ANSWER.saturating_sub(self.bytes.len());
            self.cut |= chunk.len() > room;
            self.bytes
                .extend_from_slice(&chunk[..chunk.len().min(room)]);
            return;
        }
        self.bytes.extend_from_slice(chunk);
        // Room is left in front so that a secret across the cut is still recognised whole.
        if self.bytes.len() > 4 * LIMIT {
            self.bytes.drain(..self.bytes.len() - 2 * LIMIT);
        }
    }

    pub(super) fn into_text(self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = without_rows(&without_passwords(&text, &self.secrets));
        if self.answer {
            return if self.cut { text + CUT } else { text };
        }
        let mut start = text.len().saturating_sub(LIMIT);
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
    fn of_an_answer_the_first_lines_are_kept_and_it_says_that_it_is_cut() {
        let mut whole = Tail::new(vec![], true);
        whole.push(b"head\n");
        assert_eq!(whole.into_text(), "head\n");
        let mut tail = Tail::new(vec![], true);
        tail.push(b"head\n");
        for _ in 0..ANSWER {
            tail.push(b"line\n");
        }
        let text = tail.into_text();
        assert!(text.starts_with("head\nline\n") && text.ends_with(CUT));
        assert!(text.len() <= ANSWER + CUT.len());
    }

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
