//! The region and endpoint variables that go with credentials, and the variable that turns instance metadata off.
//!
//! Keys are valid at one endpoint and usually in one region. New keys in a shell must therefore replace or unset the
//! variables of earlier keys, and keep the variables that the user has set.

use crate::os::environment::Environment;

/// The variable that lists the variables set by Credenza. All other variables were set by the user.
pub(crate) const OWN_VARIABLES: &str = "CREDENZA_SET";

const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";
const IMDS_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// The region and endpoint of credentials. Each may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegionEndpoint<'a> {
    pub(crate) region: Option<&'a str>,
    /// The S3 endpoint of the keys.
    pub(crate) endpoint: Option<&'a str>,
    /// Turns instance metadata off, so that no SDK takes the role of the instance when the broker has no credentials.
    pub(crate) disables_imds: bool,
}

impl<'a> RegionEndpoint<'a> {
    /// Takes missing values from the environment. The environment must have these keys, and Credenza must have set the
    /// values together with the keys.
    pub(crate) fn or_environment(self, before: &'a Environment, source: &str, access_key_id: &str) -> Self {
        if source != "environment" || before.get("AWS_ACCESS_KEY_ID") != Some(access_key_id) {
            return self;
        }
        let own = |name| before.get(name).filter(|_| is_own(before, name));
        Self { region: self.region.or(own(REGIONS[0])), endpoint: self.endpoint.or(own(ENDPOINT)), ..self }
    }

    /// Returns the changes of an environment: a new value, or `None` to unset a variable that Credenza set for other
    /// keys.
    pub(crate) fn changes(self, before: &Environment) -> Vec<(&'static str, Option<String>)> {
        let (mut changes, mut own) = (Vec::new(), Vec::new());
        for name in names() {
            let was_own = is_own(before, name);
            let value = match name {
                ENDPOINT => self.endpoint,
                IMDS_DISABLED => self.disables_imds.then_some("true"),
                _ => self.region,
            };
            match value {
                Some(value) => {
                    // A variable with this value that the user has set is not added to the list.
                    if was_own || before.variables().get(name).is_none_or(|current| current != value) {
                        own.push(name);
                    }
                    changes.push((name, Some(value.to_owned())));
                }
                None if was_own => changes.push((name, None)),
                None => {}
            }
        }
        match own[..] {
            [] if before.variables().contains_key(OWN_VARIABLES) => changes.push((OWN_VARIABLES, None)),
            [] => {}
            _ => changes.push((OWN_VARIABLES, Some(own.join(" ")))),
        }
        changes
    }
}

/// Returns the environment without the variables that Credenza set for earlier keys. Those variables do not fit the
/// keys that are loaded now.
pub(crate) fn without_own_variables(environment: &Environment) -> Environment {
    environment.without(|name| names().any(|ours| ours == name) && is_own(environment, name))
}

/// Returns the environment without `AWS_EC2_METADATA_DISABLED`, if Credenza set it: it is for SDKs, not for a broker
/// that this shell starts.
#[must_use]
pub(crate) fn with_imds(environment: &Environment) -> Environment {
    environment.without(|name| name == IMDS_DISABLED && is_own(environment, name))
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    REGIONS.into_iter().chain([ENDPOINT, IMDS_DISABLED])
}

