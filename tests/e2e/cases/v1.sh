# SOCI index V1: the image stays as it is, its SOCI indexes are found as its referrers.
# shellcheck shell=bash

cases_v1() {
    local server image
    for image in debian python; do
        v1_reference_exists "$image"
        push_image olareg "$image" "v1-$image"
        for server in plain olareg; do
            cases_v1_of "$server" "$image"
        done
    done
    run_case "v1 plain debian --platform" v1_one_platform
}

cases_v1_of() {
    run_case "v1 $1 $2 index" v1_index "$1" "$2"
    run_case "v1 $1 $2 referrers" v1_referrers "$1" "$2"
    run_case "v1 $1 $2 index again" v1_again "$1" "$2"
    run_case "v1 $1 $2 verify" v1_verify "$1" "$2"
}

# v1_reference_exists IMAGE asks the reference for its V1 result, unless that was done; the image is in the plain registry
# then.
v1_reference_exists() {
    [ ! -e "$RUN/reference/$1-v1.json" ] || return 0
    push_image plain "$1" "v1-$1"
    reference_index "$1-v1" "v1-$1" -index-version v1
}

v1_index() {
    local server=$1 image=$2 result="$RUN/v1-$1-$2.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[$server]}/v1-$image:$TAG" --index-version v1
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect "index" "$(field "$result" .index)" "$(reference "$image-v1" .root)"
    expect "the SOCI indexes" "$(v1_indexes "$result")" "$(v1_indexes "$RUN/reference/$image-v1.json")"
    expect_no_tag "$server" "v1-$image" "$TAG-soci"
}

v1_indexes() {
    jq -c '[.indexes[] | {platform, image_manifest, soci_index}] | sort_by(.platform)' "$1"
}

# Every SOCI index is listed once among the referrers of its image manifest, and can be fetched.
v1_referrers() {
    local server=$1 image=$2 subject index listed
    jq -r '.indexes[] | "\(.image_manifest) \(.soci_index)"' "$RUN/reference/$image-v1.json" >"$RUN/v1-subjects"
    [ -s "$RUN/v1-subjects" ] || fail "the reference built no SOCI index"
    while read -r subject index; do
        listed=$(referrers "$server" "v1-$image" "$subject" |
            jq -r '.manifests[] | select(.artifactType == "application/vnd.amazon.soci.index.v1+json") | .digest')
        expect "the SOCI index among the referrers of $subject" "$listed" "$index"
        expect "the digest of the SOCI index" "$(manifest_digest "$server" "v1-$image" "$index")" "$index"
    done <"$RUN/v1-subjects"
}

# referrers SERVER REPOSITORY DIGEST prints the referrers as an image index: by the API where there is one, else by the
# referrers tag schema of the OCI distribution specification.
referrers() {
    if [ "$1" = olareg ]; then
        http "$1" "$2/referrers/$3" --fail
    else
        manifest "$1" "$2" "${3/:/-}"
    fi
}

v1_again() {
    local server=$1 image=$2 result="$RUN/v1-again-$1-$2.json" before after
    before=$([ "$server" = olareg ] || writes "$server")
    soci_index "$result" 0 "127.0.0.1:${PORT[$server]}/v1-$image:$TAG" --index-version v1
    after=$([ "$server" = olareg ] || writes "$server")
    expect "outcome" "$(field "$result" .outcome)" already-indexed
    expect "the SOCI indexes" "$(v1_indexes "$result")" "$(v1_indexes "$RUN/reference/$image-v1.json")"
    [ "$server" = olareg ] || expect "the number of writing requests" "$after" "$before"
    v1_referrers "$server" "$image"
}

v1_verify() {
    soci_json "$RUN/v1-verify-$1-$2.json" 0 verify "127.0.0.1:${PORT[$1]}/v1-$2:$TAG" --plain-http
}

v1_one_platform() {
    local result="$RUN/v1-platform.json" server=plain repository=v1-platform amd64
    push_image "$server" debian "$repository"
    soci_index "$result" 0 "127.0.0.1:${PORT[$server]}/$repository:$TAG" --index-version v1 --platform linux/arm64
    expect "the SOCI indexes" "$(v1_indexes "$result")" \
        "$(v1_indexes "$RUN/reference/debian-v1.json" | jq -c 'map(select(.platform == "linux/arm64"))')"
    amd64=$(jq -r '.indexes[] | select(.platform == "linux/amd64") | .image_manifest' "$RUN/reference/debian-v1.json")
    expect_no_tag "$server" "$repository" "${amd64/:/-}"
}
