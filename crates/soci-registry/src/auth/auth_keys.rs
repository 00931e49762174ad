//! The keys of `auths` and `credHelpers`: which of them is meant by a repository.
//!
//! Docker's keys name a registry, in the past by a URL (`https://index.docker.io/v1/`, `http://host/v2/`).
//! Podman's name a registry, a namespace of it or a single repository (containers-auth.json(5)), so
//! that a registry can have several logins. One rule reads both:
//!
//! - A key with a scheme names a registry: whatever follows the host is where its API is. So does a
//!   key that ends with the bare version of the API, as in `host/v2/`.
//! - Any other path is a namespace, of which a repository is a part if it is the same or goes on
//!   behind a slash. `host/team` is no namespace of `host/teams/app`.
//! - The longest namespace is meant; of several keys for one registry that which is just its name.
//! - All names of Docker Hub are one registry.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuthKey<'a> {
    /// Host and port; `docker.io` for all names of Docker Hub.
    host: &'a str,
    /// The namespace, empty for the whole registry.
    namespace: &'a str,
    /// Whether the key is nothing but host and namespace.
    plain: bool,
}

impl<'a> AuthKey<'a> {
    fn parse(key: &'a str) -> Self {
        let bare = ["https://", "http://"].iter().find_map(|scheme| key.strip_prefix(scheme));
        let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
        let path = path.trim_matches('/');
        let is_api = bare.is_some() || matches!(path, "v1" | "v2");
        let namespace = if is_api { "" } else { path };
        let plain = bare.is_none() && namespace.len() == path.len();
        Self { host: hub(host), namespace, plain }
    }

    /// Whether a whole registry is meant.
    pub(super) fn is_registry(&self) -> bool {
        self.namespace.is_empty()
    }

    fn covers(&self, registry: &str, repository: &str) -> bool {
        let inside = |rest: &str| rest.is_empty() || rest.starts_with('/');
        self.host == registry
            && (self.is_registry() || repository.strip_prefix(self.namespace).is_some_and(inside))
    }
}

/// The key that is meant by `repository` of `registry`, and its entry, of those that are `usable`.
pub(super) fn meant<'a, T>(
    entries: &'a BTreeMap<String, T>,
    registry: &str,
    repository: &str,
    usable: impl Fn(&T) -> bool,
) -> Option<(AuthKey<'a>, &'a T)> {
    let registry = hub(registry);
    entries
        .iter()
        .map(|(key, entry)| (AuthKey::parse(key), entry))
        .filter(|(key, entry)| key.covers(registry, repository) && usable(entry))
        .min_by_key(|(key, _)| (Reverse(key.namespace.len()), !key.plain))
}

/// The one name that Docker Hub has here.
pub(super) fn hub(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key that is meant, of those given.
    fn of<'a>(keys: &[&'a str], registry: &str, repository: &str) -> Option<&'a str> {
        let entries = keys.iter().map(|key| ((*key).to_owned(), *key)).collect();
        meant(&entries, registry, repository, |_| true).map(|(_, key)| *key)
    }

    #[test]
    fn the_longest_namespace_is_meant_and_then_the_registry() {
        let keys =
            ["r.example:5000", "r.example:5000/team", "r.example:5000/team/app", "r.example"];
        for (repository, expected) in [
            ("team/app", "r.example:5000/team/app"),
            ("team/app/debug", "r.example:5000/team/app"),
            ("team/app2", "r.example:5000/team"),
            ("team", "r.example:5000/team"),
            ("teams/app", "r.example:5000"),
            ("tea", "r.example:5000"),
            ("other/team/app", "r.example:5000"),
        ] {
            assert_eq!(of(&keys, "r.example:5000", repository), Some(expected), "{repository}");
        }
        assert_eq!(of(&keys, "r.example", "team/app"), Some("r.example"));
        assert_eq!(of(&keys, "r.example:443", "team/app"), None);
        assert_eq!(of(&keys[1..3], "r.example:5000", "other"), None);
    }

    #[test]
    fn every_form_of_a_registrys_name_is_one_and_the_plain_one_is_preferred() {
        for key in [
            "r.example",
            "r.example/",
            "r.example/v1/",
            "r.example/v2",
            "https://r.example",
            "https://r.example/v2/",
            "http://r.example/v1/",
            "https://r.example/any/path",
        ] {
            assert_eq!(of(&[key], "r.example", "team/app"), Some(key), "{key}");
            let both = [key, "r.example", "https://r.example/v1/"];
            let preferred = of(&both, "r.example", "team/app").unwrap();
            assert!(["r.example", "r.example/"].contains(&preferred), "{key}: {preferred}");
        }
        for key in ["xr.example", "r.example.org", "ftp://r.example", "", "/", "https://"] {
            assert_eq!(of(&[key], "r.example", "team/app"), None, "{key}");
        }
    }

    #[test]
    fn docker_hub_has_one_name() {
        let hosts = ["docker.io", "index.docker.io", "registry-1.docker.io"];
        for named in
            ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"]
        {
            for registry in hosts {
                assert_eq!(
                    of(&[named], registry, "library/debian"),
                    Some(named),
                    "{named} {registry}"
                );
            }
        }
        for host in hosts {
            let key = format!("{host}/library");
            assert!(of(&[&key], "docker.io", "library/debian").is_some());
            assert!(of(&[&key], "docker.io", "team/app").is_none());
        }
    }

    #[test]
    fn what_is_not_usable_is_passed_over() {
        let entries = BTreeMap::from([("r.example/a".to_owned(), 0), ("r.example".to_owned(), 1)]);
        let (key, entry) = meant(&entries, "r.example", "a/b", |entry| *entry > 0).unwrap();
        assert!(key.is_registry() && *entry == 1);
    }
}
