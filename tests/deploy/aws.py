#!/usr/bin/env python3
"""Stands in for `aws` version 2 where ./deploy is tested.

It keeps an account in a file ($FAKE_AWS/state) and writes every call into another ($FAKE_AWS/calls) with whether it
changes something. $FAKE_AWS/faults lists what goes wrong: {"call": "sts get-caller-identity", "error": "...", "times":
1}. What it answers is as much as ./deploy asks for; a call that it does not know is an error, so that
nothing is asked that nobody has thought of.
"""

# As little as can be: it starts some thousand times, and a third of a start was the module for JSON.
import ast
import marshal
import os
import sys
import time

FOLDER = os.environ["FAKE_AWS"]
ACCOUNT = "123456789012"

# Calls that ask. Everything else changes something.
ASKING = ("get-", "describe-", "list-", "head-", "simulate-", "batch-get-", "export-credentials", "wait", "get")

State = dict


def refuse(operation: str, code: str, message: str) -> None:
    print(f"\nAn error occurred ({code}) when calling the {operation} operation: {message}", file=sys.stderr)
    sys.exit(254)


def read(name: str, otherwise: object) -> object:
    """A file of the account."""
    try:
        with open(f"{FOLDER}/{name}", "rb") as file:
            return marshal.load(file)
    except FileNotFoundError:
        return otherwise


def write(name: str, value: object) -> None:
    """Writes it at once: another call may be reading."""
    with open(f"{FOLDER}/{name}.new", "wb") as file:
        marshal.dump(value, file)
    os.replace(f"{FOLDER}/{name}.new", f"{FOLDER}/{name}")


def options(words: list[str]) -> dict[str, list[str]]:
    """The options of a call with their values."""
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
            found[name] = []
        elif name:
            found[name].append(word)
    return found


def fault(call: str) -> None:
    faults = read("faults", [])
    for found in faults:
        if found["call"] in call and found.get("times", 1) > 0:
            found["times"] = found.get("times", 1) - 1
            write("faults", faults)
            print(found["error"], file=sys.stderr)
            sys.exit(found.get("code", 254))


def event(stack: State, status: str, name: str, kind: str, reason: str = "None") -> None:
    number = len(stack["events"])
    stack["events"].insert(0, [f"{name}-{status}-{number:04}", status, name, kind, reason])


def deploy_stack(state: State, given: dict[str, list[str]]) -> None:
    name = given["--stack-name"][0]
    with open(given["--template-file"][0]) as file:
        template = file.read()
    if len(template) > 51_200 and "--s3-bucket" not in given:
        print("Templates with a size greater than 51,200 bytes must be deployed via an S3 Bucket.", file=sys.stderr)
        sys.exit(255)
    if "--s3-bucket" in given and given["--s3-bucket"][0] not in state["buckets"]:
        refuse("PutObject", "NoSuchBucket", "The specified bucket does not exist")
    stack = state["stacks"].setdefault(name, {"status": "", "parameters": {}, "events": [], "template": ""})
    if stack["status"] in ("ROLLBACK_COMPLETE", "DELETE_FAILED"):
        refuse("CreateChangeSet", "ValidationError",
               f"Stack:{name} is in {stack['status']} state and can not be updated.")
    if stack["status"] in ("CREATE_FAILED", "UPDATE_FAILED") and "--disable-rollback" not in given:
        refuse("CreateChangeSet", "ValidationError",
               f"Stack:{name} is in {stack['status']} state and can only be updated without a roll-back.")
    parameters = dict(word.split("=", 1) for word in given.get("--parameter-overrides", []))
    wanted = stack["parameters"] | parameters
    # As `aws` does: those that are not given go.
    tags = dict(word.split("=", 1) for word in given.get("--tags", []))
    if stack["status"].endswith("_COMPLETE") and wanted == stack["parameters"] and stack["template"] == template \
            and tags == stack.get("tags", {}):
        print(f"\nNo changes to deploy. Stack {name} is up to date")
        return
    if "ImageUri" in wanted and "@sha256:" not in wanted["ImageUri"]:
        refuse("CreateChangeSet", "ValidationError", "ImageUri names no digest")
    for bucket in given.get("--s3-bucket", []):
        if bucket not in state["filled_buckets"]:
            state["filled_buckets"].append(bucket)
    verb = "UPDATE" if stack["status"] else "CREATE"
    event(stack, f"{verb}_IN_PROGRESS", name, "AWS::CloudFormation::Stack", "User Initiated")
    broken = state.get("stack_failure") if "ImageUri" in wanted else None
    if broken:
        event(stack, f"{verb}_IN_PROGRESS", "Cluster", "AWS::ECS::Cluster")
        event(stack, f"{verb}_FAILED", "Queue", "AWS::SQS::Queue", "Resource creation cancelled")
        event(stack, f"{verb}_FAILED", "Cluster", "AWS::ECS::Cluster", broken)
        stack["status"] = "CREATE_FAILED" if "--disable-rollback" in given else "ROLLBACK_COMPLETE"
        event(stack, stack["status"], name, "AWS::CloudFormation::Stack")
        write("state", state)
        print(f"\nFailed to create/update the stack. Run the following command\nto fetch the list of events leading "
              f"up to the failure\naws cloudformation describe-stack-events --stack-name {name}", file=sys.stderr)
        sys.exit(255)
    stack.update(status=f"{verb}_COMPLETE", parameters=wanted, template=template)
    if tags:
        stack["tags"] = tags
    if "--role-arn" in given:
        stack["role"] = given["--role-arn"][0]
    if "RepositoryName" in wanted:
        state["repositories"].setdefault(wanted["RepositoryName"], {})
    event(stack, "CREATE_COMPLETE", "Queue", "AWS::SQS::Queue")
    event(stack, stack["status"], name, "AWS::CloudFormation::Stack")


