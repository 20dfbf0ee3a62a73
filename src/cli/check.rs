//! `credenza check`: tries every source and explains each result.

pub(crate) mod clients;

use std::fmt::Write as _;

use crate::cli::output::{duration_text, relative_time};
use crate::cli::verify::{Verification, verify};
use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::imds::ImdsConfig;
use crate::config::listen::{Listen, ListenAddress};
use crate::context::Context;
use crate::lease::{LONG_LIVED_NOTICE, LONG_LIVED_REFUSAL};
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::model::outcome::{AttemptResult, ChainLoad, Outcome};
use crate::model::text::Escaped;
use crate::server::imds::ALLOW_V1_NOTICE;
use crate::source::build;
use crate::source::profile::ConfigCredentials;

#[derive(Debug)]
pub(crate) struct CheckReport {
    pub(crate) text: String,
    /// True if every identity can be served, the IMDS server can serve its identity, and every client can prove who it is.
    /// An identity that is not eager may be unconfigured.
    pub(crate) is_good: bool,
}

/// Tries every source of every identity. With `verifies`, STS is asked with the keys of each.
pub(crate) async fn check(context: &Context, config: &Config, verifies: bool) -> CheckReport {
    let mut report =
        CheckReport { text: trust_warnings(context) + &listen_warnings(&config.server.listen), is_good: true };
    // Served profiles are not tried, except the profile that the IMDS server serves.
    let named = config.imds.as_ref().filter(|imds| !config.identities.contains_key(&imds.identity));
    let profile = named.and_then(|imds| config.identity(&imds.identity));
    let mut imds_outcome = None;
    for identity in config.identities.values().chain(&profile) {
        let (text, context) = (&mut report.text, &context.for_identity(&identity.name));
        let chain = build::chain(&identity.chain());
        let outcome = chain.survey(context, identity.load_timeout).await;
        let region = match &outcome.verdict {
            Outcome::Found { winner, .. } => chain.region(context, Some(*winner)).await,
            _ => None,
        };
        report.is_good &= explain(text, context, identity, &outcome, region.as_deref());
        if let (true, Outcome::Found { winner, credentials }) = (verifies, &outcome.verdict) {
            report.is_good &= explain_verification(text, &verify(context, &chain, *winner, credentials).await);
        }
        for profile in identity.sources.iter().filter_map(|source| ConfigCredentials::of_spec(&source.kind)) {
            for hint in profile.hints(context).await {
                let _ = writeln!(text, "     {hint}");
            }
        }
        if config.imds.as_ref().is_some_and(|imds| imds.identity == identity.name) {
            imds_outcome = Some(outcome.verdict);
        }
    }
    if let Some((imds, verdict)) = config.imds.as_ref().zip(imds_outcome) {
        report.is_good &= explain_imds(&mut report.text, context, imds, &verdict);
    }
    report.is_good &= clients::explain(&mut report.text, context, config).await;
    if config.profiles.is_some() {
        report.text += "profiles are served on demand; `credenza check --profile NAME` explains one\n";
    }
    report
}

/// Names the listen addresses that SDKs refuse.
fn listen_warnings(listen: &Listen) -> String {
    let Listen::Addresses(addresses) = listen else { return String::new() };
    addresses.iter().filter_map(ListenAddress::sdk_warning).map(|warning| format!("warning: {warning}\n")).collect()
}

/// Names the users and folders of `[files]`: their files decide which programs run here.
fn trust_warnings(context: &Context) -> String {
    let owners = context.trust.owners.iter().map(|owner| format!("files of user {owner} (trusted_owners)"));
    let folders = context
        .trust
        .folders
        .iter()
        .map(|folder| format!("every file in {} (trusted_folders)", Escaped(&folder.to_string_lossy())));
    let warning = |who| format!("warning: {who} may name programs that run here, and endpoints that get keys\n");
    owners.chain(folders).map(warning).collect()
}

/// Explains one identity. Returns true if it has credentials.
fn explain(
    text: &mut String,
    context: &Context,
    identity: &Identity,
    outcome: &ChainLoad,
    region: Option<&str>,
) -> bool {
    let _ = writeln!(text, "identity {}", identity.name);
    let winner = match &outcome.verdict {
        Outcome::Found { winner, .. } => Some(*winner),
        _ => None,
    };
    for (position, step) in outcome.steps.iter().enumerate() {
        let wins = if winner == Some(position) { "  ← wins" } else { "" };
        let result = match &step.said {
            AttemptResult::Found => "found".to_owned(),
            AttemptResult::NotConfigured(reason) => format!("not configured: {reason}"),
            AttemptResult::Failed(error @ SourceError { detail: Some(output), .. }) => {
                format!("failing: {error}; it said: {output}")
            }
            AttemptResult::Failed(error) => format!("failing: {error}"),
            AttemptResult::NotAsked => "not asked".to_owned(),
        };
        let _ = writeln!(text, "  {}. {:<12} {result}{wins}", position + 1, step.source);
        for link in &step.links {
            let gave = match &link.gave {
                Some(Ok(access_key_id)) => access_key_id,
                Some(Err(_)) => "✗",
                None => "not tried",
            };
            let _ = writeln!(text, "       {} → {gave}", link.what);
        }
    }
    if let Some(notice) = context.environment.two_profiles().filter(|_| identity.uses_environment_profile()) {
        let _ = writeln!(text, "     {notice}");
    }
    match &outcome.verdict {
        Outcome::Found { credentials, .. } => explain_credentials(text, context, credentials, region),
        Outcome::Failed { source, .. } => {
            let source = outcome.steps.get(*source).map_or("", |step| &step.source);
            let _ = writeln!(
                text,
                "  => nothing: {source} is configured and fails, so later sources are not used (on_failure = \"next\" uses them)"
            );
            false
        }
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            let _ = writeln!(text, "  => nothing: no source is configured");
            // Only an eager identity must have credentials. Others may be unused, such as `default` if the file has
            // other identities.
            !identity.eager
        }
    }
}

