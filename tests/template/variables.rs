//! The variables that the stack sets are those that the programs read.

use std::collections::BTreeSet;

use serde_json::json;
use soci_config::{Need, Program, VARIABLES};

use crate::document::Template;

/// What the stack leaves to the program's own default, with the reason.
const LEFT: &[(Program, &str, &str)] = &[
    (Program::Index, "ANNOTATE_SPAN_SIZE", "COMPATIBLE_WITH decides"),
    (Program::Worker, "ANNOTATE_SPAN_SIZE", "COMPATIBLE_WITH decides"),
    (Program::Index, "OPTIMIZATIONS", "changes every digest for a mount that is a little faster"),
    (Program::Worker, "OPTIMIZATIONS", "changes every digest for a mount that is a little faster"),
    (Program::Index, "REGISTRY_ENDPOINT_URL", "jobs name their registry, ECR"),
    (Program::Worker, "REGISTRY_ENDPOINT_URL", "jobs name their registry, ECR"),
    (Program::Index, "DEADLINE_MARGIN_SECONDS", "depends on nothing that the stack knows"),
    (Program::Index, "MEMORY_BUDGET", "follows the function's memory"),
    (Program::Worker, "MEMORY_BUDGET", "enough for any download"),
    (Program::Worker, "MAX_CONCURRENT_LAYERS", "follows the task's CPU"),
    (Program::Worker, "VISIBILITY_TIMEOUT_SECONDS", "the queue's own is the same"),
    (Program::Worker, "MAX_JOB_SECONDS", "the most that SQS allows"),
    (Program::Worker, "MAX_JOB_AGE_SECONDS", "a day of patience is a choice of the program"),
    (Program::Worker, "HTTP_ADDRESS", "the port of the container is the default"),
    (Program::Index, "WEBHOOK_URL", "EventBus is for those in AWS"),
    (Program::Worker, "WEBHOOK_URL", "EventBus is for those in AWS"),
    (Program::Index, "WEBHOOK_SECRET", "EventBus is for those in AWS"),
    (Program::Worker, "WEBHOOK_SECRET", "EventBus is for those in AWS"),
    (Program::Filter, "LOG_FORMAT", "JSON by default"),
    (Program::Index, "LOG_FORMAT", "JSON by default"),
    (Program::Worker, "OTEL_EXPORTER_OTLP_ENDPOINT", "only with OtlpEndpoint"),
    (Program::Worker, "ECS_AGENT_URI", "ECS sets it"),
    (Program::Index, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "Lambda sets it"),
];

/// Names of the variables that the stack sets for a program.
fn set(template: &Template, program: Program) -> BTreeSet<String> {
    let of_function = |name| -> BTreeSet<String> {
        let properties = template.properties(name);
        properties["Environment"]["Variables"].as_object().unwrap().keys().cloned().collect()
    };
    let of_task = |name| -> BTreeSet<String> {
        let properties = template.properties(name);
        let variables =
            properties["ContainerDefinitions"][0]["Environment"].as_array().unwrap().clone();
        variables.iter().map(|variable| variable["Name"].as_str().unwrap().to_owned()).collect()
    };
    match program {
        Program::Filter => of_function("FilterFunction"),
        Program::Index => of_function("IndexFunction"),
        Program::Worker => of_task("WorkerTask"),
        Program::Operator => of_task("OperatorTask"),
    }
}

const PROGRAMS: [Program; 4] =
    [Program::Filter, Program::Index, Program::Worker, Program::Operator];

#[test]
fn every_variable_that_a_program_reads_is_set_or_left_for_a_reason() {
    let template = Template::with(&[]);
    for program in PROGRAMS {
        let set = set(&template, program);
        for variable in VARIABLES {
            let Some(need) = variable.need(program) else { continue };
            let name = variable.name;
            let left = LEFT.iter().filter(|(of, left, _)| *of == program && *left == name).count();
            assert_eq!(usize::from(set.contains(name)) + left, 1, "{name} of {program:?}");
            assert!(need != Need::Required || set.contains(name), "{name} of {program:?}");
        }
    }
}

