# SPDX-License-Identifier: MIT
# tune_lib.sh - what tests of flashdec-tune's commands share: a folder of their own, commands and what they say

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_STATE_HOME="$dir/state" XDG_DATA_HOME="$dir/data" XDG_CACHE_HOME="$dir/cache" POCL_CACHE_DIR="$dir/pocl"
mkdir "$POCL_CACHE_DIR"
failed=0

wrong() {
    echo "FAIL: $*" >&2
    cat "$dir/out" "$dir/err" | head -n 100 | sed 's/^/    /' >&2
    failed=1
}

# expect STATUS COMMAND...
expect() {
    status=$1
    shift
    "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ "$got" -eq "$status" ] || wrong "$*: exit $got, $status expected"
}

says() {
    grep -q -e "$1" "$dir/out" "$dir/err" || wrong "no '$1' in the output"
}
