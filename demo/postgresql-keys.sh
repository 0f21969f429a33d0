#!/bin/bash
# Writes services/postgresql/keys.tsv from real servers: a folder with initdb and postgres for each version.
#
#     demo/postgresql-keys.sh 15=/usr/lib/postgresql/15/bin 16=… 17=… 18=… >services/postgresql/keys.tsv
#
# `postgres --describe-config` has neither units nor the words of an enum, so pg_settings of a server in single-user
# mode is asked, and --describe-config for what only it lists. PostgreSQL does not start as root: run it as another user.
set -euo pipefail

# What a server has only where it was built with a library.
readonly OPTIONAL='
io_method io_uring
wal_compression lz4|zstd
default_toast_compression lz4
'
# Parameters that are gone, and what to write instead.
readonly GONE='
checkpoint_segments use max_wal_size
db_user_namespace drop it: user names are those of the whole cluster
default_with_oids drop it: tables have no OIDs any more
force_parallel_mode use debug_parallel_query
old_snapshot_threshold drop it: it was removed
operator_precedence_warning drop it: it was removed
promote_trigger_file drop it: use pg_ctl promote or pg_promote()
replacement_sort_tuples drop it: it was removed
sql_inheritance drop it: it is always on
ssl_renegotiation_limit drop it: it was removed
standby_mode use the file standby.signal
stats_temp_directory drop it: statistics are in shared memory
trace_recovery_messages drop it: use log_min_messages
trigger_file drop it: use pg_ctl promote or pg_promote()
unix_socket_directory use unix_socket_directories
vacuum_defer_cleanup_age drop it: use hot_standby_feedback and replication slots
wal_keep_segments use wal_keep_size
'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# name, type, unit, smallest, largest, words, context.
settings_of() { # version bin
    "$2/initdb" -D "$scratch/$1" -U postgres --auth=reject --no-locale -E UTF8 -N >"$scratch/log" 2>&1 \
        || { cat "$scratch/log" >&2; return 1; }
    "$2/postgres" --single -D "$scratch/$1" postgres >"$scratch/log" 2>&1 <<SQL
COPY (SELECT name, vartype, coalesce(unit, ''), coalesce(min_val, ''), coalesce(max_val, ''), coalesce(array_to_string(enumvals, '|'), ''), context FROM pg_settings WHERE name !~ '[.]') TO '$scratch/$1.tsv'
SQL
    "$2/postgres" --describe-config | cut -f1 >"$scratch/$1.described"
}

versions=()
for pair in "$@"; do
    versions+=("${pair%%=*}")
    settings_of "${pair%%=*}" "${pair#*=}"
done

cat <<'HEADER'
# Parameters of postgresql.conf. Made by demo/postgresql-keys.sh from pg_settings and `postgres --describe-config` of
# each version. The value is its type, with the unit of a bare number, the smallest and the largest. Names are in lower case.
HEADER
(IFS=$'\t'; printf 'key\t%s\tnote\tvalue\n' "${versions[*]}")
awk -F '\t' -v versions="${versions[*]}" -v folder="$scratch" -v optional="$OPTIONAL" -v gone="$GONE" '
    function wider(name, low, high) {
        if (!(name in least) || low + 0 < least[name] + 0) least[name] = low
        if (!(name in most) || high + 0 > most[name] + 0) most[name] = high
    }
    BEGIN {
        OFS = "\t"
        count = split(versions, version, " ")
        for (v = 1; v <= count; v++) {
            while ((getline <(folder "/" version[v] ".tsv")) > 0) {
                name = tolower($1)
                # Nobody can set those.
                if ($7 == "internal") { internal[name]; continue }
                known[name]; has[name, version[v]] = "+"; type[name] = $2; unit[name] = $3; words[name] = $6
                if ($4 != "") wider(name, $4, $5)
            }
            while ((getline <(folder "/" version[v] ".described")) > 0) {
                name = tolower($1)
                if (!(name in internal)) { known[name]; has[name, version[v]] = "+" }
            }
        }
        lines = split(optional, line, "\n")
        for (l = 1; l <= lines; l++) if (split(line[l], part, " ") == 2 && index("|" words[part[1]] "|", "|" part[2] "|") == 0 && part[1] in known) {
            names = split(part[2], one, "|")
            for (n = 1; n <= names; n++) if (index("|" words[part[1]] "|", "|" one[n] "|") == 0) words[part[1]] = words[part[1]] "|" one[n]
        }
        lines = split(gone, line, "\n")
        for (l = 1; l <= lines; l++) if ((at = index(line[l], " ")) > 0) {
            name = substr(line[l], 1, at - 1)
            note[name] = substr(line[l], at + 1)
            known[name]
        }
        for (name in known) {
            cells = ""
            for (v = 1; v <= count; v++) {
                cell = (name, version[v]) in has ? has[name, version[v]] : "-"
                cells = cells cell OFS
            }
            value = type[name] == "enum" ? "enum " words[name] : type[name]
            if (name in least && type[name] != "bool") value = type[name] (unit[name] == "" ? "" : ":" unit[name]) " " least[name] " " most[name]
            if (value == "string") value = ""
            print name, cells note[name], value
        }
    }' | LC_ALL=C sort
for key in include include_dir include_if_exists '*.*'; do
    printf '%s%s\t\t\n' "$key" "$(printf '\t+%.0s' "${versions[@]}")"
done
