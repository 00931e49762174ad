# SOCI index V2: an image in a registry becomes a converted image under another tag.
# shellcheck shell=bash

cases_v2() {
    local server image
    push_python_as_docker
    for image in debian python mixed; do
        reference_index "$image-v2" "$image" -index-version v2
    done
    reference_index debian-arm64 debian -index-version v2 -platform linux/arm64
    reference_index mixed-settings mixed -index-version v2 -span-size 1048576 -min-layer-size 0

    for image in debian python mixed; do
        cases_v2_of plain "$image"
    done
    for server in olareg basic redirect; do
        for image in debian mixed; do
            push_image "$server" "$image"
            cases_v2_of "$server" "$image"
        done
    done
    reference_exists python-oci-v2 python python-oci
    push_image redirect python
    run_case "v2 redirect python index" v2_index_redirected_by_ranges
    run_case "v2 redirect: no credentials reach the blob store" no_credentials_leak
    run_case "v2 plain debian --platform" v2_one_platform
    run_case "v2 plain mixed --span-size --min-layer-size" v2_settings
    run_case "v2 plain mixed for snapshotters before 0.14: no ztoc of several gzip members" v2_older_snapshotters
    run_case "v2 plain debian --tag-suffix" v2_tag_suffix
    run_case "v2 plain debian by digest" v2_by_digest
    run_case "v2 plain debian: its own result again" v2_of_result
    run_case "v2 olareg debian: nothing is written to disk" v2_writes_nothing
}

cases_v2_of() {
    run_case "v2 $1 $2 index" v2_index "$1" "$2"
    run_case "v2 $1 $2 index again" v2_again "$1" "$2"
    run_case "v2 $1 $2 verify" v2_verify "$1" "$2"
    run_case "v2 $1 $2 skopeo inspect and copy" v2_skopeo "$1" "$2"
}

# The python image in the plain registry is what docker push makes: docker media types, no image index.
push_python_as_docker() {
    push_image plain debian
    push_image plain mixed
    skopeo copy --quiet --format v2s2 --dest-tls-verify=false \
        "oci:$LAYOUTS/python:$TAG" "docker://127.0.0.1:${PORT[plain]}/python:$TAG"
}

v2_index() {
    local server=$1 image=$2 result="$RUN/v2-$1-$2.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[$server]}/$image:$TAG"
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect_result "$result" "$server" "$image" "$TAG-soci" "$image-v2"
}

# expect_result RESULT SERVER REPOSITORY TAG KEY checks an outcome against the registry and the reference.
expect_result() {
    local result=$1 server=$2 repository=$3 tag=$4 key=$5 index
    index=$(field "$result" .index)
    expect "index, compared with the reference's," "$index" "$(reference "$key" .root)"
    expect "the digest behind tag $tag" "$(manifest_digest "$server" "$repository" "$tag")" "$index"
    expect "the SOCI indexes" "$(soci_indexes "$result")" "$(soci_indexes "$RUN/reference/$key.json")"
    expect "the ztocs" "$(jq -c '[(.layers + .reused_layers)[].ztoc | select(.)] | unique' "$result")" \
        "$(ztocs_in_registry "$result" "$server" "$repository")"
}

soci_indexes() {
    jq -c '[.indexes[] | {platform, soci_index}] | sort_by(.platform)' "$1"
}

ztocs_in_registry() {
    local digest
    jq -r '.indexes[].soci_index' "$1" | sort -u | while read -r digest; do
        manifest "$2" "$3" "$digest"
    done | jq -c -s '[.[].layers[].digest] | unique'
}

v2_again() {
    local server=$1 image=$2 result="$RUN/v2-again-$1-$2.json" before after
    before=$([ "$server" = olareg ] || writes "$server")
    soci_index "$result" 0 "127.0.0.1:${PORT[$server]}/$image:$TAG"
    after=$([ "$server" = olareg ] || writes "$server")
    expect "outcome" "$(field "$result" .outcome)" already-indexed
    expect "index" "$(field "$result" .index)" "$(reference "$image-v2" .root)"
    # olareg keeps no log of requests.
    [ "$server" = olareg ] || expect "the number of writing requests" "$after" "$before"
}

# Nobody asks for it: it is the default.
v2_older_snapshotters() {
    local result="$RUN/v2-older.json" again="$RUN/v2-older-again.json" image="127.0.0.1:${PORT[plain]}/mixed:$TAG" layer
    soci_json "$result" 0 index "$image" --output-tag older --plain-http
    expect "outcome" "$(field "$result" .outcome)" indexed
    layer=$(jq -r '.skipped_layers[] | select(.reason | contains("gzip member")) | .digest' "$result")
    expect "the layers that are left out" "$layer" "$(jq -r '.layers[] | select(.members > 1) | .digest' "$RUN/verify-plain-mixed.json")"
    [ -n "$layer" ] || fail "no layer is left out"
    soci_json "$again" 0 index "$image" --output-tag older --plain-http
    expect "outcome the second time" "$(field "$again" .outcome)" already-indexed
    expect "warnings of verify" "$(soci_json "$RUN/v2-older-verify.json" 0 verify "127.0.0.1:${PORT[plain]}/mixed:older" \
        --plain-http >&2 && jq -c '.warnings // []' "$RUN/v2-older-verify.json")" "[]"
}

