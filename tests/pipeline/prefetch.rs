//! What is prefetched, and how it gets into an index and out again.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use soci_indexer::{Budget, IndexError, Options, Reason, Report, VerifyError, verify_image};
use soci_manifest::format::{self, PREFETCH_LABEL, PREFETCH_MEDIA_TYPE};
use soci_manifest::{
    Generation, PrefetchArtifact, PrefetchFile, PrefetchSettings, SociIndexSettings, Version,
};
use soci_oci::{Digest, Manifest, media_type};
use soci_registry_server::testing::{FakeRegistry, RequestKind};
use soci_tests::{TestImage, TestLayer};

use crate::support::{REPOSITORY, index, indexed, name, options, store};

const SPAN: u64 = 64 << 10;

/// A file of an archive.
enum File<'a> {
    Data(&'a str, Vec<u8>),
    Link(&'a str, &'a str),
    /// So many bytes that nobody asks for.
    Filler(&'a str, usize),
}

fn layer(files: &[File<'_>]) -> TestLayer {
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        match file {
            File::Data(name, data) => {
                header.set_size(data.len() as u64);
                archive.append_data(&mut header, name, &data[..]).unwrap();
            }
            File::Link(name, target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, name, target).unwrap();
            }
            File::Filler(name, size) => {
                let mut data = vec![0; *size];
                fastrand::fill(&mut data);
                header.set_size(*size as u64);
                archive.append_data(&mut header, name, &data[..]).unwrap();
            }
        }
    }
    (media_type::OCI_LAYER, archive.into_inner().unwrap().into())
}

/// A program with a dynamic linker that needs a library.
fn elf(interpreter: &str, library: &str) -> Vec<u8> {
    // DT_NEEDED, at the first string.
    soci_startup::testing::elf(interpreter, &[library], &[(1, 1)])
}

fn prefetching(prefetch: PrefetchSettings, version: Version) -> Options {
    let base = options(version);
    let settings =
        SociIndexSettings { generation: Generation::Newer, prefetch, ..base.settings.clone() };
    Options { settings, ..base }
}

fn files(paths: &[&str]) -> PrefetchSettings {
    PrefetchSettings { files: PrefetchFile::list(paths.iter().copied()), ..Default::default() }
}

fn auto() -> PrefetchSettings {
    PrefetchSettings { auto: true, ..Default::default() }
}

/// The ranges of spans in a report, by layer.
fn ranges(report: &Report) -> Vec<(Digest, Vec<RangeInclusive<u32>>)> {
    let layers = report.prefetch.iter();
    layers.map(|layer| (layer.layer, layer.artifact.spans().to_vec())).collect()
}

/// The spans of the part of an uncompressed layer that the file's data is in.
fn spans_of(layer: &TestLayer, data: &[u8]) -> RangeInclusive<u32> {
    let at = layer.1.windows(data.len()).position(|window| window == data).unwrap() as u64;
    let span = |offset: u64| u32::try_from(offset / SPAN).unwrap();
    span(at)..=span(at + data.len() as u64)
}

fn digest(layer: &TestLayer) -> Digest {
    Digest::sha256_of(&layer.1)
}

async fn verified(
    registry: &FakeRegistry,
    tag: &str,
) -> Result<soci_indexer::Verification, VerifyError> {
    verify_image(&store(registry), &name(tag).target, &Budget::of_this_machine()).await
}

