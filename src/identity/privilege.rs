//! Becoming the service's user, for good, and proving it.
//!
//! The order is runc's (`finalizeNamespace`): standard streams handed over → bounding set → groups → gid → uid → all
//! capabilities → no_new_privs → proof. Must run while the process has one thread. `Unprivileged` can only be made
//! here, and nothing is executed without one.

use std::fmt;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::unistd::{Gid, Uid};

use crate::identity::accounts::{self, users};
use crate::identity::user_spec::Identity;
use crate::pid1::sys;

/// `NGROUPS_MAX` of the kernel (limits.h).
const MOST_GROUPS: usize = 65_536;

/// Proof that this process is not root and cannot be again.
#[derive(Debug)]
pub struct Unprivileged {
    identity: Identity,
}

impl Unprivileged {
    /// The current user.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// A step of the drop that the system refused.
#[derive(Debug)]
pub enum PrivilegeError {
    /// A call failed; the capability it needs, where it needs one.
    Refused { call: &'static str, errno: Errno, capability: Option<&'static str> },
    /// An id of the service's user that does not exist in this user namespace (user_namespaces(7)).
    Unmapped { kind: Kind, id: u32 },
    /// In more groups than the kernel lets a process have.
    TooManyGroups(usize),
    /// All calls succeeded, and we are still not who we should be.
    NotProven { what: &'static str },
    /// More than one thread: the others would stay root.
    Threads(usize),
    /// Our file has the set-user-id or set-group-id bit: whoever starts it would be somebody else.
    Borrowed,
}

/// Which of the two numberings an id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    User,
    Group,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::User => "uid",
            Kind::Group => "gid",
        }
    }

    /// The mapping of this namespace's ids to those outside.
    fn map(self) -> &'static str {
        match self {
            Kind::User => "/proc/self/uid_map",
            Kind::Group => "/proc/self/gid_map",
        }
    }
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::Refused { call, errno, capability } => {
                write!(f, "root cannot be given up: {call} failed: {}", errno.desc())?;
                if let Some(capability) = capability {
                    write!(
                        f,
                        "\n  the container was started as root without {capability}: add the capability, or start it as \
                         the service's user (docker run --user 1000:1000)"
                    )?;
                }
                Ok(())
            }
            PrivilegeError::Unmapped { kind, id } => write!(
                f,
                "root cannot be given up: {0} {id} is not mapped in this user namespace ({1})\n  map more ids to the \
                 container (/etc/subuid and /etc/subgid of who starts it), or start it as the service's user \
                 (podman run --userns=keep-id:uid=1000,gid=1000)",
                kind.label(),
                kind.map()
            ),
            PrivilegeError::TooManyGroups(count) => write!(
                f,
                "root cannot be given up: the service's user is in {count} groups of /etc/group, and the kernel takes at \
                 most {MOST_GROUPS}\n  take the user out of some, or name it with its group: 1000:1000"
            ),
            PrivilegeError::NotProven { what } => write!(f, "root was not given up: {what}"),
            PrivilegeError::Threads(count) => write!(f, "root cannot be given up with {count} threads"),
            PrivilegeError::Borrowed => f.write_str(
                "this program is somebody else's by its set-user-id or set-group-id bit, which makes it a way to root\n  \
                 take the bit away: chmod ug-s",
            ),
        }
    }
}

/// Whether root could be given up, asked before anything is written: a missing capability is then what is named, and
/// not the files that could not be given away for want of another.
///
/// # Errors
/// The capability that is missing (capabilities(7)), or the id that is not mapped.
pub fn check_can_become(identity: &Identity) -> Result<(), PrivilegeError> {
    const SETGID: u32 = 1 << 6;
    const SETUID: u32 = 1 << 7;
    // Where they cannot be read, the calls themselves will tell.
    let [held, _] = sys::effective_capabilities().unwrap_or([u32::MAX; 2]);
    let missing =
        |call, capability| Err(PrivilegeError::Refused { call, errno: Errno::EPERM, capability: Some(capability) });
    match () {
        () if identity.groups.len() > MOST_GROUPS => Err(PrivilegeError::TooManyGroups(identity.groups.len())),
        () if held & SETGID == 0 => missing("setgroups", "CAP_SETGID"),
        () if held & SETUID == 0 && identity.uid != 0 => missing("setresuid", "CAP_SETUID"),
        () => check_mapped(identity),
    }
}

