//! The template is what composing the parts gives, and the core is whole without the other parts.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::document::{self, Template, text};

/// The parts, in the order in which they are composed.
const PARTS: [&str; 4] = ["core", "network", "worker", "observability"];

#[test]
fn the_template_is_composed_of_the_parts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../templates/");
    match Command::new("python3").arg(format!("{folder}compose")).arg("--check").output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // The next test holds what matters to CloudFormation.
        Err(error) => eprintln!("templates/compose --check was not run: {error}"),
    }
}

#[test]
fn the_template_has_every_member_of_the_parts() {
    let mut expected = Map::new();
    for part in PARTS {
        let part_json = document::json(&format!("templates/{part}.yaml"));
        for (section, value) in part_json.as_object().unwrap() {
            let (Value::Object(members), true) = (value, section != "Metadata") else { continue };
            let whole = expected.entry(section.clone()).or_insert_with(|| Map::new().into());
            for (name, member) in members {
                let earlier = whole.as_object_mut().unwrap().insert(name.clone(), member.clone());
                // What a later part makes of an earlier one is whether there is a worker, and nothing else.
                assert!(earlier.is_none() || name == "HaveWorker", "{name} of {part}");
            }
        }
    }
    let template = Template::with(&[]);
    for (section, members) in expected {
        assert_eq!(template.json[&section], members, "{section}");
    }
}

#[test]
fn a_template_is_within_what_cloudformation_takes() {
    // CloudFormation user guide, "quotas": a template in S3, resources, parameters, outputs, mappings.
    let most = [("Resources", 500), ("Parameters", 200), ("Outputs", 200), ("Mappings", 200)];
    for path in ["template.yaml", "templates/core.yaml"] {
        assert!(text(path).len() <= 1_000_000, "{path}");
        let template = document::json(path);
        for (section, most) in most {
            let members = template[section].as_object().unwrap();
            assert!(members.len() <= most, "{section} of {path}");
        }
        for (name, parameter) in template["Parameters"].as_object().unwrap() {
            let description = parameter["Description"].as_str().unwrap();
            assert!(description.len() <= 4000, "{name} of {path}");
        }
    }
}

#[test]
fn whatever_is_named_is_there() {
    for path in ["template.yaml", "templates/core.yaml", "templates/registry.yaml"] {
        let template = document::json(path);
        let mut used = Used::default();
        used.look_at(&template);
        let names = |section: &str| -> BTreeSet<String> {
            template[section]
                .as_object()
                .into_iter()
                .flat_map(|members| members.keys().cloned())
                .collect()
        };
        let (resources, parameters) = (names("Resources"), names("Parameters"));
        for name in &used.values {
            let known =
                resources.contains(name) || parameters.contains(name) || name.starts_with("AWS::");
            assert!(known, "{path} names {name}");
        }
        assert_eq!(used.conditions, names("Conditions"), "conditions of {path}");
        assert_eq!(used.mappings, names("Mappings"), "mappings of {path}");
        let unused: Vec<_> = parameters.difference(&used.values).collect();
        assert!(unused.is_empty(), "{unused:?} of {path}");
    }
}

/// The names that a template uses.
#[derive(Default)]
struct Used {
    /// Of parameters and resources.
    values: BTreeSet<String>,
    conditions: BTreeSet<String>,
    mappings: BTreeSet<String>,
}

impl Used {
    fn look_at(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.look_at(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.member(name, value);
                    self.look_at(value);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, name: &str, value: &Value) {
        let first = |value: &Value| value[0].as_str().unwrap().to_owned();
        match (name, value) {
            ("Ref" | "DependsOn", Value::String(of)) => {
                self.values.insert(of.clone());
            }
            ("DependsOn", Value::Array(of)) => {
                self.values.extend(of.iter().map(|of| of.as_str().unwrap().to_owned()));
            }
            ("Fn::GetAtt", Value::String(of)) => {
                self.values.insert(of.split('.').next().unwrap().to_owned());
            }
            // An IAM statement has a member of that name as well.
            ("Condition", Value::String(of)) => {
                self.conditions.insert(of.clone());
            }
            ("Fn::If", of) => {
                self.conditions.insert(first(of));
            }
            ("Fn::FindInMap", of) => {
                self.mappings.insert(first(of));
            }
            ("Fn::Sub", Value::String(of)) => self.substituted(of, &Value::Null),
            ("Fn::Sub", of) => self.substituted(&first(of), &of[1]),
            _ => {}
        }
    }

    fn substituted(&mut self, text: &str, own: &Value) {
        for piece in text.split("${").skip(1) {
            let name = piece.split(['}', '.']).next().unwrap();
            if own.get(name).is_none() {
                self.values.insert(name.to_owned());
            }
        }
    }
}

#[test]
fn the_core_has_nothing_that_is_paid_by_the_hour() {
    // Each of these is paid by what it does or keeps, if at all, but for alarms (docs/COST.md, "Nothing to do").
    let free = [
        "AWS::CloudWatch::Alarm",
        "AWS::Events::Rule",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Role",
        "AWS::Lambda::EventInvokeConfig",
        // It asks its queue all the time, some 650,000 times a month.
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Logs::LogGroup",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
    ];
    let core = Template::core(&[]);
    let mut alarms = 0;
    for (name, (kind, _)) in core.resources() {
        assert!(free.contains(&kind), "{name} is {kind}");
        alarms += usize::from(kind == "AWS::CloudWatch::Alarm");
    }
    assert!(alarms <= 10);
}

#[test]
fn the_repository_of_the_image_keeps_what_may_be_in_use() {
    let properties = |given: &[(&str, &str)]| Template::registry(given).properties("Repository");
    let plain = properties(&[]);
    assert_eq!(plain["RepositoryName"], "soci-index-builder");
    assert_eq!(plain["ImageTagMutability"], "IMMUTABLE");
    assert_eq!(plain["ImageScanningConfiguration"]["ScanOnPush"], true);
    let rules = plain["LifecyclePolicy"]["LifecyclePolicyText"].as_str().unwrap();
    let rules: Value = serde_json::from_str(rules).unwrap();
    let [rule] = &rules["rules"].as_array().unwrap()[..] else { panic!("{rules}") };
    assert_eq!(rule["selection"]["tagStatus"], "tagged");
    assert_eq!(rule["selection"]["tagPrefixList"], json!(["unused-"]));
    // What Lambda needs (Lambda developer guide, "Create a Lambda function using a container image").
    let statements = |properties: &Value| {
        properties["RepositoryPolicyText"]["Statement"].as_array().unwrap().clone()
    };
    let [pull] = &statements(&plain)[..] else { panic!("{plain}") };
    assert_eq!(pull["Principal"], json!({"Service": "lambda.amazonaws.com"}));
    assert_eq!(pull["Action"], json!(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]));
    let shared = statements(&properties(&[("OrganizationId", "o-0123456789")]));
    assert_eq!(shared.len(), 3);
    for statement in shared {
        let condition = statement["Condition"].to_string();
        assert!(condition.contains("o-0123456789") || statement == *pull, "{statement}");
    }
    let repository = &Template::registry(&[]).json["Resources"]["Repository"];
    assert_eq!(repository["DeletionPolicy"], "RetainExceptOnCreate");
    assert_eq!(repository["UpdateReplacePolicy"], "Retain");
}
