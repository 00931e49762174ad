# The emulators of AWS, and what the tests ask of them.
# shellcheck shell=bash disable=SC2034 # other files use the constants
# Sourced; the caller sets HERE, CACHE (folder that stays) and RUN (folder of this run). Needs lib/servers.sh.

# MiniStack has EventBridge, Lambda, SQS and ECR's control plane; moto's SQS is slower and stricter.
readonly EMULATORS=(ministack==1.5.33 'moto[server]==5.2.5')
readonly ACCOUNT=123456789012 REGION=eu-west-1
# What ECR would call the registry that stands in for it.
readonly ECR_HOST=$ACCOUNT.dkr.ecr.$REGION.amazonaws.com
# The credentials that MiniStack's GetAuthorizationToken gives.
readonly ECR_USER=AWS ECR_PASSWORD=ministack-auth-token
# Any do; this one must not be seen in logs either.
readonly SECRET_KEY=e2e-secret-access-key

# install_emulators makes a Python environment with the emulators in the cache.
install_emulators() {
    local version
    version=$(printf '%s\n' "${EMULATORS[@]}" | sha256sum | cut -c1-16)
    VENV="$CACHE/venv-$version"
    [ -e "$VENV/complete" ] && return
    echo "installing ${EMULATORS[*]}"
    rm -rf "$CACHE"/venv-*
    python3 -m venv "$VENV" || {
        echo "python3 cannot make a virtual environment; on Debian it needs the package python3-venv" >&2
        exit 3
    }
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "${EMULATORS[@]}" </dev/null
    touch "$VENV/complete"
}

# aws_environment NAME... prints the environment of a program that uses an emulator instead of AWS, one variable a line.
aws_environment() {
    cat <<VARIABLES
AWS_ENDPOINT_URL=http://127.0.0.1:${PORT[$1]}
AWS_REGION=$REGION
AWS_ACCESS_KEY_ID=$ACCOUNT
AWS_SECRET_ACCESS_KEY=$SECRET_KEY
AWS_EC2_METADATA_DISABLED=true
VARIABLES
}

# start_ministack NAME starts a MiniStack. It leads a process group, as it runs Lambda functions as child processes.
# What it knows survives a `terminate` and another start, not a `stop`.
start_ministack() {
    local name=$1 folder="$RUN/$1" environment
    mkdir -p "$folder"/{state,tmp}
    mapfile -t environment < <(aws_environment "$name")
    # Functions inherit this environment, and with it the address to call back to.
    start "$name" env -i PATH="$PATH" "${environment[@]}" TMPDIR="$folder/tmp" PERSIST_STATE=1 \
        STATE_DIR="$folder/state" GATEWAY_PORT="${PORT[$name]}" BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 \
        MINISTACK_REGION="$REGION" MINISTACK_ACCOUNT_ID="$ACCOUNT" IOT_MTLS_ENABLED=0 \
        LAMBDA_ASYNC_RETRY_BASE_SECONDS=0.2 setsid "$VENV/bin/python" "$HERE/emulator.py"
}

start_moto() {
    start moto env -i PATH="$PATH" "$VENV/bin/moto_server" -H 127.0.0.1 -p "${PORT[moto]}"
}

# call SERVER SERVICE ACTION JSON [FILTER] calls an operation with the AWS JSON protocol and prints its answer, or the
# part of it that a jq filter chooses.
call() {
    local server=$1 service=$2 action=$3 body=$4 filter=${5:-.} target version=1.1 answer
    case $service in
    sqs) target=AmazonSQS version=1.0 ;;
    events) target=AWSEvents ;;
    ecr) target=AmazonEC2ContainerRegistry_V20150921 ;;
    logs) target=Logs_20140328 ;;
    *) fail "no such service: $service" ;;
    esac
    answer=$(printf %s "$body" | curl --silent --show-error --fail-with-body --data-binary @- \
        -H "Content-Type: application/x-amz-json-$version" -H "X-Amz-Target: $target.$action" \
        -H "$(authorization "$service")" "http://127.0.0.1:${PORT[$server]}/") || fail "$service $action: $answer"
    printf %s "$answer" | jq -c -r "$filter"
}

