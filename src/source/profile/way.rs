//! From the plan of a profile to the source that carries it out.

use super::plan::{CredentialSource, Hop, Way};
use crate::aws::settings::Settings;
use crate::credentials::{Credentials, Escaped, Origin};
use crate::source::assume_role::AssumeRole;
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::imds::MetadataCredentials;
use crate::source::process::{ProcessCredentials, Program};
use crate::source::sign_in::SignInCredentials;
use crate::source::sso::SsoCredentials;
use crate::source::web_identity::WebIdentityCredentials;
use crate::source::{self, Answer, Boxed, Source};
use crate::world::World;

/// The source that a plan comes to. `settings` are those of the profile that was asked for: as in the SDKs, every call on
/// the way is made in its region and to its endpoints.
///
/// Roles upon roles are met in a loop: a long chain takes no more stack than a short one.
pub(super) fn carry_out(mut hop: Hop, settings: &Settings) -> Box<dyn Source> {
    let mut roles = Vec::new();
    let end: Box<dyn Source> = loop {
        let Hop { profile, stands, way } = hop;
        let place = format!("{stands}: profile {}", Escaped(&profile));
        let source: Box<dyn Source> = match way {
            Way::Role { role, base } => {
                roles.push((role, place, gives_a_role(&base.way)));
                hop = *base;
                continue;
            }
            Way::Keys(credentials) => Box::new(Keys(credentials)),
            Way::CredentialSource(CredentialSource::Environment) => Box::new(EnvironmentCredentials::keys_only()),
            Way::CredentialSource(CredentialSource::Ec2InstanceMetadata) => {
                Box::new(MetadataCredentials::new(false, true).with_settings(settings.clone()))
            }
            Way::CredentialSource(CredentialSource::EcsContainer) => Box::new(ContainerCredentials::new()),
            Way::WebIdentity { role, token_file } => {
                let source = WebIdentityCredentials::new(role, &*token_file).with_settings(settings.clone());
                break Box::new(Placed { place: place.into(), settings: settings.clone(), source: Box::new(source) });
            }
            Way::Process { command, account_id } => {
                Box::new(ProcessCredentials::new(Program::Line(command)).with_account_id(account_id))
            }
            Way::Sso { session, account_id, role_name } => {
                let sso = SsoCredentials::new(session, &account_id, &role_name).of_profile(&profile);
                Box::new(sso.with_settings(settings.clone()))
            }
            Way::SignIn { session } => {
                Box::new(SignInCredentials::new(&session).with_settings(settings.clone()).of_profile(&profile))
            }
        };
        break Box::new(Placed { place: place.into(), settings: Settings::default(), source });
    };
    let mut roles = roles.into_iter().rev();
    let Some((role, place, is_chained)) = roles.next() else { return end };
    let with = |role: AssumeRole, place, is_chained| role.at(place).with_settings(settings.clone()).chained(is_chained);
    let first = with(AssumeRole::new(role, end), place, is_chained);
    Box::new(roles.fold(first, |base, (role, place, is_chained)| with(AssumeRole::upon(role, base), place, is_chained)))
}

/// Whether the credentials of this way are those of a role, for which AWS limits what they assume.
fn gives_a_role(way: &Way) -> bool {
    match way {
        Way::Role { .. } | Way::WebIdentity { .. } | Way::Sso { .. } => true,
        Way::CredentialSource(source) => *source != CredentialSource::Environment,
        Way::SignIn { session } => session.contains(":assumed-role/"),
        Way::Keys(_) | Way::Process { .. } => false,
    }
}

/// Keys that stand in a profile.
#[derive(Debug)]
struct Keys(Credentials);

impl Source for Keys {
    fn name(&self) -> &str {
        "keys"
    }

    fn load<'a>(&'a self, _: &'a World) -> Boxed<'a, Answer> {
        Box::pin(std::future::ready(Answer::Found(self.0.clone())))
    }

    fn region<'a>(&'a self, _: &'a World) -> Boxed<'a, Option<Box<str>>> {
        Box::pin(std::future::ready(None))
    }
}

/// A source that is written down in a profile: its failures say where.
#[derive(Debug)]
struct Placed {
    place: Box<str>,
    /// Those that its calls are made with, as far as the region in them is the profile's.
    settings: Settings,
    source: Box<dyn Source>,
}

impl Source for Placed {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move {
            match self.source.load(world).await {
                Answer::Failing(failure) => self.settings.locate(failure, Some(&self.place)).into(),
                Answer::Found(found) => Answer::Found(Credentials { origin: Origin::new(&*self.place), ..found }),
                answer @ Answer::NotConfigured(_) => answer,
            }
        })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        self.source.region(world)
    }

    fn trace<'a>(&'a self, world: &'a World) -> Boxed<'a, (Vec<source::Hop>, Answer)> {
        Box::pin(async move {
            let answer = self.load(world).await;
            (vec![source::Hop::new(format!("{}: {}", self.place, self.source.name()), &answer)], answer)
        })
    }
}