#[test]
fn every_variable_that_is_set_is_read() {
    let template = Template::with(&[]);
    for program in PROGRAMS {
        for name in set(&template, program) {
            let variable = VARIABLES.iter().find(|variable| variable.name == name);
            assert!(variable.is_some_and(|v| v.need(program).is_some()), "{name} of {program:?}");
        }
    }
    let left = LEFT.iter().all(|(program, name, _)| {
        VARIABLES.iter().any(|variable| variable.name == *name && variable.need(*program).is_some())
    });
    assert!(left, "the list of what is left has something that nobody reads");
}

#[test]
fn without_small_images_their_queue_is_only_emptied() {
    let template = Template::with(&[("IndexLambdaMaxImageSize", "0")]);
    assert!(!set(&template, Program::Filter).contains("SMALL_IMAGES_QUEUE_URL"));
    // With the queue its jobs would go.
    for resource in ["SmallImagesQueue", "SmallImagesMapping", "IndexFunction"] {
        assert!(template.resources().contains_key(resource), "{resource}");
    }
}

#[test]
fn tasks_learn_of_a_proxy_and_a_collector_and_get_to_them() {
    let given = Template::with(&[
        ("HttpsProxy", "http://proxy.internal:3128"),
        ("OtlpEndpoint", "http://collector.internal:4318"),
    ]);
    let plain = Template::with(&[]);
    let more = |program| -> BTreeSet<String> {
        set(&given, program).difference(&set(&plain, program)).cloned().collect()
    };
    // `soci-registry` reads these two itself (`crates/soci-registry/src/proxy.rs`).
    let proxy = ["HTTPS_PROXY", "NO_PROXY"].map(str::to_owned);
    assert_eq!(more(Program::Operator), BTreeSet::from(proxy.clone()));
    let mut all = BTreeSet::from(proxy);
    all.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned());
    assert_eq!(more(Program::Worker), all);
    let ways = |template: &Template| {
        template.properties("SecurityGroup")["SecurityGroupEgress"].as_array().unwrap().len()
    };
    assert_eq!((ways(&plain), ways(&given)), (2, 5));
}

#[test]
fn tasks_share_half_of_what_ecr_allows_an_account() {
    for (tasks, rate) in [("1", "5"), ("2", "2"), ("3", "1"), ("4", "1"), ("50", "1")] {
        let task = Template::with(&[("MaxTasks", tasks)]).properties("WorkerTask");
        let variables = task["ContainerDefinitions"][0]["Environment"].as_array().unwrap().clone();
        assert!(variables.contains(&json!({"Name": "PUT_IMAGE_RATE", "Value": rate})), "{tasks}");
    }
    // ECR takes ten of all in a second, and each function that runs has a rate of its own.
    let template = Template::with(&[]);
    let function = &template.properties("IndexFunction")["Environment"]["Variables"];
    let mapping = template.properties("SmallImagesMapping");
    assert_eq!(function["PUT_IMAGE_RATE"], "1");
    assert_eq!(mapping["ScalingConfig"]["MaximumConcurrency"], "5");
}

#[test]
fn indexes_are_the_same_bytes_as_those_of_the_stack_of_aws() {
    // The name that cfn-ecr-aws-soci-index-builder gives its builder; the golden set has ztocs with it.
    let name = "AWS SOCI Index Builder Cfn v0.2";
    let template = Template::with(&[]);
    let function = &template.properties("IndexFunction")["Environment"]["Variables"];
    assert_eq!(function["BUILD_TOOL_IDENTIFIER"], name);
    let task = template.properties("WorkerTask");
    let variables = task["ContainerDefinitions"][0]["Environment"].as_array().unwrap();
    assert!(variables.contains(&json!({"Name": "BUILD_TOOL_IDENTIFIER", "Value": name})));
}
