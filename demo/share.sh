# Where a service's own user can read what was downloaded. Sourced by ./dl.
#
# Started by root, a service runs as uid 1000, and root's home is closed to it. Then everything is linked (not copied,
# where the file system allows) into a folder of ours that others can read; nobody's home changes its mode.

# others_reach FILE: can a user who is nobody's friend read it and enter every folder above it?
others_reach() {
    is_root || return 0
    place=$(readlink -f "$1") || return 1
    while [ "$place" != / ]; do
        case $(stat -c %A "$place") in
            d????????[xt]) ;;
            -??????r??) ;;
            *) return 1 ;;
        esac
        place=$(dirname "$place")
    done
}

choose_reachable() {
    reachable=$DL_CACHE
    mkdir -p "$DL_CACHE" || fail "cannot create the cache folder $DL_CACHE; set DL_CACHE to a folder you can write"
    others_reach "$DL_CACHE" && return 0
    reachable=/var/tmp/datalyptica
    mkdir -p -m 755 "$reachable" && [ -O "$reachable" ] && [ ! -L "$reachable" ] ||
        fail "$reachable belongs to someone else; set DL_CACHE to a folder that every user can read"
}

# share NAME…: these entries of the cache, readable by the services.
share() {
    [ "$reachable" != "$DL_CACHE" ] || return 0
    lock_cache
    for name; do
        same_file "$DL_CACHE/$name" "$reachable/$name" && continue
        mkdir -p "$(dirname "$reachable/$name")"
        rm -rf "$reachable/$name" "$reachable/$name.new"
        cp -al "$DL_CACHE/$name" "$reachable/$name.new" 2>/dev/null ||
            { rm -rf "$reachable/$name.new" && cp -a "$DL_CACHE/$name" "$reachable/$name.new"; } ||
            fail "cannot copy $DL_CACHE/$name to $reachable"
        mv "$reachable/$name.new" "$reachable/$name"
    done
    unlock_cache
}

# The same inode, or (on another file system) the same content; for a folder, its list of checksums.
same_file() {
    one=$1 other=$2
    [ ! -d "$1" ] || one=$1/.sha256sums other=$2/.sha256sums
    [ "$one" -ef "$other" ] || cmp -s "$one" "$other"
}
