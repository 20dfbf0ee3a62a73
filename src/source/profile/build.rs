//! Builds the source of a profile from its plan.

use crate::aws::settings::{SettingError, Settings};
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::outcome::{Lookup, TraceStep};
use crate::model::time::timestamp;
use crate::source::assume_role::AssumeRole;
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::imds::MetadataCredentials;
use crate::source::process::ProcessCredentials;
use crate::source::profile::plan::link::{CredentialSource, Method, ProfileLink};
use crate::source::sign_in::SignInCredentials;
use crate::source::spec::Program;
use crate::source::sso::SsoCredentials;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

/// Builds the source of a plan. `settings` are those of the requested profile. As in the SDKs, all requests of the
/// chain use its region and its endpoints.
///
/// The credentials get the S3 endpoint of the requested profile. Keys of another profile get the endpoint of their own
/// profile, which `s3_endpoint` returns, so that a role knows the store that they belong to.
///
/// The role chain is built in a loop, so a long chain takes no more stack than a short one.
pub(crate) fn build(
    mut link: ProfileLink,
    settings: &Settings,
    s3_endpoint: &dyn Fn(&str) -> Option<S3Endpoint>,
) -> Box<dyn Source> {
    let mut roles = Vec::new();
    let base: Box<dyn Source> = loop {
        let ProfileLink { profile, location, method } = link;
        let is_of_store = matches!(method, Method::Keys(_) | Method::Process { .. });
        let source: Box<dyn Source> = match method {
            Method::Role { role, base } => {
                roles.push((role, location, is_role_session(&base.method)));
                link = *base;
                continue;
            }
            Method::Keys(credentials) => Box::new(ProfileKeys(credentials)),
            Method::CredentialSource(CredentialSource::Environment) => Box::new(EnvironmentCredentials::keys_only()),
            Method::CredentialSource(CredentialSource::Ec2InstanceMetadata) => {
                Box::new(MetadataCredentials::new(false, true).with_settings(settings.clone()))
            }
            Method::CredentialSource(CredentialSource::EcsContainer) => Box::new(ContainerCredentials::new()),
            Method::WebIdentity { role, token_file } => {
                let source = WebIdentityCredentials::new(role, &*token_file).with_settings(settings.clone());
                break Box::new(LocatedSource { location, settings: settings.clone(), source: Box::new(source) });
            }
            Method::Process { command, account_id } => {
                let process = ProcessCredentials::new(Program::Line(command)).of_profile(&profile);
                Box::new(process.with_account_id(account_id))
            }
            Method::Sso { session, account_id, role_name } => {
                let sso = SsoCredentials::new(session, &account_id, &role_name).of_profile(&profile);
                Box::new(sso.with_settings(settings.clone()))
            }
            Method::SignIn { session } => {
                Box::new(SignInCredentials::new(&session).with_settings(settings.clone()).of_profile(&profile))
            }
        };
        let base = Box::new(LocatedSource { location, settings: Settings::default(), source });
        break if is_of_store && !roles.is_empty() { at_endpoint(s3_endpoint(&profile), base) } else { base };
    };
    let mut roles = roles.into_iter().rev();
    let Some((role, location, is_chained)) = roles.next() else {
        return at_endpoint(settings.s3_endpoint.clone(), base);
    };
    let with =
        |role: AssumeRole, location, is_chained| role.at(location).with_settings(settings.clone()).chained(is_chained);
    let first = with(AssumeRole::new(role, base), location, is_chained);
    let role = roles.fold(first, |base, (role, location, is_chained)| {
        with(AssumeRole::over_role(role, base), location, is_chained)
    });
    at_endpoint(settings.s3_endpoint.clone(), Box::new(role))
}

/// The S3 endpoint of a profile, or the reason why it must not be used.
type S3Endpoint = Result<Box<str>, SettingError>;

/// Adds the endpoint to the credentials of a source. An endpoint that must not be used is an error: without it, a
/// program would take the credentials of another store to AWS.
fn at_endpoint(endpoint: Option<S3Endpoint>, source: Box<dyn Source>) -> Box<dyn Source> {
    match endpoint {
        Some(endpoint) => Box::new(SourceAtEndpoint { endpoint, source }),
        None => source,
    }
}

/// A source with the S3 endpoint that its credentials belong to.
#[derive(Debug)]
struct SourceAtEndpoint {
    endpoint: S3Endpoint,
    source: Box<dyn Source>,
}

impl Source for SourceAtEndpoint {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move { self.trace_or_load(context, false).await.1 })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        self.source.region(context)
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(self.trace_or_load(context, true))
    }
}

impl SourceAtEndpoint {
    async fn trace_or_load(&self, context: &Context, is_traced: bool) -> (Vec<TraceStep>, Lookup) {
        let endpoint = match &self.endpoint {
            Ok(endpoint) => endpoint.clone(),
            Err(error) => return (Vec::new(), SourceError::from(error.clone()).into()),
        };
        let (steps, lookup) =
            if is_traced { self.source.trace(context).await } else { (Vec::new(), self.source.load(context).await) };
        match lookup {
            Lookup::Found(found) => (steps, Lookup::Found(Credentials { endpoint: Some(endpoint), ..found })),
            lookup => (steps, lookup),
        }
    }
}

/// Returns true if the credentials of this method are those of a role. AWS limits the duration of roles that are
/// assumed with such credentials.
fn is_role_session(method: &Method) -> bool {
    match method {
        Method::Role { .. } | Method::WebIdentity { .. } | Method::Sso { .. } => true,
        Method::CredentialSource(source) => *source != CredentialSource::Environment,
        Method::SignIn { session } => session.contains(":assumed-role/"),
        Method::Keys(_) | Method::Process { .. } => false,
    }
}

/// The static keys of a profile. Their location is that of the end of their session, if it is known.
#[derive(Debug)]
struct ProfileKeys(Credentials);

impl Source for ProfileKeys {
    fn name(&self) -> &str {
        "keys"
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        let lookup = match ended_session(&self.0, context) {
            Some(message) => SourceError::new(ErrorKind::LoginRequired, message)
                .with_hint("log in again with the tool that wrote them, or remove this line if it is about other keys")
                .at(self.0.location.clone())
                .into(),
            None => Lookup::Found(self.0.clone()),
        };
        Box::pin(std::future::ready(lookup))
    }
}

/// Returns a message if the session of these keys has ended.
pub(crate) fn ended_session(keys: &Credentials, context: &Context) -> Option<String> {
    let end = keys.expiration.filter(|end| *end <= context.clock.now())?;
    Some(format!("the session of these keys ended at {}", timestamp(end)))
}

/// The source of a profile, with a location for its errors.
#[derive(Debug)]
struct LocatedSource {
    location: Location,
    /// The settings of the requests. An error about the region gets the location of the region from them.
    settings: Settings,
    source: Box<dyn Source>,
}

impl Source for LocatedSource {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self.source.load(context).await {
                Lookup::Failed(error) => self.settings.locate(error, Some(&self.location)).into(),
                Lookup::Found(found) => Lookup::Found(Credentials { location: Some(self.location.clone()), ..found }),
                lookup @ Lookup::NotConfigured(_) => lookup,
            }
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        self.source.region(context)
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            let lookup = self.load(context).await;
            (vec![TraceStep::new(format!("{}: {}", self.location, self.source.name()), &lookup)], lookup)
        })
    }
}
