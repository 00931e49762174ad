use proptest::prelude::*;

use super::*;
use crate::digest::Digest;

const DIGEST: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn rewrite_manifest(text: &str) -> String {
    String::from_utf8(Manifest::decode(text.as_bytes()).unwrap().encode()).unwrap()
}

fn rewrite_index(text: &str) -> String {
    String::from_utf8(Index::decode(text.as_bytes()).unwrap().encode()).unwrap()
}

fn config() -> String {
    format!(r#""config":{{"mediaType":"c","digest":"{DIGEST}","size":2}}"#)
}

#[test]
fn fields_are_written_in_the_order_of_the_go_structs() {
    let text = format!(
        r#"{{
            "annotations": {{"b": "<", "a": "1"}},
            "subject": {{"size": 1, "digest": "{DIGEST}", "mediaType": "s", "artifactType": "t",
                "platform": {{"variant": "v", "os.features": ["f"], "os.version": "1", "os": "o",
                    "architecture": "a", "features": ["dropped"]}},
                "data": "e30=", "annotations": {{"k": "v"}}, "urls": ["u&v"]}},
            "layers": [], {}, "artifactType": "at", "mediaType": "mt", "schemaVersion": 2, "x": [1]
        }}"#,
        config()
    );
    let expected = format!(
        concat!(
            r#"{{"schemaVersion":2,"mediaType":"mt","artifactType":"at",{},"layers":[],"#,
            r#""subject":{{"mediaType":"s","digest":"{}","size":1,"urls":["u\u0026v"],"#,
            r#""annotations":{{"k":"v"}},"data":"e30=","platform":{{"architecture":"a","os":"o","#,
            r#""os.version":"1","os.features":["f"],"variant":"v"}},"artifactType":"t"}},"#,
            r#""annotations":{{"a":"1","b":"\u003c"}}}}"#
        ),
        config(),
        DIGEST
    );
    assert_eq!(rewrite_manifest(&text), expected);
}

#[test]
fn absent_and_null_lists_are_null_and_empty_ones_stay_empty() {
    assert_eq!(rewrite_index("{}"), r#"{"schemaVersion":0,"manifests":null}"#);
    assert_eq!(rewrite_index("null"), r#"{"schemaVersion":0,"manifests":null}"#);
    assert_eq!(rewrite_index(r#"{"manifests":[]}"#), r#"{"schemaVersion":0,"manifests":[]}"#);
    assert_eq!(
        rewrite_index(r#"{"manifests":[],"subject":null,"annotations":{},"MANIFESTS":null}"#),
        r#"{"schemaVersion":0,"manifests":null}"#
    );
}

#[test]
fn an_empty_platform_is_written_in_full() {
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"","digest":"{DIGEST}","size":0,"platform":{{"architecture":"","os":""}}}}]}}"#
    );
    assert_eq!(rewrite_index(&text), text);
}

#[test]
fn keys_match_in_any_case_and_the_last_one_counts() {
    let text = format!(r#"{{"MEDIATYPE":"a",{},"mediatype":"b","ſchemaverſion":2}}"#, config());
    let manifest = Manifest::decode(text.as_bytes()).unwrap();
    assert_eq!(manifest.media_type, "b");
    assert_eq!(manifest.schema_version, 2);
}

#[test]
fn repeated_objects_and_lists_decode_over_each_other() {
    let text = format!(
        r#"{{{},"config":{{"size":7}},
            "layers":[{{"mediaType":"l","digest":"{DIGEST}","size":1}}],"layers":[{{"size":2}}],
            "annotations":{{"a":"1"}},"annotations":{{"b":"2"}}}}"#,
        config()
    );
    let manifest = Manifest::decode(text.as_bytes()).unwrap();
    assert_eq!((manifest.config.media_type.as_str(), manifest.config.size), ("c", 7));
    assert_eq!((manifest.layers()[0].media_type.as_str(), manifest.layers()[0].size), ("l", 2));
    assert_eq!(manifest.annotations.len(), 2);
}

