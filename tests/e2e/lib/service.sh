# The service under test: the Lambdas and the worker, how they are built, started and asked.
# shellcheck shell=bash disable=SC2034,SC2153 # other files use the constants, the caller sets ROOT
# Sourced; the caller sets HERE, ROOT and RUN. Needs the other files of lib.

readonly OCI_MANIFEST=application/vnd.oci.image.manifest.v1+json
readonly OCI_INDEX=application/vnd.oci.image.index.v1+json

# build_lambdas sets FILTER_LAMBDA_BIN and INDEX_LAMBDA_BIN to the functions' programs, built unless the caller's
# environment names both.
build_lambdas() {
    if [ -z "${FILTER_LAMBDA_BIN:-}" ] || [ -z "${INDEX_LAMBDA_BIN:-}" ]; then
        echo "building filter-lambda and index-lambda"
        (cd "$ROOT" && cargo build --quiet --release -p soci-index-builder -p soci-filter-lambda -p soci-index-lambda) </dev/null
        FILTER_LAMBDA_BIN="${CARGO_TARGET_DIR:-$ROOT/target}/release/filter-lambda"
        INDEX_LAMBDA_BIN="${CARGO_TARGET_DIR:-$ROOT/target}/release/index-lambda"
    fi
}

# prepare_service builds the service and starts the emulator that most cases use, once in a run.
prepare_service() {
    [ -z "${service_prepared:-}" ] || return 0
    local began=$SECONDS
    install_emulators
    build_lambdas
    start_ministack aws
    service_prepared=yes
    echo "prepared the service in $((SECONDS - began)) s"
}

# service_environment SERVER QUEUE [REGISTRY] prints the variables that Lambdas and workers have in common: an emulator,
# its queues, and the registry that stands in for ECR. The settings are those of the reference's runs.
service_environment() {
    cat <<VARIABLES
QUEUE_URL=$(queue_url "$1" "$2")
DEAD_LETTER_QUEUE_URL=$(queue_url "$1" "$2-dead")
REGISTRY_ENDPOINT_URL=http://127.0.0.1:${PORT[${3:-redirect}]}
BUILD_TOOL_IDENTIFIER=$TOOL
COMPATIBLE_WITH=0.16
PUT_IMAGE_RATE=1000
LOG_FORMAT=json
VARIABLES
}

# start_worker NAME SERVER QUEUE REGISTRY [VARIABLE=VALUE...] starts a worker with nothing else in its environment.
start_worker() {
    local name=$1 server=$2 queue=$3 registry=$4 environment
    shift 4
    mapfile -t environment < <(
        aws_environment "$server"
        service_environment "$server" "$queue" "$registry"
        echo "BACKFILL_QUEUE_URL=$(queue_url "$server" "$queue-backfill")"
        echo "HTTP_ADDRESS=127.0.0.1:${PORT[$name]}"
        # The shortest one, after which the work of a worker that died is done again.
        echo "VISIBILITY_TIMEOUT_SECONDS=30"
    )
    start "$name" env -i "${environment[@]}" "$@" "$SOCI_BIN" worker
}

# operate SERVER COMMAND... runs an operator's command against an emulator.
operate() {
    local server=$1 environment
    shift
    mapfile -t environment < <(aws_environment "$server")
    env -i "${environment[@]}" "$SOCI_BIN" "$@"
}

# page NAME PATH prints what a worker answers to GET.
page() {
    curl --silent --show-error --fail "http://127.0.0.1:${PORT[$1]}$2"
}

# job REPOSITORY DIGEST [TAG] prints a job message for an image.
job() {
    jq -n -c --arg registry "$ECR_HOST" --arg repository "$1" --arg digest "$2" --arg tag "${3:-}" '
        {v: 1, registry: $registry, repository: $repository, digest: $digest}
        + if $tag == "" then {} else {tag: $tag} end + {enqueued_at: (now | todate)}'
}

# job_of SERVER REPOSITORY TAG prints a job message for an image that a registry has.
job_of() {
    job "$2" "$(manifest_digest "$@")" "$3"
}

# detail REPOSITORY DIGEST TAG [MANIFEST_MEDIA_TYPE] [ARTIFACT_MEDIA_TYPE] prints what ECR tells of a push.
detail() {
    jq -n -c --arg repository "$1" --arg digest "$2" --arg tag "$3" --arg manifest "${4:-}" --arg artifact "${5:-}" '
        {"action-type": "PUSH", result: "SUCCESS", "repository-name": $repository, "image-digest": $digest,
            "image-tag": $tag}
        + if $manifest == "" then {} else {"manifest-media-type": $manifest} end
        + if $artifact == "" then {} else {"artifact-media-type": $artifact} end'
}

