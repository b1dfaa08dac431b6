#!/usr/bin/env bash
# The gate in a real cluster: a good release that passes through it, and one that never does while the old one serves.
#
# Uses the lab, or with KUBECONFIG a cluster that exists. That one must be able to pull $IMAGES/drydock:dev and
# $IMAGES/orders:{v1,v2,v3-commit} (the Dockerfiles of this project), and postgres:18 for the demo's own database.
set -euo pipefail
demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$demo/.." && pwd)
source "$demo/narrate.sh"
drydock=${DRYDOCK:-$root/target/release/drydock}
lab=$root/tests/lab/lab
system=drydock-system
namespace=drydock-demo

if [[ -n ${KUBECONFIG:-} ]]; then
  images=${DRYDOCK_TEST_IMAGES:-}
  [[ -n $images ]] || wrong "a cluster of your own needs IMAGES=…, a registry prefix from which it can pull drydock:dev and orders:v1, v2, v3-commit"
  drydock() { "$drydock" "$@"; }
  sql() { ours exec deployment/postgres -- psql -qXAt --username postgres --dbname "$1" --command "$2"; }
else
  images=drydock.local
  kubectl() { "$lab" kubectl "$@"; }
  helm() { "$lab" helm "$@"; }
  drydock() { "$lab" exec "$drydock" "$@"; }
  sql() { "$lab" exec psql -qXAt "${superuser%/*}/$1" --command "$2"; }
fi
ours() { kubectl --namespace "$namespace" "$@"; }

