use testkit::sts::{Role, Sts};

use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::{ErrorKind, SourceError};
use crate::model::identity_name::IdentityName;
use crate::model::narrowing::Narrowing;
use crate::model::outcome::Outcome;
use crate::model::policy::SessionPolicy;
use crate::os::files::Files;
use crate::source::build;
use crate::source::spec::{ChainSpec, LongLivedKeys, OnFailure, Program, RoleSpec, SourceKind, SourceSpec, TextSource};
use std::time::Duration;

const ROLE: &str = "arn:aws:iam::123456789012:role/r";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}"#;
const OTHER: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

fn policy(text: &str) -> Option<SessionPolicy> {
    Some(SessionPolicy::parse(text).unwrap())
}

fn narrowing() -> Narrowing {
    Narrowing { policy: policy(POLICY), ..Narrowing::default() }
}

fn role() -> RoleSpec {
    RoleSpec { arn: ROLE.into(), ..RoleSpec::default() }
}

fn keys(id: &str) -> SourceKind {
    let literal = |text: &str| TextSource::Literal(text.into());
    SourceKind::Static {
        access_key_id: literal(id),
        secret_access_key: literal(Sts::SECRET_ACCESS_KEY),
        session_token: None,
    }
}

fn over(role: RoleSpec, base: SourceKind) -> SourceKind {
    SourceKind::AssumeRole { role, base: Box::new(base.into()) }
}

struct Stage {
    sts: Sts,
    home: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let sts = Sts::start("eu-west-1");
        sts.allow(ROLE, Role::default());
        Self { sts, home: tempfile::tempdir().unwrap() }
    }

    fn context(&self) -> Context {
        let (url, home) = (self.sts.url(), self.home.path().to_str().unwrap().to_owned());
        let variables = [("AWS_ENDPOINT_URL_STS", &*url), ("AWS_REGION", "eu-west-1"), ("HOME", &home)];
        Context { files: Files::unwatched(), ..Context::of(&variables) }
    }

    async fn load(
        &self,
        kind: SourceKind,
        assume: Option<&RoleSpec>,
        narrowing: Option<Narrowing>,
    ) -> Result<Credentials, SourceError> {
        let sources: [SourceSpec; 1] = [kind.into()];
        let chain = build::chain(&ChainSpec {
            identity: &IdentityName::from("prod"),
            sources: &sources,
            on_failure: OnFailure::Stop,
            long_lived_keys: LongLivedKeys::Direct,
            assume,
            narrowing: narrowing.as_ref(),
        });
        match chain.load(&self.context(), None, Duration::from_secs(10)).await.verdict {
            Outcome::Found { credentials, .. } => Ok(credentials),
            Outcome::Failed { error, .. } => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// The parameter of the last request.
    fn sent(&self, name: &str) -> Option<String> {
        let forms = self.sts.forms();
        forms.last()?.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }
}

#[tokio::test]
async fn narrows_roles_in_their_own_request() {
    let stage = Stage::new();
    let found = stage.load(over(role(), keys(Sts::ACCESS_KEY_ID)), None, Some(narrowing())).await.unwrap();
    assert_eq!(stage.sts.actions(), ["AssumeRole"]);
    assert_eq!(stage.sent("Policy").as_deref(), Some(POLICY));
    assert_eq!(stage.sent("RoleSessionName").as_deref(), Some("credenza-prod"));
    let session = found.session.unwrap();
    assert!(session.is_of_role && session.packed_policy_size == Some(3), "{session:?}");
    assert_eq!(session.policy, policy(POLICY));

    std::fs::write(stage.home.path().join("token"), "hush-jwt").unwrap();
    stage.sts.trust_tokens(&["hush-jwt"]);
    let web = SourceKind::WebIdentity { role: role(), token_file: "~/token".into() };
    stage.load(web, None, Some(narrowing())).await.unwrap();
    assert_eq!(stage.sts.actions().last().unwrap(), "AssumeRoleWithWebIdentity");
    assert_eq!(stage.sent("Policy").as_deref(), Some(POLICY));
}

#[tokio::test]
async fn narrows_what_a_profile_resolves_to() {
    let stage = Stage::new();
    std::fs::create_dir(stage.home.path().join(".aws")).unwrap();
    let (id, secret) = (Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY);
    let config = format!(
        "[profile role]\nrole_arn = {ROLE}\nsource_profile = keys\nrole_session_name = me\n\
         [profile keys]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
         [profile minio]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\nendpoint_url = http://minio:9000\n"
    );
    std::fs::write(stage.home.path().join(".aws/config"), config).unwrap();
    let profile =
        |name: &str| SourceKind::Profile { name: Some(name.into()), credentials_file: None, config_file: None };
    stage.load(profile("role"), None, Some(narrowing())).await.unwrap();
    assert_eq!((stage.sts.actions(), stage.sent("Policy").as_deref()), (vec!["AssumeRole".into()], Some(POLICY)));
    assert_eq!(stage.sent("RoleSessionName").as_deref(), Some("me"));
    stage.load(profile("keys"), None, Some(narrowing())).await.unwrap();
    assert_eq!(stage.sts.actions()[1..], ["GetCallerIdentity", "GetFederationToken"]);
    let error = stage.load(profile("minio"), None, Some(narrowing())).await.unwrap_err();
    assert!(
        error.to_string().contains("the keys belong to http://minio:9000, which is not AWS; add assume"),
        "{error}"
    );
    assert_eq!(stage.sts.actions().len(), 3);
}

#[tokio::test]
async fn narrows_keys_of_an_iam_user_by_federation() {
    let stage = Stage::new();
    let narrowing = Narrowing {
        client: Some("team/a".into()),
        duration: Some(Duration::from_secs(60)),
        policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".into()],
        ..narrowing()
    };
    let found = stage.load(keys(Sts::ACCESS_KEY_ID), None, Some(narrowing)).await.unwrap();
    assert_eq!(stage.sts.actions(), ["GetCallerIdentity", "GetFederationToken"]);
    for (name, expected) in [
        ("Policy", POLICY),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
        ("DurationSeconds", "900"),
    ] {
        assert_eq!(stage.sent(name).as_deref(), Some(expected), "{name}");
    }
    assert!(stage.sent("Name").unwrap().starts_with("team-a-"));
    assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("ASIA1", Some(Sts::ACCOUNT)));
}

