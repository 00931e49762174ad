//! PAX extended headers: records, and what they change in a header.
//!
//! Source: POSIX.1-2017 pax, "pax Extended Header"; accepted exactly where Go's `archive/tar`
//! accepts them.
//!
//! All records go into the ztoc, although its schema calls them `xattrs`: sorted by key, the last of
//! equal keys, and those with an empty value too, which change nothing in the header. Whether a
//! record is well-formed is checked when it is read; whether its value is a number only where Go
//! looks at it, after all of them are known. So a broken number that a later record replaces does no harm.

use super::header::Header;
use super::number::{BadNumber, decimal, pax_time};

/// PAX records by key in byte order, as a ztoc lists them; of equal keys the last wins.
///
/// The records of one entry can be a hundred thousand, so they are places in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    text: Vec<u8>,
    /// Sorted by key, each key once.
    places: Vec<RecordPlace>,
}

/// Where key and value are. An extended header is far below 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordPlace {
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
}

impl Records {
    fn part(&self, at: u32, len: u32) -> &[u8] {
        let at = at as usize;
        self.text.get(at..at + len as usize).unwrap_or_default()
    }

    fn key(&self, place: RecordPlace) -> &[u8] {
        self.part(place.key, place.key_len)
    }

    fn value(&self, place: RecordPlace) -> &[u8] {
        self.part(place.value, place.value_len)
    }

    /// The value of a key; empty, as an empty value is, if there is none.
    pub(super) fn get(&self, key: &[u8]) -> &[u8] {
        let found = self.places.binary_search_by(|place| self.key(*place).cmp(key));
        found.map_or(&[], |index| self.value(self.places[index]))
    }

    /// Keys and values in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(|place| (self.key(*place), self.value(*place)))
    }

    /// Sorts what was gathered. Of equal keys the last stays.
    fn sort(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        // Where the key begins tells which record came last.
        places.sort_unstable_by(|one, two| {
            self.key(*one).cmp(self.key(*two)).then(two.key.cmp(&one.key))
        });
        places.dedup_by(|later, first| self.key(*later) == self.key(*first));
        places.shrink_to_fit();
        self.places = places;
    }
}

/// The sparse map of formats 0.0 and 0.1: offsets and lengths joined by commas.
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";
const SPARSE_OFFSET: &[u8] = b"GNU.sparse.offset";
const SPARSE_LENGTH: &[u8] = b"GNU.sparse.numbytes";

/// Why an extended header is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadPax {
    /// A record is not `"%d %s=%s\n"` with the length of the record in front.
    Record,
    /// A NUL where none may be: in a key, or in a path, link path, user or group name.
    Nul,
    /// The pairs of a sparse map of format 0.0 are out of order.
    SparseMap,
    /// A numeric record is no number.
    Number,
}

impl From<BadNumber> for BadPax {
    fn from(_: BadNumber) -> Self {
        Self::Number
    }
}

/// Splits the body of an extended header into records.
pub(super) fn parse(body: &[u8]) -> Result<Records, BadPax> {
    let mut records = Records { text: body.to_vec(), places: Vec::new() };
    let mut sparse_map: Vec<&[u8]> = Vec::new();
    let mut rest = body;
    let place = |part: &[u8], at: usize| {
        (u32::try_from(at).unwrap_or(u32::MAX), u32::try_from(part.len()).unwrap_or(u32::MAX))
    };
    while !rest.is_empty() {
        let (key, value, behind) = record(rest)?;
        // A record ends with its value and a line break, and has an equals sign in front of the value.
        let at = body.len() - behind.len() - 1 - value.len();
        rest = behind;
        match key {
            // The one key whose repetitions all count: a map of format 0.0 is pairs of records.
            SPARSE_OFFSET | SPARSE_LENGTH => {
                let expected =
                    if sparse_map.len().is_multiple_of(2) { SPARSE_OFFSET } else { SPARSE_LENGTH };
                if key != expected || value.contains(&b',') {
                    return Err(BadPax::SparseMap);
                }
                sparse_map.push(value);
            }
            _ => {
                let (value, value_len) = place(value, at);
                let (key, key_len) = place(key, at - 1 - key.len());
                records.places.push(RecordPlace { key, key_len, value, value_len });
            }
        }
    }
    if !sparse_map.is_empty() {
        // Format 0.0 becomes 0.1, which has the whole map in one record.
        let at = records.text.len();
        let map = sparse_map.join(&b',');
        let (key, key_len) = place(SPARSE_MAP, at);
        let (value, value_len) = place(&map, at + SPARSE_MAP.len());
        records.places.push(RecordPlace { key, key_len, value, value_len });
        records.text.extend_from_slice(SPARSE_MAP);
        records.text.extend_from_slice(&map);
    }
    records.sort();
    Ok(records)
}

