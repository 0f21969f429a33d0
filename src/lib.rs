//! `dl-entry`: validate the environment, render the configuration, drop root, wait, run and supervise one service.
//!
//! Modules in reading order; data flows down this list and never up.

#![deny(missing_debug_implementations)]

pub mod exit;
pub mod plan;

pub mod format;
pub mod log;
pub mod redact;

pub mod write;
pub mod privilege;
pub mod process;
pub mod http;
pub mod wait;
pub mod tasks;
pub mod supervise;
pub mod health;
pub mod system;
