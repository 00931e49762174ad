//! Where the files of a tar archive are, and headers of new ones. Nothing of an archive is unpacked: its files are read
//! where they lie.
//!
//! Read are ustar, GNU and PAX archives (POSIX.1-2001, "pax Interchange Format"; GNU tar, "Basic Tar Format") of regular
//! files, directories and links, which is what `skopeo`, `podman save`, `docker save`, Jib and `tar` make of images.
//! Written are plain ustar headers, with a PAX header in front of what does not fit into one.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};

/// Size of a header, and what everything in an archive is padded to.
pub(super) const BLOCK: u64 = 512;

/// A block in memory.
pub(super) type Block = [u8; 512];

/// Most entries that are looked at.
const MAX_ENTRIES: usize = 1 << 16;

/// Most bytes of a PAX header or a long name.
const MAX_EXTENSION: u64 = 1 << 20;

/// Most links that lead to each other.
const MAX_LINKS: usize = 8;

/// What does not fit into the eleven octal digits of a size any more.
const MOST_OCTAL: u64 = 0o77_777_777_777;

/// How compressed files begin, and what of it says so.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gzip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
];

/// A part of a file: the content of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// How the bytes of a compressed file say that they are.
pub(super) fn compression(start: &[u8]) -> Option<&'static str> {
    COMPRESSED.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