made=()
clean_up() {
  local code=$?
  trap - ERR
  if ((code != 0)) && ((${#made[@]})); then
    printf '\nWhat the cluster holds:\n' >&2
    ours get migrations,jobs,deployments,pods >&2 || true
    kubectl --namespace "$system" logs deployment/drydock --tail=20 >&2 || true
  fi
  # The lab goes as a whole.
  [[ -n ${KUBECONFIG:-} ]] || return 0
  ((${#made[@]} == 0)) || helm uninstall drydock --namespace "$system" >/dev/null 2>&1 || true
  ((${#made[@]} == 0)) || kubectl delete "${made[@]}" --ignore-not-found --wait=false >/dev/null 2>&1 || true
}
trap clean_up EXIT

# apply RELEASE: what a user would apply, with this release's image.
apply() {
  command_line "kubectl apply -f examples/orders/deploy     # image: orders:$1"
  sed "s|image: orders:v2|image: $images/orders:$1|; s/^apiVersion/---\n&/" "$root"/examples/orders/deploy/*.yaml |
    ours apply -f - | below
}
pods() {
  command_line "kubectl get pods --selector app=orders"
  ours get pods --selector app=orders --sort-by=.metadata.creationTimestamp --output \
    'custom-columns=NAME:.metadata.name,IMAGE:.spec.containers[0].image,PHASE:.status.phase,SCHEDULING GATE:.spec.schedulingGates[*].name' | below
}
# How many of the application's pods wait at the gate.
gated() { ours get pods --selector app=orders --output 'jsonpath={.items[*].spec.schedulingGates[*].name}' | wc -w; }
two_wait() { [[ $(gated) == 2 ]]; }
condition() { ours get migration orders --output "jsonpath={.status.conditions[?(@.type=='$1')].status}"; }
has() { [[ $(condition "$1") == "$2" ]] || wrong "the condition $1 is $(condition "$1"), not $2"; }
revision() { sql orders "SELECT version_num FROM alembic_version"; }

# The client's latest count: {"requests": 97, "failures": 0, "releases": {"v1": 97}}.
client() { ours logs client --tail=1; }
served_by() { [[ $(client) == *"\"$1\""* ]]; }
# The latest count, and of requests that came after this line.
goes_on_without_failure() {
  local line before
  before=$(client)
  until line=$(client) && [[ $line != "$before" ]]; do sleep 0.2; done
  if [[ $line != *'"failures": 0,'* ]]; then
    ours logs client | grep failure: | tail -n 5 >&2 || true
    wrong "the client met failures: $line"
  fi
  good "the client: $line"
}

chapter "drydock's chart"
crds=()
if [[ -n ${KUBECONFIG:-} ]]; then
  for name in "$system" "$namespace"; do
    ! kubectl get namespace "$name" >/dev/null 2>&1 || wrong "the namespace $name exists. The demo makes its own: delete it, if an earlier demo left it"
  done
  elsewhere=$(kubectl get deployments --all-namespaces --selector app.kubernetes.io/name=drydock --output name)
  [[ -z $elsewhere ]] || wrong "drydock is installed in this cluster already, and two controllers would meet in the demo's namespace"
  # Migrations of this cluster's own would go with their definition.
  if kubectl get crd migrations.drydock.dev >/dev/null 2>&1; then
    crds=(--set crds.install=false)
  else
    made+=(crd/migrations.drydock.dev)
  fi
else
  "$lab" image drydock "$drydock" "$images/drydock:dev" >/dev/null
  for release in v1 v2 v3-commit; do "$lab" image orders "$release" >/dev/null; done
fi
made+=("namespace/$system" "namespace/$namespace")
command_line "helm install drydock charts/drydock --namespace $system --create-namespace --wait"
helm install drydock "$root/charts/drydock" --namespace "$system" --create-namespace --wait --timeout 180s \
  --set image.repository="$images/drydock" --set image.tag=dev "${crds[@]}" | grep '^STATUS' | below
shows kubectl --namespace "$system" get pods
secrets=$(kubectl auth can-i get secrets --all-namespaces --as="system:serviceaccount:$system:drydock" || true)
[[ $secrets == no ]] || wrong "the controller may read Secrets"
good "the controller runs, and may not read Secrets"

chapter "orders v1, the first release: an empty database"
kubectl create namespace "$namespace" >/dev/null
if [[ -n ${KUBECONFIG:-} ]]; then
  ours create deployment postgres --image=postgres:18 >/dev/null
  ours set env deployment/postgres POSTGRES_PASSWORD=lab >/dev/null
  ours expose deployment postgres --port=5432 >/dev/null
  ours rollout status deployment/postgres --timeout=180s >/dev/null
  within 60 "PostgreSQL answers" sql postgres "SELECT 1"
  # By its address, here and below: a cluster need not have names.
  host=$(ours get service postgres --output 'jsonpath={.spec.clusterIP}'):5432
else
  superuser=$("$lab" postgres up 18 5439)
  host=10.88.0.1:5439
fi
sql postgres "CREATE ROLE orders LOGIN PASSWORD 'high-and-dry'"
sql postgres "CREATE DATABASE orders OWNER orders"
shows ours create secret generic orders-db --from-literal=url="postgresql+psycopg://orders:high-and-dry@$host/orders"
apply v1
ends 0 drydock wait orders --namespace "$namespace"
ours rollout status deployment/orders --timeout=180s >/dev/null
address=$(ours get service orders --output 'jsonpath={.spec.clusterIP}')
ours run client --image="$images/orders:v1" --restart=Never --command -- python -c "$(cat "$demo/client.py")" "$address" >/dev/null
within 120 "a client asks http://$address/healthz twenty times a second, from now on" served_by v1

chapter "orders v2, a good release: its code cannot live without orders.currency"
apply v2
within 30 "two new pods wait" two_wait
pods
ends 0 drydock wait orders --namespace "$namespace"
for passed in DryRunPassed RollbackVerified Upgraded GateOpen Ready; do has "$passed" True; done
command_line "kubectl rollout status deployment/orders"
ours rollout status deployment/orders --timeout=180s | tail -n 1 | below
within 60 "v2 serves" served_by v2
goes_on_without_failure

chapter "orders v3-commit, a bad release: its pods never start"
before=$(revision)
apply v3-commit
within 30 "two new pods wait" two_wait
ends 1 drydock wait orders --namespace "$namespace"
has GateOpen False
has Stalled True
sleep 3
two_wait || wrong "the pods of the bad release were let in"
pods
[[ $(revision) == "$before" ]] || wrong "the database was changed"
good "the database is at revision $before, as before"
! served_by v3-commit || wrong "the bad release serves"
goes_on_without_failure

chapter "How to look at it"
shows ours get migrations
shows ours get migration orders --output jsonpath='{range .status.conditions[*]}{.type}={.status} {.reason}{"\n"}{end}'
shows ours events --for migration/orders
shows drydock report orders --namespace "$namespace"
