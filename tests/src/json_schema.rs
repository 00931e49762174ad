//! Holds JSON against the schemas of `docs/`: as much of JSON Schema (draft 2020-12, "Core" and "Validation") as these
//! use. A keyword that is not known here fails, so that no schema says what nobody checks.

use regex::Regex;
use serde_json::Value;

/// What of `value` is not as `schema` has it, one line each with its place; nothing if all is.
///
/// # Panics
/// If the schema uses what is not known here.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "$", &mut found);
    found
}

fn check(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(schema_object) = schema.as_object() else { panic!("{place}: no schema: {schema}") };
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    for (keyword, rule) in schema_object {
        let fine = match keyword.as_str() {
            // Said to people, or read beside `if`.
            "$schema" | "$id" | "title" | "description" | "then" | "else" => true,
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|rule| rule.contains(value)),
            "type" => is_of(value, rule.as_str().unwrap_or_default()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule, text)),
            "minLength" => length().is_none_or(|length| Some(length) >= rule.as_u64()),
            "maxLength" => length().is_none_or(|length| Some(length) <= rule.as_u64()),
            "minimum" => value.as_f64().is_none_or(|number| Some(number) >= rule.as_f64()),
            "required" => value.as_object().is_none_or(|value| {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.into_iter().all(|name| value.contains_key(name))
            }),
            "properties" => {
                for (name, rule) in rule.as_object().into_iter().flatten() {
                    if let Some(member) = value.get(name) {
                        check(rule, member, &format!("{place}.{name}"), found);
                    }
                }
                true
            }
            "allOf" => {
                for rule in rule.as_array().into_iter().flatten() {
                    check(rule, value, place, found);
                }
                true
            }
            "if" => {
                let branch = if violations(rule, value).is_empty() { "then" } else { "else" };
                if let Some(rule) = schema_object.get(branch) {
                    check(rule, value, place, found);
                }
                true
            }
            other => panic!("{place}: the keyword {other} is not known"),
        };
        if !fine {
            found.push(format!("{place}: {keyword} {rule} does not hold for {value}"));
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("the type {other} is not known"),
    }
}

fn matches(pattern: &Value, text: &str) -> bool {
    let pattern = pattern.as_str().unwrap_or_default();
    match Regex::new(pattern) {
        Ok(pattern) => pattern.is_match(text),
        Err(error) => panic!("{error}"),
    }
}
