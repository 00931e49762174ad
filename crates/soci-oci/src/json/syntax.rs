//! Checks that bytes are one JSON text.
//!
//! Go checks the whole text before it decodes any of it, so a text with a mistake at its end decodes
//! to nothing. It also makes everything behind this check simple: separators carry no information any
//! more, and a value's kind is told by its first byte. Containers that are open are kept in a list
//! instead of on the stack, of the depth that Go allows.

/// Deepest nesting of arrays and objects that Go's decoder accepts.
pub const MAX_DEPTH: usize = 10_000;

/// Why bytes are not one JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text ends inside a value.
    #[error("the JSON text ends at byte {offset}, before its value does")]
    Truncated {
        /// Where the text ends.
        offset: usize,
    },
    /// A byte that the grammar does not allow there; also anything behind the value.
    #[error("unexpected byte {byte:#04x} at offset {offset} of the JSON text")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Its offset.
        offset: usize,
    },
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("the JSON text nests deeper than {MAX_DEPTH} levels at offset {offset}")]
    TooDeep {
        /// Where the limit is passed.
        offset: usize,
    },
}

/// Checks that `bytes` are one JSON value with white space around it. Strings may hold invalid
/// UTF-8, as in Go.
pub(super) fn check(bytes: &[u8]) -> Result<(), JsonError> {
    let mut checker = Checker { bytes, at: 0, open: Vec::new() };
    loop {
        if checker.value()? == Next::Value {
            continue;
        }
        if checker.behind_value()? == Next::End {
            return Ok(());
        }
    }
}

/// Whether `byte` is white space between tokens.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[derive(PartialEq, Eq)]
enum Next {
    Value,
    Separator,
    End,
}

struct Checker<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The closing bytes of the arrays and objects around the position, outermost first.
    open: Vec<u8>,
}

impl Checker<'_> {
    /// Reads a scalar, an empty container or the opening of a container.
    fn value(&mut self) -> Result<Next, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => {
                self.open(b'}')?;
                if self.close_if(b'}') {
                    return Ok(Next::Separator);
                }
                self.key()?;
                Ok(Next::Value)
            }
            Some(b'[') => {
                self.open(b']')?;
                if self.close_if(b']') { Ok(Next::Separator) } else { Ok(Next::Value) }
            }
            Some(b'"') => self.string().map(|()| Next::Separator),
            Some(b't') => self.literal(b"true").map(|()| Next::Separator),
            Some(b'f') => self.literal(b"false").map(|()| Next::Separator),
            Some(b'n') => self.literal(b"null").map(|()| Next::Separator),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Next::Separator),
            _ => Err(self.unexpected()),
        }
    }

    /// Reads what follows a value: closing brackets, then a comma or the end of the text.
    fn behind_value(&mut self) -> Result<Next, JsonError> {
        loop {
            self.space();
            let Some(&close) = self.open.last() else {
                return if self.at == self.bytes.len() {
                    Ok(Next::End)
                } else {
                    Err(self.unexpected())
                };
            };
            if self.peek() == Some(b',') {
                self.at += 1;
                if close == b'}' {
                    self.key()?;
                }
                return Ok(Next::Value);
            }
            if !self.close_if(close) {
                return Err(self.unexpected());
            }
        }
    }

    fn open(&mut self, close: u8) -> Result<(), JsonError> {
        if self.open.len() == MAX_DEPTH {
            return Err(JsonError::TooDeep { offset: self.at });
        }
        self.at += 1;
        self.open.push(close);
        Ok(())
    }

    fn close_if(&mut self, close: u8) -> bool {
        self.space();
        let closes = self.peek() == Some(close);
        if closes {
            self.at += 1;
            self.open.pop();
        }
        closes
    }

    fn key(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        self.string()?;
        self.space();
        self.expect(b':')
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.expect(b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                self.expect_that(|byte| byte.is_ascii_hexdigit())?;
                            }
                        }
                        _ => return Err(self.unexpected()),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        word.iter().try_for_each(|&byte| self.expect(byte))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        self.expect_that(|byte| byte.is_ascii_digit())?;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        self.expect_that(|found| found == byte)
    }

    fn expect_that(&mut self, fits: impl Fn(u8) -> bool) -> Result<(), JsonError> {
        if self.peek().is_some_and(fits) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn unexpected(&self) -> JsonError {
        match self.peek() {
            Some(byte) => JsonError::Unexpected { byte, offset: self.at },
            None => JsonError::Truncated { offset: self.at },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_followed() {
        for good in [
            "0",
            "-0",
            "1.5e+3",
            "10E2",
            "\"\"",
            "\"\\u00e9\\n\\/\"",
            "null",
            " [ ] ",
            "{ }",
            "[1,[true,{}],{\"a\":[],\"b\":false}]\n",
            "\r\t{\"\" : null}",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "nul",
            "nulls",
            "True",
            "'a'",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "[",
            "[}",
            "{]",
            "1 2",
            "{}x",
            "\u{feff}{}",
            "]",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn invalid_utf8_is_allowed_inside_strings_only() {
        assert_eq!(check(b"\"\xff\""), Ok(()));
        assert_eq!(check(b"\xff"), Err(JsonError::Unexpected { byte: 0xff, offset: 0 }));
    }

    #[test]
    fn nesting_has_a_limit_and_no_recursion() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep { offset: MAX_DEPTH }));
        assert!(check(&vec![b'['; 4 << 20]).is_err());
    }

    #[test]
    fn an_error_names_the_byte() {
        assert_eq!(check(b"[1;"), Err(JsonError::Unexpected { byte: b';', offset: 2 }));
        assert_eq!(check(b"[1"), Err(JsonError::Truncated { offset: 2 }));
    }
}
