//! The user the service runs as, as `docker run --user` names it: NAME, UID, NAME:GROUP or UID:GID.
//!
//! Pure: works on the texts of /etc/passwd and /etc/group.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::identity::accounts::{Group, groups, users};

/// The user the service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups; `gid` is among them.
    pub groups: Vec<u32>,
    /// Empty where the uid has no name.
    pub name: String,
    /// `/` where the uid has no entry.
    pub home: PathBuf,
}

/// A user that cannot be understood or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadUser {
    UnknownUser(String),
    UnknownGroup(String),
    /// A number beyond what the kernel takes, or not written in decimal.
    BadNumber(String),
    Malformed(String),
    /// A name that is root's, and does not say so.
    HiddenRoot(String),
}

impl fmt::Display for BadUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadUser::UnknownUser(name) => write!(f, "there is no user {name:?} in /etc/passwd")?,
            BadUser::UnknownGroup(name) => write!(f, "there is no group {name:?} in /etc/group")?,
            BadUser::BadNumber(text) => write!(f, "{text:?} is no user or group number")?,
            BadUser::Malformed(text) => write!(f, "{text:?} is no user")?,
            BadUser::HiddenRoot(name) => {
                return write!(
                    f,
                    "{name} has uid 0 in /etc/passwd, which is root: the service would keep every right\n  \
                     give {name} a uid of its own; where root is meant, the contract's user is \"root\""
                );
            }
        }
        f.write_str("\n  accepted: NAME, UID, NAME:GROUP or UID:GID, numbers from 0 to 2147483647")
    }
}

