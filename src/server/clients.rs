//! The clients of the server: the programs that may request credentials, found by token or by user.

mod default_identity;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::lease::key::NarrowedIdentity;
use crate::lease::supervisor::session_filter::SessionFilter;
use crate::model::client_name::ClientName;
use crate::model::identity_name::IdentityName;
use crate::model::name_pattern::NamePattern;
use crate::model::narrowing::Narrowing;
use crate::model::secret::Secret;
pub(crate) use crate::server::clients::default_identity::{DefaultIdentity, Target};

/// The maximum number of client tokens that are compared one after another. With more clients a token is found by
/// digest; a digest costs more than four comparisons.
const FEW: usize = 4;

/// A program that may request credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) name: ClientName,
    pub(crate) identities: AllowedIdentities,
    /// The end of a grant. No answer tells a later expiration.
    pub(crate) ends: Option<SystemTime>,
    /// The policies and the times of a grant that may do less than its identity.
    pub(crate) narrowing: Option<Arc<Narrowing>>,
}

/// The identities that a client may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowedIdentities {
    All,
    /// Each identity with a name that one of the patterns matches.
    Matching(Box<[NamePattern]>),
    Only(IdentityName),
}

impl AllowedIdentities {
    /// Returns the identities that one of these patterns matches.
    pub(crate) fn of_patterns(patterns: &[NamePattern]) -> Self {
        match patterns {
            [only] => {
                only.only_name().map_or_else(|| Self::Matching([only.clone()].into()), |name| Self::Only(name.into()))
            }
            patterns => Self::Matching(patterns.into()),
        }
    }

    #[inline]
    pub(crate) fn contains(&self, identity: &str) -> bool {
        match self {
            Self::All => true,
            Self::Matching(patterns) => patterns.iter().any(|pattern| pattern.matches(identity)),
            Self::Only(only) => only.as_str() == identity,
        }
    }
}

impl Client {
    /// Makes a client that may have all identities.
    pub(crate) fn of_all(name: &str) -> Self {
        Self::new(name.into(), AllowedIdentities::All)
    }

    pub(crate) fn new(name: ClientName, identities: AllowedIdentities) -> Self {
        Self { name, identities, ends: None, narrowing: None }
    }

    /// Returns true if the grant of this client is over.
    pub(crate) fn has_ended(&self, now: SystemTime) -> bool {
        self.ends.is_some_and(|end| end <= now)
    }

    pub(crate) fn may_have(&self, identity: &IdentityName) -> bool {
        self.identities.contains(identity.as_str())
    }

    /// Returns true if this client gets a session of this identity and with these policies and times.
    fn may_hold(&self, session: &NarrowedIdentity) -> bool {
        let none = Narrowing::default();
        let (own, of_session) = (self.narrowing.as_deref().unwrap_or(&none), &session.narrowing);
        self.may_have(&session.identity)
            && own.policy == of_session.policy
            && own.policy_arns == of_session.policy_arns
            && own.until == of_session.until
    }

    /// Returns the identity for a request that names no identity. It is the only identity that this client may have,
    /// else `default`.
    pub(crate) fn own_identity(&self) -> IdentityName {
        self.own_name().into()
    }

    /// Returns the name of [`Client::own_identity`].
    #[inline]
    pub(crate) fn own_name(&self) -> &str {
        match &self.identities {
            AllowedIdentities::Only(only) => only.as_str(),
            AllowedIdentities::All | AllowedIdentities::Matching(_) => IdentityName::DEFAULT,
        }
    }
}

/// A way to prove to be a client: a token, a user, or both.
#[derive(Clone, Debug)]
pub(crate) struct ClientProof {
    /// `None` for a client that is known by its user alone.
    pub(crate) token: Option<Secret>,
    /// The user ids that the client may have. `None` means any user.
    pub(crate) users: Option<Arc<[u32]>>,
    pub(crate) client: Arc<Client>,
}

/// The clients at one moment. A token is found by a keyed digest and then compared in constant time. So the time of a
/// lookup reveals nothing about other tokens.
///
/// The digest is SipHash with a key that is generated at the start. A client cannot predict the digest without the key,
/// which suffices for a lookup. SipHash costs a tenth of an HMAC.
#[derive(Default)]
pub(crate) struct Clients {
    key: RandomState,
    /// The clients with a token, sorted by the digests of their tokens.
    by_digest: Vec<ClientToken>,
    /// The clients without a token, by user id.
    by_user: Vec<(u32, Arc<Client>)>,
    /// True if a client is restricted to users. The server then looks up the user of each connection.
    needs_users: bool,
    /// The identity that `default` means, if it is or may be another one.
    pub(crate) default_identity: Option<DefaultIdentity>,
    /// The number of the configuration that these clients come from. Identities of a later one are not theirs.
    pub(crate) generation: u64,
}