#[test]
fn an_error_names_its_field() {
    let error = |layer: &str| {
        let text = format!(r#"{{{},"layers":[{{"digest":"{DIGEST}"}},{layer}]}}"#, config());
        Manifest::decode(text.as_bytes()).unwrap_err().to_string()
    };
    assert!(error(r#"{"digest":7}"#).contains("\"layers[1].digest\" is of type number"));
    assert!(error(r#"{"size":1.0}"#).contains("\"layers[1].size\" holds 1.0"));
    assert!(error(r#"{"data":"!"}"#).contains("\"layers[1].data\" is not base64"));
    assert!(error(r#"{"digest":"sha256:00"}"#).contains("\"layers[1].digest\" is not a digest"));
    assert!(error("null").contains("\"layers[1].digest\" is not a digest"));
    let negative = format!(r#"{{"digest":"{DIGEST}","size":-1}}"#);
    assert!(error(&negative).contains("\"layers[1].size\" holds -1"));
    assert!(error(r#"{"annotations":{"k":1}}"#).contains(r"layers[1].annotations["));
}

#[test]
fn unknown_fields_may_hold_anything() {
    let text = format!(r#"{{{},"manifests":7,"other":{{"digest":[[1e999]]}}}}"#, config());
    assert_eq!(
        rewrite_manifest(&text),
        format!(r#"{{"schemaVersion":0,{},"layers":null}}"#, config())
    );
}

#[test]
fn a_document_is_what_its_media_type_says() {
    let manifest = format!("{{{}}}", config());
    let decode = |media_type: &str, text: &str| Document::decode(media_type, text.as_bytes());
    for media_type in [media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST] {
        assert!(matches!(decode(media_type, &manifest), Ok(Document::Manifest(_))));
        for text in [
            r#"{"manifests":null}"#.to_owned(),
            r#"{"Manifests":[]}"#.to_owned(),
            format!(r#"{{"mediaType":"{}"}}"#, media_type::DOCKER_MANIFEST_LIST),
        ] {
            assert_eq!(decode(media_type, &text), Err(DocumentError::IndexForManifest), "{text}");
        }
    }
    for media_type in [media_type::OCI_INDEX, media_type::DOCKER_MANIFEST_LIST] {
        assert!(matches!(decode(media_type, "{}"), Ok(Document::Index(_))));
        for text in [
            r#"{"config":null}"#.to_owned(),
            r#"{"layers":7}"#.to_owned(),
            format!(r#"{{"mediaType":"{}"}}"#, media_type::OCI_MANIFEST),
        ] {
            assert_eq!(decode(media_type, &text), Err(DocumentError::ManifestForIndex), "{text}");
        }
    }
    assert_eq!(decode(media_type::OCI_MANIFEST, r#"{"fsLayers":[]}"#), Err(DocumentError::Schema1));
    assert!(matches!(decode("text/plain", "{}"), Err(DocumentError::MediaType(_))));
}

#[test]
fn a_config_tells_its_platform() {
    let config =
        br#"{"os":"Linux","architecture":"x86_64","variant":"v3","os.version":"1","rootfs":7}"#;
    let platform = config_platform(config).unwrap();
    assert_eq!(platform.to_string(), "Linux/x86_64/v3");
    assert_eq!(platform.os_version, "1");
    let coarse = crate::PlatformRules::Coarse.of_config(&platform);
    assert_eq!((coarse.to_string().as_str(), coarse.os_version.as_str()), ("linux/amd64", ""));
    let arm = config_platform(br#"{"architecture":"arm"}"#).unwrap();
    assert_eq!(crate::PlatformRules::Coarse.of_config(&arm).to_string(), "linux/arm/v7");
    assert!(config_platform(br#"{"os":1}"#).is_err());
}

fn annotations() -> impl Strategy<Value = Annotations> {
    proptest::collection::btree_map(any::<String>(), any::<String>(), 0..3)
}

fn platform() -> impl Strategy<Value = Platform> {
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    (texts, proptest::collection::vec(any::<String>(), 0..3)).prop_map(
        |((architecture, os, os_version, variant), os_features)| Platform {
            architecture,
            os,
            os_version,
            os_features,
            variant,
        },
    )
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    (
        (any::<String>(), any::<[u8; 32]>(), 0..=u64::MAX / 2, any::<String>()),
        proptest::collection::vec(any::<String>(), 0..3),
        annotations(),
        any::<Vec<u8>>(),
        proptest::option::of(platform()),
    )
        .prop_map(
            |((media_type, hash, size, artifact_type), urls, annotations, data, platform)| {
                Descriptor {
                    urls,
                    annotations,
                    data,
                    platform,
                    artifact_type,
                    ..Descriptor::new(media_type, Digest::from_sha256(hash), size)
                }
            },
        )
}

fn descriptors() -> impl Strategy<Value = Option<Vec<Descriptor>>> {
    proptest::option::of(proptest::collection::vec(descriptor(), 0..3))
}

/// Text made of the pieces that decoding cares about, so that most of it is close to valid.
fn manifest_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        &b"{"[..],
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\u",
        b"\\",
        b"d8",
        b"00",
        b"\xff",
        b"null",
        b"-",
        b"1",
        b"e9",
        b"\"config\":",
        b"\"layers\":",
        b"\"manifests\":",
        b"\"annotations\":",
        b"\"data\":",
        b"\"platform\":",
        b"\"a\":\"b\"",
        b" ",
    ]);
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_written_reads_back_the_same(
        schema_version: i64,
        texts: (String, String),
        config in descriptor(),
        layers in descriptors(),
        subject in proptest::option::of(descriptor()),
        annotations in annotations(),
    ) {
        let manifest = Manifest {
            schema_version,
            media_type: texts.0.clone(),
            artifact_type: texts.1.clone(),
            config,
            layers: layers.clone(),
            subject: subject.clone(),
            annotations: annotations.clone(),
        };
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        let index = Index {
            schema_version,
            media_type: texts.0,
            artifact_type: texts.1,
            manifests: layers,
            subject,
            annotations,
        };
        prop_assert_eq!(Index::decode(&index.encode()), Ok(index));
    }

    #[test]
    fn serde_json_agrees_that_what_is_written_is_json(index in descriptors()) {
        let bytes = Index { manifests: index, ..Index::new(Vec::new()) }.encode();
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }

    #[test]
    fn no_bytes_make_it_panic(noise: Vec<u8>, close in manifest_like()) {
        for bytes in [noise, close] {
            // The outcome does not matter here, only that there is one.
            let _ = Manifest::decode(&bytes);
            let _ = Document::decode(media_type::OCI_INDEX, &bytes);
            let _ = config_platform(&bytes);
        }
    }

    #[test]
    fn syntax_is_what_serde_json_calls_syntax(text in "[\\[\\]{},:\"a0-9.eE+\\-\\\\un tfrls]{0,40}") {
        // serde_json also refuses numbers that are out of range and lone surrogates, which are
        // no matter of syntax; the alphabet cannot spell surrogates.
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        prop_assert_eq!(crate::json::Value::parse(text.as_bytes()).is_ok(), theirs);
    }
}

#[test]
fn a_media_type_that_says_nothing_is_read_from_the_document() {
    let kind = |stated: &str, text: &str| root_media_type(stated, text.as_bytes()).ok();
    let manifest = Some(media_type::OCI_MANIFEST.to_owned());
    let index = Some(media_type::OCI_INDEX.to_owned());
    assert_eq!(kind("", r#"{"config":{},"layers":[]}"#), manifest);
    assert_eq!(kind("application/octet-stream", r#"{"layers":[]}"#), manifest);
    assert_eq!(kind("text/plain", r#"{"manifests":[]}"#), index);
    let stated = format!(r#"{{"mediaType":"{}","layers":[]}}"#, media_type::DOCKER_MANIFEST);
    assert_eq!(kind("application/json", &stated).as_deref(), Some(media_type::DOCKER_MANIFEST));
    assert_eq!(kind("application/vnd.other", "anything").as_deref(), Some("application/vnd.other"));
    assert_eq!(kind("text/html", "<html>log in</html>"), None);
    assert_eq!(kind("", "{}"), None);
    assert_eq!(kind("", "[]"), None);
}
