//! Security Token Service: checks signature, scope, headers and parameters with code that shares nothing with the
//! program, and remembers the keys that it has issued.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use ring::{digest, hmac};
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::server::{Fake, Reply, Seen, Service};

/// The parameters of an action in the received order, percent-decoded.
pub type Form = Vec<(String, String)>;

/// Refuses the requests that STS refuses, with its codes and messages.
pub type Sts = Fake<State>;

/// The conditions of a role for its caller.
#[derive(Clone, Default)]
pub struct Role {
    pub external_id: Option<String>,
    /// The serial number and the code of the MFA device that the role requires.
    pub mfa: Option<(String, String)>,
    /// The access keys that may assume it; if empty, any key may.
    pub trusted: Vec<String>,
    /// Its maximum session duration in seconds; 12 hours if there is none.
    pub longest: Option<u64>,
}

#[derive(Clone)]
struct Key {
    secret: String,
    token: Option<String>,
    principal: Principal,
}

/// The principal of a key, as GetCallerIdentity shows it, and the properties that its session keeps.
#[derive(Clone)]
struct Principal {
    owner: Owner,
    arn: String,
    id: String,
    /// The device that proved the user of the session.
    mfa: Option<String>,
    /// A chain of roles keeps it.
    source_identity: Option<String>,
}

impl Principal {
    fn new(owner: Owner, arn: String, id: impl Into<String>) -> Self {
        Self { owner, arn, id: id.into(), mfa: None, source_identity: None }
    }

    fn user() -> Self {
        Self::new(Owner::User, format!("arn:aws:iam::{}:user/me", Sts::ACCOUNT), "AIDAEXAMPLE")
    }

    fn root() -> Self {
        Self::new(Owner::Root, format!("arn:aws:iam::{}:root", Sts::ACCOUNT), Sts::ACCOUNT)
    }

    /// `arn:aws:iam::1:role/path/name` becomes `arn:aws:sts::1:assumed-role/name/session`.
    fn role(arn: &str, session: &str) -> Self {
        let account = arn.split(':').nth(4).unwrap_or_default();
        let role = arn.rsplit('/').next().unwrap_or_default();
        let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
        Self::new(Owner::Role, arn, format!("AROA1:{session}"))
    }

    fn federated(name: &str) -> Self {
        let account = Sts::ACCOUNT;
        let arn = format!("arn:aws:sts::{account}:federated-user/{name}");
        Self::new(Owner::Federated, arn, format!("{account}:{name}"))
    }

    fn is_of_root(&self) -> bool {
        self.arn.ends_with(":root")
    }
}

/// The principal of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    User,
    Root,
    /// The session of a role, with a maximum of one hour for the next.
    Role,
    /// A federated user. It may call GetCallerIdentity only.
    Federated,
    /// The session of GetSessionToken. It may call AssumeRole and GetCallerIdentity only.
    Session,
}

pub struct State {
    region: String,
    keys: HashMap<String, Key>,
    roles: HashMap<String, Role>,
    web_tokens: Vec<String>,
    used_codes: Vec<String>,
    issued: usize,
    expiration: Option<String>,
    date_off: i64,
    script: VecDeque<Reply>,
}

