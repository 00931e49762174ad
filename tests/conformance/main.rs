//! Random layers, built by us and by the reference, byte for byte.
//!
//! The reference is a small Go program around soci-snapshotter's own package; `build` beside this
//! file makes it. Where it cannot be built the test says so and passes: the golden set stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed unwrap is a failed test")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers are the tests' own"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use soci_ztoc::testing::random_layer;
use soci_ztoc::{BuildError, Builder, Compression, ZtocSettings};

/// Random layers per run.
const LAYERS: u64 = 240;

fn build(layer: &[u8], compression: Compression, span_size: u64) -> Result<String, BuildError> {
    let mut builder =
        Builder::new(ZtocSettings { span_size, ..ZtocSettings::new(compression, "tool") })?;
    for piece in layer.chunks(10_007) {
        builder.push(piece)?;
    }
    let ztoc = builder.finish()?;
    Ok(soci_oci::Digest::from_sha256(ztoc.encoded.sha256()).to_string())
}

/// The reference program, if it is there or can be built.
fn reference() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let program = root.join("target/conformance/reference");
    if std::env::var_os("CONFORMANCE").is_none() {
        // Building it takes a network; `tests/e2e/run` does, plain tests only use it.
        return program.exists().then_some(program);
    }
    let status = Command::new(root.join("tests/conformance/build")).status();
    assert!(status.is_ok_and(|status| status.success()), "the reference cannot be built");
    Some(program)
}

#[test]
fn random_layers_give_the_references_ztocs() {
    let Some(reference) = reference() else {
        println!("skipped: the reference program is not built (tests/conformance/build)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    // Other layers in every run; a failure names its seed.
    let first = std::env::var("CONFORMANCE_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("{LAYERS} layers from seed {first} (CONFORMANCE_SEED={first} repeats them)");
    let mut requests = String::new();
    let mut ours = Vec::new();
    for number in 0..LAYERS {
        let seed = first.wrapping_add(number);
        let mut layer = random_layer(seed);
        if number % 8 == 7 {
            damage(&mut layer.bytes, seed);
        }
        let path = folder.path().join(number.to_string());
        std::fs::write(&path, &layer.bytes).unwrap();
        let request = json!({
            "id": seed.to_string(), "file": path, "compression": layer.compression.as_str(),
            "span_size": layer.span_size, "tool": "tool",
        });
        requests.push_str(&request.to_string());
        requests.push('\n');
        ours.push((seed, build(&layer.bytes, layer.compression, layer.span_size)));
    }
    let mut child = Command::new(reference)
        .arg("batch")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(requests.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len() as u64, LAYERS);
    let (mut equal, mut rejected) = (0, 0);
    for ((seed, ours), theirs) in ours.into_iter().zip(answers) {
        assert_eq!(theirs["id"], seed.to_string());
        match (ours, theirs["digest"].as_str().filter(|digest| !digest.is_empty())) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(ours, theirs, "seed {seed}");
                equal += 1;
            }
            (Err(_), None) => rejected += 1,
            (ours, _) => panic!("seed {seed}: {ours:?}, the reference: {theirs}"),
        }
    }
    println!("{equal} equal, {rejected} rejected by both");
    assert!(equal >= 200, "too few comparisons");
}

/// Changes, cuts or extends a layer.
fn damage(layer: &mut Vec<u8>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    match random.u8(..4) {
        0 => layer.truncate(random.usize(..layer.len())),
        1 => layer.push(0),
        2 => {
            let at = random.usize(..layer.len());
            layer[at] ^= 1 << random.u8(..8);
        }
        _ => {
            let at = random.usize(..layer.len().min(600));
            layer[at] = random.u8(..);
        }
    }
}
