//! What the roles allow is what the programs call, and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::document::Template;

mod calls;

const FILTER: &str = "FilterRole";
const INDEX: &str = "IndexRole";
const WORKER: &str = "WorkerRole";
const OPERATOR: &str = "OperatorRole";

/// The calls of the SDKs that are in the code, the action that allows each, and the roles that make it.
const CALLS: &[(&str, &str, &[&str])] = &[
    // Only where RemoveResults says so.
    ("batch_delete_image", "ecr:BatchDeleteImage", &[]),
    ("batch_get_image", "ecr:BatchGetImage", &[FILTER]),
    ("change_message_visibility", "sqs:ChangeMessageVisibility", &[WORKER, OPERATOR]),
    ("delete_message", "sqs:DeleteMessage", &[WORKER, OPERATOR]),
    ("describe_images", "ecr:DescribeImages", &[OPERATOR]),
    ("describe_repositories", "ecr:DescribeRepositories", &[OPERATOR]),
    ("get_authorization_token", "ecr:GetAuthorizationToken", &[INDEX, WORKER]),
    // A worker asks only where QueueAges says so.
    ("get_metric_data", "cloudwatch:GetMetricData", &[OPERATOR]),
    ("get_queue_attributes", "sqs:GetQueueAttributes", &[WORKER, OPERATOR]),
    ("list_message_move_tasks", "sqs:ListMessageMoveTasks", &[OPERATOR]),
    ("put_metric_data", "cloudwatch:PutMetricData", &[OPERATOR]),
    // Only where EventBus says so.
    ("put_events", "events:PutEvents", &[]),
    ("receive_message", "sqs:ReceiveMessage", &[WORKER, OPERATOR]),
    ("send_message", "sqs:SendMessage", &[FILTER, INDEX, WORKER, OPERATOR]),
    // SQS has no action of its own for it (service authorization reference).
    ("send_message_batch", "sqs:SendMessage", &[OPERATOR]),
    ("start_message_move_task", "sqs:StartMessageMoveTask", &[OPERATOR]),
];

/// What the distribution protocol of the crate `registry` is to ECR: manifests, blobs, referrers, tags, uploads. A list of
/// referrers takes `ecr:BatchGetImage` (ECR API reference, ListImageReferrers), one of tags `ecr:ListImages`.
const REGISTRY: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:ListImages",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
];

/// What the platform does in the name of a role, or for a program: logs of functions, and task protection, which the
/// ECS agent asks for with the task's role.
const PLATFORM: &[(&str, &[&str])] = &[
    (FILTER, &["logs:CreateLogStream", "logs:PutLogEvents"]),
    // Lambda reads queues with the role of the function that gets the messages.
    (
        INDEX,
        &[
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        ],
    ),
    (WORKER, &["ecs:UpdateTaskProtection"]),
    (OPERATOR, &[]),
];

/// What ECS needs to start a task (ECS developer guide, "task execution IAM role").
const START: &[&str] = &[
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];

fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    }
}

/// The statements that hold for a role: its own and those of the policies attached to it.
fn statements(template: &Template, role: &str) -> Vec<Value> {
    let properties = template.properties(role);
    let own =
        properties["Policies"].as_array().unwrap().iter().map(|p| p["PolicyDocument"].clone());
    let attached = properties["ManagedPolicyArns"].as_array().into_iter().flatten().map(|policy| {
        let name = policy.as_str().unwrap().trim_matches(['<', '>']);
        template.properties(name)["PolicyDocument"].clone()
    });
    let documents: Vec<Value> = own.chain(attached).collect();
    documents
        .iter()
        .flat_map(|document| document["Statement"].as_array().unwrap().clone())
        .collect()
}

fn actions(template: &Template, role: &str) -> BTreeSet<String> {
    let statements = statements(template, role);
    statements.iter().flat_map(|s| list(&s["Action"]).into_iter().map(str::to_owned)).collect()
}

/// The resources on which a role may do something.
fn resources(template: &Template, role: &str, action: &str) -> BTreeSet<String> {
    let statements = statements(template, role);
    let of = statements.iter().filter(|s| list(&s["Action"]).contains(&action));
    of.flat_map(|s| list(&s["Resource"]).into_iter().map(str::to_owned)).collect()
}

/// The operations of the SDKs' clients that a folder's sources name.
fn called(folder: &Path, found: &mut BTreeSet<String>) {
    let client = Regex::new(r"(?:\.client|\.listing)\s*\.\s*([a-z_]+)\(\)").unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            called(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            found.extend(client.captures_iter(&text).map(|call| call[1].to_owned()));
        }
    }
}

