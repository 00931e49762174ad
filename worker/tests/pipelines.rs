//! The GitHub Action, and the snippets of `docs/PIPELINES.md`: their shell runs, with a program in the place of the real one that
//! takes what the real one takes, and says what it is told to.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_yaml_ng::Value;
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const IMAGE: &str = "registry.example/team/app:1";
const DEPLOY: &str = "registry.example/team/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap()
}

/// Puts another program into the archives of a release, as whoever can write there might.
const OTHER_PROGRAM: &str = "for d in soci-*-amd64 soci-*-arm64; do [ ! -d $d ] || { echo \"# other\" \
                             >>$d/soci-index-builder; tar -czf $d.tar.gz $d; }; done";

/// A folder with a release that `curl` gets, and what else is there in the place of the real thing. `calls` has a line for
/// each call.
struct Place {
    folder: TempDir,
}

impl Place {
    /// `waits` is the exit code of `wait`, and `index` ends likewise.
    fn where_it_ends_with(waits: i32) -> Self {
        let told = match waits {
            0 => {
                format!(r#"{{"outcome":"indexed","reason":null,"deploy":"{DEPLOY}","seconds":1}}"#)
            }
            3 => format!(
                r#"{{"outcome":"skipped","reason":"nothing-to-index","detail":"no \"deploy\":\"x\"","deploy":"{DEPLOY}"}}"#
            ),
            _ => r#"{"outcome":"failed","reason":"image-gone","detail":"no"}"#.to_owned(),
        };
        Self::where_they_end_with(waits, &told, i32::from(!matches!(waits, 0 | 3)))
    }

    /// `told` is what `index` prints, and `indexes` its exit code.
    fn where_they_end_with(waits: i32, told: &str, indexes: i32) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let names =
            [machine, "amd64"].map(|arch| format!("soci-index-builder-{VERSION}-linux-{arch}"));
        std::fs::create_dir_all(place.path("release")).unwrap();
        std::fs::create_dir_all(place.path("bin")).unwrap();
        let calls = place.path("calls");
        // What the real one does not take is a mistake: it reads all flags before it prints its help.
        let says =
            if matches!(waits, 0 | 3) { format!("echo {DEPLOY}") } else { "true".to_owned() };
        let program = format!(
            "#!/bin/sh\necho \"soci-index-builder $*\" >>{calls}\n{real} \"$@\" --help >/dev/null || exit 99\n\
             if [ \"$1\" = wait ]; then {says}; exit {waits}; fi\ncat <<'END'\n{told}\nEND\nexit {indexes}\n",
            calls = calls.display(),
            real = env!("CARGO_BIN_EXE_soci-index-builder"),
        );
        for name in &names {
            let folder = place.path("release").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            executable(&folder.join("soci-index-builder"), &program);
            let packed = Command::new("tar")
                .arg("-C")
                .arg(place.path("release"))
                .arg("-czf")
                .arg(place.path("release").join(format!("{name}.tar.gz")))
                .arg(name)
                .status();
            assert!(packed.unwrap().success());
        }
        let sums = Command::new("sh")
            .args(["-c", "sha256sum -- *.tar.gz >SHA256SUMS"])
            .current_dir(place.path("release"))
            .status();
        assert!(sums.unwrap().success());
        // Copies the last part of each URL from the release, by the name that -o gives or by its own.
        let curl = format!(
            "#!/bin/sh\necho \"curl $*\" >>{calls}\nto=\nfor a; do case $a in -o) next=1;; https://*/v{VERSION}/*) \
             cp {release}/\"${{a##*/}}\" \"${{to:-${{a##*/}}}}\" || exit 22;; *) [ -n \"${{next:-}}\" ] && to=$a && next=;; \
             esac; done\nexit 0\n",
            calls = calls.display(),
            release = place.path("release").display(),
        );
        executable(&place.path("bin/curl"), &curl);
        let kubectl = format!("#!/bin/sh\necho \"kubectl $*\" >>{}\n", calls.display());
        executable(&place.path("bin/kubectl"), &kubectl);
        place
    }

