//! A role, assumed with the credentials of another source.

use std::time::{Duration, SystemTime};

use crate::aws::arn::DisplayArn;
use crate::aws::settings::Settings;
use crate::aws::sts;
use crate::cache::credentials::CachePolicy;
use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::location::Location;
use crate::model::outcome::Lookup;
use crate::model::outcome::TraceStep;
use crate::model::time::timestamp;
use crate::source::spec::{RoleSpec, TextSource};
use crate::source::static_keys::read;
use crate::source::{BoxFuture, Source};

/// AWS gives a role that was assumed with the credentials of another role no more than this, whatever is asked for
/// (AWS IAM User Guide, "Role chaining").
const LONGEST_CHAINED: Duration = Duration::from_secs(3600);

/// How often a load that STS refuses looks whether what it was refused for has been renewed meanwhile: every step of a
/// chain may have been shared.
const MOST_REFUSALS: usize = 3;

/// Asks STS for the credentials of a role. Those that somebody in this process has obtained for exactly the same request
/// by the same caller are shared.
///
/// What its base says stands in the way as it would by itself; a base that is *not configured* is misconfigured here,
/// since somebody named it.
#[derive(Debug)]
pub struct AssumeRole {
    name: Box<str>,
    location: Option<Location>,
    role: RoleSpec,
    base: RoleBase,
    settings: Option<Settings>,
    region: Option<Box<str>>,
    is_chained: bool,
}

/// Who assumes a role.
#[derive(Debug)]
enum RoleBase {
    Role(Box<AssumeRole>),
    Other(Box<dyn Source>),
}

impl RoleBase {
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
        Self::over(role, RoleBase::Other(base))
    }

    /// This role, assumed by another one. However many follow each other, they are loaded in a loop: it takes no more
    /// stack than one.
    #[must_use]
    pub fn over_role(role: RoleSpec, base: Self) -> Self {
        Self::over(role, RoleBase::Role(Box::new(base)))
    }

    fn over(role: RoleSpec, base: RoleBase) -> Self {
        let name = format!("role {}", DisplayArn(&role.arn)).into();
        Self { name, location: None, role, base, settings: None, region: None, is_chained: false }
    }

    /// The same, written at this place: its own failures begin with it, those of its base with theirs.
    #[must_use]
    pub fn at(self, location: Location) -> Self {
        Self { location: Some(location), ..self }
    }

    /// The same, with STS called this way.
    #[must_use]
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
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
                RoleBase::Role(role) => {
                    roles.push(role);
                    base = &role.base;
                }
                RoleBase::Other(source) => return (roles, &**source),
            }
        }
    }

    /// The role, assumed by what the base gave.
    async fn assume(&self, context: &Context, base: Lookup) -> Lookup {
        let settings = self.settings(context).await;
        let own = |failure| settings.locate(failure, self.location.as_ref());
        let role = async { self.ask(context, &settings, &self.caller(context, base)?).await.map_err(own) };
        Lookup::from_result(role.await)
    }

    async fn ask(
        &self,
        context: &Context,
        settings: &Settings,
        caller: &Credentials,
    ) -> Result<Credentials, SourceError> {
        let policy = match &self.role.policy_file {
            Some(path) => Some(read(context, &TextSource::File(path.clone())).await?),
            None => None,
        };
        let policy = policy.as_ref().map(|policy| policy.as_str());
        let of = cache_key("assume role", &self.role, policy, settings, |parts| parts.with_caller(caller));
        let ask = || async {
            let mfa = match &self.role.mfa_serial {
                Some(serial) => {
                    let code = context.mfa.code(serial, &context.deadline).await?;
                    Some(sts::MfaCode { serial: serial.clone(), code })
                }
                None => None,
            };
            let asked = sts::AssumeRoleRequest {
                role_arn: self.role.arn.clone(),
                session_name: session_name(&self.role, context.clock.now()),
                external_id: self.role.external_id.clone(),
                duration: self.duration(),
                mfa,
                policy: policy.map(Into::into),
                policy_arns: self.role.policy_arns.clone(),
                tags: self.role.tags.clone(),
                source_identity: self.role.source_identity.clone(),
            };
            sts::assume_role(context, settings, caller, &asked).await
        };
        let terms = if self.role.mfa_serial.is_some() { CachePolicy::ASKED } else { CachePolicy::ISSUED };
        let session = context.credential_cache.obtain(&context.clock, of, terms, ask).await?;
        // Who has to log in for the base has to for what stands on it.
        Ok(Credentials { login_ends: caller.login_ends.clone(), location: self.location.clone(), ..session })
    }

    fn caller(&self, context: &Context, base: Lookup) -> Result<Credentials, SourceError> {
        let nobody = |why: &str| {
            let arn = DisplayArn(&self.role.arn);
            let base = self.base.source().name();
            self.own(SourceError::misconfigured(format!(
                "nobody is there to assume {arn}: {base}: {why}; provide these credentials, or name others to assume it"
            )))
        };
        match base {
            Lookup::Found(caller) => match caller.expiration.filter(|end| *end <= context.clock.now()) {
                None => Ok(caller),
                Some(end) => {
                    let message = format!(
                        "{}: its credentials, which assume {}, expired at {}; renew them",
                        self.base.source().name(),
                        DisplayArn(&self.role.arn),
                        timestamp(end)
                    );
                    Err(self.own(SourceError::unavailable(message)))
                }
            },
            Lookup::NotConfigured(why) => Err(nobody(&why)),
            Lookup::Failed(failure) => Err(failure),
        }
    }

    fn own(&self, failure: SourceError) -> SourceError {
        failure.at(self.location.clone())
    }

    fn duration(&self) -> Option<Duration> {
        let asked = self.role.duration?;
        if self.is_chained && asked > LONGEST_CHAINED {
            tracing::info!(
                role_arn = %DisplayArn(&self.role.arn), asked_s = asked.as_secs(), given_s = LONGEST_CHAINED.as_secs(),
                "a role that is assumed by another role lasts an hour at most"
            );
            return Some(LONGEST_CHAINED);
        }
        Some(asked)
    }
}