type Refusal = (u16, &'static str, String);

impl Sts {
    pub const ACCESS_KEY_ID: &str = "AKIAEXAMPLE";
    pub const SECRET_ACCESS_KEY: &str = "hush-long/lived+key";
    pub const ACCOUNT: &str = "123456789012";

    /// Accepts signatures for this region; knows one long-lived key pair and no role.
    pub fn start(region: &str) -> Self {
        let key = Key { secret: Self::SECRET_ACCESS_KEY.into(), token: None, principal: Principal::user() };
        Self::over(State {
            region: region.into(),
            keys: HashMap::from([(Self::ACCESS_KEY_ID.into(), key)]),
            roles: HashMap::new(),
            web_tokens: Vec::new(),
            used_codes: Vec::new(),
            issued: 0,
            expiration: None,
            date_off: 0,
            script: VecDeque::new(),
        })
    }

    /// The value of `AWS_ENDPOINT_URL_STS`.
    pub fn url(&self) -> String {
        self.endpoint()
    }

    /// Allows this role from now on.
    pub fn allow(&self, role_arn: &str, role: Role) {
        self.set(|state| state.roles.insert(role_arn.into(), role));
    }

    /// Forbids this role from now on.
    pub fn forbid(&self, role_arn: &str) {
        self.set(|state| state.roles.remove(role_arn));
    }

    /// Adds a key pair, or changes the secret of a known key.
    pub fn know(&self, access_key_id: &str, secret: &str, token: Option<&str>) {
        let role = || Principal::role(&format!("arn:aws:iam::{}:role/r", Self::ACCOUNT), "s");
        let principal = if token.is_some() { role() } else { Principal::user() };
        let key = Key { secret: secret.into(), token: token.map(Into::into), principal };
        self.set(|state| state.keys.insert(access_key_id.into(), key));
    }

    /// Adds the key pair of the root user of the account.
    pub fn know_root(&self, access_key_id: &str, secret: &str) {
        let key = Key { secret: secret.into(), token: None, principal: Principal::root() };
        self.set(|state| state.keys.insert(access_key_id.into(), key));
    }

    /// Invalidates all temporary keys.
    pub fn revoke_sessions(&self) {
        self.set(|state| state.keys.retain(|_, key| key.token.is_none()));
    }

    /// Sets the valid tokens of the identity provider.
    pub fn trust_tokens(&self, tokens: &[&str]) {
        self.set(|state| state.web_tokens = tokens.iter().map(|token| (*token).into()).collect());
    }

    /// Sets the expiry of all credentials issued from now on, instead of the requested duration.
    pub fn expire_at(&self, expiration: &str) {
        self.set(|state| state.expiration = Some(expiration.into()));
    }

    /// Shifts its clock, and the `Date` of its responses, by this many seconds.
    pub fn set_clock_off(&self, seconds: i64) {
        self.set(|state| state.date_off = seconds);
    }

    /// Answers the next requests with these replies, regardless of their content.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.set(|state| state.script.extend(replies));
    }

    /// Returns the parameters of every request.
    pub fn forms(&self) -> Vec<Form> {
        self.server().seen().iter().map(|seen| form(&seen.body).unwrap()).collect()
    }

    /// Returns the `Action` of every request.
    pub fn actions(&self) -> Vec<String> {
        self.forms().iter().map(|form| value(form, "Action").unwrap_or_default().to_owned()).collect()
    }

    /// Returns the access key that signed each request, `-` for an unsigned request.
    pub fn callers(&self) -> Vec<String> {
        let caller =
            |seen: &Seen| Some(seen.header("authorization")?.split_once("Credential=")?.1.split('/').next()?.into());
        self.server().seen().iter().map(|seen| caller(seen).unwrap_or_else(|| "-".into())).collect()
    }
}

/// An error in the XML of STS.
pub fn error(status: u16, code: &str, message: &str) -> Reply {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    Reply::of(
        status,
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
             <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n  \
             <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n</ErrorResponse>\n"
        ),
    )
    .with("content-type", "text/xml")
}

impl Service for State {
    fn answer(&mut self, request: &Seen) -> Reply {
        let reply = self.script.pop_front().unwrap_or_else(|| match self.judge(request) {
            Ok(body) => Reply::ok(body).with("content-type", "text/xml"),
            Err((status, code, message)) => error(status, code, &message),
        });
        // Rfc2822 writes +0000; HTTP dates end with GMT.
        let date = self.now().format(&Rfc2822).unwrap().replace("+0000", "GMT");
        reply.with("date", date)
    }
}

