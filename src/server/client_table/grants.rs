//! Grants: tokens for one identity that end by themselves. They live in memory and end with the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;
use crate::model::policy::SessionPolicy;
use crate::model::secret::Secret;
use crate::server::clients::{AllowedIdentities, Client, ClientProof};

/// The order for a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantOrder {
    pub(crate) name: ClientName,
    pub(crate) identity: IdentityName,
    pub(crate) lifetime: Duration,
    /// The end of that time: a whole second.
    pub(crate) ends: SystemTime,
    /// Replaces a grant of this name.
    pub(crate) replace: bool,
    /// The policies that limit the session of the grant.
    pub(crate) policy: Option<SessionPolicy>,
    pub(crate) policy_arns: Vec<Box<str>>,
}

impl GrantOrder {
    /// Returns the narrowing of the grant. `None` if it may do all that its identity may.
    pub(crate) fn narrowing(&self) -> Option<Narrowing> {
        let narrowing = Narrowing {
            policy: self.policy.clone(),
            policy_arns: self.policy_arns.clone(),
            duration: Some(self.lifetime.min(LONGEST_SESSION)),
            until: Some(self.ends),
            // CloudTrail names the grant.
            client: Some(self.name.as_str().into()),
            ..Narrowing::default()
        };
        narrowing.has_policy().then_some(narrowing)
    }
}

/// A grant as it is listed: without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantState {
    pub(crate) name: ClientName,
    pub(crate) identity: IdentityName,
    pub(crate) ends: SystemTime,
    /// The policy as STS gets it, as a SHA-256 in hexadecimal.
    pub(crate) policy_sha256: Option<Box<str>>,
    pub(crate) narrowing: Option<Arc<Narrowing>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantError {
    #[error("{0} is the name of a client; use another name")]
    NameOfClient(ClientName),
    #[error("there is a grant {0} already; revoke it, or replace it with --replace")]
    NameInUse(ClientName),
    #[error("there is no grant {0}; `credenza grants` lists them")]
    Unknown(ClientName),
    #[error("there are {0} grants, and no more are kept; revoke some")]
    TooMany(usize),
    #[error("cannot generate a token: {0}")]
    NoToken(String),
}

/// The longest session of a grant, which is renewed under the same name: the default maximum of a role, and the maximum
/// of a role chain.
const LONGEST_SESSION: Duration = Duration::from_secs(3600);

/// The maximum number of grants. Each takes some hundred bytes.
const MAX_GRANTS: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Grants(BTreeMap<ClientName, Grant>);

#[derive(Debug)]
struct Grant {
    token: Secret,
    client: Arc<Client>,
    state: GrantState,
    /// The end on the monotonic clock. The end that comes first counts.
    ends_at: Instant,
}

impl Grants {
    /// Adds a grant with a new token.
    ///
    /// # Errors
    /// If its name is in use, or there are too many grants.
    pub(crate) fn add(
        &mut self,
        order: GrantOrder,
        token: Secret,
        now: SystemTime,
        instant: Instant,
    ) -> Result<GrantState, GrantError> {
        let narrowing = order.narrowing().map(Arc::new);
        let GrantOrder { name, identity, ends, replace, policy, .. } = order;
        self.drop_ended(now, instant);
        if self.0.contains_key(&name) && !replace {
            return Err(GrantError::NameInUse(name));
        }
        if self.0.len() >= MAX_GRANTS && !self.0.contains_key(&name) {
            return Err(GrantError::TooMany(MAX_GRANTS));
        }
        let ends_at = instant + ends.duration_since(now).unwrap_or_default();
        let client = Client::new(name.clone(), AllowedIdentities::Only(identity.clone()));
        let client = Arc::new(Client { ends: Some(ends), narrowing: narrowing.clone(), ..client });
        let policy_sha256 = policy.as_ref().map(SessionPolicy::sha256);
        let state = GrantState { name: name.clone(), identity, ends, policy_sha256, narrowing };
        self.0.insert(name, Grant { token, client, state: state.clone(), ends_at });
        Ok(state)
    }

    /// Removes a grant.
    ///
    /// # Errors
    /// If there is none of this name.
    pub(crate) fn revoke(&mut self, name: &ClientName) -> Result<GrantState, GrantError> {
        self.0.remove(name).map(|grant| grant.state).ok_or_else(|| GrantError::Unknown(name.clone()))
    }

    /// Removes the grants of identities that no longer exist. Returns their names.
    pub(crate) fn retain(&mut self, exists: impl Fn(&IdentityName) -> bool) -> Vec<ClientName> {
        let gone = self.0.extract_if(.., |_, grant| !exists(&grant.state.identity));
        gone.map(|(name, _)| name).collect()
    }

