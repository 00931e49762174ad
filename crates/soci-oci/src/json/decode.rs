//! Decoding into places that already hold a value, as Go's `Unmarshal` does.
//!
//! Go does not make a value from a JSON text, it changes one that is there. The difference shows
//! where a key comes twice, be it in another case: a scalar is replaced, `null` leaves it as it is, a
//! map keeps the entries that the second object does not name, and a list is decoded over the
//! elements of the first, even over those behind its end. A [`Slot`] is such a value.
//!
//! Go goes on after a field of the wrong type and returns an error in the end. Its callers drop the
//! whole document then, so the first error ends the decoding here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use soci_text::clip;

use super::value::{Kind, Value};

/// Go's standard encoding: padded, and with whatever in the bits that no byte uses.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Most elements of one list. Go sets no limit; here it keeps three bytes of text, an empty
/// object, from becoming hundreds of bytes of memory four million times over. The largest images
/// have some hundred layers or platforms.
pub const MAX_ELEMENTS: usize = 65_536;

/// A field that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// Where the field is, for example `layers[3].size`. Empty for the text itself.
    pub(crate) path: String,
    /// What is wrong with it.
    pub(crate) problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Type { expected: &'static str, found: &'static str },
    Number(String),
    TooMany,
    Base64,
}

/// A place that a JSON value is decoded into. Decoding again decodes over what is there.
pub(crate) trait Slot {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError>;
}

impl FieldError {
    /// The same error seen from the container, where the value is called `name`.
    pub(crate) fn inside(self, name: &str) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{name}{joint}{}", self.path), problem: self.problem }
    }
}

/// The members of an object, their keys folded so that equal means equal to Go; nothing for
/// `null`. A folded ASCII key is in upper case.
pub(crate) fn members(
    value: Value<'_>,
) -> Result<impl Iterator<Item = (String, Value<'_>)>, FieldError> {
    let value = match value.kind() {
        Kind::Object => Some(value),
        Kind::Null => None,
        found => return Err(mismatch("object", found)),
    };
    Ok(value.into_iter().flat_map(Value::members).map(|(key, value)| (fold(&key), value)))
}

impl Slot for String {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        match value.kind() {
            Kind::String => *self = value.string().into_owned(),
            Kind::Null => {}
            found => return Err(mismatch("string", found)),
        }
        Ok(())
    }
}

impl Slot for i64 {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        set_integer(self, value)
    }
}

impl Slot for u8 {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        set_integer(self, value)
    }
}

/// A pointer: `null` clears it, anything else decodes over what it points to.
impl<T: Slot + Default> Slot for Option<T> {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        if value.kind() == Kind::Null {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_default().set(value)
    }
}

/// A map: `null` clears it, an object adds to it.
impl Slot for BTreeMap<String, String> {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        match value.kind() {
            Kind::Null => self.clear(),
            Kind::Object => {
                for (key, value) in value.members() {
                    let mut text = String::new();
                    text.set(value).map_err(|error| error.inside(&format!("[{key:?}]")))?;
                    self.insert(key.into_owned(), text);
                }
            }
            found => return Err(mismatch("object", found)),
        }
        Ok(())
    }
}

/// A slice. Go decodes an array over the elements that an earlier value of the same key left in
/// the slice's storage, even behind the slice's present length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots<T> {
    storage: Vec<T>,
    /// Invariant: `None` (a nil slice) or at most `storage.len()`.
    len: Option<usize>,
}

impl<T> Slots<T> {
    /// The elements; `None` if there was no array, or `null` last.
    pub(crate) fn into_vec(mut self) -> Option<Vec<T>> {
        self.storage.truncate(self.len?);
        Some(self.storage)
    }
}

impl<T: Slot + Default> Slots<T> {
    fn set_array(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        let mut len = 0;
        for element in value.elements() {
            if len == MAX_ELEMENTS {
                return Err(wrong(Problem::TooMany));
            }
            if len == self.storage.len() {
                self.storage.push(T::default());
            }
            if let Some(slot) = self.storage.get_mut(len) {
                slot.set(element).map_err(|error| error.inside(&format!("[{len}]")))?;
            }
            len += 1;
        }
        // Go makes a new slice for an empty array, and only then forgets the elements before.
        if len == 0 {
            self.storage.clear();
        }
        self.len = Some(len);
        Ok(())
    }

    fn clear(&mut self) {
        self.storage.clear();
        self.len = None;
    }
}

impl<T: Slot + Default> Slot for Slots<T> {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        match value.kind() {
            Kind::Array => self.set_array(value)?,
            Kind::Null => self.clear(),
            found => return Err(mismatch("array", found)),
        }
        Ok(())
    }
}

/// Bytes: a base64 string or, as for any other slice, an array of numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes(Slots<u8>);

impl Bytes {
    /// The bytes, none for a nil slice.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        self.0.into_vec().unwrap_or_default()
    }
}

impl Slot for Bytes {
    fn set(&mut self, value: Value<'_>) -> Result<(), FieldError> {
        if value.kind() != Kind::String {
            return self.0.set(value);
        }
        // Go's decoder passes over line ends, which the alphabet does not have.
        let text = value.string().replace(['\r', '\n'], "");
        let bytes = BASE64.decode(text).map_err(|_| wrong(Problem::Base64))?;
        self.0 = Slots { len: Some(bytes.len()), storage: bytes };
        Ok(())
    }
}

