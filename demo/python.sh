# Tools that PyPI carries, each set in a virtual environment of the cache. Sourced by ./dl.

# requirements NAME…: these packages of artifacts.tsv as pip reads them, with their checksums.
requirements() {
    for name; do
        printf '%s' "$(coordinate "$name")"
        for checksum in $(checksums "$name"); do printf ' --hash=sha256:%s' "$checksum"; done
        echo
    done
}

# python_tools FOLDER WHY NAME…: these packages of artifacts.tsv, in $DL_CACHE/FOLDER. The caller holds the cache's lock.
python_tools() {
    tools=$DL_CACHE/$1 why=$2
    shift 2
    wanted=$(for name; do coordinate "$name"; done)
    [ "$(cat "$tools/.wanted" 2>/dev/null)" != "$wanted" ] || return 0
    need_command "$why" python3 python3 python3-venv
    python3 -c 'import ensurepip' 2>/dev/null || need_packages 'a Python virtual environment' python3-venv
    say "installing $(echo $wanted) into the cache ($why)"
    requirements "$@" >"$partial/requirements.txt"
    rm -rf "$tools"
    python3 -m venv "$tools" || fail "python3 cannot make a virtual environment in $tools"
    "$tools/bin/pip" --quiet install --require-hashes --only-binary :all: -r "$partial/requirements.txt" \
        </dev/null >&2 || fail "pip could not install $(echo $wanted): is the network reachable? (lines above)"
    printf '%s\n' "$wanted" >"$tools/.wanted"
}

# python_library FOLDER WHY NAME…: the same packages by themselves in $DL_CACHE/FOLDER, for Debian's own Python, which
# every user can run. What they need beside them has a package of Debian.
python_library() {
    library=$DL_CACHE/$1 why=$2
    shift 2
    wanted=$(for name; do coordinate "$name"; done)
    [ "$(cat "$library/.sha256sums" 2>/dev/null)" != "$wanted" ] || return 0
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || need_packages "$why" python3 python3-venv
    say "installing $(echo $wanted) into the cache ($why)"
    requirements "$@" >"$partial/requirements.txt"
    rm -rf "$library" "$partial/pip"
    /usr/bin/python3 -m venv "$partial/pip" || fail "python3 cannot make a virtual environment in $partial"
    "$partial/pip/bin/pip" --quiet install --require-hashes --no-deps --only-binary :all: --target "$library" \
        -r "$partial/requirements.txt" </dev/null >&2 ||
        fail "pip could not install $(echo $wanted): is the network reachable? (lines above)"
    chmod -R a+rX "$library"
    # What share compares.
    printf '%s\n' "$wanted" >"$library/.sha256sums"
}
