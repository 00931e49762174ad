//! What runs here.

use std::fmt;

/// Which release this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The version, as in the workspace's manifest.
    pub version: &'static str,
    /// The commit it was built from; empty if the build was not told.
    pub commit: &'static str,
}

impl About {
    /// What this build knows of itself. The commit is what the environment variable
    /// `SOCI_INDEX_BUILDER_COMMIT` says when it is compiled, or else git of the clone (`build.rs`).
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        commit: match option_env!("SOCI_INDEX_BUILDER_COMMIT") {
            Some(commit) => commit,
            None => "",
        },
    };
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, commit } = self;
        if commit.is_empty() {
            return write!(f, "{version} (unknown commit)");
        }
        write!(f, "{version} (commit {commit})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_was_not_told_its_commit_says_so() {
        let about = |commit| About { version: "1.2.3", commit }.to_string();
        assert_eq!(about("0123abc"), "1.2.3 (commit 0123abc)");
        assert_eq!(about(""), "1.2.3 (unknown commit)");
    }
}
