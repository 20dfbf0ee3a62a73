//! The parts of a role session that AssumeRole and AssumeRoleWithWebIdentity share: its cache key and its name.

use std::time::SystemTime;

use crate::aws::settings::Settings;
use crate::cache::key::{CacheKey, CacheKeyBuilder};
use crate::source::spec::RoleSpec;

/// Returns the cache key of a role session: the caller and all parameters of the request, without a generated session
/// name.
pub(crate) fn cache_key(
    method: &str,
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
        policy: _,
        policy_file: _,
        policy_arns,
        tags,
        source_identity,
    } = role;
    let text = |text: &Option<Box<str>>| text.as_ref().map(|text| text.as_bytes().to_vec());
    let mut parts = CacheKeyBuilder::new(method)
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
    // Sessions from different regions or endpoints (FIPS) are not shared.
    caller(parts.with_value(&settings.cache_parts())).cache_key()
}

/// Returns the session name, which CloudTrail shows.
pub(crate) fn session_name(role: &RoleSpec, now: SystemTime) -> Box<str> {
    role.session_name.clone().unwrap_or_else(|| {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!("credenza-{}", since_epoch.as_secs()).into()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::http::url::Url;
    use crate::model::credentials::Credentials;
    use crate::model::location::Location;

    #[test]
    fn cache_key_differs_with_every_part() {
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
            // The key has also the parts that messages cut off.
            of(&role(), None, &sts(&format!("{long}a"))),
            of(&role(), None, &sts(&format!("{long}b"))),
            cache_key("web identity", &role(), None, &plain, |parts| parts.with_caller(&caller)),
            cache_key("assume role", &role(), None, &plain, |parts| parts.with("AKIAEXAMPLE")),
        ];
        assert_eq!(HashSet::from(different).len(), different.len());
        // Locations and the path of a policy file do not change the session.
        let written =
            Settings { region_location: Some(Location::line(std::path::Path::new("/c"), 3)), ..plain.clone() };
        let from_a_file = RoleSpec { policy_file: Some("/p.json".into()), ..role() };
        assert_eq!(of(&role(), None, &written), different[0]);
        assert_eq!(of(&from_a_file, Some("{}"), &plain), of(&role(), Some("{}"), &plain));
    }
}
