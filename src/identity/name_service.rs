//! A name for a user that has none.
//!
//! Containers run under any uid, and then `whoami`, initdb, Hadoop's login and the JVM's `user.name` fail, because the
//! uid is in no /etc/passwd. Every C library asks the name service cache daemon at its socket, so the supervisor
//! answers there: with the files' own entries, and one more for the service's user. No preloaded library, and no file
//! changed; only where the socket cannot be made and /etc/passwd was left writable for this, a line is added there.

pub mod protocol;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::AccessFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::protocol::{Group, HEADER, Question, User};
use crate::exit;
use crate::identity::accounts;
use crate::identity::user_spec::Identity;
use crate::pid1::sys;

/// Where glibc and musl look for the daemon.
const FOLDER: &str = "/var/run/nscd";
const SOCKET: &str = "/var/run/nscd/socket";
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The name that is given, where nobody else has it.
const NAME: &str = "shusr";

/// Lookups answered at the same time; a client beyond that waits in the socket's queue. To be turned away would be
/// worse than to wait: glibc then asks nobody for its next hundred lookups (`NSS_NSCD_RETRY`).
const MOST_CONNECTIONS: usize = 64;
/// For one lookup in all.
const DEADLINE: Duration = Duration::from_secs(1);
/// A client that has not asked by now goes when others wait. Every C library asks at once; what comes in between is a
/// pause of its container (CFS bandwidth control), which without a crowd costs nobody their name.
const PATIENCE_IN_A_CROWD: Duration = Duration::from_millis(100);
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// `DL_NAME_SERVICE`: whether a name is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In a container, to a uid without an entry; a warning where that cannot be.
    Auto,
    /// To a uid without an entry anywhere; an error where that cannot be.
    On,
    Off,
}

/// Why a name cannot be given.
#[derive(Debug)]
pub enum NamesError {
    /// The name cannot be served.
    Unheard { uid: u32, source: io::Error },
    /// `DL_USER_NAME` is the name of somebody else.
    Taken { name: String, uid: u32 },
}

impl NamesError {
    /// The status to end with.
    pub fn status(&self) -> u8 {
        match self {
            NamesError::Unheard { .. } => exit::CANNOT_WRITE,
            NamesError::Taken { .. } => exit::CONTRACT,
        }
    }
}

impl fmt::Display for NamesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamesError::Unheard { uid, source } => {
                let reason = crate::text::reason(source);
                write!(f, "uid {uid} has no name here, and {FOLDER} cannot be used to give it one: {reason}\n  ")?;
                write!(f, "programs that ask for it fail: make that folder writable (docker run --tmpfs {FOLDER}, ")?;
                f.write_str("an emptyDir), or DL_NAME_SERVICE=off")
            }
            NamesError::Taken { name, uid } => {
                write!(f, "DL_USER_NAME: {name} is the name of uid {uid} in {PASSWD}\n  accepted: a name nobody has")
            }
        }
    }
}

/// The name a uid gets, and how.
#[derive(Debug)]
pub struct Names {
    person: Identity,
    socket: Option<Socket>,
}

/// The socket, whose file goes when nobody answers any more.
#[derive(Debug)]
struct Socket(StdListener);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

/// The user to name: `identity` with a name, if its uid or gid has no entry and a name is wanted.
fn nameless(mode: Mode, name: Option<&str>, identity: &Identity) -> Result<Option<Identity>, NamesError> {
    let wanted = match mode {
        Mode::Auto => in_container(),
        Mode::On => true,
        Mode::Off => false,
    };
    let (passwd, group) = (read(PASSWD), read(GROUP));
    let entry = protocol::users(&passwd).find(|user| user.uid == identity.uid);
    if !wanted || entry.is_some() && protocol::groups(&group).any(|group| group.gid == identity.gid) {
        return Ok(None);
    }
    let name = match entry {
        Some(entry) => entry.name.into_owned(),
        None => free_name(name, &passwd, identity.uid)?,
    };
    Ok(Some(Identity { name, ..identity.clone() }))
}

