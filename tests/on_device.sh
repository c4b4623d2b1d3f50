#!/bin/sh
# SPDX-License-Identifier: MIT
# on_device.sh - tools/on-device with a build that is there: what it writes, a driver without ICD file, a sudden end
#
#     on_device.sh BUILD
set -u
build=$1
kit=$(cd "$(dirname "$0")/../tools" && pwd)/on-device
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0

wrong() {
    echo "FAIL: $*" >&2
    cat "$dir/said" "$out"/summary.md 2>/dev/null | sed 's/^/    /' >&2
    failed=1
}

# expect STATUS OPTIONS...
expect() {
    status=$1
    shift
    "$kit" "$@" >"$dir/said" 2>&1
    got=$?
    [ $got -eq "$status" ] || wrong "on-device $*: exit $got, $status expected"
}

state_of() { awk -F '\t' -v step="$1" '$2 == step {print $3}' "$out/steps.tsv"; }

# Usage, and nothing of somebody else's is touched.
out=$dir/none
expect 2
expect 2 "$out" --nonsense
expect 2 "$out" --time soon
expect 2 "$out" --time
expect 2 "$out" --steps build,dance
expect 2 "$out" --packages "$dir/none"
expect 2 "$dir"/with\ blank
[ ! -e "$out" ] || wrong 'a refused call made its folder'
mkdir "$dir/taken"
touch "$dir/taken/file"
expect 2 "$dir/taken"
expect 0 --help
for option in $(grep -o -e '^ *--[a-z-]*' "$dir/said"); do
    grep -qF -e "$option" "$(dirname "$0")/../docs/on-device.md" || wrong "$option is not in docs/on-device.md"
done

# Little work, whole: it ends when it is done, long before its time.
out=$dir/whole
echo 'softmax --rows 2 --cols 300' >"$dir/shapes"
expect 0 "$out" --time 300 --build "$build" --shapes "$dir/shapes" --steps environment,build,clinfo,info,bench
for step in environment build clinfo info bench; do
    [ "$(state_of $step)" = passed ] || wrong "$step: $(state_of $step)"
done
for file in summary.md summary.html 01-environment.log 04-info.json 08-bench.jsonl drivers.txt; do
    [ -s "$out/$file" ] || wrong "no $file"
done
grep -q '^| softmax:f32 rows=2 cols=300 | [0-9]' "$out/summary.md" || wrong 'the benchmark is not in the summary'
grep -q '^# flashdec on [^ ]' "$out/summary.md" || wrong 'the device is not in the summary'
grep -q '^<tr><td> softmax:f32 rows=2 cols=300 ' "$out/summary.html" || wrong 'the benchmark is not on the page'

# More steps in the same folder: the others stay. How far the tuner gets is a matter of the machine's load.
"$kit" "$out" --time 50 --build "$build" --shapes "$dir/shapes" --steps tune >"$dir/said" 2>&1
[ "$(state_of bench)" = passed ] || wrong 'a second run dropped what the first had'
if [ "$(state_of tune)" = passed ]; then
    ls "$out"/tables/*.json >/dev/null || wrong 'no table was kept'
    ls "$out"/logs/*.jsonl >/dev/null || wrong 'no log was kept'
fi

# A sudden end leaves a summary, and no process.
out=$dir/short
"$kit" "$out" --build "$build" --shapes "$dir/shapes" --steps environment,tune >"$dir/said" 2>&1 &
pid=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ ! -s "$out/09-tune.log" ] || break
    sleep 1
done
kill -TERM $pid
wait $pid
got=$?
[ $got -eq 1 ] || wrong "after SIGTERM: exit $got"
[ "$(state_of tune)" = stopped ] || wrong "the step that a signal ended: $(state_of tune)"
grep -q '^| tune | stopped |' "$out/summary.md" || wrong 'the summary does not tell of the signal'
! grep -lsz "^TMPDIR=$out/tmp\$" /proc/[0-9]*/environ || wrong 'processes are left'

# A driver that no ICD file names.
pocl=$(ls /usr/lib/*/libpocl.so.2 /usr/lib/libpocl.so.2 2>/dev/null | head -n 1)
if [ -n "$pocl" ]; then
    out=$dir/found
    mkdir "$dir/drivers" "$dir/empty"
    ln -s "$pocl" "$dir/drivers/libnvidia-opencl.so.1"
    export OCL_ICD_VENDORS="$dir/empty"
    unset OPENCL_VENDOR_PATH
    expect 0 "$out" --build "$build" --drivers "$dir/drivers" --steps environment,build,info
    [ "$(cat "$out/vendors/nvidia-opencl.icd")" = "$(readlink -f "$pocl")" ] || wrong 'no ICD file'
    [ "$(ls "$out/vendors")" = nvidia-opencl.icd ] || wrong 'one driver, several ICD files'
    grep -q 'Portable Computing Language' "$out/summary.md" || wrong 'the driver without ICD file was not used'
fi

exit $failed
