//! What an image brings for its start: its configuration, the files that its program is made of, prefetch artifacts.
#![no_main]

use std::collections::BTreeMap;

use soci_manifest::PrefetchArtifact;
use soci_startup::{Effort, EntryKind, Inspector, MAX_FILES, RunConfig, Searched, Tree, TreeEntry, needed_files};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(artifact) = PrefetchArtifact::decode(bytes) {
        let again = PrefetchArtifact::new(artifact.spans().to_vec());
        assert!(again.is_none_or(|again| again.span_count() <= artifact.span_count()));
    }
    // The bytes are the file; they name the files of the tree, and are the configuration as well.
    let config = RunConfig::decode(bytes, "label").unwrap_or_else(|_| RunConfig {
        arguments: vec!["/a".to_owned()],
        ..RunConfig::default()
    });
    let mut tree = Tree::new(1 << 20);
    let size = bytes.len() as u64;
    let names: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(100).chain([&b"a"[..]]).collect();
    let entries = || {
        names.iter().enumerate().map(|(entry, name)| TreeEntry {
            name,
            entry,
            kind: match entry % 3 {
                0 => EntryKind::File { size },
                1 => EntryKind::Symlink(names[entry / 2]),
                _ => EntryKind::HardLink(names[entry / 2]),
            },
        })
    };
    for layer in 0..2 {
        let _ = tree.add_layer(layer, entries);
    }
    let mut inspected = BTreeMap::new();
    let mut effort = Effort::default();
    for _ in 0..2 * MAX_FILES + 2 {
        let file = match needed_files(&config, &tree, &inspected, &mut effort) {
            Searched::Found(_) => return,
            Searched::Inspect(file) => file,
        };
        let mut inspector = Inspector::new(file.size);
        while let Some(range) = inspector.wants() {
            inspector.push(&bytes[range.start as usize..range.end as usize]);
        }
        let known = inspector.finish();
        assert!(inspected.insert(file.place, known.expect("what it is")).is_none());
    }
    panic!("the search does not end");
});
