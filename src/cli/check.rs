//! `credenza check`: tries every source and explains the outcome line by line.

use std::fmt::Write as _;

use crate::cli::output::{human, instant};
use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::imds::ImdsConfig;
use crate::context::Context;
use crate::lease::{LONG_LIVED_NOTICE, LONG_LIVED_REFUSAL};
use crate::model::credentials::Credentials;
use crate::model::outcome::{AttemptResult, ChainLoad, Outcome};
use crate::server::imds::ALLOW_V1_NOTICE;
use crate::source::build;

/// What came of it.
#[derive(Debug)]
pub(crate) struct CheckReport {
    /// Lines for people.
    pub(crate) text: String,
    /// Whether every identity that somebody may ask for has credentials, and the metadata service those that it can serve.
    pub(crate) is_good: bool,
}

/// Tries every source of every identity.
pub(crate) async fn check(context: &Context, config: &Config) -> CheckReport {
    let mut report = CheckReport { text: String::new(), is_good: true };
    // A profile waits for somebody who asks for it, but the one of the metadata service has been named.
    let named = config.imds.as_ref().filter(|imds| !config.identities.contains_key(&imds.identity));
    let profile = named.and_then(|imds| config.identity(&imds.identity));
    let mut for_metadata = None;
    for identity in config.identities.values().chain(&profile) {
        let text = &mut report.text;
        let chain = build::chain(&identity.sources, identity.on_failure, identity.long_lived_keys);
        let outcome = chain.survey(context, identity.load_timeout).await;
        let region = match &outcome.verdict {
            Outcome::Found { winner, .. } => chain.region(context, Some(*winner)).await,
            _ => None,
        };
        report.is_good &= explain(text, context, identity, &outcome, region.as_deref());
        if config.imds.as_ref().is_some_and(|imds| imds.identity == identity.name) {
            for_metadata = Some(outcome.verdict);
        }
    }
    if let Some((imds, verdict)) = config.imds.as_ref().zip(for_metadata) {
        report.is_good &= metadata_service(&mut report.text, context, imds, &verdict);
    }
    if config.profiles.is_some() {
        report.text += "profiles are served on demand; `credenza check --profile NAME` explains one\n";
    }
    report
}

/// Writes about one identity; says whether it has credentials.
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
        let said = match &step.said {
            AttemptResult::Found => "found".to_owned(),
            AttemptResult::NotConfigured(reason) => format!("not configured: {reason}"),
            AttemptResult::Failed(failure) => format!("failing: {failure}"),
            AttemptResult::NotAsked => "not asked".to_owned(),
        };
        let _ = writeln!(text, "  {}. {:<12} {said}{wins}", position + 1, step.source);
        for link in &step.links {
            let gave = match &link.gave {
                Some(Ok(access_key_id)) => access_key_id,
                Some(Err(_)) => "✗",
                None => "not tried",
            };
            let _ = writeln!(text, "       {} → {gave}", link.what);
        }
    }
    if let Some(notice) = context.environment.two_profiles().filter(|_| identity.asks_for_the_environments_profile()) {
        let _ = writeln!(text, "     {notice}");
    }
    match &outcome.verdict {
        Outcome::Found { credentials, .. } => found(text, context, credentials, region),
        Outcome::Failed { source, .. } => {
            let source = outcome.steps.get(*source).map_or("", |step| &step.source);
            let _ = writeln!(
                text,
                "  => nothing: {source} is configured and fails, so the sources after it do not count (on_failure = \"next\" lets them)"
            );
            false
        }
        Outcome::NotConfigured | Outcome::Vanished { .. } => {
            let _ = writeln!(text, "  => nothing: no source is configured");
            // Nobody has asked for it yet, and perhaps nobody will: `default` beside other identities.
            !identity.eager
        }
    }
}

fn found(text: &mut String, context: &Context, credentials: &Credentials, region: Option<&str>) -> bool {
    let now = context.clock.now();
    let usable = is_usable(credentials, context);
    let _ = write!(text, "  => {}", credentials.access_key_id);
    let _ = match credentials.expiration {
        Some(end) if usable => write!(text, ", expires in {}", human(end.duration_since(now).unwrap_or_default())),
        Some(end) => write!(text, ", EXPIRED {}", instant(end, now)),
        None => write!(text, ", no known end"),
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
    let _ = writeln!(text);
    if credentials.session_token.is_none() {
        let _ = writeln!(text, "     {LONG_LIVED_NOTICE}");
    }
    usable
}

fn is_usable(credentials: &Credentials, context: &Context) -> bool {
    credentials.expiration.is_none_or(|end| end > context.clock.now())
}

/// Writes what `[imds]` comes to; says whether it serves anything.
fn metadata_service(text: &mut String, context: &Context, imds: &ImdsConfig, verdict: &Outcome) -> bool {
    let addresses: Vec<_> = imds.listen.iter().map(|address| format!("http://{address}")).collect();
    let _ = writeln!(text, "metadata service {}", addresses.join(", "));
    let lacking = match verdict {
        Outcome::Found { credentials, .. } if !is_usable(credentials, context) => Some("its credentials have expired"),
        Outcome::Found { credentials, .. } if credentials.session_token.is_none() => Some(LONG_LIVED_REFUSAL),
        Outcome::Found { .. } => None,
        Outcome::Failed { .. } | Outcome::NotConfigured | Outcome::Vanished { .. } => Some("it has no credentials"),
    };
    let _ = match lacking {
        Some(lacking) => writeln!(text, "  => nothing: identity {}: {lacking}", imds.identity),
        None => writeln!(text, "  => identity {}, for every program that reaches it", imds.identity),
    };
    if imds.allow_v1 {
        let _ = writeln!(text, "     {ALLOW_V1_NOTICE}");
    }
    lacking.is_none()
}
