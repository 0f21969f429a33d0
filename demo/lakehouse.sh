# The demo: MinIO, Nessie and Trino on loopback, each under dl-entry with an env file of this folder. Sourced by ./dl.

demo_memory=2500 # MiB that must be available
demo_disk=1500   # MiB that must be free for the state
# Port and whose it is: as in the env files, and dl-entry's own health endpoints.
demo_ports='9010=MinIO 9011=MinIO-console 19120=Nessie 19121=Nessie-management 8085=Trino
    9191=health-of-minio 9192=health-of-nessie 9193=health-of-trino'
ready_within=180 # seconds, each service
stopped_within=90

demo() {
    once=no
    case ${1:-} in
        '') ;;
        --once) once=yes ;;
        *) fail "unknown option of demo: $1 (there is --once)" ;;
    esac
    demo_began=$(date +%s)
    check_memory
    check_ports
    choose_state
    prepare_demo
    running=
    trap 'stop_services; exit 130' INT
    trap 'stop_services; exit 143' TERM HUP
    trap stop_services EXIT
    start_minio
    start_nessie
    start_trino
    ask_question
    print_summary
    [ "$once" = yes ] || stay_up
    stop_services
    trap - EXIT
    [ "$rows_right" = yes ] || fail "the rows are not those of demo/answer.txt"
}

# --- before anything starts -------------------------------------------------------------------------------------------

check_memory() {
    available=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
    for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        bytes=$(cat "$limit" 2>/dev/null || echo max)
        [ "$bytes" != max ] && [ "${#bytes}" -lt 16 ] || continue
        [ $((bytes / 1048576)) -ge "$available" ] || available=$((bytes / 1048576))
    done
    [ "$available" -ge $demo_memory ] ||
        fail "the demo needs $demo_memory MiB of memory (Trino 1 GiB of heap, Nessie half), and $available MiB are \
available"
}

listening() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { sub(".*:", "", $2); print $2 }'
}

check_ports() {
    taken=$(listening)
    busy=
    for entry in $demo_ports; do
        port=${entry%%=*}
        printf '%s\n' "$taken" | grep -qix "$(printf '%04X' "$port")" && busy="$busy $port (${entry#*=})"
    done
    [ -z "$busy" ] ||
        fail "ports the demo needs are in use:$busy; is another demo running? (ss -ltnp names who listens)"
}

# All state in one folder that the services' user can reach.
choose_state() {
    states=${XDG_STATE_HOME:-$HOME/.local/state}
    is_root && states=/var/tmp
    state=${DL_DEMO_STATE:-$states/datalyptica-demo}
    mkdir -p "$state" || fail "cannot create $state; set DL_DEMO_STATE to a folder you can write"
    # The link's owner, where it is a link: /var/tmp is everybody's.
    [ "$(stat -c %u "$state")" = "$(id -u)" ] && [ -O "$state" ] ||
        fail "$state belongs to someone else; set DL_DEMO_STATE to a folder of your own"
    state=$(cd "$state" && pwd -P)
    chmod 755 "$state"
    others_reach "$state" ||
        fail "the services run as uid 1000, who cannot reach $state; set DL_DEMO_STATE to a folder every user can enter"
    need_space "$state" $demo_disk "the demo's state"
}

prepare_demo() {
    phase 'preparing'
    fetch_everything
    share bin/minio "${trino_server##*/}" "${nessie_jar##*/}"
    [ "$native" != unknown ] || fail "dl-entry is built for x86_64 and aarch64; this machine is $(uname -m)"
    build "$native"
    mkdir -p "$state/bin" "$state/logs" "$state/data/minio" "$state/data/nessie" "$state/data/trino"
    for service in minio nessie trino; do mkdir -p "$state/run/$service"; done
    # A copy, so that a build does not change the program of a running demo.
    cp "dist/$native/dl-entry" "$state/bin/.dl-entry"
    mv "$state/bin/.dl-entry" "$state/bin/dl-entry"
    entry=$state/bin/dl-entry
    is_root && chown -R 1000:1000 "$state/data" "$state/run"
    java_home=$(dirname "$(dirname "$java")")
    phase_done
}

# --- the services -----------------------------------------------------------------------------------------------------

start_minio() {
    start minio 9191 MINIO_BINARY="$reachable/bin/minio" MINIO_DATA_DIR="$state/data/minio"
}

start_nessie() {
    start nessie 9192 JAVA_HOME="$java_home" NESSIE_JAR="$reachable/${nessie_jar##*/}" \
        NESSIE_VERSION_STORE_PERSIST_ROCKS_DATABASE_PATH="$state/data/nessie"
}

