"""The cases of `tests/aws/run iam`: iam.py NODE FOLDER, where npm has installed the simulator

Whether the roles of the template let their programs do what the code does, and nothing else. The calls are those of
calls.json, which a test of the template writes from the code; on what a program makes them says its own environment. IAM's
decisions are simulated, by AWS's documented rules and with the published list of actions, in every partition: for each
role every call on every resource that there is, its own and others', and what would be a disaster.
"""

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import resolve
from cases import Failed, none, run

NODE, FOLDER = sys.argv[1:3]
HERE = pathlib.Path(__file__).resolve().parent
CALLS: dict[str, list[str]] = json.loads((HERE / "calls.json").read_text(encoding="utf-8"))
TEMPLATE = resolve.load()
ACCOUNT, OTHER_ACCOUNT = resolve.ACCOUNT, "210987654321"
FILTERS = {"SociRepositoryImageTagFilters": "prod*:v*,team/*:*"}
MATCHED, UNMATCHED = ["prod/app", "team/a/b"], ["dev/app", "a/prod", "team"]
# The repository of the image that resolve.py puts in.
BUILDER = "tools/soci"

# What each program does with what a variable of its environment names.
USES = {
    "FilterRole": {
        "QUEUE_URL": {"sqs:SendMessage"},
        "SMALL_IMAGES_QUEUE_URL": {"sqs:SendMessage"},
    },
    "IndexRole": {
        "QUEUE_URL": {"sqs:SendMessage"},
        "DEAD_LETTER_QUEUE_URL": {"sqs:SendMessage"},
    },
    "WorkerRole": {
        "QUEUE_URL": {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
                      "sqs:SendMessage"},
        "BACKFILL_QUEUE_URL": {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
                               "sqs:ReceiveMessage", "sqs:SendMessage"},
        "DEAD_LETTER_QUEUE_URL": {"sqs:GetQueueAttributes", "sqs:SendMessage"},
    },
    "OperatorRole": {
        "QUEUE_URL": {"sqs:GetQueueAttributes", "sqs:SendMessage"},
        "BACKFILL_QUEUE_URL": {"sqs:GetQueueAttributes", "sqs:SendMessage"},
        "DEAD_LETTER_QUEUE_URL": {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
                                  "sqs:ListMessageMoveTasks", "sqs:ReceiveMessage", "sqs:StartMessageMoveTask"},
    },
}
# What Lambda does with the role of a function that reads a queue (AWS Lambda developer guide, "Execution role permissions").
MAPPING = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
# These have no resource, or concern a whole registry (service authorization reference).
OF_NOTHING = {"cloudwatch:GetMetricData", "cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"}
OF_REGISTRY = {"ecr:DescribeRepositories"}
OF_KEY = {"kms:Decrypt", "kms:GenerateDataKey"}
# Who indexes announces how images end, where a bus is named.
OF_BUS = {"events:PutEvents"}
BUS = "images"

# The simulator knows no encryption contexts: another key for ARNs stands in, in policies and in requests.
CONTEXT = ("kms:EncryptionContext:aws:logs:arn", "aws:PrincipalArn")

# Nobody here may do any of these to anything.
DISASTERS = [
    "ecr:BatchDeleteImage", "ecr:CreateRepository", "ecr:DeleteLifecyclePolicy", "ecr:DeleteRepository",
    "ecr:PutImageTagMutability", "ecr:PutLifecyclePolicy", "ecr:SetRepositoryPolicy", "sqs:AddPermission",
    "sqs:DeleteQueue", "sqs:PurgeQueue", "sqs:SetQueueAttributes", "lambda:AddPermission", "lambda:DeleteFunction",
    "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "logs:DeleteLogGroup", "logs:DeleteLogStream",
    "logs:GetLogEvents", "ecs:DeleteCluster", "ecs:StopTask", "kms:CreateGrant", "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
]
DISASTERS_ELSEWHERE = {
    "iam:PassRole": "arn:{partition}:iam::{account}:role/soci-WorkerRole",
    "iam:AttachRolePolicy": "arn:{partition}:iam::{account}:role/soci-WorkerRole",
    "iam:CreateRole": "arn:{partition}:iam::{account}:role/mine",
    "sts:AssumeRole": "arn:{partition}:iam::{account}:role/soci-OperatorRole",
    "ecs:RunTask": "arn:{partition}:ecs:{region}:{account}:task-definition/soci-WorkerTask:1",
    "ecs:UpdateService": "arn:{partition}:ecs:{region}:{account}:service/soci-Cluster/soci-Service",
    "events:PutRule": "arn:{partition}:events:{region}:{account}:rule/soci-PushRule",
    "events:DeleteRule": "arn:{partition}:events:{region}:{account}:rule/soci-PushRule",
    "ssm:PutParameter": "arn:{partition}:ssm:{region}:{account}:parameter/soci-Parts",
    "cloudformation:DeleteStack": "arn:{partition}:cloudformation:{region}:{account}:stack/soci/1",
    "s3:GetObject": "arn:{partition}:s3:::somebodys/file",
    "secretsmanager:GetSecretValue": "arn:{partition}:secretsmanager:{region}:{account}:secret:password-a1b2c3",
}