# event DETAIL prints an event as EventBridge delivers it.
event() {
    jq -n -c --arg account "$ACCOUNT" --arg region "$REGION" --argjson detail "$1" '
        {version: "0", id: "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "ECR Image Action", source: "aws.ecr",
            account: $account, time: (now | todate), region: $region, resources: [], detail: $detail}'
}

# pushed SERVER REPOSITORY TAG prints, a line each, what ECR tells of the push of an image in a registry: its manifests
# without a tag, and last what the tag names.
pushed() {
    local server=$1 repository=$2 tag=$3 root type digest
    root=$(manifest "$server" "$repository" "$tag")
    type=$(jq -r .mediaType <<<"$root")
    if jq -e .manifests <<<"$root" >/dev/null; then
        for digest in $(jq -r '.manifests[].digest' <<<"$root"); do
            manifest "$server" "$repository" "$digest" >"$RUN/pushed-manifest"
            detail "$repository" "$digest" "" "$(jq -r .mediaType "$RUN/pushed-manifest")" \
                "$(jq -r '.artifactType // .config.mediaType' "$RUN/pushed-manifest")"
        done
        detail "$repository" "$(manifest_digest "$@")" "$tag" "$type"
    else
        detail "$repository" "$(manifest_digest "$@")" "$tag" "$type" "$(jq -r .config.mediaType <<<"$root")"
    fi
}

# announce EMULATOR BUS REPOSITORY TAG puts the events of the push of an image in the redirect registry on a bus.
announce() {
    pushed redirect "$3" "$4" | while read -r detail; do
        put_event "$1" "$2" "$detail"
    done
}

# catalogue EMULATOR REPOSITORY TAG makes an image in the redirect registry known to ECR's control plane.
catalogue() {
    local emulator=$1 repository=$2 tag=$3 digest file="$RUN/catalogue-manifest"
    manifest redirect "$repository" "$tag" >"$file.root"
    for digest in $(jq -r '.manifests // [] | .[].digest' "$file.root"); do
        manifest redirect "$repository" "$digest" >"$file"
        expect "ECR's digest" "$(register "$emulator" "$repository" "$digest" "$(jq -r .mediaType "$file")" "$file")" "$digest"
    done
    digest=$(manifest_digest redirect "$repository" "$tag")
    expect "ECR's digest" \
        "$(register "$emulator" "$repository" "$digest" "$(jq -r .mediaType "$file.root")" "$file.root" "$tag")" "$digest"
}

# has_tag SERVER REPOSITORY TAG
has_tag() {
    manifest "$@" >/dev/null
}

# tag_writes SERVER REPOSITORY TAG prints how often a docker-registry was sent a manifest for a tag.
tag_writes() {
    grep -cE "\"PUT /v2/$2/manifests/$3 HTTP[^\"]*\" 201" "$RUN/$1.log" || true
}

# expect_index SERVER REPOSITORY TAG KEY ends the case unless a V2 image is byte for byte the reference's, and its SOCI
# indexes match its layers.
expect_index() {
    expect "the digest behind $2:$3" "$(manifest_digest "$1" "$2" "$3")" "$(reference "$4" .root)"
    soci_json "$RUN/verified.json" 0 verify "127.0.0.1:${PORT[$1]}/$2:$3" --plain-http
}

# outcomes NAME [REPOSITORY] prints how jobs ended in a worker, or those of a repository: outcome and reason, one job a
# line. What came before the last `forget_outcomes` is left out.
outcomes() {
    local seen=0
    [ ! -e "$RUN/$1.seen" ] || seen=$(<"$RUN/$1.seen")
    tail -n "+$((seen + 1))" "$RUN/$1.log" | jq -R -r --arg host "$ECR_HOST/" --arg repository "${2:-}" '
        fromjson? | select(.outcome?) | select($repository == "" or .repository == $host + $repository)
        | "\(.outcome) \(.reason // "")"' | sed 's/ *$//'
}

# forget_outcomes NAME
forget_outcomes() {
    touch "$RUN/$1.log"
    wc -l <"$RUN/$1.log" >"$RUN/$1.seen"
}

# has_outcomes NAME REPOSITORY OUTCOMES
has_outcomes() {
    [ "$(outcomes "$1" "$2" | sort | paste -sd,)" = "$3" ]
}

# has_ended NAME REPOSITORY JOBS tells whether so many jobs have ended.
has_ended() {
    [ "$(outcomes "$1" "$2" | wc -l)" = "$3" ]
}

# expect_no_secret FILE ends the case if a file holds a credential.
expect_no_secret() {
    local secret
    [ -s "$1" ] || fail "$1 is empty"
    for secret in "$ECR_PASSWORD" "$(printf %s "$ECR_USER:$ECR_PASSWORD" | base64 -w0)" "$SECRET_KEY"; do
        ! grep -qF -e "$secret" "$1" || fail "$1 holds a secret"
    done
}
