# The static binaries: dist/amd64/dl-entry and dist/arm64/dl-entry. Sourced by ./dl.
#
# zig is the C compiler and linker for both machines. The standard library is built from its source (rustup's component
# rust-src, or Debian's package where rustup can download nothing), without the unwind tables that the ready-made one
# has: a panic ends the process and the binary is stripped, so nothing would ever read those 0.7 MB.

largest_binary=5000000 # bytes
rust_wanted=89          # 1.89, as in Cargo.toml

case $(uname -m) in
    x86_64) native=amd64 ;;
    aarch64) native=arm64 ;;
    *) native=unknown ;;
esac

build() {
    case ${1:-all} in
        all) architectures='amd64 arm64' ;;
        amd64 | arm64) architectures=$1 ;;
        *) fail "cannot build for $1: amd64, arm64 or all" ;;
    esac
    prepare_zig
    prepare_rust
    for architecture in $architectures; do
        build_one "$architecture"
    done
}

target_of() {
    case $1 in
        amd64) echo x86_64-unknown-linux-musl ;;
        arm64) echo aarch64-unknown-linux-musl ;;
    esac
}

prepare_zig() {
    lock_cache
    python_tools zig 'the C compiler and linker of the static binaries' ziglang cargo-zigbuild
    unlock_cache
    zig_tools=$DL_CACHE/zig
}

# Puts in front of PATH, as $rust_path, a Rust that has its source.
prepare_rust() {
    rust_path=$PATH
    rustup_has_source && return 0
    rust_path=/usr/bin:$PATH
    debian_has_source && return 0
    if have rustup; then
        say "adding the source of Rust's standard library with rustup"
        timeout 300 rustup component add rust-src </dev/null >&2 || true
        rust_path=$PATH
        rustup_has_source && return 0
        say "rustup could not: using Debian's Rust"
    fi
    need_packages 'Rust for static binaries (or: rustup, with its component rust-src)' rustc-web cargo-web rust-web-src
    rust_path=/usr/bin:$PATH
    debian_has_source || fail "Debian's rustc-web is here, but not its source under $(/usr/bin/rustc --print sysroot)"
}

rustup_has_source() { have rustup && have cargo && has_source rustc && rust_is_recent cargo; }
debian_has_source() { [ -x /usr/bin/cargo ] && has_source /usr/bin/rustc && rust_is_recent /usr/bin/cargo; }
rust_is_recent() {
    version=$("$1" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge $rust_wanted ]
}
has_source() { [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std" ]; }

# claim_target FOLDER: one target folder serves all checkouts, so that the dependencies stay built. Cargo tells what is
# stale by its age alone, and would take another checkout's newer build for this one's: what is ours becomes newest.
claim_target() {
    [ "$(cat "$1/.checkout" 2>/dev/null)" != "$PWD" ] || return 0
    touch build.rs src/lib.rs
    mkdir -p "$1"
    printf '%s\n' "$PWD" >"$1/.checkout"
}

# RUSTC_BOOTSTRAP lets a stable cargo take -Z.
zigbuild() {
    claim_target "$DL_CACHE/target"
    CARGO_TARGET_DIR="$DL_CACHE/target" CARGO_ZIGBUILD_CACHE_DIR="$DL_CACHE/zig-cache" \
        ZIG_GLOBAL_CACHE_DIR="$DL_CACHE/zig-cache/zig" PATH="$zig_tools/bin:$rust_path" RUSTC_BOOTSTRAP=1 \
        RUSTFLAGS='-C force-unwind-tables=no -C target-feature=+crt-static -C link-self-contained=no' \
        cargo zigbuild -Z build-std=std,panic_abort "$@"
}

build_one() {
    target=$(target_of "$1")
    say "building dl-entry for $1 (the first time: some minutes)"
    zigbuild --locked --release --bin dl-entry --target "$target" </dev/null || fail "cannot build for $target"
    mkdir -p "dist/$1"
    cp "$DL_CACHE/target/$target/release/dl-entry" "dist/$1/.dl-entry"
    mv "dist/$1/.dl-entry" "dist/$1/dl-entry"
    check_binary "$1" "dist/$1/dl-entry"
}

check_binary() {
    need_command 'looking at the binaries' file file
    bytes=$(wc -c <"$2")
    kind=$(file -b "$2")
    case $kind in
        *'statically linked'* | *'static-pie linked'*) ;;
        *) fail "$2 is not static: $kind" ;;
    esac
    version=$(run_binary "$1" "$2" --version) || fail "$2 does not run: $version"
    say "$2: $bytes bytes, $(echo "$kind" | grep -o 'static[a-z-]* linked'), $version"
    [ "$bytes" -le $largest_binary ] || fail "$2 is larger than $largest_binary bytes"
}

run_binary() {
    if [ "$1" = "$native" ]; then
        "./$2" "$3"
        return
    fi
    case $1 in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac
    need_command "running the $1 binary" "qemu-$machine-static" qemu-user-static
    "qemu-$machine-static" "./$2" "$3"
}
