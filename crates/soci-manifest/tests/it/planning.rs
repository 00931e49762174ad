//! What is built, and what is left alone.

use soci_manifest::{
    Compression, ImageError, IndexPlan, LayerDecision, MissingKind, NotAnImage, Plan, Platforms,
    SkipReason, SociIndexSettings, Version,
};
use soci_oci::media_type::{OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST};
use soci_oci::{Descriptor, Digest, Index};

use crate::support::{LARGE, Store, build, layer, manifest, on, platform, skip};

fn v1() -> SociIndexSettings {
    SociIndexSettings { version: Version::V1, ..SociIndexSettings::default() }
}

fn images(plan: &Plan) -> Vec<Digest> {
    plan.indexes().iter().map(|index| index.image.digest).collect()
}

fn platforms(plan: &Plan) -> Vec<String> {
    let name = |index: &IndexPlan| index.platform.as_ref().map_or("-".into(), ToString::to_string);
    plan.indexes().iter().map(name).collect()
}

fn only(names: &[&str]) -> Platforms {
    Platforms::Only(names.iter().map(|name| platform(name)).collect())
}

fn any_of(names: &[&str]) -> Platforms {
    Platforms::AnyOf(names.iter().map(|name| platform(name)).collect())
}

/// A manifest that nobody has put anywhere.
fn gone(name: &str) -> Descriptor {
    Descriptor::new(OCI_MANIFEST, Digest::sha256_of(name.as_bytes()), 9)
}

