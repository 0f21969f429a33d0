//! The binary as a process: its commands, its statuses, its signals.
//!
//! Real processes of the real binary, with `sh` and `sleep` as what they run. What needs a mount or another user fails
//! without root and says so.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod demo;
mod descriptors;
mod files;
mod forwarding;
mod given;
mod identity;
mod inspect;
mod jars;
mod java;
mod memory;
mod names;
mod phases;
mod reaping;
mod resolving;
mod secrets;
mod signals;
mod stranger;
mod streams;
mod surroundings;
mod terminal;
mod threads;
mod unread;

use std::time::Duration;

/// Longer than anything here takes; a test that comes to it has failed.
const LONG: Duration = Duration::from_secs(15);
/// The limit for a prompt reaction.
const PROMPT: Duration = Duration::from_secs(2);
