# What the components are told: credentials and command lines. Sourced by `lab`.

cluster_credentials() {
  local pki=$STATE/pki
  authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 365 -subj "/CN=drydock lab" -keyout "$pki/ca.key" -out "$pki/ca.crt"; }
  certificate() { # NAME SUBJECT EXTENSIONS…
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "$2" -keyout "$pki/$1.key" |
      openssl x509 -req -days 365 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -extfile <(printf '%s\n' "${@:3}") -out "$pki/$1.crt"
  }
  {
    authority
    certificate kube-apiserver "/CN=kube-apiserver" "extendedKeyUsage=serverAuth" \
      "subjectAltName=IP:10.96.0.1,IP:$ADDRESS,IP:127.0.0.1,DNS:kubernetes.default.svc"
    certificate apiserver-kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client" "extendedKeyUsage=clientAuth"
    openssl ecparam -name prime256v1 -genkey -noout -out "$pki/service-accounts.key"
  } 2>"$STATE/logs/pki" || die "openssl failed: $(tail -n 3 "$STATE/logs/pki")"
  local user groups
  while read -r user groups; do
    local token
    token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
    echo "$token,$user,$user,\"$groups\"" >>"$pki/tokens.csv"
    kubeconfig "$token" >"$STATE/${user##*:}.kubeconfig"
  done <<'USERS'
admin system:masters
system:kube-controller-manager
system:kube-scheduler
system:kube-proxy
system:node:lab system:nodes
USERS
}

kubeconfig() {
  cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: "https://$ADDRESS:6443", certificate-authority-data: $(base64 -w0 "$STATE/pki/ca.crt")}}]
users: [{name: lab, user: {token: $1}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
current-context: lab
YAML
}

# One script a component, so that a component can be started again as it was.
component() {
  local name=$1
  shift
  printf '#!/bin/sh\nexec %s \\\n' "$name" >"$STATE/conf/$name.sh"
  printf "  '%s' \\\\\n" "$@" >>"$STATE/conf/$name.sh"
  echo >>"$STATE/conf/$name.sh"
  chmod +x "$STATE/conf/$name.sh"
}

cluster_configuration() {
  local pki=$STATE/pki
  component etcd --data-dir="$STATE/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380
  component kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$ADDRESS" \
    --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" \
    --tls-cert-file="$pki/kube-apiserver.crt" --tls-private-key-file="$pki/kube-apiserver.key" \
    --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$pki/service-accounts.key" \
    --service-account-signing-key-file="$pki/service-accounts.key"
  component kube-controller-manager --kubeconfig="$STATE/kube-controller-manager.kubeconfig" \
    --use-service-account-credentials --leader-elect=false --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/service-accounts.key" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
  component kube-scheduler --kubeconfig="$STATE/kube-scheduler.kubeconfig" --leader-elect=false
  # Conntrack's size belongs to the machine, not to a network namespace.
  component kube-proxy --kubeconfig="$STATE/kube-proxy.kubeconfig" --hostname-override=lab \
    --proxy-mode=iptables --cluster-cidr=10.88.0.0/16 --conntrack-max-per-core=0
  component kubelet --kubeconfig="$STATE/lab.kubeconfig" --config="$STATE/conf/kubelet.yaml" \
    --hostname-override=lab --node-ip="$ADDRESS" --cert-dir="$pki/kubelet"
  cat >"$STATE/conf/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$NAME
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
resolvConf: ""
volumePluginDir: $STATE/volume-plugins
# The machine's fill level is not this lab's affair, and its images cannot be pulled again.
evictionHard: {memory.available: 10Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
maxPods: 250
YAML
  component containerd --config "$STATE/conf/containerd.toml" --log-level warn
  cat >"$STATE/conf/containerd.toml" <<TOML
version = 3
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "$SANDBOX_IMAGE"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "$STATE/conf/registries"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "$STATE/conf/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
TOML
  mkdir -p "$STATE/conf/cni" "$STATE/conf/registries/registry.lab:5000"
  cat >"$STATE/conf/cni/10-lab.conflist" <<'JSON'
{"cniVersion": "1.0.0", "name": "lab", "plugins": [
  {"type": "bridge", "bridge": "lab0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16", "rangeStart": "10.88.1.0"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}
