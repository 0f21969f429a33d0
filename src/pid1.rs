//! Process 1: signals, the service's process, and everybody who descends from it.
//!
//! Knows no contract: it is handed a command and a stop ladder. `sys` is the only module with `unsafe` code.

pub mod children;
pub(crate) mod proc;
pub mod signals;
pub mod spawn;
pub mod supervise;
pub mod sys;
