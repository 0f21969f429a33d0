# The static binaries: dist/amd64/dl-entry and dist/arm64/dl-entry. Sourced by ./dl.
#
# zig is the C compiler and linker for both machines. The standard library for musl comes from rustup; where rustup can
# download nothing, Debian's Rust builds it from its own source.

largest_binary=5000000 # bytes

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

has_targets() {
    have rustup && have cargo || return 1
    installed=$(rustup target list --installed 2>/dev/null) || return 1
    for architecture in $architectures; do
        printf '%s\n' "$installed" | grep -qx "$(target_of "$architecture")" || return 1
    done
}

# Sets $rust to what builds: rustup or debian.
prepare_rust() {
    rust=rustup
    has_targets && return 0
    if debian_rust; then
        rust=debian
        return 0
    fi
    if have rustup; then
        say 'adding the musl targets with rustup'
        for architecture in $architectures; do
            timeout 300 rustup target add "$(target_of "$architecture")" </dev/null >&2 || true
        done
        has_targets && return 0
        say "rustup could not: using Debian's Rust, which builds the standard library from its own source"
    fi
    need_packages 'Rust for static binaries (or: rustup, with its musl targets)' rustc-web cargo-web rust-web-src
    debian_rust || fail "Debian's rustc-web is here, but not its source under $(/usr/bin/rustc --print sysroot)"
    rust=debian
}

debian_rust() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] &&
        [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std" ]
}

# One target folder for all checkouts: the dependencies stay built.
zigbuild() {
    export CARGO_TARGET_DIR="$DL_CACHE/target" CARGO_ZIGBUILD_CACHE_DIR="$DL_CACHE/zig-cache"
    export ZIG_GLOBAL_CACHE_DIR="$DL_CACHE/zig-cache/zig"
    case $rust in
        rustup) PATH=$zig_tools/bin:$PATH cargo zigbuild "$@" ;;
        debian)
            PATH=$zig_tools/bin:/usr/bin:$PATH RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1 \
                RUSTFLAGS='-C target-feature=+crt-static -C link-self-contained=no' \
                /usr/bin/cargo zigbuild -Z build-std=std,panic_abort "$@"
            ;;
    esac
}

build_one() {
    target=$(target_of "$1")
    say "building dl-entry for $1 (the first time: some minutes)"
    (zigbuild --locked --release --bin dl-entry --target "$target" </dev/null) || fail "cannot build for $target"
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
