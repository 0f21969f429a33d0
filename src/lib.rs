//! `dl-entry`: validate the environment, render the configuration, drop root, wait, run and supervise one service.
//!
//! Modules in reading order; data flows down this list and never up.

#![deny(missing_debug_implementations)]

pub mod arguments;
pub mod catalogue;
pub mod cli;
pub mod compose;
pub mod container;
pub mod contract;
pub mod contract_check;
pub mod entry;
pub mod env;
pub mod exit;
pub mod explain;
pub mod expression;
pub mod fragments;
pub mod inspect;
pub mod java;
pub mod keys;
pub mod own;
pub mod plan;
pub mod prepare;
pub mod render;
pub mod report;
mod search_path;
pub mod settings;
pub mod shorthand;
mod shown;
pub mod spelling;
pub mod value;

pub mod format;
pub mod log;
pub mod read;
pub mod redact;

pub mod accounts;
pub mod health;
pub mod http;
pub mod listeners;
pub mod names;
pub mod network;
mod ports;
pub mod privilege;
pub mod process;
mod processes;
pub mod run;
pub mod s3;
pub mod signals;
pub mod supervise;
pub mod system;
pub mod tasks;
mod threads;
pub mod tls;
pub mod wait;
mod words;
pub mod write;

#[cfg(test)]
mod testing;
