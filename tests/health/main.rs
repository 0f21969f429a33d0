//! The health endpoint over real sockets, and the log on a real stderr.

mod endpoint;
mod log_lines;
