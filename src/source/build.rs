//! Builds the source chain of an identity from its configuration.

use std::sync::Arc;

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::error::SourceError;
use crate::model::narrowing::Narrowing;
use crate::model::outcome::{Lookup, TraceStep};
use crate::model::session_name::{OWNER, Placeholder, SessionNames};
use crate::os::accounts;
use crate::source::assume_role::AssumeRole;
use crate::source::chain::{Chain, merge_credentials};
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::exchange::ExchangedSource;
use crate::source::imds::MetadataCredentials;
use crate::source::narrow::{NarrowedEnvironment, NarrowingExchange, RefusedSource, filled, filled_role};
use crate::source::process::ProcessCredentials;
use crate::source::profile::ConfigCredentials;
use crate::source::role_narrowing::RoleNarrowing;
use crate::source::session_token::SessionTokenExchange;
use crate::source::spec::{ChainSpec, LongLivedKeys, SourceKind, SourceSpec};
use crate::source::sso::SsoRole;
use crate::source::static_keys::StaticCredentials;
use crate::source::url::UrlCredentials;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

/// Builds the chain of an identity.
pub(crate) fn chain(spec: &ChainSpec<'_>) -> Chain {
    let names = session_names(spec);
    let profile = spec.sources.iter().find_map(|source| ConfigCredentials::of_spec(&source.kind));
    let builder = ChainBuilder {
        spec,
        narrowing: spec.narrowing.map(|narrowing| Arc::new(RoleNarrowing::new(narrowing.clone(), names.clone()))),
        names,
        profile,
    };
    let sources = spec.sources.iter().map(|source_spec| {
        builder.source(source_spec).unwrap_or_else(|error| {
            Box::new(RefusedSource { name: source(source_spec, false, None).name().into(), error })
        })
    });
    merge_credentials(sources).on_failure(spec.on_failure)
}

/// Returns the names of the client, its user and the identity, for session names and tags.
fn session_names(spec: &ChainSpec<'_>) -> SessionNames {
    let identity = spec.identity.as_str().into();
    match spec.narrowing {
        Some(Narrowing { client: Some(client), user, .. }) => {
            SessionNames { client: Some(client.clone()), user: user.clone(), identity }
        }
        narrowing => {
            let user = narrowing.and_then(|narrowing| narrowing.user.clone());
            let is_needed = spec.names(Placeholder::User);
            let user = user.or_else(|| is_needed.then(|| accounts::own_user().into()));
            SessionNames { client: Some(OWNER.into()), user, identity }
        }
    }
}

struct ChainBuilder<'a> {
    spec: &'a ChainSpec<'a>,
    narrowing: Option<Arc<RoleNarrowing>>,
    names: SessionNames,
    profile: Option<ConfigCredentials>,
}

