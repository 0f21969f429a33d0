//! System calls that nix does not offer safely; the only module that may use `unsafe`.
//!
//! Thin: one call each, errors as `Errno`, no policy. Signals are plain numbers here because nix's `Signal` has no
//! real-time ones, and its `waitpid` fails on a child that one of them ended.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::Pid;

/// Descriptors that are kept back from whoever connects to us: for what is always open, for every wait and probe, and
/// for starting the service.
const KEPT_BACK: u64 = 32;

/// Signals are 1 to 64 on Linux, the real-time ones from 32 on (signal(7)).
const LAST_SIGNAL: i32 = 64;

/// Before `main` std opens /dev/null for each standard stream that is closed, and aborts where there is none. What is
/// open by then it leaves alone, and the C library comes here first (`DT_INIT_ARRAY` in elf(5)).
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_STD: extern "C" fn() = occupy_closed_streams;

extern "C" fn occupy_closed_streams() {
    for descriptor in 0..=2 {
        // SAFETY: asks for a flag of one descriptor, open or not.
        if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } == -1 {
            occupy(descriptor);
        }
    }
}

/// Opens what is as good as closed: input at its end, output that fails. It gets the lowest free number, which is this
/// one.
fn occupy(descriptor: c_int) {
    // SAFETY: constant paths that end with NUL, and an array of the two descriptors that pipe(2) writes.
    unsafe {
        if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) >= 0 {
            return;
        }
        if descriptor != libc::STDIN_FILENO {
            libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
            return;
        }
        let mut ends = [-1; 2];
        if libc::pipe(ends.as_mut_ptr()) == 0 {
            libc::close(ends[1]);
        }
    }
}

/// How a child ended (waitid(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal { number: i32, core: bool },
}

/// The result of one attempt to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaped {
    Child(Pid, Ended),
    /// Children live, and none has ended.
    NoneYet,
    /// The process has no child.
    NoChildren,
}

/// Takes one ended child, whichever it is, without waiting.
///
/// # Errors
/// Any other error of waitid(2) than ECHILD and EINTR; none is possible for these arguments.
pub fn reap() -> Result<Reaped, Errno> {
    wait_id(libc::WEXITED | libc::WNOHANG)
}

/// The child that `reap` would find; it stays to be reaped.
///
/// # Errors
/// As `reap`.
pub fn peek() -> Result<Reaped, Errno> {
    wait_id(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// The signal that a child is stopped by at this moment; asking again says the same.
pub fn stopped_by(child: i32) -> Option<i32> {
    let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    let (result, information) = wait_id_of(libc::P_PID, child as libc::id_t, options);
    result.ok()?;
    // SAFETY: after waitid the fields of a child's siginfo are the ones set.
    let (pid, signal) = unsafe { (information.si_pid(), information.si_status()) };
    (pid == child).then_some(signal)
}

fn wait_id_of(kind: libc::idtype_t, id: libc::id_t, options: c_int) -> (Result<c_int, Errno>, libc::siginfo_t) {
    // SAFETY: siginfo_t is plain data for which all zeroes is a value.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live siginfo_t of our own.
    let result = unsafe { libc::waitid(kind, id, &mut information, options) };
    (Errno::result(result), information)
}

fn wait_id(options: c_int) -> Result<Reaped, Errno> {
    let (result, information) = wait_id_of(libc::P_ALL, 0, options);
    match result {
        Err(Errno::ECHILD) => return Ok(Reaped::NoChildren),
        Err(Errno::EINTR) => return wait_id(options),
        Err(errno) => return Err(errno),
        Ok(_) => {}
    }
    // SAFETY: after waitid the fields of a child's siginfo are the ones set.
    let (pid, status) = unsafe { (information.si_pid(), information.si_status()) };
    if pid == 0 {
        return Ok(Reaped::NoneYet);
    }
    let ended = match information.si_code {
        libc::CLD_EXITED => Ended::Code(status),
        code => Ended::Signal { number: status, core: code == libc::CLD_DUMPED },
    };
    Ok(Reaped::Child(Pid::from_raw(pid), ended))
}

/// kill(2) with any signal, real-time ones included. `pid` may be a group (negative) or everybody (-1).
pub fn send_signal(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes two integers and touches no memory.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Gives every signal its default action, so that nothing of ours reaches the program that is executed next.
/// Async-signal-safe: may run between fork and exec.
pub fn reset_signal_actions() {
    // The kernel's struct sigaction, whose fields differ in order by architecture: all zeroes are SIG_DFL, no flags and
    // an empty mask on each. libc's own call refuses 32 to 34, which somebody may have left ignored.
    let default = [0u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: reads one live struct and installs no code of ours; KILL and STOP fail without effect.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8usize) };
    }
}

/// All 64 signals; libc's own `sigfillset` leaves out those it uses itself (32 and 33, with musl 34 too).
pub fn every_signal() -> SigSet {
    // SAFETY: sigset_t is plain bits; the kernel looks at the first 64.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        std::ptr::from_mut(&mut all).cast::<u64>().write_unaligned(u64::MAX);
        SigSet::from_sigset_t_unchecked(all)
    }
}

