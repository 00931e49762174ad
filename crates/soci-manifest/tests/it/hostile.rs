//! Images made to do harm, or of random parts.

use proptest::prelude::*;
use soci_manifest::{
    Image, ImageError, ImageLimits, Planned, Platforms, Prefetch, Role, SociIndexSettings, Version,
};
use soci_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST};
use soci_oci::{Annotations, Descriptor, Digest, Index, Platform};

use crate::support::{LARGE, Store, layer, made_up, manifest, on};

fn limited(result: Result<Image, ImageError>) -> &'static str {
    match result.unwrap_err() {
        ImageError::Limit { what, .. } => what,
        other => panic!("{other}"),
    }
}

fn planned(store: &Store, root: &Descriptor, limits: ImageLimits) -> Result<Planned, ImageError> {
    store.image_within(root, limits)?.plan(&SociIndexSettings::default(), &Platforms::All)
}

#[test]
fn nesting_is_limited() {
    let mut store = Store::default();
    let mut root = store.put_large("linux/amd64");
    let limits = ImageLimits { max_depth: 3, ..ImageLimits::DEFAULT };
    for _ in 0..=limits.max_depth {
        root = store.put_index(vec![on("linux/amd64", root)]);
    }
    assert!(matches!(planned(&store, &root, limits), Ok(Planned::Build(_))));
    root = store.put_index(vec![root]);
    assert_eq!(limited(store.image_within(&root, limits)), "nested image indexes");
}

#[test]
fn the_number_of_documents_is_limited_before_they_are_fetched() {
    let mut store = Store::default();
    let entry = |n: u32| {
        let digest = Digest::sha256_of(&n.to_be_bytes());
        Descriptor::new(OCI_MANIFEST, digest, 1)
    };
    let root = store.put_index((0..1000).map(entry).collect());
    let what = limited(store.image(&root));
    assert_eq!(what, "manifests and configurations");
}

#[test]
fn the_bytes_of_documents_are_limited() {
    let mut store = Store::default();
    let image = store.put_large("linux/amd64");
    let size = usize::try_from(image.size).unwrap();
    let root = store.put_index(vec![on("linux/amd64", image)]);
    let max_document_bytes = size + usize::try_from(root.size).unwrap();
    let limits = ImageLimits { max_document_bytes, ..ImageLimits::DEFAULT };
    assert!(store.image_within(&root, limits).is_ok());
    let limits = ImageLimits { max_document_bytes: max_document_bytes - 1, ..limits };
    assert!(limited(store.image_within(&root, limits)).starts_with("bytes of"));
}

