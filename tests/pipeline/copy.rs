//! Images that are copied from one place to another.

use serde_json::{Value, json};
use soci_indexer::{
    Budget, CopyError, CopyOptions, CopyReport, ImageName, ImageStore, IndexError, Layout,
    LayoutImage, OutputPlace, Reason, RemoteRepository, StoreError, copy_image, verify_image,
};
use soci_manifest::Version;
use soci_oci::{Digest, media_type};
use soci_registry_server::testing::{Effect, FakeOptions, FakeRegistry, Quirk, RequestKind};
use soci_tests::{FakeRegistryClient, TestImage, gzip_layer};

use crate::support::{
    OTHER, REPOSITORY, image, index, indexed, layout_with, name, options, output, pack, place,
    store, wrong,
};

fn only(platform: &str) -> CopyOptions {
    CopyOptions { platform: Some(platform.parse().unwrap()), ..CopyOptions::default() }
}

async fn copy(
    from: &FakeRegistry,
    to: &FakeRegistry,
    options: &CopyOptions,
) -> Result<CopyReport, CopyError> {
    copy_image(&store(from), &output(to), &place(from, "2"), &name("1"), options).await
}

/// A descriptor of the manifest at `at` with further fields.
fn entry(image: &TestImage, at: usize, more: &Value) -> Value {
    let (kind, bytes) = &image.manifests[at];
    let digest = Digest::sha256_of(bytes).to_string();
    let mut entry = json!({ "mediaType": kind, "digest": digest, "size": bytes.len() });
    for (key, value) in more.as_object().unwrap() {
        entry[key] = value.clone();
    }
    entry
}

/// Puts an image index of such entries behind what an image has.
fn add_index(image: &mut TestImage, entries: &[Value]) {
    let index = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries,
    });
    image.manifests.push((media_type::OCI_INDEX.to_owned(), index.to_string().into()));
}

fn platform(os: &str, architecture: &str, variant: &str) -> Value {
    let mut platform = json!({ "os": os, "architecture": architecture });
    if !variant.is_empty() {
        platform["variant"] = variant.into();
    }
    json!({ "platform": platform })
}

fn digest_of(image: &TestImage, at: usize) -> Digest {
    Digest::sha256_of(&image.manifests[at].1)
}

/// What a copy has to have.
async fn check_whole<T: ImageStore>(what: &str, image: &TestImage, copy: &T) {
    for (digest, blob) in &image.blobs {
        assert!(copy.has_blob(digest, blob.len() as u64).await.unwrap(), "{what}: {digest}");
    }
    for (kind, bytes) in &image.manifests {
        let digest = Digest::sha256_of(bytes);
        let found = copy.manifest(&digest.into()).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("{what}: {digest}"));
        assert_eq!(&found.bytes, bytes, "{what}");
        // A layout says it of what its own index names.
        assert!(found.media_type == *kind || found.media_type.is_empty(), "{what}");
    }
}

/// Copies, checks the copy, and does it again.
async fn check<S: ImageStore, T: ImageStore>(
    what: &str,
    source: &S,
    output: &T,
    origin: &FakeRegistry,
) {
    let (image, options) = (image(), CopyOptions::default());
    let copied = copy_image(source, output, &place(origin, "2"), &name("1"), &options).await;
    let copied = copied.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert_eq!((copied.image, copied.digest), (image.digest(), image.digest()), "{what}");
    assert!(!copied.already_there && copied.bytes_read > 0, "{what}: {copied:?}");
    check_whole(what, &image, output).await;
    assert_eq!(output.tagged(&"2".parse().unwrap()).await.unwrap(), Some(image.digest()), "{what}");
    let again =
        copy_image(source, output, &place(origin, "2"), &name("1"), &options).await.unwrap();
    assert!(again.already_there && again.bytes_read == 0, "{what}: {again:?}");
}

