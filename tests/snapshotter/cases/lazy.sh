# Images are mounted lazily, and every file is right.
# shellcheck shell=bash disable=SC2154 # lib/images.sh sets ztocs
# Sourced by tests/snapshotter/run.

cases_v2() {
    run_case "v2: an image is indexed" indexed plain v2
    run_case "v2: every layer with a ztoc is mounted by FUSE" mounted_by_fuse plain v2 "$NO_BACKGROUND"
    run_case "v2: pulling fetches nothing of these layers" expect_fetched_none plain v2
    run_case "v2: a program starts with less than half of these layers" starts_with_less plain v2
    run_case "v2: every file equals the layers'" compare "$(tag_of v2)"
    run_case "v2: no read failed" expect_no_read_error
}

cases_v1() {
    run_case "v1: an image is indexed" indexed plain v1
    run_case "v1: every layer with a ztoc is mounted by FUSE" mounted_by_fuse plain v1 "$V1_ENABLED$EAGER_BACKGROUND"
    run_case "v1: its index is found by the tag schema" expect_found_by "manifests/sha256-"
    run_case "v1: all spans are fetched in the background" everything_is_fetched plain v1
    run_case "v1: every file equals the layers' with the registry gone" compare_alone plain v1
    run_case "v1: no read failed" expect_no_read_error
}

cases_referrers() {
    run_case "referrers: an image is indexed" indexed olareg v1
    run_case "referrers: every layer with a ztoc is mounted by FUSE" mounted_by_fuse olareg v1 "$V1_ENABLED$NO_BACKGROUND"
    run_case "referrers: the index is found by the referrers API" expect_found_by "referrers/sha256:"
    run_case "referrers: a program starts with less than half of these layers" starts_with_less olareg v1
    run_case "referrers: every file equals the layers'" compare "$(tag_of v1)"
    run_case "referrers: no read failed" expect_no_read_error
}

# tag_of VERSION prints the image that is pulled.
tag_of() {
    case $1 in
    v1) echo "app:$TAG" ;;
    v2) echo "app:$TAG-soci" ;;
    esac
}

mounted_by_fuse() {
    local server=$1 version=$2
    start_front "$server"
    fresh_daemons "$3"
    pull "$(tag_of "$version")"
    expect "the number of FUSE mounts" "$(fuse_mounts)" "$ztocs"
}

# The snapshotter asks for a few bytes to learn whether the registry knows ranges.
expect_fetched_none() {
    local bytes
    bytes=$(fetched_bytes "$@")
    [ "$bytes" -lt 1000 ] || fail "$bytes bytes of the layers were fetched"
}

# expect_found_by PATH expects that a request for this part of a path was answered, and none for the other way.
expect_found_by() {
    local answered
    answered=$(requests "map(select(.status == 200 and (.path | contains(\"$1\")))) | length")
    [ "$answered" -gt 0 ] || {
        requests '.[] | "\(.status) \(.path)"' | head -n 20 >&2
        fail "no request for $1 was answered"
    }
}

starts_with_less() {
    local server=$1 version=$2 fetched size
    expect "the first line" "$(first_line "$(tag_of "$version")")" "$FIRST_LINE"
    fetched=$(fetched_bytes "$server" "$version")
    size=$(bytes_with_ztoc "$server" "$version")
    [ "$fetched" -lt $((size / 2)) ] || fail "$fetched of $size bytes were fetched"
}

# Neighbouring spans share a byte where a block of deflate ends within one, so all spans are no less than the layer.
everything_is_fetched() {
    eventually 60 all_fetched "$@"
}

all_fetched() {
    [ "$(fetched_bytes "$@")" -ge "$(bytes_with_ztoc "$@")" ]
}

compare_alone() {
    stop front
    compare "$(tag_of "$2")"
}

expect_no_read_error() {
    local errors
    errors=$(read_errors)
    [ -z "$errors" ] || fail "$errors"
}
