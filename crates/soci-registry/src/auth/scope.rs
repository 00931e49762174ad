//! What a token is asked to allow.

/// What a token must allow, in the form of the token specification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    /// Reading the repository `name`.
    pub(crate) fn pull(name: &str) -> Self {
        Self(vec![format!("repository:{name}:pull")])
    }

    /// Reading and writing the repository `name`.
    pub(crate) fn push(name: &str) -> Self {
        Self(vec![format!("repository:{name}:pull,push")])
    }

    /// Reading another repository of the registry as well.
    pub(crate) fn and_pull(mut self, name: &str) -> Self {
        self.0.push(format!("repository:{name}:pull"));
        self
    }

    pub(super) fn list(&self) -> &[String] {
        &self.0
    }
}
