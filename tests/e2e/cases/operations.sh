# What people who run the service use: configuration, pages, logs, metrics, and the commands around the queues.
# shellcheck shell=bash

cases_operations() {
    prepare_service
    reference_exists debian-oci-v2 debian debian-oci
    run_case "operations: a wrong configuration names every mistake" operations_configuration
    prepare_operations
    run_case "operations: pages" operations_pages
    run_case "operations: one line for each outcome in the log" operations_log
    run_case "operations: CloudWatch metrics in the log" operations_emf
    run_case "operations: no secrets on pages and in logs" operations_no_secrets
    run_case "operations: no more manifests a second than allowed" operations_rate
    run_case "operations: backfill" operations_backfill
    run_case "operations: replay --events" operations_replay_events
    run_case "operations: replay --from the dead-letter queue by reason" operations_replay_reason
    run_case "operations: replay --from the dead-letter queue" operations_replay
    run_case "operations: queue" operations_queue
    stop worker
}

# The program names the variables, and starts nothing.
operations_configuration() {
    local code=0 name
    env -i QUEUE_URL="not a URL" MAX_CONCURRENT_IMAGES=none MEMORY_BUDGET=1 SOCI_INDEX_VERSION=V3 \
        SOCI_REPOSITORY_IMAGE_TAG_FILTERS="App" HTTP_ADDRESS=8080 VISIBILITY_TIMEOUT_SECONDS=5 \
        "$SOCI_BIN" worker >"$RUN/configuration.out" 2>&1 || code=$?
    cat "$RUN/configuration.out"
    expect "the exit code" "$code" 64
    for name in QUEUE_URL MAX_CONCURRENT_IMAGES MEMORY_BUDGET SOCI_INDEX_VERSION SOCI_REPOSITORY_IMAGE_TAG_FILTERS \
        HTTP_ADDRESS VISIBILITY_TIMEOUT_SECONDS; do
        grep -q "$name" "$RUN/configuration.out" || fail "$name is not named"
    done
}

# A worker that has indexed an image, found it indexed, skipped one, and skipped one that is gone at the second look.
prepare_operations() {
    create_queues aws operations >/dev/null
    : >"$RUN/worker.log"
    rm -f "$RUN/worker.seen"
    push_image redirect debian operations-done
    push_image redirect small operations-small
    start_worker worker aws operations redirect EMF_NAMESPACE=E2E/Soci PUT_IMAGE_RATE=5
    send aws operations "$(job_of redirect operations-done "$TAG")" >/dev/null
    eventually 60 has_outcomes worker operations-done indexed
    {
        job_of redirect operations-done "$TAG"
        job_of redirect operations-small "$TAG"
        job operations-done sha256:0000000000000000000000000000000000000000000000000000000000000000
    } | send_all aws operations
    eventually 120 is_empty aws operations
    eventually 20 has_ended worker operations-done 4
}

operations_pages() {
    local name
    for name in livez readyz metrics status; do
        page worker "/$name" >"$RUN/page-$name"
        [ -s "$RUN/page-$name" ] || fail "/$name is empty"
    done
    page worker / >"$RUN/page-index"
    jq -e . "$RUN/page-status" >/dev/null
    grep -q operations-done "$RUN/page-status" || fail "/status does not name the repository"
    grep -qi "<html" "$RUN/page-index" || fail "/ is no page"
    expect "other hosts that the page loads from" "none$(grep -cE '(src|href)="?(https?:)?//' "$RUN/page-index")" none0
    expect "the jobs counted as indexed" "$(metric jobs_total 'outcome="indexed"')" 1
    expect "the jobs counted as already indexed" "$(metric jobs_total 'outcome="already-indexed"')" 1
    expect "the jobs counted as skipped" "$(metric jobs_total 'outcome="skipped",reason="nothing-to-index"')" 1
    expect "the jobs counted as doubted" "$(metric jobs_total 'outcome="doubted"')" 1
    expect "the answer to a page that is not there" "$(curl --silent --output /dev/null --write-out '%{http_code}' \
        "http://127.0.0.1:${PORT[worker]}/no-such-page")" 404
}