struct ClientToken {
    digest: u64,
    token: Secret,
    users: Option<Arc<[u32]>>,
    client: Arc<Client>,
}

/// The clients now, and after each change.
pub(crate) type ClientsWatch = watch::Receiver<Arc<Clients>>;

impl Clients {
    pub(crate) fn new(proofs: impl IntoIterator<Item = ClientProof>) -> Self {
        let mut clients = Self::default();
        for ClientProof { token, users, client } in proofs {
            clients.needs_users |= users.is_some();
            match (token, users) {
                (Some(token), users) => {
                    let digest = clients.key.hash_one(token.expose().as_bytes());
                    clients.by_digest.push(ClientToken { digest, token, users, client });
                }
                (None, users) => {
                    let users = users.iter().flat_map(|users| users.iter());
                    clients.by_user.extend(users.map(|user| (*user, Arc::clone(&client))));
                }
            }
        }
        clients.by_digest.sort_by_key(|known| known.digest);
        clients
    }

    /// Makes clients that never change.
    pub(crate) fn fixed(clients: impl IntoIterator<Item = (Secret, Client)>) -> ClientsWatch {
        let proof = |(token, client)| ClientProof { token: Some(token), users: None, client: Arc::new(client) };
        watch::Sender::new(Arc::new(Self::new(clients.into_iter().map(proof)))).subscribe()
    }

    /// Returns all clients by name.
    pub(crate) fn by_name(&self) -> HashMap<&ClientName, &Arc<Client>> {
        let all = self.by_digest.iter().map(|known| &known.client).chain(self.by_user.iter().map(|(_, known)| known));
        all.map(|client| (&client.name, client)).collect()
    }

    /// Returns a filter for the sessions that clients had before, and may not have now. `None` if no client has lost anything.
    /// A session that names its user alone stays as long as a client may have its identity.
    pub(crate) fn lost_since(self: &Arc<Self>, before: &Self) -> Option<SessionFilter> {
        let (known, now) = (before.by_name(), self.by_name());
        let is_another =
            |(name, client): &(&&ClientName, &&Arc<Client>)| now.get(**name).is_none_or(|now| ***client != **now);
        let changed: BTreeSet<ClientName> = known.iter().filter(is_another).map(|(name, _)| (*name).clone()).collect();
        if changed.is_empty() {
            return None;
        }
        let clients = Arc::clone(self);
        Some(SessionFilter::new(move |session| match &session.narrowing.client {
            Some(name) => {
                let holds =
                    || clients.by_name().get(&ClientName::from(&**name)).is_some_and(|now| now.may_hold(session));
                changed.iter().any(|changed| changed.as_str() == &**name) && !holds()
            }
            None => !clients.by_name().values().any(|client| client.may_hold(session)),
        }))
    }

