# The images that the tests index, made from real files and kept as OCI image layouts between runs.
# shellcheck shell=bash
# Sourced; the caller sets HERE (folder of the end-to-end tests) and CACHE (folder that stays). Needs lib/install.sh.

readonly TAG=1
readonly GZIP_LAYER=application/vnd.oci.image.layer.v1.tar+gzip
readonly PLAIN_LAYER=application/vnd.oci.image.layer.v1.tar
readonly ZSTD_LAYER=application/vnd.oci.image.layer.v1.tar+zstd
readonly CHART_LAYER=application/vnd.cncf.helm.chart.content.v1.tar+gzip
readonly CHART_CONFIG=application/vnd.cncf.helm.config.v1+json

readonly DEBIAN_RELEASE=bookworm
readonly WHEELS=(numpy==2.1.3 scipy==1.14.1 pandas==2.2.3 pyarrow==18.1.0)

# make_images fills $CACHE/layers and $CACHE/layouts. What is there from the same version of these scripts stays.
make_images() {
    local version
    version=$(cat "$HERE/lib/images.sh" "$HERE/make_layout.py" | sha256sum | cut -c1-16)
    LAYERS="$CACHE/images-$version/layers"
    LAYOUTS="$CACHE/images-$version/layouts"
    [ -e "$LAYOUTS/complete" ] && return
    rm -rf "$CACHE"/images-*
    mkdir -p "$LAYERS" "$LAYOUTS"
    make_layers
    make_layouts
    touch "$LAYOUTS/complete"
}

# root_file_system ARCHITECTURE [FLAG...] leaves a Debian root file system as a tar in the cache.
root_file_system() {
    local architecture=$1 tar="$CACHE/$DEBIAN_RELEASE-$1.tar" folder="$CACHE/debootstrap-$1"
    shift
    [ -e "$tar" ] && return
    echo "making a Debian root file system for $architecture"
    rm -rf "$folder"
    PATH="$PATH:/usr/sbin:/sbin" debootstrap --variant=minbase --arch="$architecture" "$@" "$DEBIAN_RELEASE" "$folder" \
        >"$CACHE/debootstrap-$architecture.log" 2>&1 </dev/null || {
        tail -n 20 "$CACHE/debootstrap-$architecture.log" >&2
        echo "debootstrap failed for $architecture, see $CACHE/debootstrap-$architecture.log" >&2
        exit 1
    }
    tar_folder "$folder" "$tar.part"
    mv "$tar.part" "$tar"
    rm -rf "$folder"
}

# tar_folder FOLDER TAR [FLAG...] packs a folder with names as image builders write them, without "./" in front.
tar_folder() {
    local folder=$1 tar=$2
    shift 2
    find "$folder" -mindepth 1 -maxdepth 1 -printf '%P\0' | LC_ALL=C sort -z |
        tar -C "$folder" --sort=name --numeric-owner "$@" --null -T - -cf "$tar"
}

# add_layer NAME MEDIA_TYPE TAR COMMAND... compresses a tar with a command that reads stdin and writes stdout.
add_layer() {
    local name=$1 media_type=$2 tar=$3
    shift 3
    "$@" <"$tar" >"$LAYERS/$name"
    jq -n --arg file "$LAYERS/$name" --arg type "$media_type" --arg id "sha256:$(sha256sum <"$tar" | cut -d' ' -f1)" \
        '{file: $file, media_type: $type, diff_id: $id}' >"$LAYERS/$name.json"
}

# gzip_members writes several gzip members one after the other, as parallel compressors do.
gzip_members() {
    split -b 16M --filter='gzip -n -5' -
}

# break_checksum flips a bit in the CRC of a gzip stream, cut_short drops its end.
break_checksum() {
    gzip -n -1 | python3 -c '
import sys
data = bytearray(sys.stdin.buffer.read())
data[-8] ^= 1
sys.stdout.buffer.write(data)'
}
cut_short() {
    gzip -n -1 | head -c -100000
}

