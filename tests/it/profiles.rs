//! Profiles over a strict STS: the exact requests, and the effects of refusals, rotation and expiry.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use testkit::ecs::Ecs;
use testkit::harness::{Broker, CommandOutput, HUSH, Home, TIMEOUT, profile, until, wait, wrapped};
use testkit::imds::Imds;
use testkit::server::Reply;
use testkit::sts::{self, Form, Role, Sts};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const REGION: &str = "eu-central-1";
const ROLE: &str = "arn:aws:iam::123456789012:role/r";

/// The profile `dev` assumes the role with the keys of the profile `base`.
const DEV: &str = "[profile dev]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\n";

fn base() -> String {
    format!("[base]\naws_access_key_id = {}\naws_secret_access_key = {}\n", Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY)
}

/// Returns a home with the profiles `base` and `dev`, and an STS that knows these roles.
fn stage(roles: &[&str]) -> (Home, Sts) {
    let (home, sts) = (Home::new(), Sts::start(REGION));
    roles.iter().for_each(|role| sts.allow(role, Role::default()));
    home.write(".aws/credentials", base());
    home.write(".aws/config", DEV);
    (home, sts)
}

fn variables(sts: &Sts) -> [(&'static str, &'static str); 2] {
    [("AWS_ENDPOINT_URL_STS", sts.url().leak()), ("AWS_REGION", REGION)]
}

fn get(home: &Home, sts: &Sts, arguments: &[&str]) -> CommandOutput {
    let ended = home.run(&[&["get"], arguments].concat(), &variables(sts));
    assert!(!ended.stderr.contains(HUSH), "{ended:?}");
    ended
}

fn dev(home: &Home, sts: &Sts) -> CommandOutput {
    get(home, sts, &["--profile", "dev"])
}

fn value<'f>(form: &'f Form, name: &str) -> Option<&'f str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[test]
fn assumes_a_role_with_all_properties_of_the_profile() {
    let (home, sts) = stage(&[]);
    sts.allow(ROLE, Role { external_id: Some("ex".into()), ..Role::default() });
    home.write(".aws/config", format!("{DEV}external_id = ex\nrole_session_name = me\nduration_seconds = 7200\n"));
    let printed = dev(&home, &sts).json();
    assert_eq!((&printed["AccessKeyId"], &printed["AccountId"]), (&"ASIA1".into(), &"123456789012".into()));
    assert!(printed["Expiration"].is_string() && printed["SessionToken"].is_string());
    let [form] = &sts.forms()[..] else { panic!("{:?}", sts.actions()) };
    for (name, expected) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("ExternalId", "ex"),
        ("RoleSessionName", "me"),
        ("DurationSeconds", "7200"),
    ] {
        assert_eq!(value(form, name), Some(expected));
    }
    assert_eq!(sts.callers(), [Sts::ACCESS_KEY_ID]);
}

#[test]
fn limits_a_role_chain_to_an_hour_and_says_so() {
    let roles = ["a", "b", "c"].map(|name| format!("arn:aws:iam::123456789012:role/{name}"));
    let (home, sts) = stage(&roles.each_ref().map(String::as_str));
    let mut config = String::new();
    for (name, source, role) in [("a", "base", &roles[0]), ("b", "a", &roles[1]), ("c", "b", &roles[2])] {
        writeln!(config, "[profile {name}]\nrole_arn = {role}\nsource_profile = {source}\nduration_seconds = 7200")
            .unwrap();
    }
    home.write(".aws/config", config);
    let ended = get(&home, &sts, &["--profile", "c", "--log-level", "info"]);
    assert_eq!(ended.key(), "ASIA3");
    let durations: Vec<_> =
        sts.forms().iter().map(|form| value(form, "DurationSeconds").map(ToOwned::to_owned)).collect();
    assert_eq!(durations, [Some("7200".into()), Some("3600".into()), Some("3600".into())]);
    assert_eq!(sts.callers(), [Sts::ACCESS_KEY_ID, "ASIA1", "ASIA2"]);
    assert!(ended.stderr.contains("lasts an hour at most"), "{ended:?}");
    assert!(value(&sts.forms()[0], "RoleSessionName").unwrap().starts_with("credenza-"));
}

#[test]
fn loads_web_identity_of_profile_and_environment() {
    let (home, sts) = stage(&[ROLE]);
    sts.trust_tokens(&["hush-jwt-1"]);
    let token = home.write("token", "hush-jwt-1\n");
    home.write(
        ".aws/config",
        format!("[profile web]\nrole_arn = {ROLE}\nweb_identity_token_file = {}\n", token.display()),
    );
    assert_eq!(get(&home, &sts, &["--profile", "web"]).key(), "ASIA1");
    assert_eq!(value(&sts.forms()[0], "WebIdentityToken"), Some("hush-jwt-1"));
    assert_eq!(sts.callers(), ["-"], "it is not signed");

    let [endpoint, region] = variables(&sts);
    let variables = [
        endpoint,
        region,
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ROLE_SESSION_NAME", "pod"),
    ];
    assert_eq!(home.run(&["get"], &variables).key(), "ASIA2");
    assert_eq!(value(&sts.forms()[1], "RoleSessionName"), Some("pod"));
    let half = home.run(&["get"], &variables[..3]);
    assert!(half.code == Some(1) && half.stderr.contains("AWS_ROLE_ARN is not"), "{half:?}");
}

#[test]
fn uses_a_rotated_web_identity_token() {
    let (home, sts) = stage(&[ROLE]);
    sts.trust_tokens(&["hush-jwt-1"]);
    home.write("token", "hush-jwt-1");
    let config = format!(
        "[identities.default]\nsources = [{{ role_arn = \"{ROLE}\", web_identity_token_file = \"~/token\", \
         region = \"{REGION}\" }}]\n"
    );
    let broker = home.serve_config(config, &variables(&sts)[..1]);
    broker.wait_for_key("ASIA1");
    sts.trust_tokens(&["hush-jwt-2"]);
    home.write("token", "hush-jwt-2");
    broker.wait_for_key("ASIA2");
}