impl State {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from(SystemTime::now()) + time::Duration::seconds(self.date_off)
    }

    fn judge(&mut self, request: &Seen) -> Result<String, Refusal> {
        let wrong = |what: &str| (400, "ValidationError", what.to_owned());
        if request.method != "POST" || request.target != "/" {
            return Err((404, "InvalidAction", "not POST /".into()));
        }
        if request.header("content-type") != Some("application/x-www-form-urlencoded; charset=utf-8") {
            return Err(wrong("content-type"));
        }
        let form = form(&request.body).ok_or_else(|| wrong("the body is no form"))?;
        if value(&form, "Version") != Some("2011-06-15") {
            return Err((400, "NoSuchVersion", "Version".into()));
        }
        match value(&form, "Action").unwrap_or_default() {
            "AssumeRole" => {
                let caller = self.caller(request)?;
                self.assume_role(&form, &caller)
            }
            "AssumeRoleWithWebIdentity" => {
                if request.header("authorization").is_some() || request.header("x-amz-date").is_some() {
                    return Err(wrong("signed, where no keys are needed"));
                }
                self.web_identity(&form)
            }
            "GetSessionToken" => {
                let caller = self.caller(request)?;
                self.session_token(&form, &caller)
            }
            "GetFederationToken" => {
                let caller = self.caller(request)?;
                self.federation_token(&form, &caller)
            }
            "GetCallerIdentity" => {
                let caller = self.caller(request)?;
                self.caller_identity(&form, &caller)
            }
            other => Err((400, "InvalidAction", format!("Could not find operation {other} for version 2011-06-15"))),
        }
    }

    fn assume_role(&mut self, form: &Form, caller: &str) -> Result<String, Refusal> {
        only(
            form,
            &[
                "RoleArn",
                "RoleSessionName",
                "DurationSeconds",
                "ExternalId",
                "SerialNumber",
                "TokenCode",
                "SourceIdentity",
            ],
            true,
        )?;
        let principal = self.keys[caller].principal.clone();
        let (arn, name) = (need(form, "RoleArn")?, session_name(form)?);
        let (seconds, packed) = (duration(form, 3600, 900..=43_200)?, packed_size(form)?);
        if let Some(name) = value(form, "SourceIdentity") {
            check_name("sourceIdentity", name, 2..=64)?;
        }
        if principal.is_of_root() {
            return Err((403, "AccessDenied", "Roles may not be assumed by root accounts.".into()));
        }
        let refused = |action: &str| {
            let message =
                format!("User: {} is not authorized to perform: sts:{action} on resource: {arn}", principal.arn);
            (403, "AccessDenied", message)
        };
        if principal.owner == Owner::Federated {
            return Err(refused("AssumeRole"));
        }
        let proven = self.prove(form)?.or_else(|| principal.mfa.clone());
        let role = self.roles.get(arn).filter(|role| {
            (role.trusted.is_empty() || role.trusted.iter().any(|key| key == caller))
                && (role.external_id.is_none() || role.external_id.as_deref() == value(form, "ExternalId"))
                && (role.mfa.is_none() || role.mfa.as_ref().map(|(serial, _)| serial) == proven.as_ref())
        });
        check_longest(seconds, role.ok_or_else(|| refused("AssumeRole"))?)?;
        if principal.owner == Owner::Role && seconds > 3600 {
            return Err(too_long("1 hour session limit for roles assumed by role chaining"));
        }
        let source_identity = match (principal.source_identity.as_deref(), value(form, "SourceIdentity")) {
            (Some(earlier), Some(given)) if earlier != given => return Err(refused("SetSourceIdentity")),
            (earlier, given) => earlier.or(given),
        };
        let told = source_identity.map(|name| format!("<SourceIdentity>{name}</SourceIdentity>")).unwrap_or_default();
        let issued = Principal { source_identity: source_identity.map(Into::into), ..Principal::role(arn, name) };
        let user = format!("{}{told}{packed}", assumed_role(&issued));
        Ok(self.issue("AssumeRole", issued, seconds, &user))
    }

    fn web_identity(&mut self, form: &Form) -> Result<String, Refusal> {
        only(form, &["RoleArn", "RoleSessionName", "DurationSeconds", "WebIdentityToken"], true)?;
        let (arn, name, seconds) = (need(form, "RoleArn")?, session_name(form)?, duration(form, 3600, 900..=43_200)?);
        let token = need(form, "WebIdentityToken")?;
        if !self.web_tokens.iter().any(|known| known == token) {
            return Err((400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT.".into()));
        }
        let role = self.roles.get(arn).ok_or_else(|| {
            let message = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
            (403, "AccessDenied", message.to_owned())
        })?;
        check_longest(seconds, role)?;
        let packed = packed_size(form)?;
        let issued = Principal::role(arn, name);
        let user = format!(
            "<SubjectFromWebIdentityToken>s</SubjectFromWebIdentityToken><Provider>https://issuer.example</Provider>\
             <Audience>sts.amazonaws.com</Audience>{}{packed}",
            assumed_role(&issued)
        );
        Ok(self.issue("AssumeRoleWithWebIdentity", issued, seconds, &user))
    }

    fn session_token(&mut self, form: &Form, caller: &str) -> Result<String, Refusal> {
        only(form, &["DurationSeconds", "SerialNumber", "TokenCode"], false)?;
        let seconds = duration(form, 43_200, 900..=129_600)?;
        if self.keys[caller].token.is_some() {
            return Err((403, "AccessDenied", "Cannot call GetSessionToken with session credentials".into()));
        }
        let serial = self.prove(form)?;
        let principal = &self.keys[caller].principal;
        let seconds = if principal.is_of_root() { seconds.min(3600) } else { seconds };
        let issued = Principal { owner: Owner::Session, mfa: serial, ..principal.clone() };
        Ok(self.issue("GetSessionToken", issued, seconds, ""))
    }

    /// Returns the MFA device that the code of this request proves, `None` without a code. A code is valid once.
    fn prove(&mut self, form: &Form) -> Result<Option<String>, Refusal> {
        let denied = |why: &str| Err((403, "AccessDenied", format!("MultiFactorAuthentication failed{why}")));
        let (serial, code) = match (value(form, "SerialNumber"), value(form, "TokenCode")) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            _ => return denied(", must provide both MFA serial number and one time pass code."),
        };
        check("tokenCode", code, 6..=6, "[\\d]*", |byte| byte.is_ascii_digit())?;
        let right: Vec<&str> = self
            .roles
            .values()
            .filter_map(|role| role.mfa.as_ref())
            .filter(|mfa| mfa.0 == serial)
            .map(|mfa| &*mfa.1)
            .collect();
        if right.is_empty() {
            return denied(
                ", unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.",
            );
        }
        if !right.contains(&code) || self.used_codes.iter().any(|used| used == code) {
            return denied(" with invalid MFA one time pass code. ");
        }
        self.used_codes.push(code.into());
        Ok(Some(serial.into()))
    }

    fn federation_token(&mut self, form: &Form, caller: &str) -> Result<String, Refusal> {
        only(form, &["Name", "DurationSeconds", "ExternalId"], true)?;
        let owner = self.keys[caller].principal.owner;
        if !matches!(owner, Owner::User | Owner::Root) {
            return Err((403, "AccessDenied", "Cannot call GetFederationToken with session credentials".into()));
        }
        if value(form, "ExternalId").is_some() {
            return Err((400, "ValidationError", "unexpected parameter ExternalId".into()));
        }
        let name = need(form, "Name")?;
        check_name("name", name, 2..=32)?;
        let (seconds, packed) = (duration(form, 43_200, 900..=129_600)?, packed_size(form)?);
        let seconds = if owner == Owner::Root { seconds.min(3600) } else { seconds };
        let issued = Principal::federated(name);
        let user = format!(
            "<FederatedUser><FederatedUserId>{}</FederatedUserId><Arn>{}</Arn></FederatedUser>{packed}",
            issued.id, issued.arn
        );
        Ok(self.issue("GetFederationToken", issued, seconds, &user))
    }

    fn caller_identity(&self, form: &Form, caller: &str) -> Result<String, Refusal> {
        only(form, &[], false)?;
        let (account, Principal { arn, id, .. }) = (Sts::ACCOUNT, &self.keys[caller].principal);
        Ok(format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
             <GetCallerIdentityResult>\n    <Arn>{arn}</Arn>\n    <UserId>{id}</UserId>\n    \
             <Account>{account}</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
             <RequestId>r</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n"
        ))
    }

    /// Issues credentials and accepts them from then on.
    fn issue(&mut self, action: &str, principal: Principal, seconds: u64, user: &str) -> String {
        self.issued += 1;
        let n = self.issued;
        let (id, secret, token) = (format!("ASIA{n}"), format!("hush-secret-{n}"), format!("hush/token+{n}=="));
        self.keys.insert(id.clone(), Key { secret: secret.clone(), token: Some(token.clone()), principal });
        let end = (self.now() + Duration::from_secs(seconds)).replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
        let end = self.expiration.clone().unwrap_or(end);
        format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <{action}Result>\n    {user}\n    \
             <Credentials>\n      <AccessKeyId>{id}</AccessKeyId>\n      <SecretAccessKey>{secret}</SecretAccessKey>\n      \
             <SessionToken>{token}</SessionToken>\n      <Expiration>{end}</Expiration>\n    </Credentials>\n  \
             </{action}Result>\n  <ResponseMetadata>\n    <RequestId>r</RequestId>\n  </ResponseMetadata>\n\
             </{action}Response>\n"
        )
    }

    /// Returns the access key of a request with a valid signature.
    fn caller(&self, request: &Seen) -> Result<String, Refusal> {
        let incomplete = |what: &str| (400, "IncompleteSignature", format!("{what} is missing or wrong"));
        let header = request.header("authorization").ok_or_else(|| {
            let message = "Request is missing Authentication Token".to_owned();
            (403, "MissingAuthenticationToken", message)
        })?;
        let rest = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| incomplete("the algorithm"))?;
        let mut parts = rest.split(", ");
        let mut part =
            |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(|| incomplete(name));
        let (credential, signed, signature) = (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
        let [id, day, region, service, end] = *credential.split('/').collect::<Vec<_>>() else {
            return Err(incomplete("Credential"));
        };
        if (region, service, end) != (&*self.region, "sts", "aws4_request") {
            let message = format!("Credential should be scoped to a valid region, not '{region}'");
            return Err((403, "SignatureDoesNotMatch", message));
        }
        let key = self.keys.get(id).ok_or_else(|| {
            (403, "InvalidClientTokenId", "The security token included in the request is invalid.".to_owned())
        })?;
        let moment = request.header("x-amz-date").ok_or_else(|| incomplete("x-amz-date"))?;
        if !moment.starts_with(day) {
            return Err(incomplete("the date"));
        }
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = PrimitiveDateTime::parse(moment, form).map_err(|_| incomplete("x-amz-date"))?.assume_utc();
        if (self.now() - at).abs() > time::Duration::minutes(5) {
            return Err((403, "SignatureDoesNotMatch", format!("Signature expired or not yet current: {moment}")));
        }
        if request.header("x-amz-security-token") != key.token.as_deref() {
            return Err((403, "InvalidClientTokenId", "The security token included in the request is invalid".into()));
        }
        let names: Vec<&str> = signed.split(';').collect();
        let must = ["content-type", "host", "x-amz-date"]
            .into_iter()
            .chain(key.token.as_ref().map(|_| "x-amz-security-token"));
        if !names.is_sorted() || !must.into_iter().all(|name| names.contains(&name)) {
            return Err(incomplete("SignedHeaders"));
        }
        let mut canonical = String::from("POST\n/\n\n");
        for name in &names {
            let value = request.header(name).ok_or_else(|| incomplete(name))?;
            writeln!(canonical, "{name}:{}", value.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
        }
        write!(canonical, "\n{signed}\n{}", sha256(&request.body)).unwrap();
        let scope = format!("{day}/{region}/{service}/{end}");
        let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut signing_key = format!("AWS4{}", key.secret).into_bytes();
        for part in [day, region, service, end] {
            signing_key = sign(&signing_key, part);
        }
        if hex(&sign(&signing_key, &text)) != signature {
            let message = format!(
                "The request signature we calculated does not match the signature you provided. \
                 The Canonical String for this request should have been\n'{canonical}'"
            );
            return Err((403, "SignatureDoesNotMatch", message));
        }
        Ok(id.to_owned())
    }
}