def uri(state: State, repository: str) -> str:
    registry = state.get("registry", f"{ACCOUNT}.dkr.ecr.{os.environ['AWS_REGION']}.amazonaws.com")
    return f"{registry}/{repository}"


def outputs(state: State, stack: State) -> list[list[str]]:
    if "RepositoryName" in stack["parameters"]:
        return [["RepositoryUri", uri(state, stack["parameters"]["RepositoryName"])]]
    return [["DashboardUrl", "https://console/dashboard"], ["BackfillCommand", "aws ecs run-task --cluster c"]]


def describe_stacks(state: State, given: dict[str, list[str]]) -> None:
    query = given["--query"][0]
    if "--stack-name" not in given:
        # Those of other names that run from a repository.
        own, repository = query.split("StackName!='")[1].split("'")[0], query.split("contains(ParameterValue, '")[1].split("'")[0]
        stacks = state["stacks"].items()
        print("\t".join(name for name, stack in stacks if name != own and repository in stack["parameters"].get("ImageUri", "")))
        return
    name = given["--stack-name"][0]
    stack = state["stacks"].get(name)
    if stack is None:
        refuse("DescribeStacks", "ValidationError", f"Stack with id {name} does not exist")
    if "Tags[]" in query:
        for key, value in stack.get("tags", {}).items():
            print(f"{key}\t{value}")
    elif "Parameters[]" in query:
        defaults = {"SociRepositoryImageTagFilters": "*:*", "OutputTagSuffix": "-soci", "SociIndexVersion": "V2", "VpcId": ""}
        for name, value in ({"StackStatus": stack["status"]} | defaults | stack["parameters"]).items():
            print(f"{name}\t{value}")
    elif "StackStatus" in query:
        print(stack["status"])
    elif "Outputs[?" in query:
        print(dict(outputs(state, stack)).get(query.split("'")[1], "None"))
    else:
        for row in outputs(state, stack):
            print("\t".join(row))


