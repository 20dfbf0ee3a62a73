//! `credenza check`: tries every source and explains each result.

pub(crate) mod clients;
mod doubts;
mod row;

use std::fmt::Write as _;
use std::io;

use crate::cli::check::doubts::doubts;
use crate::cli::identity_table;
use crate::cli::identity_table::Row;
use crate::cli::output::{duration_text, relative_time};
use crate::cli::terminal::text::write_indented;
use crate::cli::terminal::{Tone, View};
use crate::cli::verify::{Verification, verify};
use crate::config::Config;
use crate::config::identity::Identity;
use crate::config::imds::ImdsConfig;
use crate::config::listen::{Listen, ListenAddress};
use crate::context::Context;
use crate::lease::{LONG_LIVED_NOTICE, LONG_LIVED_REFUSAL};
use crate::model::credentials::Credentials;
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
pub(crate) async fn check(context: &Context, config: &Config, view: View, verifies: bool) -> CheckReport {
    let screen = view.screen(&io::stdout(), &context.environment);
    let mut is_good = true;
    // Served profiles are not tried, except the profile that the IMDS server serves.
    let named = config.imds.as_ref().filter(|imds| !config.identities.contains_key(&imds.identity));
    let profile = named.and_then(|imds| config.identity(&imds.identity));
    let mut imds_outcome = None;
    let (mut rows, mut details) = (Vec::new(), String::new());
    for identity in config.identities.values().chain(&profile) {
        let context = &context.for_identity(&identity.name);
        let chain = build::chain(&identity.chain());
        let outcome = chain.survey(context, identity.load_timeout).await;
        let region = match &outcome.verdict {
            Outcome::Found { winner, .. } => chain.region(context, Some(*winner)).await,
            _ => None,
        };
        let mut text = String::new();
        let mut is_served = explain(&mut text, context, identity, &outcome, region.as_deref());
        if let (true, Outcome::Found { winner, credentials }) = (verifies, &outcome.verdict) {
            is_served &= explain_verification(&mut text, &verify(context, &chain, *winner, credentials).await);
        }
        is_good &= is_served;
        let mut has_hints = false;
        for profile in identity.sources.iter().filter_map(|source| ConfigCredentials::of_spec(&source.kind)) {
            for hint in profile.hints(context).await {
                let _ = writeln!(text, "     {hint}");
                has_hints = true;
            }
        }
        let row = row::row(identity, &outcome, context.clock.now());
        if view.is_verbose() || verifies || !is_served || (has_hints && !view.is_quiet()) {
            write_indented(&mut details, &text, 0, screen.width);
        }
        rows.push(row);
        if config.imds.as_ref().is_some_and(|imds| imds.identity == identity.name) {
            imds_outcome = Some(outcome.verdict);
        }
    }
    let mut text = String::new();
    let warnings = trust_warnings(context).into_iter().chain(listen_warnings(&config.server.listen));
    for warning in warnings.chain(open_secrets(config)) {
        let mut lines = String::new();
        write_indented(&mut lines, &format!("warning: {warning}"), 0, screen.width);
        text.extend(lines.lines().map(|line| format!("{}\n", screen.paint(Tone::Warning, line))));
    }
    if view.is_quiet() {
        rows.retain(Row::needs_attention);
    }
    if !rows.is_empty() {
        text += &identity_table::render(&mut rows, screen);
    }
    if !details.is_empty() {
        text += &format!("\n{details}");
    }
    let mut rest = String::new();
    let mut rest_is_good = true;
    if let Some((imds, verdict)) = config.imds.as_ref().zip(imds_outcome) {
        rest_is_good &= explain_imds(&mut rest, context, imds, &verdict);
    }
    rest_is_good &= clients::explain(&mut rest, context, config).await;
    if config.profiles.is_some() && !view.is_quiet() {
        rest += "profiles are served on demand; `credenza check --profile NAME` explains one\n";
    }
    if !view.is_quiet() || !rest_is_good {
        write_indented(&mut text, &rest, 0, screen.width);
    }
    CheckReport { text, is_good: is_good && rest_is_good }
}

/// Warns of a configuration file with secrets that other users may read.
fn open_secrets(config: &Config) -> Option<String> {
    config.open_secrets.clone()
}

/// Names the listen addresses that SDKs refuse.
fn listen_warnings(listen: &Listen) -> Vec<String> {
    let Listen::Addresses(addresses) = listen else { return Vec::new() };
    let warnings = addresses.iter().filter_map(ListenAddress::sdk_warning);
    warnings.map(|warning| warning.to_string()).collect()
}

/// Names the users and folders of `[files]`: their files decide which programs run here.
fn trust_warnings(context: &Context) -> Vec<String> {
    let owners = context.trust.owners.iter().map(|owner| format!("files of user {owner} (trusted_owners)"));
    let folders = context
        .trust
        .folders
        .iter()
        .map(|folder| format!("every file in {} (trusted_folders)", Escaped(&folder.to_string_lossy())));
    let warning = |who| format!("{who} may name programs that run here, and endpoints that get keys");
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
            AttemptResult::Failed(error) => {
                let output = error.detail.as_deref().map(|output| format!("; it said: {output}")).unwrap_or_default();
                format!("failing: {}{output}", error.below_source(&step.source))
            }
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
    for doubt in doubts(credentials) {
        let _ = writeln!(text, "     {doubt}");
    }
    if credentials.session_token.is_none() && !credentials.lacks_session_token() {
        let _ = writeln!(text, "     {LONG_LIVED_NOTICE}");
    }
    usable
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