/// A call that STS has refused: how far up that was, by whom, and why.
struct RefusedCall {
    step: usize,
    caller: Credentials,
    failure: SourceError,
}

/// One way up from the base, in which nothing is asked again that STS has refused before. An error says that what was
/// shared is doubted now, so that there may be another way up.
async fn load_role_chain(
    context: &Context,
    roles: &[&AssumeRole],
    base: &dyn Source,
    before: Option<RefusedCall>,
) -> Result<Lookup, RefusedCall> {
    let mut answer = base.load(context).await;
    for (step, role) in roles.iter().rev().enumerate() {
        let Lookup::Found(caller) = answer.clone() else { return Ok(role.assume(context, answer).await) };
        if let Some(before) = before.as_ref().filter(|before| before.step == step && before.caller == caller) {
            return Ok(before.failure.clone().into());
        }
        answer = role.assume(context, answer).await;
        if let Lookup::Failed(failure) = &answer
            && failure.kind == ErrorKind::Denied
        {
            // The caller may be shared and good no more: another role of the instance, sessions that were revoked.
            if context.credential_cache.invalidate(&caller) {
                return Err(RefusedCall { step, caller, failure: failure.clone() });
            }
            return Ok(answer);
        }
    }
    Ok(answer)
}

impl Source for AssumeRole {
    fn name(&self) -> &str {
        &self.name
    }

    fn load<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let mut refused = None;
            // A base that gives others at every load is no reason to go on for ever.
            for _ in 0..roles.len().min(MOST_REFUSALS) {
                match load_role_chain(context, &roles, base, refused).await {
                    Ok(answer) => return answer,
                    Err(refusal) => refused = Some(refusal),
                }
            }
            load_role_chain(context, &roles, base, refused).await.unwrap_or_else(|refusal| refusal.failure.into())
        })
    }

    fn region<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Option<Box<str>>> {
        match &self.region {
            Some(region) => Box::pin(std::future::ready(Some(region.clone()))),
            None => self.base.source().region(context),
        }
    }

    fn settings<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Settings> {
        Box::pin(async move {
            let settings = match &self.settings {
                Some(settings) => settings.clone(),
                None => self.base.source().settings(context).await,
            };
            match &self.region {
                Some(region) => settings.with_region(Some(region.clone())),
                None => settings,
            }
        })
    }

    fn trace<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, (Vec<TraceStep>, Lookup)> {
        Box::pin(async move {
            let (roles, base) = self.chain();
            let (mut links, mut answer) = base.trace(context).await;
            if links.is_empty() {
                links.push(TraceStep::new(base.name(), &answer));
            }
            for role in roles.into_iter().rev() {
                let is_tried = matches!(answer, Lookup::Found(_));
                answer = role.assume(context, answer).await;
                let name = &role.name;
                let what = role.location.as_ref().map_or_else(|| name.to_string(), |at| format!("{at}: {name}"));
                links.push(if is_tried { TraceStep::new(what, &answer) } else { TraceStep::not_tried(what) });
            }
            (links, answer)
        })
    }
}

/// Of all that makes the session of a role, and of its caller. A session name that we choose is the same for all.
pub(crate) fn cache_key(
    way: &str,
    role: &RoleSpec,
    policy: Option<&str>,
    settings: &Settings,
    caller: impl FnOnce(CacheKeyBuilder) -> CacheKeyBuilder,
) -> CacheKey {
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
    let mut parts = CacheKeyBuilder::new(way)
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
    caller(parts.with_value(&settings.cache_parts())).cache_key()
}

