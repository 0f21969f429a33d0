//! The program: memory that keeps nothing it has given back, and `entry`.

/// Wipes every allocation when it is freed: copies of secrets pass through strings of libraries that nobody else wipes.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    dl_entry::cli::entry::main()
}
