//! `credenza login`: logs in at IAM Identity Center, so that nobody needs the AWS CLI for it.

mod browser;
mod places;
mod screen;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::time::Instant;

use super::Failed;
use crate::aws::oidc::{self, Device, Issued, Refused, Registration, Said};
use crate::clock::timestamp;
use crate::signals::Signals;
use crate::sso;
use crate::world::World;
use places::Place;
use screen::Screen;

/// A registration has to outlive the log-in: without it there is no refresh. AWS gives them for 90 days.
const SHORTEST_REGISTRATION: Duration = Duration::from_secs(24 * 3600);

/// What a poll is delayed by when the service says that we ask too often (RFC 8628, section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// Which log-ins are wanted, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Where.
    pub of: Of,
    /// Whether a browser is opened.
    pub browser: bool,
    /// What stands in the place of `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// What stands in the place of `~/.aws/config`.
    pub config_file: Option<PathBuf>,
}

/// Where to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// Where the profile says that `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names, else `default`.
    #[default]
    Default,
    /// Where this profile says.
    Profile(Box<str>),
    /// At this `[sso-session …]`.
    Session(Box<str>),
    /// Everywhere, once each.
    All,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
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
pub async fn login(world: &World, wish: &Wish, out: &mut dyn Write, is_terminal: bool) -> Result<Ended, Failed> {
    let (places, mut failures) = places::find(world, wish).await?;
    let mut screen = Screen::new(out, is_terminal);
    let mut signals = Signals::listen(&[SIGINT, SIGTERM])
        .map_err(|error| Failed::because(format!("cannot listen to signals: {error}")))?;
    for place in &places {
        let asked = tokio::select! {
            asked = ask(world, place, wish.browser, &mut screen) => asked,
            arrived = signals.next() => {
                screen.interrupted();
                return Ok(Ended::Interrupted(arrived.signal));
            }
        };
        // What the service gave is kept, whatever signal comes now.
        let kept = match asked {
            Ok(consent) => keep(world, place, consent, &mut screen).await,
            Err(failed) => Err(failed),
        };
        if let Err(failed) = kept {
            screen.clear();
            failures.push(failed.to_string());
        }
    }
    if failures.is_empty() { Ok(Ended::Done) } else { Err(Failed::because(failures.join("\ncredenza: "))) }
}

/// What a person agreed to.
struct Consent {
    issued: Issued,
    registration: Registration,
}

async fn ask(world: &World, place: &Place, browser: bool, screen: &mut Screen<'_>) -> Result<Consent, Failed> {
    let (registration, device) = begin(world, place).await.map_err(|refused| place.failed(&refused.failure))?;
    let page = device.verification_uri_complete.as_deref().unwrap_or(&device.verification_uri);
    screen.ask(&place.session, page, &device.user_code);
    if browser {
        match browser::open(&world.environment, world.uid(), page) {
            Ok(program) => tracing::debug!(program, "a browser was asked to open the page"),
            Err(why) => screen.not_opened(why),
        }
    }
    let issued = wait(world, place, &registration, &device, screen).await?;
    Ok(Consent { issued, registration })
}

/// A code for the person, with the registration of an earlier log-in where there is one.
async fn begin(world: &World, place: &Place) -> Result<(Registration, Device), Refused> {
    let Place { session, settings, .. } = place;
    let until = world.clock.now() + SHORTEST_REGISTRATION;
    if let Some(registration) = sso::registration(world, session, until).await {
        match oidc::authorize(world, settings, &registration, &session.start_url).await {
            Ok(device) => return Ok((registration, device)),
            Err(refused) if refused.said == Said::InvalidClient => {}
            Err(refused) => return Err(refused),
        }
    }
    let registration = oidc::register(world, settings, &session.scopes).await?;
    let device = oidc::authorize(world, settings, &registration, &session.start_url).await?;
    Ok((registration, device))
}

async fn wait(
    world: &World,
    place: &Place,
    registration: &Registration,
    device: &Device,
    screen: &mut Screen<'_>,
) -> Result<Issued, Failed> {
    let end = Instant::now() + device.expires_in;
    let mut interval = device.interval;
    loop {
        screen.wait(Instant::now() + interval, end).await;
        match oidc::issue(world, &place.settings, registration, &device.device_code).await {
            Ok(issued) => return Ok(issued),
            Err(refused) => match refused.said {
                Said::Pending => {}
                Said::SlowDown => interval += SLOWER,
                Said::AccessDenied => {
                    let session = &place.session;
                    return Err(Failed::because(format!("{session}: the request was refused in the browser")));
                }
                Said::Expired => return Err(place.too_late()),
                Said::Other if refused.failure.kind.passes() => {
                    tracing::debug!(error = %refused, "no answer about the log-in; asking again");
                }
                Said::InvalidGrant | Said::InvalidClient | Said::Other => return Err(place.failed(&refused.failure)),
            },
        }
        if Instant::now() >= end {
            return Err(place.too_late());
        }
    }
}

async fn keep(world: &World, place: &Place, consent: Consent, screen: &mut Screen<'_>) -> Result<(), Failed> {
    let Consent { issued, registration } = consent;
    let session = &place.session;
    let refreshed = session.name.is_some() && issued.refresh_token.is_some();
    let until: SystemTime = world.clock.now() + issued.expires_in;
    if let Err(failure) = sso::keep_registration(world, session, &registration).await {
        tracing::warn!(error = %failure, "the next log-in has to register this program again");
    }
    sso::store(world, session, issued, &registration).await.map_err(|failure| place.failed(&failure))?;
    screen.done(&format!(
        "logged in: {session}, until {}{}",
        timestamp(until),
        if refreshed { " and, refreshed by itself, as long as the session lasts" } else { "" }
    ));
    Ok(())
}
