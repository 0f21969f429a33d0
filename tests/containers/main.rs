//! Real containers of a real engine: users, read-only roots, missing capabilities, seccomp, terminals, PID 1.
//!
//! `./dl test` prepares what they need and runs them; `DOCKER_HOST` names the engine's socket and `DL_CONTAINER_ROOT`
//! an archive of a minimal Debian. No container has a network.

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod files;
mod identity;
mod image;
mod limits;
mod process;
mod terminal;

/// Where the service's file is with `/run/dl` at hand.
const FILE: &str = "/run/dl/demo/demo.properties";
/// A server that makes the service ready.
const LISTEN: &str = "exec perl -MIO::Socket::INET -e \
    '$s = IO::Socket::INET->new(LocalAddr => \"127.0.0.1\", LocalPort => 8080, Listen => 5) or die; sleep 1000'";
/// A healthy life that ends only when asked to.
const WAIT: &str = "while :; do sleep 0.1; done";
