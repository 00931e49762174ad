#!/usr/bin/env python3
"""Deploys template.yaml into MiniStack, and tells what is there then.

stack.py strip TEMPLATE BUCKET FILTER_PROGRAM INDEX_PROGRAM [VARIABLE=VALUE...]
                                                               writes what the emulator takes to stdout; the variables
                                                               are added to those of the index Lambda
stack.py deploy STACK FILE [PARAMETER=VALUE...]                creates or updates a stack
stack.py delete STACK
stack.py resource STACK LOGICAL_ID                             prints its physical identifier
stack.py output STACK KEY
stack.py environment STACK LOGICAL_ID                          prints the variables of a function or of a task's container
stack.py container STACK LOGICAL_ID                            prints the definition of a task's container
stack.py inventory                                             prints everything that a stack could leave behind

The emulator is the one of AWS_ENDPOINT_URL.
"""

import json
import pathlib
import sys

import boto3

from function_package import package

# Behind the folder of this file, so that nothing there takes the place of a module.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "aws"))
import resolve  # noqa: E402  pylint: disable=wrong-import-position

# What MiniStack 1.5.33 has no handler for. The tests of the crate `tests` hold these parts of the template to account.
MISSING_TYPES = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::Events::Archive",
)


def strip(template, bucket, programs, variables):
    """Takes away what the emulator lacks, and has it run programs as files, as it has no containers."""
    template = resolve.load(pathlib.Path(template))
    resources = template["Resources"]
    for name, resource in list(resources.items()):
        properties = resource.get("Properties", {})
        if resource["Type"] in MISSING_TYPES:
            gone(resources, name, resource["Type"])
        elif resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties:
            gone(resources, name, "alarm on metric math")
        elif resource["Type"] == "AWS::Lambda::EventSourceMapping":
            # A number of a parameter is a text there, which it cannot compare.
            print(f"concurrency as a number: {name}", file=sys.stderr)
            properties["ScalingConfig"]["MaximumConcurrency"] = 10
        elif resource["Type"] == "AWS::Lambda::Function":
            print(f"function from a file instead of an image: {name}", file=sys.stderr)
            for key in ("PackageType", "ImageConfig"):
                del properties[key]
            key = put_program(bucket, programs[name])
            properties |= {"Runtime": "provided.al2023", "Handler": "bootstrap", "Code": {"S3Bucket": bucket, "S3Key": key}}
    # It knows no Fn::Split in a condition. What is split is one part here: the tests give a whole URI, and no name of a bus.
    for name, condition in template["Conditions"].items():
        if "Fn::Split" in json.dumps(condition):
            print(f"condition that is false here: {name}", file=sys.stderr)
            template["Conditions"][name] = {"Fn::Equals": ["whole", "name"]}
    resources["IndexFunction"]["Properties"]["Environment"]["Variables"] |= variables
    left = set(resources)
    for resource in resources.values():
        needed = resource.get("DependsOn", [])
        needed = [needed] if isinstance(needed, str) else needed
        resource["DependsOn"] = [name for name in needed if name in left]
    outputs = template["Outputs"]
    for name, output in list(outputs.items()):
        if output.get("Condition") == "UseArchive":
            gone(outputs, name, "output of the archive")
    json.dump(template, sys.stdout)


def gone(section, name, reason):
    print(f"without {name}: {reason}", file=sys.stderr)
    del section[name]


def put_program(bucket, program):
    s3 = boto3.client("s3")
    key = pathlib.Path(program).name + ".zip"
    s3.put_object(Bucket=bucket, Key=key, Body=package(program))
    return key


def put_template(file):
    """Uploads a template, which is larger than what CloudFormation takes in a request, and tells its URL."""
    s3 = boto3.client("s3")
    if "templates" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        create_bucket(s3, "templates")
    s3.put_object(Bucket="templates", Key="stack.json", Body=pathlib.Path(file).read_bytes())
    return f"{s3.meta.endpoint_url}/templates/stack.json"


def create_bucket(s3, name):
    region = boto3.session.Session().region_name
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})


def deploy(name, file, parameters):
    cloudformation = boto3.client("cloudformation")
    stacks = [stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]]
    change, waiter = ("update_stack", "stack_update_complete") if name in stacks else ("create_stack", "stack_create_complete")
    parameters = [parameter.split("=", 1) for parameter in parameters]
    getattr(cloudformation, change)(
        StackName=name,
        TemplateURL=put_template(file),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters],
        Capabilities=["CAPABILITY_IAM"],
    )
    wait(cloudformation, waiter, name)


