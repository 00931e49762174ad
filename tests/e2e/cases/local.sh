# The whole path in one process.
# shellcheck shell=bash

cases_local() {
    run_case "local: the demonstration" local_demo
    run_case "local: skopeo copy makes the index appear" local_copy
}

local_demo() {
    local began=$SECONDS
    TMPDIR="$RUN" "$SOCI_BIN" local --demo
    echo "took $((SECONDS - began)) s"
}

local_copy() {
    local code
    reference_exists debian-oci-v2 debian debian-oci
    # What it keeps there is removed with the run, however this case ends.
    start local env TMPDIR="$RUN" "$SOCI_BIN" local --listen "127.0.0.1:${PORT[local]}" --http "127.0.0.1:${PORT[local_page]}"
    push_image local debian app
    eventually 60 has_tag local app "$TAG-soci"
    soci_json "$RUN/verified.json" 0 verify "127.0.0.1:${PORT[local]}/app:$TAG-soci" --plain-http
    page local_page /status | grep -q '/app"' || fail "the status page does not name the image"
    # Pushed once more it stays as it is.
    push_image local debian app
    skopeo inspect --tls-verify=false --override-arch amd64 --override-os linux \
        "docker://127.0.0.1:${PORT[local]}/app:$TAG-soci" >"$RUN/local-inspected.json"
    code=$(terminate local 20)
    expect "the exit code" "$code" 0
    expect "the folders left" "none$(find "$RUN" -maxdepth 1 -name 'soci-index-builder-*' | wc -l)" none0
}
