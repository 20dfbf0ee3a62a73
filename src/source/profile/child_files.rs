//! The shared files for a program with a broker of its own: settings without credentials.

use crate::context::Context;
use crate::model::error::SourceError;
use crate::shared_config::render::{BesideProfiles, ChildFiles, render};
use crate::shared_config::section::Section;
use crate::source::profile::ConfigCredentials;
use crate::source::spec::SourceSpec;

/// The properties that decide where requests go and which certificates are accepted. They need file trust.
const TRUSTED_ONLY: [&str; 4] =
    ["endpoint_url", "ca_bundle", "ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode"];

/// The maximum number of warnings about settings that `exec` leaves out. A user reads the first few.
const MAX_LEFT_OUT: usize = 10;

/// Returns the shared files for a program with a broker of its own: the settings of the profile of a chain, and the other
/// profiles if `keeps_profiles` says so. Both files are empty if there is no profile.
///
/// # Errors
/// The settings decide where requests go or which certificates are accepted (`endpoint_url`, `ca_bundle`), and the file
/// is not trusted; or the files cannot be read.
pub(crate) async fn child_files(
    sources: &[SourceSpec],
    kept: Option<BesideProfiles<'_>>,
    context: &Context,
) -> Result<ChildFiles, SourceError> {
    let profile = sources.iter().find_map(|spec| ConfigCredentials::of_spec(&spec.kind));
    // If the chain has no profile, use the settings of the user's profile, if the files can be read.
    let (source, is_required) = (profile.clone().unwrap_or_default(), profile.is_some() || kept.is_some());
    let opened = match source.open(context).await {
        Err(_) if !is_required => return Ok(ChildFiles::default()),
        opened => opened?,
    };
    let files = match opened.profiles.files() {
        Err(_) if !is_required => return Ok(ChildFiles::default()),
        files => files?,
    };
    let section = files.profile(opened.profile);
    let services = section.and_then(|section| files.services(section.get("services")?.value()));
    for (name, property) in section.into_iter().chain(services).flat_map(Section::properties) {
        let is_set = |known: &&str| name == *known || property.sub_property(known).is_some();
        let Some(setting) = TRUSTED_ONLY.iter().find(|known| is_set(known)) else { continue };
        opened.profiles.trusted(context, property).map_err(|distrust| {
            SourceError::misconfigured(format!("{setting} is not used: the file {distrust}"))
                .at(property.location().in_profile(opened.profile))
        })?;
    }
    let child = render(files, section, kept, &|property| opened.profiles.trusted(context, property));
    for left_out in child.left_out.iter().take(MAX_LEFT_OUT) {
        tracing::warn!("{left_out}");
    }
    if let more @ 1.. = child.left_out.len().saturating_sub(MAX_LEFT_OUT) {
        tracing::warn!("the command does not get {more} more settings and profiles, for reasons such as these");
    }
    Ok(child)
}
