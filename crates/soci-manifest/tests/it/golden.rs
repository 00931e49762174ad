//! Every image of the golden set, compared with what the reference builder pushed for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use soci_manifest::{
    Assembly, BuiltZtoc, ImageError, LayerKey, Plan, Planned, Platforms, Prefetch, Role,
    SkipReason, SociIndexSettings, Version,
};
use soci_oci::{Descriptor, Digest, Manifest, referrers};

use crate::support::Store;

const CASES: usize = 40;

#[test]
fn every_golden_image_gives_the_references_v1_manifests() {
    for_every_case(Version::V1);
}

#[test]
fn every_golden_image_gives_the_references_v2_manifests() {
    for_every_case(Version::V2);
}

fn for_every_case(version: Version) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.join("input.json").exists());
    cases.sort();
    assert_eq!(cases.len(), CASES);
    for path in &cases {
        let case = Case::read(path, version);
        case.check(case.plan());
    }
}

struct Case {
    name: String,
    version: Version,
    input: Value,
    expected: Value,
    root: Descriptor,
    store: Store,
    /// Bytes of the manifests that were pushed, by digest.
    pushed: BTreeMap<String, Vec<u8>>,
}

impl Case {
    fn read(path: &Path, version: Version) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let json = |file: &str| -> Value {
            serde_json::from_slice(&fs::read(path.join(file)).unwrap()).unwrap()
        };
        let key = version.to_string().to_uppercase();
        let input = json("input.json");
        let expected = json("expected.json")[&key].take();
        let mut store = Store::default();
        store.0.extend(read_all(&path.join("blobs/sha256")));
        let pushed = read_all(&path.join("expected").join(key));
        let pushed =
            pushed.into_iter().map(|(digest, bytes)| (digest.to_string(), bytes)).collect();
        let digest = text(&input["root_digest"]).parse().unwrap();
        let root = Descriptor::new(text(&input["root_media_type"]), digest, 0);
        Self { name, version, input, expected, root, store, pushed }
    }

    fn plan(&self) -> Result<Planned, ImageError> {
        let settings = SociIndexSettings {
            version: self.version,
            build_tool_identifier: text(&self.input["build_tool"]).to_owned(),
            strict: true,
            ..SociIndexSettings::default()
        };
        let platforms = match self.version {
            Version::V1 => Platforms::Only(vec!["linux/amd64".parse().unwrap()]),
            Version::V2 => Platforms::All,
        };
        self.store.plan(&self.root, &settings, &platforms)
    }

    fn check(&self, planned: Result<Planned, ImageError>) {
        let name = &self.name;
        let message = self.expected["message"].as_str().unwrap_or_default();
        match planned {
            Ok(Planned::Build(plan)) if self.expected["result"] == "error" => {
                // Only a layer's content can make it fail now.
                assert!(name.ends_with("-layer-broken"), "{name}: {message}");
                assert!(matches!(
                    plan.assemble(&self.ztocs(&plan), &Prefetch::default()),
                    Err(ImageError::ZtocMissing { .. })
                ));
            }
            Ok(Planned::Build(plan)) => {
                self.check_assembly(
                    &plan.assemble(&self.ztocs(&plan), &Prefetch::default()).unwrap(),
                );
            }
            Ok(Planned::Skip(reason)) => {
                assert!(matches!(reason, SkipReason::NothingToIndex { .. }), "{name}: {reason}");
                assert!(message.starts_with("no ztocs created"), "{name}: {message}");
            }
            Err(error) => {
                assert_eq!(self.expected["result"], "error", "{name}: {error}");
                let ours = error.to_string();
                let theirs = ["not a layer mediaType", "should have proper platform", "not found"];
                let our_words = ["not a file system", "without a platform", "not be redistributed"];
                let same = theirs.iter().zip(our_words);
                assert!(
                    same.into_iter().any(|(t, o)| message.contains(t) && ours.contains(o)),
                    "{name}: {message} / {ours}"
                );
            }
        }
    }

    fn check_assembly(&self, assembly: &Assembly) {
        let name = &self.name;
        assert_eq!(assembly.root.digest.to_string(), text(&self.expected["result"]), "{name}");
        let held: HashSet<&str> = list(&self.input["manifests"])
            .iter()
            .map(|manifest| text(&manifest["digest"]))
            .collect();
        let mut ours = BTreeMap::new();
        let mut media_types = BTreeMap::new();
        for manifest in &assembly.manifests {
            let digest = manifest.descriptor.digest.to_string();
            if held.contains(digest.as_str()) {
                assert_eq!(manifest.role, Role::Root, "{name}: {digest} is held already");
                continue;
            }
            media_types.insert(digest.clone(), manifest.descriptor.media_type.clone());
            ours.insert(digest, manifest.bytes.clone());
            if let Some(referrer) = &manifest.referrer {
                let list = referrers::add(None, &referrer.descriptor).unwrap().unwrap();
                let digest = Digest::sha256_of(&list).to_string();
                let tag = format!("sha256-{}", referrer.subject.hex());
                assert_eq!(text(&self.expected["tags"][tag]), digest, "{name}");
                media_types.insert(digest.clone(), soci_oci::media_type::OCI_INDEX.to_owned());
                ours.insert(digest, list);
            }
        }
        let words = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        for (digest, bytes) in &self.pushed {
            assert_eq!(ours.get(digest).map(words), Some(words(bytes)), "{name}: {digest}");
        }
        assert_eq!(ours.len(), self.pushed.len(), "{name}");
        let expected: BTreeMap<String, String> =
            serde_json::from_value(self.expected["pushed_manifests"].clone()).unwrap();
        assert_eq!(media_types, expected, "{name}");
        self.check_blobs(assembly);
    }

    /// The config and the ztocs are those that were pushed, or that the input holds already.
    fn check_blobs(&self, assembly: &Assembly) {
        let mut ours: BTreeSet<(String, u64)> =
            assembly.ztocs.iter().map(|ztoc| (ztoc.digest.to_string(), ztoc.size)).collect();
        ours.insert((assembly.config.digest.to_string(), assembly.config.size));
        let held: HashSet<String> = Self::soci_indexes(self.store.0.values())
            .iter()
            .flat_map(|index| std::iter::once(&index.config).chain(index.layers()))
            .map(|descriptor| descriptor.digest.to_string())
            .collect();
        ours.retain(|(digest, _)| !held.contains(digest));
        let pushed: BTreeMap<String, u64> =
            serde_json::from_value(self.expected["pushed_blobs"].clone()).unwrap();
        assert_eq!(ours, pushed.into_iter().collect(), "{}", self.name);
    }

    /// The reference's ztocs for the layers of a plan, as its SOCI indexes name them.
    fn ztocs(&self, plan: &Plan) -> HashMap<LayerKey, BuiltZtoc> {
        let documents = self.store.0.values().chain(self.pushed.values());
        let mut of_layer = HashMap::new();
        for index in Self::soci_indexes(documents) {
            for ztoc in index.layers() {
                let layer = ztoc.annotations[soci_manifest::format::IMAGE_LAYER_DIGEST].clone();
                of_layer.insert(
                    layer,
                    BuiltZtoc { digest: ztoc.digest, size: ztoc.size, without_xattrs: false },
                );
            }
        }
        let keys = plan.layers_to_build().into_iter().map(|layer| layer.key);
        keys.filter_map(|key| Some((key, *of_layer.get(&key.digest.to_string())?))).collect()
    }

    fn soci_indexes<'a>(documents: impl Iterator<Item = &'a Vec<u8>>) -> Vec<Manifest> {
        let manifests = documents.filter_map(|bytes| Manifest::decode(bytes).ok());
        let configs = [Version::V1.config(), Version::V2.config()];
        manifests.filter(|manifest| configs.contains(&manifest.config)).collect()
    }
}

/// The files of a folder by the digest that their name is; none without the folder.
fn read_all(folder: &Path) -> HashMap<Digest, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return HashMap::new() };
    let read = |path: PathBuf| {
        let hex = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(Digest::sha256_of(&bytes), digest);
        (digest, bytes)
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
