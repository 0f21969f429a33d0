//! The wire format of the name service cache daemon, version 2: requests in, answers out, no I/O.
//!
//! All numbers are 32-bit and in the machine's byte order; all strings end with NUL, which their lengths count
//! (`nscd/nscd-client.h` in glibc; musl's `src/passwd/nscd.h` is the same).

pub use crate::identity::accounts::{Group, User, groups, users};

/// A request's three numbers: version, type, length of the key.
pub const HEADER: usize = 12;
/// The longest key that is read; the longest name Linux allows is 32.
pub const LONGEST_KEY: usize = 1024;

const VERSION: i32 = 2;

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    UserByName(String),
    UserById(u32),
    GroupByName(String),
    GroupById(u32),
    /// All groups of a user.
    GroupsOf(String),
}

/// The length of the key that follows a header; `None` where there is nothing here to answer: another version, a host
/// or a service, a request for the daemon's shared memory. The client then asks elsewhere.
pub fn key_length(header: &[u8; HEADER]) -> Option<usize> {
    let [version, kind, length] = numbers(header);
    let answered = matches!(kind, 0..=3 | 15);
    let length = usize::try_from(length).ok().filter(|length| (1..=LONGEST_KEY).contains(length))?;
    (version == VERSION && answered).then_some(length)
}

fn numbers(header: &[u8; HEADER]) -> [i32; 3] {
    [0, 4, 8].map(|at| i32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]))
}

/// The request, if it is well-formed.
pub fn question(header: &[u8; HEADER], key: &[u8]) -> Option<Question> {
    let text = std::str::from_utf8(key.strip_suffix(b"\0")?).ok()?;
    let number = || text.parse().ok();
    match numbers(header)[1] {
        0 => Some(Question::UserByName(text.to_owned())),
        1 => number().map(Question::UserById),
        2 => Some(Question::GroupByName(text.to_owned())),
        3 => number().map(Question::GroupById),
        15 => Some(Question::GroupsOf(text.to_owned())),
        _ => None,
    }
}

/// The answer to `question`, from all there is: the first that fits, as in the files. An absent one is said not to
/// be there, and the client looks no further.
pub fn answer(question: &Question, users: &[User], groups: &[Group]) -> Vec<u8> {
    let user = |fits: &dyn Fn(&User) -> bool| user_answer(users.iter().find(|user| fits(user)));
    let group = |fits: &dyn Fn(&Group) -> bool| group_answer(groups.iter().find(|group| fits(group)));
    match question {
        Question::UserByName(name) => user(&|user| user.name == *name),
        Question::UserById(uid) => user(&|user| user.uid == *uid),
        Question::GroupByName(name) => group(&|group| group.name == *name),
        Question::GroupById(gid) => group(&|group| group.gid == *gid),
        Question::GroupsOf(name) => groups_answer(users.iter().find(|user| user.name == *name), groups),
    }
}

/// `pw_response_header` and its five strings.
fn user_answer(user: Option<&User>) -> Vec<u8> {
    let Some(User { name, uid, gid, comment, home, shell }) = user else {
        return head(&[VERSION, 0, 0, 0, -1, -1, 0, 0, 0]);
    };
    let length = |text: &str| text.len() as i32 + 1;
    let numbers = [VERSION, 1, length(name), 2, *uid as i32, *gid as i32, length(comment), length(home), length(shell)];
    strings(head(&numbers), &[name, "x", comment, home, shell])
}

/// `gr_response_header`, the lengths of the members, and the strings.
fn group_answer(group: Option<&Group>) -> Vec<u8> {
    let Some(Group { name, gid, members }) = group else { return head(&[VERSION, 0, 0, 0, -1, 0]) };
    let mut bytes = head(&[VERSION, 1, name.len() as i32 + 1, 2, *gid as i32, members.len() as i32]);
    bytes.extend(head(&members.iter().map(|member| member.len() as i32 + 1).collect::<Vec<_>>()));
    let texts: Vec<&str> = [&**name, "x"].into_iter().chain(members.iter().map(|member| &**member)).collect();
    strings(bytes, &texts)
}