fn not_an_image(store: &Store, root: &Descriptor) -> NotAnImage {
    let reason = skip(store.plan_by_default(root));
    assert_eq!(skip(store.plan(root, &v1(), &Platforms::All)), reason);
    match reason {
        SkipReason::NotAnImage(reason) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn artifacts_are_no_images() {
    let mut store = Store::default();
    let config = store.put("application/vnd.cncf.helm.config.v1+json", "{}");
    let content = Descriptor { media_type: "application/gzip".into(), ..layer("chart", LARGE) };
    let chart = store.put(OCI_MANIFEST, manifest(config.clone(), vec![content.clone()]).encode());
    let artifact_type = config.media_type;
    assert_eq!(not_an_image(&store, &chart), NotAnImage::Artifact { artifact_type });

    let config = store.put(OCI_CONFIG, "{}");
    let signature = store.put(OCI_MANIFEST, manifest(config, vec![content]).encode());
    let media_type = "application/gzip".to_owned();
    assert_eq!(not_an_image(&store, &signature), NotAnImage::NoFileSystem { media_type });

    let page = store.put("text/html", "<html>");
    assert_eq!(not_an_image(&store, &page), NotAnImage::MediaType("text/html".to_owned()));
}

#[test]
fn layers_that_an_index_lists_for_a_platform_are_an_image_whatever_its_config() {
    let mut store = Store::default();
    let config = store.put("application/octet-stream", "{}");
    let old = store.put(OCI_MANIFEST, manifest(config, vec![layer("l", LARGE)]).encode());
    assert!(matches!(not_an_image(&store, &old), NotAnImage::Artifact { .. }));
    let root = store.put_index(vec![on("linux/amd64", old.clone())]);
    for settings in [v1(), SociIndexSettings::default()] {
        assert_eq!(images(&build(store.plan(&root, &settings, &Platforms::All))), [old.digest]);
    }
}

#[test]
fn soci_indexes_are_no_images() {
    let mut store = Store::default();
    for version in [Version::V1, Version::V2] {
        let soci = manifest(version.config(), vec![layer("ztoc", LARGE)]);
        let soci = store.put(OCI_MANIFEST, soci.encode());
        assert_eq!(not_an_image(&store, &soci), NotAnImage::SociIndex);
        let referrers = store.put_index(vec![soci]);
        assert_eq!(not_an_image(&store, &referrers), NotAnImage::SociIndex);
    }
}

#[test]
fn an_index_without_any_platform_is_no_image() {
    let mut store = Store::default();
    let empty = store.put_index(vec![]);
    assert_eq!(not_an_image(&store, &empty), NotAnImage::NoPlatform);
    let attestation = store.put_large("unknown/unknown");
    let attestations = store.put_index(vec![on("unknown/unknown", attestation)]);
    assert_eq!(not_an_image(&store, &attestations), NotAnImage::NoPlatform);
}

#[test]
fn nothing_to_index_tells_why() {
    let mut store = Store::default();
    let zstd = Descriptor { media_type: OCI_LAYER_ZSTD.into(), ..layer("zstd", LARGE) };
    let small = layer("small", 5);
    let image = store.put_image("linux/amd64", vec![small.clone(), zstd, small, layer("b", 6)]);
    let reason = skip(store.plan_by_default(&image));
    assert_eq!(
        reason.to_string(),
        "no layer can be indexed: 2 smaller than 10.0 MiB, 1 with unsupported compression zstd"
    );
    let empty = store.put_image("linux/amd64", vec![]);
    let reason = skip(store.plan(&empty, &v1(), &Platforms::All));
    assert_eq!(reason.to_string(), "no layer can be indexed: the image has no layers");
}

#[test]
fn v1_takes_every_image_manifest_and_nothing_else() {
    let mut store = Store::default();
    let entries: Vec<_> = [
        "windows(10.0.17763)/amd64",
        "unknown/unknown",
        "windows(10.0.20348)/amd64",
        "linux/arm64",
    ]
    .into_iter()
    .map(|name| on(name, store.put_large(name)))
    .collect();
    let soci = manifest(Version::V2.config(), vec![layer("ztoc", LARGE)]);
    let soci = on("linux/arm64", store.put(OCI_MANIFEST, soci.encode()));
    let nested_image = on("linux/386", store.put_large("linux/386"));
    let nested = on("linux/386", store.put_index(vec![nested_image.clone()]));
    let small = on("linux/s390x", store.put_image("linux/s390x", vec![layer("s", 1)]));
    let [windows, attestation, newer, arm] = entries.try_into().unwrap();
    let all = [&windows, &attestation, &newer, &soci, &nested, &small, &arm, &windows];
    let root = store.put_index(all.into_iter().cloned().collect());
    let plan = build(store.plan(&root, &v1(), &Platforms::All));
    let expected = [windows.digest, newer.digest, nested_image.digest, arm.digest];
    assert_eq!(images(&plan), expected);
}

#[test]
fn v2_takes_the_first_manifest_of_every_platform() {
    let mut store = Store::default();
    let names = ["windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64", "linux/arm64/v8"];
    let mut entries: Vec<_> =
        names.into_iter().map(|name| on(name, store.put_large(name))).collect();
    entries.push(on("linux/arm64", store.put_large("linux/arm64")));
    let root = store.put_index(entries.clone());
    let plan = build(store.plan_by_default(&root));
    assert_eq!(images(&plan), [entries[0].digest, entries[2].digest]);
    assert_eq!(platforms(&plan), ["windows/amd64", "linux/arm64/v8"]);
}

#[test]
fn only_the_platforms_asked_for_are_indexed() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let arm64 = on("linux/arm64", store.put_large("linux/arm64"));
    let root = store.put_index(vec![amd64.clone(), arm64.clone()]);
    for settings in [v1(), SociIndexSettings::default()] {
        let asked = only(&["linux/aarch64", "linux/arm64/v8"]);
        let plan = build(store.plan(&root, &settings, &asked));
        assert_eq!(images(&plan), [arm64.digest]);
        let asked = only(&["linux/amd64", "linux/s390x"]);
        let error = store.plan(&root, &settings, &asked).unwrap_err();
        assert_eq!(error.to_string(), "the image has no manifest for platform linux/s390x");
    }
}

/// What a service is told: other images come as well.
#[test]
fn of_several_platforms_those_are_taken_that_the_image_has() {
    let any = any_of;
    let mut store = Store::default();
    let [amd64, arm64, windows] =
        ["linux/amd64", "linux/arm64", "windows/amd64"].map(|name| on(name, store.put_large(name)));
    let attestation = on("unknown/unknown", store.put_large("unknown/unknown"));
    let root = store.put_index(vec![amd64.clone(), arm64.clone(), windows, attestation]);
    let single = store.put_large("linux/arm64");
    let config = store.put("application/vnd.cncf.helm.config.v1+json", "{}");
    let chart = store.put(OCI_MANIFEST, manifest(config, vec![]).encode());
    for settings in [v1(), SociIndexSettings::default()] {
        let planned = |root, platforms: &Platforms| store.plan(root, &settings, platforms);
        for (wanted, found) in [
            (&["linux/arm64"][..], &[arm64.digest][..]),
            (
                &["linux/s390x", "linux/aarch64", "linux/arm64/v8", "linux/amd64"],
                &[arm64.digest, amd64.digest],
            ),
        ] {
            assert_eq!(images(&build(planned(&root, &any(wanted)))), found, "{wanted:?}");
        }
        // The same as if these had been asked for by name.
        let by_name = build(planned(&root, &only(&["linux/arm64"])));
        let of_any = build(planned(&root, &any(&["linux/arm64", "linux/riscv64"])));
        assert_eq!(platforms(&of_any), platforms(&by_name));
        // A single manifest is one platform's in V1, too.
        assert_eq!(
            images(&build(planned(&single, &any(&["linux/amd64", "linux/arm64"])))),
            [single.digest]
        );
        for (root, wanted, words) in [
            (
                &root,
                &["linux/s390x"][..],
                "the image is for linux/amd64, linux/arm64, windows/amd64, and only linux/s390x are indexed",
            ),
            (
                &single,
                &["linux/amd64", "linux/arm/v7"],
                "the image is for linux/arm64, and only linux/amd64, linux/arm/v7 are indexed",
            ),
        ] {
            assert_eq!(skip(planned(root, &any(wanted))).to_string(), words);
        }
        // What is no image is for no platform, and told as such.
        let reason = skip(planned(&chart, &any(&["linux/amd64"])));
        assert!(matches!(reason, SkipReason::NotAnImage(_)), "{reason}");
    }
}

#[test]
fn a_single_manifest_has_the_platform_of_its_configuration_in_v2_and_any_in_v1() {
    let mut store = Store::default();
    let root = store.put_large("linux/arm64");
    let other = only(&["linux/amd64"]);
    let plan = build(store.plan(&root, &v1(), &other));
    assert_eq!(platforms(&plan), ["linux/arm64"]);
    let error = store.plan(&root, &SociIndexSettings::default(), &other).unwrap_err();
    assert!(matches!(error, ImageError::PlatformNotFound { .. }));
    assert_eq!(platforms(&build(store.plan_by_default(&root))), ["linux/arm64"]);
}

#[test]
fn an_entry_without_platform_has_that_of_its_configuration() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let unnamed = store.put_large("linux/arm64");
    let again = store.put_image("linux/amd64", vec![layer("again", LARGE)]);
    let config = store.put("application/vnd.cncf.helm.config.v1+json", "{}");
    let chart = store.put(OCI_MANIFEST, manifest(config, vec![]).encode());
    let page = store.put("text/html", "<html>");
    let alone = store.put_index(vec![unnamed.clone()]);
    let plan = build(store.plan_by_default(&alone));
    assert_eq!(
        (images(&plan), platforms(&plan)),
        (vec![unnamed.digest], vec!["linux/arm64".into()])
    );
    let entries = [&chart, &unnamed, &page, &again, &amd64];
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 4, 0, 3, 2]] {
        let root = store.put_index(order.map(|place| entries[place].clone()).to_vec());
        let plan = build(store.plan_by_default(&root));
        let mut found = images(&plan);
        found.sort();
        let mut expected = [amd64.digest, unnamed.digest];
        expected.sort();
        assert_eq!(found, expected, "one that names its platform comes first");
        assert_eq!(plan.left_out_platforms(), []);
        assert_eq!(images(&build(store.plan(&root, &v1(), &Platforms::All))).len(), 3);
        for settings in [v1(), SociIndexSettings::default()] {
            let arm64 = build(store.plan(&root, &settings, &only(&["linux/arm64"])));
            assert_eq!(images(&arm64), [unnamed.digest]);
        }
    }
}