/// Key, value and the rest.
type Split<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The first record of `body`.
fn record(body: &[u8]) -> Result<Split<'_>, BadPax> {
    let space = body.iter().position(|c| *c == b' ').ok_or(BadPax::Record)?;
    let length = decimal(&body[..space]).map_err(|_| BadPax::Record)?;
    let length = usize::try_from(length).map_err(|_| BadPax::Record)?;
    // The shortest record is "5 a=\n"; the length counts itself.
    if length < 5 || length > body.len() || length <= space + 1 {
        return Err(BadPax::Record);
    }
    let (record, rest) = body.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(BadPax::Record)?;
    let equals = record.iter().position(|c| *c == b'=').ok_or(BadPax::Record)?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() {
        return Err(BadPax::Record);
    }
    // These four become strings of the file system, which end at a NUL. Everything else may hold one:
    // extended attributes do.
    let text = match key {
        b"path" | b"linkpath" | b"uname" | b"gname" => value,
        _ => key,
    };
    if text.contains(&0) { Err(BadPax::Nul) } else { Ok((key, value, rest)) }
}

/// Lets the records override the header's fields; an empty value keeps the header's.
pub(super) fn apply(records: &Records, header: &mut Header) -> Result<(), BadPax> {
    for (key, value) in records.iter().filter(|(_, value)| !value.is_empty()) {
        match key {
            b"path" => header.name = value.to_vec(),
            b"linkpath" => header.linkname = value.to_vec(),
            b"uname" => header.uname = value.to_vec(),
            b"gname" => header.gname = value.to_vec(),
            b"uid" => header.uid = decimal(value)?,
            b"gid" => header.gid = decimal(value)?,
            b"size" => header.size = decimal(value)?,
            b"mtime" => header.mtime = pax_time(value)?,
            // Not kept, but a broken one fails the header.
            b"atime" | b"ctime" => {
                pax_time(value)?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &[u8]) -> Result<Vec<(String, String)>, BadPax> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(parse(body)?.iter().map(|(key, value)| (text(key), text(value))).collect())
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_keys_are_sorted() {
        let found = records(b"6 b=1\n6 a=2\n6 b=3\n").unwrap();
        assert_eq!(found, [("a".into(), "2".into()), ("b".into(), "3".into())]);
    }

    #[test]
    fn a_record_must_be_as_long_as_it_says() {
        for broken in [
            &b"5 a=1\n"[..],
            b"7 a=1\n",
            b"6 a=1 ",
            b"6a=1\n",
            b"4 =\n",
            b"5 =1\n",
            b"6 aaa\n",
            b"99999999999999999999 a=1\n",
            b"-6 a=1\n",
        ] {
            assert_eq!(records(broken), Err(BadPax::Record), "{}", broken.escape_ascii());
        }
        assert_eq!(records(b"+6 a=\n").unwrap(), [("a".into(), String::new())]);
    }

    #[test]
    fn nul_is_refused_in_keys_and_in_names_only() {
        assert_eq!(records(b"11 path=\0a\n"), Err(BadPax::Nul));
        assert_eq!(records(b"7 \0b=1\n"), Err(BadPax::Nul));
        assert!(records(b"7 a=\x001\n").is_ok());
    }

    #[test]
    fn a_sparse_map_in_pairs_is_joined() {
        let found =
            records(b"23 GNU.sparse.offset=1\n25 GNU.sparse.numbytes=2\n23 GNU.sparse.offset=3\n");
        assert_eq!(found.unwrap(), [("GNU.sparse.map".into(), "1,2,3".into())]);
        assert_eq!(records(b"25 GNU.sparse.numbytes=2\n"), Err(BadPax::SparseMap));
    }
}
