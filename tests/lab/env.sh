# What every part of the lab shares: pinned versions, folders, and how it talks to the terminal. Sourced, never run.

KUBERNETES_VERSION=1.37.2
CONTAINERD_VERSION=2.4.2
HELM3_VERSION=3.17.3
HELM4_VERSION=4.3.1
CRANE_VERSION=0.22.1

# PostgreSQL's servers: npm package versions and the digests of their tarballs.
POSTGRES_MAJORS="13 14 15 16 17 18"
declare -A POSTGRES_VERSION=(
  [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17
  [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)
declare -A POSTGRES_SHA256=(
  [13]=4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1
  [14]=4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c
  [15]=6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182
  [16]=dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551
  [17]=5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b
  [18]=795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2
)

PG_DUMP_VERSION=18.6.3
PG_DUMP_SHA256=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65

LAB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/drydock-lab

# Progress goes to stderr: stdout is for what a command was asked for (a URL, a path).
say() { if [ -t 2 ]; then printf '\033[1mlab\033[0m  %s\n' "$*"; else printf 'lab  %s\n' "$*"; fi >&2; }
die() { printf 'lab: %s\n' "$*" >&2; exit 1; }
# takes COUNT "$@": for commands that need arguments.
takes() { (($# > $1)) || die "an argument is missing: see \`lab help\`"; }
# Closes what the caller has open, such as a lock: a process that stays must not hold it. For subshells.
close_inherited() {
  local descriptor
  for descriptor in "/proc/$BASHPID"/fd/*; do
    descriptor=${descriptor##*/}
    # 255 is bash's own.
    ((descriptor <= 2 || descriptor == 255)) || eval "exec $descriptor>&-"
  done
}

# Fills $CACHE/$1 once, whoever comes first: `fill NAME FUNCTION` calls FUNCTION with an empty folder that becomes
# $CACHE/NAME only when it succeeded, so a killed build leaves nothing that looks finished.
fill() {
  local target=$CACHE/$1 function=$2 lock
  [[ -e $target ]] && return
  mkdir -p "$(dirname "$target")" "$CACHE/.locks"
  exec {lock}>"$CACHE/.locks/${1//\//_}"
  if ! flock -n "$lock"; then
    say "waiting for another run that is making $1"
    flock "$lock"
  fi
  if [[ ! -e $target ]]; then
    rm -rf "$target".new
    mkdir -p "$target".new
    "$function" "$target".new || die "could not make $1 (the lines above say why); run the command again to try once more"
    mv "$target".new "$target"
  fi
  exec {lock}>&-
}
