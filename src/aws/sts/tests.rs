use testkit::server::{Reply, Server, nobody};
use testkit::sts::{Form, Role, Sts, error};

use crate::aws::settings::SettingError;
use crate::aws::sts::*;
use crate::http::url::Url;
use crate::model::error::ErrorKind;
use crate::os::clock::Clock;
use crate::tests::CapturedLog;

const ROLE: &str = "arn:aws:iam::123456789012:role/path/demo";
const TOKEN: &str = "hush.web.token";

fn context() -> Context {
    Context::of(&[])
}

fn at(url: &str) -> Settings {
    let mut settings = Settings { region: Some("eu-west-1".into()), ..Settings::default() };
    settings.endpoints.sts = Some(Ok(Url::parse(url).unwrap()));
    settings
}

fn caller() -> Credentials {
    Credentials::new(Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY).unwrap()
}

fn role() -> AssumeRoleRequest {
    AssumeRoleRequest { role_arn: ROLE.into(), session_name: "me".into(), ..AssumeRoleRequest::default() }
}

fn web_identity() -> WebIdentityRequest {
    WebIdentityRequest { role_arn: ROLE.into(), session_name: "me".into(), ..WebIdentityRequest::default() }
}

/// An STS that lets the caller assume the role.
fn sts() -> Sts {
    let sts = Sts::start("eu-west-1");
    sts.allow(ROLE, Role::default());
    sts
}

async fn assume(sts: &Sts, caller: &Credentials, role: &AssumeRoleRequest) -> Result<Credentials, SourceError> {
    assume_role(&context(), &at(&sts.url()), caller, role).await
}

/// The error after these answers, and the number of requests.
async fn failed(replies: Vec<Reply>) -> (SourceError, usize) {
    let sts = sts();
    sts.script(replies);
    let error = assume(&sts, &caller(), &role()).await.unwrap_err();
    assert!(!error.to_string().contains("hush"), "{error}");
    assert!(error.to_string().starts_with(&format!("AssumeRole {ROLE} (POST {}/): ", sts.url())), "{error}");
    (error, sts.actions().len())
}

fn pairs(form: &Form) -> Vec<(&str, &str)> {
    form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn lasts(credentials: &Credentials) -> u64 {
    let left = credentials.expiration.unwrap().duration_since(Clock::system().now()).unwrap();
    left.as_secs() + 1
}

#[tokio::test]
async fn assumes_role() {
    let sts = sts();
    let found = assume(&sts, &caller(), &role()).await.unwrap();
    assert_eq!((&*found.access_key_id, found.secret_access_key.expose()), ("ASIA1", "hush-secret-1"));
    assert_eq!(found.session_token, Some("hush/token+1==".into()));
    assert_eq!((found.account_id.as_deref(), found.endpoint), (Some(Sts::ACCOUNT), None));
    assert!((3590..=3601).contains(&lasts(&assume(&sts, &caller(), &role()).await.unwrap())));
    let [seen, _] = &sts.server().seen()[..] else { panic!() };
    assert_eq!(seen.line(), "POST /");
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded; charset=utf-8"));
    assert_eq!(seen.header("x-amz-security-token"), None);
    let authorization = seen.header("authorization").unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"), "{authorization}");
    let scope = "/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=";
    assert!(authorization.contains(scope), "{authorization}");
    let body = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpath%2Fdemo&RoleSessionName=me";
    assert_eq!(std::str::from_utf8(&seen.body).unwrap(), body);
}

#[tokio::test]
async fn sends_every_parameter() {
    let sts = sts();
    let (serial, code) = ("arn:aws:iam::123456789012:mfa/me", "123456");
    let mfa = Some((serial.into(), code.into()));
    sts.allow(ROLE, Role { external_id: Some("e/1".into()), mfa, ..Role::default() });
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
    let role = AssumeRoleRequest {
        external_id: Some("e/1".into()),
        duration: Some(Duration::from_secs(900)),
        mfa: Some(MfaCode { serial: serial.into(), code: code.into() }),
        policy: Some(SessionPolicy::parse(policy).unwrap()),
        policy_arns: vec!["arn:aws:iam::aws:policy/A".into(), "arn:aws:iam::aws:policy/B".into()],
        tags: vec![("team".into(), "a b".into()), ("empty".into(), "".into())],
        source_identity: Some("who".into()),
        ..role()
    };
    let found = assume(&sts, &caller(), &role).await.unwrap();
    assert!((890..=901).contains(&lasts(&found)));
    let forms = sts.forms();
    let expected = [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "me"),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
        ("PolicyArns.member.2.arn", "arn:aws:iam::aws:policy/B"),
        ("Policy", policy),
        ("DurationSeconds", "900"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "a b"),
        ("Tags.member.2.Key", "empty"),
        ("Tags.member.2.Value", ""),
        ("ExternalId", "e/1"),
        ("SerialNumber", serial),
        ("TokenCode", code),
        ("SourceIdentity", "who"),
    ];
    assert_eq!(pairs(&forms[0]), expected);
}

