//! From what the configuration says of an identity to what keeps it.

use crate::chain::{Chain, merge_credentials};
use crate::config::Identity;
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::imds::MetadataCredentials;
use crate::source::keys::StaticCredentials;
use crate::source::profile::ConfigCredentials;
use crate::source::spec::{SourceKind, SourceSpec};
use crate::source::url::UrlCredentials;
use crate::source::{Answer, Boxed, Source};
use crate::world::World;

/// The chain of an identity.
#[must_use]
pub fn chain(identity: &Identity) -> Chain {
    let alone = identity.sources.len() == 1;
    let sources = identity.sources.iter().map(|spec| source(spec, alone));
    merge_credentials(sources).on_failure(identity.on_failure)
}

/// The source that this describes. `alone` says whether it is the only one of its chain.
fn source(spec: &SourceSpec, alone: bool) -> Box<dyn Source> {
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
        SourceKind::Imds { allow_v1 } => Box::new(MetadataCredentials::new(*allow_v1, alone)),
    };
    match &spec.region {
        Some(region) => Box::new(Regional { source, region: region.clone() }),
        None => source,
    }
}

/// A source with a region of its own, written beside it.
#[derive(Debug)]
struct Regional {
    source: Box<dyn Source>,
    region: Box<str>,
}

impl Source for Regional {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        self.source.load(world)
    }

    fn region<'a>(&'a self, _: &'a World) -> Boxed<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(Some(self.region.clone())))
    }
}
