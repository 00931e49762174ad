# A worker's bad days: killed, stopped, given nonsense, with a registry or a queue that fails. Nothing is lost.
# shellcheck shell=bash

cases_workers() {
    prepare_service
    reference_exists python-oci-v2 python python-oci
    reference_exists debian-oci-v2 debian debian-oci
    run_case "workers: SIGTERM gives the job back at once" workers_give_back
    run_case "workers: SIGTERM lets a job end that fits" workers_drain
    run_case "workers: a message that comes after SIGTERM is not hidden" workers_idle_stop
    run_case "workers: SIGKILL in the middle of a build" workers_killed
    run_case "workers: a job that kills its worker ends on the dead-letter queue" workers_poison
    run_case "workers: malformed messages" workers_malformed
    run_case "workers: a registry that fails every 10th request" workers_failing_registry
    # Each waits a minute for a second look.
    run_together "workers: an image that is gone" workers_gone \
        "workers: an image that another has replaced" workers_superseded "workers: immutable tags" workers_immutable
    local name
    for name in worker worker2 worker3 toxic front; do
        stop "$name"
    done
}

# start_slow NAME FLAG... puts the slow proxy before the registry with Basic auth.
start_slow() {
    local name=$1
    shift
    start "$name" python3 "$HERE/toxic_proxy.py" --listen "${PORT[$name]}" --to "${PORT[basic]}" "$@"
}

# expect_outcomes NAME REPOSITORY OUTCOMES ends the case unless these are all that there were, or none.
expect_outcomes() {
    expect "how the jobs ended" "$(outcomes "$1" "$2" | sort | paste -sd,)." "$3."
}

# start_halfway RATE QUEUE REPOSITORY [VARIABLE=VALUE...] starts a worker that reads so many bytes a second, and returns
# when it has read some of an image of 200 MB.
start_halfway() {
    local rate=$1 queue=$2 repository=$3 mark="$RUN/$3.mark"
    shift 3
    push_image basic python "$repository"
    start_slow toxic --rate "$rate" --mark-after 20000000 --mark "$mark"
    send aws "$queue" "$(job_of basic "$repository" "$TAG")"
    start_worker worker aws "$queue" toxic "$@"
    eventually 20 test -e "$mark"
}

workers_give_back() {
    local began code
    create_queues aws give-back
    # Longer than the worker waits for messages: a server that still waits for one takes what is given back.
    start_halfway 10e6 give-back workers-give-back DRAIN_DEADLINE_SECONDS=6
    expect "the queue" "$(depth aws give-back)" "0 1 0"
    began=$SECONDS
    code=$(terminate worker 15)
    expect "the exit code" "$code" 0
    [ $((SECONDS - began)) -le 9 ] || fail "it took $((SECONDS - began)) s to stop"
    expect "the queue" "$(depth aws give-back)" "1 0 0"
    expect_outcomes worker workers-give-back given-back
    expect_no_tag basic workers-give-back "$TAG-soci"
    # What was given back is there for the next one at once.
    start_worker worker aws give-back basic
    eventually 25 has_outcomes worker workers-give-back given-back,indexed
    expect_index basic workers-give-back "$TAG-soci" python-oci-v2
    eventually 5 is_empty aws give-back
}

workers_drain() {
    local code
    create_queues aws drain
    start_halfway 40e6 drain workers-drain DRAIN_DEADLINE_SECONDS=60
    code=$(terminate worker 30)
    expect "the exit code" "$code" 0
    expect_outcomes worker workers-drain indexed
    expect "the queue" "$(depth aws drain)" "0 0 0"
    expect_index basic workers-drain "$TAG-soci" python-oci-v2
}