#[tokio::test]
async fn signs_role_chains_with_session_token_of_each_role() {
    let sts = sts();
    let first = assume(&sts, &caller(), &role()).await.unwrap();
    let second = assume(&sts, &first, &role()).await.unwrap();
    let third = assume(&sts, &second, &role()).await.unwrap();
    assert_eq!(&*third.access_key_id, "ASIA3");
    assert_eq!(sts.callers(), ["AKIAEXAMPLE", "ASIA1", "ASIA2"]);
    let seen = &sts.server().seen()[2];
    assert_eq!(seen.header("x-amz-security-token"), Some("hush/token+2=="));
    let names = "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,";
    assert!(seen.header("authorization").unwrap().contains(names));
    let long = AssumeRoleRequest { duration: Some(Duration::from_secs(7200)), ..role() };
    let error = assume(&sts, &first, &long).await.unwrap_err();
    assert!(error.to_string().contains("the session of another role lasts 1h at most"), "{error}");
    assert_eq!(error.kind, ErrorKind::Misconfigured);
}

#[tokio::test]
async fn sends_web_identity_without_signature() {
    let sts = sts();
    sts.trust_tokens(&[TOKEN]);
    let settings = at(&sts.url());
    let role = WebIdentityRequest { duration: Some(Duration::from_secs(1000)), ..web_identity() };
    let found = assume_role_with_web_identity(&context(), &settings, &role, &TOKEN.into()).await.unwrap();
    assert_eq!((&*found.access_key_id, found.account_id.as_deref()), ("ASIA1", Some(Sts::ACCOUNT)));
    let forms = sts.forms();
    let expected = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "me"),
        ("WebIdentityToken", TOKEN),
        ("DurationSeconds", "1000"),
    ];
    assert_eq!(pairs(&forms[0]), expected);
    let other = Secret::from("hush-other");
    let refused = assume_role_with_web_identity(&context(), &settings, &role, &other).await.unwrap_err();
    let told = format!(
        "AssumeRoleWithWebIdentity {ROLE} (POST {}/): status 400 Bad Request: InvalidIdentityToken: The ID Token provided \
         is not a valid JWT.; check that the token comes from the identity provider that the role trusts",
        sts.url()
    );
    assert_eq!((refused.kind, &*refused.to_string()), (ErrorKind::Denied, &*told));
    sts.script([error(400, "ExpiredTokenException", "Token hush.web.token expired")]);
    let refused = assume_role_with_web_identity(&context(), &settings, &role, &TOKEN.into()).await.unwrap_err();
    let told = "Token [redacted] expired; the token in the token file has expired: check the program";
    assert!(refused.to_string().contains(told), "{refused}");
}

