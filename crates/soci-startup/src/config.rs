//! What an image's configuration says of how it is run.
//!
//! Source: OCI image specification 1.1, image configuration, `config`.

use std::collections::HashMap;

use serde::Deserialize;

/// Longest word that is taken, in bytes: a path may not be longer, and a shell's command seldom is.
const MAX_WORD: usize = 4096;

/// Bytes of all words of a command line that are taken, in their order.
const MAX_WORDS: usize = 16 << 10;

/// Bytes of the folders of a variable that are taken.
const MAX_FOLDERS: usize = 4096;

/// Longest label that is taken, in bytes.
const MAX_LABEL: usize = 16 << 10;

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
    /// The value of the label that was asked for.
    pub label: Option<String>,
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
    /// Reads an image configuration, with the label of that name. What is missing or null is empty, and what is longer
    /// than any command line is left out: what is kept takes less than 64 KiB.
    pub fn decode(bytes: &[u8], label: &str) -> Result<Self, ConfigError> {
        let Document { config } = serde_json::from_slice(bytes)?;
        let Some(config) = config else { return Ok(Self::default().with_path(None)) };
        let words = |list: Option<Vec<Option<String>>>| list.into_iter().flatten().flatten();
        let env: HashMap<String, String> = words(config.env)
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            })
            .collect();
        let label = config.labels.and_then(|mut labels| labels.remove(label)).flatten();
        let mut left = MAX_WORDS;
        let words_taken = words(config.entrypoint).chain(words(config.cmd)).filter(|word| {
            let fits = word.len() <= MAX_WORD && word.len() < left;
            // An empty word takes memory, too.
            left = left.saturating_sub(word.len() + 1);
            fits
        });
        let working_dir = config.working_dir.unwrap_or_default();
        let read = Self {
            arguments: words_taken.collect(),
            path: Vec::new(),
            library_path: folders(env.get("LD_LIBRARY_PATH").map_or("", String::as_str)),
            working_dir: if working_dir.len() <= MAX_WORD { working_dir } else { String::new() },
            label: label.filter(|label| label.len() <= MAX_LABEL),
        };
        Ok(read.with_path(env.get("PATH").map(String::as_str)))
    }

    fn with_path(self, path: Option<&str>) -> Self {
        Self { path: folders(path.unwrap_or(DEFAULT_PATH)), ..self }
    }
}

fn folders(list: &str) -> Vec<String> {
    let mut left = MAX_FOLDERS;
    let fits = |folder: &&str| {
        left = left.saturating_sub(folder.len() + 1);
        !folder.is_empty() && left > 0
    };
    list.split(':').filter(fits).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_stands_in_the_configuration() {
        let config = RunConfig::decode(
            br#"{"config":{"Entrypoint":["/bin/a"],"Cmd":["b",null],"Env":["PATH=/x:/y","LD_LIBRARY_PATH=/l","odd"],
                "WorkingDir":"/w","Labels":{"k":"v","n":null}}}"#,
            "k",
        )
        .unwrap();
        assert_eq!(config.arguments, ["/bin/a", "b"]);
        assert_eq!(config.path, ["/x", "/y"]);
        assert_eq!(config.library_path, ["/l"]);
        assert_eq!(config.working_dir, "/w");
        assert_eq!(config.label.as_deref(), Some("v"));
    }

    #[test]
    fn what_is_missing_is_empty_and_programs_are_looked_for_where_runtimes_do() {
        for json in ["{}", r#"{"config":null}"#, r#"{"config":{"Cmd":null,"Env":null}}"#] {
            let config = RunConfig::decode(json.as_bytes(), "n").unwrap();
            assert!(config.arguments.is_empty() && config.path.len() == 6, "{json}");
        }
        assert!(RunConfig::decode(b"[]x", "").is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(MAX_WORD + 1);
        let many = vec![""; 1 << 20];
        let path = "/a:".repeat(1 << 20);
        let config = serde_json::json!({ "config": {
            "Entrypoint": ["first", long], "Cmd": many, "WorkingDir": long,
            "Env": [format!("PATH={path}"), format!("LD_LIBRARY_PATH={path}")],
            "Labels": { "k": long.repeat(9) },
        } });
        let config = RunConfig::decode(config.to_string().as_bytes(), "k").unwrap();
        assert_eq!(config.arguments[0], "first");
        assert!(config.arguments.len() <= MAX_WORDS && !config.arguments.contains(&long));
        assert!(
            config.path.len() <= MAX_FOLDERS / 2 && config.library_path.len() <= MAX_FOLDERS / 2
        );
        assert_eq!((config.working_dir.as_str(), config.label), ("", None));
    }
}