    /// Changes the release, after its checksums were written.
    fn change(&self, script: &str) {
        let changed =
            Command::new("sh").args(["-ec", script]).current_dir(self.path("release")).status();
        assert!(changed.unwrap().success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("RUNNER_TEMP", self.folder.path())
            .env("GITHUB_OUTPUT", self.path("output"))
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// The calls so far, but for those of curl.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with("curl ")).map(str::to_owned).collect()
    }

    fn outputs(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.path("output")).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// The inputs of the action with their defaults, as its script gets them.
fn inputs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    let action = yaml(&std::fs::read_to_string(top().join("action/action.yml")).unwrap());
    let defaults = action["inputs"].as_mapping().unwrap().iter().map(|(name, input)| {
        let default = input["default"].as_str().unwrap_or_default();
        (name.as_str().unwrap().to_owned(), default.to_owned())
    });
    let mut values: BTreeMap<String, String> = defaults.collect();
    for (name, value) in given {
        assert!(values.contains_key(*name), "{name} is no input");
        values.insert((*name).to_owned(), (*value).to_owned());
    }
    let step = &action["runs"]["steps"][0];
    assert_eq!(step["run"].as_str(), Some("\"$GITHUB_ACTION_PATH/run\""));
    let variables = step["env"].as_mapping().unwrap().iter().map(|(variable, value)| {
        let value = value.as_str().unwrap();
        let name = value.strip_prefix("${{ inputs.").unwrap().strip_suffix(" }}").unwrap();
        (variable.as_str().unwrap().to_owned(), values.remove(name).unwrap())
    });
    let variables = variables.collect();
    assert!(values.is_empty(), "the script does not get {values:?}");
    variables
}

fn act(place: &Place, given: &[(&str, &str)]) -> Output {
    let inputs = inputs(given);
    let variables: Vec<_> =
        inputs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    place.run(top().join("action/run").to_str().unwrap(), &[], &variables)
}

#[test]
fn the_action_indexes_and_says_what_to_deploy() {
    let place = Place::where_it_ends_with(0);
    let given = [("image", IMAGE), ("platforms", "linux/amd64, linux/arm64")];
    let output = act(&place, &given);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let options = "--index-version v2 --platform linux/amd64 --platform linux/arm64";
    assert_eq!(place.calls(), [format!("soci-index-builder index --json {options} {IMAGE}")]);
    let outputs = place.outputs();
    assert_eq!((outputs["image"].as_str(), outputs["indexed"].as_str()), (DEPLOY, "true"));
}

/// Why it gets none may be in its layers, so that `wait` would wait for an index that never comes.
#[test]
fn the_action_deploys_an_image_that_gets_no_index_whatever_the_reason() {
    let given = [("image", IMAGE)];
    let strict = [("image", IMAGE), ("require-index", "true")];
    for (given, ends) in [(&given[..], 0), (&strict, 3)] {
        let place = Place::where_it_ends_with(3);
        let output = act(&place, given);
        assert_eq!(code(&output), ends, "{}", said(&output));
        assert_eq!(place.calls().len(), 1);
        let image = place.outputs().get("image").cloned();
        assert_eq!(image.as_deref(), (ends == 0).then_some(DEPLOY));
    }
    // One whose list of files is kept has an index, which is not the one that was asked for.
    let kept = r#"{"outcome":"skipped","reason":"prefetch-kept","detail":"no"}"#;
    let place = Place::where_they_end_with(0, kept, 0);
    let output = act(&place, &given);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let outputs = place.outputs();
    assert_eq!((outputs["image"].as_str(), outputs["indexed"].as_str()), (DEPLOY, "true"));
    // One that fails ends as it does.
    let place = Place::where_it_ends_with(1);
    assert_eq!((code(&act(&place, &given)), place.calls().len()), (1, 1));
    assert!(place.outputs().is_empty());
}

#[test]
fn the_action_waits_and_ends_as_the_program_does() {
    let waiting = [("image", IMAGE), ("mode", "wait"), ("timeout", "5m"), ("index-version", "v1")];
    let strict = [&waiting[..], &[("require-index", "true")]].concat();
    for (waits, given, ends, indexed) in [
        (0, &waiting[..], 0, Some("true")),
        (1, &waiting, 1, None),
        (3, &waiting, 0, Some("false")),
        (3, &strict, 3, None),
        (4, &waiting, 4, None),
    ] {
        let place = Place::where_it_ends_with(waits);
        let output = act(&place, given);
        assert_eq!(code(&output), ends, "{}", said(&output));
        let wait = format!("soci-index-builder wait --timeout 5m --index-version v1 {IMAGE}");
        assert_eq!(place.calls(), [wait]);
        assert_eq!(place.outputs().get("indexed").map(String::as_str), indexed);
    }
}

#[test]
fn the_action_runs_nothing_that_its_checksum_does_not_name() {
    for spoil in
        [OTHER_PROGRAM, "echo >SHA256SUMS", "sed -i 's/linux/other/' SHA256SUMS", "rm SHA256SUMS"]
    {
        let place = Place::where_it_ends_with(0);
        place.change(spoil);
        let output = act(&place, &[("image", IMAGE)]);
        assert_ne!(code(&output), 0, "{spoil}: {}", said(&output));
        assert_eq!(place.calls(), Vec::<String>::new(), "{spoil}");
    }
}

#[test]
fn the_action_takes_no_input_for_a_program() {
    let hostile = "$(touch pwned)`touch pwned`; touch pwned #";
    for given in [
        vec![("image", "")],
        vec![("image", "--help")],
        vec![("image", IMAGE), ("mode", hostile)],
        vec![("image", IMAGE), ("version", hostile)],
        vec![("image", IMAGE), ("version", "latest")],
    ] {
        let place = Place::where_it_ends_with(0);
        let output = act(&place, &given);
        assert_eq!(code(&output), 2, "{given:?}: {}", said(&output));
        assert_eq!(place.calls(), Vec::<String>::new());
    }
    let place = Place::where_it_ends_with(0);
    act(&place, &[("image", hostile), ("timeout", hostile), ("platforms", hostile)]);
    assert!(!place.path("pwned").exists());
}

/// The YAML of a section of the document.
fn snippet(heading: &str) -> Value {
    let document = std::fs::read_to_string(top().join("docs/PIPELINES.md")).unwrap();
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, code) = section.split_once("```yaml\n").unwrap();
    yaml(code.split_once("\n```").unwrap().0)
}