#[test]
fn platforms_and_layers_are_limited() {
    let mut store = Store::default();
    let image = store.put_image("linux/amd64", vec![layer("a", LARGE), layer("b", LARGE)]);
    let entries = (0..3).map(|n| on(&format!("linux/a{n}"), image.clone())).collect();
    let root = store.put_index(entries);
    let exceeds = |limits, version| {
        let settings = SociIndexSettings { version, ..SociIndexSettings::default() };
        let image = store.image_within(&root, limits).unwrap();
        match image.plan(&settings, &Platforms::All) {
            Err(ImageError::Limit { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let limits = ImageLimits { max_platforms: 2, ..ImageLimits::DEFAULT };
    assert_eq!(exceeds(limits, Version::V2), "platforms");
    let limits = ImageLimits { max_layers: 5, ..ImageLimits::DEFAULT };
    assert_eq!(exceeds(limits, Version::V2), "layers");
    let limits = ImageLimits { max_layers: 1, ..ImageLimits::DEFAULT };
    assert_eq!(exceeds(limits, Version::V1), "layers");
}

#[test]
fn indexes_that_repeat_their_children_take_no_exponential_time() {
    let mut store = Store::default();
    let mut root = store.put_large("linux/amd64");
    for _ in 0..ImageLimits::DEFAULT.max_depth {
        root = store.put_index(vec![root; 1000]);
    }
    // Met again and again without a platform, the one image has no entry that names one.
    let error = store.plan_by_default(&root).unwrap_err();
    assert!(matches!(error, ImageError::EntryWithoutPlatform { .. }));
    let root = store.put_index(vec![on("linux/amd64", root); 1000]);
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    assert_eq!(store.index(&assembly.root).manifests().len(), 1001);
}

#[test]
fn annotations_that_entries_multiply_are_counted() {
    let mut store = Store::default();
    let config = store.put(OCI_CONFIG, "{}");
    let mut image = manifest(config, vec![layer("l", LARGE)]);
    image.annotations = Annotations::from([("k".to_owned(), "v".repeat(1 << 20))]);
    let image = on("linux/amd64", store.put(OCI_MANIFEST, image.encode()));
    let root = store.put_index(vec![image; 10_000]);
    let Planned::Build(plan) = store.plan_by_default(&root).unwrap() else { panic!("skipped") };
    assert!(matches!(
        plan.assemble(&made_up(&plan), &Prefetch::default()),
        Err(ImageError::TooLarge { .. })
    ));
}

#[test]
fn a_document_that_is_something_else_is_an_error() {
    let mut store = Store::default();
    let image = store.put_large("linux/amd64");
    let disguised = Descriptor { media_type: OCI_INDEX.to_owned(), ..image };
    let root = store.put_index(vec![disguised.clone()]);
    assert!(matches!(
        store.image(&root),
        Err(ImageError::Document { digest, .. }) if digest == disguised.digest
    ));
}

/// A store with random documents, each naming earlier ones, and the last of them as the root.
fn random_image() -> impl Strategy<Value = (Store, Descriptor)> {
    let platform = proptest::sample::select(vec![
        None,
        Some("linux/amd64"),
        Some("linux/amd64"),
        Some("linux/arm64/v8"),
        Some("linux/arm64"),
        Some("windows(1.2)/amd64"),
        Some("unknown/unknown"),
    ]);
    let document = (
        any::<bool>(),
        proptest::collection::vec((any::<prop::sample::Index>(), platform), 0..6),
        proptest::sample::select(vec![OCI_CONFIG, OCI_CONFIG, OCI_CONFIG, "text/plain"]),
        proptest::sample::select(vec!["", "", "a/b", Version::V2.artifact_type()]),
    );
    proptest::collection::vec(document, 1..12).prop_map(|documents| {
        let mut store = Store::default();
        let config = |store: &mut Store, n: usize| {
            let os = ["linux", "windows"][n % 2];
            store.put(OCI_CONFIG, format!(r#"{{"os":"{os}","architecture":"amd64"}}"#))
        };
        let mut put: Vec<Descriptor> = vec![store.put("text/plain", "?")];
        for (n, (is_index, children, config_type, artifact_type)) in
            documents.into_iter().enumerate()
        {
            let descriptor = if is_index {
                let entry = |(which, name): &(prop::sample::Index, Option<&str>)| Descriptor {
                    platform: name.map(|name| name.parse::<Platform>().unwrap()),
                    artifact_type: artifact_type.to_owned(),
                    ..which.get(&put).clone()
                };
                store.put(OCI_INDEX, Index::new(children.iter().map(entry).collect()).encode())
            } else {
                let layers = children.iter().map(|(which, _)| Descriptor {
                    media_type: which.get(&[OCI_LAYER_GZIP, OCI_LAYER_ZSTD]).to_string(),
                    ..layer(&which.index(9).to_string(), LARGE)
                });
                let layers = layers.collect();
                let config =
                    Descriptor { media_type: config_type.to_owned(), ..config(&mut store, n) };
                store.put(OCI_MANIFEST, manifest(config, layers).encode())
            };
            put.push(descriptor);
        }
        let root = put.pop().unwrap();
        (store, root)
    })
}

proptest! {
    #[test]
    fn any_image_is_planned_and_written_whole(
        (mut store, root) in random_image(),
        v1: bool,
        asked in proptest::option::of(Just("linux/amd64")),
    ) {
        let version = if v1 { Version::V1 } else { Version::V2 };
        let settings = SociIndexSettings { version, ..SociIndexSettings::default() };
        let platforms = asked.map_or(Platforms::All, |name| {
            Platforms::Only(vec![name.parse().unwrap()])
        });
        let Ok(Planned::Build(plan)) = store.plan(&root, &settings, &platforms) else {
            return Ok(());
        };
        let assembly = plan.assemble(&made_up(&plan), &Prefetch::default()).unwrap();
        prop_assert!(!assembly.ztocs.is_empty());
        prop_assert!(!assembly.indexes.is_empty());
        for pushed in &assembly.manifests {
            if pushed.role == Role::Root {
                for entry in Index::decode(&pushed.bytes).unwrap().manifests() {
                    prop_assert!(store.0.contains_key(&entry.digest), "{}", entry.digest);
                }
            }
            store.0.insert(pushed.descriptor.digest, pushed.bytes.clone());
        }
        prop_assert!(store.0.contains_key(&assembly.root.digest));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, index: bool) {
        let media_type = if index { OCI_INDEX } else { OCI_MANIFEST };
        let digest = Digest::sha256_of(&bytes);
        if let Ok(image) = Image::new(media_type, digest, &bytes, ImageLimits::DEFAULT) {
            // The outcome does not matter here, only that there is one.
            let _ = image.plan(&SociIndexSettings::default(), &Platforms::All);
        }
    }
}
