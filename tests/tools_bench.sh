#!/bin/sh
# SPDX-License-Identifier: MIT
# tools_bench.sh - flashdec-bench: JSON lines, forced choices, exit statuses. Nothing here depends on speed
#
#     tools_bench.sh FLASHDEC-BENCH JSONKEYS LIBRARY...     LIBRARY: what the benchmark was built to compare with
set -u
bench=$1 jsonkeys=$2
shift 2
libraries=$*
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

wrong() {
    echo "FAIL: $*" >&2
    sed 's/^/    /' "$dir/err" >&2
    failed=1
}

# lines OP N ARGS: exit 0 and N good lines on standard output
lines() {
    op=$1 n=$2
    shift 2
    "$bench" --json --rounds 3 "$@" >"$dir/out" 2>"$dir/err" || { wrong "$*: exit $?"; return; }
    "$jsonkeys" "$op" "$n" <"$dir/out" 2>>"$dir/err" || { cat "$dir/out" >>"$dir/err"; wrong "$*: its lines"; }
}

# has TEXT: the last line printed has it
has() {
    grep -qF -e "$1" "$dir/out" || { cat "$dir/out" >>"$dir/err"; wrong "no $1 in the line"; }
}

# refused STATUS TEXT ARGS: this exit status, nothing on standard output, and the text on standard error
refused() {
    status=$1 text=$2
    shift 2
    "$bench" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    [ "$got" -eq "$status" ] || wrong "$*: exit $got, $status expected"
    [ -s "$dir/out" ] && wrong "$*: something on standard output"
    grep -qF -e "$text" "$dir/err" || wrong "$*: no '$text' on standard error"
}

refused 2 'one benchmark expected'
refused 2 'no such benchmark' gemm
refused 2 'one benchmark expected' attn linear
refused 2 'bad option' attn --nonsense
refused 2 '--batch 0: ' attn --batch 0
refused 2 '--batch 1x: ' attn --batch 1x
refused 2 '--context -5: ' attn --context -5
refused 2 '--context 99999999999999999999: ' attn --context 99999999999999999999
refused 2 '--m is no option of attn' attn --m 4
refused 2 '--q-len 65: ' attn --q-len 65
refused 2 '--act q8_0: ' attn --act q8_0
refused 2 '--v-type q4_0: ' attn --v-type q4_0
refused 2 '--window 0: ' attn --window 0
refused 2 'multiple' attn --kv q8_0 --head-dim 72
refused 2 '--contexts 16: ' attn --contexts 16
refused 2 '--contexts 16,16,16: ' attn --contexts 16,16,16
refused 2 '--contexts 16,0,32: ' attn --contexts 16,0,32
refused 2 '--contexts 16,32,64,: ' attn --contexts 16,32,64,
refused 2 'exclude each other' attn --context 16 --contexts 16,32,64
refused 2 '--kv f: ' attn --kv f
refused 2 '--layout tbgd: ' attn --layout tbgd
refused 2 '--layout is no option of linear' linear --layout bgtd
refused 2 '--scheme fast: ' attn --scheme fast
refused 2 '--weights q3_k: ' linear --weights q3_k
refused 2 'no multiple of q4_0' linear --weights q4_0 --k 48
refused 2 '--impl online: ' linear --impl online
refused 2 '--sweep and --m exclude each other' linear --sweep --m 4
refused 2 '--svg plots a --sweep' linear --svg "$dir/sweep.svg"
refused 2 '--sweep is no option of attn' attn --sweep
refused 2 '--clblast-tuned and --no-peers exclude each other' linear --no-peers --clblast-tuned "$dir/none.json"
refused 2 '--seconds 0: ' softmax --seconds 0
refused 2 '--rounds 0: ' softmax --rounds 0
refused 2 'attn:f16' attn --heads 3 --kv-heads 2
refused 2 'attn:f16' attn --head-dim 1000
refused 2 'd=12' attn --head-dim 12
refused 1 'GiB, the device has' attn --kv-heads 1 --context 20000000
refused 1 'no-such-device' softmax --device no-such-device

"$bench" --help | grep -q -- --page-size || wrong '--help'
"$bench" --version | grep -q '^[0-9]*\.[0-9]*\.[0-9]*$' || wrong '--version'
for option in $("$bench" --help | grep -o -e '--[a-z-]*' | sort -u); do
    grep -qF -e "$option" "$(dirname "$0")/../docs/flashdec-bench.1.scd" || wrong "$option is not in the man page"
done

lines softmax 1 softmax --rows 2 --cols 100 --without-table --no-peers
has '"peers":[]' # there is no table: nothing else to time
lines attn 1 attn --heads 8 --kv-heads 2 --head-dim 64 --context 700
has '"problem":"attn:f16 b=1 h=8/2 d=64 n=700"'
has '"naive three-kernel"'
lines attn 1 attn --heads 4 --head-dim 32 --context 300 --scheme unified --no-peers
has '-unified","config"'
has '"peers":[]'
lines attn 1 attn --heads 4 --head-dim 32 --context 300 --scheme online --kv f32
has '-online","config"'
has '"naive three-kernel"'
lines attn 1 attn --batch 3 --heads 4 --head-dim 32 --context 300 --scheme pair --page-size 16 --no-peers
has '-pair","config"'
has 'b=3 h=4/4 d=32 n=300 page=16"'
lines attn 1 attn --heads 8 --kv-heads 2 --head-dim 64 --v-head-dim 32 --context 300 --q-len 3 --kv bf16 --v-type q8_0 --act f16 --window 200
has '"problem":"attn:bf16/q8_0 b=1 h=8/2 d=64/32 q=3 n=300 window=200 act=f16"'
has '"peers":[]'
lines attn 1 attn --heads 8 --kv-heads 2 --head-dim 64 --context 300 --kv q8_0 --page-size 7
has '"problem":"attn:q8_0 b=1 h=8/2 d=64 n=300 page=7"'
for page in '' '--page-size 7'; do # keys and values of unlike width, and heads that no other layout puts in the same place
    lines attn 1 attn --batch 2 --heads 6 --kv-heads 3 --head-dim 64 --v-head-dim 32 --context 300 --layout bgtd $page
