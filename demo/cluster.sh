#!/usr/bin/env bash
# The gate in a real cluster: a good release that passes through it, and one that never does while the old one serves.
#
# Uses the lab, or with KUBECONFIG a cluster that exists. That one must be able to pull $DEMO_IMAGES/drydock:demo and
# $DEMO_IMAGES/orders:{v1,v2,v3-commit} (the Dockerfiles of this project), and postgres:18 for the demo's own database.
set -euo pipefail
demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$demo/.." && pwd)
source "$demo/narrate.sh"
drydock=${DRYDOCK:-$root/target/release/drydock}
lab=$root/tests/lab/lab
namespace=drydock-demo
port=5439

if [[ -n ${KUBECONFIG:-} ]]; then
  images=${DEMO_IMAGES:?a cluster of your own needs DEMO_IMAGES, a registry prefix from which it can pull drydock:demo and orders:v1, v2, v3-commit}
  psql() { kubectl exec deployment/postgres -- psql -U postgres "$@"; }
else
  images=drydock.local
  kubectl() { "$lab" kubectl "$@"; }
  helm() { "$lab" helm "$@"; }
  drydock() { "$lab" exec "$drydock" "$@"; }
  psql() { "$lab" exec psql "postgresql://postgres:lab@10.88.0.1:$port/${PGDATABASE:-postgres}" "$@"; }
fi
ours() { kubectl --namespace "$namespace" "$@"; }

watcher=
clean_up() {
  [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
  ours delete migration,deployment,pod --all --ignore-not-found --wait=false >/dev/null 2>&1 || true
  helm uninstall drydock --namespace drydock-system >/dev/null 2>&1 || true
  kubectl delete crd migrations.drydock.dev --ignore-not-found --wait=false >/dev/null 2>&1 || true
  kubectl delete namespace "$namespace" drydock-system --ignore-not-found --wait=false >/dev/null 2>&1 || true
  [[ -n ${KUBECONFIG:-} ]] || "$lab" postgres down "$port" >/dev/null 2>&1 || true
}
trap clean_up EXIT
