//! The real servers, each under `dl-entry run` with an environment and nothing else.

#[path = "../support/mod.rs"]
mod support;

mod failure;
mod java;
mod minio;
mod nessie;
mod patroni;
mod postgresql;
mod postgresql_crashes;
mod service;
mod spark;
mod trino;
