# The indexed images in the registries.
# shellcheck shell=bash disable=SC2034,SC2154 # other files use the flags, the caller sets release
# Sourced; the caller sets RUN, LAYERS, LAYOUTS, SOCI_BIN, release and PORT. Needs tests/e2e/lib/{servers,checks}.sh.
#
# All images are in the repository `app`: app:$TAG is the image, app:$TAG-soci its conversion (V2), other tags are V2, too.

# choose_flags sets the flags for `index`, and how many layers get a ztoc with them. Releases before 0.14 read layers of
# several gzip members wrongly, which is why the program leaves such layers out unless it is told otherwise.
choose_flags() {
    index_flags=()
    ztocs=5
    [ "$release" = 0.11 ] || {
        index_flags=(--compatible-with 0.16)
        ztocs=6
    }
}

# index_has FLAG tells whether the program under test knows a flag of `index`.
index_has() {
    "$SOCI_BIN" index --help | grep -q -e "$1"
}

start_registries() {
    choose_ports
    mkdir -p "$RUN"/{plain,olareg,index}
    registry_config plain >"$RUN/plain.yml"
    start plain docker-registry serve "$RUN/plain.yml"
    start olareg "$OLAREG" serve --addr 127.0.0.1 --port "${PORT[olareg]}" --dir "$RUN/olareg"
}

# indexed SERVER VERSION pushes the image and its index to a registry unless they are there.
indexed() {
    indexed_as "$1" "$2" "$ztocs" --index-version "$2" "${index_flags[@]}"
}

# indexed_as SERVER NAME ZTOCS [FLAG...] does so with other flags, and expects so many layers to have a ztoc. What `index`
# said is in $RUN/index/SERVER-NAME.json.
indexed_as() {
    local server=$1 name=$2 expected=$3 result="$RUN/index/$1-$2.json"
    shift 3
    [ ! -e "$result" ] || return 0
    push_image "$server" app app
    # It gets its name last, so that what failed is tried again and not taken for done.
    soci_json "$result.part" 0 index --plain-http "$@" "127.0.0.1:${PORT[$server]}/app:$TAG"
    expect "the outcome" "$(field "$result.part" .outcome)" indexed
    expect "the number of ztocs" "$(jq '.layers | map(select(.ztoc)) | length' "$result.part")" "$expected"
    mv "$result.part" "$result"
}

# bytes_with_ztoc SERVER NAME prints the size of the layers with a ztoc.
bytes_with_ztoc() {
    jq '.layers | map(select(.ztoc).size) | add' "$RUN/index/$1-$2.json"
}

# image_bytes prints the size of all layers.
image_bytes() {
    stat --format %s "${APP_LAYERS[@]/#/$LAYERS/}" | jq -s add
}

# fetched_bytes SERVER NAME prints how many bytes of these layers have left the proxy.
fetched_bytes() {
    jq -s --slurpfile index "$RUN/index/$1-$2.json" '
        ($index[0].layers | map(select(.ztoc).digest)) as $layers
        | map(select((.path | split("/") | last) as $name | $layers | index([$name])) | .bytes) | add // 0' \
        "$RUN/requests.jsonl"
}