#[tokio::test]
async fn refuses_what_cannot_be_narrowed() {
    let stage = Stage::new();
    stage.sts.know_root("AKIAROOT", Sts::SECRET_ACCESS_KEY);
    let print = |text: &str| SourceKind::Process(Program::Words(vec!["printf".into(), "%s".into(), text.into()]));
    let session = r#"{"Version":1,"AccessKeyId":"ASIAX","SecretAccessKey":"hush","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    let own = RoleSpec { policy: policy(OTHER), ..role() };
    let cases = [
        (keys("AKIAROOT"), "keys of the root user"),
        (keys("minioadmin"), "the keys are not those of an IAM user (AKIA…); add assume = { role_arn"),
        (print(session), "the credentials are already a session"),
        (
            SourceKind::Url(TextSource::Literal("http://AKIAX:s@minio:9000".into())),
            "the keys belong to http://minio:9000, which is not AWS",
        ),
        (over(own, keys(Sts::ACCESS_KEY_ID)), "the role has a session policy of its own"),
        (
            over(RoleSpec { policy_file: Some("/p".into()), ..role() }, keys(Sts::ACCESS_KEY_ID)),
            "the role has a session policy of its own",
        ),
    ];
    for (kind, expected) in cases {
        let error = stage.load(kind, None, Some(narrowing())).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    assert!(!stage.sts.actions().iter().any(|action| action != "GetCallerIdentity"), "{:?}", stage.sts.actions());
}

#[tokio::test]
async fn assumed_role_is_what_clients_get_and_what_is_narrowed() {
    let stage = Stage::new();
    let session = r#"{"Version":1,"AccessKeyId":"ASIAX","SecretAccessKey":"hush","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    stage.sts.know("ASIAX", "hush", Some("t"));
    let program = || SourceKind::Process(Program::Words(vec!["printf".into(), "%s".into(), session.into()]));
    let assume = RoleSpec {
        session_name: Some("{client}".into()),
        tags: vec![("who".into(), "{client}/{identity}".into())],
        source_identity: Some("{client}".into()),
        ..role()
    };
    let narrowing = Narrowing { client: Some("web".into()), ..narrowing() };
    let found = stage.load(program(), Some(&assume), Some(narrowing)).await.unwrap();
    assert_eq!(&*found.access_key_id, "ASIA1");
    for (name, expected) in
        [("RoleSessionName", "web"), ("Tags.member.1.Value", "web/prod"), ("SourceIdentity", "web"), ("Policy", POLICY)]
    {
        assert_eq!(stage.sent(name).as_deref(), Some(expected), "{name}");
    }
    // Without a narrowing the client is the owner.
    stage.load(program(), Some(&assume), None).await.unwrap();
    assert_eq!(stage.sent("RoleSessionName").as_deref(), Some("owner"));
    let own = RoleSpec { policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".into()], ..role() };
    let error = stage.load(program(), Some(&own), Some(self::narrowing())).await.unwrap_err();
    assert!(error.to_string().contains("a session policy of its own"), "{error}");
    let unknown = RoleSpec { session_name: Some("{user}".into()), ..role() };
    let narrowing = Narrowing { client: Some("web".into()), ..Narrowing::default() };
    let error = stage.load(program(), Some(&unknown), Some(narrowing)).await.unwrap_err();
    assert!(error.to_string().contains("session_name: {user} is in the text, and it is not known"), "{error}");
}

#[tokio::test]
async fn role_over_a_loaded_role_session_lasts_an_hour() {
    let stage = Stage::new();
    let long = RoleSpec { duration: Some(Duration::from_secs(7200)), ..role() };
    let base = over(role(), keys(Sts::ACCESS_KEY_ID));
    // The configuration refuses this. A profile shows it only at the load.
    let error = stage.load(base.clone(), Some(&RoleSpec { ..long.clone() }), None).await;
    assert!(error.is_ok(), "a known chain is shortened: {error:?}");
    assert_eq!(stage.sent("DurationSeconds").as_deref(), Some("3600"));
    stage.load(keys(Sts::ACCESS_KEY_ID), Some(&long), None).await.unwrap();
    assert_eq!(stage.sent("DurationSeconds").as_deref(), Some("7200"));
    // A grant shortens the session, and never below 15 minutes.
    for (asked, sent) in [(1, "900"), (1800, "1800"), (30_000, "7200")] {
        let narrowing = Narrowing { duration: Some(Duration::from_secs(asked)), ..Narrowing::default() };
        stage.load(keys(Sts::ACCESS_KEY_ID), Some(&long), Some(narrowing)).await.unwrap();
        assert_eq!(stage.sent("DurationSeconds").as_deref(), Some(sent));
    }
}
