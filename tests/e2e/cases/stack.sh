# template.yaml deployed into an emulator, twice, and what comes out of it at work.
# shellcheck shell=bash

readonly STACK_IMAGE=$ACCOUNT.dkr.ecr.$REGION.amazonaws.com/tools/soci-index-builder:1.0

cases_stack() {
    prepare_service
    prepare_stack
    run_case "stack: two side by side" stack_side_by_side
    run_case "stack: a push goes through rule, filter Lambda, queue and worker" stack_worker
    run_case "stack: a small image goes through the index Lambda" stack_index_lambda
    run_case "stack: everything turned on, with SOCI index V1" stack_v1
    run_case "stack: the container is started as ECS would" stack_container
    run_case "stack: an update changes what the programs are told" stack_update
    run_case "stack: deletion leaves nothing but logs" stack_delete
    stop worker
    stop worker2
}

# stack COMMAND... runs stack.py against the emulator.
stack() {
    local environment
    mapfile -t environment < <(aws_environment aws)
    env -i PATH="$PATH" "${environment[@]}" AWS_DEFAULT_REGION="$REGION" "$VENV/bin/python" "$HERE/stack.py" "$@"
}

# beside_the_stack prints what programs are told beside what the stack says: where the registry is that stands in for
# ECR, and what makes the digests those of the reference's runs.
beside_the_stack() {
    cat <<VARIABLES
REGISTRY_ENDPOINT_URL=http://127.0.0.1:${PORT[redirect]}
BUILD_TOOL_IDENTIFIER=$TOOL
COMPATIBLE_WITH=0.16
VARIABLES
}

prepare_stack() {
    local variables
    for image in python mixed debian; do
        reference_exists "$image-oci-v2" "$image" "$image-oci"
    done
    mapfile -t variables < <(beside_the_stack)
    stack inventory >"$RUN/stack-before"
    stack strip "$ROOT/template.yaml" programs "$FILTER_LAMBDA_BIN" "$INDEX_LAMBDA_BIN" "${variables[@]}" \
        >"$RUN/stack.json" 2>"$RUN/stack-stripped"
    sed 's/^/    /' "$RUN/stack-stripped"
}

# deploy_one [PARAMETER=VALUE...] deploys the first stack: defaults, but for what tells it from the second.
deploy_one() {
    stack deploy one "$RUN/stack.json" ImageUri="$STACK_IMAGE" "SociRepositoryImageTagFilters=stack-one*:*" \
        IndexLambdaMaxImageSize="$SMALL_IMAGE" "$@"
}

deploy_two() {
    stack deploy two "$RUN/stack.json" ImageUri="$STACK_IMAGE" "SociRepositoryImageTagFilters=stack-two*:*" \
        SociIndexVersion=V1 VpcId=vpc-00000001 SubnetIds=subnet-00000001,subnet-00000002 AssignPublicIp=ENABLED \
        KmsKeyArn="arn:aws:kms:$REGION:$ACCOUNT:key/1" AlarmTopicArn="arn:aws:sns:$REGION:$ACCOUNT:alarms" \
        IamPermissionsBoundaryArn="arn:aws:iam::$ACCOUNT:policy/boundary" SpotShare=50 BackfillArchiveDays=7 \
        IndexLambdaMaxImageSize=0 FilterLambdaReservedConcurrency=5 LogLevel=debug
}

# start_from_stack NAME STACK starts a worker from the task definition of a stack.
start_from_stack() {
    local name=$1 environment
    mapfile -t environment < <(
        aws_environment aws
        stack environment "$2" WorkerTask
        beside_the_stack
        echo "HTTP_ADDRESS=127.0.0.1:${PORT[$name]}"
        # Nobody else pushes manifests here.
        echo "PUT_IMAGE_RATE=1000"
    )
    start "$name" env -i "${environment[@]}" "$SOCI_BIN" worker
}

stack_side_by_side() {
    deploy_one
    deploy_two
    local resource
    for resource in Queue BackfillQueue SmallImagesQueue DeadLetterQueue FilterFunction WorkerTask Cluster Dashboard TaskFailureLogGroup; do
        [ "$(stack resource one "$resource")" != "$(stack resource two "$resource")" ] || fail "both have the same $resource"
    done
    start_from_stack worker one
    start_from_stack worker2 two
}

stack_worker() {
    announce_image default python stack-one-worker
    eventually 60 has_outcomes worker stack-one-worker indexed
    expect_index redirect stack-one-worker "$TAG-soci" python-oci-v2
    is_empty aws "$(basename "$(stack output one QueueUrl)")"
    expect "the jobs of the other stack" "$(outcomes worker2 stack-one-worker | wc -l)" 0
}

stack_index_lambda() {
    announce_image default mixed stack-one-small
    eventually 60 has_tag redirect stack-one-small "$TAG-soci"
    expect_index redirect stack-one-small "$TAG-soci" mixed-oci-v2
    expect "the worker's jobs" "$(outcomes worker stack-one-small | wc -l)" 0
}

stack_v1() {
    announce_image default debian stack-two-v1
    # V1 takes untagged pushes, too: those of the two manifests and that of the image index.
    eventually 60 has_ended worker2 stack-two-v1 3
    soci_json "$RUN/stack-verified.json" 0 verify "127.0.0.1:${PORT[redirect]}/stack-two-v1:$TAG" --plain-http
    expect_no_tag redirect stack-two-v1 "$TAG-soci"
    expect "the jobs of the other stack" "$(outcomes worker stack-two-v1 | wc -l)" 0
}

stack_container() {
    local container="$RUN/stack-container"
    stack container one WorkerTask >"$container"
    expect "the image" "$(field "$container" .image)" "$STACK_IMAGE"
    expect "the command" "$(field "$container" '.command | join(" ")')" worker
    expect "the time to stop" "$(field "$container" .stopTimeout)" 120
    expect "the log group" "$(field "$container" '.logConfiguration.options["awslogs-group"]')" "$(stack resource one LogGroup)"
    stack output one BackfillCommand | grep -F -- "--cluster $(stack resource one Cluster)"
}

stack_update() {
    deploy_one "SociRepositoryImageTagFilters=stack-one*:*,stack-extra:v*" IndexLambdaMaxImageSize=0 OutputTagSuffix=-lazy
    stack environment one FilterFunction >"$RUN/stack-environment"
    grep -Fx "SOCI_REPOSITORY_IMAGE_TAG_FILTERS=stack-one*:*,stack-extra:v*" "$RUN/stack-environment"
    ! grep SMALL_IMAGES_QUEUE_URL "$RUN/stack-environment"
    expect "the worker exits with" "$(terminate worker 30)" 0
    start_from_stack worker one
    announce_image default mixed stack-one-update
    eventually 60 has_outcomes worker stack-one-update indexed
    expect_index redirect stack-one-update "$TAG-lazy" mixed-oci-v2
}

stack_delete() {
    stop worker
    stop worker2
    stack delete one
    stack delete two
    # Logs stay, as they tell why a creation failed.
    stack inventory | grep -v '^log groups: .*\(\<one\>\|\<two\>\)' | diff "$RUN/stack-before" -
}