#[tokio::test]
async fn a_program_brings_its_linker_its_libraries_and_its_script() {
    let program = elf("/lib64/ld.so", "libone.so");
    let library = [elf("", "libtwo.so"), vec![1; 100_000]].concat();
    let base = layer(&[
        File::Filler("var/one", 300_000),
        File::Data("usr/lib/libone.so", library.clone()),
        File::Filler("var/two", 300_000),
        File::Data("lib64/ld.so", b"linker".to_vec()),
        File::Link("lib", "usr/lib"),
        File::Data("usr/lib/libtwo.so", b"an older one".to_vec()),
    ]);
    let upper = layer(&[
        File::Filler("var/three", 500_000),
        File::Data("usr/local/bin/python", program.clone()),
        File::Filler("var/four", 500_000),
        File::Data("usr/lib/libtwo.so", b"the newer one".to_vec()),
    ]);
    let small = layer(&[File::Data("app/start", b"#!/usr/bin/env python\nprint()\n".to_vec())]);
    let image = TestImage::run(
        "linux/amd64",
        &[base.clone(), upper.clone(), small],
        &json!({ "Entrypoint": ["./start"], "WorkingDir": "/app", "Env": ["PATH=/usr/local/bin:/bin"] }),
    );
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let mut options = prefetching(auto(), version);
        // The script's layer gets no ztoc.
        options.settings.min_layer_size = 100_000;
        let report = indexed(index(&registry, "1", &options).await);
        let expected = [
            "/app/start",
            "/lib64/ld.so",
            "/usr/lib/libone.so",
            "/usr/lib/libtwo.so",
            "/usr/local/bin/python",
        ];
        assert_eq!(report.prefetch_files, expected);
        assert_eq!(report.warnings, [""; 0]);
        let expected = [
            (digest(&base), vec![spans_of(&base, &library), spans_of(&base, b"linker")]),
            (digest(&upper), vec![spans_of(&upper, &program), spans_of(&upper, b"the newer one")]),
        ];
        assert_eq!(ranges(&report), expected);

        let again = index(&registry, "1", &options).await.unwrap();
        assert!(again.already_there && again.index == report.index, "{again:?}");
        let tag = if version == Version::V1 { "1" } else { "1-soci" };
        assert_eq!(verified(&registry, tag).await.unwrap().prefetch, report.prefetch);
    }
}

#[tokio::test]
async fn an_image_whose_program_cannot_be_known_is_indexed_all_the_same() {
    let layers = [layer(&[File::Filler("var/one", 300_000)])];
    for (config, warning) in [
        (Value::Null, Some("neither an entry point nor a command")),
        (json!({ "Cmd": ["/gone"] }), None),
        (json!({ "Cmd": 7 }), Some("cannot be read")),
    ] {
        let registry = FakeRegistry::start().await;
        TestImage::run("linux/amd64", &layers, &config).put(&registry, REPOSITORY, "1");
        let options = prefetching(auto(), Version::V2);
        let report = indexed(index(&registry, "1", &options).await);
        assert_eq!(report.prefetch, []);
        assert_eq!(report.warnings.len(), usize::from(warning.is_some()), "{:?}", report.warnings);
        assert!(report.warnings.iter().all(|text| text.contains(warning.unwrap())), "{config}");
    }
}

#[tokio::test]
async fn an_image_can_name_the_files_in_a_label() {
    let layer = layer(&[
        File::Filler("var/one", 300_000),
        File::Data("etc/app.conf", b"configuration".to_vec()),
    ]);
    let config = json!({ "Labels": { PREFETCH_LABEL: "/etc/app.conf,/gone" } });
    let image = TestImage::run("linux/amd64", std::slice::from_ref(&layer), &config);
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, "1");
    let label = PrefetchSettings { label: true, ..Default::default() };
    let report = indexed(index(&registry, "1", &prefetching(label, Version::V2)).await);
    assert_eq!(ranges(&report), [(digest(&layer), vec![spans_of(&layer, b"configuration")])]);
    assert_eq!(report.prefetch_files, ["/etc/app.conf"]);
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.contains("/gone is not prefetched"), "{warning}");

    // Files that are named otherwise stand in its place.
    let both = PrefetchSettings { label: true, ..files(&["/var/one"]) };
    let report = indexed(index(&registry, "1", &prefetching(both, Version::V2)).await);
    assert_eq!(report.prefetch_files, ["/var/one"]);
}

#[tokio::test]
async fn what_somebody_has_chosen_stays_unless_other_files_are_named() {
    let layers = [layer(&[File::Data("a", vec![1; 200_000]), File::Data("b", vec![2; 200_000])])];
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "1");
        let chosen = index(&registry, "1", &prefetching(files(&["a"]), version)).await;
        let chosen = indexed(chosen);
        let writes = registry.requests_of(RequestKind::ManifestPut).len();
        for settings in [PrefetchSettings::default(), auto(), files(&["./a"])] {
            let report = index(&registry, "1", &prefetching(settings, version)).await.unwrap();
            assert!(report.already_there, "{report:?}");
            assert_eq!((report.index, &report.prefetch), (chosen.index, &chosen.prefetch));
        }
        assert_eq!(registry.requests_of(RequestKind::ManifestPut).len(), writes);
        let other = indexed(index(&registry, "1", &prefetching(files(&["b"]), version)).await);
        assert_ne!(other.index, chosen.index);
    }
}