#[tokio::test]
async fn exchanges_long_lived_keys_for_a_session() {
    let sts = sts();
    let settings = at(&sts.url());
    let caller = Credentials { endpoint: Some("http://s3".into()), ..caller() }.with_account_id(Some("210987654321"));
    let hours = Duration::from_secs(12 * 3600);
    let found = get_session_token(&context(), &settings, &caller, hours, None).await.unwrap();
    assert!((43_190..=43_201).contains(&lasts(&found)));
    assert_eq!((found.account_id.as_deref(), found.endpoint.as_deref()), (Some("210987654321"), Some("http://s3")));
    let forms = sts.forms();
    let expected = [("Action", "GetSessionToken"), ("Version", "2011-06-15"), ("DurationSeconds", "43200")];
    assert_eq!(pairs(&forms[0]), expected);
    let error = get_session_token(&context(), &settings, &found, hours, None).await.unwrap_err();
    let told = "AccessDenied: Cannot call GetSessionToken with session credentials; check the policies of the caller; \
                temporary credentials cannot ask for a session token";
    assert!(error.kind == ErrorKind::Denied && error.to_string().ends_with(told), "{error}");
}

#[tokio::test]
async fn shows_message_of_sts_for_denied_keys_and_roles() {
    let sts = sts();
    let secret = Credentials::new(Sts::ACCESS_KEY_ID, "hush-wrong").unwrap();
    let unknown = Credentials::new("AKIAOTHER", Sts::SECRET_ACCESS_KEY).unwrap();
    let session = assume(&sts, &caller(), &role()).await.unwrap();
    let token = session.clone().with_session_token(Some("hush-other")).unwrap();
    let without = session.clone().with_session_token(None).unwrap();
    // Its error message repeats the signed headers, which include the session token.
    sts.know("ASIA1", "hush-changed", Some("hush/token+1=="));
    for (caller, code, advice) in [
        (&secret, "SignatureDoesNotMatch", "check the secret access key"),
        (&session, "SignatureDoesNotMatch", "check the secret access key"),
        (&unknown, "InvalidClientTokenId", "check that the access key exists"),
        (&token, "InvalidClientTokenId", "with its own session token"),
        (&without, "InvalidClientTokenId", "with its own session token"),
    ] {
        let error = assume(&sts, caller, &role()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(&format!("status 403 Forbidden: {code}: ")), "{error}");
        assert!(error.to_string().contains(advice) && !error.to_string().contains("hush"), "{error}");
    }
    sts.forbid(ROLE);
    let error = assume(&sts, &caller(), &role()).await.unwrap_err();
    let told = format!(
        "AssumeRole {ROLE} (POST {}/): status 403 Forbidden: AccessDenied: User: arn:aws:iam::123456789012:user/me is not \
         authorized to perform: sts:AssumeRole on resource: {ROLE}; check that the caller may sts:AssumeRole this role, and that the role's trust \
         policy admits it (with this external id and MFA, if it asks for them)",
        sts.url()
    );
    assert_eq!((error.kind, &*error.to_string()), (ErrorKind::Denied, &*told));
    assert_eq!(sts.actions().len(), 7, "errors that are permanent are not retried");
}

#[tokio::test]
async fn signs_for_region_of_the_settings() {
    let sts = sts();
    let settings = at(&sts.url()).with_region(Some("us-east-1".into()));
    let error = assume_role(&context(), &settings, &caller(), &role()).await.unwrap_err();
    assert!(error.to_string().contains("valid region, not 'us-east-1'"), "{error}");
}