fn free_name(name: Option<&str>, passwd: &str, uid: u32) -> Result<String, NamesError> {
    let owner = |name: &str| protocol::users(passwd).find(|user| user.name == name);
    match name {
        Some(name) => match owner(name) {
            Some(other) => Err(NamesError::Taken { name: name.to_owned(), uid: other.uid }),
            None => Ok(name.to_owned()),
        },
        None if owner(NAME).is_some() => Ok(format!("uid{uid}")),
        None => Ok(NAME.to_owned()),
    }
}

/// On a machine that is somebody's own, its name service is not ours to answer for.
fn in_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    std::process::id() == 1
        || marks.iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn read(path: &str) -> String {
    accounts::text(path).unwrap_or_default()
}

/// Whether somebody listens at the socket. std's connect would wait for ever where the listener's queue is full.
fn is_answered() -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let (Ok(socket), Ok(address)) = (socket(AddressFamily::Unix, SockType::Stream, flags, None), UnixAddr::new(SOCKET))
    else {
        return false;
    };
    matches!(connect(socket.as_raw_fd(), &address), Ok(()) | Err(Errno::EAGAIN))
}

/// Before root is given up: a folder in which `identity` can make the socket. What fails here fails again in `open`,
/// which says so.
pub fn prepare(mode: Mode, name: Option<&str>, identity: &Identity) {
    if !matches!(nameless(mode, name, identity), Ok(Some(_))) || is_answered() {
        return;
    }
    let _ = fs::create_dir_all(FOLDER);
    // Never through a link: somebody may have been here before us who may write beside it, and not everywhere.
    if fs::symlink_metadata(FOLDER).is_ok_and(|folder| folder.is_dir()) {
        let _ = lchown(FOLDER, Some(identity.uid), Some(identity.gid));
    }
}

/// Gives `identity` a name if it has none: `name`, or one of ours; `None` where it has one or is to have none. `home`
/// is the service's HOME. With `served` false nobody will be there to answer lookups.
///
/// # Errors
/// `Taken`; and with `Mode::On`, that it cannot be done, which with `Mode::Auto` is a warning.
pub fn open(
    mode: Mode,
    name: Option<&str>,
    identity: &Identity,
    home: &Path,
    served: bool,
) -> Result<Option<Names>, NamesError> {
    let Some(person) = nameless(mode, name, identity)? else { return Ok(None) };
    let person = Identity { home: home.to_owned(), ..person };
    if is_answered() {
        tracing::info!("a name service answers at {SOCKET}: uid {} gets its name there or nowhere", person.uid);
        return Ok(None);
    }
    let opened = if served { listen() } else { Err(io::Error::other("nobody stays to answer (DL_EXEC)")) };
    let source = match opened {
        Ok(socket) => return Ok(Some(Names { person, socket: Some(socket) })),
        Err(source) => source,
    };
    if protocol::users(&read(PASSWD)).any(|user| user.uid == person.uid) {
        // Only the group has no name, and hardly anybody asks for that.
        tracing::debug!("gid {} has no name: {FOLDER}: {source}", person.gid);
        return Ok(None);
    }
    if add_to_passwd(&person).is_ok() {
        tracing::info!("uid {} is called {} in {PASSWD}", person.uid, person.name);
        return Ok(Some(Names { person, socket: None }));
    }
    let error = NamesError::Unheard { uid: person.uid, source };
    if mode == Mode::On {
        return Err(error);
    }
    tracing::warn!("{error}");
    Ok(None)
}

fn listen() -> io::Result<Socket> {
    fs::create_dir_all(FOLDER)?;
    match fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket(StdListener::bind(SOCKET)?);
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))?;
    socket.0.set_nonblocking(true)?;
    Ok(socket)
}