fn is_own(environment: &Environment, name: &str) -> bool {
    environment.get(OWN_VARIABLES).is_some_and(|list| list.split_ascii_whitespace().any(|own| own == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: RegionEndpoint<'_> = RegionEndpoint { region: None, endpoint: None, disables_imds: false };
    const HERE: RegionEndpoint<'_> = RegionEndpoint { region: Some("r"), endpoint: Some("http://h"), ..NOWHERE };

    fn changed(values: RegionEndpoint<'_>, before: &[(&str, &str)]) -> Vec<String> {
        let changes = values.changes(&Environment::new(before.iter().copied()));
        changes.into_iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn unsets_own_variables_and_keeps_the_users() {
        let all = "CREDENZA_SET=AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3";
        let [region, default, endpoint] =
            ["AWS_REGION=r", "AWS_DEFAULT_REGION=r", "AWS_ENDPOINT_URL_S3=http://h"].map(str::to_owned);
        let (set, own) = ((OWN_VARIABLES, "AWS_REGION AWS_ENDPOINT_URL_S3"), ("AWS_ENDPOINT_URL_S3", "http://own"));
        assert_eq!(changed(HERE, &[]), [&*region, &default, &endpoint, all]);
        assert_eq!(changed(HERE, &[own]), [&*region, &default, &endpoint, all]);
        assert_eq!(changed(NOWHERE, &[]), [""; 0]);
        assert_eq!(changed(NOWHERE, &[own, ("AWS_REGION", "own")]), [""; 0]);
        assert_eq!(changed(NOWHERE, &[own, set]), ["AWS_REGION=-", "AWS_ENDPOINT_URL_S3=-", "CREDENZA_SET=-"]);
        let there = RegionEndpoint { region: None, ..HERE };
        assert_eq!(changed(there, &[own, set]), ["AWS_REGION=-", &*endpoint, "CREDENZA_SET=AWS_ENDPOINT_URL_S3"]);
        // The value equals the user's variable, unless Credenza set that one.
        let same = ("AWS_ENDPOINT_URL_S3", "http://h");
        assert_eq!(changed(there, &[same]), [&*endpoint]);
        assert_eq!(changed(there, &[same, set])[2], "CREDENZA_SET=AWS_ENDPOINT_URL_S3");
        // Instance metadata is off while a broker serves, and on again for keys.
        let broker = RegionEndpoint { disables_imds: true, ..NOWHERE };
        let disabled = "AWS_EC2_METADATA_DISABLED=true";
        let own_disabled = [("AWS_EC2_METADATA_DISABLED", "true"), (OWN_VARIABLES, "AWS_EC2_METADATA_DISABLED")];
        assert_eq!(changed(broker, &[]), [disabled, "CREDENZA_SET=AWS_EC2_METADATA_DISABLED"]);
        assert_eq!(changed(broker, &own_disabled), [disabled, "CREDENZA_SET=AWS_EC2_METADATA_DISABLED"]);
        assert_eq!(changed(broker, &own_disabled[..1]), [disabled], "the user has set it");
        assert_eq!(changed(NOWHERE, &own_disabled), ["AWS_EC2_METADATA_DISABLED=-", "CREDENZA_SET=-"]);
        assert_eq!(changed(NOWHERE, &own_disabled[..1]), [""; 0]);
        // No other variable is changed.
        assert_eq!(
            changed(NOWHERE, &[(OWN_VARIABLES, "PATH ;AWS_REGION AWS_REGION; AWS_PROFILE")]),
            ["CREDENZA_SET=-"]
        );
    }

    #[test]
    fn keys_in_the_environment_keep_their_region_and_endpoint() {
        let set = (OWN_VARIABLES, "AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3");
        let variables = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_REGION", "r"), ("AWS_ENDPOINT_URL_S3", "http://h")];
        let before = Environment::new(variables.into_iter().chain([set, ("HOME", "/h"), ("AWS_PROFILE", "p")]));
        assert_eq!(NOWHERE.or_environment(&before, "environment", "A"), HERE);
        assert_eq!(NOWHERE.or_environment(&before, "environment", "B"), NOWHERE);
        assert_eq!(NOWHERE.or_environment(&before, "url", "A"), NOWHERE);
        let own = RegionEndpoint { region: Some("own"), ..NOWHERE };
        assert_eq!(own.or_environment(&before, "environment", "A"), RegionEndpoint { region: Some("own"), ..HERE });
        assert_eq!(NOWHERE.or_environment(&Environment::new(variables), "environment", "A"), NOWHERE);

        let left = without_own_variables(&before);
        assert_eq!((left.get("AWS_REGION"), left.get("AWS_ENDPOINT_URL_S3")), (None, None));
        assert_eq!((left.get("AWS_PROFILE"), left.home()), (Some("p"), before.home()));
        assert_eq!(without_own_variables(&Environment::new(variables)).get("AWS_REGION"), Some("r"));
        for (own, left) in [("AWS_EC2_METADATA_DISABLED", None), ("AWS_REGION", Some("true"))] {
            let variables = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "r"), (OWN_VARIABLES, own)];
            let environment = with_imds(&Environment::new(variables));
            assert_eq!(
                (environment.get("AWS_EC2_METADATA_DISABLED"), environment.get("AWS_REGION")),
                (left, Some("r"))
            );
        }
    }
}