#[tokio::test]
async fn maps_codes_and_statuses_to_kinds() {
    for (status, code, kind) in [
        (400, "ExpiredToken", ErrorKind::Denied),
        (400, "InvalidIdentityToken", ErrorKind::Denied),
        (400, "MissingAuthenticationToken", ErrorKind::Denied),
        (403, "RegionDisabledException", ErrorKind::Denied),
        (400, "ValidationError", ErrorKind::Misconfigured),
        (400, "MalformedPolicyDocument", ErrorKind::Misconfigured),
        (400, "PackedPolicyTooLarge", ErrorKind::Misconfigured),
        (404, "InvalidAction", ErrorKind::Misconfigured),
        // Unknown codes: the status decides.
        (403, "OfAnotherKind", ErrorKind::Denied),
        (400, "OfAnotherKind", ErrorKind::Misconfigured),
    ] {
        let (error, requests) = failed(vec![error(status, code, "m")]).await;
        assert_eq!((error.kind, requests), (kind, 1), "{error}");
        assert!(error.to_string().contains(&format!(": {code}: m; ")), "{error}");
    }
    for (status, code) in [
        (400, "Throttling"),
        (400, "RequestLimitExceeded"),
        (400, "IDPCommunicationError"),
        (429, "Other"),
        (500, "InternalFailure"),
        (503, "ServiceUnavailable"),
    ] {
        let (error, requests) = failed(vec![error(status, code, "m"); 3]).await;
        assert_eq!((error.kind, requests), (ErrorKind::Unavailable, 3), "{error}");
        let told = format!(": {code}: m; the service may recover: try again later");
        assert!(error.to_string().ends_with(&told), "{error}");
    }
}

#[tokio::test]
async fn retries_transient_errors() {
    for replies in [
        vec![error(400, "Throttling", "Rate exceeded")],
        vec![Reply::of(502, "<html>bad gateway"), error(503, "ServiceUnavailable", "")],
        vec![Reply::Raw(Vec::new()), Reply::Raw(Vec::new())],
    ] {
        let (sts, requests) = (sts(), replies.len() + 1);
        sts.script(replies);
        assert_eq!(&*assume(&sts, &caller(), &role()).await.unwrap().access_key_id, "ASIA1");
        assert_eq!(sts.actions(), vec!["AssumeRole"; requests]);
    }
}

#[tokio::test]
async fn does_not_retry_before_retry_after() {
    let throttled = error(429, "Throttling", "Rate exceeded").with("retry-after", "7");
    let (error, requests) = failed(vec![throttled]).await;
    assert_eq!((requests, error.kind, error.retry_after), (1, ErrorKind::Unavailable, Some(Duration::from_secs(7))));
}

#[tokio::test]
async fn names_action_and_url_without_answer() {
    let nobody = format!("http://{}/", nobody());
    let error = assume_role(&context(), &at(&nobody), &caller(), &role()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("AssumeRole {ROLE}: POST {nobody}: ")), "{error}");
    assert!(error.to_string().contains("; check that this machine reaches it: over the network"), "{error}");
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn shows_status_of_answers_that_sts_did_not_send() {
    let namespaced = "<x:ErrorResponse xmlns:x='u'><x:Error><x:Code>a\u{1b}[2J</x:Code></x:Error></x:ErrorResponse>";
    let doctype = "<!DOCTYPE a [<!ENTITY b 'hush'>]><ErrorResponse><Error><Code>&b;</Code></Error></ErrorResponse>";
    for (status, body, told, kind) in [
        (503, "<html><body>hush</body></html>", "status 503 Service Unavailable", ErrorKind::Unavailable),
        (403, "<html><body>hush</body></html>", "status 403 Forbidden", ErrorKind::Denied),
        (400, "{\"hush\": 1}", "status 400 Bad Request", ErrorKind::Misconfigured),
        (400, "", "status 400 Bad Request", ErrorKind::Misconfigured),
        (403, doctype, "status 403 Forbidden", ErrorKind::Denied),
        (307, "", "status 307 Temporary Redirect (redirects are not followed)", ErrorKind::Misconfigured),
        (400, "<Error><Code>A</Code></Error>", "status 400 Bad Request: A", ErrorKind::Misconfigured),
        (400, namespaced, "status 400 Bad Request: a\\u{1b}[2J", ErrorKind::Misconfigured),
    ] {
        let (error, _) = failed(vec![Reply::of(status, body); 3]).await;
        let hint = match kind {
            ErrorKind::Denied => "ask the administrator of the account whether this caller may do it",
            ErrorKind::Unavailable => "the service may recover: try again later",
            _ if status == 307 => "set the endpoint that the redirect names (endpoint_url, AWS_ENDPOINT_URL)",
            _ => "check the settings of the profile, and which service answers at this endpoint",
        };
        assert!(error.to_string().ends_with(&format!("): {told}; {hint}")), "{error}");
        assert_eq!(error.kind, kind, "{error}");
    }
}

