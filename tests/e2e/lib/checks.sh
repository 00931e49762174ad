# How a case runs and what it checks with.
# shellcheck shell=bash
# Sourced; the caller sets RUN, SOCI_BIN, REFERENCE, the counters passed and failed, and the servers of lib/servers.sh.

# The build tool identifier of all cases, so that results can be compared with the reference's.
readonly TOOL="soci-index-builder e2e"
# The reference here is a release after 0.11, which tells the span size in every SOCI index.
readonly LIKE_REFERENCE=(--build-tool-identifier "$TOOL" --compatible-with 0.16)

# run_case NAME FUNCTION [ARGUMENT...] runs a case in a subshell, so that a failing command ends only this case, and
# prints one line; of a failing case also the end of what it printed.
run_case() {
    local name=$1 code log
    shift
    log="$RUN/cases/${name//[^a-zA-Z0-9]/-}.log"
    mkdir -p "$RUN/cases"
    # Not in a condition: bash would switch `set -e` off in there.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1 </dev/null
    code=$?
    set -e
    if [ "$code" = 0 ]; then
        passed=$((passed + 1))
        echo "ok  $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 15 "$log" | cut -c1-400 | sed 's/^/     /'
    fi
}

# run_together [NAME FUNCTION]... runs cases at once that wait for long. They share no worker and no repository.
run_together() {
    local pids=() outputs=() output pid
    while [ $# -gt 0 ]; do
        output="$RUN/together-${#pids[@]}"
        run_case "$1" "$2" >"$output" &
        pids+=("$!") outputs+=("$output")
        shift 2
    done
    for pid in "${pids[@]}"; do
        wait "$pid"
    done
    cat "${outputs[@]}"
    # They counted in shells of their own.
    passed=$((passed + $(cat "${outputs[@]}" | grep -c '^ok  ' || true)))
    failed=$((failed + $(cat "${outputs[@]}" | grep -c '^FAIL ' || true)))
}

# fail TEXT ends the case.
fail() {
    echo "$*" >&2
    exit 1
}

# expect WHAT ACTUAL EXPECTED ends the case unless both are equal and not empty.
expect() {
    if [ "$2" != "$3" ] || [ -z "$2" ]; then
        fail "$1 is '$2', expected '$3'"
    fi
}

# eventually SECONDS COMMAND... tries a command until it succeeds, and ends the case if that takes longer. What the
# command prints on the way is dropped.
eventually() {
    local end=$((SECONDS + $1 + 1)) seconds=$1
    shift
    until ("$@") >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "not within $seconds s: $*"
        sleep 0.1
    done
}

# soci [ARGUMENT...] runs the program under test; DOCKER_CONFIG may be set by the caller.
soci() {
    DOCKER_CONFIG="${DOCKER_CONFIG:-$RUN/docker}" "$SOCI_BIN" "$@"
}

# soci_json FILE CODE [ARGUMENT...] runs the program, keeps its stdout in FILE and its stderr in FILE.err, and ends the
# case unless it exits with CODE.
soci_json() {
    local file=$1 expected=$2 code=0
    shift 2
    soci "$@" --json >"$file" 2>"$file.err" || code=$?
    echo "soci-index-builder $* --json: exit $code"
    head -c 3000 "$file"
    tail -n 10 "$file.err"
    expect "the exit code of soci-index-builder" "$code" "$expected"
}

# soci_index FILE CODE REFERENCE [ARGUMENT...] is `index` with the settings of the reference's runs and plain HTTP.
soci_index() {
    local file=$1 code=$2
    shift 2
    soci_json "$file" "$code" index "$@" "${LIKE_REFERENCE[@]}" --plain-http
}

# field FILE FILTER prints a field of a JSON file, empty if it is missing or null.
field() {
    jq -r "$2 // empty" "$1"
}

# reference_index KEY IMAGE [FLAG...] keeps the reference's result for an image in the plain registry under KEY. It is
# not pushed, so that the image's repositories stay as they are.
reference_index() {
    local key=$1 image=$2 work="$RUN/reference-work"
    shift 2
    rm -rf "$work"
    mkdir -p "$work" "$RUN/reference"
    "$REFERENCE" index -work "$work" -push=false -tool "$TOOL" "$@" "127.0.0.1:${PORT[plain]}/$image:$TAG" \
        >"$RUN/reference/$key.json" 2>"$RUN/reference/$key.log" || true
    rm -rf "$work"
    jq -r --arg key "$key" '"reference \($key): \(if .error != "" then "error: " + .error else .root end)"' \
        "$RUN/reference/$key.json" | cut -c1-160
}

# reference_exists KEY LAYOUT REPOSITORY asks the reference for its V2 result unless other cases have done so.
reference_exists() {
    [ ! -e "$RUN/reference/$1.json" ] || return 0
    push_image plain "$2" "$3"
    reference_index "$1" "$3" -index-version v2
}

# reference KEY FILTER prints a field of the reference's result.
reference() {
    field "$RUN/reference/$1.json" "$2"
}

# http SERVER PATH [CURL-ARGUMENT...] asks a registry, with credentials where it wants them.
http() {
    local server=$1 path=$2 credentials=()
    shift 2
    ! has_auth "$server" || credentials=(--user "$REGISTRY_USER:$REGISTRY_PASSWORD")
    curl --silent --show-error "${credentials[@]}" \
        -H "Accept: application/vnd.oci.image.index.v1+json" \
        -H "Accept: application/vnd.oci.image.manifest.v1+json" \
        -H "Accept: application/vnd.docker.distribution.manifest.list.v2+json" \
        -H "Accept: application/vnd.docker.distribution.manifest.v2+json" \
        "$@" "http://127.0.0.1:${PORT[$server]}/v2/$path"
}

# manifest SERVER REPOSITORY REFERENCE prints a manifest's bytes.
manifest() {
    http "$1" "$2/manifests/$3" --fail
}

# manifest_digest SERVER REPOSITORY REFERENCE prints the digest of a manifest's bytes.
manifest_digest() {
    local sum
    sum=$(manifest "$@" | sha256sum | cut -d' ' -f1)
    echo "sha256:$sum"
}

# expect_no_tag SERVER REPOSITORY TAG ends the case unless the tag is missing.
expect_no_tag() {
    expect "the status of tag $3" "$(http "$1" "$2/manifests/$3" --output /dev/null --write-out '%{http_code}')" 404
}

# writes SERVER [REPOSITORY/] prints how many writing requests a registry that logs its requests has answered so far.
writes() {
    grep -cE "[ \"](PUT|POST|PATCH|DELETE) /v2/${2:-}" "$RUN/$1.log" || true
}

# manifest_writes SERVER REPOSITORY prints how many manifests a docker-registry was sent for a repository.
manifest_writes() {
    grep -cE "\"PUT /v2/$2/manifests/" "$RUN/$1.log" || true
}

# blob_file SERVER DIGEST prints where a docker-registry keeps a blob.
blob_file() {
    local hex=${2#sha256:}
    echo "$RUN/$1/docker/registry/v2/blobs/sha256/${hex:0:2}/$hex/data"
}

# flip_byte FILE OFFSET changes one byte.
flip_byte() {
    python3 - "$1" "$2" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[2]))
    file.write(bytes([byte ^ 0x55]))
PYTHON
}

# push_image SERVER LAYOUT [REPOSITORY] copies a layout into a registry, every byte as it is.
push_image() {
    local credentials=()
    ! has_auth "$1" || credentials=(--dest-creds "$REGISTRY_USER:$REGISTRY_PASSWORD")
    skopeo copy --quiet --all --preserve-digests --dest-tls-verify=false "${credentials[@]}" \
        "oci:$LAYOUTS/$2:$TAG" "docker://127.0.0.1:${PORT[$1]}/${3:-$2}:$TAG"
}

# same_manifests ONE OTHER ends the case unless two image indexes name the same manifests in the same order. The indexes
# themselves may differ after `skopeo copy`: older ones write them anew and drop the field artifactType.
same_manifests() {
    expect "the manifests" "$(jq -c '[.manifests[].digest]' "$1")" "$(jq -c '[.manifests[].digest]' "$2")"
}
