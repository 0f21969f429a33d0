//! Users: those there are, the one the service runs as, and a name for one that has none.
//!
//! Knows no contract and no service.

pub mod accounts;
pub mod name_service;
pub mod privilege;
pub mod user_spec;
