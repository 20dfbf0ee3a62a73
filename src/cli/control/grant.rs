//! `credenza grant`: makes a client for one task, and prints the variables for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::child_environment::{CLEARED, NO_PROXY, has_proxy, no_proxy};
use crate::cli::command_options::PolicyOptions;
use crate::cli::control::answer::{encoded, json, time_text};
use crate::cli::control::client::{ControlRequest, ask, exchange};
use crate::cli::control::client_file::ClientFile;
use crate::cli::control::{CommandOutput, ControlInputs};
use crate::cli::error::CommandError;
use crate::cli::output::formats::ShellDialect;
use crate::cli::output::{Variable, lines, region_endpoint_variables};
use crate::cli::region_endpoint::RegionEndpoint;
use crate::config::listen::ListenAddress;
use crate::http::url::{Url, UrlHost};
use crate::model::auth_token;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::secret::Secret;
use crate::model::session_limits::check_policies;
use crate::model::text::Escaped;
use crate::source::policy_file;

const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The grant that the user wants, and the form of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantCommand {
    pub(crate) name: ClientName,
    pub(crate) identity: IdentityName,
    pub(crate) period: Duration,
    pub(crate) policies: PolicyOptions,
    /// The new file for the token.
    pub(crate) client_file: Option<PathBuf>,
    /// Ends an earlier grant of this name.
    pub(crate) replace: bool,
    /// The form of the output; `None` is JSON.
    pub(crate) dialect: Option<ShellDialect>,
}

#[derive(Deserialize)]
struct MadeGrant {
    name: Box<str>,
    identity: Box<str>,
    expires: Box<str>,
    /// The URL of the credentials. `None` if no TCP address listens.
    url: Option<Box<str>>,
    token: Secret,
    /// The path of a Unix listener.
    socket: Option<Box<str>>,
    #[serde(default)]
    region: Option<Box<str>>,
    #[serde(default)]
    endpoint: Option<Box<str>>,
}

/// Makes a grant.
///
/// # Errors
/// If no daemon answers or it refuses, STS would refuse the policy, or the file for the token cannot be made. No grant is left
/// then.
pub(crate) async fn grant(inputs: &ControlInputs, request: &GrantCommand) -> Result<CommandOutput, CommandError> {
    let policy = match &request.policies.policy {
        Some(path) => Some(policy_file::read(&inputs.context, path).await.map_err(CommandError::new)?),
        None => None,
    };
    check_policies(policy.as_ref(), &request.policies.policy_arn).map_err(CommandError::new)?;
    let policy: Option<Value> = match policy {
        Some(policy) => Some(serde_json::from_str(policy.as_str()).map_err(|error| {
            CommandError::new(format!("the session policy cannot be sent: {error}. Make it simpler"))
        })?),
        None => None,
    };
    // First, so that a wrong path makes no grant.
    let file =
        request.client_file.as_deref().map(|path| ClientFile::create(path, &inputs.context.trust)).transpose()?;
    let body = serde_json::json!({
        "name": request.name.as_str(), "identity": request.identity.as_str(), "seconds": request.period.as_secs(),
        "replace": request.replace, "policy": policy, "policy_arns": request.policies.policy_arn,
    });
    let what = format!("cannot make the grant {}", request.name);
    let answer: MadeGrant = ask(inputs, &what, ControlRequest::post("/grants", &body)).await?;
    match output(inputs, request, file, &answer) {
        Ok(output) => Ok(output),
        Err(error) => {
            // No client has the token, so the grant would only take its name.
            let revoked =
                exchange(inputs, ControlRequest::delete(format!("/grants/{}", encoded(request.name.as_str()))));
            Err(match revoked.await {
                Ok((_, Ok(_))) => CommandError::new(format!("{error}; the grant is revoked")),
                _ => CommandError::new(format!("{error}; revoke the grant with `credenza revoke {}`", request.name)),
            })
        }
    }
}

