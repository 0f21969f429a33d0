//! `dl-entry`: validate the environment, render the configuration, drop root, wait, run and supervise one service.
//!
//! Modules in reading order; data flows down this list and never up.

#![deny(missing_debug_implementations)]

pub mod cli;

pub mod evaluate;
pub mod run;

pub mod contract;
pub mod environment;
pub mod plan;
pub mod render;
pub mod settings;
pub mod value;

pub mod health;
pub mod tasks;
pub mod wait;
pub mod write;

pub mod identity;
pub mod net;
pub mod pid1;

pub mod log;
pub mod secrets;

pub mod did_you_mean;
pub mod exit;
mod packed;
pub mod read;
pub mod report;
pub mod text;
mod threads;

#[cfg(test)]
mod testing;