#[tokio::test]
async fn rejects_successful_answer_without_credentials() {
    let answer = |credentials: &str| {
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>{credentials}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
        )
    };
    let (id, secret) = ("<AccessKeyId>A</AccessKeyId>", "<SecretAccessKey>hush</SecretAccessKey>");
    let (token, end) = ("<SessionToken>hush</SessionToken>", "<Expiration>2099-01-01T00:00:00Z</Expiration>");
    let cases = [
        ("".to_owned(), "the answer is empty"),
        ("<html>hush".into(), "the answer is HTML, not XML"),
        ("{\"hush\":1}".into(), "the answer is not well-formed XML"),
        ("<a><b>hush".into(), "the answer ends in the middle of its XML"),
        ("<!DOCTYPE a [<!ENTITY b 'hush'>]><a>&b;</a>".into(), "the answer has a DOCTYPE, which could define entities"),
        ("<a/>".into(), "the answer has no Credentials/Expiration"),
        (answer(&[id, secret, token].concat()), "the answer has no Credentials/Expiration"),
        (answer(&[id, secret, end].concat()), "the answer has no Credentials/SessionToken"),
        (answer(&[id, token, end].concat()), "the answer has no Credentials/SecretAccessKey"),
        (answer(&[secret, token, end].concat()), "the answer has no Credentials/AccessKeyId"),
        (answer(&[id, "<SecretAccessKey/>", token, end].concat()), "the answer has no Credentials/SecretAccessKey"),
        (answer(&[id, id, secret, token, end].concat()), "the answer has /Credentials/AccessKeyId twice"),
        (
            answer(&[id, secret, token, "<Expiration>hush</Expiration>"].concat()),
            "Credentials/Expiration is not a timestamp of the form 2026-11-23T16:00:00Z",
        ),
        (
            answer(&[id, "<SecretAccessKey>hu&#10;sh</SecretAccessKey>", token, end].concat()),
            "in the answer, the secret access key contains a control character (a line break, perhaps)",
        ),
    ];
    for (body, told) in cases {
        let (error, requests) = failed(vec![Reply::ok(body)]).await;
        let hint = "check which service answers at this endpoint (endpoint_url, AWS_ENDPOINT_URL)";
        assert!(error.to_string().ends_with(&format!("): {told}; {hint}")), "{error}");
        assert_eq!((error.kind, requests), (ErrorKind::Unavailable, 1), "{error}");
    }
}

#[tokio::test]
async fn gives_account_only_if_it_is_certain() {
    for (arn, account) in [
        ("arn:aws:sts::123456789012:assumed-role/a/b", Some("123456789012")),
        ("arn:aws:sts:::assumed-role/a/b", None),
        ("arn:aws:iam::123456789012:user/a", None),
        ("x", None),
    ] {
        let body = format!(
            "<R><AssumedRoleUser><Arn>{arn}</Arn></AssumedRoleUser><Credentials><AccessKeyId>A</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></R>"
        );
        let read = credentials(body.as_bytes()).unwrap();
        assert_eq!(read.account_id.as_deref(), account, "{arn}");
        assert_eq!(read.session.unwrap().arn.as_deref(), Some(arn).filter(|arn| arn.starts_with("arn:")), "{arn}");
    }
}

