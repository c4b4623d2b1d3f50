#!/bin/sh
# SPDX-License-Identifier: MIT
# run_cache.sh - a second start of flashdec-run compiles nothing, and decodes the same
#
#     run_cache.sh FLASHDEC_RUN MANGLE
set -eu
run=$1 mangle=$2
unset FLASHDEC_CACHE_DIR POCL_CACHE_DIR # empty ones
. "$(dirname "$0")/run_lib.sh"
"$mangle" tiny "$tmp/model.gguf"

start() # OUT OPTIONS...
{
    out=$1
    shift
    timeout 300 "$run" -m "$tmp/model.gguf" --quiet --stats json --ids "$@" >"$out" 2>"$tmp/err" || fail "exit status $?"
    echo "$*: $(stat programs_compiled) compiled, $(stat programs_from_cache) from the cache," \
        "first token after $(stat time_to_first_token_ms) ms"
}

for options in '-n 8' '-n 8 --tokens 1,5,9 --temp 0.7 --kv f16'; do
    # shellcheck disable=SC2086 # several words
    start "$tmp/first" $options
    [ "$(stat programs_compiled)" -gt 0 ] || fail "the first start with $options compiled nothing"
    # shellcheck disable=SC2086
    start "$tmp/second" $options
    [ "$(stat programs_compiled)" -eq 0 ] || fail "the second start with $options compiled"
    [ "$(stat programs_from_cache)" -gt 0 ] || fail "the second start with $options loaded nothing"
    cmp "$tmp/first" "$tmp/second" || fail "the second start with $options decoded something else"
done