# metric NAME LABEL prints the value of a metric of the kept page.
metric() {
    sed -nE "s/^soci_index_builder_$1\{.*$2.*\} //p" "$RUN/page-metrics"
}

operations_log() {
    expect "how the jobs ended" "$(outcomes worker | sort | paste -sd,)" \
        "already-indexed,doubted image-gone,indexed,skipped image-gone,skipped nothing-to-index"
    # Every line that is no metric is one of the log.
    expect "the lines that are no JSON" "none$(jq -R 'fromjson? // "bad" | select(. == "bad")' "$RUN/worker.log" | wc -l)" none0
    jq -R -c 'fromjson | select(.outcome?)' "$RUN/worker.log" >"$RUN/outcomes"
    expect "the lines that name image and message" "$(jq -s 'map(select(.repository and .digest and .message_id
        and .timestamp and .level)) | length' "$RUN/outcomes")" 5
}

operations_emf() {
    jq -R -c 'fromjson | select(._aws?)' "$RUN/worker.log" >"$RUN/emf"
    [ -s "$RUN/emf" ] || fail "there are no metrics"
    # Every metric that a line announces is in it, and has a number.
    jq -e -s 'all(.[]; . as $line
        | (._aws.Timestamp | type == "number")
        and all(._aws.CloudWatchMetrics[]; .Namespace == "E2E/Soci"
            and all(.Metrics[]; $line[.Name] | type == "number" or type == "object" or type == "array")
            and all(.Dimensions[][]; $line[.] | type == "string")))' "$RUN/emf" || fail "a line is not as CloudWatch wants it"
}

operations_no_secrets() {
    local name
    for name in worker.log page-metrics page-status page-index page-livez page-readyz; do
        expect_no_secret "$RUN/$name"
        # MiniStack's receipts are UUIDs that follow a name like this.
        ! grep -qiE 'receipt' "$RUN/$name" || fail "$name speaks of receipts"
    done
}

# The limit is 5 a second; what is saved up while nothing happens may be used at once.
operations_rate() {
    local most
    push_many rate- 8 >"$RUN/rate-images"
    create_queues aws rate
    start_worker worker2 aws rate basic MIN_LAYER_SIZE=1000 PUT_IMAGE_RATE=5 MAX_CONCURRENT_IMAGES=8
    jobs_of "$RUN/rate-images" | send_all aws rate
    eventually 40 is_empty aws rate
    expect_indexed_once "$RUN/rate-images"
    most=$(grep -E '"PUT /v2/rate-[0-9]/manifests/[^ ]+ HTTP' "$RUN/basic.log" | grep -vE '/manifests/v[0-9]+ HTTP' |
        grep -oE '\[[^]]+\]' | uniq -c | sort -n | tail -n 1 | awk '{ print $1 }')
    echo "most manifests in a second: $most"
    [ "$most" -le 10 ] || fail "$most manifests were pushed within a second"
    stop worker2
}

# One image is indexed, events missed the others. The emulator does not tell what a chart is, so that the worker finds
# out.
operations_backfill() {
    local repository
    for repository in backfill/one backfill/two; do
        push_image redirect debian "$repository"
        catalogue aws "$repository" "$TAG"
    done
    push_image redirect chart backfill/chart
    catalogue aws backfill/chart "$TAG"
    send aws operations "$(job_of redirect backfill/one "$TAG")"
    eventually 60 has_outcomes worker backfill/one indexed
    catalogue aws backfill/one "$TAG-soci"
    create_queues aws backfill
    operate aws backfill --repository 'backfill/*' --queue-url "$(queue_url aws backfill)" --dry-run
    expect "the queue" "$(depth aws backfill)" "0 0 0"
    operate aws backfill --repository 'backfill/*' --queue-url "$(queue_url aws backfill)"
    take_all aws backfill | jq -r .body | tee "$RUN/backfill-jobs"
    expect "the repositories of the jobs" "$(jq -r .repository "$RUN/backfill-jobs" | paste -sd,)" \
        backfill/chart,backfill/two
    send_all aws operations-backfill <"$RUN/backfill-jobs"
    eventually 60 has_outcomes worker backfill/two indexed
    eventually 20 has_outcomes worker backfill/chart "skipped artifact"
    expect_index redirect backfill/two "$TAG-soci" debian-oci-v2
}

