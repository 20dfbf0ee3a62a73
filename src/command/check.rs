//! `credenza check`: tries every source and explains the outcome line by line.

use std::fmt::Write as _;

use super::format::{human, instant};
use crate::chain::{Outcome, Said, Verdict};
use crate::config::{Config, Identity, ImdsConfig};
use crate::credentials::Credentials;
use crate::identity;
use crate::lease::{LONG_LIVED_NOTICE, LONG_LIVED_REFUSAL};
use crate::server::metadata::ALLOW_V1_NOTICE;
use crate::world::World;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Lines for people.
    pub text: String,
    /// Whether every identity that somebody may ask for has credentials, and the metadata service those that it can serve.
    pub is_good: bool,
}

/// Tries every source of every identity.
pub async fn check(world: &World, config: &Config) -> Report {
    let mut report = Report { text: String::new(), is_good: true };
    // A profile waits for somebody who asks for it, but the one of the metadata service has been named.
    let named = config.imds.as_ref().filter(|imds| !config.identities.contains_key(&imds.identity));
    let profile = named.and_then(|imds| config.identity(&imds.identity));
    let mut for_metadata = None;
    for identity in config.identities.values().chain(&profile) {
        let text = &mut report.text;
        let chain = identity::chain(identity);
        let outcome = chain.survey(world, identity.load_timeout).await;
        let region = match &outcome.verdict {
            Verdict::Found { winner, .. } => chain.region(world, Some(*winner)).await,
            _ => None,
        };
        report.is_good &= explain(text, world, identity, &outcome, region.as_deref());
        if config.imds.as_ref().is_some_and(|imds| imds.identity == identity.name) {
            for_metadata = Some(outcome.verdict);
        }
    }
    if let Some((imds, verdict)) = config.imds.as_ref().zip(for_metadata) {
        report.is_good &= metadata_service(&mut report.text, world, imds, &verdict);
    }
    if config.profiles.is_some() {
        report.text += "profiles are served on demand; `credenza check --profile NAME` explains one\n";
    }
    report
}

/// Writes about one identity; says whether it has credentials.
fn explain(text: &mut String, world: &World, identity: &Identity, outcome: &Outcome, region: Option<&str>) -> bool {
    let _ = writeln!(text, "identity {}", identity.name);
    let winner = match &outcome.verdict {
        Verdict::Found { winner, .. } => Some(*winner),
        _ => None,
    };
    for (position, step) in outcome.steps.iter().enumerate() {
        let wins = if winner == Some(position) { "  ← wins" } else { "" };
        let said = match &step.said {
            Said::Found => "found".to_owned(),
            Said::NotConfigured(reason) => format!("not configured: {reason}"),
            Said::Failing(failure) => format!("failing: {failure}"),
            Said::NotAsked => "not asked".to_owned(),
        };
        let _ = writeln!(text, "  {}. {:<12} {said}{wins}", position + 1, step.source);
        for hop in &step.hops {
            let gave = match &hop.gave {
                Some(Ok(access_key_id)) => access_key_id,
                Some(Err(_)) => "✗",
                None => "not tried",
            };
            let _ = writeln!(text, "       {} → {gave}", hop.what);
        }
    }
    if let Some(notice) = world.environment.two_profiles().filter(|_| identity.asks_for_the_environments_profile()) {
        let _ = writeln!(text, "     {notice}");
    }
    match &outcome.verdict {
        Verdict::Found { credentials, .. } => found(text, world, credentials, region),
        Verdict::Failing { source, .. } => {
            let source = outcome.steps.get(*source).map_or("", |step| &step.source);
            let _ = writeln!(
                text,
                "  => nothing: {source} is configured and fails, so the sources after it do not count (on_failure = \"next\" lets them)"
            );
            false
        }
        Verdict::NotConfigured | Verdict::Vanished { .. } => {
            let _ = writeln!(text, "  => nothing: no source is configured");
            // Nobody has asked for it yet, and perhaps nobody will: `default` beside other identities.
            !identity.eager
        }
    }
}

fn found(text: &mut String, world: &World, credentials: &Credentials, region: Option<&str>) -> bool {
    let now = world.clock.now();
    let usable = is_usable(credentials, world);
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

fn is_usable(credentials: &Credentials, world: &World) -> bool {
    credentials.expiration.is_none_or(|end| end > world.clock.now())
}

/// Writes what `[imds]` comes to; says whether it serves anything.
fn metadata_service(text: &mut String, world: &World, imds: &ImdsConfig, verdict: &Verdict) -> bool {
    let addresses: Vec<_> = imds.listen.iter().map(|address| format!("http://{address}")).collect();
    let _ = writeln!(text, "metadata service {}", addresses.join(", "));
    let lacking = match verdict {
        Verdict::Found { credentials, .. } if !is_usable(credentials, world) => Some("its credentials have expired"),
        Verdict::Found { credentials, .. } if credentials.session_token.is_none() => Some(LONG_LIVED_REFUSAL),
        Verdict::Found { .. } => None,
        Verdict::Failing { .. } | Verdict::NotConfigured | Verdict::Vanished { .. } => Some("it has no credentials"),
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
