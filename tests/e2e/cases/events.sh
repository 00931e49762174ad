# An event on the bus at one end, a verified index in the registry at the other.
# shellcheck shell=bash

# Images of at most this many bytes go to the index Lambda: mixed has 141 MB, debian 182 and python 202.
readonly SMALL_IMAGE=160000000

cases_events() {
    prepare_service
    prepare_events
    run_case "events: a push goes through the filter Lambda, the queue and a worker" events_worker python
    run_case "events: the same with an image index" events_worker debian
    run_case "events: a small image goes through the index Lambda" events_index_lambda
    run_case "events: SOCI index V1" events_v1
    run_case "events: an index Lambda in front of a queue" events_index_lambda_of_queue
    run_case "events: a rule that targets the queue" events_raw
    run_case "events: what a Lambda failed on" events_on_failure
    run_case "events: a replicated image, and one of the pull-through cache" events_without_a_push
    run_case "events: no filter matches" events_unmatched
    run_case "events: pushes of results, charts and signatures make nothing" events_no_image
    run_case "events: the index's own push ends there" events_no_loop
    run_case "events: an empty suffix makes no loop" events_empty_suffix
    run_case "events: no secrets in the logs" events_no_secrets
    stop worker
    stop worker2
    stop worker3
}

# Queue jobs is worked on with V2, jobs-v1 with V1 and jobs-replace with V2 and no suffix; nobody reads unread. Each has
# a filter Lambda behind a bus of the same name; the bus direct leads to the queue jobs itself, and arrivals to a filter
# Lambda of that queue which takes everything but pushes.
prepare_events() {
    local queue environment
    for image in python mixed debian; do
        reference_exists "$image-oci-v2" "$image" "$image-oci"
    done
    push_image plain debian v1-debian
    [ -e "$RUN/reference/debian-v1.json" ] || reference_index debian-v1 v1-debian -index-version v1
    for queue in jobs jobs-v1 jobs-replace unread; do
        create_queues aws "$queue" >/dev/null
    done
    mapfile -t environment < <(service_environment aws jobs)
    create_function aws index "$INDEX_LAMBDA_BIN" "${environment[@]}" >/dev/null
    create_queue aws jobs-small jobs 1 >/dev/null
    read_queue aws index jobs-small
    create_filter jobs "SMALL_IMAGES_QUEUE_URL=$(queue_url aws jobs-small)" "INDEX_LAMBDA_MAX_IMAGE_BYTES=$SMALL_IMAGE"
    create_filter jobs-v1 SOCI_INDEX_VERSION=V1
    create_filter jobs-replace OUTPUT_TAG_SUFFIX=
    create_filter unread
    create_filter arrivals "QUEUE_URL=$(queue_url aws jobs)" "EVENT_TYPES=ECR Replication Action,ECR Pull Through Cache Action"
    route aws direct "$(queue_arn jobs)"
    start_worker worker aws jobs redirect
    start_worker worker2 aws jobs-v1 redirect SOCI_INDEX_VERSION=V1
    start_worker worker3 aws jobs-replace redirect OUTPUT_TAG_SUFFIX=
}

# create_filter QUEUE [VARIABLE=VALUE...] creates a filter Lambda for a queue and a bus that leads to it.
create_filter() {
    local queue=$1
    shift
    create_function aws "filter-$queue" "$FILTER_LAMBDA_BIN" "QUEUE_URL=$(queue_url aws "$queue")" \
        "SOCI_REPOSITORY_IMAGE_TAG_FILTERS=nothing:*, events-*:$TAG*" "$@" >/dev/null
    route aws "$queue" "$(function_arn "filter-$queue")"
}

# announce_image BUS IMAGE REPOSITORY pushes an image and tells the bus.
announce_image() {
    push_image redirect "$2" "$3"
    catalogue aws "$3" "$TAG"
    announce aws "$1" "$3" "$TAG"
}

events_worker() {
    local repository="events-worker-$1"
    announce_image jobs "$1" "$repository"
    eventually 60 has_outcomes worker "$repository" indexed
    expect_index redirect "$repository" "$TAG-soci" "$1-oci-v2"
    is_empty aws jobs
}

# The worker of the same queue never sees it.
events_index_lambda() {
    announce_image jobs mixed events-lambda
    eventually 60 has_tag redirect events-lambda "$TAG-soci"
    expect_index redirect events-lambda "$TAG-soci" mixed-oci-v2
    expect "the worker's jobs" "$(outcomes worker events-lambda | wc -l)" 0
}

