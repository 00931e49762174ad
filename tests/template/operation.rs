//! What an emulator does not show: limits, scaling, alarms, and that nothing has a fixed name.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};
use soci_push::event::EventKind;
use soci_push::{EventTypes, PushRules};

use crate::document::{Template, text};

#[test]
fn parameters_are_all_grouped_and_documented() {
    let template = Template::with(&[]);
    let interface = &template.json["Metadata"]["AWS::CloudFormation::Interface"];
    let grouped: BTreeSet<&str> = interface["ParameterGroups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["Parameters"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    let all: BTreeSet<&str> = template.section("Parameters").keys().map(String::as_str).collect();
    // Their names say what they are, so there are no labels, for which the template has no room.
    assert_eq!(grouped, all);
    let deploying = documentation("DEPLOY.md");
    for name in all {
        assert!(deploying.contains(&format!("`{name}`")), "docs/DEPLOY.md does not have {name}");
    }
}

fn documentation(name: &str) -> String {
    text(&format!("docs/{name}"))
}

#[test]
fn filters_that_are_allowed_are_those_that_the_programs_read() {
    let template = Template::with(&[]);
    let pattern =
        template.json["Parameters"]["SociRepositoryImageTagFilters"]["AllowedPattern"].as_str();
    let pattern = Regex::new(pattern.unwrap()).unwrap();
    let twenty = ["a:b"; 20].join(" , ");
    for good in ["*:*", "a:b", "team/*:v*", "*/app:*-rc*,b:1.0_X", "a:b, c:d", "**:a**", &twenty] {
        assert!(pattern.is_match(good), "{good}");
        assert!(good.parse::<soci_push::TagFilters>().is_ok(), "{good}");
    }
    for bad in ["", "a", "a:", ":b", "a:b,", "A:b", "a:b:c", "a?:b", "a:b c:d", "a:b\n", "a :b"] {
        assert!(!pattern.is_match(bad), "{bad}");
    }
    assert!(!pattern.is_match(&format!("{twenty},a:b")));
    for (part, most) in [("a", 256), ("a:", 128)] {
        for (length, good) in [(most, true), (most + 1, false)] {
            let long = part.replace('a', &"a".repeat(length));
            let filter =
                if part == "a" { long + ":b" } else { format!("a:{}", "b".repeat(length)) };
            assert_eq!(pattern.is_match(&filter), good, "{filter}");
            assert_eq!(filter.parse::<soci_push::TagFilters>().is_ok(), good, "{filter}");
        }
    }
}

#[test]
fn the_longest_filters_fit_into_what_is_made_of_them() {
    let most = Template::with(&[]).json["Parameters"]["SociRepositoryImageTagFilters"]["MaxLength"]
        .as_u64()
        .unwrap();
    let most = usize::try_from(most).unwrap();
    // Names of repositories have at most 256 characters, and a long region and suffix lengthen the rest.
    let filters = vec!["x".repeat(most / 20 - 3) + ":*"; 20].join(",");
    assert!((most - 20..=most).contains(&filters.len()), "{}", filters.len());
    let template = Template::with(&[
        ("SociRepositoryImageTagFilters", &filters),
        ("EventTypes", &soci_push::EventTypes::all().to_string()),
        ("OutputTagSuffix", &"s".repeat(64)),
        ("RunbookUrl", &"u".repeat(500)),
        ("EventBus", &"b".repeat(160)),
        ("Platforms", "linux/amd64,linux/arm64/v8"),
        ("LogLevel", "info,soci_registry=debug"),
        ("AWS::Partition", "aws-us-gov"),
        ("AWS::Region", "ap-southeast-99"),
    ]);
    // Systems Manager, "quotas": value of a standard parameter. IAM, "quotas": size of a managed policy.
    for parameter in ["Parts", "RepositoryArns"] {
        let value = template.properties(parameter)["Value"].as_str().unwrap().len();
        assert!(value <= 4096, "{parameter}: {value} characters");
    }
    let policy = template.properties("WriteIndexesPolicy")["PolicyDocument"].to_string();
    assert!(policy.len() <= 6144, "{} characters", policy.len());
    // Lambda, "quotas": all variables of a function together. URLs of queues are longer than `<Queue>`.
    for function in ["FilterFunction", "IndexFunction"] {
        let variables = template.properties(function)["Environment"]["Variables"].clone();
        let long = variables.as_object().unwrap().iter().map(|(name, value)| {
            name.len()
                + value.as_str().unwrap().len()
                + if name.ends_with("_URL") { 160 } else { 0 }
        });
        let long: usize = long.sum();
        assert!(long <= 4096, "{function}: {long} characters");
    }
}

#[test]
fn sizes_of_tasks_are_those_that_fargate_has() {
    // ECS developer guide, Fargate "task CPU and memory": CPU units, least, most and step of the memory in MiB.
    let sizes = [
        (256, 512, 2048, 512),
        (512, 1024, 4096, 1024),
        (1024, 2048, 8192, 1024),
        (2048, 4096, 16_384, 1024),
        (4096, 8192, 30_720, 1024),
        (8192, 16_384, 61_440, 4096),
        (16_384, 32_768, 122_880, 8192),
    ];
    let template = Template::with(&[]);
    let cpus = &template.json["Parameters"]["TaskCpu"]["AllowedValues"];
    assert_eq!(*cpus, json!(sizes.map(|(cpu, ..)| cpu.to_string())));
    for (cpu, least, most, step) in sizes {
        let rule = &template.json["Rules"][format!("Cpu{cpu}")];
        assert_eq!(
            rule["RuleCondition"],
            json!({"Fn::Equals": [{"Ref": "TaskCpu"}, cpu.to_string()]})
        );
        let contains = &rule["Assertions"][0]["Assert"]["Fn::Contains"];
        assert_eq!(contains[1], json!({"Ref": "TaskMemory"}));
        let memories = contains[0].as_array().unwrap();
        assert!(memories.len() >= 3);
        for memory in memories {
            let memory: u32 = memory.as_str().unwrap().parse().unwrap();
            let valid = (least..=most).contains(&memory) && memory.is_multiple_of(step);
            assert!(valid && !(cpu == 256 && memory == 1536), "{memory} with {cpu}");
        }
    }
}

#[test]
fn nothing_has_a_name_that_a_second_stack_would_take_as_well() {
    let template = Template::with(&[("BackfillArchiveDays", "7")]);
    let names = [
        "QueueName",
        "FunctionName",
        "RoleName",
        "ManagedPolicyName",
        "ClusterName",
        "ServiceName",
        "Family",
        "LogGroupName",
        "DashboardName",
        "AlarmName",
        "ArchiveName",
        "GroupName",
        "Name",
    ];
    for (name, (kind, properties)) in template.resources() {
        let fixed = names.iter().filter_map(|key| Some((*key, properties.get(key)?.as_str()?)));
        for (key, value) in fixed {
            let of_stack = value.contains("soci-") || value.starts_with('<');
            let reference = kind != "AWS::Lambda::Function" && kind.starts_with("AWS::Lambda::");
            assert!(of_stack && (reference || key == "LogGroupName"), "{key} of {name} is {value}");
        }
    }
}

#[test]
fn times_fit_together() {
    let template = Template::with(&[]);
    let worker = &template.properties("WorkerTask")["ContainerDefinitions"][0];
    let variables = worker["Environment"].as_array().unwrap();
    let drain =
        variables.iter().find(|variable| variable["Name"] == "DRAIN_DEADLINE_SECONDS").unwrap();
    let drain: u64 = drain["Value"].as_str().unwrap().parse().unwrap();
    // What is given back after the deadline takes up to ten seconds; Fargate allows no more than 120.
    assert_eq!(worker["StopTimeout"], 120);
    assert!(drain + 10 < 120);
    let retention = |name| template.properties(name)["MessageRetentionPeriod"].as_u64().unwrap();
    assert_eq!(retention("DeadLetterQueue"), 14 * 24 * 3600);
    for name in ["Queue", "BackfillQueue", "SmallImagesQueue"] {
        assert!(retention(name) < retention("DeadLetterQueue"));
    }
}

#[test]
fn what_a_queue_cannot_get_rid_of_goes_on_and_ends_among_the_dead_letters() {
    let (with_worker, alone) = (Template::with(&[]), Template::core(&[]));
    let redrive = |template: &Template, name: &str| {
        let policy = template.properties(name)["RedrivePolicy"].clone();
        (
            policy["deadLetterTargetArn"].as_str().unwrap().to_owned(),
            policy["maxReceiveCount"].clone(),
        )
    };
    let dead = ("<DeadLetterQueue.Arn>".to_owned(), json!(5));
    for name in ["Queue", "BackfillQueue"] {
        assert_eq!(redrive(&with_worker, name), dead, "{name}");
        assert_eq!(redrive(&alone, name), dead, "{name}");
    }
    // What the index Lambda died on once is the worker's, if there is one.
    assert_eq!(redrive(&with_worker, "SmallImagesQueue"), ("<Queue.Arn>".to_owned(), json!(1)));
    assert_eq!(redrive(&alone, "SmallImagesQueue"), dead);
}

#[test]
fn every_queue_has_a_reader_that_keeps_a_message_while_it_works() {
    let mappings = |template: &Template| -> BTreeSet<String> {
        let resources = template.resources();
        let mappings =
            resources.values().filter(|(kind, _)| *kind == "AWS::Lambda::EventSourceMapping");
        mappings
            .map(|(_, properties)| {
                assert_eq!(properties["FunctionName"], "<IndexFunction>");
                assert_eq!(properties["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
                // A second message would wait in the function, where nobody else can have it.
                assert_eq!(properties["BatchSize"], 1);
                let queue = properties["EventSourceArn"].as_str().unwrap();
                let queue = queue.trim_start_matches('<').trim_end_matches(".Arn>");
                // Lambda refuses a mapping otherwise (Lambda developer guide, "Creating and configuring an Amazon
                // SQS event source mapping").
                let timeout = template.properties("IndexFunction")["Timeout"].as_u64();
                assert!(template.properties(queue)["VisibilityTimeout"].as_u64() > timeout);
                queue.to_owned()
            })
            .collect()
    };
    let (with_worker, alone) = (Template::with(&[]), Template::core(&[]));
    let small = BTreeSet::from(["SmallImagesQueue".to_owned()]);
    assert_eq!(mappings(&with_worker), small);
    assert_eq!(with_worker.properties("Queue")["VisibilityTimeout"], 120);
    let all = ["SmallImagesQueue", "Queue", "BackfillQueue"].map(str::to_owned);
    assert_eq!(mappings(&alone), BTreeSet::from(all));
}

#[test]
fn queues_are_encrypted_and_closed_to_plain_connections() {
    let key = "arn:aws:kms:eu-west-1:123456789012:key/1";
    let (plain, with_key) = (Template::with(&[]), Template::with(&[("KmsKeyArn", key)]));
    let mut closed = BTreeSet::new();
    for policy in ["QueuePolicy", "OtherQueuesPolicy"] {
        let properties = plain.properties(policy);
        let statement = &properties["PolicyDocument"]["Statement"][0];
        assert_eq!((&statement["Effect"], &statement["Principal"]), (&json!("Deny"), &json!("*")));
        assert_eq!(statement["Condition"], json!({"Bool": {"aws:SecureTransport": false}}));
        let queues = properties["Queues"].as_array().unwrap().clone();
        closed.extend(queues.into_iter().map(|queue| queue.as_str().unwrap().to_owned()));
    }
    for name in ["Queue", "BackfillQueue", "SmallImagesQueue", "DeadLetterQueue"] {
        assert!(closed.contains(&format!("<{name}>")), "{name}");
        assert_eq!(plain.properties(name)["SqsManagedSseEnabled"], true);
        assert_eq!(with_key.properties(name)["KmsMasterKeyId"], key);
    }
}

#[test]
fn the_worker_runs_without_privileges() {
    let template = Template::with(&[]);
    for task in ["WorkerTask", "OperatorTask"] {
        let container = &template.properties(task)["ContainerDefinitions"][0];
        assert_eq!(
            (&container["ReadonlyRootFilesystem"], &container["User"]),
            (&json!(true), &json!("65532"))
        );
        assert_eq!(container["LinuxParameters"]["Capabilities"]["Drop"], json!(["ALL"]));
    }
    let check = &template.properties("WorkerTask")["ContainerDefinitions"][0]["HealthCheck"];
    assert_eq!(
        check["Command"],
        json!(["CMD", "/usr/local/bin/soci-index-builder", "healthcheck"])
    );
    assert_eq!(
        template.properties("Service")["DeploymentConfiguration"]["DeploymentCircuitBreaker"]["Enable"],
        true
    );
}

#[test]
fn an_event_that_a_function_cannot_take_goes_to_the_queue() {
    let template = Template::with(&[]);
    let target = &template.properties("PushRule")["Targets"][0];
    assert_eq!(target["DeadLetterConfig"]["Arn"], "<Queue.Arn>");
    assert!(target["RetryPolicy"]["MaximumRetryAttempts"].as_u64().unwrap() > 0);
    for config in ["FilterInvokeConfig", "IndexInvokeConfig"] {
        let properties = template.properties(config);
        assert_eq!(properties["DestinationConfig"]["OnFailure"]["Destination"], "<Queue.Arn>");
    }
    let allowed = &template.properties("QueuePolicy")["PolicyDocument"]["Statement"][1];
    assert_eq!(allowed["Condition"]["ArnEquals"]["aws:SourceArn"], "<PushRule.Arn>");
}

#[test]
fn own_output_stays_away_where_it_has_a_tag_of_its_own() {
    let tag = |given: &[(&str, &str)]| {
        let pattern = Template::with(given).properties("PushRule")["EventPattern"].clone();
        pattern["detail"].get("image-tag").cloned()
    };
    assert_eq!(tag(&[]), Some(json!([{"anything-but": {"suffix": "-soci"}}])));
    assert_eq!(tag(&[("OutputTagSuffix", "")]), None);
    assert_eq!(tag(&[("SociIndexVersion", "V1")]), None);
}

/// Whether EventBridge would let an event through: each member of the pattern is a list, of which one has to fit.
/// (EventBridge user guide, "Creating event patterns"; this pattern was tried by hand with `event-ruler` 2.1.0.)
fn lets_through(pattern: &Value, event: &Value) -> bool {
    let fits = |wanted: &Value, found: Option<&Value>| match (wanted, found) {
        (Value::String(text), found) => found.is_some_and(|found| found == text),
        (Value::Object(wanted), found) => {
            let text = found.and_then(Value::as_str);
            if let Some(exists) = wanted.get("exists") {
                return exists.as_bool() == Some(found.is_some());
            }
            let suffix = wanted["anything-but"]["suffix"].as_str().unwrap();
            text.is_some_and(|text| !text.ends_with(suffix))
        }
        other => panic!("{other:?} is not known here"),
    };
    pattern.as_object().unwrap().iter().all(|(name, wanted)| match wanted {
        Value::Object(_) => event.get(name).is_some_and(|inner| lets_through(wanted, inner)),
        wanted => wanted.as_array().unwrap().iter().any(|one| fits(one, event.get(name))),
    })
}

#[test]
fn the_rule_lets_through_what_the_functions_take_and_little_else() {
    let event = |kind: EventKind, detail: Value| {
        let mut event = json!({
            "source": "aws.ecr", "detail-type": kind.detail_type(), "account": "123456789012",
            "region": "eu-west-1", "detail": {
                "repository-name": "prod/app", "image-tag": "1",
                "image-digest": format!("sha256:{}", "a".repeat(64)),
            },
        });
        event["detail"].as_object_mut().unwrap().extend(detail.as_object().unwrap().clone());
        event
    };
    let came = [
        event(EventKind::Push, json!({"action-type": "PUSH", "result": "SUCCESS"})),
        event(EventKind::Replication, json!({"action-type": "REPLICATE", "result": "SUCCESS"})),
        event(EventKind::PullThroughCache, json!({"sync-status": "SUCCESS"})),
    ];
    let did_not = [
        event(EventKind::Push, json!({"action-type": "DELETE", "result": "SUCCESS"})),
        event(EventKind::Push, json!({"action-type": "UPDATE_STORAGE_CLASS", "result": "SUCCESS"})),
        event(EventKind::Push, json!({"action-type": "PUSH", "result": "FAILURE"})),
        event(EventKind::Replication, json!({"action-type": "REPLICATE", "result": "FAILED"})),
        event(EventKind::PullThroughCache, json!({"sync-status": "FAILURE"})),
    ];
    for event_types in [
        EventTypes::default(),
        "ECR Replication Action".parse().unwrap(),
        "ECR Image Action, ECR Pull Through Cache Action".parse().unwrap(),
        EventTypes::all(),
    ] {
        let template = Template::with(&[
            ("EventTypes", &event_types.to_string()),
            ("SociRepositoryImageTagFilters", "prod*:*"),
            ("BackfillArchiveDays", "7"),
        ]);
        let pattern = &template.properties("PushRule")["EventPattern"];
        let archive = &template.properties("PushArchive")["EventPattern"];
        let variables = &template.properties("FilterFunction")["Environment"]["Variables"];
        assert_eq!(variables["EVENT_TYPES"], event_types.to_string());
        let rules = PushRules {
            version: soci_manifest::Version::V2,
            output_suffix: "-soci".to_owned(),
            filters: "prod*:*".parse().unwrap(),
            event_types,
            remove_results: false,
        };
        for event in &came {
            let task = soci_push::understand(event.to_string().as_bytes(), &rules).unwrap();
            let work = matches!(task, soci_push::Task::Index(_));
            assert_eq!(lets_through(pattern, event), work, "{event}");
            assert_eq!(lets_through(archive, event), work, "{event}");
            let mut output = event.clone();
            output["detail"]["image-tag"] = json!("1-soci");
            assert!(!lets_through(pattern, &output), "{output}");
            // A bus that collects events of others.
            for (member, other) in [("account", "111122223333"), ("region", "us-east-1")] {
                let mut event = event.clone();
                event[member] = json!(other);
                assert!(!lets_through(pattern, &event), "{event}");
                assert!(!lets_through(archive, &event), "{event}");
            }
        }
        for event in &did_not {
            assert!(!lets_through(pattern, event), "{event}");
        }
    }
}

#[test]
fn deletions_come_only_where_results_are_removed_and_everybody_knows_that() {
    let deletion = |tag: &str, result: &str| {
        json!({
            "source": "aws.ecr", "detail-type": "ECR Image Action", "account": "123456789012",
            "region": "eu-west-1", "detail": {
                "repository-name": "prod/app", "image-tag": tag, "action-type": "DELETE",
                "result": result, "image-digest": format!("sha256:{}", "a".repeat(64)),
            },
        })
    };
    for removes in [false, true] {
        let template = Template::with(&[
            ("RemoveResults", if removes { "true" } else { "false" }),
            ("BackfillArchiveDays", "7"),
        ]);
        let pattern = &template.properties("PushRule")["EventPattern"];
        assert_eq!(lets_through(pattern, &deletion("1", "SUCCESS")), removes);
        assert!(!lets_through(pattern, &deletion("1", "FAILURE")));
        assert!(!lets_through(pattern, &deletion("1-soci", "SUCCESS")), "its own result");
        // What was deleted when an archive is replayed may be there again.
        let archive = &template.properties("PushArchive")["EventPattern"];
        assert!(!lets_through(archive, &deletion("1", "SUCCESS")));
        for function in ["FilterFunction", "IndexFunction"] {
            let variables = &template.properties(function)["Environment"]["Variables"];
            assert_eq!(variables["REMOVE_RESULTS"], removes.to_string(), "{function}");
        }
        let worker = &template.properties("WorkerTask")["ContainerDefinitions"][0]["Environment"];
        let worker = worker.as_array().unwrap();
        let expected = json!({ "Name": "REMOVE_RESULTS", "Value": removes.to_string() });
        assert!(worker.contains(&expected));
    }
}

#[test]
fn event_types_and_platforms_are_those_that_the_programs_read() {
    let declared = &Template::with(&[]).json["Parameters"];
    // CloudFormation holds the pattern against each member of a list.
    let types = Regex::new(declared["EventTypes"]["AllowedPattern"].as_str().unwrap()).unwrap();
    assert!(EventKind::ALL.into_iter().all(|kind| types.is_match(kind.detail_type())));
    for other in ["", "ECR Image Scan", "ECR Image Action ", "PUSH"] {
        assert!(!types.is_match(other), "{other}");
    }
    assert!(
        declared["EventTypes"]["Default"].as_str().unwrap().parse() == Ok(EventTypes::default())
    );
    let pattern = Regex::new(declared["Platforms"]["AllowedPattern"].as_str().unwrap()).unwrap();
    for good in ["", "linux/amd64", "linux/x86_64,windows/amd64,linux/arm/v7"] {
        assert!(pattern.is_match(good), "{good}");
        for part in good.split(',').filter(|part| !part.is_empty()) {
            assert!(part.parse::<soci_oci::Platform>().is_ok(), "{part}");
        }
    }
    for bad in ["linux", "linux/amd64,", ",", "linux/amd64, linux/arm64", "a/b/c/d", "linux/"] {
        assert!(!pattern.is_match(bad), "{bad}");
    }
}

#[test]
fn more_tasks_at_least_than_at_most_are_refused_at_once() {
    let rule = &Template::with(&[]).json["Rules"]["MinTasks"];
    for (least, most, good) in [
        ("0", "4", true),
        ("4", "4", true),
        ("5", "4", false),
        ("2", "1", false),
        ("9", "10", true),
    ] {
        let template = Template::with(&[("MinTasks", least), ("MaxTasks", most)]);
        let mut asserted = rule["Assertions"].as_array().unwrap().iter();
        let holds = asserted.all(|assertion| template.truth(&assertion["Assert"]));
        assert_eq!(holds, good, "{least} to {most}");
    }
}

#[test]
fn less_concurrency_reserved_than_used_is_refused_at_once() {
    let rule = &Template::with(&[]).json["Rules"]["ReservedConcurrency"];
    assert!(rule.get("RuleCondition").is_none());
    for (reserved, most, good) in [
        ("", "10", true),
        ("1", "2", false),
        ("2", "2", true),
        ("5", "5", true),
        ("5", "6", false),
        ("9", "10", false),
        ("9", "1000", false),
        ("10", "10", true),
        ("22", "10", true),
    ] {
        let template = Template::with(&[
            ("IndexLambdaReservedConcurrency", reserved),
            ("IndexLambdaMaxConcurrency", most),
        ]);
        let mut asserted = rule["Assertions"].as_array().unwrap().iter();
        let holds = asserted.all(|assertion| template.truth(&assertion["Assert"]));
        assert_eq!(holds, good, "{reserved} for {most}");
    }
}

#[test]
fn logs_stay_when_the_stack_goes_and_a_new_one_does_not_meet_them() {
    let template = Template::with(&[]);
    for (name, resource) in template.section("Resources") {
        let is_log = resource["Type"] == "AWS::Logs::LogGroup";
        for policy in ["DeletionPolicy", "UpdateReplacePolicy"] {
            assert_eq!(resource[policy] == "Retain", is_log, "{policy} of {name}");
        }
    }
    assert!(template.properties("LogGroup").get("LogGroupName").is_none());
    let failures = template.properties("TaskFailureLogGroup");
    let name = failures["LogGroupName"].as_str().unwrap();
    // EventBridge user guide: the name begins so. CloudWatch Logs: it has at most 512 characters.
    assert!(name.starts_with("/aws/events/soci-") && name.ends_with("-0242ac120002"), "{name}");
    let group = format!("arn:aws:logs:eu-west-1:123456789012:log-group:{name}:*");
    let own_rules =
        json!({"ArnLike": {"aws:SourceArn": "arn:aws:events:eu-west-1:123456789012:rule/*"}});
    for (number, action, condition) in
        [(0, "logs:CreateLogStream", None), (1, "logs:PutLogEvents", Some(&own_rules))]
    {
        let statement = &failures["ResourcePolicyDocument"]["Statement"][number];
        assert_eq!((&statement["Resource"], &statement["Action"]), (&json!(group), &json!(action)));
        assert_eq!(statement.get("Condition"), condition);
    }
    let kinds: Vec<&str> = template.resources().values().map(|(kind, _)| *kind).collect();
    // An account has ten of these in a region.
    assert!(!kinds.contains(&"AWS::Logs::ResourcePolicy"));
    // Where a group has none of its own, one of them says the same.
    let elsewhere = Template::with(&[("AWS::Partition", "aws-us-gov")]);
    let group = elsewhere.properties("TaskFailureLogGroup");
    assert!(group.get("ResourcePolicyDocument").is_none());
    let shared = elsewhere.properties("TaskFailureLogPolicy");
    let shared: Value = serde_json::from_str(shared["PolicyDocument"].as_str().unwrap()).unwrap();
    assert_eq!(shared["Statement"].as_array().unwrap().len(), 2);
    for (number, statement) in shared["Statement"].as_array().unwrap().iter().enumerate() {
        let own = &failures["ResourcePolicyDocument"]["Statement"][number];
        assert_eq!(
            (&statement["Action"], &statement["Principal"]),
            (&own["Action"], &own["Principal"])
        );
        assert_eq!(statement.get("Condition").is_some(), own.get("Condition").is_some());
    }
}

#[test]
fn an_update_does_not_wait_for_tasks_that_are_protected() {
    let criteria = |partition: &str| {
        let service = Template::with(&[("AWS::Partition", partition)]).properties("Service");
        service["DeploymentConfiguration"].get("EarlySuccessCriteria").cloned()
    };
    let expected =
        json!({"Enable": true, "HealthyPercent": 100, "SourceServiceRevisionCleanup": "DEFERRED"});
    // Whose own documentation has it.
    assert_eq!(criteria("aws"), Some(expected.clone()));
    assert_eq!(criteria("aws-cn"), Some(expected));
    for partition in ["aws-us-gov", "aws-eusc", "aws-iso"] {
        assert_eq!(criteria(partition), None, "{partition}");
    }
}

#[test]
fn vpc_and_subnets_are_given_together() {
    let rule = &Template::with(&[]).json["Rules"]["VpcAndSubnets"];
    assert!(rule.get("RuleCondition").is_none());
    for (vpc, subnets, good) in [
        ("", "", true),
        ("vpc-0a", "subnet-0a", true),
        ("vpc-0a", "", false),
        ("", "subnet-0a", false),
    ] {
        let template = Template::with(&[("VpcId", vpc), ("SubnetIds", subnets)]);
        assert_eq!(template.truth(&rule["Assertions"][0]["Assert"]), good, "{vpc} {subnets}");
    }
}

#[test]
fn tasks_scale_from_none_with_the_backlog() {
    let template =
        Template::with(&[("MinTasks", "0"), ("MaxTasks", "7"), ("TargetBacklogPerTask", "9")]);
    let target = template.properties("ScalableTarget");
    assert_eq!((&target["MinCapacity"], &target["MaxCapacity"]), (&json!("0"), &json!("7")));
    assert_eq!(target["ResourceId"], "service/<Cluster>/<Service.Name>");
    let tracking =
        template.properties("BacklogPolicy")["TargetTrackingScalingPolicyConfiguration"].clone();
    assert_eq!(tracking["TargetValue"], "9");
    assert!(tracking["ScaleInCooldown"].as_u64() > tracking["ScaleOutCooldown"].as_u64());
    expect_metric_math("BacklogPolicy", &tracking["CustomizedMetricSpecification"]["Metrics"]);
    // A smaller backlog counts as one task's share, so that tracking never asks for less than one.
    let metrics = &tracking["CustomizedMetricSpecification"]["Metrics"];
    assert_eq!(metrics[0]["Expression"], "IF(backlog > 9, backlog, 9) / tasks");
    for (policy, alarm, tasks) in [("WakePolicy", "WakeAlarm", 1), ("IdlePolicy", "IdleAlarm", 0)] {
        let step = template.properties(policy)["StepScalingPolicyConfiguration"].clone();
        // It names the number, so that asking again adds nothing.
        assert_eq!(step["AdjustmentType"], "ExactCapacity");
        assert_eq!(step["StepAdjustments"][0]["ScalingAdjustment"], tasks);
        assert_eq!(template.properties(alarm)["AlarmActions"], json!([format!("<{policy}>")]));
    }
    // Fifteen idle minutes, as docs/DEPLOY.md says.
    assert_eq!(template.properties("IdleAlarm")["EvaluationPeriods"], 15);
}

/// Expects one result, and names in it that are metrics of the same list.
fn expect_metric_math(of: &str, metrics: &Value) {
    let metrics = metrics.as_array().unwrap();
    let results = metrics.iter().filter(|metric| metric["ReturnData"] == true).count();
    assert_eq!(results, 1, "{of}");
    // CloudWatch user guide, "Alarms on math expressions".
    let plain = metrics.iter().filter(|metric| metric.get("MetricStat").is_some()).count();
    assert!(plain <= 10, "{of} has {plain} metrics");
    let ids: BTreeSet<&str> = metrics.iter().map(|metric| metric["Id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), metrics.len(), "{of}");
    let words = Regex::new("[A-Za-z]+").unwrap();
    for metric in metrics {
        let Some(expression) = metric["Expression"].as_str() else {
            assert!(metric["MetricStat"]["Metric"]["Namespace"].is_string(), "{of}: {metric}");
            continue;
        };
        // Functions and operators are in capitals.
        let words = words.find_iter(expression).map(|found| found.as_str());
        for word in words.filter(|word| word.starts_with(char::is_lowercase)) {
            assert!(ids.contains(word), "{of}: {word} in {expression}");
        }
    }
}

/// Alarms that scale and tell nobody.
const OF_SCALING: [&str; 2] = ["IdleAlarm", "WakeAlarm"];

#[test]
fn alarms_go_to_the_topic_and_watch_what_there_is() {
    let topic = "arn:aws:sns:eu-west-1:123456789012:alarms";
    let (with, without) = (Template::with(&[("AlarmTopicArn", topic)]), Template::with(&[]));
    let mut alarms = BTreeSet::new();
    for (name, (kind, properties)) in with.resources() {
        if kind != "AWS::CloudWatch::Alarm" {
            continue;
        }
        if let Some(metrics) = properties.get("Metrics") {
            expect_metric_math(name, metrics);
        } else {
            assert!(
                properties["MetricName"].is_string()
                    && properties["Dimensions"][0]["Value"].is_string()
            );
        }
        assert_eq!(properties["TreatMissingData"], "notBreaching", "{name}");
        if !OF_SCALING.contains(&name) {
            for actions in ["AlarmActions", "OKActions"] {
                assert_eq!(properties[actions], json!([topic]), "{actions} of {name}");
                assert_eq!(without.properties(name)[actions], json!([]), "{actions} of {name}");
            }
        }
        alarms.insert(name);
    }
    let expected = [
        "DeadLetterAlarm",
        "FunctionErrorAlarm",
        "IdleAlarm",
        "LostEventAlarm",
        "NoProgressAlarm",
        "OldestMessageAlarm",
        "SmallImagesAlarm",
        "TaskFailureAlarm",
        "WakeAlarm",
    ];
    assert_eq!(alarms, BTreeSet::from(expected));
    let runbook = documentation("RUNBOOK.md");
    let base = "https://wiki.example/soci";
    let led = Template::with(&[("RunbookUrl", base)]);
    for alarm in alarms {
        assert!(runbook.contains(&format!("\n## {alarm}\n")), "the runbook has no section {alarm}");
        let description = led.properties(alarm)["AlarmDescription"].as_str().unwrap().to_owned();
        let section = format!("{base}#{}", alarm.to_ascii_lowercase());
        let of_scaling = OF_SCALING.contains(&alarm);
        assert_eq!(description.ends_with(&section), !of_scaling, "{description}");
    }
}

#[test]
fn spot_is_used_as_far_as_it_is_asked_for() {
    let strategy = |share: &str, partition: &str| {
        let template = Template::with(&[("SpotShare", share), ("AWS::Partition", partition)]);
        let providers = template.properties("CapacityProviders")["CapacityProviders"].clone();
        (providers, template.properties("Service")["CapacityProviderStrategy"].clone())
    };
    // A provider that tasks run on cannot be taken out of a cluster, so it stays in where the share may go back to 0.
    let both = json!(["FARGATE", "FARGATE_SPOT"]);
    let none = json!([{"CapacityProvider": "FARGATE", "Weight": 1}]);
    assert_eq!(strategy("0", "aws"), (both.clone(), none.clone()));
    assert_eq!(strategy("0", "aws-us-gov"), (json!(["FARGATE"]), none));
    for share in ["25", "50", "75", "100"] {
        let (providers, strategy) = strategy(share, "aws-us-gov");
        assert_eq!(providers, both);
        let weight = |at: usize| strategy[at]["Weight"].as_u64().unwrap();
        assert_eq!(weight(1) * 100 / (weight(0) + weight(1)), share.parse::<u64>().unwrap());
    }
}

#[test]
fn the_archive_keeps_what_any_filter_could_want() {
    assert!(!Template::with(&[]).resources().contains_key("PushArchive"));
    let archive = Template::with(&[("BackfillArchiveDays", "30")]).properties("PushArchive");
    assert_eq!(archive["RetentionDays"], "30");
    assert_eq!(archive["EventPattern"]["source"], json!(["aws.ecr"]));
    let rule = &Template::with(&[]).properties("PushRule")["EventPattern"];
    for member in ["source", "detail-type", "account", "region"] {
        assert_eq!(archive["EventPattern"][member], rule[member], "{member}");
    }
}

#[test]
fn the_dashboard_is_json() {
    let body = Template::with(&[]).properties("Dashboard");
    let body: Value = serde_json::from_str(body["DashboardBody"].as_str().unwrap()).unwrap();
    assert!(body["widgets"].as_array().unwrap().len() >= 5);
}

#[test]
fn taskcat_deploys_with_what_the_parameters_take() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../.taskcat.yml");
    let taskcat: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(taskcat["project"]["regions"].as_array().unwrap().len() >= 5);
    // What taskcat finds in an account: it replaces whole values of SSM parameters only.
    let account = [
        (
            "$[taskcat_ssm_/soci-index-builder/taskcat/image-amd64]",
            "123456789012.dkr.ecr.ap-east-1.amazonaws.com/soci-index-builder:1",
        ),
        (
            "$[taskcat_ssm_/soci-index-builder/taskcat/image-arm64]",
            "123456789012.dkr.ecr.ap-east-1.amazonaws.com/soci-index-builder:1-arm64",
        ),
        ("$[taskcat_ssm_/soci-index-builder/taskcat/vpc]", "vpc-0a1b"),
        ("$[taskcat_ssm_/soci-index-builder/taskcat/subnets]", "subnet-0a,subnet-0b"),
        (
            "$[taskcat_ssm_/soci-index-builder/taskcat/key]",
            "arn:aws:kms:ap-east-1:123456789012:key/1-2",
        ),
        (
            "$[taskcat_ssm_/soci-index-builder/taskcat/topic]",
            "arn:aws:sns:ap-east-1:123456789012:alarms",
        ),
        (
            "$[taskcat_ssm_/soci-index-builder/taskcat/boundary]",
            "arn:aws:iam::123456789012:policy/boundary",
        ),
    ];
    let declared = Template::with(&[]).json["Parameters"].clone();
    let everything = taskcat["tests"]["everything"]["parameters"].as_object().unwrap();
    for name in ["SociIndexVersion", "VpcId", "IamPermissionsBoundaryArn", "KmsKeyArn", "SpotShare"]
    {
        assert!(everything.contains_key(name), "{name}");
    }
    for test in ["defaults", "everything"] {
        let given = taskcat["tests"][test]["parameters"].as_object().unwrap();
        assert!(given.contains_key("ImageUri"), "{test}");
        for (name, value) in given {
            let text = value.as_str().unwrap();
            let found = account.iter().find(|(token, _)| *token == text);
            assert!(found.is_some() || !text.contains("$["), "{name}={text} of {test}");
            let value = found.map_or(text, |(_, value)| value);
            let parameter = &declared[name];
            if let Some(pattern) = parameter["AllowedPattern"].as_str() {
                assert!(Regex::new(pattern).unwrap().is_match(value), "{name}={value} of {test}");
            }
            if let Some(values) = parameter["AllowedValues"].as_array() {
                assert!(values.contains(&json!(value)), "{name}={value} of {test}");
            }
            if parameter["Type"] == "Number" {
                assert!(value.parse::<u32>().is_ok(), "{name}={value} of {test}");
            }
            assert!(parameter.is_object(), "{name} of {test}");
            let default = parameter["Default"].as_str().unwrap_or_default();
            assert!(test == "defaults" || value != default, "{name} of {test} is the default");
        }
    }
}
