//! GNU sparse files in PAX form, of which only the checks and the lengths matter here: a ztoc
//! records where the data begins and how long the file is logically.
//!
//! Source: GNU tar manual, "Storing Sparse Files", formats 0.0, 0.1 and 1.0.
//!
//! Go reads the map of a sparse file and fails the archive where it makes no sense, so it is read
//! here too, and forgotten. A ztoc cannot hold it: what it lists of such a file is its logical size
//! and where its data begins, from which nobody can put the file together. Extracting one is
//! therefore refused.
//!
//! Formats 0.0 and 0.1 have the map in records, 1.0 has it in blocks in front of the data. Which one
//! an entry uses follows from `GNU.sparse.major` and `minor`; other numbers make it an ordinary file.

use super::header::BLOCK_SIZE;
use super::number::decimal;
use super::pax::{Records, SPARSE_MAP};

/// Go's bound on extended headers and sparse maps in bytes (`maxSpecialFileSize`).
pub(super) const MAX_SPECIAL_SIZE: usize = 1 << 20;

/// A sparse map is malformed or does not fit its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadSparse;

/// Where the sparse map of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the PAX records (0.0 and 0.1).
    Records,
    /// In blocks in front of the data (1.0).
    Data,
}

/// Tells a sparse entry by its PAX records; versions nobody defined are ordinary files.
pub(super) fn place(records: &Records) -> Option<Place> {
    place_by(|key| records.get(key))
}

/// The same, given what tells the value of a record, which is empty if there is none.
pub(super) fn place_by<'a>(get: impl Fn(&[u8]) -> &'a [u8]) -> Option<Place> {
    match (get(b"GNU.sparse.major"), get(b"GNU.sparse.minor")) {
        (b"0", b"0" | b"1") => Some(Place::Records),
        (b"1", b"0") => Some(Place::Data),
        (b"", b"") if !get(SPARSE_MAP).is_empty() => Some(Place::Records),
        _ => None,
    }
}

/// The name that the records give a sparse file.
pub(super) fn name(records: &Records) -> Option<&[u8]> {
    Some(records.get(b"GNU.sparse.name")).filter(|name| !name.is_empty())
}

/// The logical size that the records give a sparse file.
pub(super) fn size(records: &Records) -> Result<Option<i64>, BadSparse> {
    let get = |key: &[u8]| Some(records.get(key)).filter(|value| !value.is_empty());
    get(b"GNU.sparse.size")
        .or_else(|| get(b"GNU.sparse.realsize"))
        .map(|size| decimal(size).map_err(|_| BadSparse))
        .transpose()
}

/// Checks the map of formats 0.0 and 0.1 against the logical size of the file.
pub(super) fn check_records(records: &Records, size: i64) -> Result<(), BadSparse> {
    let entries = count(records.get(b"GNU.sparse.numblocks"))?;
    let map = records.get(SPARSE_MAP);
    let mut regions = Regions::new(size)?;
    let mut numbers = 0usize;
    if !map.is_empty() {
        for number in map.split(|c| *c == b',') {
            regions.push(decimal(number).map_err(|_| BadSparse)?)?;
            numbers += 1;
        }
    }
    if numbers == entries.checked_mul(2).ok_or(BadSparse)? { Ok(()) } else { Err(BadSparse) }
}

fn count(text: &[u8]) -> Result<usize, BadSparse> {
    // Go rejects counts whose double overflows a native int.
    let count = decimal(text).map_err(|_| BadSparse)?;
    if !(0..=i64::MAX / 2).contains(&count) {
        return Err(BadSparse);
    }
    usize::try_from(count).map_err(|_| BadSparse)
}

/// Data regions in the order they come, checked as BSD tar checks them: inside the file, in
/// order, not overlapping.
#[derive(Debug)]
struct Regions {
    size: i64,
    end: i64,
    offset: Option<i64>,
}

impl Regions {
    fn new(size: i64) -> Result<Self, BadSparse> {
        if size < 0 { Err(BadSparse) } else { Ok(Self { size, end: 0, offset: None }) }
    }