#[tokio::test]
async fn each_platform_keeps_what_was_chosen_for_it() {
    let shared = layer(&[File::Data("p", vec![1; 200_000]), File::Filler("x", 100_000)]);
    let upper = layer(&[File::Filler("y", 300_000), File::Data("p", vec![2; 100_000])]);
    let both = [shared.clone(), upper];
    let platforms: [(&str, &[TestLayer]); 2] =
        [("linux/amd64", &both[..1]), ("linux/arm64", &both)];
    let image = TestImage::index(&platforms);
    for version in [Version::V1, Version::V2] {
        let registry = FakeRegistry::start().await;
        image.put(&registry, REPOSITORY, "1");
        let chosen = indexed(index(&registry, "1", &prefetching(files(&["p"]), version)).await);
        assert_eq!(chosen.prefetch.len(), 2);
        let plain = prefetching(PrefetchSettings::default(), version);
        let report = index(&registry, "1", &plain).await.unwrap();
        assert!(report.already_there, "{report:?}");
        assert_eq!((report.index, &report.prefetch), (chosen.index, &chosen.prefetch));
        // Another way to choose says that it was not taken.
        let report = index(&registry, "1", &prefetching(auto(), version)).await.unwrap();
        assert!(report.already_there && report.warnings[0].contains("--force"), "{report:?}");
    }
}

#[tokio::test]
async fn indexes_of_several_lists_and_span_sizes_are_kept_and_checked_each_by_itself() {
    let registry = FakeRegistry::start().await;
    let layers = [layer(&[File::Data("a", vec![1; 200_000]), File::Data("b", vec![2; 200_000])])];
    TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "1");
    let mut coarse = prefetching(PrefetchSettings::default(), Version::V1);
    coarse.settings.span_size = 1 << 20;
    indexed(index(&registry, "1", &coarse).await);
    for file in ["a", "b"] {
        indexed(index(&registry, "1", &prefetching(files(&[file]), Version::V1)).await);
    }
    let plain = prefetching(PrefetchSettings::default(), Version::V1);
    assert!(index(&registry, "1", &plain).await.unwrap().already_there);
    let verification = verified(&registry, "1").await.unwrap();
    assert_eq!((verification.indexes.len(), verification.prefetch.len()), (3, 2));
}

#[tokio::test]
async fn what_takes_too_much_memory_to_look_into_is_said_and_the_image_indexed() {
    let registry = FakeRegistry::start().await;
    let layers = [soci_tests::many_files_layer(92_000).unwrap()];
    TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "1");
    let mut options = prefetching(files(&["7"]), Version::V2);
    options.budget = Budget::new(std::num::NonZeroUsize::MIN, Budget::LEAST_MEMORY);
    options.settings.optimize_xattrs = true;
    let report = indexed(index(&registry, "1", &options).await);
    assert_eq!(report.prefetch, []);
    assert!(
        report.warnings[0].contains("MiB") && report.warnings[0].contains("--memory"),
        "{report:?}"
    );
}

#[tokio::test]
async fn an_index_for_every_snapshotter_has_none() {
    let registry = FakeRegistry::start().await;
    let layers = [layer(&[File::Data("a", vec![1; 200_000])])];
    TestImage::single("linux/amd64", &layers).put(&registry, REPOSITORY, "1");
    let mut options = prefetching(files(&["a"]), Version::V2);
    options.settings.generation = Generation::Older;
    let error = index(&registry, "1", &options).await.unwrap_err();
    assert!(matches!(error, IndexError::PrefetchForOlder), "{error:?}");
    assert!(error.to_string().contains("--compatible-with 0.16"), "{error}");
}

/// Puts a SOCI index beside another, changed, and checks the image.
async fn changed(change: impl FnOnce(&FakeRegistry, &mut Manifest)) -> VerifyError {
    let registry = FakeRegistry::start().await;
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_pax_extensions([("SCHILY.xattr.user.x", &b"y"[..])]).unwrap();
    archive.append_data(&mut header, "with", &[][..]).unwrap();
    header.set_size(200_000);
    archive.append_data(&mut header, "a", &vec![1; 200_000][..]).unwrap();
    let layer = (media_type::OCI_LAYER, archive.into_inner().unwrap().into());
    TestImage::single("linux/amd64", &[layer]).put(&registry, REPOSITORY, "1");
    let report = indexed(index(&registry, "1", &prefetching(files(&["a"]), Version::V1)).await);
    let (kind, soci) = registry.manifest(REPOSITORY, &report.indexes[0].digest.into()).unwrap();
    let mut soci = Manifest::decode(&soci).unwrap();
    change(&registry, &mut soci);
    registry.put_manifest(REPOSITORY, None, &kind, soci.encode());
    verified(&registry, "1").await.unwrap_err()
}