#[test]
fn an_entry_that_tells_no_platform_is_left_out_beside_others() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let config = store.put(OCI_CONFIG, "{");
    let broken = store.put(OCI_MANIFEST, manifest(config, vec![layer("b", LARGE)]).encode());
    let config = store.put(OCI_CONFIG, r#"{"os":""}"#);
    let empty = store.put(OCI_MANIFEST, manifest(config, vec![layer("e", LARGE)]).encode());
    let inner = store.put_large("linux/arm64");
    let nested = store.put_index(vec![inner]);
    for (entry, code) in
        [(broken, "configuration"), (empty, "no-platform"), (nested, "no-platform")]
    {
        let root = store.put_index(vec![entry.clone(), amd64.clone()]);
        let plan = build(store.plan_by_default(&root));
        assert_eq!(images(&plan), [amd64.digest]);
        let [left_out] = plan.left_out_platforms() else {
            panic!("{:?}", plan.left_out_platforms())
        };
        assert_eq!((left_out.code, left_out.image), (code, Some(entry.digest)));
        let plan = build(store.plan(&root, &SociIndexSettings::default(), &only(&["linux/amd64"])));
        assert_eq!(plan.left_out_platforms(), [], "nobody has asked for it");
        let alone = store.put_index(vec![entry]);
        assert!(store.plan_by_default(&alone).is_err(), "{code}");
        assert!(store.plan(&root, &strict(Version::V2), &Platforms::All).is_err(), "{code}");
    }
}

