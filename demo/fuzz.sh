# Coverage-guided fuzzing of what reads other people's bytes: fuzz/fuzz_targets. Sourced by ./dl.

fuzz_tool=0.13.2 # cargo-fuzz

# fuzz [SECONDS]: every target for that long. What makes one fail is kept in fuzz/artifacts, what was learned in the
# cache.
fuzz() {
    fuzz_seconds=${1:-60}
    case $fuzz_seconds in *[!0-9]* | '') fail "fuzz takes a number of seconds, not $fuzz_seconds" ;; esac
    prepare_fuzzing
    for target in $(cargo_fuzz list); do
        corpus=$DL_CACHE/fuzz-corpus/$target
        fuzz_one "$target" -max_total_time="$fuzz_seconds"
    done
}

prepare_fuzzing() {
    need_command 'compiling libFuzzer' c++ g++
    prepare_host_rust
    cargo_tool cargo-fuzz $fuzz_tool 'fuzzing'
    say 'building the fuzz targets (the first time: some minutes)'
    cargo_fuzz build || fail 'the fuzz targets do not build (lines above)'
}

# fuzz_again INPUTS: so many for every target, the same each time, from the seeds alone: a test does not fail by chance.
# `./dl fuzz` looks for more.
fuzz_again() {
    prepare_fuzzing
    for target in $(cargo_fuzz list); do
        corpus=$DL_CACHE/fuzz-again/$target
        rm -rf "$corpus"
        fuzz_one "$target" -seed=1 -runs="$1"
    done
}

# fuzz_one TARGET OPTION…: with $corpus as its corpus.
fuzz_one() {
    target=$1
    shift
    say "fuzzing $target ($*)"
    mkdir -p "$corpus"
    cargo_fuzz run "$target" "$corpus" "fuzz/seeds/$target" -- "$@" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 </dev/null >"$corpus.log" 2>&1 || {
        tail -n 40 "$corpus.log" >&2
        fail "fuzzing $target found a failure: its input is in fuzz/artifacts/$target"
    }
    sed -n 's/^stat::number_of_executed_units: */  runs: /p' "$corpus.log" >&2
}

# cargo-fuzz is a nightly's; without a sanitizer (there is no unsafe code in what is fuzzed) a stable Rust will do.
cargo_fuzz() {
    subcommand=$1
    shift
    claim_target "$DL_CACHE/fuzz-target"
    options=
    [ "$subcommand" = list ] || options='--sanitizer none'
    # shellcheck disable=SC2086
    PATH="$DL_CACHE/tools/cargo-fuzz-$fuzz_tool/bin:$PATH" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$DL_CACHE/fuzz-target" \
        cargo fuzz "$subcommand" $options "$@"
}