async fn check_all<S: ImageStore>(what: &str, source: &S, origin: &FakeRegistry) {
    let folder = tempfile::tempdir().unwrap();
    let (new, file) = (folder.path().join("out"), folder.path().join("out.tar"));
    let registry = FakeRegistry::start().await;
    check(&format!("{what} to a registry"), source, &output(&registry), origin).await;
    let layout = Layout::open_or_create(&new).await.unwrap();
    check(&format!("{what} to a layout"), source, &layout, origin).await;
    let archive = Layout::open_or_create_archive(&file).await.unwrap();
    check(&format!("{what} to an archive"), source, &archive, origin).await;
    assert!(!file.exists(), "an archive is there when it is complete");
    archive.finish().await.unwrap();
    // As somebody else finds it.
    let wanted = LayoutImage::Name("2".to_owned());
    for reopened in [Layout::open(&new).await.unwrap(), Layout::open_archive(&file).await.unwrap()]
    {
        let (reopened, name) = reopened.find(Some(&wanted)).await.unwrap();
        let root = reopened.manifest(&name.target).await.unwrap().unwrap();
        assert_eq!(root.digest, image().digest(), "{what}");
        check_whole(what, &image(), &reopened).await;
    }
}

#[tokio::test]
async fn an_image_is_the_same_wherever_it_is_copied_from_and_to() {
    let folder = tempfile::tempdir().unwrap();
    let (laid, packed) = (folder.path().join("in"), folder.path().join("in.tar"));
    std::fs::create_dir(&laid).unwrap();
    image().write_layout(&laid, "1").unwrap();
    pack(&laid, &packed);
    let origin = FakeRegistry::start().await;
    image().put(&origin, REPOSITORY, "1");
    check_all("a registry", &store(&origin), &origin).await;
    check_all("a layout", &Layout::open(&laid).await.unwrap(), &origin).await;
    check_all("an archive", &Layout::open_archive(&packed).await.unwrap(), &origin).await;
}

#[tokio::test]
async fn within_a_registry_blobs_are_mounted_and_the_tag_is_written_last() {
    let registry = FakeRegistry::start().await;
    image().put(&registry, REPOSITORY, "1");
    let copied = copy(&registry, &registry, &CopyOptions::default()).await.unwrap();
    assert_eq!(copied.bytes_read, 0);
    let posts = registry.requests_of(RequestKind::UploadPost);
    let mounted = posts.iter().filter(|post| post.query.contains("mount=") && post.status == 201);
    assert_eq!((mounted.count(), posts.len()), (image().blobs.len(), image().blobs.len()));
    let puts = registry.requests_of(RequestKind::ManifestPut);
    let tagged: Vec<bool> = puts.iter().map(|put| put.path.ends_with("/manifests/2")).collect();
    assert_eq!(tagged, [false, false, true]);

    registry.clear_requests();
    assert!(copy(&registry, &registry, &CopyOptions::default()).await.unwrap().already_there);
    for kind in [RequestKind::UploadPost, RequestKind::UploadPut, RequestKind::ManifestPut] {
        assert_eq!(registry.requests_of(kind), []);
    }
}

#[tokio::test]
async fn without_a_tag_the_copy_goes_by_its_digest() {
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    let digest = image().put(&from, REPOSITORY, "1");
    let (by_digest, nowhere) = (ImageName::from(digest), OutputPlace::default());
    let options = CopyOptions::default();
    let copied = copy_image(&store(&from), &output(&to), &nowhere, &by_digest, &options).await;
    assert_eq!(copied.unwrap().tag, None);
    assert_eq!(to.tags(OTHER), []);
    check_whole("by digest", &image(), &output(&to)).await;
}

