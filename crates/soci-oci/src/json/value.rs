//! A checked JSON value, read in place.
//!
//! A value is the part of the text that it takes. Its members and elements are found again each time
//! they are asked for, so nothing is built for what nobody wants: documents may hold megabytes of
//! fields that no OCI struct has.

use std::borrow::Cow;

use super::syntax::{JsonError, check, is_space};

/// The text of one JSON value. Invariant: it has passed the syntax check, and nothing but white
/// space surrounds the value.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(&'a [u8]);

/// What a value is, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Null => "null",
        }
    }
}

impl<'a> Value<'a> {
    /// Checks that `bytes` hold one JSON value and nothing else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, JsonError> {
        check(bytes)?;
        Ok(Self(bytes.trim_ascii()))
    }

    pub(crate) fn kind(self) -> Kind {
        match self.0.first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The keys and values of an object, in order, repeated keys included.
    pub(crate) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        let mut rest = Rest(self.inside());
        std::iter::from_fn(move || {
            let key = rest.next()?;
            Some((unquote(key.0), rest.next()?))
        })
    }

    /// The elements of an array.
    pub(crate) fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let mut rest = Rest(self.inside());
        std::iter::from_fn(move || rest.next())
    }

    /// A string's text: escapes resolved, anything that is not a character replaced by U+FFFD.
    pub(crate) fn string(self) -> Cow<'a, str> {
        unquote(self.0)
    }

    /// A number's text.
    pub(crate) fn number(self) -> &'a str {
        str::from_utf8(self.0).unwrap_or_default()
    }

    fn inside(self) -> &'a [u8] {
        match self.0 {
            [_, inside @ .., _] => inside,
            _ => &[],
        }
    }
}

/// The values that are left in a container; separators between them carry no information once
/// the syntax is checked.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<Value<'a>> {
        let separator = |byte: u8| is_space(byte) || byte == b',' || byte == b':';
        let start = self.0.iter().position(|&byte| !separator(byte))?;
        let rest = self.0.get(start..)?;
        let (value, rest) = rest.split_at_checked(length(rest))?;
        self.0 = rest;
        Some(Value(value))
    }
}

/// Length of the value at the start of `text`.
fn length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at += string_length(text.get(at..).unwrap_or_default());
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            _ if depth == 0 && is_space(byte) => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Length of the string at the start of `text`, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn unquote(quoted: &[u8]) -> Cow<'_, str> {
    let raw = match quoted {
        [b'"', raw @ .., b'"'] => raw,
        _ => &[],
    };
    if !raw.contains(&b'\\')
        && let Ok(text) = str::from_utf8(raw)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(escape) = rest.iter().position(|&byte| byte == b'\\') {
        let (plain, behind) = rest.split_at(escape);
        push_lossy(&mut text, plain);
        rest = push_escape(&mut text, behind);
    }
    push_lossy(&mut text, rest);
    Cow::Owned(text)
}

/// Go replaces every byte of a broken sequence, where Rust's lossy conversion replaces the
/// sequence as one.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, chunk.invalid().len()));
    }
}

/// Resolves the escape at the start of `bytes` and returns what follows it.
fn push_escape<'a>(text: &mut String, bytes: &'a [u8]) -> &'a [u8] {
    let [_, kind, rest @ ..] = bytes else { return &[] };
    let character = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (character, rest) = unicode_escape(rest);
            text.push(character);
            return rest;
        }
        other => char::from(*other),
    };
    text.push(character);
    rest
}

/// The character of a `\u` escape whose four digits start `bytes`, joined with a second escape if
/// the two are a surrogate pair.
fn unicode_escape(bytes: &[u8]) -> (char, &[u8]) {
    let Some((unit, rest)) = hex4(bytes) else { return (char::REPLACEMENT_CHARACTER, &[]) };
    if let Some(character) = char::from_u32(unit) {
        return (character, rest);
    }
    if let Some((low, behind)) = rest.strip_prefix(b"\\u").and_then(hex4)
        && (0xd800..0xdc00).contains(&unit)
        && (0xdc00..0xe000).contains(&low)
        && let Some(character) = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + low - 0xdc00)
    {
        return (character, behind);
    }
    (char::REPLACEMENT_CHARACTER, rest)
}

fn hex4(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(4)?;
    let unit = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    Some((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &[u8]) -> String {
        Value::parse(text).unwrap().string().into_owned()
    }

    #[test]
    fn escapes_resolve() {
        assert_eq!(string(br#""a\"\\\/\b\f\n\r\tz""#), "a\"\\/\u{8}\u{c}\n\r\tz");
        assert_eq!(string(br#""\u00e9\u2028\ud83d\ude00""#), "é\u{2028}😀");
    }

    #[test]
    fn what_is_no_character_becomes_replacement_characters() {
        assert_eq!(string(b"\"a\xe2\x82z\""), "a\u{fffd}\u{fffd}z");
        assert_eq!(string(b"\"\xff\\n\xed\xa0\x80\""), "\u{fffd}\n\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(string(br#""\ud800""#), "\u{fffd}");
        assert_eq!(string(br#""\ud800\u0041""#), "\u{fffd}A");
        assert_eq!(string(br#""\ude00\ud83d""#), "\u{fffd}\u{fffd}");
        assert_eq!(string(br#""\ud800\ud83d\ude00""#), "\u{fffd}😀");
    }

    #[test]
    fn members_and_elements_come_in_order_with_their_whole_text() {
        let value =
            Value::parse(br#" {"a" : [1, {"x":"]}\"",  "y":[]} ,true] , "b":-1.5e3,"a":null } "#)
                .unwrap();
        let members: Vec<_> =
            value.members().map(|(key, value)| (key.into_owned(), value)).collect();
        let keys: Vec<_> = members.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "a"]);
        let kinds: Vec<_> = members[0].1.elements().map(Value::kind).collect();
        assert_eq!(kinds, [Kind::Number, Kind::Object, Kind::Bool]);
        let inner = members[0].1.elements().nth(1).unwrap();
        assert_eq!(inner.members().next().unwrap().1.string(), "]}\"");
        assert_eq!(members[1].1.number(), "-1.5e3");
        assert_eq!(members[2].1.kind(), Kind::Null);
    }

    #[test]
    fn empty_containers_have_nothing_inside() {
        assert_eq!(Value::parse(b"[ ]").unwrap().elements().count(), 0);
        assert_eq!(Value::parse(b"{\n}").unwrap().members().count(), 0);
    }
}
