# The same comparison must fail where the index is wrong: else it would prove nothing.
# shellcheck shell=bash disable=SC2154 # tests/snapshotter/run and lib/images.sh set release, ztocs and index_flags
# Sourced by tests/snapshotter/run.

cases_control() {
    run_case "control: an image is indexed" indexed plain v2
    run_case "control: with two ztocs swapped files are wrong" swapped_ztocs_are_seen
    [ "$release" = 0.16 ] || {
        run_case "control: an image is indexed for newer snapshotters" \
            indexed_as plain newer $((ztocs + 1)) --compatible-with 0.16 --output-tag newer
        run_case "control: with an index for newer snapshotters files are wrong" files_are_wrong app:newer
    }
}

swapped_ztocs_are_seen() {
    python3 "$TESTS/swap_ztocs.py" "http://127.0.0.1:${PORT[plain]}/v2/app" "$TAG-soci" swapped 1 -1
    files_are_wrong app:swapped
}

# files_are_wrong IMAGE expects that the comparison finds differences.
files_are_wrong() {
    local code=0 log="$RUN/wrong.log"
    start_front plain
    fresh_daemons "$NO_BACKGROUND"
    pull "$1"
    fuse_mounts
    # In a subshell of its own, as `set -e` is off in a condition.
    (set -e; compare "$1") >"$log" || code=$?
    tail -n 3 "$log"
    expect "the exit code" "$code" 1
    grep -q '^DIFFERENT' "$log"
}
