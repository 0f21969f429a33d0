//! Reaching others over the network: names, connections, TLS, HTTP and S3.
//!
//! Knows no contract: it is asked with plain data of `plan`.

pub mod connect;
pub mod http;
pub mod listeners;
pub mod s3;
pub mod tls;
