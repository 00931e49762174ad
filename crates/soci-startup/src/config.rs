//! What an image's configuration says of how it is run.
//!
//! Source: OCI image specification 1.1, image configuration, `config`.

use std::collections::HashMap;

use serde::Deserialize;

/// Where programs are looked for if the image does not say, as runtimes have it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How an image is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunConfig {
    /// The command line: entry point, then command.
    pub arguments: Vec<String>,
    /// The folders in which programs are looked for.
    pub path: Vec<String>,
    /// The folders in which libraries are looked for before all others.
    pub library_path: Vec<String>,
    /// Where relative paths begin.
    pub working_dir: String,
    /// The image's labels.
    pub labels: HashMap<String, String>,
}

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the image's configuration cannot be read")]
pub struct ConfigError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    entrypoint: Option<Vec<Option<String>>>,
    #[serde(default)]
    cmd: Option<Vec<Option<String>>>,
    #[serde(default)]
    env: Option<Vec<Option<String>>>,
    #[serde(default)]
    working_dir: Option<String>,
    #[serde(default)]
    labels: Option<HashMap<String, Option<String>>>,
}

impl RunConfig {
    /// Reads an image configuration. What is missing or null is empty.
    pub fn decode(bytes: &[u8]) -> Result<Self, ConfigError> {
        let Document { config } = serde_json::from_slice(bytes)?;
        let Some(config) = config else { return Ok(Self::default().with_path(None)) };
        let words = |list: Option<Vec<Option<String>>>| list.into_iter().flatten().flatten();
        let env: HashMap<String, String> = words(config.env)
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let labels = config.labels.unwrap_or_default();
        let read = Self {
            arguments: words(config.entrypoint).chain(words(config.cmd)).collect(),
            path: Vec::new(),
            library_path: folders(env.get("LD_LIBRARY_PATH").map_or("", String::as_str)),
            working_dir: config.working_dir.unwrap_or_default(),
            labels: labels.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        };
        Ok(read.with_path(env.get("PATH").map(String::as_str)))
    }

    fn with_path(self, path: Option<&str>) -> Self {
        Self { path: folders(path.unwrap_or(DEFAULT_PATH)), ..self }
    }
}

fn folders(list: &str) -> Vec<String> {
    list.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_stands_in_the_configuration() {
        let config = RunConfig::decode(
            br#"{"config":{"Entrypoint":["/bin/a"],"Cmd":["b",null],"Env":["PATH=/x:/y","LD_LIBRARY_PATH=/l","odd"],
                "WorkingDir":"/w","Labels":{"k":"v","n":null}}}"#,
        )
        .unwrap();
        assert_eq!(config.arguments, ["/bin/a", "b"]);
        assert_eq!(config.path, ["/x", "/y"]);
        assert_eq!(config.library_path, ["/l"]);
        assert_eq!(config.working_dir, "/w");
        assert_eq!(config.labels, HashMap::from([("k".to_owned(), "v".to_owned())]));
    }

    #[test]
    fn what_is_missing_is_empty_and_programs_are_looked_for_where_runtimes_do() {
        for json in ["{}", r#"{"config":null}"#, r#"{"config":{"Cmd":null,"Env":null}}"#] {
            let config = RunConfig::decode(json.as_bytes()).unwrap();
            assert!(config.arguments.is_empty() && config.path.len() == 6, "{json}");
        }
        assert!(RunConfig::decode(b"[]x").is_err());
    }
}
