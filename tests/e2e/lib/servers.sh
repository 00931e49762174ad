# The registries that the tests run against: how each is configured, started and stopped.
# shellcheck shell=bash
# Sourced; the caller sets HERE, RUN (folder of this run) and OLAREG (program). Needs lib/checks.sh and lib/emulator.sh.

# Ports by server: plain, basic and redirect are docker-registry, the last two with Basic auth; olareg has the
# referrers API; distribution is the registry of distribution 3 and crane that of go-containerregistry; files serves the blobs that redirect points to; toxic, toxic2 and front are failing ways to another
# registry.
# aws, flaky and moto are emulators of AWS; worker, worker2 and worker3 are the service; local and local_page are the
# registry and the status page of `local`.
declare -A PORT
readonly REGISTRY_USER=builder REGISTRY_PASSWORD='s3cret-e2e-Pa55'
# The redirect's target is another host for a client, though the same machine.
readonly FILES_HOST=127.0.0.2

choose_ports() {
    local names=(plain basic redirect olareg distribution crane files toxic toxic2 front aws flaky moto worker worker2 worker3 local local_page)
    local ports
    ports=$(python3 - "${#names[@]}" <<'PYTHON'
import socket, sys
# All are held at once, so that no port comes twice.
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])
PYTHON
    )
    local port i=0
    for port in $ports; do
        PORT[${names[i]}]=$port
        i=$((i + 1))
    done
}

# registry_config NAME [basic] [redirect] writes the configuration of a docker-registry.
registry_config() {
    local name=$1 option
    shift
    cat <<YAML
version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: $RUN/$name
  delete:
    enabled: true
http:
  addr: 127.0.0.1:${PORT[$name]}
YAML
    for option in "$@"; do
        case $option in
        basic)
            cat <<YAML
auth:
  htpasswd:
    realm: e2e
    path: $RUN/htpasswd
YAML
            ;;
        redirect)
            cat <<YAML
middleware:
  storage:
    - name: redirect
      options:
        baseurl: http://$FILES_HOST:${PORT[files]}/
YAML
            ;;
        esac
    done
}

# answers NAME tells whether a server accepts connections.
answers() {
    local host=127.0.0.1
    [ "$1" != files ] || host=$FILES_HOST
    (exec 3<>"/dev/tcp/$host/${PORT[$1]}") 2>/dev/null
}

# start NAME COMMAND... starts a server in the background and waits until it answers. Its process is noted in a file,
# as cases run in subshells and restart servers.
start() {
    local name=$1 tries
    shift
    stop "$name"
    mkdir -p "$RUN/pids" "$RUN/exits"
    rm -f "$RUN/exits/$name"
    supervise "$name" "$@" >>"$RUN/$name.log" 2>&1 </dev/null &
    # Without this bash reports on stderr that the server was killed.
    disown
    for ((tries = 0; tries < 200; tries++)); do
        [ ! -e "$RUN/exits/$name" ] || break
        if answers "$name"; then
            return
        fi
        sleep 0.05
    done
    tail -n 20 "$RUN/$name.log" >&2
    echo "server $name does not answer on port ${PORT[$name]}, see $RUN/$name.log" >&2
    exit 1
}

# supervise NAME COMMAND... runs a server; keeps the number of its process and, once it has ended, its exit code.
supervise() {
    local name=$1 code=0
    shift
    "$@" &
    echo $! >"$RUN/pids/$name"
    wait $! 2>/dev/null || code=$?
    echo "$code" >"$RUN/exits/$name"
}

# stop NAME ends a server, and the process group it may lead, at once, as a crash would, and waits until it is gone and
# its port is closed.
stop() {
    [ -e "$RUN/pids/$1" ] || return 0
    local tries pid
    pid=$(<"$RUN/pids/$1")
    kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    rm "$RUN/pids/$1"
    for ((tries = 0; tries < 200; tries++)); do
        if [ -e "$RUN/exits/$1" ] && ! answers "$1"; then
            return 0
        fi
        sleep 0.05
    done
    fail "server $1 does not stop"
}

# terminate NAME SECONDS asks a server to end and prints its exit code; ends the case if it takes longer.
terminate() {
    kill -TERM "$(<"$RUN/pids/$1")"
    eventually "$2" test -e "$RUN/exits/$1"
    rm "$RUN/pids/$1"
    cat "$RUN/exits/$1"
}

stop_all() {
    local file
    for file in "$RUN"/pids/*; do
        [ ! -e "$file" ] || stop "$(basename "$file")"
    done
}

start_plain() {
    start plain docker-registry serve "$RUN/plain.yml"
}

# start_more_registries starts the two that only the group `registries` needs.
start_more_registries() {
    registry_config distribution >"$RUN/distribution.yml"
    mkdir -p "$RUN"/{distribution,crane}
    start distribution "$DISTRIBUTION" serve "$RUN/distribution.yml"
    start crane "$CRANE" registry serve --address "127.0.0.1:${PORT[crane]}" --disk "$RUN/crane"
}

start_servers() {
    choose_ports
    htpasswd -Bbc "$RUN/htpasswd" "$REGISTRY_USER" "$REGISTRY_PASSWORD" 2>/dev/null
    htpasswd -Bb "$RUN/htpasswd" "$ECR_USER" "$ECR_PASSWORD" 2>/dev/null
    registry_config plain >"$RUN/plain.yml"
    registry_config basic basic >"$RUN/basic.yml"
    registry_config redirect basic redirect >"$RUN/redirect.yml"
    mkdir -p "$RUN"/{plain,basic,redirect,olareg}
    start_plain
    start basic docker-registry serve "$RUN/basic.yml"
    start redirect docker-registry serve "$RUN/redirect.yml"
    start files python3 "$HERE/file_server.py" --address "$FILES_HOST" --port "${PORT[files]}" --root "$RUN/redirect"
    start olareg "$OLAREG" serve --addr 127.0.0.1 --port "${PORT[olareg]}" --dir "$RUN/olareg"
    write_docker_config "$RUN/docker" "$REGISTRY_USER:$REGISTRY_PASSWORD"
    write_docker_config "$RUN/docker-wrong" "$REGISTRY_USER:wrong-$REGISTRY_PASSWORD"
    mkdir -p "$RUN/docker-none"
}

# write_docker_config FOLDER USER:PASSWORD writes a config.json that holds credentials for the two servers with Basic
# auth.
write_docker_config() {
    local auth
    auth=$(printf %s "$2" | base64 -w0)
    mkdir -p "$1"
    jq -n --arg auth "$auth" --arg basic "127.0.0.1:${PORT[basic]}" --arg redirect "127.0.0.1:${PORT[redirect]}" \
        '{auths: {($basic): {auth: $auth}, ($redirect): {auth: $auth}}}' >"$1/config.json"
}

# has_auth SERVER tells whether a server asks for Basic auth.
has_auth() {
    [ "$1" = basic ] || [ "$1" = redirect ]
}