#[test]
fn what_is_not_there_matters_only_where_it_is_asked_for() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let gone = |name: &str| on(name, gone(name));
    let arm64 = gone("linux/arm64");
    let root = store.put_index(vec![arm64.clone(), amd64.clone(), gone("unknown/unknown")]);
    for version in [Version::V1, Version::V2] {
        let settings = SociIndexSettings { version, ..SociIndexSettings::default() };
        let plan = build(store.plan(&root, &settings, &Platforms::All));
        assert_eq!(images(&plan), [amd64.digest]);
        let [left_out] = plan.left_out_platforms() else {
            panic!("{:?}", plan.left_out_platforms())
        };
        assert_eq!(left_out.platform, Some(platform("linux/arm64")));
        assert_eq!((left_out.code, left_out.image), ("manifest-missing", Some(arm64.digest)));

        let plan = build(store.plan(&root, &settings, &only(&["linux/amd64"])));
        assert_eq!((images(&plan), plan.left_out_platforms()), (vec![amd64.digest], &[][..]));
        for asked in [&["linux/arm64"][..], &["linux/amd64", "linux/arm64"]] {
            let error = store.plan(&root, &settings, &only(asked)).unwrap_err();
            assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
            assert!(error.to_string().contains("linux/arm64"), "{error}");
        }
        // What the reference does.
        let strict = strict(version);
        build(store.plan(&root, &strict, &only(&["linux/amd64"])));
        assert!(store.plan(&root, &strict, &Platforms::All).is_err());
        let attestation = store.put_index(vec![amd64.clone(), gone("unknown/unknown")]);
        build(store.plan(&attestation, &strict, &Platforms::All));
    }
    let nothing = store.put_index(vec![gone("linux/arm64"), gone("unknown/unknown")]);
    for settings in [v1(), SociIndexSettings::default()] {
        let error = store.plan(&nothing, &settings, &Platforms::All).unwrap_err();
        assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
    }
}

