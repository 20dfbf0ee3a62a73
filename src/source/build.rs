//! Builds the source chain of an identity from its configuration.

use crate::aws::settings::Settings;
use crate::context::Context;
use crate::model::outcome::{Lookup, TraceStep};
use crate::source::assume_role::AssumeRole;
use crate::source::chain::{Chain, merge_credentials};
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::imds::MetadataCredentials;
use crate::source::process::ProcessCredentials;
use crate::source::profile::ConfigCredentials;
use crate::source::session_token::SessionTokenSource;
use crate::source::spec::{LongLivedKeys, OnFailure, SourceKind, SourceSpec};
use crate::source::sso::SsoRole;
use crate::source::static_keys::StaticCredentials;
use crate::source::url::UrlCredentials;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{BoxFuture, Source};

/// Builds the chain of an identity.
pub(crate) fn chain(specs: &[SourceSpec], on_failure: OnFailure, long_lived_keys: LongLivedKeys) -> Chain {
    let is_only = specs.len() == 1;
    let profile = specs.iter().find_map(|spec| ConfigCredentials::of_spec(&spec.kind));
    let sources = specs.iter().map(|spec| {
        let source = match (&spec.kind, &profile) {
            // As in the SDKs, a profile in the chain may set the endpoint of the metadata service.
            (SourceKind::Imds { allow_v1 }, Some(profile)) => with_region(
                Box::new(MetadataCredentials::new(*allow_v1, is_only).with_settings_of(Box::new(profile.clone()))),
                spec,
            ),
            _ => source(spec, is_only),
        };
        match long_lived_keys {
            LongLivedKeys::Direct => source,
            LongLivedKeys::Session { duration } => Box::new(SessionTokenSource::new(source, duration)) as _,
        }
    });
    merge_credentials(sources).on_failure(on_failure)
}

/// Builds one source. `is_only` is true if the chain has no other source.
fn source(spec: &SourceSpec, is_only: bool) -> Box<dyn Source> {
    let source: Box<dyn Source> = match &spec.kind {
        SourceKind::Static { access_key_id, secret_access_key, session_token } => Box::new(
            StaticCredentials::from_texts(access_key_id.clone(), secret_access_key.clone(), session_token.clone()),
        ),
        SourceKind::Url(text) => Box::new(UrlCredentials::from_text(text.clone())),
        SourceKind::Environment => Box::new(EnvironmentCredentials::new()),
        SourceKind::Profile { name, credentials_file, config_file } => {
            Box::new(ConfigCredentials::of(name.clone(), credentials_file.clone(), config_file.clone()))
        }
        SourceKind::Container => Box::new(ContainerCredentials::new()),
        SourceKind::Imds { allow_v1 } => Box::new(MetadataCredentials::new(*allow_v1, is_only)),
        SourceKind::Process(program) => Box::new(ProcessCredentials::new(program.clone())),
        SourceKind::AssumeRole { role, base } => {
            let is_chained = matches!(
                base.kind,
                SourceKind::AssumeRole { .. }
                    | SourceKind::WebIdentity { .. }
                    | SourceKind::Sso { .. }
                    | SourceKind::Container
                    | SourceKind::Imds { .. }
            );
            let role = AssumeRole::new(role.clone(), source(base, true)).chained(is_chained);
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
