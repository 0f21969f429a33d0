fn main() -> std::process::ExitCode {
    dl_entry::entry::main()
}
