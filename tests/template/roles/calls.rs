//! What each role's program calls, written down in `tests/aws/calls.json` for the tests of policies, which are no Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{CALLS, INDEX, PLATFORM, REGISTRY, START, WORKER};

/// The actions by role.
fn calls() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut found = BTreeMap::from([("ExecutionRole", START.iter().copied().collect())]);
    for (role, platform) in PLATFORM {
        let own =
            CALLS.iter().filter(|(.., roles)| roles.contains(role)).map(|(_, action, _)| *action);
        let registry = if [INDEX, WORKER].contains(role) { REGISTRY } else { &[] };
        found.insert(
            role,
            own.chain(registry.iter().copied()).chain(platform.iter().copied()).collect(),
        );
    }
    found
}

/// Write them anew with `UPDATE_CALLS=1 cargo test --workspace --test template`.
#[test]
fn the_calls_of_each_role_are_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("aws/calls.json");
    let text = serde_json::to_string_pretty(&calls()).unwrap() + "\n";
    if std::env::var_os("UPDATE_CALLS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, text, "run UPDATE_CALLS=1 cargo test --workspace --test template");
}
