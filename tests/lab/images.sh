# Images without a registry: built as OCI archives, imported into the node's containerd. Sourced by `lab`.

SANDBOX_IMAGE=drydock.lab/sandbox:1
PYTHON_IMAGE_VERSION=1

# `lab image load ARCHIVE…`
image_load() {
  takes 1 "$@"
  need_node
  local archive
  for archive in "$@"; do
    in_node ctr --namespace k8s.io images import "$(realpath "$archive")" >"$STATE/logs/import" 2>&1 ||
      die "containerd did not take $archive: $(tail -n 1 "$STATE/logs/import")"
  done
}

# `lab image drydock BINARY [NAME]`: the same as the last stage of the Dockerfile.
image_drydock() {
  takes 1 "$@"
  local binary=$1 name=${2:-drydock.local/drydock:dev} archive
  # A static program names no library; ldd calls it "statically linked" or "not a dynamic executable".
  ! ldd "$binary" 2>/dev/null | grep -q "=>" || die "$binary is not static and cannot run on an empty image: build it with \`make release\`"
  archive=$(mktemp --suffix=.tar)
  "$LAB/oci.py" "$archive" --name "$name" --copy "$binary" /drydock --entrypoint '["/drydock"]' --user 65532:65532
  image_load "$archive"
  rm "$archive"
}

# `lab image python NAME FOLDER TARGET [oci.py's options]`: a folder of Python files on Debian with the example's
# requirements installed.
image_python() {
  takes 3 "$@"
  local name=$1 folder=$2 target=$3 archive
  shift 3
  python_layers
  archive=$(mktemp --suffix=.tar)
  "$LAB/oci.py" "$archive" --name "$name" --layer "$(python_base)/base.tar" --layer "$(python_packages)/packages.tar" \
    --copy "$folder" "$target" --workdir "$target" --user 10001:10001 "$@"
  image_load "$archive"
  rm "$archive"
}

# `lab image orders RELEASE [NAME]`: examples/orders as its Dockerfile would build it.
image_orders() {
  takes 1 "$@"
  local release=$1 name=${2:-drydock.local/orders:$1} folder
  folder=$(mktemp -d)
  "$LAB/../../examples/orders/assemble" "$release" "$folder"
  image_python "$name" "$folder" /app --cmd '["python", "-m", "orders.service"]'
  rm -r "$folder"
}

python_requirements() { echo "$LAB/../../examples/orders/requirements.txt"; }
python_base() { echo "$CACHE/python-base-$PYTHON_IMAGE_VERSION"; }
python_packages() { echo "$CACHE/python-packages-$PYTHON_IMAGE_VERSION-$(sha256sum "$(python_requirements)" | head -c 8)"; }
python_layers() {
  fill "$(basename "$(python_base)")" build_python_base
  fill "$(basename "$(python_packages)")" build_python_packages
}

build_python_base() {
  say "building the example's base image: Debian 12 with Python, about a minute, once"
  mmdebstrap --quiet --variant=minbase --include=python3-minimal,python3,python-is-python3,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' bookworm "$1/base.tar"
}

build_python_packages() {
  local place=usr/local/lib/python3.11/dist-packages
  say "installing the example's Python packages"
  pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile --target "$1/$place" --platform manylinux2014_x86_64 --python-version 3.11 \
    --only-binary=:all: --requirement "$(python_requirements)" || return 1
  # The wheel's own script names the interpreter of the machine that built this.
  mkdir -p "$1/usr/local/bin"
  printf '#!/usr/bin/python3\nimport sys\nfrom alembic.config import main\nsys.exit(main())\n' >"$1/usr/local/bin/alembic"
  chmod 755 "$1/usr/local/bin/alembic"
  rm -rf "${1:?}/$place/bin"
  tar -c --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -f "$1/packages.tar" usr && rm -r "${1:?}/usr"
}
