//! Where statements end, as the manual's "Lexical Structure" says, character by character. It
//! shares nothing with the product's lexer.

/// The statements of a string, each as its words in lower case; constants are
/// left out but for a mark. `None` if a quote or a comment is not closed.
pub(crate) fn cut(text: &str, conforming: bool) -> Option<Vec<Vec<String>>> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut statements = vec![Vec::new()];
    let mut i = 0;
    while i < chars.len() {
        let words: &mut Vec<String> = statements.last_mut()?;
        match at(i) {
            ';' => {
                statements.push(Vec::new());
                i += 1;
            }
            '-' if at(i + 1) == '-' => i = line_end(&chars, i),
            '/' if at(i + 1) == '*' => i = comment_end(&chars, i)?,
            '"' => {
                let start = i + 1;
                i = quote_end(&chars, start, '"', false)?;
                words.push(chars[start..i - 1].iter().collect());
            }
            '\'' => {
                i = constant_end(&chars, i, !conforming)?;
                words.push("'constant'".to_owned());
            }
            'e' | 'E' if at(i + 1) == '\'' => {
                i = constant_end(&chars, i + 1, true)?;
                words.push("'constant'".to_owned());
            }
            '$' => {
                let tag = dollar_tag(&chars, i);
                if let Some(length) = tag {
                    i = dollar_end(&chars, i, length)?;
                    words.push("'constant'".to_owned());
                } else {
                    words.push("$".to_owned());
                    i += 1;
                }
            }
            c if c.is_alphabetic() || c == '_' => {
                let start = i;
                while at(i).is_alphanumeric() || at(i) == '_' || at(i) == '$' {
                    i += 1;
                }
                let word: String = chars[start..i].iter().collect();
                words.push(word.to_ascii_lowercase());
            }
            c if c.is_ascii_digit() => {
                while at(i).is_ascii_digit() {
                    i += 1;
                }
                words.push("0".to_owned());
            }
            c if c.is_whitespace() => i += 1,
            c => {
                words.push(c.to_string());
                i += 1;
            }
        }
    }
    statements.retain(|words| !words.is_empty());
    Some(statements)
}

fn line_end(chars: &[char], from: usize) -> usize {
    (from..chars.len())
        .find(|i| matches!(chars[*i], '\n' | '\r'))
        .unwrap_or(chars.len())
}

fn comment_end(chars: &[char], from: usize) -> Option<usize> {
    let mut depth = 0;
    let mut i = from;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => i += 1,
        }
    }
    None
}

fn quote_end(chars: &[char], from: usize, quote: char, escapes: bool) -> Option<usize> {
    let mut i = from;
    while i < chars.len() {
        if escapes && chars[i] == '\\' {
            i += 2;
        } else if chars[i] == quote {
            if chars.get(i + 1) != Some(&quote) {
                return Some(i + 1);
            }
            i += 2;
        } else {
            i += 1;
        }
    }
    None
}

/// A constant goes on behind whitespace that holds a line's end, in the manner in which it began.
fn constant_end(chars: &[char], quote: usize, escapes: bool) -> Option<usize> {
    let mut end = quote_end(chars, quote + 1, '\'', escapes)?;
    loop {
        let mut i = end;
        let mut line = false;
        loop {
            match chars.get(i) {
                Some('\n' | '\r') => line = true,
                Some(' ' | '\t') => {}
                Some('-') if chars.get(i + 1) == Some(&'-') => {
                    i = line_end(chars, i);
                    continue;
                }
                _ => break,
            }
            i += 1;
        }
        if !line || chars.get(i) != Some(&'\'') {
            return Some(end);
        }
        end = quote_end(chars, i + 1, '\'', escapes)?;
    }
}

/// The length of `$tag$` here, if it is one.
fn dollar_tag(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at + 1..];
    let length = rest.iter().position(|c| *c == '$')?;
    let tag = &rest[..length];
    let fits = tag.iter().all(|c| c.is_alphanumeric() || *c == '_');
    (fits && !tag.first().is_some_and(char::is_ascii_digit)).then_some(length + 2)
}

fn dollar_end(chars: &[char], at: usize, length: usize) -> Option<usize> {
    let tag = &chars[at..at + length];
    (at + length..chars.len().saturating_sub(length - 1))
        .find(|i| &chars[*i..i + length] == tag)
        .map(|i| i + length)
}

#[cfg(test)]
mod tests {
    use super::cut;

    fn firsts(text: &str, conforming: bool) -> Option<Vec<String>> {
        Some(
            cut(text, conforming)?
                .into_iter()
                .map(|words| words[0].clone())
                .collect(),
        )
    }

    #[test]
    fn the_model_cuts_as_the_manual_says() {
        let both = |text: &str| {
            let on = firsts(text, true);
            (
                on.map(|all| all.join(" ")),
                firsts(text, false).map(|all| all.join(" ")),
            )
        };
        let some = |on: &str, off: &str| (Some(on.to_owned()), Some(off.to_owned()));
        assert_eq!(
            both("a; b -- ;\n; /* ; /* ; */ */ c"),
            some("a b c", "a b c")
        );
        assert_eq!(both("a '\\'; b; --'"), some("a b", "a"));
        assert_eq!(both("a '\\''; b; --'"), some("a", "a b"));
        assert_eq!(both("a E'x'\n'\\'; b; --'"), some("a", "a"));
        assert_eq!(both("a 'x' '\\'; b; --'"), some("a b", "a"));
        assert_eq!(both("a $q$ ; $$ $q$; b$$; c"), some("a b$$ c", "a b$$ c"));
    }
}
