//! Users and groups of this host, as file trust sees them.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

/// Returns the user ids of all members of a group, or `None` if they are unknown: `/etc/group` does not have the group,
/// or a member has no line in `/etc/passwd`.
///
/// A user is a member by the primary group in `/etc/passwd` (passwd(5)) or by a line of `/etc/group` (group(5)). Groups
/// of a directory service are unknown.
pub(crate) fn members(gid: u32) -> Option<Box<[u32]>> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    members_in(&read("/etc/passwd"), &read("/etc/group"), gid)
}

/// Returns the name of the user of this process; its number, if no line of `/etc/passwd` names it.
pub(crate) fn own_user() -> String {
    user_name(rustix::process::geteuid().as_raw())
}

/// Returns the name of a user; its number, if no line of `/etc/passwd` names it.
pub(crate) fn user_name(uid: u32) -> String {
    name_in(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid).unwrap_or_else(|| uid.to_string())
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().filter_map(fields);
    lines.find(|[_, _, id, _]| id.parse() == Ok(uid)).map(|[name, ..]| name.to_owned())
}

fn members_in(passwd: &str, group: &str, gid: u32) -> Option<Box<[u32]>> {
    let mut lines = group.lines().filter_map(fields).filter(|[_, _, id, _]| id.parse() == Ok(gid)).peekable();
    lines.peek()?;
    let names = lines.flat_map(|[_, _, _, names]| names.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let mut names: BTreeSet<&str> = names.collect();
    let mut members = BTreeSet::new();
    for [name, _, uid, primary] in passwd.lines().filter_map(fields) {
        if names.remove(name) || primary.parse() == Ok(gid) {
            members.insert(uid.parse().ok()?);
        }
    }
    names.is_empty().then(|| members.into_iter().collect())
}

/// Returns the first four fields of a line.
fn fields(line: &str) -> Option<[&str; 4]> {
    let mut fields = line.split(':');
    Some([fields.next()?, fields.next()?, fields.next()?, fields.next()?])
}

/// Returns the user id that stands for all users without a mapping, if this process is in a user namespace that does
/// not map all users (user_namespaces(7)).
pub(crate) fn overflow_user() -> Option<u32> {
    static OVERFLOW: LazyLock<Option<u32>> = LazyLock::new(|| {
        let read = |path| std::fs::read_to_string(path).ok();
        let is_whole = |map: &str| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
        if read("/proc/self/uid_map").is_none_or(|map| is_whole(&map)) {
            return None;
        }
        Some(overflow_id())
    });
    *OVERFLOW
}

/// Returns the user id under which the kernel shows a user without a mapping: to a process of another user namespace, and
/// to programs with 16-bit ids. It is that of `nobody` on most hosts. No user is proved by it, in no namespace.
pub(crate) fn overflow_id() -> u32 {
    static ID: LazyLock<u32> = LazyLock::new(|| {
        let text = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(65534)
    });
    *ID
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_user_of_an_id() {
        let passwd = "root:x:0:0:::\ntoor:x:0:0:::\nann:x:1000:1000:::\n";
        for (uid, expected) in [(0, Some("root")), (1000, Some("ann")), (7, None)] {
            assert_eq!(name_in(passwd, uid).as_deref(), expected);
        }
    }

    #[test]
    fn counts_primary_and_listed_members_and_doubts_unknown_ones() {
        let passwd = "root:x:0:0:::\nann:x:1000:1000:::\nbob:x:1001:100:::\nodd:x:many:77:::\nbroken\n";
        let group =
            "root:x:0:\nann:x:1000:\nusers:x:100:ann\nteam:x:200:ann, bob\nfar:x:300:ann,eve\nodd:x:77:\nnone:x:5:\n";
        for (gid, expected) in [
            (0, Some(&[0][..])),
            (1000, Some(&[1000])),
            (100, Some(&[1000, 1001])),
            (200, Some(&[1000, 1001])),
            (5, Some(&[])),
            (300, None),
            (77, None),
            (4, None),
        ] {
            assert_eq!(members_in(passwd, group, gid).as_deref(), expected, "{gid}");
        }
    }
}