events_v1() {
    local subject index
    announce_image jobs-v1 debian events-v1
    eventually 60 has_outcomes worker2 events-v1 indexed
    jq -r '.indexes[] | "\(.image_manifest) \(.soci_index)"' "$RUN/reference/debian-v1.json" >"$RUN/events-subjects"
    expect "the platforms" "$(wc -l <"$RUN/events-subjects")" 2
    while read -r subject index; do
        expect "the SOCI index of $subject" \
            "$(manifest redirect events-v1 "${subject/:/-}" | jq -r '.manifests[].digest')" "$index"
    done <"$RUN/events-subjects"
    expect_no_tag redirect events-v1 "$TAG-soci"
    soci_json "$RUN/events-v1.json" 0 verify "127.0.0.1:${PORT[redirect]}/events-v1:$TAG" --plain-http
}

# The function is called with records of a queue, as an event source mapping does, and says which of them failed.
events_index_lambda_of_queue() {
    local records answer
    push_image redirect debian events-records
    records=$(jq -n -c --arg good "$(job_of redirect events-records "$TAG")" --arg bad "no job" '
        {Records: ([$good, $bad] | to_entries | map({messageId: "message-\(.key)", receiptHandle: "receipt", body: .value,
            attributes: {ApproximateReceiveCount: "1", SentTimestamp: "1780000000000"}, messageAttributes: {},
            eventSource: "aws:sqs", awsRegion: "eu-west-1",
            eventSourceARN: "arn:aws:sqs:eu-west-1:123456789012:jobs"}))}')
    answer=$(invoke aws index "$records")
    echo "$answer"
    expect "the failed messages" "$(jq -c .batchItemFailures <<<"$answer")" "[]"
    expect_index redirect events-records "$TAG-soci" debian-oci-v2
    take_all aws jobs-dead >"$RUN/events-dead"
    expect "the body on the dead-letter queue" "$(field "$RUN/events-dead" .body)" "no job"
    expect "its reason" "$(field "$RUN/events-dead" .attributes.failure_reason)" malformed
}

events_raw() {
    forget_outcomes worker
    push_image redirect debian events-raw
    announce aws direct events-raw "$TAG"
    # The events of the two manifests, and the one of the image index.
    eventually 60 has_outcomes worker events-raw "indexed,skipped untagged,skipped untagged"
    expect_index redirect events-raw "$TAG-soci" debian-oci-v2
}

# A function that always fails has the queue as its destination for failures.
events_on_failure() {
    push_image redirect debian events-failure
    cat >"$RUN/failing-bootstrap" <<'BOOTSTRAP'
#!/bin/sh
exit 1
BOOTSTRAP
    create_function aws failing "$RUN/failing-bootstrap"
    on_failure aws failing jobs
    invoke aws failing "$(event "$(pushed redirect events-failure "$TAG" | tail -n 1)")" event
    eventually 60 has_outcomes worker events-failure indexed
    expect_index redirect events-failure "$TAG-soci" debian-oci-v2
}

# ECR tells of both in words of its own, and of neither with media types.
events_without_a_push() {
    local detail copied cached repository
    push_image redirect debian events-copied
    push_image redirect debian events-cached
    detail=$(pushed redirect events-copied "$TAG" | tail -n 1)
    copied=$(jq -c 'del(.["manifest-media-type"]) + {"action-type": "REPLICATE", "source-account": "210987654321",
        "source-region": "us-west-2"}' <<<"$detail")
    detail=$(pushed redirect events-cached "$TAG" | tail -n 1)
    cached=$(jq -c '{"rule-version": "1", "sync-status": "SUCCESS", "ecr-repository-prefix": "events",
        "upstream-registry-url": "public.ecr.aws"} + {"repository-name", "image-tag", "image-digest"}' <<<"$detail")
    # Where only pushes are wanted they make nothing, nor does a push where it is not wanted.
    put_event aws unread "$copied" "ECR Replication Action"
    put_event aws unread "$cached" "ECR Pull Through Cache Action"
    put_event aws arrivals "$detail"
    # Nor does what failed, or a result that was replicated.
    put_event aws arrivals "$(jq -c '.result = "FAILED"' <<<"$copied")" "ECR Replication Action"
    put_event aws arrivals "$(jq -c '.["sync-status"] = "FAILURE"' <<<"$cached")" "ECR Pull Through Cache Action"
    put_event aws arrivals "$(jq -c '.["image-tag"] += "-soci"' <<<"$copied")" "ECR Replication Action"
    put_event aws arrivals "$copied" "ECR Replication Action"
    put_event aws arrivals "$cached" "ECR Pull Through Cache Action"
    for repository in events-copied events-cached; do
        eventually 60 has_outcomes worker "$repository" indexed
        expect_index redirect "$repository" "$TAG-soci" debian-oci-v2
    done
    is_empty aws jobs
    expect "the queue" "$(depth aws unread)" "0 0 0"
}

# filtered DETAIL prints what the filter Lambda of the queue unread answers to an event.
filtered() {
    invoke aws filter-unread "$(event "$1")" | tee -a "$RUN/events-filtered"
}

events_unmatched() {
    local digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a name
    for name in "other:$TAG" "events-app:2" "nothing-else:$TAG"; do
        filtered "$(detail "${name%:*}" "$digest" "${name#*:}" "$OCI_MANIFEST")" | jq -e '.statusCode == 200'
    done
    expect "the queue" "$(depth aws unread)" "0 0 0"
    # The same way brings a job for an image that is wanted.
    filtered "$(detail events-app "$digest" "$TAG" "$OCI_MANIFEST")" | jq -e '.statusCode == 200'
    expect "the queue" "$(depth aws unread)" "1 0 0"
    expect "the job" "$(take_all aws unread | jq -r '.body | fromjson | "\(.v) \(.repository) \(.tag) \(.digest)"')" \
        "1 events-app $TAG $digest"
}

events_no_image() {
    local digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a
    local soci=application/vnd.amazon.soci.index
    filtered "$(detail events-app "$digest" "$TAG-soci" "$OCI_INDEX")"
    filtered "$(detail events-app "$digest" "" "$OCI_MANIFEST" "$soci.v2+json")"
    filtered "$(detail events-app "$digest" "" "$OCI_MANIFEST" "$soci.v1+json")"
    filtered "$(detail events-app "$digest" "$TAG" "$OCI_MANIFEST" "$CHART_CONFIG")"
    filtered "$(detail events-app "$digest" "${digest/:/-}.sig" "$OCI_MANIFEST")"
    filtered "$(detail events-app "$digest" "" "$OCI_MANIFEST")"
    filtered "$(detail events-app "$digest" "$TAG" "$OCI_MANIFEST" | jq -c '.["action-type"] = "DELETE"')"
    expect "the queue" "$(depth aws unread)" "0 0 0"
}

# ECR tells of the converted image, its manifests and the SOCI indexes as of any push.
events_no_loop() {
    local before
    before=$(manifest_writes redirect events-worker-debian)
    forget_outcomes worker
    catalogue aws events-worker-debian "$TAG-soci"
    announce aws jobs events-worker-debian "$TAG-soci"
    announce aws direct events-worker-debian "$TAG-soci"
    eventually 30 has_outcomes worker "" \
        "skipped output-tag,skipped soci-index,skipped soci-index,skipped untagged,skipped untagged"
    eventually 10 is_empty aws jobs
    expect "the manifests written" "$(manifest_writes redirect events-worker-debian)" "$before"
}

# The converted image takes the place of the image, and its own push changes nothing.
events_empty_suffix() {
    local before repository=events-replace
    announce_image jobs-replace debian "$repository"
    eventually 60 has_outcomes worker3 "$repository" indexed
    expect_index redirect "$repository" "$TAG" debian-oci-v2
    before=$(manifest_writes redirect "$repository")
    catalogue aws "$repository" "$TAG"
    announce aws jobs-replace "$repository" "$TAG"
    eventually 60 has_outcomes worker3 "$repository" already-indexed,indexed
    expect "the manifests written" "$(manifest_writes redirect "$repository")" "$before"
    expect_index redirect "$repository" "$TAG" debian-oci-v2
}

events_no_secrets() {
    local name
    for name in filter-jobs filter-jobs-v1 filter-unread filter-arrivals index; do
        function_log aws "$name" >"$RUN/function-$name.log"
        expect_no_secret "$RUN/function-$name.log"
    done
    for name in worker worker2 worker3; do
        expect_no_secret "$RUN/$name.log"
    done
}
