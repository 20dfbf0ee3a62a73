//! A role, assumed with the credentials of another source.

use std::time::{Duration, SystemTime};

use super::keys::read;
use super::spec::{RoleSpec, Text};
use super::{Answer, Boxed, Failure, Hop, Source};
use crate::aws::arn::Shown;
use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::clock::timestamp;
use crate::credentials::{Credentials, Origin};
use crate::sessions::{Fingerprint, Parts};
use crate::world::World;

/// AWS gives a role that was assumed with the credentials of another role no more than this, whatever is asked for
/// (AWS IAM User Guide, "Role chaining").
const LONGEST_CHAINED: Duration = Duration::from_secs(3600);

/// Asks STS for the credentials of a role. Those that somebody in this process has obtained for exactly the same request
/// by the same caller are shared.
///
/// What its base says stands in the way as it would by itself; a base that is *not configured* is misconfigured here,
/// since somebody named it.
#[derive(Debug)]
pub struct AssumeRole {
    name: Box<str>,
    place: Option<Box<str>>,
    role: RoleSpec,
    base: Base,
    settings: Option<Settings>,
    region: Option<Box<str>>,
    is_chained: bool,
}

/// Who assumes a role.
#[derive(Debug)]
enum Base {
    Role(Box<AssumeRole>),
    Other(Box<dyn Source>),
}

impl Base {
    fn source(&self) -> &dyn Source {
        match self {
            Self::Role(role) => &**role,
            Self::Other(source) => &**source,
        }
    }
}

impl AssumeRole {
    /// This role, assumed by whatever `base` gives. STS is called as that source has it.
    #[must_use]
    pub fn new(role: RoleSpec, base: Box<dyn Source>) -> Self {
        Self::over(role, Base::Other(base))
    }

    /// This role, assumed by another one. However many follow each other, they are loaded in a loop: it takes no more
    /// stack than one.
    #[must_use]
    pub fn upon(role: RoleSpec, base: Self) -> Self {
        Self::over(role, Base::Role(Box::new(base)))
    }

    fn over(role: RoleSpec, base: Base) -> Self {
        let name = format!("role {}", Shown(&role.arn)).into();
        Self { name, place: None, role, base, settings: None, region: None, is_chained: false }
    }

    /// The same, written at this place: its own failures begin with it, those of its base with theirs.
    #[must_use]
    pub fn at(self, place: impl Into<Box<str>>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// The same, with STS called this way.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: Some(settings), ..self }
    }

    /// The same, with STS called in this region, if there is one.
    #[must_use]
    pub fn with_region(self, region: Option<Box<str>>) -> Self {
        Self { region, ..self }
    }

    /// The same, knowing that the base gives credentials of a role.
    #[must_use]
    pub fn chained(self, is_chained: bool) -> Self {
        Self { is_chained, ..self }
    }

    /// The roles from this one down, and what assumes the last of them.
    fn chain(&self) -> (Vec<&Self>, &dyn Source) {
        let mut roles = vec![self];
        let mut base = &self.base;
        loop {
            match base {
                Base::Role(role) => {
                    roles.push(role);
                    base = &role.base;
                }
                Base::Other(source) => return (roles, &**source),
            }
        }
    }

    /// The role, assumed by what the base gave.
    async fn assume(&self, world: &World, base: Answer) -> Answer {
        let settings = self.settings(world).await;
        let own = |failure| settings.locate(failure, self.place.as_deref());
        let role = async { self.ask(world, &settings, &self.caller(world, base)?).await.map_err(own) };
        Answer::from_result(role.await)
    }