#[test]
fn reports_refusals_with_the_services_message_and_location() {
    let (home, sts) = stage(&[]);
    let refused = dev(&home, &sts);
    assert_eq!(refused.code, Some(1));
    for part in [
        "profile dev: ",
        ".aws/config, line 2: AssumeRole ",
        "AccessDenied",
        "is not authorized to perform",
        "trust policy",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    sts.script([sts::error(400, "NeverHeardOf", "words")]);
    let unknown = dev(&home, &sts);
    let told = ".aws/config, line 2: AssumeRole ";
    assert!(unknown.stderr.contains(told), "{unknown:?}");
    let advice = "NeverHeardOf: words; check the settings of the profile, and which service answers at this endpoint\n";
    assert!(unknown.stderr.ends_with(advice), "{unknown:?}");
    sts.know(Sts::ACCESS_KEY_ID, "hush-another", None);
    let wrong = dev(&home, &sts);
    assert!(wrong.stderr.contains("SignatureDoesNotMatch: "), "{wrong:?}");
    sts.know(Sts::ACCESS_KEY_ID, Sts::SECRET_ACCESS_KEY, None);
    sts.set_clock_off(-3600);
    let late = dev(&home, &sts);
    assert!(late.stderr.contains("set the clock of this machine: it is 60 minutes ahead"), "{late:?}");
    assert_eq!(sts.actions().len(), 4, "what is refused is not tried again");
}

#[test]
fn retries_throttling_three_times_and_rejects_nonsense() {
    let (home, sts) = stage(&[ROLE]);
    let throttled = || sts::error(400, "Throttling", "Rate exceeded");
    sts.script([throttled(), throttled()]);
    assert_eq!(dev(&home, &sts).key(), "ASIA1");
    assert_eq!(sts.actions().len(), 3);
    let bomb = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">{}]><lolz>&lol9;</lolz>",
        (1..10).map(|n| format!("<!ENTITY lol{n} \"{}\">", format!("&lol{};", n - 1).repeat(10))).collect::<String>()
    );
    for (answer, expected) in [
        (Reply::ok(bomb), "entit"),
        (Reply::ok("<html>hello</html>"), "the answer is HTML, not XML"),
        (Reply::ok("<a/>"), "the answer has no Credentials/"),
        (Reply::ok(""), "the answer is empty"),
        (Reply::of(404, "<html>"), "status 404"),
    ] {
        sts.script([answer]);
        let ended = dev(&home, &sts);
        assert!(ended.code == Some(1) && ended.stderr.contains(expected), "{expected}: {ended:?}");
    }
    let before = sts.actions().len();
    let broken = || Reply::of(502, "<html>bad gateway</html>");
    sts.script([broken(), broken(), broken()]);
    let ended = dev(&home, &sts);
    assert!(ended.stderr.contains("status 502") && !ended.stderr.contains("<html>"), "{ended:?}");
    assert_eq!(sts.actions().len(), before + 3);
}

