//! `credenza console`: opens the AWS console as an identity.

pub(crate) mod page;
pub(crate) mod session;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::aws::federation::{ConsoleService, console_page, login_url};
use crate::cli::command_options::PolicyOptions;
use crate::cli::console::page::{LoginPage, PAGE_TIMEOUT};
use crate::cli::console::session::console_session;
use crate::cli::error::CommandError;
use crate::cli::find_identity::IdentityChoice;
use crate::cli::load_identity::load_identity;
use crate::cli::login::browser;
use crate::config::identity::Identity;
use crate::context::Context;
use crate::model::secret::Secret;
use crate::source::spec::RoleSpec;

/// The time for which AWS accepts a login URL (IAM User Guide).
const URL_MINUTES: u32 = 15;

/// The request of `console`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleRequest {
    pub(crate) identity: IdentityChoice,
    /// The service whose page is opened. `None` means the start page.
    pub(crate) service: Option<ConsoleService>,
    /// Prints the login URL and opens no browser.
    pub(crate) print: bool,
    /// The duration of the console session. `None` means until the credentials expire.
    pub(crate) duration: Option<Duration>,
    pub(crate) role: Option<RoleSpec>,
    pub(crate) policies: PolicyOptions,
}

/// Opens the console in the browser of the user. Returns the text for standard output: the login URL if it was asked
/// for, or if there is no browser here.
///
/// # Errors
/// If the identity has no credentials, AWS gives no console session for them, or no browser comes.
pub(crate) async fn console(
    context: &Context,
    identity: &Identity,
    request: &ConsoleRequest,
) -> Result<Zeroizing<String>, CommandError> {
    let loaded = load_identity(context, identity).await?;
    let failed =
        |error| CommandError::new(format!("identity {}: no console session", identity.name)).with_source_error(error);
    let settings = loaded.chain.settings(context, loaded.winner).await;
    let region = loaded.chain.region(context, Some(loaded.winner)).await.or_else(|| settings.region.clone());
    let settings = settings.with_region(region.clone());
    let context = &context.for_identity(&identity.name);
    let session = console_session(context, &settings, identity, &loaded.credentials, request.duration);
    let session = session.await.map_err(failed)?;
    let page = console_page(region.as_deref(), request.service.as_ref());
    let url =
        login_url(context, &settings, &session.credentials, session.asked_duration, &page).await.map_err(failed)?;
    if request.print {
        return Ok(line(&url));
    }
    open(context, identity, &url).await
}

/// Opens the login URL in the browser.
async fn open(context: &Context, identity: &Identity, url: &Secret) -> Result<Zeroizing<String>, CommandError> {
    let page = LoginPage::open(url).await?;
    let opened = browser::open_on_loopback(&context.environment, &context.trust, &page.url());
    let program = match opened {
        Ok(program) => program,
        // Standard output may be a log or a file, which should hold no secret unasked.
        Err(reason) if !io::stdout().is_terminal() => {
            return Err(CommandError::new(format!(
                "no browser was opened here: {reason}. --print prints the login URL, which is a secret"
            )));
        }
        Err(reason) => {
            say(&format!(
                "no browser was opened here: {reason}. Open this URL within {URL_MINUTES} minutes; whoever has it has the session:"
            ));
            return Ok(line(url));
        }
    };
    tracing::debug!(program, "started a program to open the console");
    say(&format!("opening the AWS console as identity {} in a browser …", identity.name));
    page.serve(context.trust.ours, PAGE_TIMEOUT).await?;
    Ok(Zeroizing::default())
}

fn say(text: &str) {
    // Ignore errors: the reader may have closed the pipe.
    let _ = writeln!(io::stderr(), "credenza: {text}");
}

fn line(url: &Secret) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n", url.expose()))
}
