use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use super::*;
use crate::http::client::HttpClient;
use crate::os::environment::Environment;
use crate::source::container::ContainerCredentials;
use crate::source::environment::EnvironmentCredentials;
use crate::source::imds::MetadataCredentials;
use crate::source::profile::ConfigCredentials;
use crate::source::sign_in::SignInCredentials;
use crate::source::spec::RoleSpec;
use crate::source::web_identity::WebIdentityCredentials;

#[tokio::test]
async fn variable_that_is_not_utf_8_fails_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "token").unwrap();
    let role = || RoleSpec { arn: "arn:aws:iam::123456789012:role/r".into(), ..RoleSpec::default() };
    let environment = || Box::new(EnvironmentCredentials::new()) as Box<dyn Source>;
    let container = || Box::new(ContainerCredentials::new()) as Box<dyn Source>;
    let imds = || Box::new(MetadataCredentials::new(true, false)) as Box<dyn Source>;
    let profile = || Box::new(ConfigCredentials::new()) as Box<dyn Source>;
    let web_identity = || Box::new(WebIdentityCredentials::new(role(), &token)) as Box<dyn Source>;
    let uri = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
    for (variable, source, others) in [
        ("AWS_ACCESS_KEY_ID", environment(), &[][..]),
        ("AWS_SECRET_ACCESS_KEY", environment(), &[]),
        ("AWS_SESSION_TOKEN", environment(), &[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")]),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", environment(), &[]),
        ("AWS_ROLE_ARN", environment(), &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")]),
        ("AWS_PROFILE", profile(), &[]),
        ("AWS_DEFAULT_PROFILE", profile(), &[]),
        ("AWS_CONFIG_FILE", profile(), &[("AWS_PROFILE", "default")]),
        ("AWS_SHARED_CREDENTIALS_FILE", profile(), &[]),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", container(), &[]),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container(), &[]),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", container(), &[uri]),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", container(), &[uri]),
        ("AWS_EC2_METADATA_DISABLED", imds(), &[]),
        ("AWS_EC2_METADATA_V1_DISABLED", imds(), &[]),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds(), &[]),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", imds(), &[]),
        ("AWS_LOGIN_CACHE_DIRECTORY", Box::new(SignInCredentials::new("s")), &[]),
        ("AWS_ENDPOINT_URL", web_identity(), &[("AWS_REGION", "eu-west-1")]),
        ("AWS_REGION", web_identity(), &[]),
        ("HTTPS_PROXY", web_identity(), &[]),
        ("NO_PROXY", web_identity(), &[("HTTPS_PROXY", "http://127.0.0.1:1")]),
    ] {
        let home = ("HOME", folder.path().to_str().unwrap());
        let text = others.iter().chain([&home]).map(|(name, value)| ((*name).into(), (*value).into()));
        let bad = (variable.into(), OsString::from_vec(b"/x\xff".to_vec()));
        let environment = Environment::of_os(text.chain([bad]));
        let http_client = HttpClient::system(Arc::default()).with_environment(&environment);
        let files = crate::os::files::Files::unwatched();
        let clock = crate::os::clock::Clock::system();
        let context = Context { clock, environment, http_client, files, ..Context::default() };
        let Lookup::Failed(error) = source.load(&context).await else { panic!("{variable} counts as unset") };
        let expected = format!("the value of {variable} is not UTF-8 text; write {variable} in UTF-8, or unset it");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
