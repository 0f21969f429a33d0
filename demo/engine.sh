# A Docker engine for the tests in containers, and the root file system their images are made from. Sourced by ./dl.
#
# An engine that runs here already is used. Otherwise, as root, one is started for this run alone: its socket, data and
# state are its own, it has no network and changes no firewall rule, and all of it is gone when ./dl ends.

engine_ready_within=60 # seconds
engine_stopped_within=30

# find_engine: sets $engine_socket; where there is no engine and none can be started, says in $no_engine why.
find_engine() {
    no_engine=
    case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
        unix://*) engine_socket=${DOCKER_HOST:-unix:///var/run/docker.sock} ;;
        *) engine_socket=unix:///var/run/docker.sock ;;
    esac
    engine_socket=${engine_socket#unix://}
    engine_answers || start_engine
}

engine_answers() {
    [ -S "$engine_socket" ] &&
        [ "$(curl -s --max-time 5 --unix-socket "$engine_socket" http://engine/_ping)" = OK ]
}

start_engine() {
    if ! is_root; then
        no_engine="no Docker engine answers on $engine_socket, and only root can start one"
        return 1
    fi
    need_command 'the tests in containers' dockerd docker.io
    engine_folder=$(mktemp -d /var/tmp/datalyptica-engine.XXXXXX) || fail 'cannot make a folder in /var/tmp'
    engine_socket=$engine_folder/socket
    say "starting a Docker engine for this run, in $engine_folder"
    trap stop_engine EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    dockerd --host "unix://$engine_socket" --data-root "$engine_folder/data" --exec-root "$engine_folder/run" \
        --pidfile "$engine_folder/pid" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
        --userland-proxy=false --init-path "$(command -v docker-init || command -v tini-static || echo docker-init)" \
        --shutdown-timeout 5 </dev/null >"$engine_folder/log" 2>&1 9>&- &
    engine_pid=$!
    await_engine && return 0
    complaint=$(grep -E 'level=(error|fatal)|^failed|^Error' "$engine_folder/log" | tail -n 1)
    no_engine="dockerd does not start here: ${complaint:-no answer within $engine_ready_within s}"
    stop_engine
    return 1
}

await_engine() {
    engine_deadline=$(($(date +%s) + engine_ready_within))
    while kill -0 "$engine_pid" 2>/dev/null && [ "$(date +%s)" -lt "$engine_deadline" ]; do
        engine_answers && return 0
        sleep 0.2
    done
    return 1
}

# Ends the engine this run started, if it did, and leaves nothing of it.
stop_engine() {
    [ -n "${engine_folder:-}" ] || return 0
    kill "$engine_pid" 2>/dev/null || true
    engine_deadline=$(($(date +%s) + engine_stopped_within))
    while kill -0 "$engine_pid" 2>/dev/null; do
        [ "$(date +%s)" -lt "$engine_deadline" ] || kill -9 "$engine_pid" 2>/dev/null || true
        sleep 0.2
    done
    # What a killed engine leaves mounted keeps its folder from being removed.
    awk -v below="$engine_folder/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r |
        while read -r mounted; do umount -l "$mounted" 2>/dev/null || true; done
    rm -rf --one-file-system "$engine_folder" || say "cannot remove all of $engine_folder"
    engine_folder=
}

# A minimal Debian as an archive, made once; the tests make an image of it.
container_root=$DL_CACHE/container-root.tar

prepare_container_root() {
    [ ! -s "$container_root" ] || return 0
    need_command 'the root file system of the tests in containers' mmdebstrap mmdebstrap
    say "making the root file system of the tests in containers: a minute or two, once"
    started=$(date +%s)
    lock_cache
    if [ -s "$container_root" ]; then # made while we waited
        unlock_cache
        return 0
    fi
    trixie_source debian trixie >"$partial/trixie.sources"
    mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        trixie "$partial/container-root.tar" "$partial/trixie.sources" </dev/null >&2 ||
        fail 'mmdebstrap could not make a root file system: is the network reachable? (lines above)'
    mv "$partial/container-root.tar" "$container_root"
    unlock_cache
    say "  $(($(wc -c <"$container_root") / 1000000)) MB in $(seconds_since "$started") s"
}
