//! The lines of /etc/passwd and /etc/group: who there is, for `privilege` and for `name_service`.
//!
//! Owns what counts as an entry. Decides nothing about it, and reads a file only in `text`, byte by byte: one name in
//! Latin-1 must not make everybody else unknown.

use std::borrow::Cow;
use std::io;

use crate::read;

/// One line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User<'a> {
    pub name: Cow<'a, str>,
    pub uid: u32,
    pub gid: u32,
    pub comment: Cow<'a, str>,
    pub home: Cow<'a, str>,
    pub shell: Cow<'a, str>,
}

/// One line of /etc/group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    pub name: Cow<'a, str>,
    pub gid: u32,
    pub members: Vec<Cow<'a, str>>,
}

/// A file of users or groups; empty where there is none. Bytes that are not UTF-8 are replaced.
///
/// # Errors
/// It is there and cannot be read.
pub fn text(path: &str) -> io::Result<String> {
    match read::bytes(path.as_ref(), read::ACCOUNTS) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// The users of a text in the form of passwd(5); other lines are nobody's, as in libc. The shell may be missing.
pub fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = fields(line, 7)?;
        let [name, _, uid, gid, comment, home, ref shell @ ..] = fields[..] else { return None };
        let shell = shell.first().copied().unwrap_or_default();
        let (uid, gid) = (number(uid)?, number(gid)?);
        Some(User { name: name.into(), uid, gid, comment: comment.into(), home: home.into(), shell: shell.into() })
    })
}

/// The groups of a text in the form of group(5).
pub fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = fields(line, 5)?;
        let [name, _, gid, members] = fields[..] else { return None };
        let members = members.split(',').filter(|member| !member.is_empty()).map(Cow::from).collect();
        Some(Group { name: name.into(), gid: number(gid)?, members })
    })
}

/// The fields of a line that is no comment and none of NIS's, and has a name.
fn fields(line: &str, most: usize) -> Option<Vec<&str>> {
    let is_entry = !line.is_empty() && !line.starts_with(['+', '-', '#', ':']);
    is_entry.then(|| line.trim_end_matches('\r').splitn(most, ':').collect())
}

/// In decimal, without a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_no_entry_are_nobodys() {
        let passwd = "a:x:1:2:c:/h:/sh\r\nb:x:3:4::/\nc:x:5:6:\n+nis::7:8::/:\n-:x:9:9::/:\n#d:x:1:1::/:\n:x:1:1::/:\n\
                      e:x:-1:1::/:\nf:x:+1:1::/:\ng:x::1::/:\nh:x:4294967296:1::/:\ni:x:4294967294:1::/:/a:b\n";
        let found: Vec<_> = users(passwd).map(|user| (user.name, user.uid, user.gid, user.home, user.shell)).collect();
        let expected = [("a", 1, 2, "/h", "/sh"), ("b", 3, 4, "/", ""), ("i", 4_294_967_294, 1, "/", "/a:b")];
        assert_eq!(found, expected.map(|(name, uid, gid, home, sh)| (name.into(), uid, gid, home.into(), sh.into())));
        let found: Vec<_> =
            groups("a:x:1:\r\nb:x:2:x,,y\nc:x:3\nd:x:4:x:y\n#e:x:5:\n").map(|group| group.gid).collect();
        assert_eq!(found, [1, 2]);
    }

    #[test]
    fn a_name_that_is_not_utf_8_hides_nobody() {
        let path = std::env::temp_dir().join(format!("dl-entry-accounts-{}", std::process::id()));
        std::fs::write(&path, b"jos\xe9:x:7:7:Jos\xe9:/:/x\nshusr:x:77:77::/:/x\n").unwrap();
        let passwd = text(path.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(users(&passwd).map(|user| user.uid).collect::<Vec<_>>(), [7, 77]);
        assert_eq!(text(path.to_str().unwrap()).unwrap(), "");
        assert!(text("/").is_err());
    }
}
