//! Every exit status of `dl-entry` and what it means.
//!
//! A service's own status is passed on untouched. Our own failures use sysexits(3), so that they never collide with
//! a service's 1 or 2; 126 and 127 are the shell's (POSIX, "2.8.2 Exit Status for Commands"), and a death by signal
//! `n` is 128+n.

/// `sysexits.h` EX_USAGE: the command line cannot be understood.
pub const USAGE: u8 = 64;
/// EX_DATAERR: a template, an expression of a contract or a rendered file is not what it must be.
pub const TEMPLATE: u8 = 65;
/// EX_NOINPUT: a secret file cannot be read.
pub const SECRET_FILE: u8 = 66;
/// EX_UNAVAILABLE: a dependency did not answer before the deadline.
pub const DEPENDENCY: u8 = 69;
/// EX_SOFTWARE: a bug in dl-entry.
pub const INTERNAL: u8 = 70;
/// EX_OSERR: the system refused something it grants everywhere else.
pub const SYSTEM: u8 = 71;
/// EX_CANTCREAT: a file or directory cannot be written.
pub const CANNOT_WRITE: u8 = 73;
/// EX_NOPERM: the process cannot become, or is not allowed to be, the user it should be.
pub const PRIVILEGE: u8 = 77;
/// EX_CONFIG: the environment does not fulfil the service's contract.
pub const CONTRACT: u8 = 78;
/// The program exists but cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The program, or the interpreter it names, does not exist.
pub const NOT_FOUND: u8 = 127;

/// The status that stands for a death by `signal` (128+n).
pub fn of_signal(signal: i32) -> u8 {
    128u8.wrapping_add(signal as u8)
}