fn value<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

fn need<'a>(form: &'a Form, name: &str) -> Result<&'a str, Refusal> {
    value(form, name)
        .filter(|value| !value.is_empty())
        .ok_or_else(|| (400, "ValidationError", format!("{name} is missing")))
}

/// Refuses unknown and repeated parameters; `policy` permits the parameters of session policies and tags.
fn only(form: &Form, names: &[&str], policy: bool) -> Result<(), Refusal> {
    let is_member = |name: &str, list: &str, field: &str| {
        let number = name.strip_prefix(list).and_then(|rest| rest.strip_suffix(field));
        number.is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number > 0))
    };
    for (index, (name, _)) in form.iter().enumerate() {
        let known = ["Action", "Version"].contains(&&**name)
            || names.contains(&&**name)
            || policy
                && (name == "Policy"
                    || is_member(name, "PolicyArns.member.", ".arn")
                    || names.contains(&"ExternalId")
                        && (is_member(name, "Tags.member.", ".Key") || is_member(name, "Tags.member.", ".Value")));
        if !known || form[..index].iter().any(|(other, _)| other == name) {
            return Err((400, "ValidationError", format!("unexpected parameter {name}")));
        }
    }
    Ok(())
}

fn check_longest(seconds: u64, role: &Role) -> Result<(), Refusal> {
    let is_longer = role.longest.is_some_and(|longest| seconds > longest);
    if is_longer { Err(too_long("MaxSessionDuration set for this role.")) } else { Ok(()) }
}

