//! What runs here.

/// Which release this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The version, as in the workspace's manifest.
    pub version: &'static str,
    /// The commit it was built from; empty if the build was not told.
    pub commit: &'static str,
}

impl About {
    /// What this build knows of itself. The commit is taken from the environment variable
    /// `SOCI_INDEX_BUILDER_COMMIT` when it is compiled.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        commit: match option_env!("SOCI_INDEX_BUILDER_COMMIT") {
            Some(commit) => commit,
            None => "",
        },
    };
}