def listed(value: Any) -> list[Any]:
    """What may be a list or one of its members."""
    return value if isinstance(value, list) else [value]


class World:
    """A stack, all the resources that somebody may try, and the requests so far."""

    def __init__(self, partition: str, parameters: dict[str, str]) -> None:
        usual, _ = resolve.PARTITIONS[partition]
        self.key = f"arn:{partition}:kms:{usual}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
        self.boundary = f"arn:{partition}:iam::{ACCOUNT}:policy/boundary"
        given = {name: {"KEY": self.key, "BOUNDARY": self.boundary}.get(value, value) for name, value in parameters.items()}
        self.stack = resolve.Stack(TEMPLATE, {**FILTERS, **given}, partition)
        self.partition, self.region = partition, self.stack.region
        self.encrypted = "KmsKeyArn" in parameters
        self.documents: dict[str, Any] = {}
        self.requests: list[dict[str, Any]] = []
        self.expected: list[tuple[str, str]] = []
        self.roles = self.stack.of_type("AWS::IAM::Role")
        self.identity = {role: self.policies_of(role) for role in self.roles}

    def arn(self, service: str, path: str, account: str = ACCOUNT) -> str:
        """An ARN in the stack's region."""
        return f"arn:{self.partition}:{service}:{self.region}:{account}:{path}"

    def policies_of(self, role: str) -> list[str]:
        """The names of the policies of a role, which are in `documents` then."""
        properties = self.roles[role]
        found = []
        for policy in properties.get("Policies", []):
            found.append(f"{role}/{policy['PolicyName']}")
            self.documents[found[-1]] = policy["PolicyDocument"]
        managed = self.stack.of_type("AWS::IAM::ManagedPolicy")
        by_arn = {self.stack.arn(name): (name, policy) for name, policy in managed.items()}
        for arn in properties.get("ManagedPolicyArns", []):
            name, policy = by_arn[arn]
            found.append(name)
            self.documents[name] = policy["PolicyDocument"]
        return found

    # What there is.

    def log_groups(self) -> list[str]:
        """The ARNs of the log groups, without what CloudFormation puts behind them."""
        return [self.stack.arn(name).removesuffix(":*") for name in self.stack.of_type("AWS::Logs::LogGroup")]

    def everything(self, action: str) -> list[str]:
        """What somebody may try an action on: the stack's own, and others'."""
        service = action.split(":")[0]
        if action in OF_NOTHING:
            return ["*"]
        if service == "ecr":
            names = MATCHED + UNMATCHED + [BUILDER]
            return [self.arn("ecr", f"repository/{name}") for name in names] + [
                self.arn("ecr", f"repository/{MATCHED[0]}", OTHER_ACCOUNT)]
        if service == "sqs":
            names = list(self.stack.of_type("AWS::SQS::Queue"))
            return [self.stack.arn(name) for name in names] + [
                self.arn("sqs", "other"), self.arn("sqs", self.stack.name("Queue"), OTHER_ACCOUNT)]
        if service == "lambda":
            names = list(self.stack.of_type("AWS::Lambda::Function"))
            return [self.stack.arn(name) for name in names] + [self.arn("lambda", "function:other")]
        if service == "logs":
            stream = "" if action == "logs:DeleteLogGroup" else ":log-stream:x"
            return [group + stream for group in [*self.log_groups(), self.arn("logs", "log-group:other")]]
        if service == "ecs":
            if action == "ecs:DeleteCluster":
                return [self.stack.arn("Cluster")]
            return [self.arn("ecs", f"task/{cluster}/0123456789abcdef") for cluster in (self.stack.name("Cluster"), "other")]
        if action in OF_BUS:
            names = (BUS, "default", "other")
            return [self.arn("events", f"event-bus/{name}") for name in names] + [
                self.arn("events", f"event-bus/{BUS}", OTHER_ACCOUNT)]
        if service == "kms":
            return [self.key, self.arn("kms", "key/other")]
        raise Failed(f"what has {action} as its resource?")

    # What may be.

    def environment(self, role: str) -> tuple[dict[str, str], list[str]]:
        """The variables of the program that has a role, and the queues that Lambda reads for it."""
        arn = self.stack.arn(role)
        for name, function in self.stack.of_type("AWS::Lambda::Function").items():
            if function["Role"] == arn:
                targets = (name, self.stack.name(name), self.stack.arn(name))
                read = [
                    mapping["EventSourceArn"]
                    for mapping in self.stack.of_type("AWS::Lambda::EventSourceMapping").values()
                    if mapping["FunctionName"] in targets
                ]
                return function["Environment"]["Variables"], read
        for task in self.stack.of_type("AWS::ECS::TaskDefinition").values():
            if task["TaskRoleArn"] == arn:
                (container,) = task["ContainerDefinitions"]
                return {pair["Name"]: pair["Value"] for pair in container["Environment"]}, []
        raise Failed(f"nothing has the role {role}")

    def queue(self, url: str) -> str:
        """The ARN of the queue with a URL."""
        for name in self.stack.of_type("AWS::SQS::Queue"):
            if self.stack.reference(name) == url:
                return self.stack.arn(name)
        raise Failed(f"no queue has the URL {url}")

    def allowed(self, role: str) -> set[tuple[str, str]]:
        """What a role should allow, as pairs of action and resource."""
        calls = set(CALLS[role])
        found = {(action, "*") for action in calls & OF_NOTHING}
        own_group = self.stack.arn("LogGroup").removesuffix(":*")
        found |= {(action, resource) for action in calls if action.startswith("logs:")
                  for resource in self.everything(action) if resource.startswith(own_group)}
        if role == "ExecutionRole":
            return found | {(action, self.arn("ecr", f"repository/{BUILDER}"))
                            for action in calls - OF_NOTHING if action.startswith("ecr:")}
        variables, read = self.environment(role)
        # The filter Lambda looks into images only where it has somewhere to send small ones.
        looks = role != "FilterRole" or "SMALL_IMAGES_QUEUE_URL" in variables
        for action in calls - OF_NOTHING:
            if action.startswith("ecr:") and looks:
                names = MATCHED + UNMATCHED + [BUILDER] if action in OF_REGISTRY else MATCHED
                found |= {(action, self.arn("ecr", f"repository/{name}")) for name in names}
        if "ecs:UpdateTaskProtection" in calls:
            found.add(("ecs:UpdateTaskProtection", self.everything("ecs:UpdateTaskProtection")[0]))
        for variable, actions in USES[role].items():
            if variable in variables:
                value = variables[variable]
                found |= {(action, self.queue(value) if variable.endswith("_URL") else value) for action in actions}
        if read:
            found |= {(action, queue) for action in MAPPING for queue in read}
        if self.encrypted:
            found |= {(action, self.key) for action in OF_KEY}
        if self.stack.values["QueueAges"] == "true" and role == "WorkerRole":
            found.add(("cloudwatch:GetMetricData", "*"))
        if self.stack.values["EventBus"] and role in ("IndexRole", "WorkerRole"):
            found |= {(action, self.arn("events", f"event-bus/{self.stack.values['EventBus']}")) for action in OF_BUS}
        if self.stack.values["DeadLettersOnPage"] == "true" and role == "WorkerRole":
            letters = self.queue(variables["DEAD_LETTER_QUEUE_URL"])
            found |= {("sqs:ReceiveMessage", letters), ("sqs:ChangeMessageVisibility", letters)}
        return found

    # Requests.

    def request(self, expected: bool, principal: str, action: str, resource: str, **more: Any) -> None:
        """Notes a request, and whether it should be allowed."""
        account = more.pop("owner", None) or (resource.split(":")[4] if resource != "*" else "") or ACCOUNT
        role = principal.rsplit("/", 1)[-1].removeprefix(f"{resolve.STACK}-") if ":role/" in principal else ""
        # Of two accounts both have to allow: the other one allows all, so that what is denied is denied here.
        statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        self.documents["theirs"] = {"Version": "2012-10-17", "Statement": [statement]}
        self.documents["their resource"] = {"Version": "2012-10-17", "Statement": [{**statement, "Principal": "*"}]}
        foreign = f":{OTHER_ACCOUNT}:role/" in principal
        self.requests.append({
            "principal": principal, "action": action, "resource": resource, "account": account,
            "context": more.get("context", {}), "identity": ["theirs"] if foreign else self.identity.get(role, []),
            "resourcePolicy": more.get("resource_policy") or ("their resource" if account == OTHER_ACCOUNT else None),
            "boundary": more.get("boundary"),
        })
        who = role or principal
        self.expected.append(("Allowed" if expected else "denied", f"{self.partition}: {who} {action} on {resource}"))

    def role_requests(self, role: str, boundary: str | None = None, within: set[str] | None = None) -> None:
        """Every call on every resource, and every disaster, in the name of a role."""
        allowed = self.allowed(role)
        principal = self.stack.arn(role)
        actions = {action for calls in CALLS.values() for action in calls} | OF_KEY | OF_BUS | set(DISASTERS)
        tried = [(action, resource) for action in sorted(actions) for resource in self.everything(action)]
        where = {"partition": self.partition, "region": self.region, "account": ACCOUNT}
        tried += [(action, resource.format(**where)) for action, resource in DISASTERS_ELSEWHERE.items()]
        missing = allowed - set(tried)
        if missing:
            raise Failed(f"{role}: not tried: {sorted(missing)}")
        for action, resource in tried:
            more: dict[str, Any] = {"boundary": boundary} if boundary else {}
            if action.startswith("kms:"):
                more["resource_policy"] = "key"
            expected = (action, resource) in allowed and (within is None or action in within)
            if action == "cloudwatch:PutMetricData":
                # Under the stack's own name, and under no other.
                for namespace in ("AWS/SQS", f"soci-index-builder/{resolve.STACK}-2"):
                    self.request(False, principal, action, resource, context={"cloudwatch:namespace": namespace}, **more)
                more["context"] = {"cloudwatch:namespace": f"soci-index-builder/{resolve.STACK}"}
            self.request(expected, principal, action, resource, **more)

    def decide(self) -> int:
        """Fails with what is decided otherwise than expected; gives the number of requests."""
        policies = [name for names in self.identity.values() for name in names]
        actions = sorted({action for name in policies for statement in self.documents[name]["Statement"]
                          for action in listed(statement["Action"])})
        asked = json.dumps({"actions": actions, "documents": self.documents, "requests": self.requests})
        done = subprocess.run([NODE, str(HERE / "iam/simulate.mjs"), FOLDER], input=asked, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            raise Failed(done.stderr)
        answer = json.loads(done.stdout)
        none(f"{self.partition}: there is no action {action}" for action in answer["unknown"])
        none(
            f"{what}: {result}, expected {expected}"
            for (expected, what), result in zip(self.expected, answer["results"], strict=True)
            if (result == "Allowed") != (expected == "Allowed") or result.startswith("error")
        )
        return len(self.requests)


def key_policy(world: World) -> dict[str, Any]:
    """The policy of docs/NETWORK.md beside the account's own statement, as it is for this stack."""
    text = (resolve.ROOT / "docs/NETWORK.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"kms:GenerateDataKey"' in block]
    if len(blocks) != 1:
        raise Failed(f"docs/NETWORK.md has {len(blocks)} policies of a key")
    text = blocks[0].replace("REGION", world.region).replace("ACCOUNT", ACCOUNT).replace("arn:aws:", f"arn:{world.partition}:")
    account = {"Effect": "Allow", "Principal": {"AWS": f"arn:{world.partition}:iam::{ACCOUNT}:root"}, "Action": "kms:*",
               "Resource": "*"}
    found = json.loads(text.replace(*CONTEXT))
    statements = found["Statement"] if isinstance(found, dict) else found
    return {"Version": "2012-10-17", "Statement": [account, *statements]}


WIDEST = "everything that can be asked for"
VARIANTS: dict[str, dict[str, str]] = {
    "defaults": {},
    WIDEST: {"QueueAges": "true", "DeadLettersOnPage": "true", "EventBus": BUS, "KmsKeyArn": "KEY",
             "IamPermissionsBoundaryArn": "BOUNDARY"},
    "no index Lambda": {"IndexLambdaMaxImageSize": "0"},
    "blanks between filters": {"SociRepositoryImageTagFilters": "prod*:v*, team/*:*"},
}


def the_table_of_uses_is_that_of_the_code() -> None:
    """With the defaults, what is expected of each role are the calls in the code, no more and no fewer."""
    world = World("aws", {})
    none([f"{role} is in one of calls.json and the template only" for role in set(CALLS) ^ set(world.roles)])
    for role, calls in CALLS.items():
        expected = {action for action, _ in world.allowed(role)}
        mapped = MAPPING if role in USES and world.environment(role)[1] else set()
        none(f"{role}: {action} is expected or called, not both" for action in expected ^ (set(calls) | mapped))


def roles_allow_what_is_called_and_nothing_else(partition: str) -> None:
    """Every call on every resource."""
    count = 0
    for name, parameters in VARIANTS.items():
        # Partitions differ in ARNs and services, which the widest variant has all of.
        if partition != "aws" and name != WIDEST:
            continue
        refused = [parameter for parameter, value in parameters.items()
                   if value not in ("KEY", "BOUNDARY") and not resolve.accepted(TEMPLATE, parameter, value)]
        if refused:
            print(f"    {partition}: without {name}, which the template refuses")
            continue
        world = World(partition, parameters)
        world.documents["key"] = key_policy(world)
        for role in world.roles:
            world.role_requests(role)
        count += world.decide()
    print(f"    {partition}: {count} requests")


def policies_name_single_actions() -> None:
    """No wildcard lets in what nobody calls."""
    world = World("aws", VARIANTS[WIDEST])
    known = {action for calls in CALLS.values() for action in calls} | OF_KEY | OF_BUS | MAPPING
    for name, document in world.documents.items():
        for statement in document["Statement"]:
            none(f"{name} has {member}" for member in ("NotAction", "NotResource") if member in statement)
            none(f"{name} allows {action}" for action in listed(statement["Action"]) if action not in known)


def a_boundary_bounds(partition: str) -> None:
    """With a boundary a role can do what both allow."""
    world = World(partition, VARIANTS[WIDEST])
    world.documents["key"] = key_policy(world)
    within = {"sqs:SendMessage", "logs:PutLogEvents", "kms:Decrypt", "ecr:BatchGetImage"}
    world.documents["boundary"] = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": sorted(within), "Resource": "*"}]}
    for role, properties in world.roles.items():
        if properties.get("PermissionsBoundary") != world.boundary:
            raise Failed(f"{role} has no boundary")
        world.role_requests(role, "boundary", within)
    world.decide()


def queues_take_events_of_their_rule_only(partition: str) -> None:
    """EventBridge can put what it cannot deliver on the live queue, and nobody talks to a queue without TLS."""
    world = World(partition, {})
    policies = {
        queue: policy["PolicyDocument"]
        for policy in world.stack.of_type("AWS::SQS::QueuePolicy").values()
        for queue in policy["Queues"]
    }
    rule, send = world.stack.arn("PushRule"), "sqs:SendMessage"
    for name in world.stack.of_type("AWS::SQS::Queue"):
        url, arn = world.stack.reference(name), world.stack.arn(name)
        if url not in policies:
            raise Failed(f"{name} has no policy")
        world.documents[name] = policies[url]

        def ask(expected: bool, principal: str, source: str | None, tls: str = "true", of: str = name, on: str = arn,
                account: str = ACCOUNT) -> None:
            context = {"aws:SecureTransport": tls}
            if source:
                context |= {"aws:SourceArn": source, "aws:SourceAccount": account}
            world.request(expected, principal, send, on, context=context, resource_policy=of)

        ask(name == "Queue", "events.amazonaws.com", rule)
        ask(False, "events.amazonaws.com", rule, tls="false")
        ask(False, "events.amazonaws.com", world.arn("events", "rule/other"))
        ask(False, "events.amazonaws.com", rule.replace(ACCOUNT, OTHER_ACCOUNT), account=OTHER_ACCOUNT)
        ask(False, "sns.amazonaws.com", world.arn("sns", "topic"))
        ask(False, f"arn:{partition}:iam::{OTHER_ACCOUNT}:role/other", None)
        for role in world.roles:
            allowed = (send, arn) in world.allowed(role)
            ask(allowed, world.stack.arn(role), None)
            ask(False, world.stack.arn(role), None, tls="false")
    world.decide()


def failures_of_tasks_are_logged(partition: str) -> None:
    """EventBridge can write to the log group of its rule, wherever that policy is kept."""
    world = World(partition, {})
    own = world.stack.of_type("AWS::Logs::LogGroup")["TaskFailureLogGroup"].get("ResourcePolicyDocument")
    shared = [policy["PolicyDocument"] for policy in world.stack.of_type("AWS::Logs::ResourcePolicy").values()]
    (document,) = [own] if own else shared
    world.documents["logs"] = json.loads(document) if isinstance(document, str) else document
    group, rule = world.stack.arn("TaskFailureLogGroup").removesuffix(":*"), world.stack.arn("TaskFailureRule")

    def ask(expected: bool, action: str, source: str, principal: str, account: str = ACCOUNT) -> None:
        resource = group + ("" if action == "logs:DeleteLogGroup" else ":log-stream:x")
        context = {"aws:SourceArn": source, "aws:SourceAccount": account}
        world.request(expected, principal, action, resource, context=context, resource_policy="logs")

    for principal in ("events.amazonaws.com", "delivery.logs.amazonaws.com"):
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            ask(True, action, rule, principal)
        # The group comes before its rule and cannot name it. Rules are this account's own.
        ask(True, "logs:PutLogEvents", world.arn("events", "rule/other"), principal)
        ask(False, "logs:PutLogEvents", rule.replace(ACCOUNT, OTHER_ACCOUNT), principal, OTHER_ACCOUNT)
        ask(False, "logs:DeleteLogGroup", rule, principal)
    ask(False, "logs:PutLogEvents", rule, "sns.amazonaws.com")
    world.decide()


def the_key_serves_queues_and_logs(partition: str) -> None:
    """With the policy that docs/NETWORK.md has, services can use the key for this stack, and others cannot."""
    world = World(partition, VARIANTS[WIDEST])
    world.documents["key"] = key_policy(world)
    # In China it ends in .cn, which the simulator takes for no service.
    logs = f"logs.{world.region}.amazonaws.com"
    group = world.stack.arn("LogGroup").removesuffix(":*")
    source = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": world.stack.arn("PushRule")}
    encryption = {CONTEXT[1]: group}
    for action in sorted(OF_KEY):
        world.request(True, "events.amazonaws.com", action, world.key, context=source, resource_policy="key")
        world.request(True, logs, action, world.key, context=encryption, resource_policy="key")
        foreign = {CONTEXT[1]: group.replace(ACCOUNT, OTHER_ACCOUNT)}
        world.request(False, logs, action, world.key, context=foreign, resource_policy="key")
        world.request(False, "s3.amazonaws.com", action, world.key, context={}, resource_policy="key")
    world.request(False, "events.amazonaws.com", "kms:PutKeyPolicy", world.key, context=source, resource_policy="key")
    world.decide()


def roles_are_for_their_services(partition: str) -> None:
    """Nobody takes on a role but the service that runs its program, and ECS only for this account."""
    world = World(partition, {})
    for role, properties in world.roles.items():
        document = properties["AssumeRolePolicyDocument"]
        world.documents[f"trust of {role}"] = document
        own = "lambda.amazonaws.com" if role in ("FilterRole", "IndexRole") else "ecs-tasks.amazonaws.com"

        def ask(expected: bool, principal: str, account: str = ACCOUNT, of: str = role) -> None:
            world.request(expected, principal, "sts:AssumeRole", world.stack.arn(of), context={"aws:SourceAccount": account},
                          resource_policy=f"trust of {of}", owner=ACCOUNT)

        ask(True, own)
        if own.startswith("ecs"):
            ask(False, own, OTHER_ACCOUNT)
        for other in {"lambda.amazonaws.com", "ecs-tasks.amazonaws.com", "ec2.amazonaws.com"} - {own}:
            ask(False, other)
        for other in world.roles:
            if other != role:
                ask(False, world.stack.arn(other))
        ask(False, f"arn:{partition}:iam::{OTHER_ACCOUNT}:role/other")
    world.decide()


def main() -> None:
    """Runs the cases."""
    found: list[tuple[str, Any]] = [
        ("iam: the calls that are expected are those of the code", the_table_of_uses_is_that_of_the_code),
        ("iam: policies name single actions, of those that are called", policies_name_single_actions),
    ]
    for partition in resolve.PARTITIONS:
        for name, case in (
            ("each role allows what its program calls and nothing else", roles_allow_what_is_called_and_nothing_else),
            ("a permissions boundary bounds each role", a_boundary_bounds),
            ("queues take events of their rule, and nothing without TLS", queues_take_events_of_their_rule_only),
            ("EventBridge can log why tasks stopped", failures_of_tasks_are_logged),
            ("a key with the documented policy serves queues and logs", the_key_serves_queues_and_logs),
            ("roles are for their services", roles_are_for_their_services),
        ):
            found.append((f"iam: {partition}: {name}", lambda case=case, partition=partition: case(partition)))
    run(found)


if __name__ == "__main__":
    main()