#[test]
fn an_entry_that_is_not_there_yet_may_be_for_any_platform() {
    let mut store = Store::default();
    let arm64 = on("linux/arm64", store.put_large("linux/arm64"));
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let late_manifest = gone("late");
    let config = Descriptor::new(OCI_CONFIG, Digest::sha256_of(b"late"), 9);
    let late_config = store.put(OCI_MANIFEST, manifest(config, vec![layer("l", LARGE)]).encode());
    let config = store.put(OCI_CONFIG, "{");
    let broken = store.put(OCI_MANIFEST, manifest(config, vec![layer("b", LARGE)]).encode());
    let artifact = Descriptor { artifact_type: "application/x".into(), ..gone("artifact") };
    let wanted = any_of(&["linux/amd64"]);
    for settings in [v1(), SociIndexSettings::default()] {
        let mut plan = |entries: &[&Descriptor]| {
            let root = store.put_index(entries.iter().copied().cloned().collect());
            store.plan(&root, &settings, &wanted)
        };
        for late in [&late_manifest, &late_config] {
            for entries in [&[&arm64, late][..], &[late], &[&broken, late]] {
                let error = plan(entries).unwrap_err();
                let found = matches!(
                    error,
                    ImageError::ManifestMissing { .. } | ImageError::ConfigMissing { .. }
                );
                assert!(found, "{error}");
            }
            // With the platform there, nobody has asked for the other.
            let plan = build(plan(&[late, &amd64, &arm64]));
            assert_eq!((images(&plan), plan.left_out_platforms()), (vec![amd64.digest], &[][..]));
        }
        for entries in [&[&arm64, &broken][..], &[&arm64, &artifact]] {
            let reason = skip(plan(entries));
            assert!(matches!(reason, SkipReason::OtherPlatforms { .. }), "{reason}");
        }
    }
}

#[test]
fn of_several_wanted_platforms_one_that_is_not_there_is_left_out() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let s390x = on("linux/s390x", gone("linux/s390x"));
    let arm64 = on("linux/arm64", gone("linux/arm64"));
    let foreign = Descriptor {
        media_type: soci_oci::media_type::DOCKER_LAYER_FOREIGN_GZIP.into(),
        ..layer("foreign", LARGE)
    };
    let windows = on("windows/amd64", layer_of(&mut store, foreign));
    let entries = vec![arm64.clone(), s390x, windows.clone(), amd64.clone()];
    let root = store.put_index(entries);
    for settings in [v1(), SociIndexSettings::default()] {
        let any = any_of(&["linux/arm64", "windows/amd64", "linux/amd64", "linux/riscv64"]);
        let plan = build(store.plan(&root, &settings, &any));
        assert_eq!(images(&plan), [amd64.digest]);
        let left_out: Vec<_> =
            plan.left_out_platforms().iter().map(|one| (one.code, one.image)).collect();
        let expected =
            [("manifest-missing", Some(arm64.digest)), ("foreign-layer", Some(windows.digest))];
        assert_eq!(left_out, expected);
        // The first reason, where nothing of what is wanted is there.
        let error = store.plan(&root, &settings, &any_of(&["linux/arm64"])).unwrap_err();
        assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
        let error = store.plan(&root, &settings, &any_of(&["windows/amd64"])).unwrap_err();
        assert!(matches!(error, ImageError::Nondistributable(_)), "{error}");
        // Nothing of the rest is indexed, so what is not there is the error.
        let small = on("linux/amd64", store.put_image("linux/amd64", vec![layer("s", 1)]));
        let root = store.put_index(vec![arm64.clone(), small]);
        let error = store.plan(&root, &settings, &any).unwrap_err();
        assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
    }
}