# authorization SERVICE prints a header that says whose call it is. Emulators do not check signatures.
authorization() {
    printf 'Authorization: AWS4-HMAC-SHA256 Credential=%s/20260101/%s/%s/aws4_request, SignedHeaders=host, Signature=0' \
        "$ACCOUNT" "$REGION" "$1"
}

# queue_url SERVER QUEUE
queue_url() {
    echo "http://127.0.0.1:${PORT[$1]}/$ACCOUNT/$2"
}

# create_queue SERVER QUEUE [DEAD_LETTER_QUEUE RECEIVES]
create_queue() {
    call "$1" sqs CreateQueue "$(jq -n --arg name "$2" --arg dead "$(queue_arn "${3:-}")" --arg receives "${4:-}" '
        {QueueName: $name} + if $receives == "" then {} else {Attributes: {RedrivePolicy:
            ({deadLetterTargetArn: $dead, maxReceiveCount: ($receives | tonumber)} | tojson)}} end')" .QueueUrl
}

# create_queues SERVER NAME [RECEIVES [BACKFILL_RECEIVES]] creates NAME, NAME-backfill and the dead-letter queue of both,
# NAME-dead, to which a message goes that has been received so often.
create_queues() {
    create_queue "$1" "$2-dead"
    create_queue "$1" "$2" "$2-dead" "${3:-5}"
    create_queue "$1" "$2-backfill" "$2-dead" "${4:-5}"
}

# send SERVER QUEUE BODY
send() {
    call "$1" sqs SendMessage "$(jq -n --arg url "$(queue_url "$1" "$2")" --arg body "$3" \
        '{QueueUrl: $url, MessageBody: $body}')" .MessageId
}

# send_all SERVER QUEUE sends every line of stdin as a message.
send_all() {
    jq -c -R -s --arg url "$(queue_url "$1" "$2")" '[split("\n")[] | select(. != "")]
        | range(0; length; 10) as $at | .[$at:$at + 10] | {QueueUrl: $url, Entries:
            (to_entries | map({Id: "\(.key)", MessageBody: .value}))}' |
        while read -r batch; do
            call "$1" sqs SendMessageBatch "$batch" '.Failed // [] | .[]'
        done
}

# depth SERVER QUEUE prints how many messages are visible, in flight and delayed.
depth() {
    call "$1" sqs GetQueueAttributes "$(jq -n --arg url "$(queue_url "$1" "$2")" '{QueueUrl: $url, AttributeNames: ["All"]}')" \
        '.Attributes | [.ApproximateNumberOfMessages, .ApproximateNumberOfMessagesNotVisible,
            .ApproximateNumberOfMessagesDelayed] | map(. // "0") | join(" ")'
}

# is_depth SERVER QUEUE "VISIBLE IN_FLIGHT DELAYED"
is_depth() {
    [ "$(depth "$1" "$2")" = "$3" ]
}

# is_empty SERVER QUEUE
is_empty() {
    is_depth "$1" "$2" "0 0 0"
}

# take_all SERVER QUEUE takes all visible messages off a queue and prints each as one line: body, receives, attributes.
take_all() {
    local url answer
    url=$(queue_url "$1" "$2")
    while true; do
        answer=$(call "$1" sqs ReceiveMessage "$(jq -n --arg url "$url" '{QueueUrl: $url, MaxNumberOfMessages: 10,
            AttributeNames: ["All"], MessageAttributeNames: ["All"]}')")
        jq -c '.Messages // [] | .[] | {body: .Body, receives: .Attributes.ApproximateReceiveCount,
            attributes: (.MessageAttributes // {} | map_values(.StringValue))}' <<<"$answer"
        jq -e '.Messages // [] | length > 0' <<<"$answer" >/dev/null || return 0
        call "$1" sqs DeleteMessageBatch "$(jq -c --arg url "$url" '{QueueUrl: $url, Entries: (.Messages | to_entries
            | map({Id: "\(.key)", ReceiptHandle: .value.ReceiptHandle}))}' <<<"$answer")" '.Failed // [] | .[]' >&2
    done
}