start_trino() {
    start trino 9193 JAVA_HOME="$java_home" TRINO_HOME="$reachable/${trino_server##*/}" \
        TRINO_NODE_DATA_DIR="$state/data/trino"
}

# start SERVICE HEALTH_PORT NAME=VALUE…: under dl-entry, with its env file and nothing else of our environment, in a
# session of its own (Ctrl-C is ours to pass on, in order).
start() {
    service=$1 health=127.0.0.1:$2
    shift 2
    phase "starting $service"
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) ;; *) set -- "$@" "$line" ;; esac
    done <"demo/$service.env"
    log=$state/logs/$service.log
    setsid env -i PATH=/usr/local/bin:/usr/bin:/bin "$@" DL_RUN_DIR="$state/run/$service" DL_HEALTH_ADDR="$health" \
        "$entry" run --service "$service" </dev/null >"$log" 2>&1 &
    pid=$!
    running="$service=$pid $running"
    await_ready
    phase_done
}

await_ready() {
    deadline=$(($(date +%s) + ready_within))
    until DL_HEALTH_ADDR=$health "$entry" health ready >/dev/null 2>&1; do
        if ! kill -0 "$pid" 2>/dev/null; then
            status=0
            wait "$pid" || status=$?
            give_up "$service ended with status $status before it was ready"
        fi
        [ "$(date +%s)" -lt $deadline ] || give_up "$service was not ready within $ready_within s"
        sleep 0.2
    done
}

give_up() {
    say "--- the end of $log"
    tail -n 25 "$log" >&2
    say "---"
    fail "$1; its log is $log"
}

# In the reverse order of starting; each gets SIGTERM and its time. A second Ctrl-C must not leave one of them behind.
stop_services() {
    trap '' INT TERM HUP
    for entry_of in $running; do
        running=${running#* }
        pid=${entry_of#*=}
        phase "stopping ${entry_of%%=*}"
        kill -TERM "$pid" 2>/dev/null || true
        stop_deadline=$(($(date +%s) + stopped_within))
        while kill -0 "$pid" 2>/dev/null && [ "$(date +%s)" -lt $stop_deadline ]; do sleep 0.1; done
        if kill -0 "$pid" 2>/dev/null; then
            say "${entry_of%%=*} did not stop within $stopped_within s: killing it"
            kill -KILL "$pid" 2>/dev/null || true
        fi
        status=0
        wait "$pid" 2>/dev/null || status=$?
        phase_done "status $status"
    done
}

# --- the question -----------------------------------------------------------------------------------------------------

trino_shell() {
    "$java" --enable-native-access=ALL-UNNAMED -Dorg.jline.terminal.dumb=true -jar "$trino_cli" \
        --server http://127.0.0.1:8085 --user demo "$@" </dev/null 2>>"$state/logs/cli.log"
}

ask_question() {
    phase 'creating an Iceberg table and filling it'
    trino_shell --file demo/fill.sql >"$state/logs/fill.log" || {
        tail -n 25 "$state/logs/cli.log" >&2
        fail "Trino could not create and fill the table (lines above)"
    }
    phase_done
    phase 'asking Trino'
    rows_right=no
    trino_shell --output-format ALIGNED --file demo/question.sql >"$state/answer.txt" ||
        { tail -n 25 "$state/logs/cli.log" >&2 && fail "Trino could not answer (lines above)"; }
    phase_done
    cat demo/question.sql "$state/answer.txt"
    diff demo/answer.txt "$state/answer.txt" >&2 && rows_right=yes
    return 0
}

print_summary() {
    cat <<EOF

Trino    http://127.0.0.1:8085/ui/   any user name, no password
Nessie   http://127.0.0.1:19120/
MinIO    http://127.0.0.1:9011/      user demo, password only-for-the-loopback-demo

State and logs are in $state. Ready after $(seconds_since "$demo_began") s:
$timings
EOF
}

stay_up() {
    say 'Up until Ctrl-C.'
    while [ "$(echo $running | wc -w)" = 3 ]; do
        for entry_of in $running; do
            kill -0 "${entry_of#*=}" 2>/dev/null && continue
            fail "${entry_of%%=*} has ended; its log is $state/logs/${entry_of%%=*}.log"
        done
        sleep 1 &
        wait $! || true
    done
}

# --- how long things take ---------------------------------------------------------------------------------------------

milliseconds() { date +%s%3N; }
timings=

phase() {
    phase_name=$1 phase_began=$(milliseconds)
    say "$phase_name …"
}

phase_done() {
    took=$(awk -v from="$phase_began" -v to="$(milliseconds)" 'BEGIN { printf "%6.1f s", (to - from) / 1000 }')
    say "  $phase_name: $took${1:+, $1}"
    timings="$timings  $took  $phase_name
"
}