/// Explains the answer of STS. Returns true unless it does not accept the keys.
fn explain_verification(text: &mut String, verification: &Verification) -> bool {
    let _ = match verification {
        Verification::Accepted(caller) => {
            writeln!(text, "     STS accepts the keys: {}, account {}", Escaped(&caller.arn), Escaped(&caller.account))
        }
        Verification::NotOfAws(error) => writeln!(text, "     not verified: {error}"),
        Verification::Refused(error) if error.kind.is_transient() => {
            writeln!(text, "     NOT VERIFIED: {error}")
        }
        Verification::Refused(error) => writeln!(text, "     NOT ACCEPTED by STS: {error}"),
    };
    !matches!(verification, Verification::Refused(_))
}

fn explain_credentials(text: &mut String, context: &Context, credentials: &Credentials, region: Option<&str>) -> bool {
    let now = context.clock.now();
    let usable = is_usable(credentials, context);
    let _ = write!(text, "  => {}", credentials.access_key_id);
    let _ = match credentials.expiration {
        Some(end) if usable => {
            write!(text, ", expires in {}", duration_text(end.duration_since(now).unwrap_or_default()))
        }
        Some(end) => write!(text, ", EXPIRED {}", relative_time(end, now)),
        None => write!(text, ", no expiration"),
    };
    for (what, value) in [
        ("region", region),
        ("account", credentials.account_id.as_deref()),
        ("endpoint", credentials.endpoint.as_deref()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, ", {what} {value}");
        }
    }
    if let Some(size) = credentials.session.as_ref().and_then(|session| session.packed_policy_size) {
        let _ = write!(text, ", policies and tags take {size} % of what STS accepts");
    }
    let _ = writeln!(text);
    let halves = [("access key id", &*credentials.access_key_id), ("secret", credentials.secret_access_key.expose())];
    for (half, value) in halves {
        if let Some(doubt) = doubt(value) {
            let _ = writeln!(text, "     the {half} {doubt}: it is served as it stands, and no service will accept it");
        }
    }
    if credentials.session_token.is_none() {
        let _ = writeln!(text, "     {LONG_LIVED_NOTICE}");
    }
    usable
}

/// Returns the reason why half a key pair cannot be right. Users copy quotes, blanks and placeholders with a key.
fn doubt(value: &str) -> Option<&'static str> {
    let is_zero_width = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    let is_between = |open, close| value.starts_with(open) && value.ends_with(close);
    match value {
        _ if is_between('"', '"') || is_between('\'', '\'') => Some("is in quotes, which are part of it"),
        _ if value.contains(char::is_whitespace) => Some("contains white space"),
        _ if value.contains(is_zero_width) => Some("contains a character without width"),
        _ if value.starts_with("ENC[") => Some("is encrypted (SOPS)"),
        _ if is_between('<', '>') || value.starts_with("${") || value.starts_with("{{") => Some("is a placeholder"),
        _ => None,
    }
}

fn is_usable(credentials: &Credentials, context: &Context) -> bool {
    credentials.expiration.is_none_or(|end| end > context.clock.now())
}

/// Explains the IMDS server. Returns true if it can serve its identity.
fn explain_imds(text: &mut String, context: &Context, imds: &ImdsConfig, verdict: &Outcome) -> bool {
    let addresses: Vec<_> = imds.listen.iter().map(|address| format!("http://{address}")).collect();
    let _ = writeln!(text, "IMDS server {}", addresses.join(", "));
    let problem = match verdict {
        Outcome::Found { credentials, .. } if !is_usable(credentials, context) => Some("its credentials have expired"),
        Outcome::Found { credentials, .. } if credentials.session_token.is_none() => Some(LONG_LIVED_REFUSAL),
        Outcome::Found { .. } => None,
        Outcome::Failed { .. } | Outcome::NotConfigured | Outcome::Vanished { .. } => Some("it has no credentials"),
    };
    let _ = match problem {
        Some(problem) => writeln!(text, "  => nothing: identity {}: {problem}", imds.identity),
        None => writeln!(text, "  => identity {}, for every program that reaches it", imds.identity),
    };
    if imds.allow_v1 {
        let _ = writeln!(text, "     {ALLOW_V1_NOTICE}");
    }
    problem.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubts_keys_that_were_copied_with_more() {
        for value in [
            "\"AKIA1\"",
            "'x'",
            "a b",
            "a\u{200b}",
            "\u{feff}a",
            "ENC[AES256_GCM,data:x]",
            "<YOUR_KEY>",
            "${KEY}",
            "{{ key }}",
        ] {
            assert!(doubt(value).is_some(), "{value}");
        }
        for value in ["AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPx=", "a\"b", "x<y>z", "$ecret"] {
            assert_eq!(doubt(value), None, "{value}");
        }
    }
}