/// Images made for any uid leave /etc/passwd writable for group 0. As root nothing is ever written there.
fn add_to_passwd(person: &Identity) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() || nix::unistd::access(PASSWD, AccessFlags::W_OK).is_err() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let Identity { name, uid, gid, home, .. } = person;
    let home = home.to_str().filter(|home| !home.contains([':', '\n'])).unwrap_or("/");
    let break_before = if read(PASSWD).ends_with('\n') { "" } else { "\n" };
    let line = format!("{break_before}{name}:x:{uid}:{gid}:{name}:{home}:/bin/sh\n");
    // A named pipe without a reader is an error (ENXIO in open(2)) and not waited for.
    let opened = fs::OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(PASSWD)?;
    if !opened.metadata()?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    (&opened).write_all(line.as_bytes())
}

impl Names {
    /// The name that was given.
    pub fn name(&self) -> &str {
        &self.person.name
    }

    /// Answers lookups until it is dropped. Without a client there is no timer and no wake-up.
    pub async fn serve(self) -> std::convert::Infallible {
        let listener = self.socket.as_ref().map(|socket| socket.0.try_clone().and_then(UnixListener::from_std));
        let Some(Ok(listener)) = listener else { return std::future::pending().await };
        let mut answered = FuturesUnordered::new();
        let most = MOST_CONNECTIONS.min((sys::spare_descriptors() / 4).max(1));
        let (crowd, crowded) = watch::channel(false);
        loop {
            let full = answered.len() >= most;
            crowd.send_if_modified(|crowd| std::mem::replace(crowd, full) != full);
            tokio::select! {
                stream = accepted(&listener), if !full =>
                    answered.push(timeout(DEADLINE, converse(stream, &self.person, crowded.clone()))),
                Some(_) = answered.next() => {}
            }
        }
    }
}

async fn accepted(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
        }
    }
}

/// One lookup a connection; whatever is strange is closed, and the client looks into the files itself.
async fn converse(mut stream: UnixStream, person: &Identity, crowded: watch::Receiver<bool>) -> io::Result<()> {
    let asked = tokio::select! {
        asked = asked(&mut stream) => asked?,
        () = outstayed(crowded) => return Ok(()),
    };
    let Some(question) = asked else { return Ok(()) };
    let (passwd, group) = (read(PASSWD), read(GROUP));
    stream.write_all(&protocol::answer(&question, &with_user(&passwd, person), &with_group(&group, person))).await
}

async fn asked(stream: &mut UnixStream) -> io::Result<Option<Question>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let Some(length) = protocol::key_length(&header) else { return Ok(None) };
    let mut key = vec![0; length];
    stream.read_exact(&mut key).await?;
    Ok(protocol::question(&header, &key))
}

/// Ends when somebody has kept others waiting for long enough.
async fn outstayed(mut crowded: watch::Receiver<bool>) {
    sleep(PATIENCE_IN_A_CROWD).await;
    if crowded.wait_for(|crowded| *crowded).await.is_err() {
        std::future::pending().await
    }
}

fn with_user<'a>(passwd: &'a str, person: &'a Identity) -> Vec<User<'a>> {
    let name = person.name.as_str();
    let home = person.home.to_string_lossy();
    let own = User {
        name: name.into(),
        uid: person.uid,
        gid: person.gid,
        comment: name.into(),
        home,
        shell: "/bin/sh".into(),
    };
    protocol::users(passwd).chain([own]).collect()
}

/// The group gets the user's name, if it has none and the name is free; a group with a name comes first.
fn with_group<'a>(group: &'a str, person: &'a Identity) -> Vec<Group<'a>> {
    let own = Group { name: person.name.as_str().into(), gid: person.gid, members: vec![] };
    let taken = protocol::groups(group).any(|group| group.name == own.name);
    let free = if taken { format!("gid{}", own.gid).into() } else { own.name.clone() };
    protocol::groups(group).chain([Group { name: free, ..own }]).collect()
}
