//! Where credentials are good: the region and the endpoint that come with them as variables, and have to go with them.

use crate::os::environment::Environment;

/// Names those of the variables that we set. The others are the user's own.
pub(crate) const SET: &str = "CREDENZA_SET";

const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINT: &str = "AWS_ENDPOINT_URL_S3";

/// Where credentials are good, as far as they say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreVariables<'a> {
    /// The region.
    pub(crate) region: Option<&'a str>,
    /// The S3 endpoint that the keys are for.
    pub(crate) endpoint: Option<&'a str>,
}

impl<'a> StoreVariables<'a> {
    /// The same for credentials of this source. Those that stand in `before` are good where we said beside them.
    #[must_use]
    pub(crate) fn of_those(self, before: &'a Environment, source: &str, access_key_id: &str) -> Self {
        if source != "environment" || before.get("AWS_ACCESS_KEY_ID") != Some(access_key_id) {
            return self;
        }
        let said = |name| before.get(name).filter(|_| is_set_by_us(before, name));
        Self { region: self.region.or(said(REGIONS[0])), endpoint: self.endpoint.or(said(ENDPOINT)) }
    }

    /// What these variables change in an environment: a new value, or `None` for one that we set for others before.
    #[must_use]
    pub(crate) fn changes(self, before: &Environment) -> Vec<(&'static str, Option<String>)> {
        let (mut changes, mut set) = (Vec::new(), Vec::new());
        for name in names() {
            let was_set = is_set_by_us(before, name);
            let value = if name == ENDPOINT { self.endpoint } else { self.region };
            match value {
                Some(value) => {
                    // What says the same already is the user's, and stays after us.
                    if was_set || before.variables().get(name).is_none_or(|own| own != value) {
                        set.push(name);
                    }
                    changes.push((name, Some(value.to_owned())));
                }
                None if was_set => changes.push((name, None)),
                None => {}
            }
        }
        match set[..] {
            [] if before.variables().contains_key(SET) => changes.push((SET, None)),
            [] => {}
            _ => changes.push((SET, Some(set.join(" ")))),
        }
        changes
    }
}

/// An environment without what we set in it for credentials of before: it says nothing of those that are looked for now.
#[must_use]
pub(crate) fn forgotten(environment: &Environment) -> Environment {
    environment.without(|name| names().any(|ours| ours == name) && is_set_by_us(environment, name))
}

fn names() -> impl Iterator<Item = &'static str> {
    REGIONS.into_iter().chain([ENDPOINT])
}

fn is_set_by_us(environment: &Environment, name: &str) -> bool {
    environment.get(SET).is_some_and(|set| set.split_ascii_whitespace().any(|set| set == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: StoreVariables<'_> = StoreVariables { region: Some("r"), endpoint: Some("http://h") };
    const NOWHERE: StoreVariables<'_> = StoreVariables { region: None, endpoint: None };

    fn changed(place: StoreVariables<'_>, before: &[(&str, &str)]) -> Vec<String> {
        let changes = place.changes(&Environment::new(before.iter().copied()));
        changes.into_iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn what_was_set_by_us_goes_and_what_is_the_users_own_stays() {
        let all = "CREDENZA_SET=AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3";
        let [region, default, endpoint] =
            ["AWS_REGION=r", "AWS_DEFAULT_REGION=r", "AWS_ENDPOINT_URL_S3=http://h"].map(str::to_owned);
        let (set, own) = ((SET, "AWS_REGION AWS_ENDPOINT_URL_S3"), ("AWS_ENDPOINT_URL_S3", "http://own"));
        assert_eq!(changed(HERE, &[]), [&*region, &default, &endpoint, all]);
        assert_eq!(changed(HERE, &[own]), [&*region, &default, &endpoint, all]);
        assert_eq!(changed(NOWHERE, &[]), [""; 0]);
        assert_eq!(changed(NOWHERE, &[own, ("AWS_REGION", "own")]), [""; 0]);
        assert_eq!(changed(NOWHERE, &[own, set]), ["AWS_REGION=-", "AWS_ENDPOINT_URL_S3=-", "CREDENZA_SET=-"]);
        let there = StoreVariables { region: None, endpoint: Some("http://h") };
        assert_eq!(changed(there, &[own, set]), ["AWS_REGION=-", &*endpoint, "CREDENZA_SET=AWS_ENDPOINT_URL_S3"]);
        // It says the same as the user's own, unless that is ours.
        let same = ("AWS_ENDPOINT_URL_S3", "http://h");
        assert_eq!(changed(there, &[same]), [&*endpoint]);
        assert_eq!(changed(there, &[same, set])[2], "CREDENZA_SET=AWS_ENDPOINT_URL_S3");
        // Nothing but these variables is ever touched.
        assert_eq!(changed(NOWHERE, &[(SET, "PATH ;AWS_REGION AWS_REGION; AWS_PROFILE")]), ["CREDENZA_SET=-"]);
    }

    #[test]
    fn keys_that_stand_in_the_environment_keep_what_stands_beside_them() {
        let set = (SET, "AWS_REGION AWS_DEFAULT_REGION AWS_ENDPOINT_URL_S3");
        let variables = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_REGION", "r"), ("AWS_ENDPOINT_URL_S3", "http://h")];
        let before = Environment::new(variables.into_iter().chain([set, ("HOME", "/h"), ("AWS_PROFILE", "p")]));
        assert_eq!(NOWHERE.of_those(&before, "environment", "A"), HERE);
        assert_eq!(NOWHERE.of_those(&before, "environment", "B"), NOWHERE);
        assert_eq!(NOWHERE.of_those(&before, "url", "A"), NOWHERE);
        let own = StoreVariables { region: Some("own"), endpoint: None };
        assert_eq!(own.of_those(&before, "environment", "A"), StoreVariables { region: Some("own"), ..HERE });
        assert_eq!(NOWHERE.of_those(&Environment::new(variables), "environment", "A"), NOWHERE);

        let left = forgotten(&before);
        assert_eq!((left.get("AWS_REGION"), left.get("AWS_ENDPOINT_URL_S3")), (None, None));
        assert_eq!((left.get("AWS_PROFILE"), left.home()), (Some("p"), before.home()));
        assert_eq!(forgotten(&Environment::new(variables)).get("AWS_REGION"), Some("r"));
    }
}