impl ChainBuilder<'_> {
    /// Builds one source of the chain, with the role that is assumed with it.
    ///
    /// # Errors
    /// If a name of the session is unknown, or a role with a session policy would get another one.
    fn source(&self, spec: &SourceSpec) -> Result<Box<dyn Source>, SourceError> {
        let mut spec = filled(spec, &self.names)?;
        let Some(assume) = self.spec.assume else {
            if let (Some(narrowing), SourceKind::AssumeRole { role, .. } | SourceKind::WebIdentity { role, .. }) =
                (&self.narrowing, &mut spec.kind)
            {
                narrowing.apply(role)?;
            }
            let source = self.own_source(&spec, self.narrowing.as_ref());
            return Ok(match (&self.narrowing, self.spec.long_lived_keys) {
                (Some(narrowing), _) if narrowing.has_policy() => {
                    Box::new(ExchangedSource::new(source, NarrowingExchange(Arc::clone(narrowing))))
                }
                (_, LongLivedKeys::Session { duration }) => {
                    Box::new(ExchangedSource::new(source, SessionTokenExchange { duration }))
                }
                (_, LongLivedKeys::Direct) => source,
            });
        };
        let mut role = filled_role(assume, &self.names)?;
        if let Some(narrowing) = &self.narrowing {
            narrowing.apply(&mut role)?;
        }
        let base = self.own_source(&spec, None);
        let role = AssumeRole::new(role, base).chained(spec.kind.is_role_session()).with_optional_base();
        let role = Box::new(role.with_region(spec.region));
        Ok(match &self.narrowing {
            // The request has narrowed the session already. This is a second look.
            Some(narrowing) if narrowing.has_policy() => {
                Box::new(ExchangedSource::new(role, NarrowingExchange(Arc::clone(narrowing))))
            }
            _ => role,
        })
    }

    /// Builds the source itself.
    fn own_source(&self, spec: &SourceSpec, narrowing: Option<&Arc<RoleNarrowing>>) -> Box<dyn Source> {
        let is_only = self.spec.sources.len() == 1;
        match (&spec.kind, &self.profile) {
            // As in the SDKs, a profile in the chain may set the endpoint of the metadata service.
            (SourceKind::Imds { allow_v1 }, Some(profile)) => with_region(
                Box::new(MetadataCredentials::new(*allow_v1, is_only).with_settings_of(Box::new(profile.clone()))),
                spec,
            ),
            _ => source(spec, is_only, narrowing),
        }
    }
}

/// Builds one source. `is_only` is true if the chain has no other source. `narrowing` narrows a role that only the load
/// finds; the caller has narrowed the roles of the specification.
fn source(spec: &SourceSpec, is_only: bool, narrowing: Option<&Arc<RoleNarrowing>>) -> Box<dyn Source> {
    let source: Box<dyn Source> = match &spec.kind {
        SourceKind::Static { access_key_id, secret_access_key, session_token } => Box::new(
            StaticCredentials::from_texts(access_key_id.clone(), secret_access_key.clone(), session_token.clone()),
        ),
        SourceKind::Url(text) => Box::new(UrlCredentials::from_text(text.clone())),
        SourceKind::Environment => match narrowing {
            Some(narrowing) => Box::new(NarrowedEnvironment(Arc::clone(narrowing))),
            None => Box::new(EnvironmentCredentials::new()),
        },
        SourceKind::Profile { name, credentials_file, config_file } => {
            let source = ConfigCredentials::of(name.clone(), credentials_file.clone(), config_file.clone());
            Box::new(source.narrowed(narrowing.cloned()))
        }
        SourceKind::Container => Box::new(ContainerCredentials::new()),
        SourceKind::Imds { allow_v1 } => Box::new(MetadataCredentials::new(*allow_v1, is_only)),
        SourceKind::Process(program) => Box::new(ProcessCredentials::new(program.clone())),
        SourceKind::AssumeRole { role, base } => {
            let role = AssumeRole::new(role.clone(), source(base, true, None)).chained(base.kind.is_role_session());
            Box::new(role.with_region(spec.region.clone()))
        }
        SourceKind::WebIdentity { role, token_file } => {
            let role = WebIdentityCredentials::new(role.clone(), token_file.clone());
            Box::new(role.with_region(spec.region.clone()))
        }
        SourceKind::Sso { session, account_id, role_name } => Box::new(SsoRole::new(session, account_id, role_name)),
    };
    with_region(source, spec)
}

fn with_region(source: Box<dyn Source>, spec: &SourceSpec) -> Box<dyn Source> {
    match &spec.region {
        Some(region) => Box::new(RegionalSource { source, region: region.clone() }),
        None => source,
    }
}

/// A source with a configured region.
#[derive(Debug)]
struct RegionalSource {
    source: Box<dyn Source>,
    region: Box<str>,
}

impl Source for RegionalSource {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        self.source.load(context)
    }

    fn region<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(Some(self.region.clone())))
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(async move { self.source.settings(context).await.with_region(Some(self.region.clone())) })
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        self.source.trace(context)
    }
}
