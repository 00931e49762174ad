//! The files that an image shows: its layers' tables of contents, one upon the other.
//!
//! Source: OCI image specification 1.1, image layer filesystem changeset, for whiteouts and what replaces what.

use std::collections::BTreeMap;

/// Begins the name of a file that a layer removes from those below.
const WHITEOUT: &[u8] = b".wh.";

/// Removes all of a folder that is below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Most symbolic links on one way, as in Linux.
const MAX_LINKS: usize = 40;

/// Longest path that is followed, as in Linux.
const MAX_PATH: usize = 4096;

/// Bytes that a file takes in a tree beside its name and its link.
const NODE_BYTES: usize = 128;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which layer of the image, from the base, from 0.
    pub layer: usize,
    /// Which entry of its table of contents, from 0.
    pub entry: usize,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A file with data.
    File {
        /// Its bytes.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link, to this.
    Symlink(&'a [u8]),
    /// Another name of the file at this path in the same layer.
    HardLink(&'a [u8]),
    /// Something that no program is made of.
    Other,
}

/// An entry of a layer's table of contents.
#[derive(Clone, Copy, Debug)]
pub struct TreeEntry<'a> {
    /// Its name as it stands there.
    pub name: &'a [u8],
    /// Which it is, from 0.
    pub entry: usize,
    /// What it is.
    pub kind: EntryKind<'a>,
}

/// The tree needs more memory than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the names of the image's files take more than {limit} bytes")]
pub struct TreeTooLarge {
    /// What it may have, in bytes.
    pub limit: usize,
}

/// The files that an image shows.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: BTreeMap<Box<[u8]>, Node>,
    bytes: usize,
    limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File { place: Place, size: u64 },
    Folder,
    Symlink(Box<[u8]>),
    Other,
}

impl Tree {
    /// An empty tree that may take so many bytes of memory.
    pub fn new(limit: usize) -> Self {
        Self { nodes: BTreeMap::new(), bytes: 0, limit }
    }

    /// Puts a layer upon those that are there. `entries` gives its table of contents, and is asked twice.
    pub fn add_layer<'a, I: Iterator<Item = TreeEntry<'a>>>(
        &mut self,
        layer: usize,
        entries: impl Fn() -> I,
    ) -> Result<(), TreeTooLarge> {
        // Whiteouts are for what is below, wherever they stand in the layer.
        for entry in entries() {
            let path = clean(entry.name);
            let (folder, name) = split(&path);
            if name == OPAQUE {
                self.remove_below(folder);
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let path = join(folder, name);
                self.remove_below(&path);
                self.remove(&path);
            }
        }
        for entry in entries() {
            let path = clean(entry.name);
            if split(&path).1.starts_with(WHITEOUT) || path.is_empty() {
                continue;
            }
            let node = match entry.kind {
                EntryKind::File { size } => {
                    Node::File { place: Place { layer, entry: entry.entry }, size }
                }
                EntryKind::Folder => Node::Folder,
                EntryKind::Symlink(target) => Node::Symlink(target.into()),
                EntryKind::HardLink(target) => {
                    self.nodes.get(&clean(target)[..]).cloned().unwrap_or(Node::Other)
                }
                EntryKind::Other => Node::Other,
            };
            if node != Node::Folder {
                self.remove_below(&path);
            }
            self.insert(path, node)?;
        }
        Ok(())
    }

    /// The file that a program in folder `from` gets to see at `path`, links followed, with its own path.
    pub fn file(&self, from: &str, path: &str) -> Option<(String, Place, u64)> {
        let path = self.resolve(from.as_bytes(), path.as_bytes())?;
        match self.nodes.get(&path[..]) {
            Some(Node::File { place, size }) => {
                Some((format!("/{}", String::from_utf8_lossy(&path)), *place, *size))
            }
            _ => None,
        }
    }

