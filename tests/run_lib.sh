# SPDX-License-Identifier: MIT
# run_lib.sh - what the run_*.sh tests share; read by them with "." after $run is set. Makes $tmp and private caches.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
: "${FLASHDEC_CACHE_DIR:=$tmp/cache}" "${POCL_CACHE_DIR:=$tmp/pocl}"
export FLASHDEC_CACHE_DIR POCL_CACHE_DIR
unset FLASHDEC_LOG
mkdir -p "$POCL_CACHE_DIR"
n_checks=0

fail()
{
    echo "FAIL: $*" >&2
    [ ! -s "$tmp/err" ] || sed 's/^/  stderr: /' "$tmp/err" >&2
    exit 1
}

# refused STATUS PATTERN OPTIONS...: this exit status, nothing on standard output, one line with PATTERN on standard error
refused()
{
    want=$1 pattern=$2
    shift 2
    status=0
    timeout 120 "$run" "$@" >"$tmp/out" 2>"$tmp/err" || status=$?
    [ "$status" -eq "$want" ] || fail "$*: exit status $status, not $want"
    [ ! -s "$tmp/out" ] || fail "$*: something on standard output"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "$*: not one line on standard error"
    grep -q -- "$pattern" "$tmp/err" || fail "$*: the line says nothing of \"$pattern\""
    n_checks=$((n_checks + 1))
}

# stat NAME: a number of the last run's --stats json, its standard error being in $tmp/err
stat()
{
    tail -n 1 "$tmp/err" | sed -n "s/.*\"$1\":\([-0-9.e+]*\)[,}].*/\1/p"
}
