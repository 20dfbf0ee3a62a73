//! Names of resources: `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`.

/// The account of a role (`…:iam::123456789012:role/…`) or of one that was assumed (`…:sts::…:assumed-role/…`): there it
/// is certain that credentials of that role belong to it.
#[must_use]
pub fn account_of_role(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next();
    let (arn, _partition, service, _region, account, rest) = (next()?, next()?, next()?, next()?, next()?, next()?);
    let is_role = match service {
        "iam" => rest.starts_with("role/"),
        "sts" => rest.starts_with("assumed-role/"),
        _ => false,
    };
    (arn == "arn" && is_role).then_some(account)
}

/// The longest ARN that STS takes, in bytes.
pub const LONGEST: usize = 2048;

/// Whether STS can be asked for this role. What is an ARN the service knows best: other stores than AWS begin theirs with
/// `urn:`, or have no account in it. A colon is in all of them and in no secret key, which a mistyped line can put in its
/// place: that is neither sent nor shown.
#[must_use]
pub fn can_be_asked_for(arn: &str) -> bool {
    arn.contains(':') && arn.len() <= LONGEST && !arn.contains(|c: char| c.is_whitespace() || c.is_control())
}
