# containerd and soci-snapshotter: how they are started, and what is done with them.
# shellcheck shell=bash disable=SC2034 # other files use the constants
# Sourced; the caller sets TESTS, RUN and PORT. Needs tests/e2e/lib/{servers,checks}.sh.
#
# Images are pulled through the server `front`, proxy.py, which notes each request in $RUN/requests.jsonl. It speaks TLS
# under a name of its own: with a registry on localhost, snapshotters take other ways.
readonly HOST=registry.test

# Of the namespace's own, and with short paths: a socket's name has 107 bytes at most.
readonly SOCKETS=/run

# V1 is off by default since release 0.10; V2 needs no setting.
readonly V1_ENABLED=$'[pull_modes.soci_v1]\nenable = true\n'
# Reads nothing in the background, so that every byte that is fetched was asked for.
readonly NO_BACKGROUND=$'[background_fetch]\ndisable = true'
# Starts at once and fetches without pauses.
readonly EAGER_BACKGROUND=$'[background_fetch]\nsilence_period_msec = 100\nfetch_period_msec = 10'

# make_host makes that name known, and a key and a certificate for it.
make_host() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2 -subj "/CN=$HOST" \
        -addext "subjectAltName=DNS:$HOST" -keyout "$RUN/key.pem" -out "$RUN/certificate.pem" 2>"$RUN/openssl.log"
    cat "$RUN"/{key,certificate}.pem >"$RUN/tls.pem"
    { cat /etc/hosts && echo "127.0.0.1 $HOST"; } >"$RUN/hosts"
    mount --bind "$RUN/hosts" /etc/hosts
}

# start_front SERVER [FLAG...] starts the proxy before a registry, with an empty list of requests.
start_front() {
    local server=$1
    shift
    rm -f "$RUN/requests.jsonl"
    touch "$RUN/requests.jsonl"
    start front python3 "$TESTS/proxy.py" --listen "${PORT[front]}" --to "${PORT[$server]}" \
        --tls "$RUN/tls.pem" --log "$RUN/requests.jsonl" "$@"
}

# fresh_daemons [SNAPSHOTTER_TOML] starts a snapshotter and a containerd that know no image.
fresh_daemons() {
    stop_daemons
    rm -f "$RUN/snapshotter.log"
    mkdir -p "$RUN/soci" "$RUN/containerd"
    cat >"$RUN/soci.toml" <<TOML
[content_store]
# The other kind of store lies in a fixed folder below /var/lib with release 0.11, and outlives the run.
type = "containerd"
containerd_address = "$SOCKETS/containerd.sock"
${1:-}
TOML
    cat >"$RUN/containerd.toml" <<TOML
version = 3
root = "$RUN/containerd/root"
state = "$RUN/containerd/state"
[grpc]
address = "$SOCKETS/containerd.sock"
[ttrpc]
address = "$SOCKETS/containerd.sock.ttrpc"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "soci"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux"
snapshotter = "overlayfs"
[proxy_plugins.soci]
type = "snapshot"
address = "$SOCKETS/soci.sock"
[proxy_plugins.soci.exports]
root = "$RUN/soci/"
enable_remote_snapshot_annotations = "true"
TOML
    start_daemon snapshotter soci-snapshotter-grpc --address "$SOCKETS/soci.sock" --config "$RUN/soci.toml" \
        --root "$RUN/soci/" --log-level debug
    eventually 20 test -S "$SOCKETS/soci.sock"
    start_daemon containerd containerd --config "$RUN/containerd.toml"
    eventually 20 ctr version
}

# start_daemon NAME COMMAND... is `start` for a server without a port.
start_daemon() {
    local name=$1
    shift
    mkdir -p "$RUN/pids" "$RUN/exits"
    rm -f "$RUN/exits/$name"
    supervise "$name" env SSL_CERT_FILE="$RUN/certificate.pem" "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
    disown
}

# stop_daemons ends both and drops all that they know.
stop_daemons() {
    local name
    for name in containerd snapshotter; do
        [ ! -e "$RUN/pids/$name" ] || terminate "$name" 20 >/dev/null
    done
    # The snapshotter leaves its mounts to its next start; the last come off first.
    tac /proc/mounts | awk -v run="$RUN/" 'index($2, run) == 1 { print $2 }' | xargs --no-run-if-empty -n 1 umount --lazy
    rm -rf "$RUN/soci" "$RUN/containerd" "$SOCKETS"/*.sock*
}

# drop_images ends all servers and deletes what they have stored: thousands of files, a gigabyte.
drop_images() {
    stop_daemons
    stop_all
    rm -rf "$RUN/plain" "$RUN/olareg"
}

ctr() {
    command ctr --address "$SOCKETS/containerd.sock" "$@"
}

# pull IMAGE [SNAPSHOTTER]
pull() {
    ctr image pull --snapshotter "${2:-soci}" "$HOST:${PORT[front]}/$1" >"$RUN/pull.log" 2>&1 || {
        tail -n 5 "$RUN/pull.log" >&2
        fail "pulling $1 failed"
    }
}

# first_line IMAGE [SNAPSHOTTER] runs the program of a pulled image, prints its first line, and leaves the time when that
# came in $RUN/first-line-at.
first_line() {
    local line
    ctr run --rm --snapshotter "${2:-soci}" "$HOST:${PORT[front]}/$1" first "${FIRST_OUTPUT[@]}" | {
        read -r line
        echo "$EPOCHREALTIME" >"$RUN/first-line-at"
        echo "$line"
        cat
    }
}

# compare IMAGE mounts a pulled image and compares every file with what its layers make.
compare() {
    local view="$RUN/view"
    mkdir -p "$view"
    ctr image mount --snapshotter soci "$HOST:${PORT[front]}/$1" "$view"
    timeout 240 python3 "$TESTS/compare.py" "$view" "$TREE"
}

# fuse_mounts prints how many layers are mounted by FUSE.
fuse_mounts() {
    awk -v run="$RUN/soci/" 'index($2, run) == 1 && $3 ~ /^fuse/' /proc/mounts | wc -l
}

# read_errors prints what went wrong when the snapshotter read a layer.
read_errors() {
    grep '"level":"error"' "$RUN/snapshotter.log" || true
}

# requests FILTER applies a filter to the list of all requests since start_front.
requests() {
    jq -s -r "$1" "$RUN/requests.jsonl"
}