fn check_mapped(identity: &Identity) -> Result<(), PrivilegeError> {
    let groups = if sys::groups_are_denied() { &[identity.gid][..] } else { &identity.groups };
    for (kind, ids) in [(Kind::User, &[identity.uid][..]), (Kind::Group, groups)] {
        // Without /proc, the calls themselves will tell.
        let Ok(map) = std::fs::read_to_string(kind.map()) else { continue };
        if let Some(id) = ids.iter().find(|id| !is_mapped(&map, **id)) {
            return Err(PrivilegeError::Unmapped { kind, id: *id });
        }
    }
    Ok(())
}

/// Each line of the map is the first id inside, the first outside, and their number.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&id.into()))
    })
}

/// Refuses to run for anybody by the set-user-id or set-group-id bit of our own file.
///
/// # Errors
/// `PrivilegeError::Borrowed`.
pub fn refuse_borrowed() -> Result<(), PrivilegeError> {
    let own = Uid::current() == Uid::effective() && Gid::current() == Gid::effective();
    own.then_some(()).ok_or(PrivilegeError::Borrowed)
}

/// Becomes `identity` for good.
///
/// # Errors
/// The call the system refused and the capability it wants; nothing may run then.
pub fn become_user(identity: &Identity) -> Result<Unprivileged, PrivilegeError> {
    if let Some(threads) = threads().filter(|count| *count > 1) {
        return Err(PrivilegeError::Threads(threads));
    }
    hand_over_streams(identity);
    drop_bounding_set()?;
    sys::set_ids(identity.uid, identity.gid, &identity.groups)
        .map_err(|(errno, call)| refused_id(identity, errno, call))?;
    give_up_the_rest()?;
    prove(identity)?;
    Ok(Unprivileged { identity: identity.clone() })
}

fn refused_id(identity: &Identity, errno: Errno, call: &'static str) -> PrivilegeError {
    let (kind, id, capability) = match call {
        "setresuid" => (Kind::User, identity.uid, "CAP_SETUID"),
        _ => (Kind::Group, identity.gid, "CAP_SETGID"),
    };
    match errno {
        Errno::EINVAL => PrivilegeError::Unmapped { kind, id },
        _ => PrivilegeError::Refused { call, errno, capability: (errno == Errno::EPERM).then_some(capability) },
    }
}

/// Stays who we are, who is not root; takes what can still be taken away.
///
/// # Errors
/// As `become_user`; and being root after all.
pub fn stay() -> Result<Unprivileged, PrivilegeError> {
    let (uid, gid) = (Uid::effective().as_raw(), Gid::effective().as_raw());
    if uid == 0 {
        return Err(PrivilegeError::NotProven { what: "this process is root" });
    }
    give_up_the_rest()?;
    let passwd = accounts::text("/etc/passwd").unwrap_or_default();
    let entry = users(&passwd).find(|entry| entry.uid == uid);
    let (name, home) =
        entry.map_or((String::new(), PathBuf::from("/")), |entry| (entry.name.into_owned(), (*entry.home).into()));
    let groups = nix::unistd::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
    Ok(Unprivileged { identity: Identity { uid, gid, groups, name, home } })
}

fn threads() -> Option<usize> {
    std::fs::read_dir("/proc/self/task").ok().map(Iterator::count)
}

/// So that the service can open /dev/stdout and /dev/stderr anew (runc's `fixStdioPermissions`). A file system that
/// cannot change owners is no reason to fail.
fn hand_over_streams(identity: &Identity) {
    hand_over(std::io::stdin(), identity.uid);
    hand_over(std::io::stdout(), identity.uid);
    hand_over(std::io::stderr(), identity.uid);
}

/// Only what ends with us: who has given it away cannot have it back. A pipe without a name and a socket do, and so
/// does the terminal of a container whose first process we are. A file, a named pipe and somebody's own terminal are
/// their owners', and a device such as /dev/null, under whatever name and mount, is everybody's. A stream that is
/// closed has nothing to give.
fn hand_over(stream: impl AsFd, uid: u32) {
    let Ok(status) = nix::sys::stat::fstat(&stream) else { return };
    let given = match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFIFO => is_without_name(&stream),
        SFlag::S_IFSOCK => true,
        SFlag::S_IFCHR => std::process::id() == 1 && nix::unistd::isatty(&stream).unwrap_or(false),
        _ => false,
    };
    if given {
        let _ = nix::unistd::fchown(&stream, Some(Uid::from_raw(uid)), None);
    }
}