fn too_long(limit: &str) -> Refusal {
    (400, "ValidationError", format!("The requested DurationSeconds exceeds the {limit}"))
}

fn session_name(form: &Form) -> Result<&str, Refusal> {
    let name = need(form, "RoleSessionName")?;
    check_name("roleSessionName", name, 2..=64).map(|()| name)
}

fn check_name(what: &str, name: &str, length: std::ops::RangeInclusive<usize>) -> Result<(), Refusal> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    check(what, name, length, "[\\w+=,.@-]*", is_allowed)
}

/// Checks the length and the characters of a parameter.
fn check(
    what: &str,
    text: &str,
    length: std::ops::RangeInclusive<usize>,
    pattern: &str,
    is_allowed: impl Fn(u8) -> bool,
) -> Result<(), Refusal> {
    let constraint = if !text.bytes().all(is_allowed) {
        format!("satisfy regular expression pattern: {pattern}")
    } else if text.len() < *length.start() {
        format!("have length greater than or equal to {}", length.start())
    } else if text.len() > *length.end() {
        format!("have length less than or equal to {}", length.end())
    } else {
        return Ok(());
    };
    Err(invalid(what, text, &constraint))
}

fn invalid(what: &str, value: &str, constraint: &str) -> Refusal {
    let message = format!(
        "1 validation error detected: Value '{value}' at '{what}' failed to satisfy constraint: Member must {constraint}"
    );
    (400, "ValidationError", message)
}

