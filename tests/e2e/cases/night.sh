# A night: a hundred jobs, the registry and the queue's service cut and come back, the worker stopped and replaced. At each
# moment all that the worker says agrees, nothing is lost, and the letters that are left belong there.
# shellcheck shell=bash

readonly NIGHT_IMAGES=100

cases_night() {
    prepare_service
    run_case "night: queue and registry cut and back, a hundred jobs, all surfaces agree" night_cuts
    run_case "night: dead letters are listed, shown, put back and deleted" night_letters
    local name
    for name in worker front flaky; do
        stop "$name"
    done
}

# in_state STATE tells whether the worker says so.
in_state() {
    [ "$(page worker /status | jq -r .service.state)" = "$1" ]
}

# night_worker starts the worker, which writes four manifests a second, so that the jobs last.
night_worker() {
    start_worker worker flaky night front MIN_LAYER_SIZE=1000 PUT_IMAGE_RATE=4 DEAD_LETTERS_ON_PAGE=true \
        RUNBOOK_URL=https://wiki.example/soci AWS_ENDPOINT_URL_ECR="http://127.0.0.1:${PORT[aws]}"
}

# night_indexed COUNT tells whether at least so many images have their index.
night_indexed() {
    [ "$(outcomes worker | grep -c '^indexed')" -ge "$1" ]
}

start_night_registry() {
    start front python3 "$HERE/registry_front.py" --listen "${PORT[front]}" --to "${PORT[basic]}"
}

night_cuts() {
    local watcher code=0
    : >"$RUN/worker.log"
    rm -f "$RUN/worker.seen" "$RUN/night.stop"
    start_ministack flaky
    create_queues flaky night
    start_night_registry
    push_many night- "$NIGHT_IMAGES" >"$RUN/night-images"
    night_worker
    python3 "$HERE/night.py" "${PORT[worker]}" "$RUN/worker.log" "$RUN/night.stop" "$RUN/night.json" &
    watcher=$!
    eventually 20 in_state idle
    # One letter belongs to the night.
    send flaky night "no job at all"
    jobs_of "$RUN/night-images" | send_all flaky night
    eventually 30 night_indexed 10

    stop front
    eventually 120 in_state registry-unreachable
    sleep 3
    start_night_registry
    eventually 180 in_state working
    eventually 60 night_indexed 25

    terminate flaky 20
    eventually 60 in_state queue-unreachable
    sleep 3
    start_ministack flaky
    eventually 60 in_state working
    eventually 60 night_indexed 40

    # A deployment: the worker gives back what it has, and another one goes on.
    expect "the exit code" "$(terminate worker 30)" 0
    night_worker
    eventually 240 is_empty flaky night
    eventually 20 in_state idle
    # What the page shows of the letters is looked at every half minute.
    eventually 60 night_shows_letter
    # The watcher sees this state, too.
    sleep 3
    touch "$RUN/night.stop"
    wait "$watcher" || code=$?
    cat "$RUN/night.json"
    echo
    expect "the watcher's exit code" "$code" 0
    for state in idle working queue-unreachable registry-unreachable draining; do
        [ "$(jq --arg state "$state" '.moments[$state] // 0' "$RUN/night.json")" -ge 2 ] ||
            fail "the state $state was hardly seen"
    done
    expect_indexed_once "$RUN/night-images"
    expect "the dead letters" "$(depth flaky night-dead)" "1 0 0"
}

night_shows_letter() {
    page worker / | grep -q 'https://wiki.example/soci#malformed'
}

# letters COMMAND... is `dead-letters` on the night's queue.
letters() {
    operate flaky dead-letters "$@"
}

night_letters() {
    local queues id code=0
    mapfile -t queues < <(printf '%s\n' --dead-letter-queue-url "$(queue_url flaky night-dead)")
    stop worker
    # One that the queue's service itself moves says nothing.
    send flaky night-dead "$(jobs_of "$RUN/night-images" | sed -n 1p)" >/dev/null
    letters list "${queues[@]}" --json | tee "$RUN/letters"
    echo
    expect "the reasons" "$(jq -c .reasons "$RUN/letters")" '{"malformed":1,"received-too-often":1}'
    letters list "${queues[@]}" --runbook-url https://wiki.example/soci | tee "$RUN/letters.txt"
    grep -qF 'https://wiki.example/soci#malformed' "$RUN/letters.txt" || fail "no way to the runbook"
    expect "the letters" "$(letters list "${queues[@]}" --image 'night-*' --json | jq .matched)" 1
    expect "the letters" "$(letters list "${queues[@]}" --older-than 1h --json | jq .matched)" 0
    id=$(jq -r '.letters[] | select(.reason == "malformed") | .id' "$RUN/letters")
    letters show "$id" "${queues[@]}" | tee "$RUN/letter"
    grep -q 'no job at all' "$RUN/letter" || fail "the letter's message is not shown"
    # A dry run changes nothing, and a change wants to be told what.
    letters drop "${queues[@]}" --id "$id" --dry-run
    letters retry "${queues[@]}" --all --to "$(queue_url flaky night)" --dry-run
    operate flaky replay --from "$(queue_url flaky night-dead)" --to "$(queue_url flaky night)" --dry-run
    letters drop "${queues[@]}" >"$RUN/letters.out" 2>&1 || code=$?
    expect "the exit code without a selection" "$code" 2
    expect "the dead letters" "$(depth flaky night-dead)" "2 0 0"
    letters retry "${queues[@]}" --reason received-too-often --to "$(queue_url flaky night)"
    expect "the queue" "$(depth flaky night)" "1 0 0"
    letters drop "${queues[@]}" --id "$id"
    expect "the dead letters" "$(depth flaky night-dead)" "0 0 0"
    night_worker
    eventually 60 is_empty flaky night
    expect "the exit code" "$(terminate worker 30)" 0
}
