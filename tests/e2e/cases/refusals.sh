# What cannot or must not be indexed: skipped with a reason, or failed without a trace.
# shellcheck shell=bash

cases_refusals() {
    local kind
    for kind in chart small; do
        push_image plain "$kind"
        run_case "skip $kind" skip "$kind" v2
        run_case "skip $kind v1" skip "$kind" v1
    done
    for kind in broken-checksum broken-cut; do
        push_image plain "$kind"
        reference_index "$kind" "$kind"
        run_case "fail $kind" refuse_broken "$kind"
        run_case "fail $kind v1" refuse_broken "$kind" --index-version v1
    done
    run_case "fail: blob changed in the registry" refuse_changed_blob
    run_case "fail: no such tag" refuse_missing
    run_case "fail: no such registry" refuse_unreachable
    run_case "usage errors exit with 2" refuse_usage
    run_case "auth: wrong password" refuse_login docker-wrong
    run_case "auth: no password" refuse_login docker-none
    run_case "verify: changed ztoc in the registry" refuse_changed_ztoc
    run_case "verify: image without a SOCI index" refuse_unindexed
}

skip() {
    local kind=$1 result="$RUN/skip-$1-$2.json" before
    before=$(writes plain)
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/$kind:$TAG" --index-version "$2"
    expect "outcome" "$(field "$result" .outcome)" skipped
    [ -n "$(field "$result" .reason)" ] || fail "no reason is given"
    expect_no_tag plain "$kind" "$TAG-soci"
    expect "the number of writing requests" "$(writes plain)" "$before"
}

refuse_broken() {
    local kind=$1 result="$RUN/$1.json" digest before
    shift
    [ -n "$(reference "$kind" .error)" ] || fail "the reference builds this image"
    digest=$(sha256sum <"$LAYERS/$kind" | cut -d' ' -f1)
    before=$(manifest_writes plain "$kind")
    soci_index "$result" 1 "127.0.0.1:${PORT[plain]}/$kind:$TAG" "$@"
    expect_failure "$result" "${digest:0:12}"
    expect_no_tag plain "$kind" "$TAG-soci"
    expect "the number of pushed manifests" "$(manifest_writes plain "$kind")" "$before"
}

# expect_failure RESULT TEXT checks that the outcome is a failure and that the words name TEXT.
expect_failure() {
    expect "outcome" "$(field "$1" .outcome)" failed
    [ -n "$(field "$1" .reason)" ] || fail "no reason is given"
    grep -qF -- "$2" "$1" "$1.err" || fail "the words do not name $2"
}

# A registry that hands out other bytes than the digest says.
refuse_changed_blob() {
    local repository=changed-blob result="$RUN/changed-blob.json" digest
    push_image basic mixed "$repository"
    digest=$(sha256sum <"$LAYERS/uncompressed" | cut -d' ' -f1)
    # In the data of a file, where neither gzip nor tar would notice.
    flip_byte "$(blob_file basic "$digest")" 30000000
    soci_index "$result" 1 "127.0.0.1:${PORT[basic]}/$repository:$TAG"
    flip_byte "$(blob_file basic "$digest")" 30000000
    expect_failure "$result" "${digest:0:12}"
    expect_no_tag basic "$repository" "$TAG-soci"
}

refuse_missing() {
    soci_index "$RUN/missing.json" 1 "127.0.0.1:${PORT[plain]}/debian:no-such-tag"
    expect_failure "$RUN/missing.json" no-such-tag
}

refuse_unreachable() {
    # Nothing listens there: the port is kept for the toxic proxy, which runs in its own cases only.
    soci_index "$RUN/unreachable.json" 1 "127.0.0.1:${PORT[toxic]}/debian:$TAG"
    expect_failure "$RUN/unreachable.json" "127.0.0.1:${PORT[toxic]}"
}

refuse_usage() {
    local code arguments
    for arguments in "index" "index x --index-version v3" "frobnicate" "ztoc build"; do
        code=0
        # shellcheck disable=SC2086 # the words are separate arguments
        soci $arguments || code=$?
        expect "the exit code of '$arguments'" "$code" 2
    done
}

refuse_login() {
    local result="$RUN/$1.json" secret
    push_image basic debian login
    DOCKER_CONFIG="$RUN/$1" soci_index "$result" 1 "127.0.0.1:${PORT[basic]}/login:$TAG"
    expect "outcome" "$(field "$result" .outcome)" failed
    grep -qiE '401|unauthorized|denied|credential|authenticat|log ?in' "$result" "$result.err" ||
        fail "the words do not say that the login failed"
    for secret in "$REGISTRY_PASSWORD" "$(jq -r '.auths[]?.auth' "$RUN/docker-wrong/config.json" | head -n 1)"; do
        ! grep -qF -- "$secret" "$result" "$result.err" || fail "the output holds the password"
    done
}

refuse_changed_ztoc() {
    local repository=changed-ztoc result="$RUN/changed-ztoc.json" ztoc file
    push_image basic debian "$repository"
    soci_index "$result" 0 "127.0.0.1:${PORT[basic]}/$repository:$TAG"
    ztoc=$(jq -r '[.layers[].ztoc | select(.)][0]' "$result")
    file=$(blob_file basic "$ztoc")
    flip_byte "$file" 1000
    soci_json "$RUN/changed-ztoc-verify.json" 1 verify "127.0.0.1:${PORT[basic]}/$repository:$TAG-soci" --plain-http
    flip_byte "$file" 1000
    soci_json "$RUN/changed-ztoc-verify.json" 0 verify "127.0.0.1:${PORT[basic]}/$repository:$TAG-soci" --plain-http
}

refuse_unindexed() {
    push_image basic debian unindexed
    soci_json "$RUN/unindexed.json" 1 verify "127.0.0.1:${PORT[basic]}/unindexed:$TAG" --plain-http
}
