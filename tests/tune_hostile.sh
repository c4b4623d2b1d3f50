#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_hostile.sh - candidates that hang, crash, are wrong or do not build: each is named, none gets into the table, and the
# tuner goes on. They are made by changing softmax.cl, through FLASHDEC_CL_DIR, in single configurations.
#
#     tune_hostile.sh FLASHDEC-TUNE
set -u
tune=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_STATE_HOME="$dir/state" XDG_DATA_HOME="$dir/data" XDG_CACHE_HOME="$dir/cache" POCL_CACHE_DIR="$dir/pocl"
export FLASHDEC_CL_DIR="$dir/cl"
mkdir "$POCL_CACHE_DIR" "$FLASHDEC_CL_DIR"
failed=0

wrong() {
    echo "FAIL: $*" >&2
    sed 's/^/    /' "$dir/out" "$dir/err" >&2
    failed=1
}

cp "$(dirname "$0")"/../cl/* "$FLASHDEC_CL_DIR"
awk '
    /^kernel void softmax_online\(/     { evil = "    volatile int forever = 1;\n    while (VEC == 16 && forever) {\n    }" }
    /^kernel void softmax_two_pass\(/   { evil = "    if (VEC == 16)\n        *(volatile global int *) (y_bytes + 8) = 1;" }
    /^kernel void softmax_three_pass\(/ { evil = "    if (VEC == 16)\n        return;" }
    { print }
    /SOFTMAX_BUFFERS\(BUFFER_BEGIN\)/   { if (evil != "") print evil; evil = "" }
    NR == 1                             { print " */\n#if VEC == 4\n#error \"hostile: does not build\"\n#endif\n/*" }
' "$(dirname "$0")/../cl/softmax.cl" >"$FLASHDEC_CL_DIR/softmax.cl"
echo 'softmax:f32 rows=1 cols=500' >"$dir/list"

# tune: everything there is, within short limits
tune() {
    "$tune" --shapes "$dir/list" --budget 0 --limits 60,3,2 --out "$dir/table.json" >"$dir/out" 2>"$dir/err" ||
        wrong "exit $? with hostile candidates"
}

says() {
    grep -q -e "$1" "$dir/err" || wrong "no '$1'"
}

tune
says 'hang: softmax/online@.* VEC=16 .*phase first'
says 'crash: softmax/two-pass@.* VEC=16 .*signal'
says 'wrong result: softmax/three-pass@.* VEC=16 '
says 'compile error: softmax/.* VEC=4 .*hostile'
"$tune" check "$dir/table.json" >"$dir/out" 2>"$dir/err" || wrong "the table is not valid"
grep -q 'denied: softmax/three-pass' "$dir/out" || wrong "a wrong kernel is not denied"
grep -q '"complete": *true' "$dir/table.json" || wrong "the table is not complete"
grep -q 'rows=1 .*softmax/' "$dir/out" || wrong "no entry"
if grep -q 'rows=1 .*\(VEC=16\|VEC=4\|three-pass\)' "$dir/out"; then
    wrong "a hostile candidate is in the table"
fi

# Once more: a hang and a crash are tried a second time, then never again.
tune
says 'hang: softmax/online'
says 'crash: softmax/two-pass'
tune
if grep -q -e hang -e crash -e "wrong result" -e 'compile error' "$dir/err"; then
    wrong "a hostile candidate is tried a third time"
fi
"$tune" check "$dir/table.json" >"$dir/out" 2>"$dir/err" || wrong "the table is not valid"
for denied in 'softmax/online@1 VEC=16 WG=1 for softmax:f32 cols=500, hang' 'softmax/two-pass@1 VEC=16 WG=1 for softmax:f32 cols=500, crash'; do
    grep -q "denied: $denied" "$dir/out" || wrong "no '$denied' in the deny list"
done

exit $failed