#[test]
fn every_call_that_the_code_makes_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    called(&root.join("crates/soci-aws/src"), &mut found);
    let table: BTreeSet<String> = CALLS.iter().map(|(call, ..)| (*call).to_owned()).collect();
    assert_eq!(found, table);
    // Only this crate can make one.
    for entry in std::fs::read_dir(root).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        let crate_name = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let calls = text.contains("aws-sdk-");
        assert_eq!(calls, crate_name == "aws", "{crate_name}");
    }
}

#[test]
fn each_role_allows_what_its_program_calls_and_nothing_more() {
    let template = Template::with(&[]);
    for (role, platform) in PLATFORM {
        let calls =
            CALLS.iter().filter(|(.., roles)| roles.contains(role)).map(|(_, action, _)| *action);
        let registry = if [INDEX, WORKER].contains(role) { REGISTRY } else { &[] };
        let expected: BTreeSet<String> = calls
            .chain(registry.iter().copied())
            .chain(platform.iter().copied())
            .map(str::to_owned)
            .collect();
        assert_eq!(actions(&template, role), expected, "{role}");
    }
    let start: BTreeSet<String> = START.iter().copied().map(str::to_owned).collect();
    assert_eq!(actions(&template, "ExecutionRole"), start);
}

#[test]
fn a_worker_may_ask_for_more_only_where_somebody_wants_that() {
    let plain = actions(&Template::with(&[]), WORKER);
    let with_ages = Template::with(&[("QueueAges", "true")]);
    let more: BTreeSet<_> = actions(&with_ages, WORKER).difference(&plain).cloned().collect();
    assert_eq!(more, BTreeSet::from(["cloudwatch:GetMetricData".to_owned()]));
    let receive = |template: &Template| resources(template, WORKER, "sqs:ReceiveMessage");
    let with_letters = Template::with(&[("DeadLettersOnPage", "true")]);
    let dead = BTreeSet::from(["<DeadLetterQueue.Arn>".to_owned()]);
    let before = receive(&Template::with(&[]));
    let more: BTreeSet<_> = receive(&with_letters).difference(&before).cloned().collect();
    assert_eq!(more, dead);
    assert!(
        !resources(&with_letters, WORKER, "sqs:DeleteMessage").contains("<DeadLetterQueue.Arn>")
    );
}

#[test]
fn only_a_bus_that_is_named_is_told_and_only_by_those_who_index() {
    let arn = "arn:aws:events:us-east-2:111122223333:event-bus/team/images";
    let own = "arn:aws:events:eu-west-1:123456789012:event-bus/images";
    for (bus, resource) in [("images", own), (arn, arn)] {
        let given = [("EventBus", bus)];
        let (template, core) = (Template::with(&given), Template::core(&given));
        let indexing = [(&template, INDEX), (&template, WORKER), (&core, INDEX)];
        for (template, role) in indexing {
            let more: BTreeSet<String> =
                actions(template, role).difference(&plain(template, role)).cloned().collect();
            assert_eq!(more, BTreeSet::from(["events:PutEvents".to_owned()]), "{role}");
            let resources = resources(template, role, "events:PutEvents");
            assert_eq!(resources, BTreeSet::from([resource.to_owned()]), "{role}");
        }
        for role in [FILTER, OPERATOR, "ExecutionRole"] {
            assert!(!actions(&template, role).contains("events:PutEvents"), "{role}");
        }
        let function = &template.properties("IndexFunction")["Environment"]["Variables"];
        assert_eq!(function["EVENT_BUS"], bus);
        // The program takes what the template does.
        assert!(bus.parse::<soci_aws::EventBusName>().is_ok());
    }
    let template = Template::with(&[]);
    assert!(!template.resources().contains_key("AnnouncePolicy"));
    let pattern = template.json["Parameters"]["EventBus"]["AllowedPattern"].as_str().unwrap();
    let pattern = Regex::new(pattern).unwrap();
    for good in ["", "default", "team/images.1_a-b", arn] {
        assert!(pattern.is_match(good), "{good}");
    }
    for bad in ["a b", "a:b", "arn:aws:sqs:us-east-2:111122223333:images", "*", "a*"] {
        assert!(!pattern.is_match(bad), "{bad}");
    }
}