/// Two variants of one architecture, one platform that only a configuration tells, an attestation, and an image index
/// among the entries.
fn many_platforms() -> TestImage {
    let layers = [gzip_layer(1, 5_000), gzip_layer(2, 6_000), gzip_layer(3, 7_000)];
    let mut image = TestImage::default();
    for (at, name) in ["linux/arm", "linux/arm64", "windows/amd64", "linux/s390x", "linux/riscv64"]
        .iter()
        .enumerate()
    {
        let one = TestImage::single(name, &layers[at % 3..=at % 3]);
        image.blobs.extend(one.blobs);
        image.manifests.extend(one.manifests);
    }
    let arm6 = TestImage::run("linux/arm", &layers[2..], &json!({ "User": "v6" }));
    image.blobs.extend(arm6.blobs);
    image.manifests.extend(arm6.manifests);
    let attestation = TestImage::artifact(media_type::OCI_CONFIG);
    image.blobs.extend(attestation.blobs);
    image.manifests.extend(attestation.manifests);
    let inner = [entry(&image, 4, &json!({}))];
    add_index(&mut image, &inner);
    let entries = [
        entry(&image, 6, &platform("unknown", "unknown", "")),
        entry(&image, 5, &platform("linux", "arm", "v6")),
        entry(&image, 0, &platform("linux", "arm", "v7")),
        entry(&image, 1, &platform("linux", "arm64", "v8")),
        entry(&image, 2, &platform("windows", "amd64", "")),
        entry(&image, 3, &json!({})),
        entry(&image, 7, &json!({})),
    ];
    add_index(&mut image, &entries);
    image
}

#[tokio::test]
async fn of_one_platform_its_image_manifest_is_copied_and_nothing_else() {
    let image = many_platforms();
    let from = FakeRegistry::start().await;
    image.put(&from, REPOSITORY, "1");
    let (place, name) = (place(&from, "2"), name("1"));
    let (to, source) = (FakeRegistry::start().await, store(&from));
    let client = to.client();
    for (wanted, at) in [
        ("linux/arm/v6", 5),
        ("linux/arm/v7", 0),
        ("linux/arm", 0),
        ("linux/arm64", 1),
        ("linux/arm64/v8", 1),
        ("linux/aarch64", 1),
        ("windows/amd64", 2),
        ("linux/s390x", 3),
        ("linux/riscv64", 4),
    ] {
        let repository = wanted.replace('/', "-");
        let output = RemoteRepository::new(client.clone(), to.repository(&repository));
        let options = only(wanted);
        let copy = || copy_image(&source, &output, &place, &name, &options);
        let copied = copy().await.unwrap();
        let expected = digest_of(&image, at);
        assert_eq!((copied.image, copied.digest), (image.digest(), expected), "{wanted}");
        assert_eq!(copied.media_type, media_type::OCI_MANIFEST, "{wanted}");
        assert_eq!(to.tags(&repository), [("2".to_owned(), expected)], "{wanted}");
        let there = (to.manifests(&repository).len(), to.blobs(&repository).len());
        assert_eq!(there, (1, 2), "{wanted}");
        assert!(copy().await.unwrap().already_there, "{wanted}");
    }
    // All of it has the attestation and the inner image index, too.
    copy(&from, &to, &CopyOptions::default()).await.unwrap();
    check_whole("all of it", &image, &output(&to)).await;
}

