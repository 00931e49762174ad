//! What a token is asked to allow.

/// What a token must allow, in the form of the token specification.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The repository that it is about, whose credentials are asked for.
    repository: String,
    list: Vec<String>,
}

impl Scope {
    /// Reading the repository `name`.
    pub(crate) fn pull(name: &str) -> Self {
        Self { repository: name.to_owned(), list: vec![format!("repository:{name}:pull")] }
    }

    /// Reading and writing the repository `name`.
    pub(crate) fn push(name: &str) -> Self {
        Self { repository: name.to_owned(), list: vec![format!("repository:{name}:pull,push")] }
    }

    /// Reading the repository `name` and deleting manifests of it.
    pub(crate) fn delete(name: &str) -> Self {
        Self { repository: name.to_owned(), list: vec![format!("repository:{name}:pull,delete")] }
    }

    /// Reading another repository of the registry as well.
    pub(crate) fn and_pull(mut self, name: &str) -> Self {
        self.list.push(format!("repository:{name}:pull"));
        self
    }

    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    pub(super) fn list(&self) -> &[String] {
        &self.list
    }
}