#[tokio::test]
async fn a_check_finds_artifacts_that_do_not_fit_their_layer() {
    let with = |bytes: &'static [u8]| {
        move |registry: &FakeRegistry, soci: &mut Manifest| {
            let entry = soci.layers.as_mut().unwrap().last_mut().unwrap();
            assert_eq!(entry.media_type, PREFETCH_MEDIA_TYPE);
            entry.digest = registry.put_blob(REPOSITORY, bytes);
            entry.size = bytes.len() as u64;
        }
    };
    for (bytes, words) in [
        (&b"{}"[..], "version"),
        (
            br#"{"version":"1.0","prefetch_spans":[{"start_span":9,"end_span":9}]}"#,
            "spans 9 to 9 of 4",
        ),
        (br#"{"version":"1.0","prefetch_spans":[{"start_span":3,"end_span":2}]}"#, "from 3 to 2"),
    ] {
        let error = changed(with(bytes)).await;
        assert!(matches!(error, VerifyError::Index { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let alone = |_: &FakeRegistry, soci: &mut Manifest| {
        soci.layers.as_mut().unwrap().remove(0);
    };
    // The other index checks the layer, so that it is the pair within an index that is missed.
    let error = changed(alone).await;
    assert!(error.to_string().contains("no ztoc"), "{error}");
}

#[tokio::test]
async fn a_check_finds_a_layer_that_needs_the_attributes_it_is_to_be_mounted_without() {
    let error = changed(|_, soci| {
        let ztoc = &mut soci.layers.as_mut().unwrap()[0];
        ztoc.annotations.insert(format::DISABLE_XATTRS.to_owned(), "true".to_owned());
    })
    .await;
    assert!(matches!(error, VerifyError::Mismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("extended attributes"), "{error}");
}

#[test]
fn an_artifact_of_no_spans_is_read_and_never_written() {
    let empty = PrefetchArtifact::decode(br#"{"version":"1.0","prefetch_spans":[]}"#).unwrap();
    assert_eq!((empty.span_count(), PrefetchArtifact::new(Vec::new())), (0, None));
}

#[tokio::test]
async fn a_list_that_somebody_has_chosen_is_not_lost_silently() {
    let base = layer(&[File::Filler("var/one", 300_000), File::Data("bin/app", b"app".to_vec())]);
    let image = TestImage::single("linux/amd64", std::slice::from_ref(&base));
    let registry = FakeRegistry::start().await;
    image.put(&registry, REPOSITORY, "1");
    let chosen = prefetching(files(&["/bin/app"]), Version::V2);
    let with_list = indexed(index(&registry, "1", &chosen).await);
    assert_eq!(with_list.prefetch.len(), 1);

    // An index for every snapshotter has none, and one with other spans has other ztocs.
    let older = options(Version::V2);
    let mut other_spans = prefetching(PrefetchSettings::default(), Version::V2);
    other_spans.settings.span_size = 32 << 10;
    for losing in [older.clone(), other_spans] {
        let before = registry.tags(REPOSITORY);
        let error = index(&registry, "1", &losing).await.unwrap_err();
        assert_eq!(error.reason(), Reason::PrefetchKept, "{error}");
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(registry.tags(REPOSITORY), before);
    }
    let keeping = prefetching(PrefetchSettings::default(), Version::V2);
    let kept = index(&registry, "1", &keeping).await.unwrap();
    assert!(kept.already_there && kept.index == with_list.index, "{kept:?}");

    // Another image under the same tag has no use for it.
    let newer =
        TestImage::single("linux/amd64", &[base.clone(), layer(&[File::Filler("x", 200_000)])]);
    newer.put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &older).await);
    // Nor has an image whose index is broken, nor whoever insists.
    image.put(&registry, REPOSITORY, "1");
    indexed(index(&registry, "1", &chosen).await);
    let forced = Options { force: true, ..older.clone() };
    assert_eq!(indexed(index(&registry, "1", &forced).await).prefetch, []);
    indexed(index(&registry, "1", &chosen).await);
    registry.remove_blob(REPOSITORY, &with_list.prefetch[0].artifact.digest());
    indexed(index(&registry, "1", &older).await);
}
