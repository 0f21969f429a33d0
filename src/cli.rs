//! The command line: START at `cli::entry`.
//!
//! Owns what an operator types and reads: the subcommands, and what those that only look print. Everything else is
//! called from here and nothing calls back.

pub mod command_line;
pub mod entry;
pub mod explain;
pub mod inspect;
mod masked_view;