#[test]
fn images_may_be_deleted_only_where_results_are_removed_and_only_by_those_who_do_it() {
    let given = [("RemoveResults", "true"), ("SociRepositoryImageTagFilters", "team/*:*")];
    let (template, core) = (Template::with(&given), Template::core(&given));
    let reached = |name: &str| format!("arn:aws:ecr:eu-west-1:123456789012:repository/{name}");
    for (template, role) in [(&template, INDEX), (&template, WORKER), (&core, INDEX)] {
        let more: BTreeSet<String> =
            actions(template, role).difference(&plain(template, role)).cloned().collect();
        let expected = ["ecr:BatchDeleteImage", "ecr:DescribeImages"].map(str::to_owned);
        assert_eq!(more, BTreeSet::from(expected), "{role}");
        let resources = resources(template, role, "ecr:BatchDeleteImage");
        assert_eq!(resources, BTreeSet::from([reached("team/*"), reached("-")]), "{role}");
    }
    for role in [FILTER, OPERATOR, "ExecutionRole"] {
        assert!(!actions(&template, role).contains("ecr:BatchDeleteImage"), "{role}");
    }
    assert!(!Template::with(&[]).resources().contains_key("RemovePolicy"));
}

/// What a role may do if no bus is named.
fn plain(template: &Template, role: &str) -> BTreeSet<String> {
    let core = !template.resources().contains_key("WorkerTask");
    actions(&if core { Template::core(&[]) } else { Template::with(&[]) }, role)
}

#[test]
fn each_queue_is_open_to_those_who_use_it() {
    let (live, backfill, dead) = ("<Queue.Arn>", "<BackfillQueue.Arn>", "<DeadLetterQueue.Arn>");
    let small = "<SmallImagesQueue.Arn>";
    let functions: &[(&str, &str, &[&str])] =
        &[(FILTER, "sqs:SendMessage", &[live, small]), (INDEX, "sqs:SendMessage", &[live, dead])];
    let with_worker: &[(&str, &str, &[&str])] = &[
        (INDEX, "sqs:ReceiveMessage", &[small]),
        (INDEX, "sqs:DeleteMessage", &[small]),
        (INDEX, "sqs:GetQueueAttributes", &[small]),
        (WORKER, "sqs:ReceiveMessage", &[live, backfill]),
        (WORKER, "sqs:DeleteMessage", &[live, backfill]),
        (WORKER, "sqs:SendMessage", &[live, backfill, dead]),
        (WORKER, "sqs:GetQueueAttributes", &[live, backfill, dead]),
        (OPERATOR, "sqs:SendMessage", &[live, backfill]),
        (OPERATOR, "sqs:ReceiveMessage", &[dead]),
        (OPERATOR, "sqs:StartMessageMoveTask", &[dead]),
        (OPERATOR, "sqs:GetQueueAttributes", &[live, backfill, dead]),
    ];
    let alone: &[(&str, &str, &[&str])] = &[
        (INDEX, "sqs:ReceiveMessage", &[small, live, backfill]),
        (INDEX, "sqs:DeleteMessage", &[small, live, backfill]),
        (INDEX, "sqs:GetQueueAttributes", &[small, live, backfill]),
    ];
    let (template, core) = (Template::with(&[]), Template::core(&[]));
    for (template, expected) in
        [(&template, functions), (&template, with_worker), (&core, functions), (&core, alone)]
    {
        for (role, action, queues) in expected {
            let queues: BTreeSet<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
            assert_eq!(resources(template, role, action), queues, "{action} of {role}");
        }
    }
}

#[test]
fn roles_reach_the_repositories_that_the_filters_name_and_no_other() {
    let arn = |name: &str| format!("arn:aws:ecr:eu-west-1:123456789012:repository/{name}");
    let twenty: Vec<String> = (0..20).map(|n| format!("team/app{n}:v{n}*")).collect();
    let twenty_names: Vec<String> = (0..20).map(|n| format!("team/app{n}")).collect();
    let cases: &[(&str, Vec<&str>)] = &[
        ("*:*", vec!["*"]),
        ("team/*:v*,base:latest", vec!["team/*", "base"]),
        ("team/*:v* ,  base:latest", vec!["team/*", "base"]),
        (&twenty.join(", "), twenty_names.iter().map(String::as_str).collect()),
    ];
    for (filters, names) in cases {
        let template = Template::with(&[("SociRepositoryImageTagFilters", filters)]);
        let mut expected: BTreeSet<String> = names.iter().map(|name| arn(name)).collect();
        if names.len() < 20 {
            // Fills the list; no repository's name begins with a hyphen.
            expected.insert(arn("-"));
        }
        for (role, action) in [(FILTER, "ecr:BatchGetImage"), (OPERATOR, "ecr:DescribeImages")] {
            assert_eq!(resources(&template, role, action), expected, "{action} with {filters}");
        }
        for action in REGISTRY {
            for role in [INDEX, WORKER] {
                assert_eq!(resources(&template, role, action), expected, "{action} with {filters}");
            }
        }
    }
}

