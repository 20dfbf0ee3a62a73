//! `credenza whoami`: shows the account and the principal of an identity, as the running daemon knows it, or loaded here.

use std::fmt::Write as _;
use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::cli::child_environment::ACTIVE;
use crate::cli::control::answer::{encoded, json, time_text};
use crate::cli::control::client::{ControlRequest, exchange, listens, parse};
use crate::cli::control::mfa_session::DaemonMfaSessions;
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::cli::exit_code;
use crate::cli::find_identity::{IdentityChoice, find_identity, profile_names};
use crate::cli::load_identity::{LoadedIdentity, load_identity};
use crate::cli::region_endpoint;
use crate::cli::verify::{Verification, verify};
use crate::context::mfa::Mfa;
use crate::context::mfa_sessions::MfaSessions;
use crate::model::identity_name::IdentityName;
use crate::model::text::Escaped;
use crate::model::time::timestamp;
use crate::shared_config::locate::NamedPaths;

#[derive(Deserialize, Serialize)]
struct WhoamiAnswer {
    identity: Option<Box<str>>,
    account: Option<Box<str>>,
    arn: Option<Box<str>>,
    source: Option<Box<str>>,
    expiration: Option<Box<str>>,
}

/// Shows an identity as the daemon knows it, or as STS answers if `verify`. Without a daemon, and for a profile that it
/// does not serve, the identity or the profile is loaded here.
///
/// # Errors
/// If there is no such identity or it has no credentials, the daemon refuses, or STS does.
pub(crate) async fn whoami(
    inputs: &ControlInputs,
    identity: &IdentityName,
    verify: bool,
    is_json: bool,
) -> Result<CommandOutput, CommandError> {
    let what = format!("cannot tell who identity {identity} is");
    // A named socket is that of the daemon to ask.
    if inputs.named.is_none() && !listens(inputs).await {
        let answer = loaded_here(inputs, identity, verify).await?;
        return Ok(output(inputs, &answer, verify, is_json));
    }
    let mut target = format!("/whoami?identity={}", encoded(identity.as_str()));
    if verify {
        target.push_str("&verify=true");
    }
    let (socket, answer) = exchange(inputs, ControlRequest::get(target)).await?;
    let refusal = match answer {
        Ok(body) => return Ok(output(inputs, &parse(&socket, &body)?, verify, is_json)),
        Err(refusal) => refusal,
    };
    let is_profile = refusal.status == StatusCode::NOT_FOUND
        && &*refusal.code == "IdentityNotFound"
        && profile_names(&inputs.context, &NamedPaths::default()).await.iter().any(|name| name == identity.as_str());
    if !is_profile {
        return Err(refusal.of(&what));
    }
    let answer = loaded_here(inputs, identity, verify).await?;
    let mut shown = output(inputs, &answer, verify, is_json);
    shown.notes.push(format!("the running daemon serves no identity {identity}: this is the profile of that name"));
    Ok(shown)
}

/// Loads an identity, or else a profile, without a daemon.
async fn loaded_here(
    inputs: &ControlInputs,
    name: &IdentityName,
    verifies: bool,
) -> Result<WhoamiAnswer, CommandError> {
    // Without its file the configuration has other identities, which must not answer for these.
    if let Some(refused) = &inputs.refused {
        return Err(CommandError::new(refused).with_code(exit_code::BAD_CONFIGURATION));
    }
    let mut context = inputs.context.clone();
    context.environment = region_endpoint::without_own_variables(&context.environment);
    context.mfa = Mfa::at_the_terminal();
    let daemon = ControlInputs::new(inputs.context.clone(), inputs.config.clone(), None);
    context.mfa_sessions = MfaSessions::with_lender(Arc::new(DaemonMfaSessions::new(daemon)));
    let choice = IdentityChoice::IdentityOrProfile(name.clone());
    let identity = find_identity(&context, &inputs.config, &NamedPaths::default(), &choice).await?;
    let LoadedIdentity { credentials, source, winner, chain } = load_identity(&context, &identity).await?;
    let caller = match verifies {
        false => None,
        true => match verify(&context, &chain, winner, &credentials).await {
            Verification::Accepted(caller) => Some(caller),
            Verification::Refused(error) | Verification::NotOfAws(error) => {
                return Err(CommandError::source_failed(&identity.name, &source, error));
            }
        },
    };
    let (account, arn) = caller.map(|caller| (caller.account, caller.arn)).unzip();
    Ok(WhoamiAnswer {
        identity: Some(name.as_str().into()),
        account: account.or(credentials.account_id),
        arn,
        source: Some((*source).into()),
        expiration: credentials.expiration.map(|end| timestamp(end).into()),
    })
}

fn output(inputs: &ControlInputs, answer: &WhoamiAnswer, verified: bool, is_json: bool) -> CommandOutput {
    if is_json {
        return json(answer);
    }
    let now = inputs.context.clock.now();
    let mut text = String::new();
    let mut notes = Vec::new();
    // The user may mean the identity of this shell.
    let active = inputs.context.environment.get(ACTIVE).and_then(|active| active.split(' ').next());
    if let (Some(active), Some(shown)) = (active, answer.identity.as_deref())
        && active != shown
    {
        notes.push(format!("this shell uses identity {0}; `credenza whoami {0}` tells about it", Escaped(active)));
    }
    let unknown = if verified { "unknown" } else { "unknown; --verify asks STS" };
    for (key, value, missing) in [
        ("identity", &answer.identity, "unknown"),
        ("account", &answer.account, unknown),
        ("arn", &answer.arn, unknown),
        ("source", &answer.source, "unknown"),
    ] {
        let value = value.as_deref().map_or_else(|| missing.into(), |value| Escaped(value).to_string());
        let _ = writeln!(text, "{:<12}{value}", format!("{key}:"));
    }
    let expiration = answer.expiration.as_deref().map_or_else(|| "none".into(), |end| time_text(end, now));
    let _ = writeln!(text, "expiration: {expiration}");
    CommandOutput { text: text.into(), notes }
}