/// The name of the session as it stands in the audit trail of AWS.
pub(crate) fn session_name(role: &RoleSpec, now: SystemTime) -> Box<str> {
    role.session_name.clone().unwrap_or_else(|| {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("credenza-{}", since.as_secs()).into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::http::client::HttpClient;
    use crate::http::url::Url;
    use crate::model::location::Location;
    use crate::os::clock::Clock;
    use crate::os::environment::Environment;
    use crate::source::imds::MetadataCredentials;
    use crate::source::static_keys::StaticCredentials;
    use testkit::document;
    use testkit::imds::Imds;
    use testkit::sts::{Role, Sts};

    const ROLE: &str = "arn:aws:iam::123456789012:role/r";

    /// As if these seconds went by, for all but what is under way.
    async fn later(seconds: u64) {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    }

    fn context(variables: &[(&str, &str)]) -> Context {
        Context {
            clock: Clock::system(),
            environment: Environment::new(variables.iter().copied()),
            http_client: HttpClient::system(std::sync::Arc::default()),
            ..Context::default()
        }
    }

    #[tokio::test]
    async fn a_session_that_took_a_code_outlives_a_refusal() {
        let sts = Sts::start("eu-west-1");
        let sts_url = sts.url();
        let context = Context {
            mfa: crate::context::mfa::Mfa::given("123456".into()),
            ..context(&[("AWS_ENDPOINT_URL_STS", &sts_url), ("AWS_REGION", "eu-west-1")])
        };
        sts.allow(ROLE, Role { mfa: Some(("serial".into(), "123456".into())), ..Role::default() });
        let load = async || {
            let hub = RoleSpec { arn: ROLE.into(), mfa_serial: Some("serial".into()), ..RoleSpec::default() };
            let leaf = RoleSpec { arn: format!("{ROLE}2").into(), ..RoleSpec::default() };
            let keys = StaticCredentials::new(Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
            AssumeRole::over_role(leaf, AssumeRole::new(hub, Box::new(keys))).load(&context).await
        };
        for _ in 0..2 {
            assert!(matches!(load().await, Lookup::Failed(failure) if failure.kind == ErrorKind::Denied));
            later(6).await;
        }
        sts.allow(&format!("{ROLE}2"), Role::default());
        assert!(matches!(load().await, Lookup::Found(_)));
        assert_eq!(sts.actions().len(), 4, "the code was of use once");
    }

    #[tokio::test]
    async fn a_base_that_is_refused_is_asked_for_anew_and_nothing_is_asked_twice() {
        let (sts, imds) = (Sts::start("eu-west-1"), Imds::start("web", &document("ASIAOLD", "2098-01-01T00:00:00Z")));
        let (sts_url, endpoint) = (sts.url(), imds.endpoint());
        let variables = [
            ("AWS_ENDPOINT_URL_STS", &*sts_url),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint),
        ];
        let context = context(&variables);
        let trust = |key: &str| {
            sts.know(key, "hush-secret", Some("hush-session"));
            sts.allow(ROLE, Role { trusted: vec![key.into()], ..Role::default() });
        };
        // A chain: what stands in the middle is shared as well.
        let load = async |name: &str| {
            let hub = RoleSpec { arn: ROLE.into(), ..RoleSpec::default() };
            let leaf = RoleSpec { arn: format!("{ROLE}2").into(), session_name: Some(name.into()), ..hub.clone() };
            let base = AssumeRole::new(hub, Box::new(MetadataCredentials::new(false, true)));
            let before = (sts.actions().len(), imds.server().lines().len());
            let answer = AssumeRole::over_role(leaf, base).load(&context).await;
            let asked = (sts.actions().len() - before.0, imds.server().lines().len() - before.1);
            (matches!(answer, Lookup::Found(_)), asked)
        };
        sts.allow(&format!("{ROLE}2"), Role::default());
        trust("ASIAOLD");
        assert_eq!(load("first").await, (true, (2, 4)));
        assert_eq!(load("second").await, (true, (1, 0)));

        // The instance gets another role, and neither the old one nor what it has assumed counts any more.
        sts.revoke_sessions();
        imds.set(|state| state.document = document("ASIANEW", "2098-01-01T00:00:00Z"));
        trust("ASIANEW");
        assert_eq!(load("third").await, (false, (1, 0)), "what has only just come is not doubted");
        later(6).await;
        // The leaf is refused, the hub is, the hub is assumed by the new role, the leaf by the new hub.
        assert_eq!(load("third").await, (true, (4, 4)));
        assert_eq!(load("fourth").await, (true, (1, 0)));

        // Who is refused for good is refused once by each caller.
        sts.forbid(&format!("{ROLE}2"));
        assert_eq!(load("fifth").await, (false, (1, 0)));
        later(6).await;
        assert_eq!(load("fifth").await, (false, (3, 0)));
    }

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
            cache_key("assume role", role, policy, settings, |parts| parts.with_caller(&caller))
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
            cache_key("web identity", &role(), None, &plain, |parts| parts.with_caller(&caller)),
            cache_key("assume role", &role(), None, &plain, |parts| parts.with("AKIAEXAMPLE")),
        ];
        assert_eq!(HashSet::from(different).len(), different.len());
        // Where it is written is a note for people, and whose text a policy is, is in its text.
        let written =
            Settings { region_location: Some(Location::line(std::path::Path::new("/c"), 3)), ..plain.clone() };
        let from_a_file = RoleSpec { policy_file: Some("/p.json".into()), ..role() };
        assert_eq!(of(&role(), None, &written), different[0]);
        assert_eq!(of(&from_a_file, Some("{}"), &plain), of(&role(), Some("{}"), &plain));
    }
}
