# What keeps a worker busy for minutes: many jobs, a long one, a queue that goes away meanwhile. Left to the night.
# shellcheck shell=bash

cases_busy() {
    prepare_service
    reference_exists python-oci-v2 python python-oci
    start_long_job
    run_case "busy: the queue's service restarted" busy_restarted_queue
    run_case "busy: two workers, 200 jobs with duplicates" busy_two
    run_case "busy: throughput" busy_throughput
    cat "$RUN/throughput" 2>/dev/null || true
    run_case "busy: a long job is kept from others, with the strict queue" busy_long_job
    local name
    for name in worker worker2 worker3 toxic2; do
        stop "$name"
    done
}

# The service comes back with its queues, as SQS does.
busy_restarted_queue() {
    local pid
    start_ministack flaky
    create_queues flaky restarted
    push_many restarted- 2 >"$RUN/restarted-images"
    start_worker worker flaky restarted basic MIN_LAYER_SIZE=1000 AWS_ENDPOINT_URL_ECR="http://127.0.0.1:${PORT[aws]}"
    pid=$(<"$RUN/pids/worker")
    send flaky restarted "$(jobs_of "$RUN/restarted-images" | sed -n 1p)"
    eventually 20 has_outcomes worker restarted-0 indexed
    terminate flaky 20
    eventually 20 failed_receives worker
    page worker /livez
    start_ministack flaky
    send flaky restarted "$(jobs_of "$RUN/restarted-images" | sed -n 2p)"
    eventually 60 has_outcomes worker restarted-1 indexed
    expect_indexed_once "$RUN/restarted-images"
    kill -0 "$pid"
    expect "the exit code" "$(terminate worker 10)" 0
    stop flaky
}

# failed_receives NAME tells whether a worker counts failed receives.
failed_receives() {
    page "$1" /metrics | grep -E '^soci_index_builder_queue_failures_total\{.*receive.*\} [1-9]'
}

busy_two() {
    create_queues aws two
    push_many two- 150 >"$RUN/two-images"
    { jobs_of "$RUN/two-images" && jobs_of "$RUN/two-images" | sed '51,$d'; } | send_all aws two
    expect "the queue" "$(depth aws two)" "200 0 0"
    forget_outcomes worker
    forget_outcomes worker2
    start_worker worker aws two basic MIN_LAYER_SIZE=1000
    start_worker worker2 aws two basic MIN_LAYER_SIZE=1000
    eventually 60 is_empty aws two
    expect "the dead letters" "$(depth aws two-dead)" "0 0 0"
    expect "the exit code" "$(terminate worker 10)" 0
    expect "the exit code" "$(terminate worker2 10)" 0
    expect_indexed_once "$RUN/two-images"
    expect "how the jobs ended" "$( (outcomes worker && outcomes worker2) | sort | uniq -c | xargs)" \
        "50 already-indexed 150 indexed"
    [ "$(outcomes worker | wc -l)" -gt 20 ] || fail "the first worker did next to nothing"
    [ "$(outcomes worker2 | wc -l)" -gt 20 ] || fail "the second worker did next to nothing"
    soci_json "$RUN/verified.json" 0 verify "127.0.0.1:${PORT[basic]}/two-7:v97-soci" --plain-http
}

# Images that are indexed already, in a registry that does not spend its time on checking passwords, so that it is the
# service that is measured.
readonly THROUGHPUT_IMAGES=100 THROUGHPUT_JOBS=2000

busy_throughput() {
    local began ended end in_flight most=0 number pid
    # A queue of its own: a server that still waits for the first worker's message would take the second one's.
    create_queues aws warm-up
    create_queues aws throughput
    push_many throughput- "$THROUGHPUT_IMAGES" plain >"$RUN/throughput-images"
    start_worker worker aws warm-up plain MIN_LAYER_SIZE=1000
    jobs_of "$RUN/throughput-images" | send_all aws warm-up
    eventually 60 is_empty aws warm-up
    stop worker
    for ((number = 0; number < THROUGHPUT_JOBS; number += THROUGHPUT_IMAGES)); do
        jobs_of "$RUN/throughput-images"
    done | send_all aws throughput
    forget_outcomes worker
    began=$(date +%s%N)
    start_worker worker aws throughput plain MIN_LAYER_SIZE=1000 MAX_CONCURRENT_IMAGES=32
    end=$((SECONDS + 300))
    until is_empty aws throughput; do
        in_flight=$(depth aws throughput | cut -d' ' -f2)
        [ "$in_flight" -le "$most" ] || most=$in_flight
        [ "$SECONDS" -lt "$end" ] || fail "it does not end"
    done
    ended=$(date +%s%N)
    pid=$(<"$RUN/pids/worker")
    expect "the jobs" "$(outcomes worker | sort | uniq -c | xargs)" "$THROUGHPUT_JOBS already-indexed"
    jq -n -r --argjson jobs "$THROUGHPUT_JOBS" --argjson seconds "$(((ended - began) / 1000000))e-3" --argjson most "$most" \
        --argjson busy "$(awk -v tick="$(getconf CLK_TCK)" '{ print ($14 + $15) / tick }' "/proc/$pid/stat")" '
        "    \($jobs / $seconds | round) jobs a second, up to \($most) messages in flight "
        + "(\($jobs) jobs for images that are indexed already, one worker with 32 slots, \($seconds) s in which it used "
        + "\($busy) s of CPU; registry and queue share the cores)"' \
        >"$RUN/throughput"
}

# Longer than a visibility timeout, on moto, which refuses what SQS refuses; begun first, so that it takes no time of its
# own.
start_long_job() {
    start_moto
    create_queues moto long 1 >/dev/null
    push_image basic python workers-long
    start_slow toxic2 --rate 5e6
    send moto long "$(job_of basic workers-long "$TAG")" >/dev/null
    start_worker worker3 moto long toxic2 AWS_ENDPOINT_URL_ECR="http://127.0.0.1:${PORT[aws]}"
}

busy_long_job() {
    eventually 60 has_outcomes worker3 workers-long indexed
    expect_index basic workers-long "$TAG-soci" python-oci-v2
    eventually 5 is_empty moto long
    # The queue allows one receive, so a second one would have moved the message.
    expect "the dead letters" "$(depth moto long-dead)" "0 0 0"
    page worker3 /metrics >"$RUN/workers-long"
    [ "$(sed -nE 's/^soci_index_builder_heartbeats_total\{.*ok.*\} //p' "$RUN/workers-long")" -ge 2 ] ||
        fail "the visibility timeout was not extended"
}
