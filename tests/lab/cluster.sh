# The cluster: up, down, status, and commands inside it. Sourced by `lab`.
#
# The whole node lives in namespaces of its own (network, mounts, processes, host name), as it would in a container:
# `node.sh` is process 1 in there. When that process dies, in whatever way, the kernel ends everything in it and drops
# its mounts and interfaces, so there is nothing on the host to clean up but files and empty cgroups.

NAME=${DRYDOCK_LAB:-drydock-lab}
STATE=/var/lib/drydock-lab/$NAME
ADDRESS=10.88.0.1
COMPONENTS="etcd containerd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet"

cluster_build() {
  tools_kubernetes
  tools_containerd
  tools_sandbox
  tools_helm "$HELM3_VERSION"
}

# The host's process id of process 1 of the node; fails when there is no node.
node_pid() {
  local pid
  pid=$(cat "$STATE/node.pid" 2>/dev/null) || return 1
  # A process id may have been given to somebody else since: the node's knows its state folder.
  grep -qzxF "DRYDOCK_LAB_STATE=$STATE" "/proc/$pid/environ" 2>/dev/null || return 1
  echo "$pid"
}

need_node() { node_pid >/dev/null || die "the lab is not up: run \`make lab-up\`"; }

# Runs a command as a process of the node.
in_node() { nsenter --target "$(node_pid)" --net --mount --pid --uts -- env PATH="$STATE/bin:$PATH" "$@"; }

# Runs a command in the node's network, otherwise on the host.
in_network() {
  need_node
  KUBECONFIG=$STATE/admin.kubeconfig PATH=$STATE/bin:$PATH \
    nsenter --net="/proc/$(node_pid)/ns/net" -- "$@"
}

kubectl() { in_network kubectl "$@"; }

