//! `credenza profiles`: lists the profiles of the shared files and their methods.

pub(crate) mod from_sso;

use std::fmt::Write as _;
use std::io;

use serde_json::{Map, Value};

use crate::cli::error::CommandError;
use crate::cli::terminal::report::ErrorScreen;
use crate::cli::terminal::text::{first_words, padded, width, wrap};
use crate::cli::terminal::{Screen, Tone, View};
use crate::context::Context;
use crate::model::text::Escaped;
use crate::shared_config::SharedConfig;
use crate::shared_config::locate::NamedPaths;
use crate::shared_config::section::{Property, Section};
use crate::source::profile::description::{ProfileDescription, describe, failure};
use crate::source::profile::files::ProfileFiles;
use crate::source::profile::plan::link::ProfileLink;

const REDACTED: &str = "[redacted]";

/// The list of profiles.
#[derive(Debug)]
pub(crate) struct ProfilesReport {
    pub(crate) text: String,
    /// True if a profile cannot give credentials as it is written.
    pub(crate) fails: bool,
}

/// Lists the profiles as text, those that fail first, or with all properties as JSON: `{"profiles": {NAME: {PROPERTY:
/// VALUE}}}`.
///
/// A property with sub-properties is printed as an object. The list shows no secret.
///
/// # Errors
/// If the files cannot be read or parsed.
pub(crate) async fn profiles(
    context: &Context,
    named: &NamedPaths,
    json: bool,
    view: View,
) -> Result<ProfilesReport, CommandError> {
    let environment = &context.environment;
    let named = NamedPaths {
        credentials: named.credentials.as_ref().map(|path| environment.expand(path)),
        config: named.config.as_ref().map(|path| environment.expand(path)),
    };
    let profiles = ProfileFiles::open(context, &named, |_| 0).await.map_err(CommandError::new)?;
    let files = profiles.files().map_err(CommandError::new)?;
    let trusted = |property: &Property| profiles.check(context, property);
    let failure = |section: &Section, link: &ProfileLink| failure(context, &profiles, section, link);
    let mut rows: Vec<(String, ProfileDescription)> = describe(files, &trusted, &failure)
        .map(|(section, description)| (Escaped(section.name()).to_string(), description))
        .collect();
    let fails = rows.iter().any(|(_, description)| description.is_failing());
    if json {
        return Ok(ProfilesReport { text: format!("{:#}\n", to_json(files)), fails });
    }
    if rows.is_empty() {
        return Ok(ProfilesReport { text: format!("there are no profiles in {}\n", profiles.paths()), fails });
    }
    rows.sort_by_key(|(_, description)| !description.is_failing());
    if view.is_quiet() {
        rows.retain(|(_, description)| description.is_failing());
    }
    let screen = view.screen(&io::stdout(), environment);
    Ok(ProfilesReport { text: list(&rows, view, screen, &ErrorScreen::new(screen, environment)), fails })
}

/// Renders a line for each profile. With details a description may take several lines, and an error has its location.
fn list(rows: &[(String, ProfileDescription)], view: View, screen: Screen, errors: &ErrorScreen) -> String {
    let widest = rows.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
    let name_width = widest.min(screen.width.map_or(40, |width| (width / 3).min(40)));
    let mut text = String::new();
    for (name, description) in rows {
        let tone = if description.is_failing() { Tone::Bad } else { Tone::Plain };
        let full = description.to_string();
        let short = match (description, screen.width) {
            (ProfileDescription::Wrong(error), Some(_)) if !view.is_verbose() => {
                let at = error.location.as_ref().map(|location| format!(" ({})", errors.location(location)));
                format!("wrong: {}{}", error.reason(), at.unwrap_or_default())
            }
            _ => full,
        };
        let Some(columns) = screen.width else {
            let _ = writeln!(text, "{name:<name_width$}  {short}");
            continue;
        };
        let beside = columns.saturating_sub(name_width + 2);
        let mut lines = match view.is_verbose() {
            true => wrap(&short, beside),
            false => vec![first_words(&short, beside).unwrap_or_default()],
        };
        let mut names = wrap(name, name_width.max(2));
        // The description stands beside the last line of a name that is too long for one.
        while names.len() > 1 {
            let _ = writeln!(text, "{}", names.remove(0));
        }
        let mut name = names.pop().unwrap_or_default();
        if lines.is_empty() {
            lines.push(String::new());
        }
        for line in lines {
            let row = format!("{}  {}", padded(&name, name_width), screen.paint(tone, &line));
            let _ = writeln!(text, "{}", row.trim_end());
            name.clear();
        }
    }
    text
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