#[tokio::test]
async fn hints_at_wrong_clock() {
    for (seconds, told) in [
        (-3700, Some("set the clock of this machine: it is 61 minutes ahead of that of the service")),
        (320, Some("set the clock of this machine: it is 5 minutes behind that of the service")),
        (-280, None),
    ] {
        let sts = sts();
        sts.set_clock_off(seconds);
        match (assume(&sts, &caller(), &role()).await, told) {
            (Err(error), Some(told)) => {
                assert!(error.to_string().contains("Signature expired or not yet current"), "{error}");
                assert!(error.to_string().ends_with(&format!("; {told}")), "{error}");
                assert_eq!(error.kind, ErrorKind::Denied);
            }
            (Ok(_), None) => {}
            other => panic!("{other:?}"),
        }
        // The hint appears with any error code.
        sts.script([error(400, "ValidationError", "m")]);
        let error = assume(&sts, &caller(), &role()).await.unwrap_err();
        assert_eq!(error.to_string().contains("minutes"), told.is_some(), "{error}");
    }
    for date in ["", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        let server = Server::start(move |_| Reply::of(400, "").with("date", date));
        let error = assume_role(&context(), &at(&server.url("")), &caller(), &role()).await.unwrap_err();
        assert_eq!(error.to_string().contains("minutes"), date.len() > 5, "{error}");
    }
}

#[tokio::test]
async fn rejects_parameters_that_a_request_cannot_carry() {
    let sts = sts();
    let long = format!("arn:{}", "a".repeat(crate::aws::arn::LONGEST));
    for arn in ["", "arn:aws:iam::1:role/a\nHost: evil", "arn:aws:iam::1:role/a b", &long] {
        let error = assume(&sts, &caller(), &AssumeRoleRequest { role_arn: arn.into(), ..role() }).await.unwrap_err();
        let told = "role_arn is empty, too long, or has spaces or line breaks; ";
        assert!(error.to_string().starts_with(told), "{error}");
        let web = WebIdentityRequest { role_arn: arn.into(), ..web_identity() };
        let outcome = assume_role_with_web_identity(&context(), &at(&sts.url()), &web, &TOKEN.into()).await;
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::Misconfigured);
    }
    let mfa = |serial: &str, code: &str| Some(MfaCode { serial: serial.into(), code: code.into() });
    for (role, told) in [
        (AssumeRoleRequest { session_name: "".into(), ..role() }, "the role session name is empty"),
        (AssumeRoleRequest { session_name: "a\nb".into(), ..role() }, "the role session name contains a control"),
        (AssumeRoleRequest { external_id: Some("a\0b".into()), ..role() }, "the external_id contains a control"),
        (AssumeRoleRequest { mfa: mfa("a\nb", "1"), ..role() }, "the mfa_serial contains a control"),
        (AssumeRoleRequest { mfa: mfa("a", "hu\nsh"), ..role() }, "the MFA code contains a control"),
        (AssumeRoleRequest { source_identity: Some("".into()), ..role() }, "the source identity is empty"),
        (AssumeRoleRequest { policy_arns: vec!["a\nb".into()], ..role() }, "the ARN of a policy contains a control"),
        (AssumeRoleRequest { tags: vec![("".into(), "x".into())], ..role() }, "the key of a session tag is empty"),
    ] {
        let error = assume(&sts, &caller(), &role).await.unwrap_err();
        assert!(error.to_string().starts_with(told) && !error.to_string().contains("hu"), "{error}");
        assert_eq!(error.kind, ErrorKind::Misconfigured);
    }
    let key = Credentials { access_key_id: "AKIA\u{e9}\nx".into(), ..caller() };
    let error = assume(&sts, &key, &role()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured, "{error}");
    let settings = at(&sts.url()).with_region(Some("eu-west-1/x\n".into()));
    let error = assume_role(&context(), &settings, &caller(), &role()).await.unwrap_err();
    assert!(error.to_string().starts_with("the region \"eu-west-1/x\\n\" is not valid"), "{error}");
    let https = sts.url().replace("http:", "https:");
    let refused = Settings { ca_bundle: Some(Err(SettingError::new("not this file"))), ..at(&https) };
    let error = assume_role(&context(), &refused, &caller(), &role()).await.unwrap_err();
    assert_eq!(error, SourceError::misconfigured("not this file"));
    assert!(sts.actions().is_empty());
}

