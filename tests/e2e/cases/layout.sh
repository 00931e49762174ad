# Image layouts on disk: the result is written into the layout.
# shellcheck shell=bash

cases_layout() {
    reference_exists debian-v2 debian debian
    reference_exists mixed-v2 mixed mixed
    local image
    for image in debian mixed; do
        run_case "layout $image index" layout_index "$image"
        run_case "layout $image index again" layout_again "$image"
        run_case "layout $image verify" layout_verify "$image"
    done
    # Only this one: on the way into a registry skopeo compresses what is not compressed.
    run_case "layout debian skopeo copy" layout_skopeo debian
    run_case "layout debian: a wrong span digest fails verify" layout_tampered
}

layout_index() {
    local image=$1 result="$RUN/layout-$1.json" folder="$RUN/layout-$1"
    # Links, not copies: blobs are never changed in place.
    cp -rl "$LAYOUTS/$image" "$folder"
    cp --remove-destination "$LAYOUTS/$image/index.json" "$folder/index.json"
    soci_index "$result" 0 "oci:$folder:$TAG"
    expect "outcome" "$(field "$result" .outcome)" indexed
    expect "index" "$(field "$result" .index)" "$(reference "$image-v2" .root)"
    expect "the digest behind the tag" "$(layout_digest "$folder" "$TAG-soci")" "$(reference "$image-v2" .root)"
    expect "the digest behind the old tag" "$(layout_digest "$folder" "$TAG")" "$(layout_digest "$LAYOUTS/$image" "$TAG")"
}

# layout_digest FOLDER TAG prints the digest that a layout's index.json has for a tag.
layout_digest() {
    jq -r --arg tag "$2" \
        '.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | .digest' "$1/index.json"
}

layout_again() {
    local image=$1 result="$RUN/layout-again-$1.json"
    soci_index "$result" 0 "oci:$RUN/layout-$image:$TAG"
    expect "outcome" "$(field "$result" .outcome)" already-indexed
    expect "index" "$(field "$result" .index)" "$(reference "$image-v2" .root)"
}

layout_verify() {
    soci_json "$RUN/layout-verify-$1.json" 0 verify "oci:$RUN/layout-$1:$TAG-soci"
}

# Another client takes the layout into a registry.
layout_skopeo() {
    skopeo copy --quiet --all --dest-tls-verify=false \
        "oci:$RUN/layout-$1:$TAG-soci" "docker://127.0.0.1:${PORT[plain]}/from-layout-$1:$TAG-soci"
    same_manifests <(manifest plain "from-layout-$1" "$TAG-soci") <(layout_manifest "$RUN/layout-$1" "$TAG-soci")
}

layout_tampered() {
    local folder="$RUN/layout-tampered"
    cp -rl "$RUN/layout-debian" "$folder"
    cp --remove-destination "$RUN/layout-debian/index.json" "$folder/index.json"
    python3 "$HERE/tamper.py" "$folder" "$TAG-soci"
    soci_json "$RUN/layout-tampered.json" 1 verify "oci:$folder:$TAG-soci"
    [ -s "$RUN/layout-tampered.json.err" ] || [ -n "$(field "$RUN/layout-tampered.json" .reason)" ] ||
        fail "verify gives no reason"
}