# Nobody knows when a poll notices that its client has gone: neither at once nor late may it take a message along.
workers_idle_stop() {
    local pause queue began
    for pause in 0 3; do
        queue=idle-stop-$pause
        create_queues aws "$queue"
        forget_outcomes worker
        # With no backfill queue to look at, a poll takes twenty seconds.
        start_worker worker aws "$queue" basic BACKFILL_QUEUE_URL= VISIBILITY_TIMEOUT_SECONDS=120
        # The next poll begins while this one is handled.
        send aws "$queue" "no job"
        eventually 20 has_outcomes worker "" "rejected malformed"
        began=$SECONDS
        kill -TERM "$(<"$RUN/pids/worker")"
        sleep "$pause"
        send aws "$queue" "no job either"
        eventually 10 is_depth aws "$queue" "1 0 0"
        eventually 10 test -e "$RUN/exits/worker"
        expect "the exit code" "$(<"$RUN/exits/worker")" 0
        [ $((SECONDS - began)) -lt 15 ] || fail "it took $((SECONDS - began)) s to stop"
        expect "how the jobs ended" "$(outcomes worker | sort | paste -sd,)" "given-back,rejected malformed"
        expect "the queue" "$(depth aws "$queue")" "1 0 0"
    done
}

# The backfill queue allows one receive, the live queue five; the kill uses up one of each.
workers_killed() {
    create_queues aws killed 5 1
    push_image basic python workers-poison
    send aws killed-backfill "$(job_of basic workers-poison "$TAG")"
    start_halfway 20e6 killed workers-killed
    eventually 10 is_depth aws killed-backfill "0 1 0"
    stop worker
    expect_no_tag basic workers-killed "$TAG-soci"
    expect_outcomes worker workers-killed ""
    start_worker worker aws killed basic
    # Once the visibility timeout of 30 s has ended.
    eventually 60 has_outcomes worker workers-killed indexed
    expect_index basic workers-killed "$TAG-soci" python-oci-v2
    eventually 5 is_empty aws killed
}

workers_poison() {
    eventually 40 is_depth aws killed-dead "1 0 0"
    expect "the queue" "$(depth aws killed-backfill)" "0 0 0"
    take_all aws killed-dead >"$RUN/workers-poison"
    expect "the repository" "$(jq -r '.body | fromjson | .repository' "$RUN/workers-poison")" workers-poison
    # Only messages that a worker has put there say why.
    expect "the attributes" "$(jq -c .attributes "$RUN/workers-poison")" "{}"
    expect_no_tag basic workers-poison "$TAG-soci"
}

workers_gone() {
    local digest=sha256:0000000000000000000000000000000000000000000000000000000000000000 message
    create_queues aws gone
    push_image basic debian workers-gone
    start_worker worker aws gone basic
    message=$(job workers-gone "$digest" deleted)
    send aws gone "$message"
    # One answer of the registry is not believed. The second look is a minute later.
    eventually 20 has_outcomes worker workers-gone "doubted image-gone"
    expect "the queue" "$(depth aws gone)" "0 0 1"
    eventually 90 has_outcomes worker workers-gone "doubted image-gone,skipped image-gone"
    eventually 5 is_empty aws gone
    expect "the dead letters" "$(depth aws gone-dead)" "0 0 0"
}

# The tag names another image by now, of whose push there is a job as well.
workers_superseded() {
    local before message
    create_queues aws superseded
    push_image basic debian workers-superseded
    message=$(job_of basic workers-superseded "$TAG")
    push_image basic python workers-superseded
    before=$(writes basic workers-superseded/)
    start_worker worker2 aws superseded basic
    send aws superseded "$message"
    # One answer of the registry is not believed. The second look is a minute later.
    eventually 90 has_outcomes worker2 workers-superseded "doubted superseded,skipped superseded"
    eventually 5 is_empty aws superseded
    expect "the requests that write" "$(writes basic workers-superseded/)" "$before"
}

# Beside them a job is done as ever.
workers_malformed() {
    local bad
    create_queues aws malformed
    push_image basic debian workers-malformed
    bad=$(printf '%s\n' "no JSON" "{}" "[]" '{"v":2}' '{"v":1,"repository":"../../etc"}' \
        "$(job workers-malformed sha256:short "$TAG")" \
        "$(event "$(detail UPPER sha256:short "$TAG")")" \
        "{\"requestContext\":{\"condition\":\"RetriesExhausted\"},\"requestPayload\":{}}" \
        "{\"v\":1,\"padding\":\"$(head -c 200000 /dev/zero | tr '\0' 'x')\"}" \
        "$(printf '[%.0s' {1..5000})")
    { sed 5q <<<"$bad" && job_of basic workers-malformed "$TAG" && sed 1,5d <<<"$bad"; } | send_all aws malformed
    start_worker worker aws malformed basic
    eventually 40 is_empty aws malformed
    eventually 20 has_outcomes worker workers-malformed indexed
    take_all aws malformed-dead >"$RUN/workers-malformed"
    expect "the dead letters" "$(jq -r .body "$RUN/workers-malformed" | sort | sha256sum)" "$(sort <<<"$bad" | sha256sum)"
    expect "their reasons" "$(jq -r .attributes.failure_reason "$RUN/workers-malformed" | sort | uniq -c | xargs)" \
        "$(wc -l <<<"$bad") malformed"
    expect_index basic workers-malformed "$TAG-soci" debian-oci-v2
}

