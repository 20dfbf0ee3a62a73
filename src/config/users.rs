//! Users and groups by name, from the files of this host.

use std::fs;

use crate::config::server::Account;

/// Which of the two files.
#[derive(Clone, Copy, Debug)]
enum AccountKind {
    User,
    Group,
}

/// A name that stands in neither file.
#[derive(Debug, thiserror::Error)]
#[error("there is no {what} {name:?} in {file}; write its number if another directory holds it")]
pub(crate) struct UnknownAccount {
    what: &'static str,
    name: Box<str>,
    file: &'static str,
}

/// The number of a user.
///
/// # Errors
/// When `/etc/passwd` does not have the name.
pub(crate) fn user(account: &Account) -> Result<u32, UnknownAccount> {
    number(account, AccountKind::User)
}

/// The number of a group.
///
/// # Errors
/// When `/etc/group` does not have the name.
pub(crate) fn group(account: &Account) -> Result<u32, UnknownAccount> {
    number(account, AccountKind::Group)
}

fn number(account: &Account, kind: AccountKind) -> Result<u32, UnknownAccount> {
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

/// The third field of the line with this name, in both files (passwd(5), group(5)).
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
    fn names_are_looked_up_whole() {
        let text = "root:x:0:\nroots:x:5:\nbroken\nodd:x:many:\n";
        assert_eq!((find(text, "root"), find(text, "roots")), (Some(0), Some(5)));
        assert_eq!(
            (find(text, "roo"), find(text, "broken"), find(text, "odd"), find("", "x")),
            (None, None, None, None)
        );
    }

    #[test]
    fn root_is_known_everywhere() {
        assert_eq!(user(&Account::Name("root".into())).unwrap(), 0);
        assert_eq!(group(&Account::Id(7)).unwrap(), 7);
        assert!(group(&Account::Name("no such group".into())).unwrap_err().to_string().contains("/etc/group"));
    }
}