#[test]
fn what_is_not_there_is_the_error_where_nothing_of_the_rest_is_indexed() {
    let mut store = Store::default();
    let small = on("linux/arm64", store.put_image("linux/arm64", vec![layer("s", 5)]));
    let large = on("linux/arm64", store.put_large("linux/arm64"));
    let amd64 = on("linux/amd64", gone("amd64"));
    for settings in [v1(), SociIndexSettings::default()] {
        let root = store.put_index(vec![amd64.clone(), small.clone()]);
        let error = store.plan(&root, &settings, &Platforms::All).unwrap_err();
        assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
        assert!(error.to_string().contains("linux/amd64"), "{error}");
        // The same if that shows only when the layers are read.
        let root = store.put_index(vec![amd64.clone(), large.clone()]);
        let plan = build(store.plan(&root, &settings, &Platforms::All));
        let read = plan.layers_to_build().into_iter();
        let read = read.map(|layer| (layer.key, LayerDecision::SeveralMembers)).collect();
        let error = Box::new(plan).leave_out(&read).unwrap_err();
        assert!(matches!(error, ImageError::ManifestMissing { .. }), "{error}");
    }
}

#[test]
fn a_platform_whose_layers_cannot_be_had_is_left_out() {
    let mut store = Store::default();
    let foreign = Descriptor {
        media_type: soci_oci::media_type::DOCKER_LAYER_FOREIGN_GZIP.into(),
        ..layer("foreign", LARGE)
    };
    let odd =
        |media_type: &str| Descriptor { media_type: media_type.into(), ..layer("odd", LARGE) };
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    for (layer, code) in [
        (foreign, "foreign-layer"),
        (odd("text/plain"), "not-a-layer"),
        (odd("application/vnd.oci.image.layer.v2.tar"), "unknown-compression"),
    ] {
        let other = layer_of(&mut store, layer);
        let windows = on("windows/amd64", other);
        let root = store.put_index(vec![windows.clone(), amd64.clone()]);
        let alone = store.put_index(vec![windows]);
        for version in [Version::V1, Version::V2] {
            let settings = SociIndexSettings { version, ..SociIndexSettings::default() };
            let plan = build(store.plan(&root, &settings, &Platforms::All));
            assert_eq!(images(&plan), [amd64.digest]);
            assert_eq!(plan.left_out_platforms()[0].code, code);
            assert!(store.plan(&root, &settings, &only(&["windows/amd64"])).is_err());
            assert!(store.plan(&alone, &settings, &Platforms::All).is_err());
            assert!(store.plan(&root, &strict(version), &Platforms::All).is_err());
        }
    }
}

fn layer_of(store: &mut Store, odd: Descriptor) -> Descriptor {
    store.put_image("windows/amd64", vec![layer("plain", LARGE), odd])
}

fn strict(version: Version) -> SociIndexSettings {
    SociIndexSettings { version, strict: true, ..SociIndexSettings::default() }
}

#[test]
fn with_strict_settings_an_entry_without_platform_fails_where_it_may_be_meant() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let unnamed = store.put_large("linux/arm64");
    let before = store.put_index(vec![unnamed.clone(), amd64.clone()]);
    let behind = store.put_index(vec![amd64.clone(), unnamed]);
    let amd64 = only(&["linux/amd64"]);
    for settings in [strict(Version::V1), strict(Version::V2)] {
        let error = store.plan(&before, &settings, &amd64).unwrap_err();
        assert!(matches!(error, ImageError::EntryWithoutPlatform { .. }));
        build(store.plan(&behind, &settings, &amd64));
        let error = store.plan(&behind, &settings, &Platforms::All).unwrap_err();
        assert!(matches!(error, ImageError::EntryWithoutPlatform { .. }));
    }
}

#[test]
fn an_artifact_beside_images_does_not_disturb_v1() {
    let mut store = Store::default();
    let config = store.put("application/vnd.cncf.helm.config.v1+json", "{}");
    let chart = store.put(OCI_MANIFEST, manifest(config, vec![]).encode());
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let root = store.put_index(vec![chart, amd64.clone()]);
    assert_eq!(images(&build(store.plan(&root, &v1(), &Platforms::All))), [amd64.digest]);
}