    /// Returns the names of the clients, without grants.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let with_token = self.by_digest.iter().map(|token| &token.client);
        let clients = with_token.chain(self.by_user.iter().map(|(_, client)| client));
        clients.filter(|client| client.ends.is_none()).map(|client| client.name.as_str()).collect()
    }

    /// Returns true if the users of connections must be known.
    pub(crate) fn needs_users(&self) -> bool {
        self.needs_users
    }

    /// Returns the client with this token. `user` is the proven user of the connection.
    #[inline]
    pub(crate) fn with_token(&self, token: &[u8], user: Option<u32>) -> Option<&Arc<Client>> {
        let known = self.find(token)?;
        let is_its_user = known.users.as_ref().is_none_or(|users| user.is_some_and(|user| users.contains(&user)));
        is_its_user.then_some(&known.client)
    }

    /// Returns true if `name` is `default` and this client follows `credenza use`.
    #[inline]
    pub(crate) fn switches(&self, client: &Client, name: &str) -> bool {
        self.default_identity.is_some()
            && name == IdentityName::DEFAULT
            && !matches!(client.identities, AllowedIdentities::Only(_))
    }

    /// Returns the identity that a request of this client by this name gets at `now`.
    pub(crate) fn target(&self, client: &Client, name: IdentityName, now: SystemTime) -> Target {
        let mut target = match &self.default_identity {
            Some(default) if self.switches(client, name.as_str()) => default.target(now),
            _ => Target { identity: name, latest: None },
        };
        target.latest = target.latest.into_iter().chain(client.ends).min();
        target
    }

    /// Returns true if this is still a client, and this user may still be it.
    pub(crate) fn still_has(&self, client: &Client, user: Option<u32>) -> bool {
        let may_be = |users: &Arc<[u32]>| user.is_some_and(|user| users.contains(&user));
        let mut by_token = self.by_digest.iter().filter(|known| *known.client == *client);
        by_token.any(|known| known.users.as_ref().is_none_or(may_be))
            || self.by_user.iter().any(|(known, of)| user == Some(*known) && **of == *client)
    }

    /// Returns the client that is known by its user alone.
    pub(crate) fn of_user(&self, user: Option<u32>) -> Option<&Arc<Client>> {
        let user = user?;
        self.by_user.iter().find(|(known, _)| *known == user).map(|(_, client)| client)
    }

    fn find(&self, token: &[u8]) -> Option<&ClientToken> {
        if self.by_digest.len() <= FEW {
            return self.by_digest.iter().find(|known| known.token.is(token));
        }
        let wanted = self.key.hash_one(token);
        let first = self.by_digest.partition_point(|known| known.digest < wanted);
        let mut same = self.by_digest[first..].iter().take_while(|known| known.digest == wanted);
        same.find(|known| known.token.is(token))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_token = self.by_digest.iter().map(|known| &known.client.name);
        f.debug_list().entries(by_token.chain(self.by_user.iter().map(|(_, client)| &client.name))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn token(number: usize) -> String {
        format!("token-of-at-least-32-characters-{number:04}")
    }

    fn named(name: &str) -> Arc<Client> {
        Arc::new(Client::of_all(name))
    }

    #[test]
    fn finds_each_of_many_tokens_and_no_other() {
        for count in [0, 1, FEW, FEW + 1, 1_000] {
            let proof = |number: usize| ClientProof {
                token: Some(token(number).into()),
                users: None,
                client: named(&number.to_string()),
            };
            let clients = Clients::new((0..count).map(proof));
            for number in 0..count {
                let found = clients.with_token(token(number).as_bytes(), None).unwrap();
                assert_eq!(found.name.as_str(), number.to_string());
            }
            for other in ["", "token", &token(count)] {
                assert!(clients.with_token(other.as_bytes(), None).is_none(), "{count} {other}");
            }
            assert!(!clients.needs_users());
        }
    }

    #[test]
    fn token_with_users_needs_both() {
        let proof = |token: Option<&str>, users: &[u32], name: &str| ClientProof {
            token: token.map(Into::into),
            users: Some(users.into()),
            client: named(name),
        };
        let clients = Clients::new([proof(Some("secret"), &[33, 1001], "web"), proof(None, &[7, 8], "job")]);
        assert!(clients.needs_users());
        for (user, holds) in [(Some(33), true), (Some(1001), true), (Some(0), false), (Some(7), false), (None, false)] {
            assert_eq!(clients.with_token(b"secret", user).is_some(), holds, "{user:?}");
        }
        for (user, holds) in [(Some(7), true), (Some(8), true), (Some(33), false), (Some(0), false), (None, false)] {
            assert_eq!(clients.of_user(user).is_some(), holds, "{user:?}");
            assert_eq!(clients.still_has(&named("job"), user), holds, "{user:?}");
            assert_eq!(clients.still_has(&named("web"), user), user == Some(33), "{user:?}");
            assert!(!clients.still_has(&named("other"), user), "{user:?}");
        }
    }

    #[test]
    fn client_of_one_name_gets_it_without_asking_for_it() {
        let client = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| NamePattern::new(pattern).unwrap()).collect();
            Client::new("c".into(), AllowedIdentities::of_patterns(&patterns))
        };
        for (patterns, own, allowed, refused) in [
            (&["web"][..], "web", &["web"][..], &["default", "we", "webs"][..]),
            (&["web", "team-*"], "default", &["web", "team-", "team-a"], &["default", "team"]),
            (&["team-*"], "default", &["team-a"], &["default", "web"]),
            (&["*"], "default", &["default", "anything"], &[]),
            (&[], "default", &[], &["default", ""]),
        ] {
            let client = client(patterns);
            assert_eq!(client.own_identity().as_str(), own, "{patterns:?}");
            for name in allowed {
                assert!(client.may_have(&(*name).into()), "{patterns:?} {name}");
            }
            for name in refused {
                assert!(!client.may_have(&(*name).into()), "{patterns:?} {name}");
            }
        }
    }

    #[test]
    fn default_means_the_chosen_identity_until_its_end() {
        const HOUR: Duration = Duration::from_secs(3600);
        let now = SystemTime::UNIX_EPOCH + HOUR;
        let lifetime = HOUR / 3;
        let switched = |end| Some(DefaultIdentity { switched: Some(("web".into(), end)), lifetime });
        let all = Client::of_all("all");
        let one = Client::new("one".into(), AllowedIdentities::Only("default".into()));
        let grant = Client { ends: Some(now + HOUR / 6), ..Client::of_all("grant") };
        for (default_identity, client, name, identity, latest) in [
            (None, &all, "default", "default", None),
            (switched(None), &all, "default", "web", Some(lifetime)),
            (switched(Some(now + HOUR / 4)), &all, "default", "web", Some(HOUR / 4)),
            (switched(Some(now)), &all, "default", "default", Some(lifetime)),
            (switched(None), &all, "job", "job", None),
            (switched(None), &one, "default", "default", None),
            (switched(None), &grant, "default", "web", Some(HOUR / 6)),
            (None, &grant, "job", "job", Some(HOUR / 6)),
            (Some(DefaultIdentity { switched: None, lifetime }), &all, "default", "default", Some(lifetime)),
        ] {
            let clients = Clients { default_identity, ..Clients::default() };
            let target = clients.target(client, name.into(), now);
            let expected = Target { identity: identity.into(), latest: latest.map(|after| now + after) };
            assert_eq!(target, expected, "{clients:?} {client:?} {name}");
        }
        assert!(grant.has_ended(now + HOUR) && !grant.has_ended(now) && !all.has_ended(now));
    }

    #[test]
    fn client_loses_its_sessions_with_its_identities() {
        let only = |name: &str, patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| NamePattern::new(pattern).unwrap()).collect();
            Client::new(name.into(), AllowedIdentities::of_patterns(&patterns))
        };
        let ends = |policy_arn: &str, seconds| Narrowing {
            policy_arns: vec![policy_arn.into()],
            until: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            ..Narrowing::default()
        };
        let grant = |narrowing| Client { narrowing: Some(Arc::new(narrowing)), ..only("g", &["web"]) };
        let table = |clients: &[Client]| {
            let proof = |client: &Client| ClientProof {
                token: Some(token(client.name.as_str().len()).into()),
                users: None,
                client: Arc::new(client.clone()),
            };
            Arc::new(Clients::new(clients.iter().map(proof)))
        };
        let session = |client: Option<&str>, user: Option<&str>, identity: &str, narrowing: Narrowing| {
            let narrowing = Narrowing { client: client.map(Into::into), user: user.map(Into::into), ..narrowing };
            NarrowedIdentity { identity: identity.into(), narrowing }
        };
        let plain = Narrowing::default;
        let before = table(&[only("aa", &["web", "job"]), only("bbb", &["web"]), grant(ends("p", 60))]);
        let after = table(&[only("aa", &["web"]), grant(ends("p", 90)), only("dddd", &["w*"])]);
        let filter = after.lost_since(&before).unwrap();
        for (session, is_lost) in [
            (session(Some("aa"), None, "web", plain()), false),
            (session(Some("aa"), Some("ann"), "job", plain()), true),
            (session(Some("bbb"), None, "web", plain()), true),
            (session(Some("g"), None, "web", ends("p", 60)), true),
            (session(Some("g"), None, "web", ends("p", 90)), false),
            (session(Some("g"), None, "web", ends("q", 90)), true),
            (session(Some("g"), None, "web", plain()), true),
            // A grant that is about to be given has a session first.
            (session(Some("new"), None, "web", ends("p", 60)), false),
            (session(None, Some("ann"), "web", plain()), false),
            (session(None, Some("ann"), "job", plain()), true),
        ] {
            assert_eq!(filter.matches(&session), is_lost, "{session:?}");
        }
        assert!(after.lost_since(&after).is_none());
        assert!(table(&[only("aa", &["*"]), only("new", &["*"])]).lost_since(&table(&[only("aa", &["*"])])).is_none());
    }

    #[test]
    fn debug_shows_no_token() {
        let clients = Clients::fixed([("hush-hush".into(), Client::of_all("web"))]);
        let shown = format!("{:?}", clients.borrow());
        assert!(shown.contains("web") && !shown.contains("hush"), "{shown}");
    }
}
