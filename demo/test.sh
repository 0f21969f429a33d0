# Everything there is to check. Sourced by ./dl.

fuzz_inputs=50000 # for each target

test_everything() {
    containers=yes
    case ${1:-} in
        '') ;;
        --without-containers) containers=no ;;
        *) fail "unknown option of test: $1 (there is --without-containers; CONTRIBUTING.md says how to run one test)" ;;
    esac
    is_root ||
        fail 'the tests mount, change users and make PID namespaces: run them as root (in a container, if you like)'
    [ -d "$DL_CACHE/target" ] || need_space "$DL_CACHE" 8000 'building everything the tests use'
    took=
    part 'downloads' fetch_for_tests
    share bin/minio "${trino_server##*/}" "${nessie_jar##*/}" "${trino_cli##*/}" "${spark##*/}" \
        patroni
    part 'packages' prepare_packages
    part 'static binary' build "$native"
    prepare_host_rust
    part 'peers' prepare_peers
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$DL_CACHE/target}" DL_CACHE
    claim_target "$CARGO_TARGET_DIR"
    part 'format and lints' check_style
    # The tests run the static binary, and the services from where their user can read them.
    export DL_ENTRY="$PWD/dist/$native/dl-entry" DL_ARTIFACTS="$reachable" DL_JAVA="$java"
    JAVA_HOME=$(dirname "$(dirname "$java")")
    export JAVA_HOME
    part 'real environments' check_real_environments
    [ $containers = no ] || part 'containers' check_in_containers
    part 'fuzzing' fuzz_again $fuzz_inputs
    # Before the tests, whose runner has the last word.
    say "took:$took"
    [ $containers = yes ] || say 'the tests in containers are left out'
    cargo test --locked --no-fail-fast </dev/null || fail 'a test failed (lines above)'
}

# part NAME COMMAND…: what it took is said before the tests.
part() {
    part_name=$1
    part_started=$(date +%s)
    shift
    "$@"
    took="$took $part_name $(seconds_since "$part_started") s,"
}

prepare_packages() {
    need_command 'compiling the Java readers, and running Spark' javac default-jdk-headless
    need_command 'compiling native code' cc gcc libc6-dev
    need_command 'checking the shell' shellcheck shellcheck
    need_command 'calling the services' curl curl
    need_packages 'the services the tests wait for, and a YAML reader' postgresql etcd-server python3-yaml \
        python3-etcd
}

# Cargo, its formatter and its linter: those in PATH, or Debian's.
prepare_host_rust() {
    host_rust_is_whole && return 0
    need_packages "Rust 1.$rust_wanted or newer (or: rustup)" rustc-web cargo-web rustfmt-web rust-web-clippy
    PATH=/usr/bin:$PATH
    host_rust_is_whole ||
        fail "the Rust of this machine is older than 1.$rust_wanted or lacks cargo fmt or cargo clippy"
}

host_rust_is_whole() {
    rust_is_recent cargo && cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
}

# The programs dl-entry is compared with.
prepare_peers() {
    need_packages 'the programs dl-entry is compared with' tini dumb-init catatonit gosu util-linux
    cargo_tool pid1-exe 0.1.6 'compared with dl-entry'
    cargo_tool horust 0.1.14 'compared with dl-entry'
    PATH=$PATH:/usr/sbin:$DL_CACHE/tools/pid1-exe-0.1.6/bin:$DL_CACHE/tools/horust-0.1.14/bin
}

check_style() {
    say 'format and lints'
    shellcheck -x dl .ci/run >&2 || fail 'shellcheck has complaints (lines above)'
    cargo fmt --check >&2 || fail 'not formatted: run cargo fmt'
    cargo clippy --locked --all-targets --test containers --test environments -- -D warnings </dev/null >&2 ||
        fail 'clippy has complaints (lines above)'
}

# The verdicts on environments people really use, where those are at hand: they are not part of the project.
check_real_environments() {
    [ -z "${DL_ENVIRONMENTS:-}" ] || verdicts='every_verdict_is_the_committed_one'
    [ -z "${DL_FIELD:-}" ] || verdicts="${verdicts:-} every_input_from_the_field_is_judged_as_committed"
    if [ -z "${verdicts:-}" ]; then
        say 'the verdicts on real environments are not checked: DL_ENVIRONMENTS and DL_FIELD name none'
        return
    fi
    # shellcheck disable=SC2086
    cargo test --locked --test environments -- $verdicts </dev/null ||
        fail 'a verdict on a real environment is not the committed one (lines above)'
}

# The tests that need a Docker engine.
check_in_containers() {
    find_engine || fail "the tests in containers need a Docker engine, and $no_engine; ./dl test --without-containers \
leaves them out"
    prepare_container_root
    DOCKER_HOST="unix://$engine_socket" DL_CONTAINER_ROOT="$container_root" \
        cargo test --locked --test containers </dev/null || fail 'a test in a container failed (lines above)'
    remove_test_images
    stop_engine
}

# An engine that was here before keeps nothing of ours.
remove_test_images() {
    for image in dl-entry-test dl-entry-test-root; do
        curl -s -X DELETE --unix-socket "$engine_socket" "http://engine/images/$image:1?force=true" >/dev/null ||
            say "cannot remove the image $image:1 from the engine"
    done
}
