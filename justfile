# The everyday commands: `just` lists them. Each is one line that also works when it is typed.
# `.ci/run` runs the same lines, which `tests/house` makes sure of.

# What .ci/run and fuzz/run have compiled is found first.
export PATH := justfile_directory() / "target/tools/bin:" + env("PATH")

[private]
default:
    @just --list --unsorted

# Everything that has to pass before a change is merged, but for fuzz-smoke.
ci:
    .ci/run

# All tests but those that need servers, the reference program or a container image.
test:
    cargo test --workspace

# The tests of one crate whose names contain NAME: `just test-one soci-oci digest`.
test-one CRATE NAME="":
    cargo test -p {{CRATE}} {{NAME}}

# The rules of the repository itself.
house:
    cargo test --workspace --test house

# Formats the code.
fmt:
    cargo fmt --all

# Whether the code is formatted.
fmt-check:
    cargo fmt --all --check

# Clippy, with nothing left to say.
lint:
    cargo clippy --quiet --workspace --all-targets -- -D warnings

# The same for the command line without the AWS SDK, as the demonstration builds it.
lint-without-aws:
    cargo clippy --quiet -p soci-index-builder --no-default-features --all-targets -- -D warnings

# What the command line says without the AWS SDK.
test-without-aws:
    cargo test -p soci-index-builder --no-default-features --test cli

# The documentation of all crates, with links that lead somewhere.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps

# Licences, sources and doubled versions of dependencies.
deny:
    cargo deny check --hide-inclusion-graph licenses bans sources

# Known vulnerabilities of dependencies.
advisories:
    cargo deny fetch db
    cargo deny check --disable-fetch advisories

# The crates that are published, packaged and used outside of the workspace.
packages:
    tests/package/run

# Whether a published crate's API breaks what its last release promises.
semver:
    tests/package/semver

# The CloudFormation template, linted.
template:
    tests/lint/run

# taskcat's configuration and its hook, without an account.
taskcat:
    tests/taskcat/run

# The template's scaling and alarms, played. NAMES and flags as in tests/scaling/run.
scaling *NAMES:
    tests/scaling/run {{NAMES}}

# The deploy command, against a stand-in for `aws`.
deploy-test:
    tests/deploy/run

# The Terraform module, against a stand-in for the provider of AWS. Needs Go.
terraform:
    tests/terraform/run

# Rules, roles, functions, lifecycle policy and preflight against code and data of AWS. GROUPS as in tests/aws/run.
aws *GROUPS:
    tests/aws/run {{GROUPS}}

# What AWS itself says of the template, in your account. FLAGS as in tests/aws/preflight.
preflight *FLAGS:
    tests/aws/preflight {{FLAGS}}

# The Prometheus rules and the Grafana dashboard, against the metrics and the runbook.
monitoring:
    tests/monitoring/run

# The status page in a browser.
browser:
    tests/browser/run

# The container image, built and used. Needs root on Debian.
image:
    tests/image/run

# The same in a third of the time, with programs that are not optimised.
image-quick:
    tests/image/run --quick

# The static program of a release and its packages, built and used. Needs root on Debian.
release:
    tests/release/run

# The same in a third of the time, with a program that is not optimised.
release-quick:
    tests/release/run --quick

# The packages of a release, made of the image's program.
release-packages:
    tests/release/run --packages

# Our own fault campaign: registries, queues, credentials and processes that fail. Needs no network.
faults *FLAGS:
    tests/faults/run --part --seed 598453 {{FLAGS}}

# All of it, for half an hour.
faults-whole *FLAGS:
    tests/faults/run --whole {{FLAGS}}

# The programs against real registries and a deployed stack. GROUPS as in tests/e2e/run.
e2e *GROUPS:
    tests/e2e/run {{GROUPS}}

# Indexed images, mounted by the real soci-snapshotter. GROUPS and `--with 0.11` as in tests/snapshotter/run.
snapshotter *GROUPS:
    tests/snapshotter/run {{GROUPS}}

# Random layers and images, built by the reference and by us. Needs Go.
conformance:
    CONFORMANCE=1 cargo test --workspace --test conformance -- --nocapture

# The reference's commands and flags against the list that docs/PARITY.md is held to. Needs Go.
parity:
    tests/conformance/flags --check

# Whether the reference has a newer release than the one that all is held against. Needs Go.
newer:
    tests/conformance/newer

# Our registry against the conformance suite of the OCI. Needs Go.
registry-conformance:
    tests/registry-conformance/run

# Other clients beside ours on registries with every habit. PROFILES as in tests/registries/run. Needs Go.
registries *PROFILES:
    tests/registries/run {{PROFILES}}

# Every fuzz target for some seconds.
fuzz-smoke:
    fuzz/run

# Every fuzz target for longer.
fuzz SECONDS="600":
    fuzz/run {{SECONDS}}

# Many random layers, decoded ahead and read as ever.
ahead ROUNDS="100000":
    AHEAD_ROUNDS={{ROUNDS}} cargo test --release -p soci-ztoc --test it random_layers

# Many deflate streams, whole and damaged, inflated as zlib does: some 40 a round.
inflate ROUNDS="2700000":
    INFLATE_ROUNDS={{ROUNDS}} cargo test --release -p soci-ztoc --test it as_zlib_does

# Speed and memory beside the reference, igzip and pigz.
bench:
    tests/bench/run

# Registry, queue and worker in one process, and a sample image that gets its index.
demo:
    cargo demo
