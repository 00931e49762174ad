//! How files to prefetch are named.

use std::fmt;

/// A file to prefetch, by its name in the archives of layers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefetchFile(String);

impl PrefetchFile {
    /// The file at a path, which is taken from the root whether it begins with a slash or not.
    pub fn new(path: &str) -> Self {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        Self(parts.join("/"))
    }

    /// The files of a list in the order in which they were named; empty ones do not count.
    pub fn list<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let paths = paths.into_iter().map(str::trim);
        paths.filter(|path| !path.is_empty()).map(Self::new).collect()
    }

    /// Its name in an archive, without a slash in front.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrefetchFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_root_however_it_is_written() {
        for path in ["/a/b", "a/b", "./a/b", "a//b/", "../a/b", "/a/./x/../b", "/../../a/b"] {
            assert_eq!(PrefetchFile::new(path).name(), "a/b", "{path}");
        }
        for path in ["/", ".", "..", "/.."] {
            assert_eq!(PrefetchFile::new(path).name(), "", "{path}");
        }
        let list = PrefetchFile::list([" a ", "", "  ", "\t/b\n"]);
        assert_eq!(list, [PrefetchFile::new("a"), PrefetchFile::new("b")]);
        assert_eq!(list[1].to_string(), "/b");
    }
}
