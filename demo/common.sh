# What every command of ./dl shares: talking, the cache folder and its lock, Debian packages. Sourced, never run.

say() { printf '%s\n' "$*" >&2; }
fail() {
    printf 'dl: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

DL_CACHE=${DL_CACHE:-$HOME/.cache/datalyptica}
case $DL_CACHE in /*) ;; *) DL_CACHE=$PWD/$DL_CACHE ;; esac
partial=$DL_CACHE/.partial

# One run at a time changes the cache; descriptor 9 holds the lock until unlock_cache or the end of the run.
lock_cache() {
    mkdir -p "$DL_CACHE" || fail "cannot create the cache folder $DL_CACHE; set DL_CACHE to a folder you can write"
    exec 9>"$DL_CACHE/.lock"
    flock -n 9 || {
        say "another ./dl is filling $DL_CACHE: waiting for it"
        flock 9
    }
    # What an interrupted run left: nobody else is at work while we hold the lock.
    rm -rf "$partial"
    mkdir -p "$partial"
}

unlock_cache() {
    rm -rf "$partial"
    exec 9>&-
}

# need_packages WHY PACKAGE…: installs Debian packages that are missing.
need_packages() {
    why=$1
    shift
    missing=
    for package; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    have apt-get || fail "$why needs what Debian calls$missing; install them with this system's package manager"
    is_root || fail "$why needs these packages: sudo apt-get install$missing"
    say "installing$missing ($why)"
    apt-get -q -o DPkg::Lock::Timeout=300 update >&2 ||
        say "apt-get update failed; trying with the package lists that are here"
    # Nothing may start by itself, a database least of all.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -q -y -o DPkg::Lock::Timeout=300 install \
        --no-install-recommends $missing </dev/null >&2 || fail "apt-get could not install$missing"
}

# need_command WHY COMMAND PACKAGE…
need_command() {
    have "$2" && return 0
    why=$1
    shift 2
    need_packages "$why" "$@"
}

# need_space FOLDER MIB WHY
need_space() {
    folder=$1
    while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pm "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$2" ] || fail "$3 needs $2 MiB free under $1, where $free MiB are left"
}

seconds_since() { echo $(($(date +%s) - $1)); }
