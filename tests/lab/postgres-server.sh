#!/usr/bin/env bash
# Runs one throw-away PostgreSQL server for as long as standard input stays open.
#
#   postgres-server.sh BINARIES FOLDER
#
# FOLDER holds postgresql.conf and pg_hba.conf to use, and a folder `files` of what else belongs into the data
# directory (certificates). Commands arrive on standard input, one a line: `start PORT`, `stop MODE` (a mode of pg_ctl:
# fast or immediate). Each is answered on standard output with `ok` or `failed`.
#
# The process that holds the other end of standard input may die in any way, SIGKILL included: the kernel closes the
# pipe, and the server and FOLDER go. (A parent-death signal would not do: it fires when the *thread* ends that spawned
# the child, and a test is a thread.)
set -uo pipefail
trap '' INT TERM HUP
binaries=$1 folder=$2

# A server refuses to run as root.
as_server=()
if [[ $(id -u) == 0 ]]; then
  as_server=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
  chown 65534:65534 "$folder"
fi
# Not root's home, and not a folder that the server's user cannot enter.
cd "$folder" || exit 1
export HOME=$folder

"${as_server[@]}" "$binaries/initdb" -D "$folder/data" -U postgres --no-sync --encoding=UTF8 --locale=C.UTF-8 --auth=trust \
  >"$folder/initdb.log" 2>&1 || { echo failed; cat "$folder/initdb.log" >&2; rm -rf "$folder"; exit 1; }
cat "$folder/postgresql.conf" >>"$folder/data/postgresql.conf"
cat "$folder/pg_hba.conf" >"$folder/data/pg_hba.conf"
for file in "$folder"/files/*; do
  [[ -e $file ]] || continue
  install -m 0600 "$file" "$folder/data/"
  [[ $(id -u) != 0 ]] || chown 65534:65534 "$folder/data/${file##*/}"
done

server=
start() {
  rm -f "$folder/data/postmaster.pid"
  # As the leader of a process group, so that a backend that a test has stopped (SIGSTOP) goes with the others.
  "${as_server[@]}" setsid "$binaries/postgres" -D "$folder/data" -p "$1" >>"$folder/log" 2>&1 </dev/null &
  server=$!
  # The eighth line of postmaster.pid is the postmaster's own word on its state.
  until [[ $(sed -n 8p "$folder/data/postmaster.pid" 2>/dev/null) == ready* ]]; do
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.02
  done
}
stop() {
  [[ -n $server ]] || return 0
  case $1 in fast) kill -INT "$server" ;; *) kill -QUIT "$server" ;; esac 2>/dev/null
  for _ in {1..250}; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.02
  done
  kill -KILL -- "-$server" 2>/dev/null
  wait "$server" 2>/dev/null
  server=
}

while read -r command argument; do
  case $command in
    start) if start "$argument"; then echo ok; else echo failed; tail -n 20 "$folder/log" >&2; fi ;;
    stop) stop "$argument"; echo ok ;;
  esac
done
stop immediate
rm -rf "$folder"
