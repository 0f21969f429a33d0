//! A service as data: its contract, the expressions in it and the tables of the keys it knows.
//!
//! Owns `services/NAME/` and what an image adds to it. Knows no environment: what operators set meets a contract in
//! `settings`. The build script compiles most of it too, so that both read a contract alike.

pub mod check;
mod entries;
pub mod expression;
pub mod fragments;
pub mod jar;
pub mod java;
pub mod key_table;
pub mod properties;
pub mod registry;
mod schema;
mod search_path;
mod setting_value;
mod shortcut;
pub mod shorthand;
mod tasks;
mod types;
pub mod uses;
mod volumes;

pub use self::schema::*;
pub use self::tasks::*;
pub use self::types::{Text, mistake_in_type, type_of};