# create_function SERVER NAME PROGRAM [VARIABLE=VALUE...] creates a Lambda function of a program.
create_function() {
    local server=$1 name=$2 program=$3
    shift 3
    python3 "$HERE/function_request.py" "$name" "$program" "$@" |
        lambda "$server" "2015-03-31/functions" --data-binary @- | jq -r .FunctionArn
}

# invoke SERVER NAME EVENT [event] invokes a function and prints its answer; `event` does not wait for it.
invoke() {
    local type=RequestResponse
    [ "${4:-}" != event ] || type=Event
    printf %s "$3" | lambda "$1" "2015-03-31/functions/$2/invocations" --data-binary @- -H "X-Amz-Invocation-Type: $type"
}

# read_queue SERVER NAME QUEUE has a function called with the messages of a queue, one at a time.
read_queue() {
    jq -n --arg function "$2" --arg queue "$(queue_arn "$3")" '{FunctionName: $function, EventSourceArn: $queue,
            BatchSize: 1, FunctionResponseTypes: ["ReportBatchItemFailures"]}' |
        lambda "$1" "2015-03-31/event-source-mappings/" --data-binary @- >/dev/null
}

# on_failure SERVER NAME QUEUE sends what a function fails on to a queue, without another try.
on_failure() {
    jq -n --arg queue "$(queue_arn "$3")" \
        '{MaximumRetryAttempts: 0, DestinationConfig: {OnFailure: {Destination: $queue}}}' |
        lambda "$1" "2019-09-25/functions/$2/event-invoke-config" --request PUT --data-binary @- >/dev/null
}

# lambda SERVER PATH [CURL-ARGUMENT...]
lambda() {
    local server=$1 path=$2
    shift 2
    curl --silent --show-error --fail-with-body -H "Content-Type: application/json" -H "$(authorization lambda)" "$@" \
        "http://127.0.0.1:${PORT[$server]}/$path"
}

# function_log SERVER NAME prints what a function has written.
function_log() {
    call "$1" logs FilterLogEvents "$(jq -n --arg group "/aws/lambda/$2" '{logGroupName: $group}')" '.events[].message'
}

# function_arn NAME, queue_arn QUEUE
function_arn() {
    echo "arn:aws:lambda:$REGION:$ACCOUNT:function:$1"
}
queue_arn() {
    echo "arn:aws:sqs:$REGION:$ACCOUNT:$1"
}

# route SERVER BUS TARGET_ARN sends ECR's events on a bus of its own to a target.
route() {
    call "$1" events CreateEventBus "$(jq -n --arg bus "$2" '{Name: $bus}')" >/dev/null
    call "$1" events PutRule "$(jq -n --arg bus "$2" '{Name: "push", EventBusName: $bus, State: "ENABLED", EventPattern:
        ({source: ["aws.ecr"]} | tojson)}')" >/dev/null
    call "$1" events PutTargets "$(jq -n --arg bus "$2" --arg arn "$3" \
        '{Rule: "push", EventBusName: $bus, Targets: [{Id: "1", Arn: $arn}]}')" >/dev/null
}

# put_event SERVER BUS DETAIL [TYPE] puts an event of ECR on a bus.
put_event() {
    call "$1" events PutEvents "$(jq -n --arg bus "$2" --arg detail "$3" --arg type "${4:-ECR Image Action}" '
        {Entries: [{EventBusName: $bus, Source: "aws.ecr", DetailType: $type, Detail: $detail}]}')" \
        'if .FailedEntryCount > 0 then error("\(.Entries)") else .Entries[0].EventId end'
}

# register SERVER REPOSITORY DIGEST MEDIA_TYPE FILE [TAG] makes a manifest known to ECR's control plane.
register() {
    # It exists from the second manifest on.
    (call "$1" ecr CreateRepository "$(jq -n --arg name "$2" '{repositoryName: $name}')") >/dev/null 2>&1 || true
    call "$1" ecr PutImage "$(jq -n --arg name "$2" --arg digest "$3" --arg type "$4" --rawfile manifest "$5" --arg tag "${6:-}" \
        '{repositoryName: $name, imageManifest: $manifest, imageManifestMediaType: $type, imageDigest: $digest}
            + if $tag == "" then {} else {imageTag: $tag} end')" .image.imageId.imageDigest
}
