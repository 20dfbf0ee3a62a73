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
