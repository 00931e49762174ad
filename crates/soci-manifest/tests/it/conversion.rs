//! The manifests that come out.

use std::collections::HashMap;

use soci_manifest::format::{IMAGE_MANIFEST_DIGEST, INDEX_DIGEST, SPAN_SIZE};
use soci_manifest::{
    ImageError, ImageLimits, Planned, Platforms, Prefetch, Role, SociIndexSettings, Version,
};
use soci_oci::media_type::{
    DOCKER_CONFIG, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};
use soci_oci::{Annotations, Descriptor, Digest, Index, Manifest};

use crate::support::{LARGE, Store, build, layer, made_up, manifest, on, platform};

fn two_platforms(store: &mut Store) -> Descriptor {
    let amd64 = on("linux/amd64", store.put_large("linux/amd64"));
    let arm64 = on("linux/arm64", store.put_large("linux/arm64"));
    store.put_index(vec![amd64, arm64])
}

fn with_tool(name: &str) -> SociIndexSettings {
    SociIndexSettings { build_tool_identifier: name.to_owned(), ..SociIndexSettings::default() }
}

#[test]
fn a_converted_image_converts_to_itself() {
    let mut store = Store::default();
    let single = store.put_large("linux/arm64");
    let index = two_platforms(&mut store);
    for (root, platforms) in [
        (&single, Platforms::All),
        (&index, Platforms::All),
        (&index, Platforms::Only(vec![platform("linux/arm64")])),
    ] {
        let first = store.convert(root, &SociIndexSettings::default(), &platforms);
        let second = store.convert(&first.root, &SociIndexSettings::default(), &platforms);
        assert_eq!(second.root, first.root);
        assert_eq!(second.indexes, first.indexes);
        let roles: Vec<_> = second.manifests.iter().map(|manifest| manifest.role).collect();
        assert_eq!(roles, [Role::Root]);
    }
}

#[test]
fn another_tools_soci_indexes_are_replaced_in_place() {
    let mut store = Store::default();
    let root = two_platforms(&mut store);
    let old = store.convert(&root, &with_tool("old"), &Platforms::All);
    let new = store.convert(&old.root, &with_tool("new"), &Platforms::All);
    assert_eq!(new.root, store.convert(&root, &with_tool("new"), &Platforms::All).root);
    let entries = store.index(&new.root).manifests.unwrap();
    let soci: Vec<_> = entries.iter().map(|entry| !entry.artifact_type.is_empty()).collect();
    assert_eq!(soci, [false, false, true, true]);
}

#[test]
fn a_soci_index_whose_platform_is_not_indexed_again_stays() {
    let mut store = Store::default();
    let root = two_platforms(&mut store);
    let old = store.convert(&root, &with_tool("old"), &Platforms::All);
    let arm64 = Platforms::Only(vec![platform("linux/arm64")]);
    let new = store.convert(&old.root, &with_tool("new"), &arm64);
    let (before, after) = (store.index(&old.root), store.index(&new.root));
    assert_eq!(after.manifests()[0], before.manifests()[0]);
    assert_eq!(after.manifests()[2], before.manifests()[2]);
    assert_eq!(after.manifests()[3].digest, new.indexes[0].digest);
    assert_ne!(after.manifests()[3], before.manifests()[3]);
}

#[test]
fn the_image_and_its_soci_index_name_each_other() {
    let mut store = Store::default();
    let root = two_platforms(&mut store);
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    let entries = store.index(&assembly.root).manifests.unwrap();
    for (place, soci) in assembly.indexes.iter().enumerate() {
        let (image, index) = (&entries[place], &entries[place + 2]);
        assert_eq!((image.digest, index.digest), (soci.image_manifest, soci.digest));
        assert_eq!(image.annotations[INDEX_DIGEST], index.digest.to_string());
        assert_eq!(index.annotations[IMAGE_MANIFEST_DIGEST], image.digest.to_string());
        assert_eq!((&image.platform, &index.platform), (&soci.platform, &soci.platform));
        let written = Manifest::decode(&store.0[&image.digest]).unwrap();
        assert_eq!(written.annotations, image.annotations);
    }
}

