//! The store that keys belong to. Keys of another store than AWS never go to the STS of AWS.

use crate::aws::partition::is_host_of_aws;
use crate::aws::settings::Settings;
use crate::http::url::{Url, UrlHost};
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;

/// Checks that the STS of these settings may get a request that is signed with these keys.
///
/// Keys with an S3 endpoint belong to the store at this endpoint. Only a configured STS endpoint may get them, and only
/// if AWS is not there. An endpoint of AWS itself, such as that of a VPC, is no other store. `cannot` is the end of the
/// message: `cannot be exchanged for a session`.
pub(crate) fn check_store(keys: &Credentials, settings: &Settings, cannot: &str) -> Result<(), SourceError> {
    let Some(endpoint) = other_store(keys) else { return Ok(()) };
    match &settings.endpoints.sts {
        // The request reports a setting that must not be used.
        Some(Err(_)) => return Ok(()),
        Some(Ok(sts)) if !is_of_aws(Some(sts)) => return Ok(()),
        _ => {}
    }
    let message = format!("keys for {endpoint}, which is not AWS, {cannot} at the STS of AWS");
    Err(SourceError::misconfigured(message).with_hint(
        "if that store has an STS, name it in AWS_ENDPOINT_URL_STS or in the services section of the profile; else set \
         long_lived_keys = \"direct\" for this identity, or use the keys without a role",
    ))
}

/// Returns the endpoint of the store that the keys belong to, if it is not AWS.
pub(crate) fn other_store(keys: &Credentials) -> Option<&str> {
    keys.endpoint.as_deref().filter(|endpoint| !is_of_aws(Url::parse(endpoint).ok().as_ref()))
}

fn is_of_aws(url: Option<&Url>) -> bool {
    matches!(url.map(Url::host), Some(UrlHost::Name(name)) if is_host_of_aws(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_another_store_reach_only_its_own_sts() {
        let minio = Some("http://minio:9000");
        for (endpoint, sts, is_sent) in [
            (None, None, true),
            (None, Some("https://sts.eu-west-1.amazonaws.com"), true),
            (minio, None, false),
            (minio, Some("http://minio:9000"), true),
            (minio, Some("https://sts.eu-west-1.amazonaws.com"), false),
            (minio, Some("https://STS.amazonaws.com.cn."), false),
            (minio, Some("https://sts.us-east-1.api.aws"), false),
            (Some("https://s3.eu-west-1.amazonaws.com"), None, true),
            (Some("https://bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com"), None, true),
            (Some("https://evilamazonaws.com"), None, false),
            (Some("http://10.0.0.1"), None, false),
            (Some("no url"), None, false),
        ] {
            let mut keys = Credentials::new("A", "hush").unwrap();
            keys.endpoint = endpoint.map(Into::into);
            let mut settings = Settings::default();
            settings.endpoints.sts = sts.map(|sts| Ok(Url::parse(sts).unwrap()));
            let checked = check_store(&keys, &settings, "cannot assume r");
            assert_eq!(checked.is_ok(), is_sent, "{endpoint:?} {sts:?}");
            if let Err(error) = checked {
                let expected =
                    format!("keys for {}, which is not AWS, cannot assume r at the STS of AWS; if", endpoint.unwrap());
                assert!(error.to_string().starts_with(&expected), "{error}");
            }
        }
    }
}
