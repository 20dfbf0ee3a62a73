//! `credenza login`: logs in at IAM Identity Center without the AWS CLI.

pub(crate) mod browser;
pub(crate) mod needed;
pub(crate) mod resume;
pub(crate) mod screen;
pub(crate) mod targets;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::time::Instant;

use crate::aws::registration::Registration;
use crate::aws::sso_oidc;
use crate::aws::sso_oidc::error::{OidcError, OidcErrorCode};
use crate::aws::sso_oidc::{DeviceAuthorization, OidcTokens};
use crate::cli::error::CommandError;
use crate::cli::login::screen::LoginScreen;
use crate::cli::login::targets::{LoginSite, LoginTarget};
use crate::context::Context;
use crate::login::sso;
use crate::model::time::timestamp;
use crate::os::signals::{SignalSet, Signals};

/// The minimum remaining lifetime of a client registration. Refreshes need the registration, so it must outlive the
/// login. AWS issues registrations for 90 days.
const MIN_REGISTRATION_LIFE: Duration = Duration::from_secs(24 * 3600);

/// The increase of the poll interval after a `slow_down` response (RFC 8628, section 3.5).
const SLOW_DOWN_STEP: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoginRequest {
    pub(crate) target: LoginTarget,
    pub(crate) open_browser: bool,
    /// The path of a file to read instead of `~/.aws/credentials`.
    pub(crate) credentials_file: Option<PathBuf>,
    /// The path of a file to read instead of `~/.aws/config`.
    pub(crate) config_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginResult {
    Done,
    /// A signal, with this number, ended the login before any token was stored.
    Interrupted(i32),
}

/// Logs in to one session after the other. Writes instructions to `out`, with a countdown on a terminal.
///
/// # Errors
/// If a login failed. The logins after it were tried nevertheless.
pub(crate) async fn login(
    context: &Context,
    request: &LoginRequest,
    out: &mut dyn Write,
    is_terminal: bool,
) -> Result<LoginResult, CommandError> {
    let (sites, errors) = targets::find(context, request).await?;
    let mut errors: Vec<CommandError> = errors.into_iter().map(CommandError::new).collect();
    let mut screen = LoginScreen::new(out, is_terminal);
    let mut signals = Signals::listen(SignalSet { always: &[], unless_ignored: &[SIGINT, SIGTERM] })
        .map_err(|error| CommandError::new(format!("cannot listen to signals: {error}")))?;
    for site in &sites {
        let consent = tokio::select! {
            consent = request_consent(context, site, request.open_browser, &mut screen) => consent,
            arrived = signals.next() => {
                screen.interrupted();
                return Ok(LoginResult::Interrupted(arrived.signal));
            }
        };
        // From here on signals do not interrupt: the tokens are issued and must be stored.
        let stored = match consent {
            Ok(consent) => store(context, site, consent, &mut screen).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            screen.clear();
            errors.push(error);
        }
    }
    match errors.len() {
        0 => Ok(LoginResult::Done),
        1 => Err(errors.remove(0)),
        _ => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(CommandError::new(errors.join("\ncredenza: ")))
        }
    }
}

/// The tokens that were issued after the user agreed, with the client registration that requested them.
struct Consent {
    tokens: OidcTokens,
    registration: Registration,
}

async fn request_consent(
    context: &Context,
    site: &LoginSite,
    open_browser: bool,
    screen: &mut LoginScreen<'_>,
) -> Result<Consent, CommandError> {
    let (registration, device) = authorize_device(context, site).await.map_err(|error| site.failed(error.error))?;
    let page = device.verification_uri_complete.as_deref().unwrap_or(&device.verification_uri);
    screen.show_code(&site.session, page, &device.user_code);
    if open_browser {
        match browser::open(&context.environment, &context.trust, page) {
            Ok(program) => tracing::debug!(program, "started a program to open the page"),
            Err(reason) => screen.browser_not_opened(&reason),
        }
    }
    let tokens = poll(context, site, &registration, &device, screen).await?;
    Ok(Consent { tokens, registration })
}

/// Requests a device code and its user code, with the client registration of an earlier login if there is one.
async fn authorize_device(
    context: &Context,
    site: &LoginSite,
) -> Result<(Registration, DeviceAuthorization), OidcError> {
    let LoginSite { session, settings, .. } = site;
    let until = context.clock.now() + MIN_REGISTRATION_LIFE;
    if let Some(registration) = sso::registration(context, session, until).await {
        match sso_oidc::authorize(context, settings, &registration, &session.start_url).await {
            Ok(device) => return Ok((registration, device)),
            Err(error) if error.code == OidcErrorCode::InvalidClient => {}
            Err(error) => return Err(error),
        }
    }
    let registration = sso_oidc::register(context, settings, &session.scopes).await?;
    let device = sso_oidc::authorize(context, settings, &registration, &session.start_url).await?;
    Ok((registration, device))
}

/// Polls for the tokens until the user agrees or the code expires.
async fn poll(
    context: &Context,
    site: &LoginSite,
    registration: &Registration,
    device: &DeviceAuthorization,
    screen: &mut LoginScreen<'_>,
) -> Result<OidcTokens, CommandError> {
    let end = Instant::now() + device.expires_in;
    let mut interval = device.interval;
    loop {
        screen.wait(Instant::now() + interval, end).await;
        match sso_oidc::issue(context, &site.settings, registration, &device.device_code).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => match error.code {
                OidcErrorCode::Pending => {}
                OidcErrorCode::SlowDown => interval += SLOW_DOWN_STEP,
                OidcErrorCode::AccessDenied => {
                    let session = &site.session;
                    return Err(CommandError::new(format!(
                        "{session}: the request was denied in the browser; run the command again, and allow the request"
                    )));
                }
                OidcErrorCode::Expired => return Err(site.code_expired()),
                OidcErrorCode::Other if error.error.kind.is_transient() => {
                    tracing::debug!(%error, "the login request failed; retrying");
                }
                OidcErrorCode::InvalidGrant | OidcErrorCode::InvalidClient | OidcErrorCode::Other => {
                    return Err(site.failed(error.error));
                }
            },
        }
        if Instant::now() >= end {
            return Err(site.code_expired());
        }
    }
}

async fn store(
    context: &Context,
    site: &LoginSite,
    consent: Consent,
    screen: &mut LoginScreen<'_>,
) -> Result<(), CommandError> {
    let Consent { tokens, registration } = consent;
    let session = &site.session;
    let is_refreshable = session.name.is_some() && tokens.refresh_token.is_some();
    let until: SystemTime = context.clock.now() + tokens.expires_in;
    if let Err(error) = sso::keep_registration(context, session, &registration).await {
        tracing::warn!(%error, "the client registration was not stored; the next login registers again");
    }
    sso::store(context, session, tokens, &registration).await.map_err(|error| site.failed(error))?;
    screen.done(&format!(
        "logged in: {session}, until {}{}",
        timestamp(until),
        if is_refreshable { "; refreshed automatically until the session ends" } else { "" }
    ));
    Ok(())
}
