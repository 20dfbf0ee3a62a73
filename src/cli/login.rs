//! `credenza login`: logs in at IAM Identity Center, so that nobody needs the AWS CLI for it.

pub(crate) mod browser;
pub(crate) mod screen;
pub(crate) mod targets;

use crate::cli::login::targets::LoginTarget;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::time::Instant;

use crate::aws::registration::Registration;
use crate::aws::sso_oidc;
use crate::aws::sso_oidc::{DeviceAuthorization, OidcError, OidcReply, OidcTokens};
use crate::cli::command::CommandError;
use crate::cli::login::screen::LoginScreen;
use crate::cli::login::targets::LoginSite;
use crate::context::Context;
use crate::login::sso;
use crate::model::time::timestamp;
use crate::os::signals::Signals;

/// A registration has to outlive the log-in: without it there is no refresh. AWS gives them for 90 days.
const SHORTEST_REGISTRATION: Duration = Duration::from_secs(24 * 3600);

/// What a poll is delayed by when the service says that we ask too often (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Which log-ins are wanted, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginRequest {
    /// Where.
    pub(crate) of: LoginTarget,
    /// Whether a browser is opened.
    pub(crate) browser: bool,
    /// What stands in the place of `~/.aws/credentials`.
    pub(crate) credentials_file: Option<PathBuf>,
    /// What stands in the place of `~/.aws/config`.
    pub(crate) config_file: Option<PathBuf>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginResult {
    /// As wanted.
    Done,
    /// By this signal; what was begun has left nothing behind.
    Interrupted(i32),
}

/// Logs in, one place after the other, and speaks to the person on `out`, with a line that moves where that is a
/// terminal.
///
/// # Errors
/// When a log-in failed; the others were tried all the same.
pub(crate) async fn login(
    context: &Context,
    wish: &LoginRequest,
    out: &mut dyn Write,
    is_terminal: bool,
) -> Result<LoginResult, CommandError> {
    let (places, mut failures) = targets::find(context, wish).await?;
    let mut screen = LoginScreen::new(out, is_terminal);
    let mut signals = Signals::listen(&[SIGINT, SIGTERM])
        .map_err(|error| CommandError::because(format!("cannot listen to signals: {error}")))?;
    for place in &places {
        let asked = tokio::select! {
            asked = ask(context, place, wish.browser, &mut screen) => asked,
            arrived = signals.next() => {
                screen.interrupted();
                return Ok(LoginResult::Interrupted(arrived.signal));
            }
        };
        // What the service gave is kept, whatever signal comes now.
        let kept = match asked {
            Ok(consent) => keep(context, place, consent, &mut screen).await,
            Err(failed) => Err(failed),
        };
        if let Err(failed) = kept {
            screen.clear();
            failures.push(failed.to_string());
        }
    }
    if failures.is_empty() { Ok(LoginResult::Done) } else { Err(CommandError::because(failures.join("\ncredenza: "))) }
}

/// What a person agreed to.
struct Consent {
    issued: OidcTokens,
    registration: Registration,
}

async fn ask(
    context: &Context,
    place: &LoginSite,
    browser: bool,
    screen: &mut LoginScreen<'_>,
) -> Result<Consent, CommandError> {
    let (registration, device) = begin(context, place).await.map_err(|refused| place.failed(&refused.failure))?;
    let page = device.verification_uri_complete.as_deref().unwrap_or(&device.verification_uri);
    screen.ask(&place.session, page, &device.user_code);
    if browser {
        match browser::open(&context.environment, context.uid(), page) {
            Ok(program) => tracing::debug!(program, "a browser was asked to open the page"),
            Err(why) => screen.not_opened(why),
        }
    }
    let issued = wait(context, place, &registration, &device, screen).await?;
    Ok(Consent { issued, registration })
}

/// A code for the person, with the registration of an earlier log-in where there is one.
async fn begin(context: &Context, place: &LoginSite) -> Result<(Registration, DeviceAuthorization), OidcError> {
    let LoginSite { session, settings, .. } = place;
    let until = context.clock.now() + SHORTEST_REGISTRATION;
    if let Some(registration) = sso::registration(context, session, until).await {
        match sso_oidc::authorize(context, settings, &registration, &session.start_url).await {
            Ok(device) => return Ok((registration, device)),
            Err(refused) if refused.said == OidcReply::InvalidClient => {}
            Err(refused) => return Err(refused),
        }
    }
    let registration = sso_oidc::register(context, settings, &session.scopes).await?;
    let device = sso_oidc::authorize(context, settings, &registration, &session.start_url).await?;
    Ok((registration, device))
}

async fn wait(
    context: &Context,
    place: &LoginSite,
    registration: &Registration,
    device: &DeviceAuthorization,
    screen: &mut LoginScreen<'_>,
) -> Result<OidcTokens, CommandError> {
    let end = Instant::now() + device.expires_in;
    let mut interval = device.interval;
    loop {
        screen.wait(Instant::now() + interval, end).await;
        match sso_oidc::issue(context, &place.settings, registration, &device.device_code).await {
            Ok(issued) => return Ok(issued),
            Err(refused) => match refused.said {
                OidcReply::Pending => {}
                OidcReply::SlowDown => interval += SLOWER,
                OidcReply::AccessDenied => {
                    let session = &place.session;
                    return Err(CommandError::because(format!("{session}: the request was refused in the browser")));
                }
                OidcReply::Expired => return Err(place.too_late()),
                OidcReply::Other if refused.failure.kind.is_transient() => {
                    tracing::debug!(error = %refused, "no answer about the log-in; asking again");
                }
                OidcReply::InvalidGrant | OidcReply::InvalidClient | OidcReply::Other => {
                    return Err(place.failed(&refused.failure));
                }
            },
        }
        if Instant::now() >= end {
            return Err(place.too_late());
        }
    }
}

async fn keep(
    context: &Context,
    place: &LoginSite,
    consent: Consent,
    screen: &mut LoginScreen<'_>,
) -> Result<(), CommandError> {
    let Consent { issued, registration } = consent;
    let session = &place.session;
    let refreshed = session.name.is_some() && issued.refresh_token.is_some();
    let until: SystemTime = context.clock.now() + issued.expires_in;
    if let Err(failure) = sso::keep_registration(context, session, &registration).await {
        tracing::warn!(error = %failure, "the next log-in has to register this program again");
    }
    sso::store(context, session, issued, &registration).await.map_err(|failure| place.failed(&failure))?;
    screen.done(&format!(
        "logged in: {session}, until {}{}",
        timestamp(until),
        if refreshed { " and, refreshed by itself, as long as the session lasts" } else { "" }
    ));
    Ok(())
}
