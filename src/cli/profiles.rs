//! `credenza profiles`: every profile of the shared files and what it uses.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::cli::command::CommandError;
use crate::context::Context;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::property::{Property, Section};
use crate::source::profile::describe;
use crate::source::profile::files::ProfileFiles;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// The list for people, or all that the files say in JSON: `{"profiles": {NAME: {PROPERTY: VALUE}}}`, where a property
/// with sub-properties is an object of them. No secret is shown.
///
/// # Errors
/// When the files cannot be read or parsed.
pub(crate) async fn profiles(context: &Context, named: &NamedPaths, json: bool) -> Result<String, CommandError> {
    let home = &context.environment;
    let named = NamedPaths {
        credentials: named.credentials.as_ref().map(|path| home.expand(path)),
        config: named.config.as_ref().map(|path| home.expand(path)),
    };
    let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::because)?;
    let files = profiles.files().map_err(CommandError::because)?;
    if json {
        return Ok(format!("{:#}\n", as_json(files)));
    }
    let trusted = |property: &Property| profiles.trusted(context, property);
    let lines: Vec<_> = describe(files, &trusted)
        .map(|(section, described)| (Escaped(section.name()).to_string(), described))
        .collect();
    if lines.is_empty() {
        return Ok(format!("there are no profiles in {}\n", profiles.paths()));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().min(40);
    let mut text = String::new();
    for (name, uses) in lines {
        let _ = writeln!(text, "{name:<width$}  {uses}");
    }
    Ok(text)
}

fn as_json(files: &SharedConfig) -> Value {
    let profile = |section: &Section| {
        let properties = section.properties().map(|(name, property)| (name.to_owned(), value(name, property)));
        Value::Object(properties.collect())
    };
    let sections = files.profiles().filter_map(|name| files.profile(name));
    let profiles: Map<String, Value> = sections.map(|it| (it.name().to_owned(), profile(it))).collect();
    serde_json::json!({ "profiles": profiles })
}

fn value(name: &str, property: &Property) -> Value {
    if property.sub_properties().next().is_none() {
        return shown(name, property.value());
    }
    let sub_properties = property.sub_properties().map(|(name, it)| (name.to_owned(), shown(name, it.value())));
    Value::Object(sub_properties.collect())
}

fn shown(name: &str, value: &str) -> Value {
    let is_secret = name.contains("secret") || name.contains("password") || name.ends_with("_token");
    Value::String(if is_secret { REDACTED } else { value }.to_owned())
}