fn output(
    inputs: &ControlInputs,
    request: &GrantCommand,
    file: Option<ClientFile>,
    answer: &MadeGrant,
) -> Result<CommandOutput, CommandError> {
    let wrong = |reason: &str| {
        CommandError::new(format!("grant {}: the daemon's answer cannot be used: {reason}. Update both", request.name))
    };
    auth_token::check(answer.token.expose()).map_err(|reason| wrong(&format!("its token: {reason}")))?;
    let url = answer.url.as_deref().map(|text| Ok((text, Url::parse(text)?))).transpose();
    let url = url.map_err(|_: crate::http::url::UrlSyntaxError| wrong("its URL is none"))?;
    if url.is_none() && answer.socket.is_none() {
        return Err(wrong("it names neither a URL nor a socket"));
    }
    let path = file.as_ref().map(ClientFile::path);
    let now = inputs.context.clock.now();
    let mut output = match request.dialect {
        None => json_document(answer, path),
        Some(dialect) => {
            CommandOutput { text: shell_lines(inputs, answer, url.as_ref(), path, dialect)?, notes: Vec::new() }
        }
    };
    output.notes.push(format!(
        "grant {} of identity {} ends at {}, and with the daemon: a restart ends it",
        Escaped(&answer.name),
        Escaped(&answer.identity),
        time_text(&answer.expires, now)
    ));
    if let Some(warning) = url.as_ref().and_then(|(_, url)| sdk_warning(url)) {
        output.notes.push(warning);
    }
    if let (None, Some(socket)) = (&url, &answer.socket) {
        output.notes.push(format!("no address listens, only the Unix socket {}", Escaped(socket)));
    }
    // Last, so that an error leaves no token behind.
    file.map_or(Ok(()), |file| file.write(&answer.token))?;
    Ok(output)
}

/// Returns a warning if SDKs refuse credentials of this URL.
fn sdk_warning(url: &Url) -> Option<String> {
    let UrlHost::Address(address) = *url.host() else { return None };
    let address = ListenAddress::Tcp(SocketAddr::new(address, url.port()));
    address.sdk_warning().map(|warning| warning.to_string())
}

fn json_document(answer: &MadeGrant, file: Option<&Path>) -> CommandOutput {
    #[derive(Serialize)]
    struct GrantDocument<'a> {
        name: &'a str,
        identity: &'a str,
        expires: &'a str,
        url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        token_file: Option<&'a Path>,
        #[serde(skip_serializing_if = "Option::is_none")]
        socket: Option<&'a str>,
    }
    json(&GrantDocument {
        name: &answer.name,
        identity: &answer.identity,
        expires: &answer.expires,
        url: answer.url.as_deref(),
        token: file.is_none().then(|| answer.token.expose()),
        token_file: file,
        socket: answer.socket.as_deref().filter(|_| answer.url.is_none()),
    })
}

/// Returns lines for a shell, as `env` prints them. Without `--client-file` they contain the token.
fn shell_lines(
    inputs: &ControlInputs,
    answer: &MadeGrant,
    url: Option<&(&str, Url)>,
    file: Option<&Path>,
    dialect: ShellDialect,
) -> Result<Zeroizing<String>, CommandError> {
    let set = |name, value: &str| (name, Some(Zeroizing::new(value.to_owned())));
    let environment = &inputs.context.environment;
    // Keys of another store must not go to AWS, and a program without a grant must not take the role of the instance.
    let (region, endpoint) = (answer.region.as_deref(), answer.endpoint.as_deref());
    let region_endpoint = RegionEndpoint { region, endpoint, disables_imds: true };
    let mut variables: Vec<Variable> = region_endpoint_variables(region_endpoint, environment, dialect).collect();
    if let Some((text, url)) = url {
        let address = match url.host() {
            UrlHost::Address(address) => *address,
            UrlHost::Name(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        if has_proxy(environment) {
            let hosts = no_proxy(environment, address);
            variables.extend(NO_PROXY.map(|name| set(name, &hosts)));
        }
        variables.push(set(URI, text));
    }
    let (token, other) = match file {
        Some(file) => (set(TOKEN_FILE, &file.to_string_lossy()), TOKEN),
        None => (set(TOKEN, answer.token.expose()), TOKEN_FILE),
    };
    variables.push(token);
    let mut cleared: Vec<&'static str> = CLEARED.iter().copied().chain([other]).collect();
    if url.is_none() {
        cleared.push(URI);
    }
    let mut comment = String::new();
    if dialect == ShellDialect::Dotenv {
        // A file cannot unset a variable, and some SDKs use a blank relative URI or profile.
        comment = format!("# Unset these variables before you read this file: {}\n", cleared.join(" "));
        cleared.clear();
    }
    if let (None, Some(socket)) = (url, &answer.socket) {
        comment += &format!("# Only a Unix socket listens: {}\n", Escaped(socket));
    }
    let variables: Vec<Variable> = cleared.into_iter().map(|name| (name, None)).chain(variables).collect();
    let text = lines(dialect, &variables).map_err(CommandError::new)?;
    let mut output = Zeroizing::new(String::with_capacity(comment.len() + text.len()));
    output.push_str(&comment);
    output.push_str(&text);
    Ok(output)
}
