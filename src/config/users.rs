//! Ids of users and groups, from the files of this host.

use std::fs;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// A name that is not resolved yet.
    Name(Box<str>),
    /// A user id or group id.
    Id(u32),
}

#[derive(Clone, Copy, Debug)]
enum AccountKind {
    User,
    Group,
}

#[derive(Debug, thiserror::Error)]
#[error("there is no {what} {name:?} in {file}; write its number if another directory has it")]
pub(crate) struct UnknownAccount {
    what: &'static str,
    name: Box<str>,
    file: &'static str,
}

/// Returns the id of a user.
///
/// # Errors
/// If `/etc/passwd` does not have the name.
pub(crate) fn user_id(account: &Account) -> Result<u32, UnknownAccount> {
    account_id(account, AccountKind::User)
}

/// Returns the id of a group.
///
/// # Errors
/// If `/etc/group` does not have the name.
pub(crate) fn group_id(account: &Account) -> Result<u32, UnknownAccount> {
    account_id(account, AccountKind::Group)
}

fn account_id(account: &Account, kind: AccountKind) -> Result<u32, UnknownAccount> {
    let (what, file) = match kind {
        AccountKind::User => ("user", "/etc/passwd"),
        AccountKind::Group => ("group", "/etc/group"),
    };
    match account {
        Account::Id(id) => Ok(*id),
        Account::Name(name) => fs::read_to_string(file)
            .ok()
            .and_then(|text| find(&text, name))
            .ok_or_else(|| UnknownAccount { what, name: name.clone(), file }),
    }
}

/// Returns the third field of the line with this name: the id in both files (passwd(5), group(5)).
fn find(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_names() {
        let text = "root:x:0:\nroots:x:5:\nbroken\nodd:x:many:\n";
        assert_eq!((find(text, "root"), find(text, "roots")), (Some(0), Some(5)));
        assert_eq!(
            (find(text, "roo"), find(text, "broken"), find(text, "odd"), find("", "x")),
            (None, None, None, None)
        );
    }

    #[test]
    fn resolves_root_and_ids() {
        assert_eq!(user_id(&Account::Name("root".into())).unwrap(), 0);
        assert_eq!(group_id(&Account::Id(7)).unwrap(), 7);
        assert!(group_id(&Account::Name("no such group".into())).unwrap_err().to_string().contains("/etc/group"));
    }
}