    /// Removes the grants that are over. Returns their names.
    pub(crate) fn drop_ended(&mut self, now: SystemTime, instant: Instant) -> Vec<ClientName> {
        let ended = self.0.extract_if(.., |_, grant| grant.state.ends <= now || grant.ends_at <= instant);
        ended.map(|(name, _)| name).collect()
    }

    /// Removes the grants with the name of a client. Returns their names.
    pub(crate) fn drop_names(&mut self, is_client: impl Fn(&ClientName) -> bool) -> Vec<ClientName> {
        self.0.extract_if(.., |name, _| is_client(name)).map(|(name, _)| name).collect()
    }

    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.0.values().map(|grant| grant.ends_at).min()
    }

    pub(crate) fn list(&self) -> Vec<GrantState> {
        self.0.values().map(|grant| grant.state.clone()).collect()
    }

    pub(crate) fn proofs(&self) -> impl Iterator<Item = ClientProof> + '_ {
        self.0.values().map(|grant| ClientProof {
            token: Some(grant.token.clone()),
            users: None,
            client: Arc::clone(&grant.client),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::end_after;

    const MINUTE: Duration = Duration::from_secs(60);

    fn order(name: &str, lifetime: Duration, replace: bool) -> GrantOrder {
        let (policy, policy_arns) = (None, Vec::new());
        let ends = SystemTime::UNIX_EPOCH + lifetime;
        GrantOrder { name: name.into(), identity: "web".into(), lifetime, ends, replace, policy, policy_arns }
    }

    #[tokio::test(start_paused = true)]
    async fn grant_ends_by_either_clock_or_by_revocation() {
        let (now, instant) = (SystemTime::UNIX_EPOCH, Instant::now());
        let mut grants = Grants::default();
        let add = |grants: &mut Grants, order| grants.add(order, Secret::from("t"), now, instant);
        assert_eq!(add(&mut grants, order("a", MINUTE, false)).unwrap().ends, now + MINUTE);
        assert_eq!(add(&mut grants, order("a", MINUTE, false)), Err(GrantError::NameInUse("a".into())));
        assert_eq!(add(&mut grants, order("a", MINUTE * 2, true)).unwrap().ends, now + MINUTE * 2);
        add(&mut grants, order("b", MINUTE * 3, false)).unwrap();
        assert_eq!(grants.next_end(), Some(instant + MINUTE * 2));
        assert_eq!(grants.drop_ended(now + MINUTE, instant + MINUTE), []);
        // The wall clock was set forward.
        assert_eq!(grants.drop_ended(now + MINUTE * 2, instant + MINUTE), ["a".into()]);
        // The wall clock was set back.
        assert_eq!(grants.drop_ended(now, instant + MINUTE * 3), ["b".into()]);
        add(&mut grants, order("c", MINUTE, false)).unwrap();
        assert_eq!(grants.revoke(&"c".into()).unwrap().identity, "web".into());
        assert_eq!(grants.revoke(&"c".into()), Err(GrantError::Unknown("c".into())));
        assert_eq!(grants.proofs().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn grant_ends_at_a_whole_second() {
        let (now, instant) = (SystemTime::UNIX_EPOCH + Duration::from_millis(5_700), Instant::now());
        let mut grants = Grants::default();
        let lifetime = Duration::from_secs(1);
        let order = GrantOrder { ends: end_after(now, lifetime), ..order("a", lifetime, false) };
        let grant = grants.add(order, Secret::from("t"), now, instant).unwrap();
        assert_eq!(grant.ends, SystemTime::UNIX_EPOCH + Duration::from_secs(6));
        assert_eq!(grants.next_end(), Some(instant + Duration::from_millis(300)));
        assert_eq!(grants.drop_names(|name| name.as_str() == "b"), []);
        assert_eq!(grants.drop_names(|name| name.as_str() == "a"), ["a".into()]);
    }

    #[tokio::test(start_paused = true)]
    async fn grant_is_a_client_of_one_identity() {
        let mut grants = Grants::default();
        grants.add(order("a", MINUTE, false), Secret::from("t"), SystemTime::UNIX_EPOCH, Instant::now()).unwrap();
        let proof = grants.proofs().next().unwrap();
        assert_eq!(proof.client.own_identity(), "web".into());
        assert!(proof.client.may_have(&"web".into()) && !proof.client.may_have(&"default".into()));
        assert_eq!(proof.client.ends, Some(SystemTime::UNIX_EPOCH + MINUTE));
        assert_eq!(grants.retain(|name| name.as_str() != "web"), ["a".into()]);
        assert!(grants.list().is_empty());
    }
}
