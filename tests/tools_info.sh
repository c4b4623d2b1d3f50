#!/bin/sh
# SPDX-License-Identifier: MIT
# tools_info.sh - flashdec-info: what it shows, the self-test, warming, and machines without a device
#
#     tools_info.sh FLASHDEC-INFO MODEL.gguf
set -u
info=$1 model=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
FLASHDEC_CACHE_DIR=$dir/cache
export FLASHDEC_CACHE_DIR
failed=0

wrong() {
    echo "FAIL: $*" >&2
    tail -n 25 "$dir/out" "$dir/err" >&2
    failed=1
}

# run STATUS ARGS
run() {
    status=$1
    shift
    "$info" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ "$got" -eq "$status" ] || wrong "$*: exit $got, $status expected"
}

has() {
    grep -q -e "$1" "$dir/out" || wrong "no '$1' on standard output"
}

run 2 --nonsense
run 2 argument
run 0 --help
for option in $(grep -o -e '--[a-z-]*' "$dir/out" | sort -u); do
    grep -qF -e "$option" "$(dirname "$0")/../docs/flashdec-info.1.scd" || wrong "$option is not in the man page"
done
run 0 --version
has '^[0-9]*\.[0-9]*\.[0-9]*$'

run 0
has '^devices'
has '^\*'
has 'fp16_storage: '
has 'works$'
has '^tuning table'
has '^linear:f16 m=64 n=4096 k=4096 on '
run 0 --json
for key in version devices context kernels crossings choices; do
    has "^  \"$key\": "
done

run 1 --device no-such-device
grep -q no-such-device "$dir/err" || wrong 'a device that is not there is not named'
has '^devices'

# no driver at all
mkdir "$dir/none"
OCL_ICD_VENDORS=$dir/none OPENCL_VENDOR_PATH=$dir/none "$info" >"$dir/out" 2>"$dir/err" && wrong 'exit 0 without a device'
has 'none: no OpenCL driver'
[ -s "$dir/err" ] || wrong 'no message without a device'
OCL_ICD_VENDORS=$dir/none OPENCL_VENDOR_PATH=$dir/none "$info" --json >"$dir/out" 2>"$dir/err" && wrong 'exit 0 without a device'
has '"devices": \[\]'
has '"error": '

# By way of a folder of headers, so that the wrong kernel below is all that is compiled again.
mkdir "$dir/cl"
cp "$(dirname "$0")"/../cl/*.h "$dir/cl"
export FLASHDEC_CL_DIR=$dir/cl
run 0 --self-test
has ' pass '
grep -q FAIL "$dir/out" && wrong 'a self-test failed'
for problem in 'attn:q8_0/bf16 .* q=5 ' 'attn:bf16/q8_0 .* page=7 '; do
    has " pass  $problem"
done
for variant in unified online pair gemv flat gemm; do
    has " pass .*$variant"
done

{ echo '#define fma(a, b, c) ((a) * (b) + 1.001f * (c))'; cat "$(dirname "$0")/../cl/softmax.cl"; } >"$dir/cl/softmax.cl"
"$info" --self-test >"$dir/out" 2>"$dir/err" && wrong 'exit 0 with a wrong kernel'
unset FLASHDEC_CL_DIR
has ' FAIL  softmax:.* softmax/two-pass'
has ' pass  linear:'
has '^  softmax/two-pass .*denied'

# a table that is none is refused by name
echo '{}' >"$dir/table.json"
FLASHDEC_TABLE=$dir/table.json "$info" >"$dir/out" 2>"$dir/err" && wrong 'exit 0 with a table that is none'
grep -q table.json "$dir/err" || wrong 'the bad table is not named'

run 1 --warm "$dir/none.gguf"
grep -q none.gguf "$dir/err" || wrong 'the missing model is not named'
if [ -f "$model" ]; then
    run 0 --warm "$model"
    has '^warmed .* programs compiled'
    run 0 --warm "$model"
    has '^warmed .*: 0 programs compiled'
else
    wrong "$model is not there"
fi
exit $failed
