//! `template.yaml` as CloudFormation reads it: JSON with the long forms of the functions, and what these give.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;

/// The account and region of the tests.
const PSEUDO: [(&str, &str); 6] = [
    ("AWS::Partition", "aws"),
    ("AWS::Region", "eu-west-1"),
    ("AWS::AccountId", "123456789012"),
    ("AWS::URLSuffix", "amazonaws.com"),
    ("AWS::StackName", "soci"),
    (
        "AWS::StackId",
        "arn:aws:cloudformation:eu-west-1:123456789012:stack/soci/0a1b2c3d-0000-11f0-8de9-0242ac120002",
    ),
];

/// The text of a file, by its path from the top of the repository.
pub(crate) fn text(path: &str) -> String {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    std::fs::read_to_string(format!("{top}{path}")).unwrap()
}

/// The template or a part of it as JSON, with the long forms of functions.
pub(crate) fn json(path: &str) -> Value {
    long(serde_yaml_ng::from_str(&text(path)).unwrap())
}

/// A template with values of its parameters.
pub(crate) struct Template {
    pub(crate) json: Value,
    parameters: BTreeMap<String, String>,
}

impl Template {
    /// The template with defaults, but for `given`.
    pub(crate) fn with(given: &[(&str, &str)]) -> Self {
        Self::of("template.yaml", given)
    }

    /// The part that can be deployed alone, with defaults, but for `given`.
    pub(crate) fn core(given: &[(&str, &str)]) -> Self {
        Self::of("templates/core.yaml", given)
    }

    /// The template of the repository for the image.
    pub(crate) fn registry(given: &[(&str, &str)]) -> Self {
        Self::of("templates/registry.yaml", given)
    }

    fn of(path: &str, given: &[(&str, &str)]) -> Self {
        let json = json(path);
        let mut parameters: BTreeMap<String, String> =
            PSEUDO.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for (name, parameter) in json["Parameters"].as_object().unwrap() {
            let default = match &parameter["Default"] {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => {
                    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tools/soci:1@sha256:00".to_owned()
                }
            };
            parameters.insert(name.clone(), default);
        }
        for (name, value) in given {
            assert!(parameters.insert((*name).to_owned(), (*value).to_owned()).is_some(), "{name}");
        }
        Self { json, parameters }
    }

    /// A section's members.
    pub(crate) fn section(&self, name: &str) -> &Map<String, Value> {
        self.json[name].as_object().unwrap()
    }

    /// The resources that there are with these parameters, by name: type and properties.
    pub(crate) fn resources(&self) -> BTreeMap<&str, (&str, Value)> {
        let made = |(name, resource): (&'_ String, &Value)| {
            let wanted = resource["Condition"].as_str().is_none_or(|name| self.holds(name));
            let kind = resource["Type"].as_str().unwrap().to_owned();
            wanted.then(|| (name.clone(), kind, self.resolve(&resource["Properties"])))
        };
        let found = self.section("Resources").iter().filter_map(made);
        found
            .map(|(name, kind, properties)| {
                let (name, resource) = self.section("Resources").get_key_value(&name).unwrap();
                debug_assert_eq!(resource["Type"], kind);
                (
                    name.as_str(),
                    (resource["Type"].as_str().unwrap(), properties.unwrap_or_default()),
                )
            })
            .collect()
    }

    /// The properties of one resource.
    pub(crate) fn properties(&self, name: &str) -> Value {
        self.resources().remove(name).unwrap_or_else(|| panic!("there is no {name}")).1
    }

    fn holds(&self, condition: &str) -> bool {
        self.truth(&self.json["Conditions"][condition])
    }

    /// Whether a condition, or what a rule asserts, holds.
    pub(crate) fn truth(&self, value: &Value) -> bool {
        if let Some(other) = value["Condition"].as_str() {
            return self.holds(other);
        }
        let (function, argument) =
            function(value).unwrap_or_else(|| panic!("no condition: {value}"));
        let all = || argument.as_array().unwrap().iter();
        match function {
            "Fn::Equals" => self.text(&argument[0]) == self.text(&argument[1]),
            "Fn::Not" => !self.truth(&argument[0]),
            "Fn::And" => all().all(|part| self.truth(part)),
            "Fn::Or" => all().any(|part| self.truth(part)),
            "Fn::Contains" => {
                let texts = argument[0].as_array().unwrap().iter().map(|text| self.text(text));
                texts.into_iter().any(|text| text == self.text(&argument[1]))
            }
            other => panic!("no condition: {other}"),
        }
    }

