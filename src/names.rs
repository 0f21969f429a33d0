//! A name for a user that has none.
//!
//! Containers run under any uid, and then `whoami`, initdb, Hadoop's login and the JVM's `user.name` fail, because the
//! uid is in no /etc/passwd. Every C library asks the name service cache daemon at its socket, so the supervisor
//! answers there: with the files' own entries, and one more for the service's user. No preloaded library, and no file
//! changed; only where the socket cannot be made and /etc/passwd was left writable for this, a line is added there.

mod protocol;

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use nix::unistd::AccessFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use self::protocol::{Group, HEADER, User};
use crate::privilege::Identity;

/// Where glibc and musl look for the daemon.
const FOLDER: &str = "/var/run/nscd";
const SOCKET: &str = "/var/run/nscd/socket";
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The name that is given, where nobody else has it.
const NAME: &str = "shusr";

/// Lookups answered at the same time; a client beyond that looks into the files itself.
const MOST_CONNECTIONS: usize = 16;
/// For one lookup in all.
const DEADLINE: Duration = Duration::from_secs(1);
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
pub struct NamesError {
    uid: u32,
    source: io::Error,
}

impl fmt::Display for NamesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NamesError { uid, source } = self;
        let reason = crate::env::reason(source);
        write!(f, "uid {uid} has no name here, and {FOLDER} cannot be used to give it one: {reason}\n  ")?;
        write!(
            f,
            "programs that ask for it fail: make that folder writable (docker run --tmpfs {FOLDER}, an emptyDir), "
        )?;
        f.write_str("or DL_NAME_SERVICE=off")
    }
}

/// The name a uid gets, and how.
#[derive(Debug)]
pub struct Names {
    person: Identity,
    listener: Option<StdListener>,
}

/// Who is to be named: `identity` with a name and a home, if it has no entry and one is wanted.
fn nameless(mode: Mode, identity: &Identity) -> Option<Identity> {
    let wanted = match mode {
        Mode::Auto => in_container(),
        Mode::On => true,
        Mode::Off => false,
    };
    let passwd = read(PASSWD);
    let has_entry = protocol::users(&passwd).any(|user| user.uid == identity.uid);
    (wanted && !has_entry).then(|| Identity { name: free_name(&passwd, identity.uid), ..identity.clone() })
}

fn free_name(passwd: &str, uid: u32) -> String {
    if protocol::users(passwd).any(|user| user.name == NAME) { format!("uid{uid}") } else { NAME.to_owned() }
}

/// On a machine that is somebody's own, its name service is not ours to answer for.
fn in_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    std::process::id() == 1
        || marks.iter().any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Before root is given up: a folder in which `identity` can make the socket. What fails here fails again in `open`,
/// which says so.
pub fn prepare(mode: Mode, identity: &Identity) {
    if nameless(mode, identity).is_some() && !Path::new(SOCKET).exists() {
        let _ = fs::create_dir_all(FOLDER);
        let _ = chown(FOLDER, Some(identity.uid), Some(identity.gid));
    }
}

/// Gives `identity` a name if it has none; `None` where it has one or is to have none. With `served` false nobody will
/// be there to answer lookups.
///
/// # Errors
/// With `Mode::On`, that it cannot; with `Mode::Auto` that is a warning.
pub fn open(mode: Mode, identity: &Identity, served: bool) -> Result<Option<Names>, NamesError> {
    let Some(person) = nameless(mode, identity) else { return Ok(None) };
    if StdStream::connect(SOCKET).is_ok() {
        tracing::info!("a name service answers at {SOCKET}: uid {} gets its name there or nowhere", person.uid);
        return Ok(None);
    }
    let opened = if served { listen() } else { Err(io::Error::other("nobody stays to answer (DL_EXEC)")) };
    let source = match opened {
        Ok(listener) => return Ok(Some(Names { person, listener: Some(listener) })),
        Err(source) => source,
    };
    if add_to_passwd(&person).is_ok() {
        tracing::info!("uid {} is called {} in {PASSWD}", person.uid, person.name);
        return Ok(Some(Names { person, listener: None }));
    }
    let error = NamesError { uid: person.uid, source };
    if mode == Mode::On {
        return Err(error);
    }
    tracing::warn!("{error}");
    Ok(None)
}

fn listen() -> io::Result<StdListener> {
    fs::create_dir_all(FOLDER)?;
    match fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = StdListener::bind(SOCKET)?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Images made for any uid leave /etc/passwd writable for group 0. As root nothing is ever written there.
fn add_to_passwd(person: &Identity) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() || nix::unistd::access(PASSWD, AccessFlags::W_OK).is_err() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let Identity { name, uid, gid, home, .. } = person;
    let break_before = if read(PASSWD).ends_with('\n') { "" } else { "\n" };
    let line = format!("{break_before}{name}:x:{uid}:{gid}:{name}:{}:/bin/sh\n", home.display());
    fs::OpenOptions::new().append(true).open(PASSWD)?.write_all(line.as_bytes())
}

impl Names {
    /// The name that was given.
    pub fn name(&self) -> &str {
        &self.person.name
    }

    /// Answers lookups until it is dropped; `home` is what the service has as HOME. Without a client there is no timer
    /// and no wake-up.
    pub async fn serve(mut self, home: &Path) -> std::convert::Infallible {
        self.person.home = home.to_owned();
        let Some(Ok(listener)) = self.listener.take().map(UnixListener::from_std) else {
            return std::future::pending().await;
        };
        let _socket = Socket;
        let mut answered = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if answered.len() < MOST_CONNECTIONS =>
                        answered.push(timeout(DEADLINE, converse(stream, &self.person))),
                    Ok(_) => {}
                    Err(_) => sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
                },
                Some(_) = answered.next() => {}
            }
        }
    }
}

/// The file of the socket, which goes when nobody answers any more.
struct Socket;

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(SOCKET);
    }
}

/// One lookup a connection; whatever is strange is closed, and the client looks into the files itself.
async fn converse(mut stream: UnixStream, person: &Identity) -> io::Result<()> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let Some(length) = protocol::key_length(&header) else { return Ok(()) };
    let mut key = vec![0; length];
    stream.read_exact(&mut key).await?;
    let Some(question) = protocol::question(&header, &key) else { return Ok(()) };
    let (passwd, group) = (read(PASSWD), read(GROUP));
    stream.write_all(&protocol::answer(&question, &with_user(&passwd, person), &with_group(&group, person))).await
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

/// The group gets the user's name, if it has none and the name is free.
fn with_group<'a>(group: &'a str, person: &'a Identity) -> Vec<Group<'a>> {
    let own = Group { name: person.name.as_str().into(), gid: person.gid, members: vec![] };
    protocol::groups(group).chain([own]).collect()
}
