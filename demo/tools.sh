# Programs from crates.io that the tests use, each built once. Sourced by ./dl.

# cargo_tool NAME VERSION WHY: leaves $DL_CACHE/tools/NAME-VERSION/bin.
cargo_tool() {
    tool=$1-$2
    [ ! -d "$DL_CACHE/tools/$tool/bin" ] || return 0
    say "building $1 $2 from crates.io ($3): a minute or two, once"
    lock_cache
    CARGO_TARGET_DIR="$partial/target" cargo install --quiet --locked --root "$partial/$tool" "$1@$2" </dev/null >&2 ||
        fail "cargo could not install $1 (lines above)"
    mkdir -p "$DL_CACHE/tools"
    rm -rf "$DL_CACHE/tools/$tool"
    mv "$partial/$tool" "$DL_CACHE/tools/$tool"
    unlock_cache
}
