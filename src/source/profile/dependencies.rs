//! The dependencies of a plan: the sections and properties that wake a refresher when they change.

use crate::shared_config::SharedConfig;
use crate::shared_config::section::Section;
use crate::source::profile::plan::{
    ACCESS_KEY_ID, ACCOUNT_ID, CREDENTIAL_PROCESS, CREDENTIAL_SOURCE, DURATION_SECONDS, LEGACY_TOKEN, LOGIN_SESSION,
    MAX_LINKS, ROLE_ARN, ROLE_SESSION_NAME, SECRET_ACCESS_KEY, SESSION_ENDS, SESSION_TOKEN, SOURCE_PROFILE,
    SSO_ACCOUNT_ID, SSO_ROLE_NAME, SSO_SESSION, WEB_IDENTITY_TOKEN_FILE, value,
};

/// The properties that a plan and its settings use.
pub(crate) const USED_PROPERTIES: &[&str] = &[
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    LEGACY_TOKEN,
    ACCOUNT_ID,
    SESSION_ENDS[0],
    SESSION_ENDS[1],
    SESSION_ENDS[2],
    SESSION_ENDS[3],
    SESSION_ENDS[4],
    ROLE_ARN,
    SOURCE_PROFILE,
    CREDENTIAL_SOURCE,
    WEB_IDENTITY_TOKEN_FILE,
    ROLE_SESSION_NAME,
    DURATION_SECONDS,
    "external_id",
    "mfa_serial",
    SSO_SESSION,
    "sso_start_url",
    "sso_region",
    SSO_ACCOUNT_ID,
    SSO_ROLE_NAME,
    "sso_registration_scopes",
    CREDENTIAL_PROCESS,
    LOGIN_SESSION,
    "services",
    "region",
    "endpoint_url",
    "ignore_configured_endpoint_urls",
    "sts_regional_endpoints",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "ca_bundle",
    "ec2_metadata_service_endpoint",
    "ec2_metadata_service_endpoint_mode",
    // Services of a `[services NAME]` section.
    "sts",
    "sso",
    "sso_oidc",
    "signin",
    "s3",
];

/// Returns every section that a plan may use, in the order of their use.
pub(crate) fn dependencies<'f>(files: &'f SharedConfig, profile: &str) -> Vec<&'f Section> {
    let mut sections: Vec<&Section> = Vec::new();
    let mut next = files.profile(profile);
    while let Some(section) = next.filter(|section| !sections.iter().any(|seen| std::ptr::eq(*seen, *section))) {
        sections.push(section);
        if sections.len() > MAX_LINKS {
            break;
        }
        next = value(section, SOURCE_PROFILE).and_then(|(name, _)| files.profile(name));
    }
    let named = |key, find: fn(&'f SharedConfig, &str) -> Option<&'f Section>| {
        sections.iter().filter_map(move |section| find(files, value(section, key)?.0)).collect::<Vec<_>>()
    };
    let (sessions, services) =
        (named(SSO_SESSION, SharedConfig::sso_session), named("services", SharedConfig::services));
    sections.extend(sessions);
    sections.extend(services);
    sections
}