def images(state: State, given: dict[str, list[str]]) -> State:
    name = given["--repository-name"][0]
    if name not in state["repositories"]:
        refuse("DescribeImages", "RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
    return state["repositories"][name]


def call(state: State, service: str, operation: str, given: dict[str, list[str]]) -> None:
    one = {name: values[0] for name, values in given.items() if values}
    match f"{service} {operation}":
        case "sts get-caller-identity":
            arn = state.get("arn", f"arn:aws:sts::{ACCOUNT}:assumed-role/Deployer/somebody")
            print(f"{ACCOUNT}\t{arn}")
        case "configure get":
            print("eu-west-1") if state.get("configured") else sys.exit(1)
        case "configure export-credentials":
            print("export AWS_ACCESS_KEY_ID=AKIAEXAMPLE\nexport AWS_SECRET_ACCESS_KEY=verysecret")
        case "service-quotas get-service-quota":
            others = {"L-B99A9384": "1000.0", "L-F678F1CE": "5.0"} | state.get("quotas", {})
            print(others.get(one["--quota-code"]) or state.get("quota", "6.0"))
        case "ec2 describe-vpcs":
            print("\t".join(state.get("vpcs", ["vpc-1"])))
        case "iam get-role":
            print(f"arn:aws:iam::{ACCOUNT}:role/path/{one['--role-name']}")
        case "iam simulate-principal-policy":
            print("\t".join(state.get("denied", [])))
        case "iam create-service-linked-role":
            service_name = one["--aws-service-name"]
            if service_name in state["roles"]:
                refuse("CreateServiceLinkedRole", "InvalidInput", "Service role name AWSServiceRoleForECS has been "
                       "taken in this account, please try a different suffix.")
            state["roles"].append(service_name)
        case "cloudformation describe-stacks":
            describe_stacks(state, given)
        case "cloudformation describe-stack-events":
            stack = state["stacks"].get(one["--stack-name"])
            if stack is None:
                refuse("DescribeStackEvents", "ValidationError", "does not exist")
            for row in stack["events"][:100]:
                print("\t".join(row))
        case "cloudformation deploy":
            time.sleep(float(state.get("deploy_seconds", 0)))
            deploy_stack(state, given)
        case "cloudformation delete-stack":
            state["stacks"].pop(one["--stack-name"], None)
        case "cloudformation wait":
            pass
        case "ecr describe-repositories":
            name = one["--repository-names"]
            if name not in state["repositories"]:
                refuse("DescribeRepositories", "RepositoryNotFoundException",
                       f"The repository with name '{name}' does not exist in the registry")
            print(uri(state, name))
        case "ecr create-repository":
            state["repositories"][one["--repository-name"]] = {}
            if "--tags" in one:
                state["repository_tags"] = one["--tags"]
        case "ecr delete-repository":
            images(state, given)
            del state["repositories"][one["--repository-name"]]
        case "ecr describe-images":
            tag = one["--image-ids"].removeprefix("imageTag=")
            found = images(state, given).get(tag)
            if found is None:
                refuse("DescribeImages", "ImageNotFoundException", f"The image with imageId {tag} does not exist")
            print(found)
        case "ecr batch-get-image":
            print('{"manifests": [{"digest": "sha256:%s"}, {"digest": "sha256:%s"}]}' % ("c" * 64, "d" * 64))
        case "ecr batch-delete-image":
            for image in given["--image-ids"]:
                images(state, given).pop(image.removeprefix("imageTag="), None)
        case "s3api head-bucket":
            bucket = one["--bucket"]
            if bucket in state["foreign_buckets"]:
                refuse("HeadBucket", "403", "Forbidden")
            if bucket not in state["buckets"]:
                refuse("HeadBucket", "404", "Not Found")
        case "s3api create-bucket":
            bucket = one["--bucket"]
            if bucket in state["foreign_buckets"]:
                refuse("CreateBucket", "BucketAlreadyExists", "The requested bucket name is not available.")
            state["buckets"][bucket] = []
        case "s3api put-public-access-block" | "s3api put-bucket-encryption" | "s3api put-bucket-lifecycle-configuration":
            settings = state["buckets"][one["--bucket"]]
            settings += [] if operation in settings else [operation]
        case "s3api get-bucket-tagging":
            if one["--bucket"] not in state.get("bucket_tags", {}):
                refuse("GetBucketTagging", "NoSuchTagSet", "The TagSet does not exist")
            for key, value in state["bucket_tags"][one["--bucket"]].items():
                print(f"{key}\t{value}")
        case "s3api put-bucket-tagging":
            listed = ast.literal_eval(one["--tagging"])["TagSet"]
            state["bucket_tags"] = state.get("bucket_tags", {}) | {one["--bucket"]: {tag["Key"]: tag["Value"] for tag in listed}}
        case "s3api delete-bucket":
            if one["--bucket"] in state["filled_buckets"]:
                refuse("DeleteBucket", "BucketNotEmpty", "The bucket you tried to delete is not empty")
            del state["buckets"][one["--bucket"]]
        case "s3 rm":
            state["filled_buckets"].remove(sys.argv[3].split("/")[2])
        case other:
            print(f"the stand-in for aws does not know {other}", file=sys.stderr)
            sys.exit(252)


def main() -> None:
    words = sys.argv[1:]
    if words == ["--version"]:
        print(read("version", "") or "aws-cli/2.31.0 Python/3.13.7 Linux/6.1 exe/x86_64")
        return
    service, operation = words[0], words[1]
    changes = not operation.startswith(ASKING)
    with open(f"{FOLDER}/calls", "a") as calls:
        print(repr({"words": words, "changes": changes, "key": os.environ.get("AWS_ACCESS_KEY_ID")}), file=calls)
    fault(f"{service} {operation} " + " ".join(words[2:]))
    state = read("state", {})
    call(state, service, operation, options(words[2:]))
    if changes:
        write("state", state)


main()
