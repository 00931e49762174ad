//! The variables that the stack sets are those that the programs read.

use std::collections::BTreeSet;

use serde_json::{Value, json};
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
    (Program::Index, "PUT_IMAGE_RATE", "half of what ECR allows an account"),
    (Program::Worker, "PUT_IMAGE_RATE", "half of what ECR allows an account"),
    (Program::Index, "DEADLINE_MARGIN_SECONDS", "depends on nothing that the stack knows"),
    (Program::Index, "MEMORY_BUDGET", "follows the function's memory"),
    (Program::Worker, "MEMORY_BUDGET", "enough for any download"),
    (Program::Worker, "MAX_CONCURRENT_LAYERS", "follows the task's CPU"),
    (Program::Worker, "VISIBILITY_TIMEOUT_SECONDS", "the queue's own is the same"),
    (Program::Worker, "MAX_JOB_SECONDS", "the most that SQS allows"),
    (Program::Worker, "MAX_JOB_AGE_SECONDS", "a day of patience is a choice of the program"),
    (Program::Worker, "HTTP_ADDRESS", "the port of the container is the default"),
    (Program::Worker, "LOG_FORMAT", "JSON where there is no terminal"),
    (Program::Filter, "LOG_FORMAT", "JSON by default"),
    (Program::Index, "LOG_FORMAT", "JSON by default"),
    (Program::Worker, "OTEL_EXPORTER_OTLP_ENDPOINT", "the stack has no collector"),
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
fn without_the_index_lambda_nothing_is_said_of_it() {
    let template = Template::with(&[("IndexLambdaMaxImageSize", "0")]);
    assert!(!set(&template, Program::Filter).contains("INDEX_LAMBDA_ARN"));
    let resources = template.resources();
    assert!(!resources.contains_key("IndexFunction") && !resources.contains_key("IndexRole"));
    let text: Value = resources.into_iter().map(|(name, (_, p))| (name.to_owned(), p)).collect();
    assert!(!text.to_string().contains("<Index"), "{text}");
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