/// Reads a user as `docker run --user` has it, against the texts of /etc/passwd and /etc/group.
///
/// # Errors
/// `BadUser` names the part that is wrong.
pub fn parse_user(spec: &str, passwd: &str, group: &str) -> Result<Identity, BadUser> {
    let (user, group_name) = match spec.split_once(':') {
        Some((_, rest)) if rest.contains(':') => return Err(BadUser::Malformed(spec.to_owned())),
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entry = users(passwd).find(|entry| entry.name == user || number(user) == Ok(entry.uid) && is_number(user));
    let uid = match (&entry, is_number(user)) {
        (Some(entry), _) => usable(entry.uid)?,
        (None, true) => number(user)?,
        (None, false) => return Err(unknown(user, BadUser::UnknownUser)),
    };
    let gid = match group_name {
        Some(name) => group_id(name, group)?,
        // A bare number without an entry is its own group: never root's by accident.
        None => entry.as_ref().map_or(Ok(uid), |entry| usable(entry.gid))?,
    };
    let name = entry.as_ref().map(|entry| entry.name.clone().into_owned()).unwrap_or_default();
    let mut groups = vec![gid];
    if group_name.is_none() {
        let mut seen = BTreeSet::from([gid]);
        groups.extend(groups_of(&name, group).filter(|other| seen.insert(*other)));
    }
    let home = entry.map_or_else(|| PathBuf::from("/"), |entry| PathBuf::from(&*entry.home));
    Ok(Identity { uid, gid, groups, name, home })
}

/// Refuses to take root for somebody else: who is to run as root says so, by its name or its number.
///
/// # Errors
/// `BadUser::HiddenRoot`.
pub fn refuse_hidden_root(spec: &str, identity: &Identity) -> Result<(), BadUser> {
    let user = spec.split(':').next().unwrap_or_default();
    let open = user.is_empty() || user == "root" || is_number(user);
    if identity.uid != 0 || open { Ok(()) } else { Err(BadUser::HiddenRoot(user.to_owned())) }
}

fn unknown(text: &str, as_name: fn(String) -> BadUser) -> BadUser {
    let numberish = text.starts_with(|c: char| c.is_numeric() || matches!(c, '-' | '+' | ' ')) || text.ends_with(' ');
    if numberish { BadUser::BadNumber(text.to_owned()) } else { as_name(text.to_owned()) }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The kernel takes 32 bits; everybody else stops at 31, and so do we: a larger number would wrap to somebody else.
fn number(text: &str) -> Result<u32, BadUser> {
    let bad = || BadUser::BadNumber(text.to_owned());
    if !is_number(text) {
        return Err(bad());
    }
    usable(text.parse().map_err(|_| bad())?)
}

fn usable(number: u32) -> Result<u32, BadUser> {
    if number <= i32::MAX as u32 { Ok(number) } else { Err(BadUser::BadNumber(number.to_string())) }
}

fn group_id(name: &str, group: &str) -> Result<u32, BadUser> {
    match groups(group).find(|group| group.name == name) {
        Some(group) => usable(group.gid),
        None if is_number(name) => number(name),
        None => Err(unknown(name, BadUser::UnknownGroup)),
    }
}

fn groups_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    let member = move |group: &Group| !user.is_empty() && group.members.iter().any(|name| name == user);
    groups(group).filter(member).filter_map(|group| usable(group.gid).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nshort\n# comment\n+nis\ndaemon:x:1:1::/:/x\r\ngames:x:5:60:games:/usr/games:/x\nshusr:x:1000:1000::/home/shusr:/x\n";

    const GROUP: &str = "root:x:0:\ndaemon:x:1:\ngames:x:60:\nextra:x:70:games,shusr\nshusr:x:1000:\n";

    fn ids(spec: &str) -> Result<(u32, u32, Vec<u32>, String), BadUser> {
        parse_user(spec, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups, user.home.display().to_string()))
    }

    /// Behaviours: 58.
    /// gosu's table.
    #[test]
    fn users_are_read_as_docker_reads_them() {
        for (spec, uid, gid, groups, home) in [
            ("0", 0, 0, vec![0], "/root"),
            ("0:0", 0, 0, vec![0], "/root"),
            ("root", 0, 0, vec![0], "/root"),
            ("0:root", 0, 0, vec![0], "/root"),
            ("1000", 1000, 1000, vec![1000, 70], "/home/shusr"),
            ("0:1000", 0, 1000, vec![1000], "/root"),
            ("1000:daemon", 1000, 1, vec![1], "/home/shusr"),
            ("games", 5, 60, vec![60, 70], "/usr/games"),
            ("games:daemon", 5, 1, vec![1], "/usr/games"),
            ("0:", 0, 0, vec![0], "/root"),
            ("", 0, 0, vec![0], "/root"),
            (":0", 0, 0, vec![0], "/root"),
            ("12345", 12345, 12345, vec![12345], "/"),
            ("12345:0", 12345, 0, vec![0], "/"),
        ] {
            assert_eq!(ids(spec), Ok((uid, gid, groups, home.to_owned())), "{spec:?}");
        }
    }

    /// Behaviours: 59.
    #[test]
    fn users_that_are_none_are_refused() {
        for spec in [
            "bogus",
            "0day",
            "0:bogus",
            "0:0day",
            "-1",
            "4294967295",
            "4294967296",
            "99999999999",
            "2147483648",
            "0x10",
            " 5",
            "5 ",
            "٣",
            "a:b:c",
            "0:-1",
            "0:4294967296",
        ] {
            assert!(ids(spec).is_err(), "{spec:?} was taken for {:?}", ids(spec));
        }
        let message = ids("4294967296").unwrap_err().to_string();
        assert_eq!(
            message,
            "\"4294967296\" is no user or group number\n  accepted: NAME, UID, NAME:GROUP or UID:GID, numbers from 0 to 2147483647"
        );
    }

    #[test]
    fn root_is_root_only_by_its_own_name_and_number() {
        let passwd = "root:x:0:0::/:/x\nshusr:x:0:1000::/:/x\nlake:x:5:0::/:/x\n";
        let refused = |spec: &str| {
            refuse_hidden_root(spec, &parse_user(spec, passwd, GROUP).unwrap()).err().map(|e| e.to_string())
        };
        for spec in ["root", "0", "", ":0", "0:1000", "root:daemon", "lake", "lake:0", "5", "5:0"] {
            assert_eq!(refused(spec), None, "{spec:?}");
        }
        let expected = "shusr has uid 0 in /etc/passwd, which is root: the service would keep every right\n  give shusr a \
                        uid of its own; where root is meant, the contract's user is \"root\"";
        assert_eq!(refused("shusr").unwrap(), expected);
        assert!(refused("shusr:1000").is_some());
    }

    /// Behaviours: 60.
    #[test]
    fn a_number_needs_no_files() {
        let user = parse_user("1000:1000", "", "").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 1000, vec![1000]));
    }
}