#[test]
fn the_image_is_pulled_from_its_repository_only() {
    for (uri, name) in [
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/a/b:1.0", "a/b"),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/soci@sha256:00", "soci"),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/soci:1@sha256:00", "soci"),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/soci", "soci"),
    ] {
        let template = Template::with(&[("ImageUri", uri)]);
        let expected = format!("arn:aws:ecr:eu-west-1:111122223333:repository/{name}");
        let found = resources(&template, "ExecutionRole", "ecr:BatchGetImage");
        assert_eq!(found, BTreeSet::from([expected]), "{uri}");
    }
    for (partition, suffix) in PARTITIONS {
        for (name, given) in [("soci", "soci:1"), ("a/soci", "a/soci@sha256:00"), ("b", "b")] {
            let uri = format!("111122223333.dkr.ecr.some-where-1.{suffix}/{given}");
            for (image, account) in [(&*uri, "111122223333"), (given, "123456789012")] {
                let template = Template::with(&[
                    ("ImageUri", image),
                    ("AWS::Partition", partition),
                    ("AWS::Region", "some-where-1"),
                    ("AWS::URLSuffix", suffix),
                ]);
                let found = resources(&template, "ExecutionRole", "ecr:BatchGetImage");
                let repository =
                    format!("arn:{partition}:ecr:some-where-1:{account}:repository/{name}");
                assert_eq!(found, BTreeSet::from([repository]), "{image}");
                let whole = uri.replace("111122223333", account);
                for function in ["FilterFunction", "IndexFunction"] {
                    assert_eq!(template.properties(function)["Code"]["ImageUri"], whole);
                }
                for task in ["WorkerTask", "OperatorTask"] {
                    assert_eq!(
                        template.properties(task)["ContainerDefinitions"][0]["Image"],
                        whole
                    );
                }
            }
        }
    }
}

/// The partitions and their suffixes (botocore, `partitions.json`).
const PARTITIONS: [(&str, &str); 8] = [
    ("aws", "amazonaws.com"),
    ("aws-us-gov", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-e", "cloud.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov"),
];

#[test]
fn every_partition_has_images_and_a_console() {
    let template = Template::with(&[]);
    let pattern = template.json["Parameters"]["ImageUri"]["AllowedPattern"].as_str().unwrap();
    let pattern = Regex::new(pattern).unwrap();
    let digest = format!("@sha256:{}", "0".repeat(64));
    for (partition, suffix) in PARTITIONS {
        assert!(
            template.json["Mappings"]["Consoles"][partition]["Host"].is_string(),
            "{partition}"
        );
        for image in ["soci:1", "team/soci-index-builder", &format!("soci:1{digest}")] {
            assert!(pattern.is_match(image), "{image}");
            let uri = format!("111122223333.dkr.ecr.some-where-1.{suffix}/{image}");
            assert!(pattern.is_match(&uri), "{uri}");
        }
    }
    for bad in [
        "",
        "ghcr.io/soci-index-builder/soci-index-builder:1:2",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com/",
        "Soci:1",
        "soci:",
        "soci@sha256:00",
        "public.ecr.aws/soci:1",
        "ghcr.io/soci-index-builder/soci-index-builder:1",
    ] {
        assert!(!pattern.is_match(bad), "{bad}");
    }
}

#[test]
fn no_role_allows_wildcards_and_all_have_the_boundary() {
    let boundary = "arn:aws:iam::123456789012:policy/boundary";
    let key = "arn:aws:kms:eu-west-1:123456789012:key/1";
    let template = Template::with(&[("IamPermissionsBoundaryArn", boundary), ("KmsKeyArn", key)]);
    let mut without_one = BTreeMap::new();
    let mut roles = 0;
    for (name, (kind, properties)) in template.resources() {
        if kind != "AWS::IAM::Role" {
            continue;
        }
        roles += 1;
        assert_eq!(properties["PermissionsBoundary"], boundary, "{name}");
        for statement in statements(&template, name) {
            assert_eq!(statement["Effect"], "Allow");
            let actions = list(&statement["Action"]);
            assert!(actions.iter().all(|action| !action.contains('*')), "{statement}");
            if list(&statement["Resource"]).contains(&"*") {
                without_one.insert(actions.join(" "), name);
            }
        }
        if name != "ExecutionRole" {
            assert_eq!(resources(&template, name, "kms:Decrypt"), BTreeSet::from([key.to_owned()]));
        }
    }
    assert_eq!(roles, 5);
    // A token is for the whole registry, and metrics have no resource (service authorization reference).
    let expected =
        ["cloudwatch:GetMetricData", "cloudwatch:PutMetricData", "ecr:GetAuthorizationToken"];
    assert_eq!(without_one.keys().collect::<Vec<_>>(), expected);
    let plain = Template::with(&[]).properties("WorkerRole");
    assert!(plain.get("PermissionsBoundary").is_none());
}