make_layers() {
    root_file_system amd64
    # The second stage of debootstrap would run foreign programs; the unpacked packages are enough here.
    root_file_system arm64 --foreign
    fetch_wheels "$CACHE/wheels" "${WHEELS[@]}"
    echo "compressing layers"
    local scratch="$CACHE/scratch" wheel package
    rm -rf "$scratch"
    mkdir -p "$scratch/all/usr/lib/python3/dist-packages"
    unpack_wheels "$CACHE/wheels" "$scratch/all/usr/lib/python3/dist-packages"
    tar_folder "$scratch/all" "$scratch/all.tar" --format=pax --pax-option=delete=atime,delete=ctime
    for wheel in "$CACHE"/wheels/*.whl; do
        package=$(basename "$wheel")
        package=${package%%-*}
        mkdir -p "$scratch/one/$package"
        cp "$wheel" "$scratch/one/$package"
        unpack_wheels "$scratch/one/$package" "$scratch/$package"
        tar_folder "$scratch/$package" "$scratch/$package.tar"
    done
    make_small_tree "$scratch/small"
    tar_folder "$scratch/small" "$scratch/small.tar" --format=pax

    add_layer debian-amd64 "$GZIP_LAYER" "$CACHE/$DEBIAN_RELEASE-amd64.tar" gzip -n -6
    add_layer debian-arm64 "$GZIP_LAYER" "$CACHE/$DEBIAN_RELEASE-arm64.tar" gzip -n -6
    add_layer python "$GZIP_LAYER" "$scratch/all.tar" pigz -n -p 2
    add_layer members "$GZIP_LAYER" "$scratch/scipy.tar" gzip_members
    add_layer independent "$GZIP_LAYER" "$scratch/numpy.tar" pigz -n -i -p 2
    add_layer uncompressed "$PLAIN_LAYER" "$scratch/pandas.tar" cat
    add_layer zstd "$ZSTD_LAYER" "$scratch/pyarrow.tar" zstd -q -3 -c
    add_layer small "$GZIP_LAYER" "$scratch/small.tar" gzip -n -9
    add_layer chart "$CHART_LAYER" "$scratch/small.tar" gzip -n -1
    add_layer broken-checksum "$GZIP_LAYER" "$scratch/numpy.tar" break_checksum
    add_layer broken-cut "$GZIP_LAYER" "$scratch/numpy.tar" cut_short
    rm -rf "$scratch"
}

# make_small_tree makes a few files of the kinds that image layers hold beside plain files.
make_small_tree() {
    local long
    long=$(printf 'a-folder-with-quite-a-long-name/%.0s' {1..12})
    mkdir -p "$1/opt/app/$long" "$1/etc"
    echo "a file at the end of a long path" >"$1/opt/app/${long}file.txt"
    echo "configuration" >"$1/etc/app.conf"
    ln "$1/etc/app.conf" "$1/etc/app.conf.hard"
    ln -s ../../etc/app.conf "$1/opt/app/conf"
    ln -s "/opt/app/${long}file.txt" "$1/opt/app/long-link"
    : >"$1/etc/.wh.removed"
    : >"$1/opt/app/.wh..wh..opq"
    mkfifo "$1/opt/app/fifo"
    chmod 4755 "$1/etc/app.conf"
}

make_layouts() {
    echo "writing image layouts"
    layout debian true "$(image amd64 debian-amd64 small)" "$(image arm64 debian-arm64 small)"
    layout python false "$(image amd64 debian-amd64 python small)"
    layout mixed true "$(image amd64 members independent uncompressed zstd small)"
    layout small true "$(image amd64 small)" "$(image arm64 small)"
    layout chart false "$(image amd64 chart | jq --arg type "$CHART_CONFIG" '. + {config_media_type: $type}')"
    layout broken-checksum false "$(image amd64 debian-amd64 broken-checksum)"
    layout broken-cut false "$(image amd64 debian-amd64 broken-cut)"
}

# image ARCHITECTURE LAYER... prints the specification of one image.
image() {
    local architecture=$1 layer
    shift
    for layer in "$@"; do
        cat "$LAYERS/$layer.json"
    done | jq -s --arg architecture "$architecture" \
        '{platform: {architecture: $architecture, os: "linux"}, layers: .}'
}

# layout NAME INDEX IMAGE... writes an image layout; INDEX is true for an image index.
layout() {
    local name=$1 index=$2
    shift 2
    printf '%s\n' "$@" | jq -s --arg tag "$TAG" --argjson index "$index" '{tag: $tag, index: $index, images: .}' |
        python3 "$HERE/make_layout.py" "$LAYOUTS/$name" >/dev/null
}