workers_failing_registry() {
    create_queues aws failing
    push_image basic python workers-failing
    push_many failing- 20 >"$RUN/failing-images"
    : >"$RUN/front.log"
    start front python3 "$HERE/registry_front.py" --listen "${PORT[front]}" --to "${PORT[basic]}" --fail-every 10
    { job_of basic workers-failing "$TAG" && jobs_of "$RUN/failing-images"; } | send_all aws failing
    start_worker worker aws failing front MIN_LAYER_SIZE=1000
    eventually 60 is_empty aws failing
    expect "the dead letters" "$(depth aws failing-dead)" "0 0 0"
    [ "$(grep -c '^503' "$RUN/front.log")" -ge 10 ] || fail "the registry did not fail"
    expect_indexed_once "$RUN/failing-images"
    expect_outcomes worker workers-failing indexed
    soci_json "$RUN/verified.json" 0 verify "127.0.0.1:${PORT[basic]}/workers-failing:$TAG-soci" --plain-http
}

# push_many PREFIX IMAGES [SERVER] pushes small images to a registry, the one with Basic auth unless another is named,
# and prints them as push_many.py does.
push_many() {
    python3 "$HERE/push_many.py" --port "${PORT[${3:-basic}]}" --user "$REGISTRY_USER:$REGISTRY_PASSWORD" --prefix "$1" --images "$2"
}

# jobs_of FILE prints a job for every image that push_many has listed in a file.
jobs_of() {
    jq -c --arg registry "$ECR_HOST" '{v: 1, registry: $registry, repository, digest, tag, enqueued_at: (now | todate)}' "$1"
}

# expect_indexed_once FILE ends the case unless every image of the list has an index that was pushed once.
expect_indexed_once() {
    jq -r '"/v2/\(.repository)/manifests/\(.tag)-soci"' "$1" | sort >"$RUN/expected-pushes"
    grep -oE '"PUT /v2/[^ ]+-soci HTTP[^"]*" 201' "$RUN/basic.log" | cut -d' ' -f2 | grep -xFf "$RUN/expected-pushes" |
        sort >"$RUN/actual-pushes"
    diff "$RUN/expected-pushes" "$RUN/actual-pushes" || fail "images were not indexed exactly once"
}

workers_immutable() {
    create_queues aws immutable
    push_image basic debian workers-immutable
    : >"$RUN/front.log"
    start front python3 "$HERE/registry_front.py" --listen "${PORT[front]}" --to "${PORT[basic]}" --immutable
    start_worker worker3 aws immutable front
    send aws immutable "$(job_of basic workers-immutable "$TAG")"
    eventually 40 has_outcomes worker3 workers-immutable indexed
    send aws immutable "$(job_of basic workers-immutable "$TAG")"
    eventually 20 has_outcomes worker3 workers-immutable already-indexed,indexed
    expect_index basic workers-immutable "$TAG-soci" debian-oci-v2
    # Other settings give another digest, which the tag cannot take.
    start_worker worker3 aws immutable front SPAN_SIZE=1MiB
    send aws immutable "$(job_of basic workers-immutable "$TAG")"
    # At the second look, a minute after the first one.
    eventually 110 is_depth aws immutable-dead "1 0 0"
    take_all aws immutable-dead | tee "$RUN/workers-immutable"
    expect "the reason" "$(field "$RUN/workers-immutable" .attributes.failure_reason)" tag-immutable
    field "$RUN/workers-immutable" .attributes.failure_message | grep -q immutable || fail "the message does not say so"
    expect_index basic workers-immutable "$TAG-soci" debian-oci-v2
}
