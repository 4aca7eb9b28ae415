//! The documents made from the key table: the published JSON Schema, and the table of keys.
//!
//! Pure. The committed copies are `policies/policy.schema.json` and the table in
//! `policies/README.md`; `tests/policies.rs` compares them, and rewrites them under
//! `SANDBOX_BLESS=1`.

use serde_json::{Map, Value as Json, json};

use super::find::BUILT_IN;
use super::key::{KEYS, Key, Kind, sections};

/// The JSON Schema (draft 2020-12) of a policy file, read as JSON.
#[must_use]
pub fn schema() -> Json {
    let mut top = keys_of("");
    for section in sections().filter(|section| !section.is_empty()) {
        top.insert(
            section.to_owned(),
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": keys_of(section),
            }),
        );
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of sandbox(1)",
        "description": "See sandbox-policy(5). Made from the program's table of keys.",
        "type": "object",
        "additionalProperties": false,
        "properties": top,
    })
}

fn keys_of(section: &str) -> Map<String, Json> {
    KEYS.iter()
        .filter(|key| key.section == section)
        .map(|key| (key.name.to_owned(), key_schema(key)))
        .collect()
}

fn key_schema(key: &Key) -> Json {
    let number_or = |least: Json, pattern: &str| json!({ "anyOf": [least, { "type": "string", "pattern": pattern }] });
    let mut schema = match key.kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(words) => json!({ "enum": words }),
        // A user or group may be a bare number; every other text is a string.
        Kind::Text if matches!(key.name, "user" | "group") => {
            number_or(json!({ "type": "integer", "minimum": 0 }), "^[^-].*$")
        }
        Kind::Text => json!({ "type": "string" }),
        Kind::Texts | Kind::Paths => {
            json!({ "type": "array", "items": { "type": "string", "minLength": 1 } })
        }
        Kind::Table => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Duration => number_or(
            json!({ "type": "integer", "minimum": 1 }),
            "^([0-9]+|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
        ),
        Kind::Size => number_or(
            json!({ "type": "integer", "minimum": 1 }),
            "^[0-9]+([KMGT](iB)?)?$",
        ),
        Kind::Count => number_or(json!({ "type": "integer", "minimum": 1 }), "^[0-9]+$"),
        Kind::Number => number_or(
            json!({ "type": "number", "minimum": 0.01 }),
            "^[0-9]*[.]?[0-9]*$",
        ),
        Kind::Limit => number_or(
            json!({ "type": "integer", "minimum": 0 }),
            "^([0-9]+([KMGT](iB)?|[a-z]+)?|unlimited|infinity)(:([0-9]+([KMGT](iB)?|[a-z]+)?|unlimited|infinity))?$",
        ),
    };
    if let Json::Object(fields) = &mut schema {
        fields.insert("description".to_owned(), json!(key.meaning));
        if let Some(default) = key.default() {
            fields.insert("default".to_owned(), default.to_json());
        }
    }
    schema
}

/// The table of keys as Markdown: key, what it takes, default, flag, meaning.
#[must_use]
pub fn key_table() -> String {
    let mut table = String::from("| key | takes | default | flag | meaning |\n");
    table.push_str("| --- | --- | --- | --- | --- |\n");
    for key in KEYS {
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{}`", text.replace('|', "\\|")),
        };
        let default = key
            .default()
            .map_or_else(String::new, |value| value.to_string());
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            code(&key.path()),
            key.kind.words(),
            code(&default),
            code(key.flag),
            key.meaning,
        ));
    }
    table
}

/// The table of shipped profiles as Markdown: name and for what.
#[must_use]
pub fn profile_table() -> String {
    let mut table = String::from("| profile | for |\n| --- | --- |\n");
    for (name, text) in BUILT_IN {
        let first = text.lines().next().unwrap_or("");
        let purpose = first.trim_start_matches("# For: ");
        table.push_str(&format!("| [`{name}`]({name}.toml) | {purpose} |\n"));
    }
    table
}