#[test]
fn a_platform_with_an_index_of_its_own_is_searched_there() {
    let mut store = Store::default();
    let deep = store.put_large("linux/amd64");
    let other = on("linux/arm64", store.put_large("linux/arm64"));
    let inner = on("linux/amd64", store.put_index(vec![other, deep]));
    let root = store.put_index(vec![inner.clone()]);
    let plan = build(store.plan_by_default(&root));
    assert_eq!(images(&plan), [inner.digest]);
    assert_eq!(plan.layers_to_build()[0].key.digest, layer("linux/amd64", 0).digest);
}

#[test]
fn a_layer_is_built_once_for_each_way_it_is_read() {
    let mut store = Store::default();
    let shared = layer("shared", LARGE);
    let as_tar = Descriptor { media_type: OCI_LAYER.into(), ..shared.clone() };
    let small = layer("small", 1);
    let amd64 = store.put_image("linux/amd64", vec![shared.clone(), small, shared.clone()]);
    let arm64 = store.put_image("linux/arm64", vec![as_tar, shared]);
    let root = store.put_index(vec![on("linux/amd64", amd64), on("linux/arm64", arm64)]);
    for settings in [v1(), SociIndexSettings::default()] {
        let plan = build(store.plan(&root, &settings, &Platforms::All));
        let built = plan.layers_to_build();
        let read: Vec<_> = built.iter().map(|layer| layer.key.compression).collect();
        assert_eq!(read, [Compression::Gzip, Compression::Uncompressed]);
        assert_eq!((built[0].size, built[0].media_type.as_str()), (LARGE, OCI_LAYER_GZIP));
        let decisions: Vec<_> = plan.indexes()[0].layers().map(|(_, decision)| decision).collect();
        let gzip = LayerDecision::Build(Compression::Gzip);
        assert_eq!(decisions, [gzip, LayerDecision::TooSmall, gzip]);
    }
}

#[test]
fn a_layer_of_two_sizes_is_refused() {
    let mut store = Store::default();
    let root = store
        .put_image("linux/amd64", vec![layer("l", LARGE), layer("s", 1), layer("l", LARGE + 1)]);
    let error = store.plan_by_default(&root).unwrap_err();
    assert!(matches!(error, ImageError::ConflictingSizes { first: LARGE, .. }));
}

#[test]
fn documents_are_asked_for_once_and_configurations_only_where_nothing_else_tells() {
    let mut store = Store::default();
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let unnamed = store.put_large("linux/arm64");
    let other = Descriptor::new("text/plain", Digest::sha256_of(b"?"), 1);
    let entries = vec![amd64.clone(), other, unnamed.clone(), amd64.clone()];
    let bytes = Index::new(entries).encode();
    let root = store.put(soci_oci::media_type::OCI_INDEX, bytes.clone());
    let mut image = soci_manifest::Image::new(
        &root.media_type,
        root.digest,
        &bytes,
        soci_manifest::ImageLimits::DEFAULT,
    )
    .unwrap();
    let first = image.missing().unwrap();
    let asked: Vec<_> = first.iter().map(|missing| missing.descriptor.digest).collect();
    assert_eq!(asked, [amd64.digest, unnamed.digest]);
    assert!(matches!(
        image.plan(&SociIndexSettings::default(), &Platforms::All),
        Err(ImageError::NotSupplied { digest }) if digest == amd64.digest
    ));
    for missing in &first {
        image.supply(missing, &store.0[&missing.descriptor.digest]).unwrap();
    }
    let second = image.missing().unwrap();
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].kind, MissingKind::Config);
    assert_eq!(second[0].descriptor.media_type, OCI_CONFIG);
}

#[test]
fn an_unreadable_configuration_matters_to_v2_only() {
    let mut store = Store::default();
    let config = store.put(OCI_CONFIG, "{");
    let layers = vec![layer("l", LARGE)];
    let root = store.put(OCI_MANIFEST, manifest(config, layers).encode());
    let plan = build(store.plan(&root, &v1(), &Platforms::All));
    assert_eq!(platforms(&plan), ["-"]);
    let error = store.plan_by_default(&root).unwrap_err();
    assert!(matches!(error, ImageError::Config { .. }));
}
