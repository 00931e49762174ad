//! Storage that does not outlive the process.
//!
//! A temporary folder is removed when its registry stops. A process may end before that, as a second Ctrl-C wants it, while
//! other threads go on writing. So the rule is: whoever ends the process removes all temporary storage first, by
//! [`remove_temporary_storage`], which waits for nobody. Three things make that leave nothing:
//!
//! - All folders are known from the moment in which they are made, and after the call no new one is made.
//! - A folder is moved aside before it is removed. Whoever writes to it by its old name fails from then on, as nothing below
//!   a folder of the registry is made together with that folder (`store/below.rs`).
//! - Who found the way into it before may still make a file there. Then the folder is not empty, and is emptied again; once it
//!   is removed, nothing can be made in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Times that a folder is emptied in which files still appear. Each writer makes at most the one that it was about to.
const TRIES: u32 = 1_000;

/// What this process has.
static OF_PROCESS: Temporaries = Temporaries::new();

/// Removes all temporary storage of this process, which is about to end, at once: registries that keep their content there
/// cannot be used any more, and new ones cannot be opened. What cannot be removed stays, as nobody is left to mend it.
pub fn remove_temporary_storage() {
    OF_PROCESS.end();
}

/// The temporary folders that are there.
#[derive(Debug)]
struct Temporaries(Mutex<Held>);

#[derive(Debug)]
struct Held {
    folders: Vec<PathBuf>,
    /// Whether no more are made.
    ended: bool,
}

impl Temporaries {
    const fn new() -> Self {
        Self(Mutex::new(Held { folders: Vec::new(), ended: false }))
    }

    fn make(&self, parent: &Path) -> io::Result<PathBuf> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.ended {
            return Err(io::Error::other("the process is ending"));
        }
        let folder = tempfile::Builder::new().prefix("soci-index-builder-").tempdir_in(parent)?;
        let path = folder.keep();
        held.folders.push(path.clone());
        Ok(path)
    }

    /// Removes one. One that is gone already is no failure.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.folders.retain(|folder| folder != path);
        // Who ends the process waits for this.
        remove(path)
    }

    fn end(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.ended = true;
        for folder in held.folders.drain(..) {
            let _ = remove(&folder);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("removed");
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    for _ in 1..TRIES {
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
    }
    fs::remove_dir_all(&aside)
}

/// A temporary folder, removed when it is dropped, and before the process ends.
#[derive(Debug)]
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    /// Makes one among the system's temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        OF_PROCESS.make(&std::env::temp_dir()).map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it now.
    pub(crate) fn remove(&self) -> io::Result<()> {
        OF_PROCESS.remove(&self.0)
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Whoever wants to know has removed it before.
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::make_below;

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn after_the_end_nothing_is_there_and_nothing_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let temporaries = Temporaries::new();
        let folders: Vec<_> = (0..3).map(|_| temporaries.make(parent.path()).unwrap()).collect();
        fs::write(folders[0].join("file"), "x").unwrap();
        temporaries.remove(&folders[1]).unwrap();
        assert_eq!(entries(parent.path()), 2);
        temporaries.end();
        assert_eq!(entries(parent.path()), 0);
        temporaries.remove(&folders[0]).unwrap();
        assert!(temporaries.make(parent.path()).is_err());
        assert_eq!(entries(parent.path()), 0);
    }

    #[test]
    fn who_writes_all_the_while_leaves_nothing() {
        for _ in 0..20 {
            let parent = tempfile::tempdir().unwrap();
            let temporaries = Temporaries::new();
            let folder = temporaries.make(parent.path()).unwrap();
            let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
            std::thread::scope(|scope| {
                for writer in 0..4 {
                    let (folder, begun, ended) = (&folder, &begun, &ended);
                    scope.spawn(move || {
                        for number in 0_u32.. {
                            let way = format!("{writer}/{}", number % 7);
                            let made = make_below(folder, Path::new(&way));
                            let made = made
                                .and_then(|place| fs::write(place.join(number.to_string()), "x"));
                            begun.store(true, Ordering::Relaxed);
                            if made.is_err() && ended.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                    });
                }
                while !begun.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                temporaries.end();
                ended.store(true, Ordering::Relaxed);
            });
            assert_eq!(entries(parent.path()), 0);
        }
    }
}
