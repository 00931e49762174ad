# How soon a program speaks, and after how many bytes: with an index, and without.
# shellcheck shell=bash disable=SC2154 # tests/snapshotter/run and lib/images.sh set release, ztocs and index_flags
# Sourced by tests/snapshotter/run.

# The link to the registry: bytes per second of all answers together, and milliseconds added to each request.
readonly RATE=${LINK_RATE:-25000000} LATENCY=${LINK_LATENCY:-5}

cases_figures() {
    measure_lazily figures
    # Last, as it leaves thousands of files, which take their time to delete.
    run_case "figures: by a full pull" measure "full pull" "$(tag_of v1)" overlayfs
}

cases_prefetch() {
    if [ "$release" = 0.11 ]; then
        echo "prefetch skipped: soci-snapshotter 0.11 knows no prefetch artifacts"
        return
    fi
    if ! index_has --prefetch-auto; then
        echo "prefetch skipped: the program has no --prefetch-auto"
        return
    fi
    measure_lazily prefetch
    run_case "prefetch: an image is indexed with --prefetch-auto" indexed_for_prefetch
    run_case "prefetch: with --prefetch-auto" measure "lazily, --prefetch-auto" "app:$TAG-prefetch" soci \
        $'[prefetch]\nenable = true'
}

# measure_lazily GROUP takes the measure that two groups need, once.
measure_lazily() {
    [ ! -e "$RUN/figures/lazily.json" ] || return 0
    run_case "$1: an image is indexed" indexed plain v2
    run_case "$1: lazily" measure "lazily" "$(tag_of v2)" soci
}

indexed_for_prefetch() {
    indexed_as plain prefetch "$ztocs" "${index_flags[@]}" --prefetch-auto --output-tag "$TAG-prefetch"
    jq -e '.prefetch | length > 0' "$RUN/index/plain-prefetch.json"
}

# measure NAME IMAGE SNAPSHOTTER [SNAPSHOTTER_TOML] pulls an image over a slow link, runs its program, and notes in
# $RUN/figures what that took until the first line.
measure() {
    local name=$1 image=$2 snapshotter=$3 begin
    start_front plain --rate "$RATE" --latency "$LATENCY"
    fresh_daemons "${4:-}"
    begin=$EPOCHREALTIME
    pull "$image" "$snapshotter"
    expect "the first line" "$(first_line "$image" "$snapshotter")" "$FIRST_LINE"
    mkdir -p "$RUN/figures"
    jq -s --arg name "$name" --argjson began "$begin" --argjson spoke "$(<"$RUN/first-line-at")" \
        '{name: $name, bytes: (map(.bytes) | add), requests: length, seconds: ($spoke - $began)}' \
        "$RUN/requests.jsonl" >"$RUN/figures/$name.json"
}

# print_figures prints a table of what was measured, and writes it to $RUN/figures.json with its conditions.
print_figures() {
    [ -e "$RUN/figures" ] || return 0
    jq -s --arg release "$release" --argjson image "$(image_bytes)" --argjson rate "$RATE" --argjson latency "$LATENCY" \
        --arg command "${FIRST_OUTPUT[*]}" --argjson cores "$(nproc)" '
        {conditions: {snapshotter: $release, command: $command, image_bytes: $image, bytes_per_second: $rate,
            milliseconds_per_request: $latency, cores: $cores}, until_first_line: .}' \
        "$RUN"/figures/*.json >"$RUN/figures.json"
    jq -r '.conditions | "until the first line of \(.command)",
        "image of \(.image_bytes / 1e6 | round) MB, link of \(.bytes_per_second / 1e6) MB/s, \(.milliseconds_per_request) ms more for each request, \(.cores) cores"' \
        "$RUN/figures.json"
    printf '%-24s %10s %10s %10s %10s\n' "" MB "of image" requests seconds
    jq -r '.conditions.image_bytes as $image | .until_first_line[] | [.name, .bytes / 1e6, .bytes / $image * 100, .requests, .seconds] | @tsv' \
        "$RUN/figures.json" | while IFS=$'\t' read -r name bytes share requests seconds; do
        printf '%-24s %10.1f %8.0f %% %10d %10.1f\n' "$name" "$bytes" "$share" "$requests" "$seconds"
    done
}