    async fn ask(&self, world: &World, settings: &Settings, caller: &Credentials) -> Result<Credentials, Failure> {
        let policy = match &self.role.policy_file {
            Some(path) => Some(read(world, &Text::File(path.clone())).await?),
            None => None,
        };
        let policy = policy.as_ref().map(|policy| policy.as_str());
        let of = fingerprint("assume role", &self.role, policy, settings, |parts| parts.with_caller(caller));
        let ask = || async {
            let mfa = match &self.role.mfa_serial {
                Some(serial) => {
                    let code = world.mfa.code(serial, &world.patience).await?;
                    Some(sts::Mfa { serial: serial.clone(), code })
                }
                None => None,
            };
            let asked = sts::AssumeRole {
                role_arn: self.role.arn.clone(),
                session_name: session_name(&self.role, world.clock.now()),
                external_id: self.role.external_id.clone(),
                duration: self.duration(),
                mfa,
                policy: policy.map(Into::into),
                policy_arns: self.role.policy_arns.clone(),
                tags: self.role.tags.clone(),
                source_identity: self.role.source_identity.clone(),
            };
            sts::assume_role(world, settings, caller, &asked).await
        };
        let session = world.sessions.obtain(&world.clock, of, ask).await?;
        // Who has to log in for the base has to for what stands on it.
        let origin = self.place.as_ref().map_or_else(Origin::default, |place| Origin::new(&**place));
        Ok(Credentials { login_ends: caller.login_ends.clone(), origin, ..session })
    }

    fn caller(&self, world: &World, base: Answer) -> Result<Credentials, Failure> {
        let nobody = |why: &str| {
            let arn = Shown(&self.role.arn);
            let base = self.base.source().name();
            self.own(Failure::misconfigured(format!(
                "nobody is there to assume {arn}: {base}: {why}; provide these credentials, or name others to assume it"
            )))
        };
        match base {
            Answer::Found(caller) => match caller.expiration.filter(|end| *end <= world.clock.now()) {
                None => Ok(caller),
                Some(end) => {
                    let message = format!(
                        "{}: its credentials, which assume {}, expired at {}; renew them",
                        self.base.source().name(),
                        Shown(&self.role.arn),
                        timestamp(end)
                    );
                    Err(self.own(Failure::unavailable(message)))
                }
            },
            Answer::NotConfigured(why) => Err(nobody(&why)),
            Answer::Failing(failure) => Err(failure),
        }
    }

    fn own(&self, failure: Failure) -> Failure {
        match &self.place {
            Some(place) => failure.behind(place),
            None => failure,
        }
    }

    fn duration(&self) -> Option<Duration> {
        let asked = self.role.duration?;
        if self.is_chained && asked > LONGEST_CHAINED {
            tracing::info!(
                role_arn = %Shown(&self.role.arn), asked_s = asked.as_secs(), given_s = LONGEST_CHAINED.as_secs(),
                "a role that is assumed by another role lasts an hour at most"
            );
            return Some(LONGEST_CHAINED);
        }
        Some(asked)
    }
}

impl Source for AssumeRole {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, world: &'a World) -> Boxed<'a, Answer> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let mut answer = base.load(world).await;
            for role in roles.into_iter().rev() {
                answer = role.assume(world, answer).await;
            }
            answer
        })
    }

    fn region<'a>(&'a self, world: &'a World) -> Boxed<'a, Option<Box<str>>> {
        match &self.region {
            Some(region) => Box::pin(std::future::ready(Some(region.clone()))),
            None => self.base.source().region(world),
        }
    }

    fn settings<'a>(&'a self, world: &'a World) -> Boxed<'a, Settings> {
        Box::pin(async move {
            let settings = match &self.settings {
                Some(settings) => settings.clone(),
                None => self.base.source().settings(world).await,
            };
            match &self.region {
                Some(region) => settings.with_region(Some(region.clone())),
                None => settings,
            }
        })
    }

    fn trace<'a>(&'a self, world: &'a World) -> Boxed<'a, (Vec<Hop>, Answer)> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let (mut hops, mut answer) = base.trace(world).await;
            if hops.is_empty() {
                hops.push(Hop::new(base.name(), &answer));
            }
            for role in roles.into_iter().rev() {
                let is_tried = matches!(answer, Answer::Found(_));
                answer = role.assume(world, answer).await;
                let name = &role.name;
                let what = role.place.as_ref().map_or_else(|| name.to_string(), |at| format!("{at}: {name}"));
                hops.push(if is_tried { Hop::new(what, &answer) } else { Hop::not_tried(what) });
            }
            (hops, answer)
        })
    }
}

