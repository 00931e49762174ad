# Tools of the end-to-end tests and the benchmark: installs what is missing and builds the programs.
# shellcheck shell=bash
# Sourced; the caller sets ROOT (the workspace's folder) and WORK (the folder to write to).

# need COMMAND PACKAGE installs a Debian package unless the command is there. A shell function of that name is no command.
missing_packages=()
need() {
    PATH="$PATH:/usr/sbin:/sbin" type -P "$1" >/dev/null || missing_packages+=("$2")
}

# install_missing installs what `need` noted.
install_missing() {
    [ "${#missing_packages[@]}" = 0 ] && return
    echo "installing ${missing_packages[*]}"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing_packages[*]}; installing them takes root and apt-get" >&2
        exit 3
    fi
    local log="$WORK/apt.log"
    # The packages' own services are of no use here and must not occupy ports.
    local policy=/usr/sbin/policy-rc.d added_policy=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        added_policy=yes
    fi
    local code=0
    { apt-get -q update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y install "${missing_packages[@]}"; } \
        >"$log" 2>&1 </dev/null || code=$?
    [ "$added_policy" = no ] || rm -f "$policy"
    if [ "$code" != 0 ]; then
        tail -n 20 "$log" >&2
        echo "apt-get failed, see $log" >&2
        exit 3
    fi
    missing_packages=()
    hash -r
}

# require_go ends the run where Go, which no Debian package gives in a version new enough, is missing.
require_go() {
    command -v go >/dev/null || {
        echo "Go is not installed; the registry olareg and the reference program are built with it" >&2
        exit 3
    }
}

# build_soci_bin sets SOCI_BIN to the program under test, built unless the caller's environment names one.
build_soci_bin() {
    if [ -z "${SOCI_BIN:-}" ]; then
        echo "building soci-index-builder"
        # With the Lambdas, in one go: apart, cargo would compile shared dependencies once more for their features.
        (cd "$ROOT" && cargo build --quiet --release -p soci-index-builder -p soci-filter-lambda -p soci-index-lambda) </dev/null
        SOCI_BIN="${CARGO_TARGET_DIR:-$ROOT/target}/release/soci-index-builder"
    fi
    [ -x "$SOCI_BIN" ] || {
        echo "SOCI_BIN=$SOCI_BIN is not a program" >&2
        exit 3
    }
    SOCI_BIN=$(realpath "$SOCI_BIN")
}

# build_reference sets REFERENCE to the reference program.
build_reference() {
    echo "building the reference program"
    REFERENCE=$("$ROOT/tests/conformance/build" "$ROOT/target/conformance/reference")
    export REFERENCE
}

# build_olareg sets OLAREG to the OCI 1.1 registry.
build_olareg() {
    echo "building olareg"
    OLAREG="$ROOT/target/e2e/bin/olareg"
    (cd "$ROOT/tests/e2e/olareg" && go build -o "$OLAREG" github.com/olareg/olareg/cmd/olareg)
}

# build_registries sets DISTRIBUTION to the registry of distribution 3 and CRANE to crane, which serves one, too.
build_registries() {
    echo "building distribution 3"
    DISTRIBUTION="$ROOT/target/e2e/bin/distribution"
    (cd "$ROOT/tests/e2e/distribution" && go build -o "$DISTRIBUTION" .)
    build_crane
}

# build_crane sets CRANE to crane, unless the caller's environment names one.
build_crane() {
    [ -z "${CRANE:-}" ] || return 0
    echo "building crane"
    CRANE="$ROOT/target/registries/crane"
    (cd "$ROOT/tests/registries" && go build -o "$CRANE" github.com/google/go-containerregistry/cmd/crane)
}

# fetch_wheels FOLDER REQUIREMENT... downloads wheels from PyPI for one fixed platform, so that every machine gets the
# same files, and does nothing where they are there.
fetch_wheels() {
    local folder=$1
    shift
    [ -e "$folder/complete" ] && return
    echo "downloading $*"
    python3 -m pip --version >/dev/null 2>&1 || {
        missing_packages+=(python3-pip)
        install_missing
    }
    mkdir -p "$folder"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
        --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --dest "$folder" "$@" </dev/null
    touch "$folder/complete"
}

# unpack_wheels FROM TO unpacks all wheels of a folder as pip would lay them out in site-packages.
unpack_wheels() {
    python3 - "$1" "$2" <<'PYTHON'
import pathlib, sys, zipfile
for wheel in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(sys.argv[2])
PYTHON
}