def delete(name):
    cloudformation = boto3.client("cloudformation")
    cloudformation.delete_stack(StackName=name)
    wait(cloudformation, "stack_delete_complete", name)


def wait(cloudformation, waiter, name):
    try:
        cloudformation.get_waiter(waiter).wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    except Exception:
        for event in cloudformation.describe_stack_events(StackName=name)["StackEvents"]:
            if "FAILED" in event["ResourceStatus"]:
                print(event["LogicalResourceId"], event.get("ResourceStatusReason"), file=sys.stderr)
        raise


def resource(name, logical_id):
    found = boto3.client("cloudformation").describe_stack_resource(StackName=name, LogicalResourceId=logical_id)
    return found["StackResourceDetail"]


def output(name, key):
    stack = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return next(output["OutputValue"] for output in stack["Outputs"] if output["OutputKey"] == key)


def container(name, logical_id):
    task = resource(name, logical_id)["PhysicalResourceId"]
    found = boto3.client("ecs").describe_task_definition(taskDefinition=task)
    return found["taskDefinition"]["containerDefinitions"][0]


def environment(name, logical_id):
    if resource(name, logical_id)["ResourceType"] == "AWS::Lambda::Function":
        function = resource(name, logical_id)["PhysicalResourceId"]
        found = boto3.client("lambda").get_function_configuration(FunctionName=function)
        return found["Environment"]["Variables"]
    return {variable["name"]: variable["value"] for variable in container(name, logical_id)["environment"]}


def expect_names(api, operation, key, name):
    """Fails for a name that AWS does not have. An answer leaves out what is empty, so that it would be empty for ever."""
    shape = api.meta.service_model.operation_model(api.meta.method_to_api_mapping[operation]).output_shape
    if key not in shape.members or (name is not None and name not in shape.members[key].member.members):
        raise KeyError(f"the answer to {operation} has no {key} with {name}")


def inventory():
    client = boto3.client

    def names(service, operation, key, name=None, **arguments):
        api = client(service)
        expect_names(api, operation, key, name)
        return [item if name is None else item[name] for item in getattr(api, operation)(**arguments).get(key, [])]

    ec2 = client("ec2")
    found = {
        "queues": names("sqs", "list_queues", "QueueUrls"),
        "functions": names("lambda", "list_functions", "Functions", "FunctionName"),
        "mappings": names("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
        "rules": names("events", "list_rules", "Rules", "Name"),
        "roles": names("iam", "list_roles", "Roles", "RoleName"),
        "policies": names("iam", "list_policies", "Policies", "PolicyName", Scope="Local"),
        "log groups": names("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "log policies": names("logs", "describe_resource_policies", "resourcePolicies", "policyName"),
        "parameters": names("ssm", "describe_parameters", "Parameters", "Name"),
        "clusters": names("ecs", "list_clusters", "clusterArns"),
        "task definitions": names("ecs", "list_task_definitions", "taskDefinitionArns"),
        "alarms": names("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        "dashboards": names("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        "vpcs": [vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]],
        "subnets": [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]],
        "gateways": [gateway["InternetGatewayId"] for gateway in ec2.describe_internet_gateways()["InternetGateways"]],
        "route tables": [table["RouteTableId"] for table in ec2.describe_route_tables()["RouteTables"]],
        "security groups": [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]],
    }
    return "\n".join(f"{kind}: {name}" for kind, items in found.items() for name in sorted(items))


def main():
    command, *arguments = sys.argv[1:]
    if command == "strip":
        template, bucket, filter_program, index_program, *variables = arguments
        create_bucket(boto3.client("s3"), bucket)
        programs = {"FilterFunction": filter_program, "IndexFunction": index_program}
        strip(template, bucket, programs, dict(variable.split("=", 1) for variable in variables))
    elif command == "deploy":
        deploy(arguments[0], arguments[1], arguments[2:])
    elif command == "delete":
        delete(*arguments)
    elif command == "resource":
        print(resource(*arguments)["PhysicalResourceId"])
    elif command == "output":
        print(output(*arguments))
    elif command == "environment":
        print("\n".join(f"{key}={value}" for key, value in environment(*arguments).items()))
    elif command == "container":
        print(json.dumps(container(*arguments)))
    elif command == "inventory":
        print(inventory())
    else:
        sys.exit(f"no such command: {command}")


if __name__ == "__main__":
    main()