/// The regular files of an archive by their names without `./`, links resolved. Of several entries with one name the
/// last counts, file or link, as it does when the archive is unpacked: a hard link is what its target is at that point, and
/// a symbolic link what its target is in the end.
pub(super) fn files(archive: &mut (impl Read + Seek)) -> io::Result<HashMap<String, Extent>> {
    let length = archive.seek(SeekFrom::End(0))?;
    let mut files = HashMap::new();
    let mut links = HashMap::new();
    let mut next = Extension::default();
    let mut at = 0;
    let mut header: Block = [0; 512];
    let mut entries = 0;
    while at + BLOCK <= length {
        archive.seek(SeekFrom::Start(at))?;
        archive.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        if !is_header(&header) {
            return Err(broken(match compression(&header) {
                Some(name) if at == 0 => {
                    format!("it is compressed with {name}: decompress it first")
                }
                _ => format!("it is no tar archive, or broken at offset {at}"),
            }));
        }
        entries += 1;
        if entries > MAX_ENTRIES {
            return Err(broken(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let stated =
            number(&header[124..136]).ok_or_else(|| broken("a size is no number".into()))?;
        let offset = at + BLOCK;
        let kind = header[156];
        let extended = matches!(kind, b'x' | b'L' | b'K' | b'g');
        let size = if extended { stated } else { next.size.unwrap_or(stated) };
        // Only regular files have content, whatever links and directories state.
        let content = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let end = offset.checked_add(content).filter(|end| *end <= length);
        let end = end
            .ok_or_else(|| broken(format!("it is cut short: {length} bytes are not all of it")))?;
        at = end.next_multiple_of(BLOCK);
        if extended {
            if kind != b'g' {
                next.read(kind, archive, size)?;
            }
            continue;
        }
        let Extension { path, link, .. } = std::mem::take(&mut next);
        let name = tidy("", &path.unwrap_or_else(|| name(&header)));
        match kind {
            b'0' | b'7' | 0 => {
                links.remove(&name);
                files.insert(name, Extent { offset, size });
            }
            b'1' => {
                let to = tidy("", &link.unwrap_or_else(|| text(&header[157..257])));
                // One to itself changes nothing.
                if to != name {
                    links.remove(&name);
                    files.remove(&name);
                    if let Some(extent) = files.get(&to).copied() {
                        files.insert(name, extent);
                    } else {
                        let to = links.get(&to).cloned().unwrap_or(to);
                        links.insert(name, to);
                    }
                }
            }
            b'2' => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let to = tidy(folder, &link.unwrap_or_else(|| text(&header[157..257])));
                files.remove(&name);
                links.insert(name, to);
            }
            _ => {}
        }
    }
    if entries == 0 {
        return Err(broken("it is empty, or no tar archive".to_owned()));
    }
    for (name, to) in &links {
        let mut to = to;
        for _ in 0..MAX_LINKS {
            match links.get(to) {
                Some(further) => to = further,
                None => break,
            }
        }
        if let Some(place) = files.get(to).copied() {
            files.entry(name.clone()).or_insert(place);
        }
    }
    Ok(files)
}

/// What stands in front of an entry for it.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Extension {
    fn read(&mut self, kind: u8, archive: &mut impl Read, size: u64) -> io::Result<()> {
        if size > MAX_EXTENSION {
            return Err(broken(format!("an extended header has {size} bytes")));
        }
        let mut bytes = Vec::new();
        archive.take(size).read_to_end(&mut bytes)?;
        match kind {
            b'L' => self.path = Some(text(&bytes)),
            b'K' => self.link = Some(text(&bytes)),
            _ => {
                let mut rest = &bytes[..];
                while let Some((key, value, behind)) = record(rest) {
                    let value = String::from_utf8_lossy(value).into_owned();
                    match key {
                        b"path" => self.path = Some(value),
                        b"linkpath" => self.link = Some(value),
                        b"size" => self.size = value.parse().ok(),
                        _ => {}
                    }
                    rest = behind;
                }
            }
        }
        Ok(())
    }
}

/// The first record of a PAX header, `LENGTH KEY=VALUE\n`, and what comes behind it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// Whether a header's checksum is right: the sum of its bytes, those of the checksum itself taken for spaces.
fn is_header(header: &Block) -> bool {
    number(&header[148..156]) == Some(checksum(header))
}

fn checksum(header: &Block) -> u64 {
    let bytes = header.iter().enumerate();
    bytes.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum()
}

/// A number in octal digits, or in GNU's base 256.
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let (high, low) = rest.split_at(rest.len().saturating_sub(8));
        let fits = *first == 0x80 && high.iter().all(|byte| *byte == 0);
        return fits.then(|| low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let digits = text(field);
    let digits = digits.trim();
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// A header's name; that of a POSIX header has its beginning in a field of its own.
fn name(header: &Block) -> String {
    let name = text(&header[..100]);
    let prefix = text(&header[345..500]);
    if &header[257..263] != b"ustar\0" || prefix.is_empty() {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// A field up to its first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// A path as seen from the archive's root, without `.` and `..`.
fn tidy(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let folder = if path.starts_with('/') { "" } else { folder };
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn broken(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// What stands in front of the content of a regular file.
pub(super) fn header(name: &str, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let short = if name.len() <= 100 { name } else { "long" };
    if name.len() > 100 {
        records.extend(pax_record("path", name));
    }
    if size > MOST_OCTAL {
        records.extend(pax_record("size", &size.to_string()));
    }
    with_pax(records, &ustar(short, "", size.min(MOST_OCTAL), b'0'))
}

/// A symbolic link to another file of the archive. Others read those more often than hard links.
pub(super) fn link(name: &str, to: &str) -> Vec<u8> {
    let up = "../".repeat(name.matches('/').count());
    let to = format!("{up}{to}");
    let mut records = Vec::new();
    let (mut short_name, mut short_to) = (name, to.as_str());
    if name.len() > 100 {
        records.extend(pax_record("path", name));
        short_name = "long";
    }
    if to.len() > 100 {
        records.extend(pax_record("linkpath", &to));
        short_to = "long";
    }
    with_pax(records, &ustar(short_name, short_to, 0, b'2'))
}

/// A header behind the PAX header that it needs, if any.
fn with_pax(mut records: Vec<u8>, header: &Block) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !records.is_empty() {
        bytes.extend(ustar("pax", "", records.len() as u64, b'x'));
        bytes.append(&mut records);
        bytes.resize(bytes.len().next_multiple_of(size_of::<Block>()), 0);
    }
    bytes.extend(header);
    bytes
}

/// A record, whose length counts its own digits as well.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    while bare + length.to_string().len() != length {
        length += 1;
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn ustar(name: &str, link: &str, size: u64, kind: u8) -> Block {
    let mut header: Block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum = checksum(&header);
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tar::EntryType::{Directory, Link, Regular, Symlink};

    use super::*;

    fn padded(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn read(archive: &[u8]) -> HashMap<String, Vec<u8>> {
        let found = files(&mut Cursor::new(archive)).unwrap();
        let place = |number: u64| usize::try_from(number).unwrap();
        let content = |at: Extent| archive[place(at.offset)..][..place(at.size)].to_vec();
        found.into_iter().map(|(name, at)| (name, content(at))).collect()
    }

    #[test]
    fn what_is_written_is_read_again_by_this_and_by_others() {
        let long = format!("blobs/sha512/{}", "a".repeat(128));
        let mut archive = Vec::new();
        for (name, content) in [("oci-layout", &b"{}"[..]), (&long, b"long"), ("empty", b"")] {
            archive.extend(header(name, content.len() as u64));
            archive.extend(padded(content));
        }
        archive.extend([0; 1024]);
        let found = read(&archive);
        assert_eq!(found[&long], b"long");
        assert_eq!((&found["oci-layout"][..], &found["empty"][..]), (&b"{}"[..], &b""[..]));
        let mut others = tar::Archive::new(&archive[..]);
        let names: Vec<String> = others
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["oci-layout", &long, "empty"]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_in_a_pax_header() {
        let size = 9 << 30;
        let header = header("a", size);
        assert_eq!(header.len(), 1536);
        let (key, value, _) = record(&header[512..]).unwrap();
        assert_eq!((key, value), (&b"size"[..], size.to_string().as_bytes()));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\x40\0\0\0"), Some(9 << 30));
        assert_eq!(number(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
    }

    /// Adds an entry; of a link `content` is the target.
    fn add(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, content: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        if matches!(kind, Link | Symlink) {
            header.set_size(0);
            builder.append_link(&mut header, name, content).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
    }

    #[test]
    fn archives_of_other_programs_are_read_with_their_links() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |kind, name: &str, content: &str| add(&mut builder, kind, name, content);
        let deep = format!("{}/layer.tar", "b".repeat(120));
        add(Directory, "a/", "");
        add(Regular, "./a/layer.tar", "layer");
        add(Symlink, "c/layer.tar", "../a/layer.tar");
        add(Link, &deep, "c/layer.tar");
        add(Symlink, "loop", "loop");
        add(Regular, "twice", "1");
        add(Regular, "twice", "2");
        let found = read(&builder.into_inner().unwrap());
        for name in ["a/layer.tar", "c/layer.tar", &deep] {
            assert_eq!(found[name], b"layer", "{name}");
        }
        assert_eq!(found["twice"], b"2");
        assert!(!found.contains_key("loop") && found.len() == 4, "{:?}", found.keys());
    }

    #[test]
    fn of_files_and_links_with_one_name_the_last_counts() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |kind, name: &str, content: &str| add(&mut builder, kind, name, content);
        add(Regular, "a", "first");
        add(Link, "kept", "a");
        add(Symlink, "follows", "a");
        add(Regular, "a", "second");
        add(Regular, "to-symlink", "file");
        add(Symlink, "to-symlink", "a");
        add(Regular, "to-link", "file");
        add(Link, "to-link", "kept");
        add(Symlink, "to-file", "a");
        add(Regular, "to-file", "file");
        add(Link, "a", "a");
        add(Regular, "to-nothing", "file");
        add(Symlink, "to-nothing", "absent");
        let found = read(&builder.into_inner().unwrap());
        let mut found: Vec<(&str, &str)> = found
            .iter()
            .map(|(name, bytes)| (name.as_str(), std::str::from_utf8(bytes).unwrap()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("a", "second"),
            ("follows", "second"),
            ("kept", "first"),
            ("to-file", "file"),
            ("to-link", "first"),
            ("to-symlink", "second"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn links_that_are_written_are_read_again_by_this_and_by_others() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        let mut archive = header(&long, 4);
        archive.extend(padded(b"long"));
        archive.extend(link("a/b/short", &long));
        archive.extend(link(&format!("{long}.link"), &long));
        archive.extend([0; 1024]);
        let found = read(&archive);
        assert_eq!((found.len(), &found["a/b/short"][..]), (3, &b"long"[..]));
        let mut others = tar::Archive::new(&archive[..]);
        let links: Vec<String> = others
            .entries()
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().link_name().unwrap()?.display().to_string()))
            .collect();
        assert_eq!(links, [format!("../../{long}"), format!("../{long}")]);
    }

    #[test]
    fn what_is_no_archive_says_what_it_is() {
        let mut cut = header("a", 1000);
        cut.extend([1; 512]);
        for (bytes, words) in [
            (vec![], "empty"),
            (vec![0; 1024], "empty"),
            (vec![b'x'; 1024], "no tar archive"),
            ([&[0x1f, 0x8b][..], &[7; 1000]].concat(), "gzip: decompress it"),
            (cut, "cut short"),
        ] {
            let error = files(&mut Cursor::new(bytes)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
