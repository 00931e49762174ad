//! Writing JSON as Go's `Marshal` does: no white space, and `<`, `>`, `&` escaped for HTML.
//!
//! The order of the members is the caller's, since Go writes the fields of a struct in the order of
//! its declaration, and the keys of a map sorted. Fields marked `omitempty` are left out when they
//! are empty, others are written as `""`, `0` or `null`.

use std::fmt::Write as _;

/// An object that is being written to the end of a text.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Writes the key and returns the text, for the value to be written to.
    pub(crate) fn key(&mut self, key: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        write_string(self.out, key);
        self.out.push(':');
        self.out
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) {
        write_string(self.key(key), value);
    }

    /// A field that Go's `omitempty` drops when it is empty.
    pub(crate) fn string_unless_empty(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.string(key, value);
        }
    }

    pub(crate) fn number(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.key(key), "{value}");
    }

    pub(crate) fn end(self) {
        self.out.push('}');
    }
}

/// Writes an array, each item by `write`.
pub(crate) fn write_array<T>(out: &mut String, items: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// Writes a quoted string.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(needs_escape) {
        let (plain, behind) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = behind.chars();
        if let Some(character) = characters.next() {
            escape(out, character);
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

fn needs_escape(character: char) -> bool {
    matches!(character, '\0'..='\x1f' | '"' | '\\' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

fn escape(out: &mut String, character: char) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other => {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let mut out = String::new();
        write_string(
            &mut out,
            "a\"\\/<b>&\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}é\u{2028}\u{2029}\u{fffd}😀",
        );
        assert_eq!(
            out,
            concat!(
                r#""a\"\\/\u003cb\u003e\u0026\b\f\n\r\t\u0000\u001f"#,
                "\u{7f}é",
                r"\u2028\u2029",
                "\u{fffd}😀\""
            )
        );
    }

    #[test]
    fn objects_have_commas_between_members_only() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.string("a", "");
        object.string_unless_empty("b", "");
        object.number("c", -1);
        write_array(object.key("d"), &["x", "y"], |out, item| write_string(out, item));
        object.end();
        assert_eq!(out, r#"{"a":"","c":-1,"d":["x","y"]}"#);
    }
}
