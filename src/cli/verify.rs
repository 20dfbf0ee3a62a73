//! Asks STS for the principal of credentials that a command has loaded, for `whoami --verify` and `check --verify`.

use crate::aws::sts;
use crate::aws::sts::answer::CallerIdentity;
use crate::context::Context;
use crate::model::credentials::Credentials;
use crate::model::error::SourceError;
use crate::source::chain::Chain;
use crate::source::store::{check_store, other_store};

/// The answer to the question who the principal of credentials is.
#[derive(Debug)]
pub(crate) enum Verification {
    Accepted(CallerIdentity),
    /// STS refused the keys, or did not answer.
    Refused(SourceError),
    /// The keys belong to another store, whose STS is not known.
    NotOfAws(SourceError),
}

/// Asks STS with the credentials themselves (GetCallerIdentity, which every principal may call). The keys of another
/// store are never sent to AWS.
pub(crate) async fn verify(context: &Context, chain: &Chain, winner: usize, credentials: &Credentials) -> Verification {
    let settings = chain.settings(context, winner).await;
    if let Err(error) = check_store(credentials, &settings, "cannot be shown to STS") {
        return match other_store(credentials) {
            Some(_) => Verification::NotOfAws(error),
            None => Verification::Refused(error),
        };
    }
    match sts::get_caller_identity(context, &settings, credentials).await {
        Ok(caller) => Verification::Accepted(caller),
        Err(error) => Verification::Refused(settings.locate(error, credentials.location.as_ref())),
    }
}