/// `initgr_response_header` and the numbers of the groups.
fn groups_answer(user: Option<&User>, groups: &[Group]) -> Vec<u8> {
    let Some(user) = user else { return head(&[VERSION, 0, 0]) };
    let further = groups.iter().filter(|group| group.gid != user.gid && group.members.contains(&user.name));
    let numbers: Vec<i32> =
        std::iter::once(user.gid).chain(further.map(|group| group.gid)).map(|gid| gid as i32).collect();
    let mut bytes = head(&[VERSION, 1, numbers.len() as i32]);
    bytes.extend(head(&numbers));
    bytes
}

fn head(numbers: &[i32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn strings(mut bytes: Vec<u8>, texts: &[&str]) -> Vec<u8> {
    for text in texts {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# no user\nshort:x:1\nlake:x:1000:1000::/lake:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nlake:x:1000:\ndisks:x:6:other,lake\nall:x:7:lake\n";

    fn ask(question: &Question) -> Vec<u8> {
        answer(question, &users(PASSWD).collect::<Vec<_>>(), &groups(GROUP).collect::<Vec<_>>())
    }

    fn request(kind: i32, key: &str) -> ([u8; HEADER], Vec<u8>) {
        let header = head(&[VERSION, kind, key.len() as i32 + 1]).try_into().unwrap();
        (header, [key.as_bytes(), b"\0"].concat())
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let expected = strings(head(&[2, 1, 5, 2, 1000, 1000, 1, 6, 8]), &["lake", "x", "", "/lake", "/bin/sh"]);
        assert_eq!(ask(&Question::UserByName("lake".into())), expected);
        assert_eq!(ask(&Question::UserById(1000)), expected);
        assert_eq!(ask(&Question::UserById(5)), head(&[2, 0, 0, 0, -1, -1, 0, 0, 0]));
    }

    #[test]
    fn a_group_comes_with_its_members() {
        let expected = strings(head(&[2, 1, 6, 2, 6, 2, 6, 5]), &["disks", "x", "other", "lake"]);
        assert_eq!(ask(&Question::GroupByName("disks".into())), expected);
        assert_eq!(ask(&Question::GroupById(6)), expected);
        assert_eq!(ask(&Question::GroupById(99)), head(&[2, 0, 0, 0, -1, 0]));
    }

    #[test]
    fn the_groups_of_a_user_start_with_their_own() {
        assert_eq!(ask(&Question::GroupsOf("lake".into())), head(&[2, 1, 3, 1000, 6, 7]));
        assert_eq!(ask(&Question::GroupsOf("nobody".into())), head(&[2, 0, 0]));
    }

    #[test]
    fn only_what_can_be_answered_is_read() {
        for (kind, key, expected) in [
            (0, "lake", Some(Question::UserByName("lake".into()))),
            (1, "1000", Some(Question::UserById(1000))),
            (1, "-1", None),
            (1, "4294967296", None),
            (3, "6", Some(Question::GroupById(6))),
            (15, "lake", Some(Question::GroupsOf("lake".into()))),
        ] {
            let (header, key) = request(kind, key);
            assert_eq!(key_length(&header), Some(key.len()));
            assert_eq!(question(&header, &key), expected);
        }
        for [version, kind, length] in [[1, 0, 5], [2, 4, 5], [2, 11, 7], [2, 0, 0], [2, 0, -1], [2, 0, 1025]] {
            assert_eq!(key_length(&head(&[version, kind, length]).try_into().unwrap()), None);
        }
    }

    proptest! {
        #[test]
        fn no_request_is_too_strange(header in any::<[u8; HEADER]>(), key in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = key_length(&header);
            if let Some(question) = question(&header, &key) {
                prop_assert!(ask(&question).len() >= HEADER);
            }
        }

        #[test]
        fn no_file_is_too_strange(text in ".{0,200}") {
            prop_assert!(users(&text).count() <= text.lines().count());
            prop_assert!(groups(&text).count() <= text.lines().count());
        }
    }
}