    fn text(&self, value: &Value) -> String {
        match self.resolve(value) {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => panic!("no value: {value}"),
        }
    }

    /// What CloudFormation makes of a value; `None` for `AWS::NoValue`. References to resources stay as
    /// `<Name>` or `<Name.Attribute>`.
    pub(crate) fn resolve(&self, value: &Value) -> Option<Value> {
        if let Some((name, argument)) = function(value) {
            return self.call(name, argument);
        }
        Some(match value {
            Value::Array(items) => items.iter().filter_map(|item| self.resolve(item)).collect(),
            Value::Object(members) => {
                let resolved =
                    |(name, value): (&String, &Value)| Some((name.clone(), self.resolve(value)?));
                Value::Object(members.iter().filter_map(resolved).collect())
            }
            other => other.clone(),
        })
    }

    fn call(&self, name: &str, argument: &Value) -> Option<Value> {
        let list = |value: &Value| match self.resolve(value) {
            Some(Value::Array(items)) => items,
            other => panic!("no list: {other:?}"),
        };
        Some(match name {
            "Ref" if argument == "AWS::NoValue" => return None,
            "Ref" => {
                let name = argument.as_str().unwrap();
                let text = self.reference(name);
                if self.json["Parameters"][name]["Type"] == "CommaDelimitedList" {
                    return Some(text.split(',').map(|part| Value::from(part.trim())).collect());
                }
                text.into()
            }
            "Fn::GetAtt" => self.attribute(argument.as_str().unwrap()).into(),
            "Fn::If" => {
                let taken = if self.holds(argument[0].as_str().unwrap()) { 1 } else { 2 };
                return self.resolve(&argument[taken]);
            }
            "Fn::Join" => {
                let items = list(&argument[1]);
                let texts: Vec<_> = items.iter().map(|item| self.text(item)).collect();
                texts.join(argument[0].as_str().unwrap()).into()
            }
            "Fn::Split" => {
                let text = self.text(&argument[1]);
                text.split(argument[0].as_str().unwrap()).map(Value::from).collect()
            }
            "Fn::Select" => {
                let position = self.text(&argument[0]).parse::<usize>().unwrap();
                list(&argument[1])[position].clone()
            }
            "Fn::FindInMap" => {
                let [map, first, second] = [0, 1, 2].map(|at| self.text(&argument[at]));
                self.json["Mappings"][map][first][second].clone()
            }
            "Fn::GetAZs" => json!(["eu-west-1a", "eu-west-1b"]),
            "Fn::Sub" => self.substitute(argument).into(),
            other => panic!("{other} is not known here"),
        })
    }

    fn substitute(&self, argument: &Value) -> String {
        let (text, own) = match argument {
            Value::Array(parts) => (parts[0].as_str().unwrap(), &parts[1]),
            text => (text.as_str().unwrap(), &Value::Null),
        };
        let mut pieces = text.split("${");
        let mut result = pieces.next().unwrap().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').unwrap();
            result += &match own.get(name) {
                Some(value) => self.text(value),
                None if name.contains('.') => self.attribute(name),
                None => self.reference(name),
            };
            result += rest;
        }
        result
    }

    fn reference(&self, name: &str) -> String {
        let of_resource = || {
            assert!(self.section("Resources").contains_key(name), "there is no {name}");
            format!("<{name}>")
        };
        self.parameters.get(name).cloned().unwrap_or_else(of_resource)
    }

    fn attribute(&self, path: &str) -> String {
        let (name, attribute) = path.split_once('.').unwrap();
        let resource = &self.section("Resources")[name];
        if resource["Type"] == "AWS::SSM::Parameter" && attribute == "Value" {
            return self.text(&resource["Properties"]["Value"]);
        }
        format!("<{path}>")
    }
}

/// The function and its argument, if a value is one.
fn function(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    let (name, argument) = members.iter().next()?;
    (name == "Ref" || name.starts_with("Fn::")).then_some((name.as_str(), argument))
}

/// YAML with short forms as JSON with long forms.
fn long(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let name = tag.trim_start_matches('!');
            let name = match name {
                "Ref" | "Condition" => name.to_owned(),
                function => format!("Fn::{function}"),
            };
            json!({ name: long(tagged.value) })
        }
        Yaml::Sequence(items) => items.into_iter().map(long).collect(),
        Yaml::Mapping(members) => {
            let member = |(name, value): (Yaml, Yaml)| match name {
                Yaml::String(name) => (name, long(value)),
                other => panic!("no name: {other:?}"),
            };
            Value::Object(members.into_iter().map(member).collect())
        }
        plain => serde_json::to_value(plain).unwrap(),
    }
}
