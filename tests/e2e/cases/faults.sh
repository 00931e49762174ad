# A registry that breaks in the middle: the client resumes, and the result is the same.
# shellcheck shell=bash

cases_faults() {
    reference_exists python-oci-v2 python python-oci
    run_case "faults: connections cut in the middle of a layer" faults_cut
    run_case "faults: registry killed in the middle and started again" faults_killed
    stop toxic
    # It stays down where the case ends too early.
    answers plain || start_plain
}

# start_toxic FLAG... puts the failing proxy before the plain registry.
start_toxic() {
    start toxic python3 "$HERE/toxic_proxy.py" --listen "${PORT[toxic]}" --to "${PORT[plain]}" "$@"
}

faults_cut() {
    local result="$RUN/faults-cut.json"
    push_image plain python faults-cut
    : >"$RUN/toxic.log"
    start_toxic --cut-after 3000000 --cuts 6
    soci_index "$result" 0 "127.0.0.1:${PORT[toxic]}/faults-cut:$TAG"
    expect "the connections cut" "$(grep -c '^cut' "$RUN/toxic.log")" 6
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect "the digest behind the tag" "$(manifest_digest plain faults-cut "$TAG-soci")" "$(reference python-oci-v2 .root)"
}

faults_killed() {
    local result="$RUN/faults-killed.json" mark="$RUN/halfway" indexing tries
    push_image plain python faults-killed
    # At this rate the 200 MB of layers take some seconds, so half of them are still to come at the mark.
    start_toxic --rate 40e6 --mark-after 80000000 --mark "$mark"
    (soci_index "$result" 0 "127.0.0.1:${PORT[toxic]}/faults-killed:$TAG") &
    indexing=$!
    for ((tries = 0; tries < 600; tries++)); do
        [ ! -e "$mark" ] || break
        sleep 0.05
    done
    [ -e "$mark" ] || fail "the client did not read half of the image"
    stop plain
    expect_no_result "$result"
    # Long enough for the first new attempts to fail.
    sleep 1
    start_plain
    wait "$indexing"
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect "the digest behind the tag" "$(manifest_digest plain faults-killed "$TAG-soci")" "$(reference python-oci-v2 .root)"
}

# The kill is in the middle only if the client is still at work.
expect_no_result() {
    [ ! -s "$1" ] || fail "the client was done before the registry was killed"
}
