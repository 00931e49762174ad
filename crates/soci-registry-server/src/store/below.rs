//! Folders that are made below one that is there. Making the way to it as well would bring back a folder that was removed
//! (`temporary.rs`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the folders of `way` below `root` as far as they are not there, and never `root` itself.
pub(crate) fn make_below(root: &Path, way: &Path) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in way {
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_made_and_its_beginning_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("root");
        let way = Path::new("a/b");
        assert_eq!(make_below(&root, way).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&root).unwrap();
        for _ in 0..2 {
            assert_eq!(make_below(&root, way).unwrap(), root.join("a/b"));
        }
        assert!(root.join("a/b").is_dir());
    }
}