    /// The paths of what lies in a folder, in order, at most `most`; and how many files were looked at for it, at most
    /// `looks`.
    pub fn children(&self, folder: &str, most: usize, looks: usize) -> (Vec<String>, usize) {
        let Some(folder) = self.resolve(b"", folder.as_bytes()) else { return (Vec::new(), 0) };
        let depth = if folder.is_empty() { 0 } else { folder.len() + 1 };
        let (mut children, mut looked) = (Vec::new(), 0);
        for path in self.below(&folder).take(looks) {
            if children.len() >= most {
                break;
            }
            looked += 1;
            if !path[depth..].contains(&b'/') {
                children.push(format!("/{}", String::from_utf8_lossy(path)));
            }
        }
        (children, looked)
    }

    /// Follows symbolic links, the last component's too. The path may lead nowhere.
    fn resolve(&self, from: &[u8], path: &[u8]) -> Option<Vec<u8>> {
        if path.len() > MAX_PATH || from.len() > MAX_PATH {
            return None;
        }
        let start = if path.starts_with(b"/") { &b""[..] } else { from };
        let mut links = 0;
        let mut at: Vec<u8> = Vec::new();
        let mut ahead: Vec<Box<[u8]>> = Vec::new();
        for part in [path, start] {
            ahead.extend(part.rsplit(|byte| *byte == b'/').map(Into::into));
        }
        while let Some(part) = ahead.pop() {
            match &part[..] {
                b"" | b"." => {}
                b".." => at.truncate(split(&at).0.len()),
                part => {
                    let parent = at.len();
                    if parent > 0 {
                        at.push(b'/');
                    }
                    at.extend_from_slice(part);
                    if at.len() > MAX_PATH {
                        return None;
                    }
                    if let Some(Node::Symlink(target)) = self.nodes.get(&at[..]) {
                        links += 1;
                        if links > MAX_LINKS || target.len() > MAX_PATH {
                            return None;
                        }
                        at.truncate(if target.starts_with(b"/") { 0 } else { parent });
                        ahead.extend(target.rsplit(|byte| *byte == b'/').map(Into::into));
                    }
                }
            }
        }
        Some(at)
    }

    fn insert(&mut self, path: Vec<u8>, node: Node) -> Result<(), TreeTooLarge> {
        self.remove(&path);
        self.bytes += cost(&path, &node);
        if self.bytes > self.limit {
            return Err(TreeTooLarge { limit: self.limit });
        }
        self.nodes.insert(path.into(), node);
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) {
        if let Some(node) = self.nodes.remove(path) {
            self.bytes -= cost(path, &node);
        }
    }

    fn remove_below(&mut self, folder: &[u8]) {
        let paths: Vec<Box<[u8]>> = self.below(folder).cloned().collect();
        for path in paths {
            self.remove(&path);
        }
    }

    fn below<'a>(&'a self, folder: &[u8]) -> impl Iterator<Item = &'a Box<[u8]>> + use<'a> {
        let mut first = folder.to_vec();
        if !first.is_empty() {
            first.push(b'/');
        }
        let prefix = first.clone();
        let from: Box<[u8]> = first.into();
        let paths = self.nodes.range(from..).map(|(path, _)| path);
        paths.take_while(move |path| path.starts_with(&prefix))
    }
}

fn cost(path: &[u8], node: &Node) -> usize {
    let link = if let Node::Symlink(target) = node { target.len() } else { 0 };
    NODE_BYTES + path.len() + link
}

