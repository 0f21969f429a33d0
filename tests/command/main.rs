//! What the binary does as a process: its commands, its statuses, its signals.

#[path = "../support/mod.rs"]
mod support;

mod arguments;