healthy() {
  node_pid >/dev/null || return 1
  [[ $(kubectl get node lab --request-timeout=5s -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

cluster_lock() {
  mkdir -p "$CACHE/.locks"
  exec 9>"$CACHE/.locks/cluster-$NAME"
  flock -n 9 && return
  say "waiting for another \`lab up\` or \`lab down\`"
  flock 9
}

cluster_up() {
  [[ $(id -u) == 0 ]] || die "the lab needs root, for network namespaces and containers: run it with sudo, or give a cluster of your own with KUBECONFIG=…"
  cluster_lock
  if healthy; then
    say "already up: Kubernetes $KUBERNETES_VERSION, kubeconfig $STATE/admin.kubeconfig"
    return
  fi
  cluster_build
  cluster_clean
  local started=$EPOCHREALTIME
  say "starting Kubernetes $KUBERNETES_VERSION"
  mkdir -p "$STATE"/{bin,pki,logs,conf}
  ln -s "$(tool_kubernetes)" "$STATE/bin/kubernetes"
  for command in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
    ln -s kubernetes "$STATE/bin/$command"
  done
  for command in containerd containerd-shim-runc-v2 ctr; do
    ln -s "$(tool_containerd)/$command" "$STATE/bin/$command"
  done
  ln -s "$(tool_helm "$HELM3_VERSION")" "$STATE/bin/helm"
  cluster_credentials
  cluster_configuration
  for controller in /sys/fs/cgroup/*/; do
    # Version 1 has a hierarchy for each controller, version 2 one for all.
    [[ -e /sys/fs/cgroup/cgroup.controllers ]] && controller=/sys/fs/cgroup/
    mkdir -p "$controller$NAME"
  done
  (
    close_inherited
    export DRYDOCK_LAB_STATE=$STATE DRYDOCK_LAB_ADDRESS=$ADDRESS PATH="$STATE/bin:$PATH"
    exec setsid unshare --net --mount --propagation private --pid --uts --fork --kill-child --mount-proc \
      "$LAB/node.sh" </dev/null >"$STATE/logs/node" 2>&1
  ) &
  local unshare=$!
  until pgrep --parent "$unshare" >"$STATE/node.pid"; do
    kill -0 "$unshare" 2>/dev/null || die "the node did not start: $(cat "$STATE/logs/node")"
    sleep 0.02
  done
  await 60 "the node's network" test -e "$STATE/network-is-up"
  cluster_start etcd
  cluster_start containerd
  cluster_start kube-apiserver
  await 180 "the API server" kubectl get --raw /readyz
  for component in kube-controller-manager kube-scheduler kube-proxy kubelet; do cluster_start "$component"; done
  await 120 "containerd" in_node ctr version
  image_load "$(tool_sandbox)/sandbox.tar"
  await 180 "the node" healthy
  await 120 "the service account of namespace default" kubectl get serviceaccount default
  say "up in $(since "$started") s: kubeconfig $STATE/admin.kubeconfig, network 10.88.0.0/16"
}

# Seconds since an $EPOCHREALTIME, with one decimal.
since() {
  local tenths=$(((${EPOCHREALTIME/./} - ${1/./}) / 100000))
  echo "$((tenths / 10)).$((tenths % 10))"
}

# await SECONDS WHAT COMMAND…: until COMMAND succeeds.
await() {
  local seconds=$1 what=$2 end=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift 2
  until "$@" >/dev/null 2>&1; do
    node_pid >/dev/null || die "the node is gone; its last words: $(tail -n 3 "$STATE/logs/node")"
    ((${EPOCHREALTIME/./} < end)) || die "$what is not ready after $seconds s; the logs are in $STATE/logs"
    sleep 0.1
  done
}

# Starts a component of the node unless it runs.
cluster_start() {
  takes 1 "$@"
  cluster_running "$1" && return
  # `exec` in a background shell: the recorded process id is the component's own.
  (
    close_inherited
    in_node bash -c 'setsid "$2/conf/$1.sh" >>"$2/logs/$1" 2>&1 </dev/null & echo $! >"$2/$1.pid"' start "$1" "$STATE"
  )
}

cluster_running() {
  local pid
  pid=$(cat "$STATE/$1.pid" 2>/dev/null) && [[ $(in_node cat "/proc/$pid/cmdline" 2>/dev/null | head -z -n 1 | tr -d '\0') == "$1" ]]
}

# Ends one component: `lab kill kubelet` (SIGKILL), `lab kill kubelet TERM`.
cluster_kill() {
  takes 1 "$@"
  need_node
  cluster_running "$1" || die "$1 does not run"
  in_node kill "-${2:-KILL}" "$(cat "$STATE/$1.pid")"
  while cluster_running "$1"; do sleep 0.05; done
}

cluster_down() {
  cluster_lock
  cluster_clean
  rmdir --ignore-fail-on-non-empty /var/lib/drydock-lab 2>/dev/null || true
  say "down"
}

# Leaves nothing of this or an earlier, killed run.
cluster_clean() {
  local cgroup pids
  # Process 1 and its parent carry the name of the lab in their environment, however far its start had come. The
  # kernel ends every process of the namespace before it lets process 1 go.
  while
    pids=$(grep -lzxF "DRYDOCK_LAB_STATE=$STATE" /proc/[0-9]*/environ 2>/dev/null || true)
    [[ -n $pids ]]
  do
    cut -d/ -f3 <<<"$pids" | xargs kill -KILL 2>/dev/null || true
    sleep 0.05
  done
  for cgroup in /sys/fs/cgroup/"$NAME" /sys/fs/cgroup/*/"$NAME"; do
    [[ -d $cgroup ]] || continue
    for _ in {1..50}; do
      find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [[ -d $cgroup ]] || break
      sleep 0.1
    done
  done
  if grep -qF " $STATE/" /proc/self/mountinfo; then
    die "something is still mounted below $STATE: $(grep -oF " $STATE/" /proc/self/mountinfo)"
  fi
  rm -rf "$STATE"
}

cluster_status() {
  node_pid >/dev/null || { echo down; return 1; }
  local component
  for component in $COMPONENTS; do
    printf '%-24s %s\n' "$component" "$(cluster_running "$component" && echo running || echo stopped)"
  done
  echo "memory                   $(in_node sh -c 'cat /proc/[0-9]*/smaps_rollup 2>/dev/null' | awk '/^Pss:/ {sum += $2} END {print int(sum / 1024)}') MiB"
  echo "kubeconfig               $STATE/admin.kubeconfig"
  kubectl get nodes -o wide
  kubectl get pods -A
}