fn lines(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

fn variables(value: &Value) -> Vec<(&str, &str)> {
    let pairs = value.as_mapping().unwrap().iter();
    pairs.map(|(name, value)| (name.as_str().unwrap(), value.as_str().unwrap())).collect()
}

#[test]
fn the_snippet_for_github_gives_the_action_what_it_takes() {
    let steps = snippet("GitHub Actions")["jobs"]["deploy"]["steps"].clone();
    let uses = steps[0]["uses"].as_str().unwrap();
    let repository = env!("CARGO_PKG_REPOSITORY").trim_start_matches("https://github.com/");
    assert_eq!(uses, format!("{repository}/action@v{VERSION}"));
    let with = variables(&steps[0]["with"]);
    assert!(inputs(&with).iter().any(|(name, value)| name == "INPUT_VERSION" && value == VERSION));
    let default = inputs(&[]);
    assert!(default.iter().any(|(name, value)| name == "INPUT_VERSION" && value == VERSION));
    assert_eq!(steps[1]["env"]["IMAGE"].as_str(), Some("${{ steps.soci.outputs.image }}"));
    let place = Place::where_it_ends_with(0);
    let output =
        place.run("bash", &["-ec", steps[1]["run"].as_str().unwrap()], &[("IMAGE", DEPLOY)]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(place.calls(), [format!("kubectl set image deployment/app app={DEPLOY}")]);
}

/// Runs lines as one script that ends with the first that fails, with another end of `wait` each time.
fn plays(script: &str, given: &[(&str, &str)], deployed: impl Fn(&Place) -> bool) {
    assert!(given.contains(&("VERSION", VERSION)));
    for (waits, deploys) in [(0, true), (3, true), (1, false), (4, false)] {
        for shell in ["sh", "bash"] {
            let place = Place::where_it_ends_with(waits);
            let output = place.run(shell, &["-ec", script], given);
            assert_eq!(code(&output) == 0, deploys, "{waits}: {}", said(&output));
            assert_eq!(place.calls()[0], format!("soci-index-builder wait --timeout 15m {IMAGE}"));
            assert_eq!(deployed(&place), deploys, "{waits}: {}", said(&output));
        }
    }
    let place = Place::where_it_ends_with(0);
    place.change(OTHER_PROGRAM);
    let output = place.run("sh", &["-ec", script], given);
    assert_ne!(code(&output), 0, "{}", said(&output));
    assert_eq!(place.calls(), Vec::<String>::new(), "a program that nobody vouches for");
}

#[test]
fn the_snippet_for_gitlab_deploys_what_is_there_and_fails_otherwise() {
    let job = snippet("GitLab")["deploy"].clone();
    let (registry, commit) = IMAGE.rsplit_once(':').unwrap();
    let mut given = variables(&job["variables"]);
    given.extend([("CI_REGISTRY_IMAGE", registry), ("CI_COMMIT_SHA", commit)]);
    plays(&lines(&job["script"]).join("\n"), &given, |place| {
        place.calls().contains(&format!("kubectl set image deployment/app app={DEPLOY}"))
    });
}

#[test]
fn the_line_without_a_service_deploys_what_index_says() {
    let document = std::fs::read_to_string(top().join("docs/PIPELINES.md")).unwrap();
    let (_, code_block) = document.split_once("```sh\n").unwrap();
    let line = code_block.split_once("\n```").unwrap().0;
    let (registry, commit) = IMAGE.rsplit_once(':').unwrap();
    let given = [("CI_REGISTRY_IMAGE", registry), ("CI_COMMIT_SHA", commit)];
    for (ends, deploys) in [(0, true), (3, true), (1, false)] {
        let place = Place::where_it_ends_with(ends);
        place.change("tar -xzf soci-*-amd64.tar.gz; cp soci-*-amd64/soci-index-builder ../bin");
        let script = format!("{line}\nkubectl set image deployment/app app=\"$DEPLOY\"");
        let output = place.run("sh", &["-ec", &script], &given);
        assert_eq!(code(&output) == 0, deploys, "{ends}: {}", said(&output));
        let deployed = format!("kubectl set image deployment/app app={DEPLOY}");
        assert_eq!(place.calls().contains(&deployed), deploys, "{ends}");
    }
}

#[test]
fn the_snippet_for_codebuild_writes_what_the_deployment_takes() {
    let spec = snippet("CodePipeline");
    let phases = &spec["phases"];
    let commands = ["install", "build"].map(|phase| lines(&phases[phase]["commands"]).join("\n"));
    let mut given = variables(&spec["env"]["variables"]);
    given.push(("IMAGE", IMAGE));
    let written = spec["artifacts"]["files"].as_str().unwrap().to_owned();
    plays(&commands.join("\n"), &given, |place| {
        let Ok(text) = std::fs::read_to_string(place.path(&written)) else { return false };
        let images: Value = yaml(&text);
        assert_eq!(images[0]["imageUri"].as_str(), Some(DEPLOY));
        true
    });
}

#[test]
fn the_snippet_for_argo_runs_the_program_as_it_is() {
    let templates = snippet("Argo Workflows")["spec"]["templates"].clone();
    let container = &templates[1]["container"];
    let image = container["image"].as_str().unwrap();
    assert!(image.ends_with(&format!("/soci-index-builder:{VERSION}")), "{image}");
    let dockerfile = std::fs::read_to_string(top().join("Dockerfile")).unwrap();
    let command = lines(&container["command"])[0];
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{command}\"]")), "{command}");
    let arguments = lines(&container["args"]);
    assert_eq!(arguments.last(), Some(&"{{workflow.parameters.image}}"));
    let mut arguments = arguments[..arguments.len() - 1].to_vec();
    arguments.extend([IMAGE, "--help"]);
    let output =
        Command::new(env!("CARGO_BIN_EXE_soci-index-builder")).args(arguments).output().unwrap();
    assert_eq!(code(&output), 0, "{}", said(&output));
    let passed = &templates[0]["steps"][1][0]["arguments"]["parameters"][0]["value"];
    assert_eq!(passed.as_str(), Some("{{steps.wait.outputs.result}}"));
}

#[test]
fn the_document_has_the_exit_codes_of_the_program() {
    let document = std::fs::read_to_string(top().join("docs/PIPELINES.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let documented: Vec<&str> = rows.filter(|cell| cell.parse::<u8>().is_ok()).collect();
    let help = Command::new(env!("CARGO_BIN_EXE_soci-index-builder"))
        .args(["wait", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    let known = codes.lines().filter_map(|line| line.trim().split("  ").next());
    let known: Vec<&str> = known.filter(|word| word.parse::<u8>().is_ok()).collect();
    assert_eq!(documented, known);
}