/// Sets the calling thread's signal mask and returns the one of before. Async-signal-safe. The kernel's own call,
/// because libc's would not touch the signals it uses itself.
pub fn set_signal_mask(mask: &SigSet) -> SigSet {
    let new: &libc::sigset_t = mask.as_ref();
    // SAFETY: both sets are live and longer than the 8 bytes the kernel reads and writes.
    unsafe {
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, new, &mut old, 8usize);
        SigSet::from_sigset_t_unchecked(old)
    }
}

/// fork(2). In the child, only async-signal-safe calls may follow until exec.
pub fn fork() -> Result<nix::unistd::ForkResult, Errno> {
    // SAFETY: every caller keeps to async-signal-safe calls in the child; see `process`.
    unsafe { nix::unistd::fork() }
}

/// How many descriptors connections to us may have together.
pub fn spare_descriptors() -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    limit.map_or(0, |(soft, _)| soft.saturating_sub(KEPT_BACK).min(1 << 20) as usize)
}

/// Marks every descriptor from `first` on to be closed by exec: the runtime's leaks are not for the service
/// (close_range(2); older kernels and strict seccomp filters get the slow way).
pub fn close_on_exec_from(first: i32) {
    // SAFETY: close_range with CLOEXEC changes flags of our own descriptors only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit of our own.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    for descriptor in first..limit.rlim_cur.min(65_536) as c_int {
        // SAFETY: fcntl on a descriptor that is not open fails without effect.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// Opens `descriptor` as `number` too (dup2(2)). Async-signal-safe.
pub fn duplicate_onto(descriptor: c_int, number: c_int) {
    // SAFETY: two integers; fails without effect for a descriptor that is not open.
    unsafe { libc::dup2(descriptor, number) };
}

/// Lets exec leave this descriptor open. Async-signal-safe.
pub fn keep_on_exec(descriptor: c_int) {
    // SAFETY: changes a flag of one descriptor, open or not.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) };
}

/// execve(2) with pointers prepared before a fork. Returns only on failure.
pub fn execute(path: &CStr, arguments: &Pointers, environment: &Pointers) -> Errno {
    // SAFETY: both arrays are null-terminated and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

/// A null-terminated array of strings, as execve wants it; keeps the strings alive.
#[derive(Debug)]
pub struct Pointers {
    pointers: Vec<*const libc::c_char>,
    strings: Vec<Vec<u8>>,
}

impl From<Vec<std::ffi::CString>> for Pointers {
    fn from(strings: Vec<std::ffi::CString>) -> Pointers {
        let strings: Vec<Vec<u8>> = strings.into_iter().map(std::ffi::CString::into_bytes_with_nul).collect();
        let pointers = strings.iter().map(|string| string.as_ptr().cast()).chain([std::ptr::null()]).collect();
        Pointers { pointers, strings }
    }
}

impl Pointers {
    /// Writes `number` behind the `=` of the string at `index`, as far as it has room. Async-signal-safe.
    pub fn set_number(&mut self, index: usize, number: u32) {
        let Some(string) = self.strings.get_mut(index) else { return };
        let start = string.iter().position(|byte| *byte == b'=').map_or(0, |at| at + 1);
        let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
        if start + digits >= string.len() {
            return;
        }
        let mut rest = number;
        for digit in string[start..start + digits].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        string[start + digits] = 0;
        self.pointers[index] = string.as_ptr().cast();
    }
}

/// Takes a capability out of the bounding set for good (PR_CAPBSET_DROP in prctl(2)). EINVAL: there is no such one.
pub fn drop_bounding(capability: u32) -> Result<(), Errno> {
    // SAFETY: prctl with this option takes one integer.
    Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) }).map(drop)
}

