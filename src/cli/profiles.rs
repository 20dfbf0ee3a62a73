//! `credenza profiles`: lists the profiles of the shared files and their methods.

pub(crate) mod from_sso;

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::cli::error::CommandError;
use crate::context::Context;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::files::ProfileFiles;
use crate::source::profile::plan::link::ProfileLink;
use crate::source::profile::{describe, failure};

const REDACTED: &str = "[redacted]";

/// Lists the profiles as text, or with all properties as JSON: `{"profiles": {NAME: {PROPERTY: VALUE}}}`.
///
/// A property with sub-properties is printed as an object. The list shows no secret.
///
/// # Errors
/// If the files cannot be read or parsed.
pub(crate) async fn profiles(context: &Context, named: &NamedPaths, json: bool) -> Result<String, CommandError> {
    let environment = &context.environment;
    let named = NamedPaths {
        credentials: named.credentials.as_ref().map(|path| environment.expand(path)),
        config: named.config.as_ref().map(|path| environment.expand(path)),
    };
    let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::new)?;
    let files = profiles.files().map_err(CommandError::new)?;
    if json {
        return Ok(format!("{:#}\n", to_json(files)));
    }
    let trusted = |property: &Property| profiles.check(context, property);
    let failure = |section: &Section, link: &ProfileLink| failure(context, &profiles, section, link);
    let lines: Vec<_> = describe(files, &trusted, &failure)
        .map(|(section, description)| (Escaped(section.name()).to_string(), description))
        .collect();
    if lines.is_empty() {
        return Ok(format!("there are no profiles in {}\n", profiles.paths()));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().min(40);
    let mut text = String::new();
    for (name, description) in lines {
        let _ = writeln!(text, "{name:<width$}  {description}");
    }
    Ok(text)
}

fn to_json(files: &SharedConfig) -> Value {
    let profile = |section: &Section| {
        let properties = section.properties().map(|(name, property)| (name.to_owned(), property_value(name, property)));
        Value::Object(properties.collect())
    };
    let sections = files.profiles().filter_map(|name| files.profile(name));
    let profiles: Map<String, Value> = sections.map(|section| (section.name().to_owned(), profile(section))).collect();
    serde_json::json!({ "profiles": profiles })
}

fn property_value(name: &str, property: &Property) -> Value {
    if property.sub_properties().next().is_none() {
        return redact(name, property.value());
    }
    let sub_properties =
        property.sub_properties().map(|(name, property)| (name.to_owned(), redact(name, property.value())));
    Value::Object(sub_properties.collect())
}

fn redact(name: &str, value: &str) -> Value {
    let is_secret = name.contains("secret") || name.contains("password") || name.ends_with("_token");
    Value::String(if is_secret { REDACTED } else { value }.to_owned())
}
