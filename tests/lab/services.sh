# Servers beside the cluster, in its network and its process namespace: they end when the node ends. Sourced by `lab`.

# `lab postgres up MAJOR PORT`: a server with a password, as a real one has; prints the superuser's URL.
postgres_up() {
  takes 2 "$@"
  local major=$1 port=$2 data=$STATE/postgres-$2 programs
  need_node
  postgres_install "$major"
  programs=$(readlink -f "$CACHE/postgres/$major/bin")
  local url=postgresql://postgres:lab@$ADDRESS:$port/postgres
  if [[ -d $data ]]; then
    postgres_answers "$url" || die "port $port has a data folder, $data, but no server answers: run \`lab postgres down $port\`"
    echo "$url"
    return
  fi
  # The server's user must be able to walk to its data.
  chmod o+x /var/lib/drydock-lab "$STATE"
  install -d -m 0700 -o 65534 -g 65534 "$data"
  in_node sh -c 'cd "$1" && echo lab >password && chown 65534 password && export HOME=$1 &&
    setpriv --reuid=65534 --regid=65534 --clear-groups -- "$2/initdb" -D "$1/data" -U postgres --no-sync \
      --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256 --pwfile=password >"$1/initdb.log"' \
    initdb "$data" "$programs" || die "initdb failed"
  echo "host all,replication all 10.88.0.0/16 scram-sha-256" >>"$data/data/pg_hba.conf"
  (close_inherited && in_node sh -c 'cd "$1" && HOME=$1 setsid setpriv --reuid=65534 --regid=65534 --clear-groups -- "$2/postgres" -D "$1/data" -p "$3" \
      -c fsync=off -c full_page_writes=off -c listen_addresses="$4" -c unix_socket_directories="$1" -c max_prepared_transactions=10 \
      >"$1/log" 2>&1 </dev/null &' postgres "$data" "$programs" "$port" "$ADDRESS")
  await 20 "PostgreSQL on port $port" postgres_answers "$url"
  echo "$url"
}

postgres_answers() { in_network psql --no-psqlrc --quiet --command "" "$1"; }

# `lab postgres down PORT`
postgres_down() {
  takes 1 "$@"
  local data=$STATE/postgres-$1
  need_node
  [[ -d $data ]] || return 0
  local pid
  pid=$(head -n 1 "$data/data/postmaster.pid" 2>/dev/null) && in_node kill -QUIT "$pid" 2>/dev/null &&
    while in_node kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -rf "$data"
}

# `lab pgbouncer up PORT URL`: transaction pooling in front of a server; prints the URL through it.
pgbouncer_up() {
  takes 2 "$@"
  local port=$1 url=$2 folder=$STATE/pgbouncer-$1
  need_node
  tools_pgbouncer
  [[ $url =~ ^postgres(ql)?://([^:/]+):([^@]*)@([^:/]+):([0-9]+)/([^?]+) ]] || die "a URL like postgresql://USER:PASSWORD@HOST:PORT/DATABASE is needed, not $url"
  local user=${BASH_REMATCH[2]} password=${BASH_REMATCH[3]} host=${BASH_REMATCH[4]} server_port=${BASH_REMATCH[5]} database=${BASH_REMATCH[6]}
  chmod o+x /var/lib/drydock-lab "$STATE"
  install -d -m 0700 -o 65534 -g 65534 "$folder"
  echo "\"$user\" \"$password\"" >"$folder/users.txt"
  cat >"$folder/pgbouncer.ini" <<INI
[databases]
* = host=$host port=$server_port
[pgbouncer]
listen_addr = $ADDRESS
listen_port = $port
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $folder/users.txt
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
pidfile = $folder/pid
INI
  chown 65534:65534 "$folder"/*
  (close_inherited && in_node sh -c 'export LD_LIBRARY_PATH=$2/usr/lib/x86_64-linux-gnu; setsid "$2/usr/sbin/pgbouncer" --user=nobody "$1/pgbouncer.ini" >"$1/log" 2>&1 </dev/null &' \
    pgbouncer "$folder" "$(tool_pgbouncer)")
  local through=postgresql://$user:$password@$ADDRESS:$port/$database
  await 20 "PgBouncer on port $port" postgres_answers "$through"
  echo "$through"
}

# `lab pgbouncer down PORT`
pgbouncer_down() {
  takes 1 "$@"
  local folder=$STATE/pgbouncer-$1
  need_node
  [[ -d $folder ]] || return 0
  in_node sh -c 'kill -QUIT "$(cat "$1/pid")"' sh "$folder" || true
  rm -rf "$folder"
}

# `lab registry up [PORT]`: what is pushed there can be pulled by pods under the address printed.
registry_up() {
  local port=${1:-5000} folder
  need_node
  tools_crane
  folder=$STATE/registry-$port
  mkdir -p "$folder" "$STATE/conf/registries/$ADDRESS:$port"
  echo "server = \"http://$ADDRESS:$port\"" >"$STATE/conf/registries/$ADDRESS:$port/hosts.toml"
  (close_inherited && in_node sh -c 'setsid "$1" registry serve --address "$2" --disk "$3" >"$3.log" 2>&1 </dev/null &' registry "$(tool_crane)" "$ADDRESS:$port" "$folder")
  await 10 "the registry" in_network bash -c "exec 3<>/dev/tcp/$ADDRESS/$port"
  echo "$ADDRESS:$port"
}
