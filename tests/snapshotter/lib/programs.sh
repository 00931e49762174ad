# containerd and soci-snapshotter, built from the Go module proxy.
# shellcheck shell=bash disable=SC2154 # the caller sets release
# Sourced; the caller sets TESTS (folder of these tests), WORK (folder to write to) and release (of soci-snapshotter).

# What containerd has beside images, overlayfs and containers is left out: half of the time to compile it.
readonly CONTAINERD_TAGS='no_btrfs no_cri no_devmapper no_zfs no_aufs no_tracing'

# use_programs makes commands of what build_programs leaves in $WORK/bin.
use_programs() {
    PATH="$WORK/bin/containerd:$WORK/bin/snapshotter-$release:$PATH:/usr/sbin:/sbin"
}

build_programs() {
    build containerd "$TESTS" -tags "$CONTAINERD_TAGS" \
        github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}
    case $release in
    0.16) build snapshotter-0.16 "$TESTS" github.com/awslabs/soci-snapshotter/cmd/soci-snapshotter-grpc ;;
    0.11) build snapshotter-0.11 "$TESTS/release-0.11" . ;;
    esac
}

# build NAME MODULE GO_BUILD_ARGUMENT... builds programs into $WORK/bin/NAME unless the same are there.
build() {
    local name=$1 module=$2 folder="$WORK/bin/$1" key
    shift 2
    # All that decides what comes out: our own source, versions, arguments, the compiler.
    key=$(shopt -s nullglob && { cat "$module"/go.{mod,sum} "$module"/*.go && echo "$*" && go version; } | sha256sum)
    [ ! -e "$folder/key" ] || [ "$(<"$folder/key")" != "$key" ] || return 0
    echo "building $name"
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$module" && CGO_ENABLED=1 go build -mod=readonly -trimpath -ldflags '-s -w' -o "$folder/" "$@") \
        </dev/null >"$WORK/$name.log" 2>&1 || {
        grep -v '^go: downloading' "$WORK/$name.log" >&2
        echo "building $name failed" >&2
        exit 3
    }
    echo "$key" >"$folder/key"
}

# need_static_zlib is `need` for what soci-snapshotter links.
need_static_zlib() {
    [ -e "$(cc -print-file-name=libz.a 2>/dev/null)" ] || missing_packages+=(libc6-dev zlib1g-dev)
}
