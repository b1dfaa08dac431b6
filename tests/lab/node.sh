#!/usr/bin/env bash
# Process 1 of the lab's node: makes the namespaces that it was started in look like a machine, then waits for orphans.
#
# Everything that the components keep in fixed places on a machine is put over with folders of this lab, so a kubelet
# of the host, and a second lab, see nothing of it.
set -euo pipefail
state=$DRYDOCK_LAB_STATE

hostname lab
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/lock
for place in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers; do
  mkdir -p "$place" "$state$place"
  mount --bind "$state$place" "$place"
done
# No name server can be reached from here: names fail at once and not after a timeout.
: >/run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
# A kubelet sets these for its whole machine; here it writes to copies.
mkdir /run/tunables
for tunable in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  cat "/proc/sys/$tunable" >"/run/tunables/${tunable//\//_}"
  mount --bind "/run/tunables/${tunable//\//_}" "/proc/sys/$tunable"
done
# The kubelet's volumes must reach containerd, and containers, as on a machine.
mount --make-rshared /

ip link set lo up
# With an address of its own: the kernel would give it the lowest of its ports', which changes as
# pods come and go, and a pod that knows the old one reaches nobody until it asks again.
ip link add lab0 address 02:00:0a:58:00:01 type bridge
# A bridge without a port has no carrier.
ip link add lab1 type veth peer name lab2
ip link set lab1 master lab0 up
ip link set lab2 up
ip address add "$DRYDOCK_LAB_ADDRESS/16" dev lab0
ip link set lab0 up
# Components look for the address of the default route; nothing leaves this network.
ip route add default via "$DRYDOCK_LAB_ADDRESS"
echo 1 >/proc/sys/net/ipv4/ip_forward
touch "$state/network-is-up"

trap : TERM INT HUP
while :; do
  sleep infinity &
  wait $! || true
done
