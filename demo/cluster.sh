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
namespace=drydock-demo
port=5439

if [[ -n ${KUBECONFIG:-} ]]; then
  images=${DRYDOCK_TEST_IMAGES:?a cluster of your own needs IMAGES=…, a registry prefix from which it can pull drydock:dev and orders:v1, v2, v3-commit}
  drydock() { "$drydock" "$@"; }
  psql() {
    kubectl --namespace "$namespace" exec deployment/postgres -- \
      psql --username postgres --dbname "${PGDATABASE:-postgres}" "$@"
  }
else
  images=drydock.local
  kubectl() { "$lab" kubectl "$@"; }
  helm() { "$lab" helm "$@"; }
  drydock() { "$lab" exec "$drydock" "$@"; }
  psql() { "$lab" exec psql "postgresql://postgres:lab@10.88.0.1:$port/${PGDATABASE:-postgres}" "$@"; }
fi
ours() { kubectl --namespace "$namespace" "$@"; }

# A cluster that exists may have Migrations of its own, which would go with their definition.
own_crd=yes
! kubectl get crd migrations.drydock.dev >/dev/null 2>&1 || own_crd=''

watcher=
clean_up() {
  [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
  ours delete migration,deployment,pod --all --ignore-not-found --wait=false >/dev/null 2>&1 || true
  helm uninstall drydock --namespace drydock-system >/dev/null 2>&1 || true
  [[ -z $own_crd ]] || kubectl delete crd migrations.drydock.dev --ignore-not-found --wait=false >/dev/null 2>&1 || true
  kubectl delete namespace "$namespace" drydock-system --ignore-not-found --wait=false >/dev/null 2>&1 || true
  [[ -n ${KUBECONFIG:-} ]] || "$lab" postgres down "$port" >/dev/null 2>&1 || true
}
trap clean_up EXIT

# apply RELEASE: what a user would apply, with this release's image.
apply() {
  say "$dim\$ kubectl apply -f examples/orders/deploy   # image: orders:$1$plain"
  sed "s|image: orders:v2|image: $images/orders:$1|; s/^apiVersion/---\n&/" "$root"/examples/orders/deploy/*.yaml |
    ours apply -f - | sed 's/^/    /'
}

# Every pod's name, release and phase, the phase SchedulingGated when its gate is shut.
pods() {
  ours get pods --selector app=orders --sort-by=.metadata.creationTimestamp \
    --output 'custom-columns=POD:.metadata.name,IMAGE:.spec.containers[0].image,PHASE:.status.phase,WAITS FOR:.spec.schedulingGates[*].name'
}
gated() { ours get pods --selector app=orders --output json | grep -q '"reason": "SchedulingGated"'; }
none_gated() { ! gated; }
condition() { ours get migration orders --output "jsonpath={.status.conditions[?(@.type=='$1')].$2}"; }

# The latest line of the client: how many requests, how many failures, answered by which releases.
client() { ours logs client --tail=1; }
served_by() { [[ $(client) == *"\"$1\""* ]]; }
not_one_failure() {
  local line
  line=$(client)
  [[ $line == *'"failures": 0,'* ]] || {
    ours logs client | grep failure: | tail -n 5 >&2 || true
    wrong "the client met failures: $line"
  }
  good "the client that asks /healthz all the time: $line"
}

chapter "drydock's chart, and a database for the cluster"
if [[ -z ${KUBECONFIG:-} ]]; then
  "$lab" image drydock "$drydock" "$images/drydock:dev" >/dev/null
  for release in v1 v2 v3-commit; do "$lab" image orders "$release" >/dev/null; done
  "$lab" postgres up 18 "$port" >/dev/null
  host=10.88.0.1:$port
else
  kubectl create namespace "$namespace" >/dev/null
  ours create deployment postgres --image=postgres:18 >/dev/null
  ours set env deployment/postgres POSTGRES_PASSWORD=lab >/dev/null
  ours expose deployment postgres --port=5432 >/dev/null
  ours rollout status deployment/postgres --timeout=180s >/dev/null
  within 60 "PostgreSQL answers" psql -qc ""
  host=postgres:5432
fi
shows helm upgrade --install drydock "$root/charts/drydock" --namespace drydock-system --create-namespace --wait --timeout 120s \
  --set image.repository="$images/drydock" --set image.tag=dev
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace" >/dev/null
psql -qc "CREATE ROLE orders LOGIN PASSWORD 'high-and-dry'" -c "CREATE DATABASE orders OWNER orders"
shows ours create secret generic orders-db --from-literal=url="postgresql+psycopg://orders:high-and-dry@$host/orders"

chapter "orders v1, the first release"
apply v1
shows ours wait migration/orders --for=condition=Ready --timeout=120s
shows ours rollout status deployment/orders --timeout=60s
# By its address: a cluster need not have DNS.
address=$(ours get service orders --output 'jsonpath={.spec.clusterIP}')
ours run client --image="$images/orders:v1" --restart=Never --command -- python -c "$(cat "$demo/client.py")" "$address" >/dev/null
within 60 "a client asks http://$address/healthz twenty times a second" served_by v1

chapter "orders v2, a good release: its pods wait for orders.currency"
ours get migration orders --watch-only --output 'jsonpath={.status.phase}{"\n"}' 2>/dev/null | uniq | sed -u 's/^./    Migration: &/' &
watcher=$!
apply v2
within 10 "the new pods wait, SchedulingGated" gated
pods
shows ours wait migration/orders --for=condition=DryRunPassed --timeout=60s
shows ours wait migration/orders --for=condition=Upgraded --timeout=60s
shows ours wait migration/orders --for=condition=GateOpen --timeout=60s
shows ours rollout status deployment/orders --timeout=60s
within 30 "v2 serves" served_by v2
not_one_failure

chapter "orders v3-commit, a bad release: its pods never start"
before=$(PGDATABASE=orders psql -Atc "SELECT version_num FROM alembic_version")
apply v3-commit
within 10 "the new pods wait, SchedulingGated" gated
shows ours wait migration/orders --for=condition=Stalled --timeout=60s
sleep 3
gated || wrong "the pods of the bad release were let in"
pods
[[ $(condition GateOpen status) == False ]] || wrong "the gate is not shut"
[[ $(PGDATABASE=orders psql -Atc "SELECT version_num FROM alembic_version") == "$before" ]] || wrong "the database was changed"
good "the database is still at revision $before"
! served_by v3-commit || wrong "the bad release serves"
not_one_failure

chapter "How to look at it"
shows ours get migrations
shows ours get migration orders --output 'jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'
shows ours get events --field-selector involvedObject.kind=Migration --sort-by=.lastTimestamp --output custom-columns=REASON:.reason,MESSAGE:.message
shows drydock report orders --namespace "$namespace"
