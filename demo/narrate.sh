# How the demo talks, and how it fails. Sourced, never run.

if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

chapter() { printf '\n%s━━ %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$*"; }
good() { printf '%s✓ %s%s\n' "$green" "$*" "$plain"; }
wrong() {
  printf '%s✗ %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

# shows COMMAND…: runs it before the reader's eyes.
shows() {
  local line="$*"
  line=${line/#ours/kubectl}
  printf '%s$ %s%s\n' "$dim" "${line#report_of }" "$plain"
  "$@" 2>&1 | sed 's/^/    /'
}

# ends CODE COMMAND…: as `shows`, and the exit code must be CODE.
ends() {
  local expected=$1 actual=0
  shift
  shows "$@" || actual=$?
  [[ $actual == "$expected" ]] || wrong "exit code $actual where $expected was expected"
  good "exit code $actual"
}

# within SECONDS WHAT COMMAND…: waits until COMMAND succeeds.
within() {
  local seconds=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || wrong "not within $seconds s: $what"
    sleep 0.2
  done
  good "$what"
}
