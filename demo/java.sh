# Java 24 or newer, for Trino: found, or unpacked beside the other downloads. Sourced by ./dl.

java_wanted=24
debian_keys=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the major version of a java, or nothing.
java_version() {
    "$1" -version 2>&1 </dev/null | sed -n '1s/[^"]*"\([0-9]*\).*/\1/p'
}

# find_java: sets $java to the first that is new enough: JAVA_HOME, PATH, /usr/lib/jvm, the one unpacked here.
find_java() {
    for java in "${JAVA_HOME:-/nowhere}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java \
        "$reachable/java-25/home/bin/java"; do
        [ -x "$java" ] && others_reach "$java" || continue
        version=$(java_version "$java")
        [ "${version:-0}" -ge $java_wanted ] && java=$(readlink -f "$java") && return 0
    done
    return 1
}

# On a Debian that has Java 25 it is a package; on an older one, Debian 13's is unpacked with the C library it needs,
# and the system's own libraries are left alone.
fetch_java() {
    need_tools='install a JDK or JRE, 24 or newer, and name it in JAVA_HOME'
    have apt-get && have dpkg-deb || fail "Trino needs Java $java_wanted or newer: $need_tools"
    if is_root && apt-cache policy openjdk-25-jre-headless 2>/dev/null | grep -q 'Candidate: [0-9]'; then
        need_packages 'Trino' openjdk-25-jre-headless
    else
        unpack_java
    fi
    find_java || fail "Trino needs Java $java_wanted or newer, and the one just unpacked does not run: $need_tools"
}

unpack_java() {
    say "Java $java_wanted or newer is not here: unpacking Debian 13's OpenJDK 25 under $reachable (60 MB)"
    apt_folder=$partial/apt
    mkdir -p "$apt_folder/lists/partial" "$apt_folder/cache/archives/partial" "$apt_folder/debs"
    trixie_source debian trixie >"$apt_folder/trixie.sources"
    trixie_source debian-security trixie-security >>"$apt_folder/trixie.sources"
    apt_trixie update || fail "cannot read Debian 13's package lists: is the network reachable? (lines above)"
    (cd "$apt_folder/debs" &&
        apt_trixie download openjdk-25-jre-headless libc6 libgcc-s1 libstdc++6 zlib1g patchelf) ||
        fail "cannot download Debian 13's OpenJDK 25: is the network reachable? (lines above)"
    rm -rf "$reachable/java-25" "$reachable/.java-25"
    mkdir -p "$reachable/.java-25"
    for package in "$apt_folder"/debs/*.deb; do
        dpkg-deb -x "$package" "$reachable/.java-25" || fail "cannot unpack $package"
    done
    mv "$reachable/.java-25" "$reachable/java-25"
    settle_java "$reachable/java-25"
    # Only now is it found: an interrupted run leaves no Java that half works.
    ln -s usr/lib/jvm/java-25-openjdk-* "$reachable/java-25/home"
}

# trixie_source ARCHIVE SUITE: an entry for apt, of the mirror this machine uses already; apt checks the signatures.
trixie_source() {
    [ -e "$debian_keys" ] || need_packages "using Debian's packages" debian-archive-keyring
    mirror=${DL_DEBIAN_MIRROR:+${DL_DEBIAN_MIRROR%/}/$1}
    [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        sed -n "s,^\(URIs:\|deb\) *\(\[.*\] *\)\?\([a-z]*://[^ ]*/$1\)/\?\( .*\)\?\$,\3,p" | head -n 1)
    [ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        sed -n 's,^\(URIs:\|deb\) *\(\[.*\] *\)\?\([a-z]*://[^ ]*\)/debian/\?\( .*\)\?$,\3/'"$1,p" | head -n 1)
    [ -n "$mirror" ] ||
        fail "no mirror of Debian is configured here: name one in DL_DEBIAN_MIRROR (the address before /$1), or install \
what is missing yourself (Java: $java_wanted or newer, in JAVA_HOME)"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$mirror" "$2"
    printf 'Signed-By: %s\n\n' "$debian_keys"
}

apt_trixie() {
    apt-get -q -o Dir::Etc::sourcelist="$apt_folder/trixie.sources" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$apt_folder/lists" -o Dir::Cache="$apt_folder/cache" -o APT::Sandbox::User= "$@" \
        </dev/null >&2
}

# Makes the unpacked tree stand on its own: links into /etc become links into the tree, and its programs use the
# tree's C library, whatever this system's is.
settle_java() {
    find "$1/usr/lib/jvm" -type l -lname '/etc/java-*' | while read -r link; do
        ln -sfn "$1$(readlink "$link")" "$link"
    done
    libraries=$(dirname "$(find "$1/usr/lib" -name 'libc.so.6')")
    loader=$(find "$libraries" -name 'ld-linux-*.so.*')
    for program in "$1"/usr/lib/jvm/java-25-openjdk-*/bin/* "$1"/usr/lib/jvm/java-25-openjdk-*/lib/jspawnhelper; do
        "$loader" --library-path "$libraries" "$1/usr/bin/patchelf" --set-interpreter "$loader" --force-rpath \
            --set-rpath "$libraries:$(dirname "$(dirname "$program")")/lib" "$program" ||
            fail "cannot make $program use $loader"
    done
    chmod -R go+rX,go-w "$1"
}
