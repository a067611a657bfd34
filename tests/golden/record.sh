#!/bin/sh
# Records frames.hex of the named cases (of all without a name) from a PostgreSQL server.
#
#   PGHOST=... PGUSER=... tests/golden/record.sh [CASE...]
#
# The server needs wal_level = logical and a role that may create databases and slots. What stands
# above the line `-- recorded` of a case's source.sql runs before its slot is made. Positions, times
# and ids differ each time: rewrite the expectations afterwards with
#   UPDATE_GOLDEN=1 cargo test --test hermetic golden::
set -eu
cd "$(dirname "$0")"
database=wal2graph_golden
slot=wal2graph_golden
export PGOPTIONS='-c timezone=UTC -c client_min_messages=warning'

run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "$database" "$@"; }

[ $# -gt 0 ] || set -- */
for case in "$@"; do
    case=${case%/}
    createdb --template template0 --encoding UTF8 "$database"
    sed '/^-- recorded$/,$d' "$case/source.sql" | run >/dev/null
    run --command "SELECT pg_create_logical_replication_slot('$slot', 'pgoutput')" >/dev/null
    sed '1,/^-- recorded$/d' "$case/source.sql" | run >/dev/null
    run --tuples-only --no-align --command "
        SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('$slot', NULL, NULL,
            'proto_version', '1', 'publication_names', 'golden', 'messages', 'true')
        " >"$case/frames.hex"
    run --command "SELECT pg_drop_replication_slot('$slot')" >/dev/null
    run --command "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin" >/dev/null
    dropdb "$database"
    echo "$case: $(wc -l <"$case/frames.hex") frames"
done
