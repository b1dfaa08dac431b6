# How the demo talks, and how it fails. Sourced, never run.

if [[ -t 1 ]]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' dim='' green='' red='' plain=''
fi

chapter() { printf '\n%s━━ %s%s\n' "$bold" "$*" "$plain"; }
command_line() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
good() { printf '%s✓ %s%s\n' "$green" "$*" "$plain"; }
wrong() {
  trap - ERR
  printf '%s✗ %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}
# Nothing fails without a word, nor with two: a subshell leaves it to its parent.
set -E
trap '((BASH_SUBSHELL)) || wrong "${BASH_SOURCE[0]##*/}, line $LINENO: this should have succeeded"' ERR

# The output of a command below its line, without the lines of the migration tool itself.
below() {
  sed -u -e '/^Traceback /,/^(Background on/d' -e '/^INFO /d' -e '/^ *Last lines of the command$/,/^ *$/c\[…]\n' |
    sed -u 's/^./    &/'
}

# shows COMMAND…: runs it before the reader's eyes, as he could type it.
shows() {
  local line="$*"
  [[ $line != *"'"* && $line == *[{\(\"]* ]] && line=$(printf "%s " "${@:1:$#-1}")"'${*: -1}'"
  line=${line/#ours/kubectl}
  command_line "${line//$root\//}"
  "$@" 2>&1 | below
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