/// The crate of the signatures logs the text that it signs.
#[tokio::test]
async fn no_log_level_shows_a_secret() {
    let (log, guard) = CapturedLog::start();
    let sts = sts();
    let first = assume(&sts, &caller(), &role()).await.unwrap();
    assume(&sts, &first, &role()).await.unwrap();
    drop(guard);
    let shown = log.text();
    assert!(shown.contains("sent an HTTP request"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn signs_each_attempt_with_its_own_time() {
    let sts = sts();
    sts.script([Reply::of(500, ""), Reply::of(500, "")]);
    // A fast clock: two attempts never fall into one second.
    let base = Clock::system().now() - Duration::from_secs(60);
    let context = Context { clock: Clock::injected(base), ..context() };
    let stepping = context.clock.clone();
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stepping.step(1000);
        }
    };
    let settings = at(&sts.url());
    let (caller, role) = (caller(), role());
    tokio::select! {
        outcome = assume_role(&context, &settings, &caller, &role) => drop(outcome.unwrap()),
        () = ticking => unreachable!("the clock never stops"),
    }
    let mut dates: Vec<_> =
        sts.server().seen().iter().map(|seen| seen.header("x-amz-date").unwrap().to_owned()).collect();
    dates.dedup();
    assert_eq!(dates.len(), 3, "{dates:?}");
}

fn read_only() -> SessionPolicy {
    SessionPolicy::parse(r#"{"Statement":{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}}"#).unwrap()
}

fn federated_user() -> FederationTokenRequest {
    FederationTokenRequest { name: "web".into(), policy: Some(read_only()), ..FederationTokenRequest::default() }
}

#[tokio::test]
async fn federates_an_iam_user() {
    let sts = sts();
    let user = FederationTokenRequest {
        duration: Some(Duration::from_secs(129_600)),
        policy_arns: vec!["arn:aws:iam::aws:policy/A".into()],
        tags: vec![("team".into(), "a b".into())],
        ..federated_user()
    };
    let found = get_federation_token(&context(), &at(&sts.url()), &caller(), &user).await.unwrap();
    assert!((129_590..=129_601).contains(&lasts(&found)));
    assert_eq!(found.account_id.as_deref(), Some(Sts::ACCOUNT));
    let session = found.session.clone().unwrap();
    assert_eq!((session.session_name.as_deref(), session.packed_policy_size), (Some("web"), Some(3)));
    assert_eq!((session.is_of_role, session.request_id.as_deref()), (false, Some("r")));
    let (forms, policy) = (sts.forms(), read_only());
    let expected = [
        ("Action", "GetFederationToken"),
        ("Version", "2011-06-15"),
        ("Name", "web"),
        ("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/A"),
        ("Policy", policy.as_str()),
        ("DurationSeconds", "129600"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "a b"),
    ];
    assert_eq!(pairs(&forms[0]), expected);
    let identity = get_caller_identity(&context(), &at(&sts.url()), &found).await.unwrap();
    assert_eq!(&*identity.arn, "arn:aws:sts::123456789012:federated-user/web");
    // It may assume no role.
    let error = assume(&sts, &found, &role()).await.unwrap_err();
    assert!(error.to_string().contains("federated-user/web is not authorized"), "{error}");
}

#[tokio::test]
async fn names_the_caller() {
    let sts = sts();
    sts.know_root("AKIAROOT", Sts::SECRET_ACCESS_KEY);
    for (id, arn, is_root) in [
        (Sts::ACCESS_KEY_ID, "arn:aws:iam::123456789012:user/me", false),
        ("AKIAROOT", "arn:aws:iam::123456789012:root", true),
    ] {
        let caller = Credentials::new(id, Sts::SECRET_ACCESS_KEY).unwrap();
        let identity = get_caller_identity(&context(), &at(&sts.url()), &caller).await.unwrap();
        assert_eq!((&*identity.account, &*identity.arn, identity.is_root()), (Sts::ACCOUNT, arn, is_root));
        assert!(!identity.user_id.is_empty());
    }
    for answer in ["<a/>", "<GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>"] {
        sts.script([Reply::ok(answer)]);
        let error = get_caller_identity(&context(), &at(&sts.url()), &caller()).await.unwrap_err();
        assert!(error.to_string().contains("the answer has no"), "{error}");
    }
}

#[tokio::test]
async fn too_large_policies_name_what_to_shorten() {
    let sts = sts();
    let text = r#"{"Statement":{"Effect":"Allow","Action":"s3:TooLarge","Resource":"*"}}"#;
    let role = AssumeRoleRequest { policy: Some(SessionPolicy::parse(text).unwrap()), ..role() };
    let error = assume(&sts, &caller(), &role).await.unwrap_err();
    assert!(error.to_string().contains("PackedPolicyTooLarge"), "{error}");
    assert!(error.to_string().contains("shorten the session policy") && error.to_string().contains("tags"), "{error}");
}

/// STS would refuse each of these.
#[tokio::test]
async fn checks_the_limits_of_sts_before_asking() {
    let sts = sts();
    let settings = at(&sts.url());
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let arns = |count: usize| vec![Box::from("arn:aws:iam::aws:policy/ReadOnlyAccess"); count];
    let tags = |count: usize| (0..count).map(|number| (format!("k{number}").into(), "v".into())).collect::<Vec<_>>();
    for (request, told) in [
        (AssumeRoleRequest { duration: seconds(899), ..role() }, "900 to 43200 seconds"),
        (AssumeRoleRequest { duration: seconds(43_201), ..role() }, "900 to 43200 seconds"),
        (AssumeRoleRequest { policy_arns: arns(11), ..role() }, "10 managed policies"),
        (AssumeRoleRequest { tags: tags(51), ..role() }, "50, and there are 51"),
        (AssumeRoleRequest { session_name: "a b".into(), ..role() }, "session_name"),
        (AssumeRoleRequest { source_identity: Some("a".into()), ..role() }, "2 to 64"),
    ] {
        let error = assume(&sts, &caller(), &request).await.unwrap_err();
        assert!(error.kind == ErrorKind::Misconfigured && error.to_string().contains(told), "{error}");
    }
    let web = WebIdentityRequest { duration: seconds(1), ..web_identity() };
    assert!(assume_role_with_web_identity(&context(), &settings, &web, &TOKEN.into()).await.is_err());
    let session = caller().with_session_token(Some("t")).unwrap();
    let minio = Credentials::new("minioadmin", "hush").unwrap();
    let federate = async |caller: &Credentials, user: FederationTokenRequest| {
        get_federation_token(&context(), &settings, caller, &user).await.unwrap_err().to_string()
    };
    assert!(federate(&session, federated_user()).await.contains("AKIA"));
    assert!(federate(&minio, federated_user()).await.contains("AKIA"));
    for (user, told) in [
        (FederationTokenRequest { policy: None, ..federated_user() }, "no rights"),
        (FederationTokenRequest { name: "a".repeat(33).into(), ..federated_user() }, "2 to 32"),
        (FederationTokenRequest { duration: seconds(129_601), ..federated_user() }, "900 to 129600"),
        (FederationTokenRequest { tags: tags(51), ..federated_user() }, "50, and there are 51"),
    ] {
        let error = federate(&caller(), user).await;
        assert!(error.contains(told), "{error}");
    }
    assert!(sts.actions().is_empty(), "{:?}", sts.actions());
}