fn set_integer<T: std::str::FromStr>(slot: &mut T, value: Value<'_>) -> Result<(), FieldError> {
    match value.kind() {
        Kind::Number => {
            let text = value.number();
            *slot = text.parse().map_err(|_| wrong(Problem::Number(clip(text))))?;
        }
        Kind::Null => {}
        found => return Err(mismatch("integer", found)),
    }
    Ok(())
}

/// Maps a key to its form in upper case. Besides the letters only two characters fold to ASCII:
/// the long s and the Kelvin sign.
fn fold(key: &str) -> String {
    key.chars()
        .map(|character| match character {
            '\u{17f}' => 'S',
            '\u{212a}' => 'K',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

fn mismatch(expected: &'static str, found: Kind) -> FieldError {
    wrong(Problem::Type { expected, found: found.name() })
}

fn wrong(problem: Problem) -> FieldError {
    FieldError { path: String::new(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_all<T: Slot + Default>(texts: &[&str]) -> Result<T, FieldError> {
        let mut slot = T::default();
        for text in texts {
            slot.set(Value::parse(text.as_bytes()).unwrap())?;
        }
        Ok(slot)
    }

    fn strings(texts: &[&str]) -> Option<Vec<String>> {
        set_all::<Slots<String>>(texts).unwrap().into_vec()
    }

    #[test]
    fn null_leaves_scalars_and_clears_the_rest() {
        assert_eq!(set_all::<String>(&[r#""a""#, "null"]).unwrap(), "a");
        assert_eq!(set_all::<i64>(&["7", "null"]).unwrap(), 7);
        assert_eq!(set_all::<Option<String>>(&[r#""a""#, "null"]).unwrap(), None);
        assert_eq!(strings(&[r#"["a"]"#, "null"]), None);
        let map = set_all::<BTreeMap<String, String>>(&[r#"{"a":"b"}"#, "null"]).unwrap();
        assert!(map.is_empty());
    }

    #[test]
    fn a_map_merges_and_null_in_it_is_empty() {
        let texts = [r#"{"a":"1","b":"2"}"#, r#"{"b":null,"c":"3","c":"4"}"#];
        let map = set_all::<BTreeMap<String, String>>(&texts).unwrap();
        let pairs: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", ""), ("c", "4")]);
    }

    #[test]
    fn a_nil_slice_is_not_an_empty_one() {
        assert_eq!(strings(&[]), None);
        assert_eq!(strings(&["[]"]), Some(vec![]));
    }

    #[test]
    fn an_array_decodes_over_what_earlier_ones_left() {
        let list = |items: &[&str]| Some(items.iter().map(|&item| item.to_owned()).collect());
        assert_eq!(strings(&[r#"["a","b"]"#, "[null]"]), list(&["a"]));
        assert_eq!(strings(&[r#"["a","b"]"#, r#"["c"]"#, "[null,null]"]), list(&["c", "b"]));
        assert_eq!(strings(&[r#"["a","b"]"#, "[]", "[null,null]"]), list(&["", ""]));
        assert_eq!(strings(&[r#"["a","b"]"#, "null", "[null]"]), list(&[""]));
    }

    #[test]
    fn bytes_are_base64_or_numbers() {
        let bytes = |texts: &[&str]| set_all::<Bytes>(texts).map(Bytes::into_vec);
        assert_eq!(bytes(&[r#""e30=""#]).unwrap(), b"{}");
        assert_eq!(bytes(&[r#""e3\r\n0=\n""#]).unwrap(), b"{}");
        assert_eq!(bytes(&["[123,125]"]).unwrap(), b"{}");
        for bad in [r#""e30""#, r#""e30=e30=""#, r#""e3 0=""#, r#""-_-_""#] {
            assert_eq!(bytes(&[bad]).unwrap_err().problem, Problem::Base64, "{bad}");
        }
        assert!(bytes(&["[256]"]).is_err());
        assert!(bytes(&["[-0]"]).is_err());
    }

    #[test]
    fn integers_are_whole_and_in_range() {
        assert_eq!(set_all::<i64>(&["-9223372036854775808"]).unwrap(), i64::MIN);
        assert_eq!(set_all::<i64>(&["-0"]).unwrap(), 0);
        for bad in ["1.0", "1e3", "9223372036854775808", "\"1\"", "true"] {
            assert!(set_all::<i64>(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_has_a_limit() {
        let list = |len: usize| format!("[{}]", vec!["null"; len].join(","));
        assert_eq!(strings(&[&list(MAX_ELEMENTS)]).unwrap().len(), MAX_ELEMENTS);
        let error = set_all::<Slots<String>>(&[&list(MAX_ELEMENTS + 1)]).unwrap_err();
        assert_eq!(error.problem, Problem::TooMany);
    }

    #[test]
    fn keys_fold_as_go_folds_them() {
        assert_eq!(fold("mediaType"), "MEDIATYPE");
        assert_eq!(fold("\u{17f}ize"), "SIZE");
        assert_eq!(fold("\u{212a}ey"), "KEY");
        assert_eq!(fold("é"), "é");
    }

    #[test]
    fn an_error_tells_where_it_is() {
        let error = set_all::<Slots<BTreeMap<String, String>>>(&[r#"[{},{"a":1}]"#]).unwrap_err();
        assert_eq!(error.path, r#"[1]["a"]"#);
        assert_eq!(error.problem, Problem::Type { expected: "string", found: "number" });
        assert_eq!(error.inside("layers").inside("x").path, r#"x.layers[1]["a"]"#);
    }
}