#[test]
fn docker_documents_become_oci_ones_even_where_nothing_is_indexed() {
    let mut store = Store::default();
    let config = store.put(DOCKER_CONFIG, r#"{"os":"linux","architecture":"amd64"}"#);
    let mut put = |name: &str, size| {
        let mut docker = manifest(config.clone(), vec![layer(name, size)]);
        DOCKER_MANIFEST.clone_into(&mut docker.media_type);
        on(name, store.put(DOCKER_MANIFEST, docker.encode()))
    };
    let entries = vec![put("linux/amd64", LARGE), put("linux/arm64", 1)];
    let mut list = Index::new(entries);
    DOCKER_MANIFEST_LIST.clone_into(&mut list.media_type);
    let root = store.put(DOCKER_MANIFEST_LIST, list.encode());
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    let index = store.index(&assembly.root);
    assert_eq!(index.media_type, OCI_INDEX);
    assert_eq!(index.manifests().len(), 3);
    for entry in &index.manifests()[..2] {
        let written = Manifest::decode(&store.0[&entry.digest]).unwrap();
        assert_eq!(entry.media_type, OCI_MANIFEST);
        assert_eq!(
            (written.media_type.as_str(), written.config.media_type.as_str()),
            (OCI_MANIFEST, OCI_CONFIG)
        );
    }
}

#[test]
fn entries_are_replaced_by_the_manifests_they_lead_to_or_left_alone() {
    let mut store = Store::default();
    let amd64 = store.put_large("linux/amd64");
    let inner = on("linux/amd64", store.put_index(vec![on("linux/amd64", amd64)]));
    let empty = on("linux/s390x", store.put_index(vec![]));
    let other = Descriptor::new("text/plain", Digest::sha256_of(b"?"), 1);
    let other = on("linux/riscv64", other);
    let root = store.put_index(vec![inner.clone(), empty.clone(), other.clone()]);
    let only = Platforms::Only(vec![platform("linux/amd64")]);
    let assembly = store.convert(&root, &SociIndexSettings::default(), &only);
    let entries = store.index(&assembly.root).manifests.unwrap();
    assert_eq!(entries[0].media_type, OCI_MANIFEST);
    assert_eq!(entries[0].digest, assembly.indexes[0].image_manifest);
    assert_eq!(entries[1..3], [empty, other]);
    assert_eq!(entries[3].digest, assembly.indexes[0].digest);
}

#[test]
fn platforms_that_share_a_manifest_link_the_first_only() {
    let mut store = Store::default();
    let image = store.put_large("linux/amd64");
    let entries = vec![on("linux/amd64", image.clone()), on("linux/arm64", image)];
    let root = store.put_index(entries);
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    let entries = store.index(&assembly.root).manifests.unwrap();
    assert_eq!(entries[2].digest, entries[3].digest);
    assert!(entries[2].annotations.contains_key(IMAGE_MANIFEST_DIGEST));
    assert!(entries[3].annotations.is_empty());
}

#[test]
fn a_manifest_comes_after_what_it_names_and_never_twice() {
    let mut store = Store::default();
    let shared = vec![layer("shared", LARGE)];
    let amd64 = on("linux/amd64", store.put_image("linux/amd64", shared.clone()));
    let arm64 = on("linux/arm64", store.put_image("linux/arm64", shared));
    let root = store.put_index(vec![amd64, arm64]);
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    let roles: Vec<_> = assembly.manifests.iter().map(|manifest| manifest.role).collect();
    assert_eq!(roles, [Role::SociIndex, Role::Image, Role::Image, Role::Root]);
    assert_eq!(assembly.ztocs.len(), 1);
    assert_eq!(assembly.manifests[3].descriptor, assembly.root);
}

#[test]
fn v1_refers_to_the_image_as_it_is() {
    let mut store = Store::default();
    let settings = SociIndexSettings { version: Version::V1, ..with_tool("t") };
    let root = two_platforms(&mut store);
    let images = store.index(&root).manifests.unwrap();
    let assembly = store.convert(&root, &settings, &Platforms::All);
    assert_eq!(assembly.root, assembly.manifests[0].descriptor);
    assert_eq!(assembly.manifests.len(), 2);
    for (image, pushed) in images.iter().zip(&assembly.manifests) {
        let soci = Manifest::decode(&pushed.bytes).unwrap();
        let plain = Descriptor { platform: None, ..image.clone() };
        assert_eq!(soci.subject, Some(plain));
        let referrer = pushed.referrer.as_ref().unwrap();
        assert_eq!(referrer.subject, image.digest);
        assert_eq!(referrer.descriptor.artifact_type, Version::V1.artifact_type());
        assert_eq!(referrer.descriptor.annotations, soci.annotations);
    }
}

#[test]
fn a_subject_makes_rewritten_documents_referrers_too() {
    let mut store = Store::default();
    let subject = store.put_large("linux/s390x");
    let config = store.put(OCI_CONFIG, "{}");
    let mut image = manifest(config, vec![layer("l", LARGE)]);
    image.subject = Some(subject.clone());
    let image = on("linux/amd64", store.put(OCI_MANIFEST, image.encode()));
    let mut index = Index::new(vec![image]);
    index.subject = Some(subject.clone());
    index.artifact_type = "a/b".to_owned();
    index.annotations = Annotations::from([("k".to_owned(), "v".to_owned())]);
    let root = store.put(OCI_INDEX, index.encode());
    let assembly = store.convert(&root, &SociIndexSettings::default(), &Platforms::All);
    let [soci, image, root] = assembly.manifests.as_slice() else { panic!("{assembly:?}") };
    assert_eq!(soci.referrer, None);
    let (image, root) = (image.referrer.as_ref().unwrap(), root.referrer.as_ref().unwrap());
    assert_eq!((image.subject, root.subject), (subject.digest, subject.digest));
    assert_eq!(image.descriptor.artifact_type, OCI_CONFIG);
    assert_eq!(image.descriptor.platform, Some(platform("linux/amd64")));
    assert_eq!(root.descriptor.artifact_type, "a/b");
    assert_eq!(root.descriptor.annotations, index.annotations);
}

#[test]
fn the_span_size_is_told_on_request() {
    let mut store = Store::default();
    let root = store.put_large("linux/amd64");
    for annotate_span_size in [false, true] {
        let settings =
            SociIndexSettings { annotate_span_size, span_size: 7, ..SociIndexSettings::default() };
        let assembly = store.convert(&root, &settings, &Platforms::All);
        let soci = Manifest::decode(&assembly.manifests[0].bytes).unwrap();
        let told = soci.layers()[0].annotations.get(SPAN_SIZE).map(String::as_str);
        assert_eq!(told, annotate_span_size.then_some("7"));
    }
}

#[test]
fn every_planned_layer_needs_a_ztoc() {
    let mut store = Store::default();
    let root = store.put_image("linux/amd64", vec![layer("a", LARGE), layer("b", LARGE)]);
    let plan = build(store.plan_by_default(&root));
    let mut ztocs = made_up(&plan);
    ztocs.remove(&plan.layers_to_build()[1].key);
    let lacking = layer("b", LARGE).digest;
    assert!(matches!(
        plan.assemble(&ztocs, &Prefetch::default()),
        Err(ImageError::ZtocMissing { layer }) if layer == lacking
    ));
    assert!(plan.assemble(&HashMap::new(), &Prefetch::default()).is_err());
}

#[test]
fn what_registries_would_refuse_for_its_size_is_not_written() {
    let mut store = Store::default();
    let root = two_platforms(&mut store);
    let size = store.convert(&root, &SociIndexSettings::default(), &Platforms::All).root.size;
    let assemble = |max_manifest_bytes| {
        let limits = ImageLimits { max_manifest_bytes, ..ImageLimits::DEFAULT };
        let image = store.image_within(&root, limits).unwrap();
        let Planned::Build(plan) =
            image.plan(&SociIndexSettings::default(), &Platforms::All).unwrap()
        else {
            panic!("skipped")
        };
        plan.assemble(&made_up(&plan), &Prefetch::default())
    };
    let size = usize::try_from(size).unwrap();
    assert!(assemble(size).is_ok());
    assert!(matches!(assemble(size - 1), Err(ImageError::TooLarge { .. })));
}
