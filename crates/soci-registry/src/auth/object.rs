//! JSON objects as docker reads them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` written as a JSON object. `null` is the default, as for Go's `encoding/json`, which docker
/// reads its configuration with; an array, which serde would take field by field, is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Default + Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Map = Object<BTreeMap<String, u32>>;

    #[test]
    fn an_object_is_itself_and_null_is_the_default() {
        let read = |json| serde_json::from_str::<Map>(json).unwrap().0;
        assert_eq!(read(r#"{"a":1}"#), BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(read("null"), BTreeMap::new());
    }

    #[test]
    fn an_array_or_a_number_is_an_error() {
        for bad in ["[]", "1", "\"\"", "true"] {
            let error = serde_json::from_str::<Map>(bad).unwrap_err().to_string();
            assert!(error.contains("expected an object or null"), "{error}");
        }
    }
}
