//! Why the registry cannot be opened.

use std::io;
use std::path::PathBuf;

/// The registry cannot be opened. None of these passes by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder, or a file in it, cannot be used.
    #[error("{path} cannot be used for the registry's content")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder holds something else, which the registry does not mix its files with.
    #[error("{path} is neither empty nor a folder that this registry has written")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Another process has opened the folder.
    #[error("{path} is in use by another registry")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A record in the folder is not what the registry writes.
    #[error("{path} is damaged")]
    Damaged {
        /// The record.
        path: PathBuf,
    },
    /// The listener's address is not known.
    #[error("the address that the registry listens on is not known")]
    Address(#[source] io::Error),
}