/// Checks policies and tags like STS, and returns the element with their size. The packed size is made up here: AWS does
/// not tell how it packs. A policy with `TooLarge` in it is too large.
fn packed_size(form: &Form) -> Result<String, Refusal> {
    let of = |prefix: &str, field: &str| -> Vec<&str> {
        let members = form.iter().filter(|(name, _)| name.starts_with(prefix) && name.ends_with(field));
        members.map(|(_, value)| value.as_str()).collect()
    };
    let invalid = |what: String| (400, "ValidationError", what);
    let (policy, arns) = (value(form, "Policy"), of("PolicyArns.member.", ".arn"));
    let (keys, values) = (of("Tags.member.", ".Key"), of("Tags.member.", ".Value"));
    if let Some(policy) = policy {
        if policy.contains("TooLarge") {
            let message = "Packed policy consumes 142% of allotted space, please use smaller policy.".to_owned();
            return Err((400, "PackedPolicyTooLarge", message));
        }
        if !is_policy(policy) {
            return Err((400, "MalformedPolicyDocument", "Syntax errors in policy.".into()));
        }
        if !policy.chars().all(|c| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}')) {
            return Err(invalid("Value at 'policy' failed".into()));
        }
    }
    let characters =
        policy.map_or(0, |policy| policy.chars().count()) + arns.iter().map(|arn| arn.len()).sum::<usize>();
    if characters > 2048 || arns.len() > 10 || arns.iter().any(|arn| arn.len() < 20 || !arn.contains(":policy/")) {
        return Err(invalid("Value at 'policyArns' or 'policy' failed".into()));
    }
    let is_tag = |text: &&str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || c == ' ' || matches!(c, '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@'))
    };
    let lower: std::collections::HashSet<String> = keys.iter().map(|key| key.to_lowercase()).collect();
    let fits = keys.len() <= 50
        && keys.len() == values.len()
        && lower.len() == keys.len()
        && keys.iter().all(|key| (1..=128).contains(&key.chars().count()) && !key.to_lowercase().starts_with("aws:"))
        && values.iter().all(|value| value.chars().count() <= 256)
        && keys.iter().chain(&values).all(is_tag);
    if !fits {
        return Err(invalid("Value at 'tags' failed".into()));
    }
    match characters + keys.len() {
        0 => Ok(String::new()),
        size => Ok(format!("<PackedPolicySize>{}</PackedPolicySize>", (size / 24).clamp(1, 99))),
    }
}