#[test]
fn needs_an_mfa_code_that_the_daemon_cannot_ask_for() {
    let (home, sts) = stage(&[]);
    let mfa = Some(("arn:aws:iam::123456789012:mfa/me".into(), "123456".into()));
    sts.allow(ROLE, Role { mfa, ..Role::default() });
    home.write(".aws/config", format!("{DEV}mfa_serial = arn:aws:iam::123456789012:mfa/me\n"));
    assert_eq!(get(&home, &sts, &["--profile", "dev", "--mfa-code", "123456"]).key(), "ASIA1");
    let wrong = get(&home, &sts, &["--profile", "dev", "--mfa-code", "654321"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("AccessDenied"), "{wrong:?}");
    let broker = home.serve(&["--profile", "dev"], &variables(&sts));
    let (answer, _) = broker.wait_for("/credentials", |answer| answer.status == 403);
    assert_eq!(answer.code(), "MfaRequired");
    assert!(answer.message().contains("the daemon cannot ask"), "{}", answer.message());
    assert!(answer.message().contains("run: credenza mfa default"), "{}", answer.message());
}

#[test]
fn one_code_opens_all_roles_over_the_same_keys() {
    let (home, sts) = stage(&[]);
    let device = "arn:aws:iam::123456789012:mfa/me";
    let roles = ["arn:aws:iam::123456789012:role/one", "arn:aws:iam::123456789012:role/two"];
    let mut config = String::from("[profile base]\n");
    for (name, role) in ["one", "two"].iter().zip(roles) {
        sts.allow(role, Role { mfa: Some((device.into(), "918273".into())), ..Role::default() });
        writeln!(config, "[profile {name}]\nrole_arn = {role}\nsource_profile = base\nmfa_serial = {device}").unwrap();
    }
    home.write(".aws/config", config);
    let identities =
        "[identities.one]\nsources = [{ profile = \"one\" }]\n[identities.two]\nsources = [{ profile = \"two\" }]\n";
    let broker = home.serve_config(identities, &variables(&sts));
    for name in ["one", "two"] {
        let (answer, _) = broker.wait_for(&format!("/credentials/{name}"), |answer| answer.status == 403);
        assert!(
            answer.code() == "MfaRequired" && answer.message().contains(&format!("credenza mfa {name}")),
            "{answer:?}"
        );
    }
    let mfa = |arguments: &[&str]| home.run(&[&["mfa", "--config", "credenza.toml"], arguments].concat(), &[]);
    let wrong = mfa(&["one", "--mfa-code", "372819"]);
    for part in ["MultiFactorAuthentication failed", "check mfa_serial, and give the next code"] {
        assert!(wrong.code == Some(1) && wrong.stderr.contains(part), "{wrong:?}");
    }
    let unknown = mfa(&["three", "--mfa-code", "918273"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("identity three: not found"), "{unknown:?}");
    let none = mfa(&["default", "--mfa-code", "918273"]);
    assert!(none.code == Some(1), "{none:?}");
    let opened = mfa(&["one", "--mfa-code", "918273"]);
    assert!(opened.code == Some(0) && opened.stdout.contains("identity one has an MFA session until"), "{opened:?}");
    for name in ["one", "two"] {
        broker.wait_for_identity(name);
        let status = &broker.get("/status").json()["identities"][name];
        assert!(
            status["login_ends"].is_string() && status["login_command"] == format!("credenza mfa {name}"),
            "{status}"
        );
    }
    for code in ["918273", "372819"] {
        let again = mfa(&["two", "--mfa-code", code]);
        assert!(again.code == Some(1) && again.stderr.contains("was sent already, and a code works once"), "{again:?}");
    }
    // STS got the right code once, and the wrong one once.
    let sent = |code: &str| sts.forms().iter().filter(|form| value(form, "TokenCode") == Some(code)).count();
    assert_eq!((sent("918273"), sent("372819")), (1, 1));
    assert!(!broker.log().contains("918273") && !broker.log().contains("372819"), "a code is in the log");

    // The other commands of the owner stand on the session of the daemon, and ask nobody.
    let command =
        |arguments: &[&str]| home.run(&[&["--config", "credenza.toml"], arguments].concat(), &variables(&sts));
    let exec = ["exec", "--identity", "two", "--", "true"];
    assert!(command(&["get", "--identity", "two"]).key().starts_with("ASIA"));
    let ran = command(&exec);
    assert!(ran.code == Some(0), "{ran:?}");
    let checked = command(&["check", "-v"]);
    assert!(checked.code == Some(0) && !checked.stdout.contains("failing"), "{checked:?}");
    assert_eq!(sent("918273"), 1);
    // A session is that of exactly these keys: other keys of the same user get none.
    home.write(".aws/credentials", base().replace(Sts::ACCESS_KEY_ID, "AKIAOTHEROTHEROTHERO"));
    let other = command(&["get", "--identity", "two"]);
    assert!(other.code == Some(1) && other.stderr.contains("mfa_serial"), "{other:?}");
    home.write(".aws/credentials", base());
    drop(broker);
    let alone = command(&exec);
    assert!(alone.code == Some(1) && alone.stderr.contains("there is no terminal to ask at"), "{alone:?}");
}

#[test]
fn loads_base_once_and_nothing_for_unused_profiles() {
    let base_role = "arn:aws:iam::123456789012:role/base";
    let (home, sts) = stage(&[base_role]);
    let mut config = format!("[profile hub]\nrole_arn = {base_role}\nsource_profile = base\n");
    for number in 0..1000 {
        let role = format!("arn:aws:iam::123456789012:role/n{number}");
        sts.allow(&role, Role::default());
        writeln!(config, "[profile p{number}]\nrole_arn = {role}\nsource_profile = hub").unwrap();
    }
    // The same role twice over the same base is one session; another session name makes another session.
    for (name, more) in [("twin", ""), ("other", "role_session_name = xy\n")] {
        let role = "arn:aws:iam::123456789012:role/n0";
        write!(config, "[profile {name}]\nrole_arn = {role}\nsource_profile = hub\n{more}").unwrap();
    }
    home.write(".aws/config", config);
    let broker = home.serve(&["--serve-profiles", "p*,twin,other"], &variables(&sts));
    std::thread::scope(|scope| {
        for worker in 0..10 {
            let broker = &broker;
            scope.spawn(move || {
                for number in 0..10 {
                    broker.wait_for_identity(&format!("p{}", worker * 10 + number));
                }
            });
        }
    });
    assert_eq!(sts.actions().len(), 101);
    assert_eq!(sts.callers().iter().filter(|caller| *caller == Sts::ACCESS_KEY_ID).count(), 1);
    let served = |name: &str| broker.get(&format!("/credentials/{name}")).key();
    broker.wait_for_identity("twin");
    assert_eq!(served("twin"), served("p0"));
    assert_eq!(sts.actions().len(), 101);
    broker.wait_for_identity("other");
    assert_ne!(served("other"), served("p0"));
    let status = broker.get("/status").json();
    assert_eq!(status["profiles"]["known"], 1002);
    assert_eq!(status["profiles"]["live"], 102);
    let absent = broker.get("/credentials/hub");
    assert_eq!((absent.status, absent.code()), (404, "IdentityNotFound".into()));
}

#[test]
fn requests_the_base_of_many_roles_once() {
    let (home, sts) = stage(&[]);
    let imds = Imds::start("web", &testkit::document("ASIAINSTANCE", "2099-01-01T00:00:00Z"));
    let ecs = Ecs::start(Some(HUSH), &testkit::document("ASIACONTAINER", "2099-01-01T00:00:00Z"));
    let bases = [("Ec2InstanceMetadata", "ASIAINSTANCE"), ("EcsContainer", "ASIACONTAINER")];
    let mut config = String::new();
    for (source, key) in bases {
        sts.know(key, "hush-secret", Some("hush-session"));
        for number in 0..10 {
            let role = format!("arn:aws:iam::123456789012:role/{source}-{number}");
            sts.allow(&role, Role { trusted: vec![key.into()], ..Role::default() });
            writeln!(config, "[profile {source}-{number}]\nrole_arn = {role}\ncredential_source = {source}").unwrap();
        }
    }
    home.write(".aws/config", config);
    let (endpoint, full) = (imds.endpoint(), ecs.url());
    let [sts_endpoint, region] = variables(&sts);
    let variables = [
        sts_endpoint,
        region,
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", HUSH),
    ];
    // The identity `default` comes from the container as well, without another request.
    let broker = home.serve(&["--serve-profiles", "*-*"], &variables);
    std::thread::scope(|scope| {
        for (source, _) in bases {
            for number in 0..10 {
                let broker = &broker;
                scope.spawn(move || broker.wait_for_identity(&format!("{source}-{number}")));
            }
        }
    });
    broker.wait_for_key("ASIACONTAINER");
    for (_, key) in bases {
        assert_eq!(sts.callers().iter().filter(|caller| *caller == key).count(), 10, "{key}");
    }
    assert_eq!(ecs.server().lines().len(), 1);
    let of_the_role = "GET /latest/meta-data/iam/security-credentials/web".to_owned();
    assert_eq!(imds.server().lines().iter().filter(|line| **line == of_the_role).count(), 1);
    assert_eq!(imds.server().lines().len(), 3, "{:?}", imds.server().lines());
}

#[test]
fn served_profiles_follow_the_files_after_identities() {
    let home = Home::new();
    home.write(".aws/credentials", profile("team/a%b", "AKIAA"));
    let broker = home.serve_config(
        format!(
            "[profiles]\nserve = [\"team*\"]\n[identities.team-x]\nsources = [{{ access_key_id = \"AKIACONF\", \
             secret_access_key = \"{HUSH}\" }}]\n"
        ),
        &[],
    );
    let key = |path: &str, key: &str| broker.wait_for(path, |answer| answer.key().as_deref() == Some(key));
    key("/credentials/team%2Fa%25b", "AKIAA");
    home.write(".aws/credentials", profile("team-new", "AKIANEW") + &profile("team-x", "AKIAX"));
    key("/credentials/team-new", "AKIANEW");
    key("/credentials/team-x", "AKIACONF");
    broker.wait_for("/credentials/team%2Fa%25b", |answer| answer.status == 404);
}

#[test]
fn check_explains_a_served_profile_without_credentials() {
    let home = Home::new();
    home.write("shared/config", "[profile a+b]\nrole_arn = arn:aws:iam::1:role/r\nexternal_id = x\n");
    let broker = home.serve_config("[profiles]\nserve = [\"*\"]\nconfig_file = \"~/shared/config\"\n", &[]);
    let (answer, _) = broker.wait_for("/credentials/a+b", |answer| answer.status == 403);
    let named = answer.message().split('`').nth(1).unwrap().to_owned();
    assert_eq!(named, "credenza check --profile a+b", "{answer:?}");
    let arguments = ["check", "-v", "--profile", "a+b", "--config", "credenza.toml"];
    let explained = home.run(&arguments, &[]);
    assert!(explained.stdout.contains("shared/config, line 2: role_arn is set without"), "{explained:?}");
}

#[test]
fn exchanges_long_lived_keys_for_a_session() {
    let (home, sts) = stage(&[]);
    home.write(".aws/credentials", base().replace("[base]", "[default]"));
    let broker =
        home.serve_config("[defaults]\nlong_lived_keys = \"session\"\nsession_duration = \"1h\"\n", &variables(&sts));
    broker.wait_for_key("ASIA1");
    let body = broker.get("/credentials").body;
    assert!(!body.contains(Sts::ACCESS_KEY_ID) && !body.contains(Sts::SECRET_ACCESS_KEY), "they never leave");
    let [form] = &sts.forms()[..] else { panic!("{:?}", sts.actions()) };
    assert_eq!((value(form, "Action"), value(form, "DurationSeconds")), (Some("GetSessionToken"), Some("3600")));
    // A rotated key makes another session at once.
    sts.know("AKIAROTATED", "hush-rotated", None);
    home.write(
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIAROTATED\naws_secret_access_key = hush-rotated\n",
    );
    broker.wait_for_key("ASIA2");
}

#[test]
fn exchanges_long_lived_keys_with_an_expiry() {
    let (home, sts) = stage(&[]);
    home.write("credenza.toml", "[defaults]\nlong_lived_keys = \"session\"\n");
    let [endpoint, region] = variables(&sts);
    let variables = [
        endpoint,
        region,
        ("AWS_ACCESS_KEY_ID", Sts::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", Sts::SECRET_ACCESS_KEY),
        ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z"),
    ];
    let ended = home.run(&["get", "--config", "credenza.toml"], &variables);
    assert_eq!(ended.key(), "ASIA1");
    assert!(ended.stdout.contains("2020-01-01T00:00:00Z"), "a session does not outlive them: {ended:?}");
}

#[test]
fn never_sends_keys_of_another_store_to_sts() {
    let home = Home::new();
    home.write("credenza.toml", "[defaults]\nlong_lived_keys = \"session\"\n");
    let url = format!("http://AKIAMINIO:{HUSH}@127.0.0.1:9000");
    let ended = home.run(&["get", "--config", "credenza.toml", "--url", &url], &[("AWS_REGION", REGION)]);
    assert!(ended.code == Some(1) && ended.stderr.contains("set long_lived_keys = \"direct\""), "{ended:?}");
    home.write(
        ".aws/config",
        format!(
            "[profile services]\nservices = s\n[services s]\ns3 =\n  endpoint_url = http://minio.example\n\
             [profile role]\nrole_arn = {ROLE}\nsource_profile = services\n\
             [profile environment]\nrole_arn = {ROLE}\ncredential_source = Environment\n\
             [profile aws]\nservices = sts\nrole_arn = {ROLE}\nsource_profile = services\n\
             [services sts]\nsts =\n  endpoint_url = https://sts.eu-central-1.amazonaws.com\n"
        ),
    );
    home.write(".aws/credentials", base().replace("[base]", "[services]"));
    let keys = [("AWS_ACCESS_KEY_ID", "AKIAMINIO"), ("AWS_SECRET_ACCESS_KEY", HUSH)];
    let keys = [&keys[..], &[("AWS_ENDPOINT_URL_S3", "http://minio.example"), ("AWS_REGION", REGION)]].concat();
    for (arguments, cannot) in [
        (&["--profile", "services", "--config", "credenza.toml"][..], "cannot be exchanged for a session"),
        (&["--config", "credenza.toml"], "cannot be exchanged for a session"),
        (&["--profile", "role"], "cannot assume arn:"),
        (&["--profile", "environment"], "cannot assume arn:"),
        (&["--profile", "aws"], "cannot assume arn:"),
    ] {
        let ended = home.run(&[&["get"], arguments].concat(), &keys);
        let told =
            ended.stderr.contains("keys for http://minio.example, which is not AWS, ") && ended.stderr.contains(cannot);
        assert!(ended.code == Some(1) && told, "{arguments:?} {ended:?}");
    }
    // The STS of the store itself may get them.
    let (_, sts) = stage(&[ROLE]);
    let ended = get(&home, &sts, &["--profile", "role", "--format", "dotenv"]);
    assert!(ended.code == Some(0) && ended.stdout.contains("AWS_ENDPOINT_URL_S3=http://minio.example\n"), "{ended:?}");
}

#[test]
fn session_of_a_login_tool_ends_the_lease() {
    let home = Home::new();
    let keys =
        |end: &str| format!("{}aws_session_token = hush-t\nexpiration = {end}\n", base().replace("base", "default"));
    home.write(".aws/credentials", keys("2020-01-01 00:00:00"));
    let ended = home.run(&["get"], &[]);
    let told =
        "line 5: profile default: the session of these keys ended at 2020-01-01T00:00:00Z; log in again with the tool";
    assert!(ended.code == Some(1) && ended.stderr.contains(told), "{ended:?}");
    let broker = home.serve(&[], &[]);
    let (answer, _) = broker.wait_for("/credentials", |answer| answer.status == 403);
    assert_eq!((&*answer.code(), answer.message().contains(told)), ("LoginRequired", true), "{}", answer.body);
    home.write(".aws/credentials", keys("2098-01-01T01:00:00+01:00"));
    broker.wait_for_key(Sts::ACCESS_KEY_ID);
    let printed = home.run(&["get"], &[]);
    assert!(printed.stdout.contains("\"Expiration\": \"2098-01-01T00:00:00Z\""), "{printed:?}");
    home.write(".aws/credentials", keys("never"));
    let ended = home.run(&["get"], &[]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("line 5: profile default: expiration is not a"),
        "{ended:?}"
    );
}

#[test]
fn mfa_code_goes_into_the_session_of_keys() {
    let (home, sts) = stage(&[]);
    let device = ("arn:aws:iam::123456789012:mfa/me".into(), "123456".into());
    sts.allow(ROLE, Role { mfa: Some(device), ..Role::default() });
    home.write(".aws/credentials", base());
    home.write(".aws/config", "[profile base]\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n");
    let direct = get(&home, &sts, &["--profile", "base", "--mfa-code", "123456"]);
    assert_eq!(direct.key(), Sts::ACCESS_KEY_ID);
    assert!(
        direct.stderr.contains("--mfa-code is not used") && direct.stderr.contains("long_lived_keys"),
        "{direct:?}"
    );
    let exec = home.run(&["exec", "--profile", "base", "--mfa-code", "123456", "--", "true"], &variables(&sts));
    assert!(exec.code == Some(0) && exec.stderr.contains("--mfa-code is not used"), "{exec:?}");
    home.write("credenza.toml", "[defaults]\nlong_lived_keys = \"session\"\n");
    let session = get(&home, &sts, &["--config", "credenza.toml", "--profile", "base", "--mfa-code", "123456"]);
    assert_eq!((session.key(), session.stderr.contains("--mfa-code is not used")), ("ASIA1".into(), false));
    let forms = sts.forms();
    let sent = (value(&forms[0], "SerialNumber"), value(&forms[0], "TokenCode"));
    assert_eq!(sent, (Some("arn:aws:iam::123456789012:mfa/me"), Some("123456")));
}

#[test]
fn keys_with_mfa_are_not_served_before_the_code() {
    let (home, sts) = stage(&[]);
    let device = ("arn:aws:iam::123456789012:mfa/me".into(), "123456".into());
    sts.allow(ROLE, Role { mfa: Some(device), ..Role::default() });
    home.write(".aws/credentials", base());
    home.write(".aws/config", "[profile base]\nmfa_serial = arn:aws:iam::123456789012:mfa/me\n");
    let config = "[defaults]\nlong_lived_keys = \"session\"\nsession_duration = \"15m\"\n\
                  [identities.base]\nsources = [{ profile = \"base\" }]\n";
    let broker = home.serve_config(config, &variables(&sts));
    let (refused, _) = broker.wait_for("/credentials/base", |answer| answer.status == 403);
    assert!(refused.code() == "MfaRequired" && refused.message().contains("run: credenza mfa base"), "{refused:?}");
    assert!(sts.forms().is_empty(), "no session without MFA is asked for");
    let alone = get(&home, &sts, &["--config", "credenza.toml", "--identity", "base"]);
    assert!(alone.code == Some(1) && alone.stderr.contains("there is no terminal to ask at"), "{alone:?}");
    let opened = home.run(&["mfa", "base", "--mfa-code", "123456"], &[]);
    assert_eq!(opened.code, Some(0), "{opened:?}");
    broker.wait_for_identity("base");
    // The session lasts for twelve hours, and clients are told of it piece by piece.
    let told = broker.get("/credentials/base").json()["Expiration"].as_str().unwrap().to_owned();
    let told = OffsetDateTime::parse(&told, &Rfc3339).unwrap() - OffsetDateTime::now_utc();
    assert!(told <= time::Duration::minutes(15) && told > time::Duration::minutes(10), "{told}");
    let asked = sts.forms();
    let durations: Vec<_> = asked.iter().map(|form| value(form, "DurationSeconds")).collect();
    assert_eq!(durations, [Some("43200")]);
}

#[test]
fn variables_that_are_not_utf_8_are_never_unset() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let (home, bad) = (Home::new(), OsStr::from_bytes(b"d\xe9v"));
    home.write(".aws/credentials", base().replace("base", "default"));
    for (variable, code) in
        [("AWS_PROFILE", 1), ("AWS_SESSION_TOKEN", 1), ("XDG_CONFIG_HOME", 2), ("CREDENZA_PROFILE", 2)]
    {
        let ended = home.command(&["get"]).env(variable, bad).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(code) && told.contains(variable), "{variable} {code} {told}");
        assert!(ended.stdout.is_empty(), "{variable}");
    }
    // A child of `exec` gets the variables of other programs, and those that the broker replaces are unset.
    let mut exec = home.command(&["exec", "--profile", "default", "--", "env"]);
    let shown = exec.env("AWS_PROFILE", bad).env("OTHER", bad).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let lines: Vec<_> = shown.stdout.split(|byte| *byte == b'\n').collect();
    assert!(lines.contains(&&b"OTHER=d\xe9v"[..]) && !lines.iter().any(|line| line.starts_with(b"AWS_PROFILE=")));
}

#[test]
fn credentials_of_a_profile_have_its_endpoint() {
    let (home, sts) = stage(&[ROLE]);
    let services =
        "[services store]\ns3 =\n  endpoint_url = http://s3.example\nsts =\n  endpoint_url = http://sts.example\n";
    home.write(
        ".aws/config",
        format!(
            "[profile url]\nendpoint_url = http://r2.example/\nregion = auto\n{services}\
             [profile services]\nservices = store\nendpoint_url = http://other.example\n\
             [profile ignored]\nendpoint_url = http://r2.example\nignore_configured_endpoint_urls = true\n\
             [profile sts]\nservices = sts-only\n[services sts-only]\nsts =\n  endpoint_url = http://sts.example\n\
             [profile process]\nendpoint_url = http://minio.example:9000\ncredential_process = cat keys.json\n\
             [profile role]\nrole_arn = {ROLE}\nsource_profile = base\nservices = store\n\
             [profile over]\nrole_arn = {ROLE}\nsource_profile = at\n\
             [profile at]\nendpoint_url = http://at.example\n[profile gone]\nservices = gone\n"
        ),
    );
    let keys = |name: &str| base().replace("base", name);
    let names = ["url", "services", "ignored", "sts", "at", "gone"];
    home.write(".aws/credentials", base() + &names.map(keys).concat());
    home.write("keys.json", r#"{"Version":1,"AccessKeyId":"AKIAPROC","SecretAccessKey":"hush-proc"}"#);
    let variables = variables(&sts);
    let endpoint_of = |ended: &CommandOutput| {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix("AWS_ENDPOINT_URL_S3="));
        line.unwrap_or("none").to_owned()
    };
    for (profile, expected) in [
        ("base", "none"),
        ("url", "http://r2.example"),
        ("services", "http://s3.example"),
        ("ignored", "none"),
        ("sts", "none"),
        ("process", "http://minio.example:9000"),
        ("role", "http://s3.example"),
        ("over", "http://at.example"),
    ] {
        let dotenv = home.run(&["get", "--profile", profile, "--format", "dotenv"], &variables);
        assert_eq!(endpoint_of(&dotenv), expected, "get {profile}");
        let shown = ["sh", "-c", "env | grep ^AWS_ENDPOINT_URL_S3= || true"];
        let exec = home.run(&[&["exec", "--profile", profile, "--"][..], &shown].concat(), &variables);
        assert_eq!(endpoint_of(&exec), expected, "exec {profile}");
        let broker = home.serve(&["--profile", profile], &variables);
        broker.wait_for("/credentials", |response| response.status == 200);
        let address = broker.address().to_string();
        for command in [&["get", "--from-daemon"][..], &["env"]] {
            let ended = home.run(&[command, &["--format", "dotenv", "--listen", &address]].concat(), &[]);
            assert_eq!(endpoint_of(&ended), expected, "{command:?} {profile}");
        }
    }
    let off = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
    assert_eq!(endpoint_of(&home.run(&["get", "--profile", "url", "--format", "dotenv"], &off)), "none");
    for (variable, expected) in [
        ("AWS_ENDPOINT_URL_S3", "http://own"),
        ("AWS_ENDPOINT_URL", "http://own"),
        ("AWS_ENDPOINT_URL_STS", "http://r2.example"),
    ] {
        let ended = home.run(&["get", "--profile", "url", "--format", "dotenv"], &[(variable, "http://own/")]);
        assert_eq!(endpoint_of(&ended), expected, "{variable}");
    }
    let gone = home.run(&["get", "--profile", "gone"], &[]);
    assert!(gone.code == Some(1) && gone.stderr.contains("[services gone], which does not exist"), "{gone:?}");
}

#[test]
fn keeps_lease_while_sts_fails() {
    let (home, sts) = stage(&[ROLE]);
    let mut broker = home.serve(&["--profile", "dev"], &variables(&sts));
    broker.wait_for_key("ASIA1");
    sts.forbid(ROLE);
    broker.signal(rustix::process::Signal::HUP);
    broker.wait_for_log("load failed");
    assert_eq!(broker.get("/credentials").key().as_deref(), Some("ASIA1"));
    sts.allow(ROLE, Role::default());
    broker.signal(rustix::process::Signal::HUP);
    broker.wait_for_key("ASIA2");
}

#[test]
fn runs_credential_processes() {
    let home = Home::new();
    let printed = r#"{"Version":1,"AccessKeyId":"AKIAPROC","SecretAccessKey":"hush-proc"}"#;
    home.write("keys.json", printed);
    home.write(
        ".aws/config",
        "[profile good]\ncredential_process = cat keys.json | cat\n[profile bad]\ncredential_process = echo hush-no >&2; exit 4\n\
         [profile slow]\ncredential_process = sleep 12; cat keys.json\n",
    );
    assert_eq!(home.run(&["get", "--profile", "good"], &[]).key(), "AKIAPROC");
    let bad = home.run(&["get", "--profile", "bad"], &[]);
    assert!(bad.code == Some(1) && bad.stderr.contains("line 4: the credential_process failed"), "{bad:?}");
    assert!(bad.stderr.contains("it said: hush-no"), "the user gets its standard error");
    let mut broker = home.serve(&["--profile", "bad", "--log-level", "info"], &[]);
    broker.wait_for_log("load failed");
    let (answer, _) = broker.wait_for("/credentials", |answer| answer.status == 503);
    assert!(!answer.message().contains("hush-no"), "{}", answer.message());
    let status = broker.get("/status").body;
    assert!(status.contains("the credential_process failed") && !status.contains("hush-no"), "{status}");
    drop(broker);
    // The program has a longer deadline than other sources.
    let began = Instant::now();
    assert_eq!(home.run(&["get", "--profile", "slow"], &[]).key(), "AKIAPROC");
    assert!(began.elapsed() >= Duration::from_secs(12) && began.elapsed() < TIMEOUT * 2);
}

#[test]
fn children_inherit_the_original_limit_of_open_files() {
    let limit = |pid: u32| {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().to_owned()
    };
    // With the lower limit, so many files are open that the limit can be set only after the program has started.
    for started in ["300", "60"] {
        let home = Home::new();
        let printed = r#"echo "{\"Version\":1,\"AccessKeyId\":\"AKIA$(ulimit -Sn)\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\"}""#;
        home.write(".aws/config", format!("[profile dev]\ncredential_process = sleep 0.3; {printed}\n"));
        let serve = home.command(&["serve", "--profile", "dev", "--listen", "127.0.0.1:0"]);
        let limited = ["sh", "-c", &format!("ulimit -Sn {started} && exec \"$0\" \"$@\"")];
        let broker = Broker::start(wrapped(&limited, &serve));
        broker.wait_for_key(&format!("AKIA{started}"));
        assert_ne!(limit(broker.child.id()), started, "the daemon has raised its own");
    }
}

#[test]
fn warns_of_a_process_that_a_comment_cuts_off() {
    let home = Home::new();
    let whole = "[profile whole]\ncredential_process = sh -c \"true ; cat keys.json # x\"\n";
    home.write(".aws/config", format!("[profile cut]\ncredential_process = true ; cat keys.json\n{whole}"));
    home.write("keys.json", r#"{"Version": 1, "AccessKeyId": "AKIAWHOLE", "SecretAccessKey": "hush"}"#);
    let told = ".aws/config, line 2: the credential_process ends before ` ;` or ` #` outside quotes";
    for command in ["get", "check"] {
        let ended = home.run(&[command, "--profile", "cut"], &[]);
        assert!(ended.code == Some(1) && ended.stderr.contains(told), "{ended:?}");
    }
    let mut whole = home.command(&["get", "--profile", "whole"]);
    let whole = whole.current_dir(home.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&whole.stdout).contains("AKIAWHOLE"), "{whole:?}");
}

#[test]
fn warns_only_of_profiles_in_use() {
    let home = Home::new();
    let used = "[profile used]\nsource profile = x\nregion = r\n";
    home.write(".aws/config", format!("[defualt]\n[profile other]\ncredential_process = a ; b\n{used}"));
    home.write(".aws/credentials", profile("used", "AKIA1") + "[profile other]\n" + &profile("plain", "AKIA2"));
    let told = |arguments: &[&str]| {
        let ended = home.run(arguments, &[]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stderr.matches("WARN").count()
    };
    for (profile, warnings) in [("used", 1), ("plain", 0)] {
        assert_eq!(told(&["get", "--profile", profile]), warnings, "{profile}");
        assert_eq!(told(&["get", "--profile", profile, "--format", "env"]), warnings, "{profile}");
        assert_eq!(told(&["exec", "--profile", profile, "--", "true"]), warnings, "{profile}");
        assert_eq!(told(&["check", "-v", "--profile", profile]), 4, "{profile}");
    }
    assert_eq!(told(&["profiles"]), 4);
}

#[test]
fn check_names_properties_of_other_tools() {
    let home = Home::new();
    let config =
        "[profile dev]\ninclude_profile = other\ns3 =\n  endpoint_url = http://h\n[profile other]\nmfa_process = x\n";
    home.write(".aws/config", config);
    home.write(".aws/credentials", profile("dev", "AKIA1"));
    let checked = home.run(&["check", "-v", "--profile", "dev"], &[]);
    for told in ["line 2: profile dev: include_profile is not used", "line 4: profile dev: endpoint_url below s3"] {
        assert!(checked.code == Some(0) && checked.stdout.contains(told), "{told}\n{checked:?}");
    }
    assert!(!checked.stdout.contains("mfa_process"), "{checked:?}");
}

#[test]
fn stops_the_credential_process_with_the_command() {
    let home = Home::new();
    // One process stays in the group, one leaves its session, one loses its parent, and one its environment, too.
    let all = "sleep 1000 & a=$!; setsid sleep 1000 & b=$!; setsid -f sh -c 'echo $$ > c; exec sleep 1000'; \
               env -i PATH=$PATH setsid -f sh -c 'echo $$ > d; exec sleep 1000'; \
               while ! test -s c || ! test -s d; do sleep 0.01; done; \
               echo $$ $a $b $(cat c d) > pid.new && mv pid.new pid && wait";
    home.write(".aws/config", "[profile dev]\ncredential_process = sh all.sh\n");
    home.write("all.sh", all);
    for arguments in [
        &["get", "--profile", "dev"][..],
        &["check", "-v", "--profile", "dev"],
        &["exec", "--profile", "dev", "--", "true"],
    ] {
        let mut child = home.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = home.path().join("pid");
        until("the program has started", || pid.exists());
        let programs = fs::read_to_string(&pid).unwrap();
        ["pid", "c", "d"].iter().for_each(|name| fs::remove_file(home.path().join(name)).unwrap());
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(wait(&mut child).code(), Some(128 + Signal::TERM.as_raw()), "{arguments:?}");
        assert_eq!(programs.split_whitespace().count(), 5, "{programs}");
        for program in programs.split_whitespace() {
            // Init may take its time to reap the program.
            let status = format!("/proc/{program}/stat");
            until("every program has ended", || {
                fs::read_to_string(&status).map_or(true, |status| status.contains(") Z "))
            });
        }
    }
}

#[test]
fn exec_refuses_ca_and_endpoints_of_world_writable_files() {
    let home = Home::new();
    let keys = "aws_access_key_id = AKIA1\naws_secret_access_key = hush\n";
    for (setting, value) in [("ca_bundle", "/tmp/ca.pem"), ("ec2_metadata_service_endpoint", "http://127.0.0.1:9/")] {
        let config = home.write(".aws/config", format!("[profile dev]\n{keys}{setting} = {value}\n"));
        let run = || home.run(&["exec", "--profile", "dev", "--", "sh", "-c", "cat $AWS_CONFIG_FILE"], &[]);
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(run().stdout.contains(&format!("{setting}={value}")));
        fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
        let refused = run();
        let told = format!("line 4: profile dev: {setting} is not used");
        assert!(refused.code == Some(1) && refused.stderr.contains(&told), "{refused:?}");
    }
}

#[test]
fn check_explains_each_link_of_a_role_chain() {
    let (home, sts) = stage(&[]);
    let variables = variables(&sts);
    let refused = home.run(&["check", "-v", "--profile", "dev"], &variables);
    for line in [
        &format!("credentials, line 2: profile base: keys → {}", Sts::ACCESS_KEY_ID),
        &format!("config, line 2: profile dev: role {ROLE} → ✗"),
        "AccessDenied",
    ] {
        assert!(refused.stdout.contains(line), "{line}\n{}", refused.stdout);
    }
    sts.allow(ROLE, Role::default());
    let good = home.run(&["check", "-v", "--profile", "dev"], &variables);
    assert!(good.code == Some(0) && good.stdout.contains("→ ASIA1"), "{good:?}");
    assert_eq!(sts.actions().len(), 2, "explaining costs no further call");
}

#[test]
fn lists_profiles_without_secrets() {
    let home = Home::new();
    home.write(".aws/credentials", base() + &profile("other", "AKIAOTHER"));
    let broken = DEV.replace("dev", "broken").replace("base", "missing");
    let failing = "[profile gone]\nservices = none\naws_access_key_id = A\naws_secret_access_key = hush\n\
                   [profile ended]\nexpiration = 2020-01-01T00:00:00Z\naws_access_key_id = A\naws_secret_access_key = hush\n\
                   aws_session_token = hush\n[profile over]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = ended\n";
    home.write(".aws/config", format!("{DEV}s3 =\n  addressing_style = path\n{broken}[profile empty]\n{failing}"));
    let text = home.run(&["profiles"], &[]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for line in [
        "base    keys",
        &format!("dev     role {ROLE} ← profile base (keys)"),
        "broken  wrong: ",
        "empty   no credentials",
        "gone    fails: services names [services none], which does not exist",
        "ended   fails: the session of these keys ended at 2020-01-01T00:00:00Z",
        "over    fails: the session of these keys ended at 2020-01-01T00:00:00Z",
    ] {
        assert!(text.stdout.lines().any(|found| found.starts_with(line)), "{line}\n{}", text.stdout);
    }
    let json = home.run(&["profiles", "--json"], &[]);
    let profiles = &json.json()["profiles"];
    assert_eq!(profiles["base"]["aws_access_key_id"], Sts::ACCESS_KEY_ID);
    assert_eq!(profiles["base"]["aws_secret_access_key"], "[redacted]");
    assert_eq!(profiles["dev"]["s3"]["addressing_style"], "path");
    assert_eq!(profiles["empty"], serde_json::json!({}));
    assert!(!format!("{text:?}{json:?}").contains(HUSH));
    let elsewhere = home.run(&["profiles", "--credentials-file", "/dev/null", "--config-file", "/dev/null"], &[]);
    assert!(elsewhere.stdout.contains("there are no profiles in /dev/null"), "{elsewhere:?}");
    let missing = home.run(&["profiles", "--config-file", "/nonexistent/config"], &[]);
    assert!(missing.code == Some(1) && missing.stderr.contains("/nonexistent/config"), "{missing:?}");
}

/// `ulimit -s` in kilobytes: the default stack of a thread. Each profile of the chain is one more call.
const SMALL_STACK: usize = 2048;

#[test]
fn follows_255_roles_within_a_threads_stack() {
    let (home, sts) = stage(&[ROLE]);
    home.write(".aws/credentials", base().replace("[base]", "[p255]"));
    let mut config = String::new();
    for hop in 0..255 {
        writeln!(config, "[profile p{hop}]\nrole_arn = {ROLE}\nsource_profile = p{}", hop + 1).unwrap();
    }
    writeln!(config, "[profile one-more]\nrole_arn = {ROLE}\nsource_profile = p0").unwrap();
    home.write(".aws/config", config);
    // 255 requests on a busy machine.
    let patient = home.write("credenza.toml", "[defaults]\nload_timeout = \"1m\"\n");
    let within = |arguments: &[&str]| {
        let arguments = [arguments, &["--config", patient.to_str().unwrap()]].concat();
        let limited = ["sh", "-c", &format!("ulimit -s {SMALL_STACK} && exec \"$0\" \"$@\"")];
        let output = wrapped(&limited, &home.command(&arguments)).envs(variables(&sts)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, stdout, stderr) = within(&["get", "--profile", "p0"]);
    assert!(code == Some(0) && stdout.contains("\"ASIA255\""), "{code:?} {stderr}");
    assert_eq!(sts.callers().len(), 255);
    for (arguments, code) in
        [(&["check", "-v", "--profile", "p0"][..], 0), (&["profiles"], 0), (&["get", "--profile", "one-more"], 1)]
    {
        let (ended, _, stderr) = within(arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {stderr}");
        assert_eq!(stderr.contains("the chain of source_profile has more than 256 profiles"), code == 1, "{stderr}");
    }
}

#[test]
fn warns_of_two_profile_variables() {
    let home = Home::new();
    home.write(".aws/credentials", base() + &profile("old", "AKIAOLD"));
    let variables = [("AWS_PROFILE", "base"), ("AWS_DEFAULT_PROFILE", "old")];
    let told =
        "AWS_PROFILE (\"base\") is used, not AWS_DEFAULT_PROFILE (\"old\"), which boto3 would use; unset one of them";
    let got = home.run(&["get", "--log-level", "warn"], &variables);
    assert!(got.stdout.contains(Sts::ACCESS_KEY_ID) && got.stderr.matches(told).count() == 1, "{got:?}");
    let checked = home.run(&["check", "-v"], &variables);
    assert!(checked.code == Some(0) && checked.stdout.matches(told).count() == 1, "{checked:?}");
    let serve = home.serve(&[], &variables);
    assert!(serve.log().contains("which boto3 would use"), "{}", serve.log());
    // With only one of them in use there is nothing to warn of.
    for (arguments, variables) in [
        (&["get", "--profile", "old"][..], &variables[..]),
        (&["check", "-v", "--profile", "old"], &variables),
        (&["profiles"], &variables),
        (&["get"], &variables[..1]),
        (&["check", "-v"], &[("AWS_PROFILE", "old"), variables[1]]),
    ] {
        let ended = home.run(arguments, variables);
        assert!(ended.code == Some(0) && !(ended.stdout + &ended.stderr).contains("which boto3"), "{arguments:?}");
    }
}

#[test]
fn assumes_a_role_without_arn_and_never_prints_it() {
    let word = format!("{HUSH}/mistyped");
    let (home, sts) = stage(&["urn:ecs:iam::ns:role/r", "any-word"]);
    let mut config = String::new();
    for (name, role) in [("urn", "urn:ecs:iam::ns:role/r"), ("word", "any-word"), ("typo", &*word)] {
        writeln!(config, "[profile {name}]\nrole_arn = {role}\nsource_profile = base").unwrap();
    }
    home.write(".aws/config", config);
    assert_eq!(get(&home, &sts, &["--profile", "urn"]).key(), "ASIA1");
    assert_eq!(get(&home, &sts, &["--profile", "word"]).key(), "ASIA2");
    let variables = variables(&sts);
    for (arguments, code) in
        [(&["get", "--profile", "typo"][..], 1), (&["check", "-v", "--profile", "typo"], 1), (&["profiles"], 0)]
    {
        let ended = home.run(arguments, &variables);
        let said = ended.stdout + &ended.stderr;
        assert_eq!(ended.code, Some(code), "{said}");
        assert!(said.contains("(not shown: it is not an ARN)") && !said.contains("mistyped"), "{said}");
    }
    sts.script([Reply::of(
        403,
        format!("<E><Error><Code>AccessDenied</Code><Message>may not assume {word}</Message></Error></E>"),
    )]);
    let refused = home.run(&["get", "--profile", "typo"], &variables);
    assert!(
        refused.stderr.contains("may not assume [redacted]") && !refused.stderr.contains("mistyped"),
        "{refused:?}"
    );
}

#[test]
fn whoami_asks_sts_with_the_keys_of_the_identity() {
    let (home, sts) = stage(&[ROLE]);
    home.write(".aws/config", DEV);
    let broker = home.serve(&["--profile", "dev"], &variables(&sts));
    broker.wait_for_identity("default");
    let (known, asked) = (home.run(&["whoami"], &[]), sts.actions());
    let arn = "arn:        arn:aws:sts::123456789012:assumed-role/r/credenza-";
    assert!(known.code == Some(0) && known.stdout.contains(arn), "{known:?}");
    assert_eq!(asked, ["AssumeRole"], "STS named the role with its session");
    let verified = home.run(&["whoami", "--verify"], &[]);
    for text in ["account:    123456789012", arn] {
        assert!(verified.stdout.contains(text), "{verified:?}");
    }
    assert_eq!(sts.callers().last().map(String::as_str), Some("ASIA1"), "the keys of the role, not those of its base");
    sts.revoke_sessions();
    let revoked = home.run(&["whoami", "--verify"], &[]);
    assert!(revoked.code == Some(1) && revoked.stderr.contains("GetCallerIdentity"), "{revoked:?}");
}