    /// Takes offsets and lengths in turn.
    fn push(&mut self, number: i64) -> Result<(), BadSparse> {
        if number < 0 {
            return Err(BadSparse);
        }
        let Some(offset) = self.offset.take() else {
            self.offset = Some(number);
            return Ok(());
        };
        let end = offset.checked_add(number).ok_or(BadSparse)?;
        // Empty regions are fine, also at the very end, where many writers put one.
        if end > self.size || self.end > offset {
            return Err(BadSparse);
        }
        self.end = end;
        Ok(())
    }
}

/// Reads the map of format 1.0 from the blocks in front of the data: decimal lines, first the
/// number of regions, then two lines each. Stops at the block that holds the last line.
#[derive(Debug)]
pub(super) struct MapReader {
    regions: Regions,
    /// Lines still to come, once the first has told.
    lines: Option<usize>,
    /// The unfinished line at the end of the last block.
    line: Vec<u8>,
    blocks: usize,
}

impl MapReader {
    pub(super) fn new(size: i64) -> Result<Self, BadSparse> {
        Ok(Self { regions: Regions::new(size)?, lines: None, line: Vec::new(), blocks: 0 })
    }

    /// Takes the next block; true when the map is complete.
    pub(super) fn push(&mut self, block: &[u8; BLOCK_SIZE]) -> Result<bool, BadSparse> {
        self.blocks += 1;
        if self.blocks * BLOCK_SIZE > MAX_SPECIAL_SIZE {
            return Err(BadSparse);
        }
        for c in block {
            if self.lines == Some(0) {
                break;
            }
            if *c == b'\n' {
                self.end_line()?;
            } else {
                self.line.push(*c);
            }
        }
        Ok(self.lines == Some(0))
    }

    fn end_line(&mut self) -> Result<(), BadSparse> {
        match &mut self.lines {
            None => self.lines = Some(count(&self.line)?.checked_mul(2).ok_or(BadSparse)?),
            Some(lines) => {
                *lines -= 1;
                self.regions.push(decimal(&self.line).map_err(|_| BadSparse)?)?;
            }
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> [u8; BLOCK_SIZE] {
        let mut block = [0; BLOCK_SIZE];
        block[..text.len()].copy_from_slice(text.as_bytes());
        block
    }

    #[test]
    fn a_map_in_the_data_ends_with_its_last_line() {
        let mut map = MapReader::new(100).unwrap();
        assert_eq!(map.push(&block("2\n0\n10\n90\n10\n")), Ok(true));
        let mut map = MapReader::new(100).unwrap();
        let mut first = [b'0'; BLOCK_SIZE];
        first[..4].copy_from_slice(b"1\n10");
        first[1] = b'\n';
        first[2..].fill(b'0');
        assert_eq!(map.push(&first), Ok(false), "a line may cross blocks");
        assert_eq!(map.push(&block("7\n3\n")), Ok(true));
        let mut map = MapReader::new(100).unwrap();
        assert_eq!(map.push(&block("0\n")), Ok(true));
    }

    #[test]
    fn regions_must_lie_in_order_inside_the_file() {
        for broken in ["1\n91\n10\n", "2\n0\n10\n5\n1\n", "1\n-1\n1\n", "-1\n", "x\n"] {
            assert_eq!(
                MapReader::new(100).unwrap().push(&block(broken)),
                Err(BadSparse),
                "{broken}"
            );
        }
        assert!(MapReader::new(-1).is_err());
    }

    #[test]
    fn a_map_never_ends_beyond_one_mebibyte() {
        let mut map = MapReader::new(100).unwrap();
        let blocks = MAX_SPECIAL_SIZE / BLOCK_SIZE;
        for _ in 0..blocks {
            assert_eq!(map.push(&[b'1'; BLOCK_SIZE]), Ok(false));
        }
        assert_eq!(map.push(&block("\n")), Err(BadSparse));
    }
}