/// Of all that makes the session of a role, and of its caller. A session name that we choose is the same for all.
pub(super) fn fingerprint(
    way: &str,
    role: &RoleSpec,
    policy: Option<&str>,
    settings: &Settings,
    caller: impl FnOnce(Parts) -> Parts,
) -> Fingerprint {
    let RoleSpec {
        arn,
        session_name,
        external_id,
        duration,
        mfa_serial,
        policy_file: _,
        policy_arns,
        tags,
        source_identity,
    } = role;
    let text = |text: &Option<Box<str>>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let mut parts = Parts::new(way)
        .with(arn.as_bytes())
        .with_optional(text(session_name))
        .with_optional(text(external_id))
        .with_optional(duration.map(|duration| duration.as_secs().to_be_bytes()))
        .with_optional(text(mfa_serial))
        .with_optional(policy)
        .with_optional(text(source_identity))
        .with((policy_arns.len() as u64).to_be_bytes());
    for arn in policy_arns {
        parts = parts.with(arn.as_bytes());
    }
    parts = parts.with((tags.len() as u64).to_be_bytes());
    for (key, value) in tags {
        parts = parts.with(key.as_bytes()).with(value.as_bytes());
    }
    // Region, endpoint, FIPS: where it is asked makes it another session, too.
    caller(parts.with_value(settings)).fingerprint()
}

/// The name of the session as it stands in the audit trail of AWS.
pub(super) fn session_name(role: &RoleSpec, now: SystemTime) -> Box<str> {
    role.session_name.clone().unwrap_or_else(|| {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("credenza-{}", since.as_secs()).into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::credentials::Origin;
    use crate::upstream::Url;

    #[test]
    fn two_share_a_session_only_when_all_that_makes_it_is_the_same() {
        let role = || RoleSpec { arn: "arn:aws:iam::1:role/r".into(), ..RoleSpec::default() };
        let sts = |path: &str| {
            let mut settings = Settings { region: Some("eu-west-1".into()), ..Settings::default() };
            settings.endpoints.sts = Some(Ok(Url::parse(&format!("https://h/{path}")).unwrap()));
            settings
        };
        let (plain, long) = (Settings::default(), "x".repeat(300));
        let caller = Credentials::new("AKIAEXAMPLE", "secret").unwrap();
        let of = |role: &RoleSpec, policy, settings: &Settings| {
            fingerprint("assume role", role, policy, settings, |parts| parts.with_caller(&caller))
        };
        let text = |text: &str| Some(text.into());
        let different = [
            of(&role(), None, &plain),
            of(&RoleSpec { arn: "arn:aws:iam::1:role/s".into(), ..role() }, None, &plain),
            of(&RoleSpec { session_name: text("a"), ..role() }, None, &plain),
            of(&RoleSpec { external_id: text("a"), ..role() }, None, &plain),
            of(&RoleSpec { mfa_serial: text("a"), ..role() }, None, &plain),
            of(&RoleSpec { source_identity: text("a"), ..role() }, None, &plain),
            of(&RoleSpec { duration: Some(Duration::from_secs(900)), ..role() }, None, &plain),
            of(&RoleSpec { policy_arns: vec!["a".into()], ..role() }, None, &plain),
            of(&RoleSpec { policy_arns: vec!["a".into(), "b".into()], ..role() }, None, &plain),
            of(&RoleSpec { tags: vec![("a".into(), "b".into())], ..role() }, None, &plain),
            of(&role(), Some("{}"), &plain),
            of(&role(), None, &Settings { use_fips: true, ..plain.clone() }),
            of(&role(), None, &Settings { region: text("eu-west-2"), ..plain.clone() }),
            of(&role(), None, &sts("")),
            // What is cut when it is printed counts as well.
            of(&role(), None, &sts(&format!("{long}a"))),
            of(&role(), None, &sts(&format!("{long}b"))),
            fingerprint("web identity", &role(), None, &plain, |parts| parts.with_caller(&caller)),
            fingerprint("assume role", &role(), None, &plain, |parts| parts.with("AKIAEXAMPLE")),
        ];
        assert_eq!(HashSet::from(different).len(), different.len());
        // Where it is written is a note for people, and whose text a policy is, is in its text.
        let written = Settings { region_stands: Origin::new("/c, line 3"), ..plain.clone() };
        let from_a_file = RoleSpec { policy_file: Some("/p.json".into()), ..role() };
        assert_eq!(of(&role(), None, &written), different[0]);
        assert_eq!(of(&from_a_file, Some("{}"), &plain), of(&role(), Some("{}"), &plain));
    }
}
