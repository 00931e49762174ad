# The image that is mounted: one layer of each kind, and the tree of files that they make.
# shellcheck shell=bash disable=SC2034 # other files use the constants
# Sourced; the caller sets TESTS, ROOT and CACHE (folder that stays). Needs tests/e2e/lib/{install,images}.sh.

# All layers in order. The last two never get a ztoc.
readonly APP_LAYERS=(debian pigz members uncompressed many odd zstd small)

# A program that takes a while to start: it reads shared libraries and some hundred files of two layers.
readonly FIRST_OUTPUT=(python3 -c 'import numpy; print(numpy.arange(10).sum())')
readonly FIRST_LINE=45

# make_snapshotter_images fills $CACHE; what is there from the same version of these scripts stays.
make_snapshotter_images() {
    local version
    version=$(cat "$TESTS"/{lib/layers.sh,make_layer.py,expected_tree.py} "$HERE"/{lib/images.sh,make_layout.py} |
        sha256sum | cut -c1-16)
    IMAGES="$CACHE/images-$version"
    LAYERS="$IMAGES/layers"
    LAYOUTS="$IMAGES/layouts"
    TREE="$IMAGES/tree.json"
    [ ! -e "$IMAGES/complete" ] || return 0
    rm -rf "$CACHE"/images-*
    mkdir -p "$LAYERS" "$LAYOUTS"
    root_file_system amd64 --include=python3
    # The end-to-end tests use the same wheels.
    fetch_wheels "$ROOT/target/e2e/cache/wheels" "${WHEELS[@]}"
    make_snapshotter_layers
    layout app true "$(image amd64 "${APP_LAYERS[@]}" |
        jq '. + {command: $ARGS.positional}' --args -- "${FIRST_OUTPUT[@]}")"
    touch "$IMAGES/complete"
}

make_snapshotter_layers() {
    local tars="$CACHE/tars" kind
    rm -rf "$tars"
    mkdir -p "$tars"
    echo "compressing layers"
    # Images are shipped without the packages that they were made of.
    tar --delete --wildcards 'var/cache/apt/archives/*.deb' 'var/lib/apt/lists/*_*' \
        <"$CACHE/$DEBIAN_RELEASE-amd64.tar" >"$tars/debian"
    tar_wheel numpy "$tars/pigz"
    tar_wheel scipy "$tars/members"
    tar_wheel pandas "$tars/uncompressed"
    for kind in many odd; do
        python3 "$TESTS/make_layer.py" "$kind" "$tars/$kind"
    done
    python3 "$TESTS/make_layer.py" plain "$tars/zstd"
    make_small_tree "$tars/small-tree"
    tar_folder "$tars/small-tree" "$tars/small" --format=pax

    add_layer debian "$GZIP_LAYER" "$tars/debian" gzip -n -6
    add_layer pigz "$GZIP_LAYER" "$tars/pigz" pigz -n -p 2
    add_layer members "$GZIP_LAYER" "$tars/members" gzip_members
    add_layer uncompressed "$PLAIN_LAYER" "$tars/uncompressed" cat
    add_layer many "$GZIP_LAYER" "$tars/many" gzip -n -9
    add_layer odd "$GZIP_LAYER" "$tars/odd" gzip -n -1
    add_layer zstd "$ZSTD_LAYER" "$tars/zstd" zstd -q -3 -c
    add_layer small "$GZIP_LAYER" "$tars/small" gzip -n -9
    (cd "$tars" && python3 "$TESTS/expected_tree.py" "${APP_LAYERS[@]}" >"$TREE")
    rm -rf "$tars"
}

# tar_wheel PACKAGE TAR packs a wheel as it lies where Debian's Python looks for it.
tar_wheel() {
    local scratch="$CACHE/wheel-$1"
    rm -rf "$scratch"
    mkdir -p "$scratch/one" "$scratch/root/usr/lib/python3/dist-packages"
    cp "$ROOT/target/e2e/cache/wheels/$1"-*.whl "$scratch/one"
    unpack_wheels "$scratch/one" "$scratch/root/usr/lib/python3/dist-packages"
    tar_folder "$scratch/root" "$2" --format=pax --pax-option=delete=atime,delete=ctime
    rm -rf "$scratch"
}