/// `PIPEFS_MAGIC` of linux/magic.h: a pipe of pipe(2), and not one of mkfifo(3).
fn is_without_name(pipe: &impl AsFd) -> bool {
    nix::sys::statfs::fstatfs(pipe).is_ok_and(|system| system.filesystem_type().0 == 0x5049_5045)
}

/// The kernel's capabilities are numbered from 0; the first unknown one ends the loop.
fn drop_bounding_set() -> Result<(), PrivilegeError> {
    for capability in 0..64 {
        match sys::drop_bounding(capability) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            // Without CAP_SETPCAP the set stays; no_new_privs keeps it from mattering.
            Err(Errno::EPERM) => {
                tracing::debug!("the capability bounding set stays: CAP_SETPCAP is missing");
                break;
            }
            Err(errno) => {
                return Err(PrivilegeError::Refused { call: "prctl(PR_CAPBSET_DROP)", errno, capability: None });
            }
        }
    }
    Ok(())
}

fn give_up_the_rest() -> Result<(), PrivilegeError> {
    let refused = |call| move |errno| PrivilegeError::Refused { call, errno, capability: None };
    match sys::clear_ambient() {
        // Kernels before 4.3 have no ambient set.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(refused("prctl(PR_CAP_AMBIENT)")(errno)),
    }
    sys::clear_capabilities().map_err(refused("capset"))?;
    nix::sys::prctl::set_dumpable(false).map_err(refused("prctl(PR_SET_DUMPABLE)"))?;
    nix::sys::prctl::set_no_new_privs().map_err(refused("prctl(PR_SET_NO_NEW_PRIVS)"))
}

fn prove(identity: &Identity) -> Result<(), PrivilegeError> {
    let not_proven = |what| Err(PrivilegeError::NotProven { what });
    let uids = nix::unistd::getresuid().map(|ids| [ids.real, ids.effective, ids.saved].map(Uid::as_raw));
    let gids = nix::unistd::getresgid().map(|ids| [ids.real, ids.effective, ids.saved].map(Gid::as_raw));
    if uids != Ok([identity.uid; 3]) {
        return not_proven("a user id is still another one");
    }
    if gids != Ok([identity.gid; 3]) {
        return not_proven("a group id is still another one");
    }
    if sys::effective_capabilities() != Ok([0, 0]) {
        return not_proven("a capability is left");
    }
    if identity.uid != 0 && sys::can_become_root() {
        return not_proven("root can be had again");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::user_spec::parse_user;

    const PASSWD: &str = "shusr:x:1000:1000::/home/shusr:/x\n";

    #[test]
    fn a_group_counts_once_and_more_groups_than_the_kernel_takes_are_refused_in_words() {
        let groups = |count: u32| (2000..2000 + count).map(|gid| format!("g{gid}:x:{gid}:shusr\n")).collect::<String>();
        let twice = groups(3) + &groups(3);
        assert_eq!(parse_user("shusr", PASSWD, &twice).unwrap().groups, [1000, 2000, 2001, 2002]);
        let refused = check_can_become(&parse_user("shusr", PASSWD, &groups(65_536)).unwrap()).unwrap_err();
        let expected = "root cannot be given up: the service's user is in 65537 groups of /etc/group, and the kernel takes \
                        at most 65536\n  take the user out of some, or name it with its group: 1000:1000";
        assert_eq!(refused.to_string(), expected);
        parse_user("shusr:1000", PASSWD, &groups(65_536)).unwrap();
    }

    #[test]
    fn an_id_is_mapped_where_a_line_of_the_map_covers_it() {
        let map = "         0       1000          1\n      1000     100000        500\n";
        for (id, expected) in [(0, true), (1, false), (999, false), (1000, true), (1499, true), (1500, false)] {
            assert_eq!(is_mapped(map, id), expected, "{id}");
        }
        assert!(is_mapped("         0          0 4294967295\n", 2_147_483_647));
        assert!(!is_mapped("", 0));
    }

    /// Behaviours: 70.
    #[test]
    fn with_more_than_one_thread_nothing_is_dropped() {
        let (held, waits) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || waits.recv());
        let own = Identity { uid: 1000, gid: 1000, groups: vec![1000], name: String::new(), home: "/".into() };
        let refused = become_user(&own).unwrap_err();
        assert!(matches!(refused, PrivilegeError::Threads(2..)), "{refused}");
        drop(held);
        assert!(other.join().unwrap().is_err());
    }
}