/// Returns true if this is JSON with statements that each have an effect. A session policy has no principal.
fn is_policy(text: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<serde_json::Value>(text) else { return false };
    let statements = match &policy["Statement"] {
        serde_json::Value::Array(statements) => statements.iter().collect(),
        statement => vec![statement],
    };
    let is_statement = |statement: &serde_json::Value| {
        matches!(statement["Effect"].as_str(), Some("Allow" | "Deny")) && statement.get("Principal").is_none()
    };
    statements.into_iter().all(is_statement)
}

fn duration(form: &Form, default: u64, range: std::ops::RangeInclusive<u64>) -> Result<u64, Refusal> {
    let Some(text) = value(form, "DurationSeconds") else { return Ok(default) };
    let out_of_range = |limit: String| Err(invalid("durationSeconds", text, &format!("have value {limit}")));
    match text.parse() {
        Ok(seconds) if range.contains(&seconds) => Ok(seconds),
        Ok(seconds) if seconds > *range.end() => out_of_range(format!("less than or equal to {}", range.end())),
        _ => out_of_range(format!("greater than or equal to {}", range.start())),
    }
}

fn assumed_role(principal: &Principal) -> String {
    let Principal { id, arn, .. } = principal;
    format!("<AssumedRoleUser><AssumedRoleId>{id}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>")
}

/// Parses `name=value&…` and requires percent encoding of all but unreserved characters; a space may be a plus sign.
pub(crate) fn form(body: &[u8]) -> Option<Form> {
    let text = std::str::from_utf8(body).ok()?;
    text.split('&').map(|pair| pair.split_once('=').and_then(|(n, v)| Some((decode(n)?, decode(v)?)))).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' => bytes.push(b' '),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().into()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