#[tokio::test]
async fn a_platform_that_the_image_lacks_is_an_error_that_lists_what_there_is() {
    let image = many_platforms();
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image.put(&from, REPOSITORY, "1");
    for wanted in ["linux/amd64", "linux/arm/v5", "linux/arm64/v9"] {
        let error = copy(&from, &to, &only(wanted)).await.unwrap_err();
        assert_eq!(error.reason(), Reason::PlatformNotFound, "{error:?}");
        let told = error.to_string();
        for has in
            ["linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64", "linux/s390x"]
        {
            assert!(told.contains(has) && told.contains(wanted), "{told}");
        }
        assert!(!told.contains("unknown"), "{told}");
    }
    // A single manifest is for one platform.
    TestImage::single("linux/arm64", &[gzip_layer(1, 900)]).put(&from, REPOSITORY, "1");
    let error = copy(&from, &to, &only("linux/amd64")).await.unwrap_err().to_string();
    assert!(error.contains("it has linux/arm64"), "{error}");
    TestImage::artifact("application/x.config").put(&from, REPOSITORY, "1");
    let error = copy(&from, &to, &only("linux/amd64")).await.unwrap_err().to_string();
    assert!(error.contains("nothing tells the platform"), "{error}");
    assert_eq!(to.manifests(OTHER), []);
    // As it is, an artifact is copied like an image.
    copy(&from, &to, &CopyOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_converted_image_is_copied_with_its_indexes_or_as_one_platform_without() {
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image().put(&from, REPOSITORY, "0");
    let mut settings = options(Version::V2);
    settings.output = soci_indexer::OutputTag::Tag("1".parse().unwrap());
    let report = indexed(index(&from, "0", &settings).await);
    let copied = copy(&from, &to, &CopyOptions::default()).await.unwrap();
    assert_eq!(copied.digest, report.index);
    let tag = soci_oci::TagOrDigest::Tag("2".parse().unwrap());
    let verified = verify_image(&output(&to), &tag, &Budget::of_this_machine()).await.unwrap();
    assert_eq!(verified.layers.len(), report.layers.len());

    let to = FakeRegistry::start().await;
    let copied = copy(&from, &to, &only("linux/arm64")).await.unwrap();
    let arm = report.indexes.iter().find(|index| {
        index.platform.as_ref().is_some_and(|platform| platform.to_string() == "linux/arm64")
    });
    assert_eq!(copied.digest, arm.unwrap().image_manifest);
}

#[tokio::test]
async fn what_the_source_lacks_is_named_and_nothing_is_copied() {
    let mut image = image();
    let gone = image.manifests.remove(1);
    let gone = Digest::sha256_of(&gone.1);
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image.put(&from, REPOSITORY, "1");
    let error = copy(&from, &to, &CopyOptions::default()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::ImageGone, false), "{error:?}");
    let told = error.to_string();
    assert!(told.contains(&format!("{gone} (linux/arm64)")), "{told}");
    assert_eq!((to.manifests(OTHER), to.blobs(OTHER)), (vec![], vec![]));
    let error = copy(&from, &to, &only("linux/arm64")).await.unwrap_err();
    assert!(matches!(error, CopyError::Lacking { .. }), "{error:?}");
    // The platform that is there can be had, also where the entries tell none.
    copy(&from, &to, &only("linux/amd64")).await.unwrap();
    let mut untold = self::image();
    let entries: Vec<Value> = (0..2).rev().map(|at| entry(&untold, at, &json!({}))).collect();
    add_index(&mut untold, &entries);
    let arm64 = untold.manifests.remove(1);
    untold.put(&from, REPOSITORY, "1");
    copy(&from, &to, &only("linux/amd64")).await.unwrap();
    let error = copy(&from, &to, &only("linux/s390x")).await.unwrap_err();
    let CopyError::Lacking { entries } = &error else { panic!("{error:?}") };
    assert_eq!(entries[0].digest, Digest::sha256_of(&arm64.1));

    // What the output has need not be in the source, and what it has lost is brought again.
    let to = FakeRegistry::start().await;
    let whole = self::image();
    whole.put(&to, OTHER, "1");
    assert_eq!(copy(&from, &to, &CopyOptions::default()).await.unwrap().bytes_read, 0);
    let (kind, root) = whole.manifests.last().unwrap();
    let to = FakeRegistry::start().await;
    to.put_manifest(OTHER, Some("2"), kind, root.clone());
    whole.put(&from, REPOSITORY, "1");
    assert!(!copy(&from, &to, &CopyOptions::default()).await.unwrap().already_there);
    check_whole("an index without its manifests", &whole, &output(&to)).await;
}

#[tokio::test]
async fn a_copy_that_was_interrupted_goes_on_where_it_was() {
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    image().put(&from, REPOSITORY, "1");
    let refusal =
        to.quirk(Quirk::on(RequestKind::UploadPut, Effect::status(403)).after(3).always());
    let error = copy(&from, &to, &CopyOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Unauthorized, "{error:?}");
    let stored = to.blobs(OTHER);
    assert!(!stored.is_empty() && to.tags(OTHER).is_empty(), "{stored:?}");
    to.lift(refusal);
    copy(&from, &to, &CopyOptions::default()).await.unwrap();
    assert!(to.blobs(OTHER).len() > stored.len());
    // Of both times: what was under way when the first one ended may be in the log late.
    let sent = to.requests_of(RequestKind::UploadPut);
    let times = |blob: &Digest| sent.iter().filter(|put| put.query.contains(&blob.hex())).count();
    let again = stored.iter().find(|blob| times(blob) > 1);
    assert!(again.is_none(), "{again:?} is sent again: {sent:?}");
    check_whole("interrupted", &image(), &output(&to)).await;
}

#[tokio::test]
async fn faults_that_pass_do_no_harm_and_what_was_lost_is_sent_again() {
    let faults: [(&[Quirk], &[Quirk]); 5] = [
        (&[Quirk::on(RequestKind::BlobGet, Effect::DropAfter(10_000)).times(3)], &[]),
        (&[Quirk::on(RequestKind::ManifestGet, Effect::status(503)).times(3)], &[]),
        (&[], &[Quirk::on(RequestKind::UploadPut, Effect::HangUp).times(3)]),
        (&[], &[Quirk::on(RequestKind::ManifestPut, Effect::LoseAnswer(500)).times(2)]),
        (
            &[],
            // It says of every blob that it has it, once.
            &[Quirk::on(RequestKind::BlobHead, Effect::status_with(200, "content-length", "0"))
                .times(3)],
        ),
    ];
    for (at_source, at_output) in faults {
        let from = FakeRegistry::start().await;
        let checking = FakeOptions { check_references: true, ..FakeOptions::default() };
        let to = FakeRegistry::with(checking).await;
        image().put(&from, REPOSITORY, "1");
        for quirk in at_source {
            from.quirk(quirk.clone());
        }
        for quirk in at_output {
            to.quirk(quirk.clone());
        }
        let copied = copy(&from, &to, &CopyOptions::default()).await;
        assert_eq!(copied.unwrap().digest, image().digest(), "{at_source:?} {at_output:?}");
        check_whole("faults", &image(), &output(&to)).await;
        assert!(!from.quirks_left() && !to.quirks_left(), "{at_source:?} {at_output:?}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_never_pushed() {
    let image = image();
    let (layer, blob) = image.blobs.iter().max_by_key(|(_, blob)| blob.len()).unwrap();
    let to = FakeRegistry::start().await;
    for (size, wrong) in wrong(blob) {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout_with(folder.path(), &image, layer, &wrong).await;
        let tagged = OutputPlace { image_tag: Some("2".parse().unwrap()), mount_from: None };
        let options = CopyOptions::default();
        let copied = copy_image(&layout, &output(&to), &tagged, &name("1"), &options).await;
        let error = copied.unwrap_err();
        let CopyError::Image(IndexError::Write {
            source: StoreError::Copy { digest, reading: true, .. },
            ..
        }) = &error
        else {
            panic!("{size}: {error:?}");
        };
        assert_eq!(digest, layer, "{size}");
        assert!(to.blob(OTHER, layer).is_none() && to.tags(OTHER).is_empty(), "{size}");
    }
    // Neither are those that change on their way, nor wrong documents.
    let from = FakeRegistry::start().await;
    image.put(&from, REPOSITORY, "1");
    let wrong = from.quirk(
        Quirk::on(RequestKind::BlobGet, Effect::Corrupt(5)).path(layer.to_string()).always(),
    );
    let error = copy(&from, &to, &CopyOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch, "{error:?}");
    from.lift(wrong);
    from.quirk(Quirk::on(RequestKind::ManifestGet, Effect::Corrupt(5)).after(1).always());
    let error = copy(&from, &to, &CopyOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DigestMismatch, "{error:?}");
    assert!(to.blob(OTHER, layer).is_none() && to.tags(OTHER).is_empty());
}

#[tokio::test]
async fn an_image_that_is_not_there_and_indexes_without_an_end_are_errors() {
    let (from, to) = (FakeRegistry::start().await, FakeRegistry::start().await);
    let error = copy(&from, &to, &CopyOptions::default()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ImageGone, "{error:?}");
    let mut deep = TestImage::single("linux/amd64", &[gzip_layer(1, 900)]);
    for _ in 0..6 {
        let inner = [entry(&deep, deep.manifests.len() - 1, &json!({}))];
        add_index(&mut deep, &inner);
    }
    deep.put(&from, REPOSITORY, "1");
    for options in [CopyOptions::default(), only("linux/amd64")] {
        let error = copy(&from, &to, &options).await.unwrap_err();
        assert!(matches!(error, CopyError::TooDeep { .. }), "{error:?}");
    }
    assert_eq!(to.manifests(OTHER), []);
}
