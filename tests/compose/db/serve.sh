set -e
export PGDATA=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
if [ ! -s $PGDATA/PG_VERSION ]; then
    initdb --auth trust --no-sync --no-locale --encoding UTF8 >/dev/null
    echo "host all all all trust" >>$PGDATA/pg_hba.conf
    echo "CREATE TABLE visits (id serial PRIMARY KEY)" | postgres --single -E postgres >/dev/null
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories='' -c fsync=off