operations_replay_events() {
    local code=0 digest
    push_image redirect debian operations-replay
    create_queues aws replay-events
    digest=$(manifest_digest redirect operations-replay "$TAG")
    {
        event "$(detail operations-replay "$digest" "$TAG" "$OCI_INDEX")"
        echo "no event"
        event "$(detail operations-replay "$digest" "$TAG-soci" "$OCI_INDEX")"
    } >"$RUN/replay-events"
    operate aws replay --events - --to "$(queue_url aws replay-events)" <"$RUN/replay-events" >"$RUN/replay.out" 2>&1 || code=$?
    cat "$RUN/replay.out"
    expect "the exit code" "$code" 1
    grep -qE '\b2\b' "$RUN/replay.out" || fail "the number of the bad line is not named"
    take_all aws replay-events >"$RUN/replay-jobs"
    expect "the jobs" "$(jq -r '.body | fromjson | "\(.repository) \(.tag) \(.digest)"' "$RUN/replay-jobs")" \
        "operations-replay $TAG $digest"
}

# dead_letter QUEUE BODY REASON puts a message on a queue as a worker does.
dead_letter() {
    call aws sqs SendMessage "$(jq -n --arg url "$(queue_url aws "$1")" --arg body "$2" --arg reason "$3" '
        {QueueUrl: $url, MessageBody: $body, MessageAttributes: {failure_reason: {DataType: "String", StringValue: $reason}}}')"
}

operations_replay_reason() {
    create_queues aws again
    dead_letter again-dead one image-gone
    dead_letter again-dead two malformed
    dead_letter again-dead three image-gone
    operate aws replay --from "$(queue_url aws again-dead)" --to "$(queue_url aws again)" --reason image-gone
    expect "the queue" "$(take_all aws again | jq -r .body | sort | paste -sd,)" one,three
    # The others are to be seen again.
    eventually 40 is_depth aws again-dead "1 0 0"
}

# The emulator has no StartMessageMoveTask, so that this is message by message.
operations_replay() {
    dead_letter again-dead four image-gone
    operate aws replay --from "$(queue_url aws again-dead)" --to "$(queue_url aws again)" --max-rate 50
    take_all aws again >"$RUN/again"
    expect "the queue" "$(jq -r .body "$RUN/again" | sort | paste -sd,)" four,two
    expect "the attributes" "$(jq -c .attributes "$RUN/again" | sort -u)" "{}"
    expect "the dead letters" "$(depth aws again-dead)" "0 0 0"
}

operations_queue() {
    create_queues aws figures
    printf '%s\n' one two three | send_all aws figures
    dead_letter figures-dead four malformed
    dead_letter figures-dead five malformed
    send aws figures-dead six
    operate aws queue --queue-url "$(queue_url aws figures)" --backfill-queue-url "$(queue_url aws figures-backfill)" \
        --dead-letter-queue-url "$(queue_url aws figures-dead)" --json | tee "$RUN/figures"
    expect "the figures" "$(jq -c '[.queues[] | [.role, .visible, .in_flight, .delayed]]' "$RUN/figures")" \
        '[["live",3,0,0],["backfill",0,0,0],["dead letters",3,0,0]]'
    expect "the reasons" "$(jq -c '.queues[2].reasons' "$RUN/figures")" '{"malformed":2,"received-too-often":1}'
    # Looking changes nothing.
    expect "the queue" "$(depth aws figures)" "3 0 0"
    expect "the dead letters" "$(depth aws figures-dead)" "3 0 0"
}