/// Empties the ambient set (PR_CAP_AMBIENT_CLEAR_ALL in prctl(2)).
pub fn clear_ambient() -> Result<(), Errno> {
    let option = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    // SAFETY: prctl with this option takes integers only.
    Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, option, 0, 0, 0) }).map(drop)
}

/// Header and data of capset(2), version 3.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Gives up every capability: effective, permitted and inheritable.
pub fn clear_capabilities() -> Result<(), Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads one header and two data blocks, which are these.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) }).map(drop)
}

/// The effective capabilities, as two words (capget(2)).
pub fn effective_capabilities() -> Result<[u32; 2], Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 reads one header and writes two data blocks, which are these.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &header, data.as_mut_ptr()) })?;
    Ok([data[0].effective, data[1].effective])
}

/// setgroups(2), setresgid(2) and setresuid(2) in this order. The calling process must have one thread: the raw calls
/// change the calling thread, and libc's wrappers would need the others to be well.
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> Result<(), (Errno, &'static str)> {
    let groups: Vec<libc::gid_t> = groups.to_vec();
    // SAFETY: the pointer and the length are of one live array.
    match Errno::result(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }) {
        Ok(_) => {}
        // A user namespace with /proc/self/setgroups = deny has no groups of ours to begin with (user_namespaces(7)).
        Err(Errno::EPERM) if groups_are_denied() => {}
        Err(errno) => return Err((errno, "setgroups")),
    }
    // SAFETY: three integers.
    Errno::result(unsafe { libc::setresgid(gid, gid, gid) }).map_err(|errno| (errno, "setresgid"))?;
    // SAFETY: three integers.
    Errno::result(unsafe { libc::setresuid(uid, uid, uid) }).map_err(|errno| (errno, "setresuid"))?;
    Ok(())
}

/// Whether this is a user namespace in which nobody may set groups (user_namespaces(7)).
pub fn groups_are_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Whether root could be had again: must be false after the drop.
pub fn can_become_root() -> bool {
    // SAFETY: three integers.
    unsafe { libc::setresuid(0, 0, 0) == 0 }
}

/// Sets the action of a signal, where that is no handler: ignored or default.
pub fn set_action(signal: nix::sys::signal::Signal, action: &nix::sys::signal::SigAction) -> Result<(), Errno> {
    // SAFETY: callers pass SIG_DFL or SIG_IGN, which run no code of ours.
    unsafe { nix::sys::signal::sigaction(signal, action) }.map(drop)
}

/// Has a signal end this process with 128 and its number.
pub fn end_on(signal: nix::sys::signal::Signal) {
    extern "C" fn end(signal: c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(128 + signal) }
    }
    use nix::sys::signal::{SaFlags, SigAction, SigHandler};
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler makes one async-signal-safe call. It fails for KILL and STOP only.
    let _ = unsafe { nix::sys::signal::sigaction(signal, &action) };
}

/// The value of an extended attribute, of at most 64 bytes (fgetxattr(2)).
pub fn attribute(file: &impl std::os::fd::AsRawFd, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; 64];
    // SAFETY: the name ends with a NUL, and the pointer and the length are of one live array.
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(Errno::result(length)? as usize);
    Ok(value)
}

/// Sets an extended attribute (fsetxattr(2)).
pub fn set_attribute(file: &impl std::os::fd::AsRawFd, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the name ends with a NUL, and the pointer and the length are of one live array.
    let set = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(set).map(drop)
}

/// _exit(2): ends this process without running anything of ours.
pub fn end_now(status: i32) -> ! {
    // SAFETY: _exit never returns and runs no code of ours.
    unsafe { libc::_exit(status) }
}

/// Makes a descriptor known to the runtime's event loop.
pub fn watch<T: std::os::fd::AsRawFd>(descriptor: T) -> std::io::Result<tokio::io::unix::AsyncFd<T>> {
    // SAFETY: the descriptor is owned by the value that the AsyncFd takes, so it stays open as long as it is watched.
    let registered =
        unsafe { tokio::io::unix::AsyncFd::register_with_interest(descriptor, tokio::io::Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}
