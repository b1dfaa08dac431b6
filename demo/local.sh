#!/usr/bin/env bash
# The pipeline without a cluster, on a throw-away PostgreSQL: one release is applied, two are stopped.
set -euo pipefail
demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$demo/.." && pwd)
source "$demo/narrate.sh"
drydock=${DRYDOCK:-$root/target/release/drydock}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$root/tests/lab/lab" postgres install 18
postgres=$(readlink -f "${XDG_CACHE_HOME:-$HOME/.cache}/drydock-lab/postgres")
python=$("$root/tests/projects/python")
mkdir -p "$folder/bin"
ln -s "$drydock" "$folder/bin/drydock"
export PATH=$folder/bin:$python:$PATH PYTHONDONTWRITEBYTECODE=1

chapter "Without a cluster: a throw-away PostgreSQL 18, and orders v1 with 1,000 orders"
# The server ends when this script does, however that happens: it reads the pipe that dies with it.
server=$(mktemp -d)
chmod 755 "$server"
port=$((20000 + RANDOM % 10000))
printf '%s\n' "listen_addresses = '127.0.0.1'" "unix_socket_directories = ''" "fsync = off" >"$server/postgresql.conf"
printf '%s\n' "host all postgres 127.0.0.1/32 trust" "host all all 127.0.0.1/32 scram-sha-256" >"$server/pg_hba.conf"
coproc SERVER { exec "$root/tests/lab/postgres-server.sh" "$postgres/18/bin" "$server"; }
echo "start $port" >&"${SERVER[1]}"
read -r answer <&"${SERVER[0]}"
[[ $answer == ok ]] || wrong "PostgreSQL did not start"
admin=postgresql://postgres@127.0.0.1:$port
psql -qX "$admin/postgres" -c "CREATE ROLE orders LOGIN PASSWORD 'high-and-dry'" -c "CREATE DATABASE orders OWNER orders"
export DATABASE_URL=postgresql+psycopg://orders:high-and-dry@127.0.0.1:$port/orders
ask() { psql -qXAt "$admin/orders" -c "$1"; }
dump() { "$postgres/client/bin/pg_dump" --restrict-key=demo "$admin/orders"; }

release() {
  cd /
  rm -rf "$folder/app"
  "$root/examples/orders/assemble" "$1" "$folder/app"
  cd "$folder/app"
}

release v1
command_line "export DATABASE_URL=$DATABASE_URL"
alembic -q upgrade head 2>/dev/null
[[ $(ask 'SELECT count(*) FROM orders') == 1000 ]] || wrong "v1 could not be migrated"

chapter "orders v2, a good release: five revisions add orders.currency"
release v2
ends 0 drydock run --yes -- alembic upgrade head
[[ $(ask 'SELECT version_num FROM alembic_version') == 0006 ]] || wrong "v2 was not applied"
good "applied: $(ask "SELECT string_agg(n || ' orders in ' || currency, ', ' ORDER BY currency) FROM (SELECT currency, count(*) AS n FROM orders GROUP BY 1) AS c")"

stopped() {
  release "$1"
  dump >"$folder/before.sql"
  ends 1 drydock run --yes -- alembic upgrade head
  dump >"$folder/after.sql"
  cmp -s "$folder/before.sql" "$folder/after.sql" || wrong "the database is not as it was"
  good "nothing was applied: pg_dump before and after are the same, byte by byte"
}

chapter "orders v3-broken: a misspelt column in the third of five revisions"
stopped v3-broken

chapter "orders v3-commit: every statement succeeds, and COMMIT fails (a deferred foreign key)"
stopped v3-commit