/// A name of an archive as a path from the root, without a slash at its ends.
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// A path's folder and its last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn tree(layers: &[&[(&str, EntryKind<'_>)]]) -> Tree {
        let mut tree = Tree::new(1 << 20);
        for (number, layer) in layers.iter().enumerate() {
            let entries = || {
                layer.iter().enumerate().map(|(entry, (name, kind))| TreeEntry {
                    name: name.as_bytes(),
                    entry,
                    kind: *kind,
                })
            };
            tree.add_layer(number, entries).unwrap();
        }
        tree
    }

    const FILE: EntryKind<'_> = EntryKind::File { size: 7 };

    fn place(tree: &Tree, path: &str) -> Option<(usize, usize)> {
        tree.file("/", path).map(|(_, place, _)| (place.layer, place.entry))
    }

    #[test]
    fn a_later_layer_replaces_and_removes() {
        let tree = tree(&[
            &[
                ("a/x", FILE),
                ("a/y", FILE),
                ("b/z", FILE),
                ("c", FILE),
                ("d/e/f", FILE),
                ("dd", FILE),
            ],
            &[
                ("./a/x", FILE),
                ("/a/.wh.y", FILE),
                ("b/.wh..wh..opq", FILE),
                ("b/new", FILE),
                ("d", FILE),
            ],
            &[(".wh.c", FILE), ("d/", EntryKind::Folder)],
        ]);
        assert_eq!(place(&tree, "a/x"), Some((1, 0)));
        assert_eq!(place(&tree, "a/y"), None);
        assert_eq!(place(&tree, "b/z"), None);
        assert_eq!(place(&tree, "b/new"), Some((1, 3)));
        assert_eq!(place(&tree, "c"), None);
        assert_eq!(place(&tree, "d/e/f"), None);
        assert_eq!(place(&tree, "d"), None);
        assert_eq!(place(&tree, "dd"), Some((0, 5)));
        assert_eq!(tree.children("/b", 9, 9).0, ["/b/new"]);
    }

    #[test]
    fn links_are_followed() {
        let tree = tree(&[&[
            ("usr/bin/app", FILE),
            ("bin", EntryKind::Symlink(b"usr/bin")),
            ("usr/bin/sh", EntryKind::Symlink(b"../../bin/app")),
            ("opt/run", EntryKind::Symlink(b"/bin/sh")),
            ("usr/bin/hard", EntryKind::HardLink(b"./usr/bin/app")),
            ("loop", EntryKind::Symlink(b"loop")),
            ("dangling", EntryKind::Symlink(b"nowhere")),
        ]]);
        for path in ["/bin/app", "usr/bin/sh", "/opt/run", "/usr/bin/hard", "/bin/../bin/./app"] {
            let (found, place, size) = tree.file("/", path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((place, size), (Place { layer: 0, entry: 0 }, 7), "{path}");
            assert!(found == "/usr/bin/app" || found == "/usr/bin/hard", "{found}");
        }
        assert_eq!(
            tree.file("/usr/bin", "app").map(|(path, ..)| path).as_deref(),
            Some("/usr/bin/app")
        );
        assert_eq!(place(&tree, "loop"), None);
        assert_eq!(place(&tree, "dangling"), None);
        assert_eq!(place(&tree, "usr/bin"), None);
    }

    #[test]
    fn memory_is_limited_and_given_back() {
        let mut tree = Tree::new(2 * NODE_BYTES + 2);
        let file =
            |name: &'static [u8]| move || std::iter::once(TreeEntry { name, entry: 0, kind: FILE });
        for _ in 0..5 {
            tree.add_layer(0, file(b"a")).unwrap();
            tree.add_layer(1, file(b"b")).unwrap();
            tree.add_layer(2, file(b".wh.b")).unwrap();
        }
        tree.add_layer(3, file(b"b")).unwrap();
        assert!(tree.add_layer(4, file(b"c")).is_err());
    }

    proptest! {
        #[test]
        fn no_names_make_it_panic(
            names in proptest::collection::vec("[a./wh]{0,12}", 0..20),
            links in proptest::collection::vec("[a./]{0,8}", 0..8),
            path in "[a./]{0,12}",
        ) {
            let mut tree = Tree::new(10_000);
            for layer in 0..3 {
                let entries = || names.iter().enumerate().map(|(entry, name)| TreeEntry {
                    name: name.as_bytes(),
                    entry,
                    kind: match links.get((entry + layer) % (links.len() + 3)) {
                        Some(link) if entry % 2 == 0 => EntryKind::Symlink(link.as_bytes()),
                        Some(link) => EntryKind::HardLink(link.as_bytes()),
                        None => FILE,
                    },
                });
                if tree.add_layer(layer, entries).is_err() {
                    break;
                }
            }
            let _ = tree.file("a", &path);
            let _ = tree.children(&path, 3, 9);
            let all: usize = tree.nodes.iter().map(|(path, node)| cost(path, node)).sum();
            prop_assert_eq!(all, tree.bytes);
        }
    }
}
