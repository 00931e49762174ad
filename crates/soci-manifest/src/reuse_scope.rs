//! Whose ztocs of layers that were indexed before are taken over, instead of being built again.

use std::fmt;
use std::str::FromStr;

use soci_text::clip;

/// Whose ztocs may be taken over. Each has what the ones after it have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReuseScope {
    /// `repository`: also those that SOCI indexes in the image's own repository name, whoever has pushed them.
    #[default]
    Repository,
    /// `process`: those that this process has built itself.
    Process,
    /// `never`: none.
    Never,
}

impl ReuseScope {
    /// All, the widest one first.
    pub const ALL: [Self; 3] = [Self::Repository, Self::Process, Self::Never];

    /// Its name, as it is written in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Process => "process",
            Self::Never => "never",
        }
    }
}

impl fmt::Display for ReuseScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`ReuseScope`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not repository, process or never")]
pub struct ReuseScopeError(String);

impl FromStr for ReuseScope {
    type Err = ReuseScopeError;

    fn from_str(text: &str) -> Result<Self, ReuseScopeError> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text.trim());
        found.ok_or_else(|| ReuseScopeError(clip(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_prints_as_it_is_parsed() {
        for scope in ReuseScope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert!("".parse::<ReuseScope>().is_err() && "Never".parse::<ReuseScope>().is_err());
        assert_eq!(ReuseScope::default(), ReuseScope::Repository);
    }
}