done
lines any 4 attn --heads 4 --head-dim 32 --no-peers --contexts 200,400,800
has '"op":"fit","problem":"attn:f16 h=4/4 d=32 b=1"'
"$bench" attn --heads 4 --head-dim 32 --no-peers --rounds 3 --contexts 200,400,800 >"$dir/out" 2>"$dir/err" || wrong '--contexts for people'
has 'us * context, largest relative residual'
lines linear 1 linear --m 3 --n 200 --k 333 --weights f32
for library in $libraries; do
    if [ "$library" = clblast ]; then
        has '"clblast W[N,K]"'
        has '"clblast W[K,N]"'
        has '"clblast gemv"'
    elif grep -qE '"device":"(pthread|cpu)' "$dir/out"; then
        has "\"$library\""
    fi
done
for impl in gemv flat gemm; do
    lines linear 1 linear --m 2 --n 256 --k 256 --impl $impl --no-peers
done

# a sweep: 64 lines and the verdicts; the picture is XML with one line in it for each series
one_path_each='
import sys, xml.etree.ElementTree as tree
series = [g for g in tree.parse(sys.argv[1]).iter() if g.get("id", "").startswith("gnuplot_plot_")]
paths = [sum(1 for e in g.iter() if e.tag.endswith("}path")) for g in series]
assert paths == [1] * int(sys.argv[2]), paths'
lines linear 65 linear --n 64 --k 200 --weights f32 --sweep --seconds 1 --svg "$dir/sweep.svg"
has '"op":"sweep","problem":"linear:f32 n=64 k=200"'
series=$(grep -m 1 '"problem":"linear:f32 m=64 ' "$dir/out" | grep -o '"speedup"' | wc -l)
python3 -c "$one_path_each" "$dir/sweep.svg" $((series + 2)) 2>"$dir/err" || wrong 'the SVG of a sweep'
[ -z "$(ls "$dir" | grep 'svg.')" ] || wrong 'a temporary file beside the SVG'
# gemv is made for one token: its steps are too long, and told why
lines linear 65 linear --n 512 --k 2048 --weights q8_0 --sweep --impl gemv --no-peers
"$bench" linear --n 512 --k 2048 --weights q8_0 --sweep --impl gemv --no-peers --rounds 1 >"$dir/out" 2>"$dir/err" ||
    wrong '--sweep for people'
[ "$(grep -c '^linear:q8_0 m=' "$dir/out")" -eq 64 ] || wrong 'one line for each M'
has 'sweep of linear:q8_0 n=512 k=2048: step: '
why="memory-bound; [0-9.]* us with W in the cache, [0-9.]* us for its bytes: "
long=$(grep -c '^violation of step at M=' "$dir/out")
[ "$(grep -c "$why\(memory\|arithmetic\)'s$" "$dir/out")" -eq "$long" ] || wrong 'each long step and its reason'
[ "$long" -eq 0 ] || has ", $(grep -c "$why"memory "$dir/out") of them memory's by the clock; pad: "
env PATH="$dir" "$bench" linear --sweep --svg "$dir/none.svg" >"$dir/out" 2>"$dir/err" && wrong 'exit 0 without gnuplot'
grep -q 'needs gnuplot' "$dir/err" || wrong 'the missing gnuplot is not told'
[ -e "$dir/none.svg" ] && wrong 'an SVG without gnuplot'

# parameters as a tuner of CLBlast leaves them
case " $libraries " in *' clblast '*)
    echo '{"kernel_family": "xgemm_direct_2", "best_parameters":
          "KWID=2 MDIMAD=8 MDIMCD=8 NDIMBD=8 NDIMCD=8 PADA=1 PADB=1 VWMD=1 VWND=1 WGD=8"}' >"$dir/direct.json"
    lines linear 1 linear --m 3 --n 64 --k 64 --weights f32 --clblast-tuned "$dir/direct.json"
    has '"clblast tuned W[N,K]"'
    echo '{"kernel_family": "xgemm_direct_2", "best_parameters": "WGD=8"}' >"$dir/direct.json"
    refused 1 "CLBlast's error" linear --weights f32 --clblast-tuned "$dir/direct.json"
    refused 1 'not what a tuner of CLBlast writes' linear --weights f32 --clblast-tuned "$jsonkeys"
esac
for impl in three-pass online two-pass; do
    lines softmax 1 softmax --rows 2 --cols 5000 --impl $impl
done

# a kernel that is wrong by a thousandth is caught, and not timed
mkdir "$dir/cl"
cp "$(dirname "$0")"/../cl/*.h "$dir/cl"
{ echo '#define fma(a, b, c) ((a) * (b) + 1.001f * (c))'; cat "$(dirname "$0")/../cl/softmax.cl"; } >"$dir/cl/softmax.cl"
FLASHDEC_CL_DIR=$dir/cl "$bench" softmax --json --rounds 3 >"$dir/out" 2>"$dir/err" && wrong 'exit 0 for a wrong result'
has '"median_us":null'
grep -q 'wrong result' "$dir/err" || wrong 'the wrong result is not told'

"$bench" softmax --rounds 3 >"$dir/out" 2>"$dir/err" || wrong 'the table for people'
[ "$(grep -c 'softmax:f32 rows=1 cols=32000' "$dir/out")" -eq 1 ] || wrong 'one line for one problem'
exit $failed