v2_verify() {
    soci_json "$RUN/verify-$1-$2.json" 0 verify "127.0.0.1:${PORT[$1]}/$2:$TAG-soci" --plain-http
}

# Another client sees the image's layers, and copies all of the image, checking every digest on the way.
v2_skopeo() {
    local server=$1 image=$2 copy="$RUN/copy-$1-$2" credentials=()
    local source="docker://127.0.0.1:${PORT[$server]}/$image:$TAG-soci"
    ! has_auth "$server" || credentials=(--creds "$REGISTRY_USER:$REGISTRY_PASSWORD")
    skopeo inspect --tls-verify=false --override-arch amd64 --override-os linux "${credentials[@]}" "$source" >"$copy.json"
    expect "the layers that skopeo sees" "$(jq -c .Layers "$copy.json")" \
        "$(amd64_manifest "$image" | jq -c '[.layers[].digest]')"
    skopeo copy --quiet --all --dest-oci-accept-uncompressed-layers --src-tls-verify=false "${credentials[@]/#--creds/--src-creds}" \
        "$source" "oci:$copy:x"
    manifest "$server" "$image" "$TAG-soci" >"$copy.index"
    same_manifests "$copy.index" <(layout_manifest "$copy" x)
    rm -rf "$copy"
}

# layout_manifest FOLDER TAG prints the manifest or image index behind a layout's tag.
layout_manifest() {
    local digest
    digest=$(layout_digest "$1" "$2")
    cat "$1/blobs/sha256/${digest#sha256:}"
}

# amd64_manifest IMAGE prints the first manifest of an image's layout.
amd64_manifest() {
    local digest
    digest=$(layout_manifest "$LAYOUTS/$1" "$TAG" | jq -r '.manifests[0].digest // empty')
    if [ -n "$digest" ]; then
        cat "$LAYOUTS/$1/blobs/sha256/${digest#sha256:}"
    else
        layout_manifest "$LAYOUTS/$1" "$TAG"
    fi
}

# A large layer behind a redirect is read in several ranges, and gives what it gives elsewhere.
v2_index_redirected_by_ranges() {
    local result="$RUN/v2-redirect-python.json" layer path
    soci_index "$result" 0 "127.0.0.1:${PORT[redirect]}/python:$TAG"
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect_result "$result" redirect python "$TAG-soci" python-oci-v2
    layer=$(sha256sum <"$LAYERS/python" | cut -d' ' -f1)
    path="/docker/registry/v2/blobs/sha256/${layer:0:2}/$layer/data"
    [ "$(grep -cE "^GET $path bytes=.* 206$" "$RUN/files.log")" -ge 2 ] || fail "the layer was not read in ranges"
}

no_credentials_leak() {
    expect "GET requests at the blob store" "$(grep -q '^GET' "$RUN/files.log" && echo some)" some
    ! grep ' 400$' "$RUN/files.log" || fail "the blob store was sent an Authorization header"
}

v2_one_platform() {
    local result="$RUN/v2-platform.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/debian:$TAG" --platform linux/arm64 --output-tag arm64-only
    expect_result "$result" plain debian arm64-only debian-arm64
    expect "the platforms" "$(jq -c '[.indexes[].platform]' "$result")" '["linux/arm64"]'
}

v2_settings() {
    local result="$RUN/v2-settings.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/mixed:$TAG" --span-size 1048576 --min-layer-size 0 --output-tag settings
    expect_result "$result" plain mixed settings mixed-settings
}

v2_tag_suffix() {
    local result="$RUN/v2-suffix.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/debian:$TAG" --tag-suffix=.lazy
    expect "the digest behind the tag" "$(manifest_digest plain debian "$TAG.lazy")" "$(reference debian-v2 .root)"
}

v2_by_digest() {
    local result="$RUN/v2-digest.json" digest
    digest=$(manifest_digest plain debian "$TAG")
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/debian@$digest" --output-tag by-digest
    expect "the digest behind the tag" "$(manifest_digest plain debian by-digest)" "$(reference debian-v2 .root)"
}

v2_of_result() {
    local result="$RUN/v2-result.json"
    soci_index "$result" 0 "127.0.0.1:${PORT[plain]}/debian:$TAG-soci" --output-tag again
    expect "the digest behind the tag" "$(manifest_digest plain debian again)" "$(reference debian-v2 .root)"
}

v2_writes_nothing() {
    push_image olareg debian disk
    DOCKER_CONFIG="$RUN/docker" python3 "$HERE/../bench/measure.py" "$RUN/disk.json" "$SOCI_BIN" index \
        "127.0.0.1:${PORT[olareg]}/disk:$TAG" --plain-http --json >"$RUN/disk-result.json" 2>/dev/null
    expect "outcome" "$(field "$RUN/disk-result.json" .outcome)" indexed
    expect "the bytes written" "$(jq .written "$RUN/disk.json")" 0
}
