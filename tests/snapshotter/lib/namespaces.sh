# The namespaces that the tests run in, so that nothing of them outlives the run.
# shellcheck shell=bash
# Sourced; the caller sets WORK (a folder that exists).

# enter_namespaces ARGUMENT... starts this script anew in a mount and a process namespace, and ends with its exit code.
# Inside it returns. Where no namespaces, mounts or FUSE are to be had, it ends the script and says so.
enter_namespaces() {
    if [ "${IN_NAMESPACES:-}" = yes ]; then
        # What listens on fixed sockets below /run, as containerd's shims do, is in nobody's way.
        mount -t tmpfs tmpfs /run
        return
    fi
    local reason
    reason=$(why_nothing_can_be_mounted)
    if [ -n "$reason" ]; then
        echo "snapshotter skipped: $reason"
        exit 0
    fi
    IN_NAMESPACES=yes unshare --mount --pid --kill-child --mount-proc "$0" "$@" </dev/null &
    local child=$! code=0
    # The first process of the namespace dies with its parent, and all others with the first.
    trap 'kill -KILL "$child"; exit 130' INT TERM
    wait "$child" || code=$?
    exit "$code"
}

why_nothing_can_be_mounted() {
    local probe="$WORK/probe"
    if [ "$(id -u)" != 0 ]; then
        echo "mounting takes root"
    elif [ "$(uname -m)" != x86_64 ]; then
        echo "the images are for x86_64"
    elif ! (: <>/dev/fuse) 2>/dev/null; then
        echo "/dev/fuse cannot be opened"
    elif ! unshare --mount --pid --kill-child --mount-proc true 2>/dev/null; then
        echo "no permission to make namespaces"
    else
        mkdir -p "$probe"/{lower,upper,work,merged}
        unshare --mount mount -t overlay overlay "$probe/merged" \
            -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" 2>/dev/null ||
            echo "overlayfs cannot be mounted in $WORK"
        rm -rf "$probe"
    fi
}
