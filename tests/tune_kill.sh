#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_kill.sh - flashdec-tune killed and stopped: workers die with it, nothing measured is lost, the table stays whole
#
#     tune_kill.sh FLASHDEC-TUNE
set -u
tune=$1
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
export XDG_STATE_HOME="$dir/state" XDG_DATA_HOME="$dir/data" XDG_CACHE_HOME="$dir/cache" POCL_CACHE_DIR="$dir/pocl"
mkdir "$POCL_CACHE_DIR"
failed=0
cat >"$dir/list" <<'LIST'
linear:f32 m=1 n=64 k=64
linear:f32 m=8 n=64 k=64
softmax:f32 rows=1 cols=512 # a comment
LIST

wrong() {
    echo "FAIL: $*" >&2
    sed 's/^/    /' "$dir/err" >&2
    failed=1
}

# start BUDGET: in the background, $pid
start() {
    "$tune" --shapes "$dir/list" --budget "$1" --out "$dir/table.json" >"$dir/out" 2>"$dir/err" &
    pid=$!
}

# Lines of the log with a finished measurement.
finished() {
    cat "$dir"/state/flashdec/*.jsonl 2>/dev/null | grep -c '"outcome":"ok"'
}

# until_finished N: waits for N measurements in the log
until_finished() {
    tenths=0
    while [ "$(finished)" -lt "$1" ]; do
        [ $tenths -lt 450 ] || { wrong "no $1 measurements after 45 s"; exit 1; }
        sleep 0.1
        tenths=$((tenths + 1))
    done
}

# Processes of this test's tuner that are left: each has the state directory in its command line.
workers() {
    for cmdline in /proc/[0-9]*/cmdline; do
        { tr '\0' ' ' <"$cmdline"; } 2>/dev/null | grep -e "--worker $dir" || :
    done | wc -l
}

# kill -9: the worker is gone within a second, what was measured is there, and is used again.
start 60
until_finished 2
seen=0
for attempt in 1 2 3 4 5 6 7 8 9 10; do # there is none between two candidates
    seen=$(workers)
    [ "$seen" -eq 0 ] || break
done
[ "$seen" -eq 1 ] || wrong "$seen workers at once"
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
sleep 1
[ "$(workers)" -eq 0 ] || wrong "a worker outlived its parent"
kept=$(finished)
start 60
until_finished $((kept + 2))
grep -q "$kept measurements of earlier runs are used again" "$dir/err" || wrong "not all of the $kept measurements are used again"

# Ctrl-C: exit 0 at once, with a table.
kill -INT "$pid"
tenths=0
while kill -0 "$pid" 2>/dev/null && [ $tenths -lt 20 ]; do
    sleep 0.1
    tenths=$((tenths + 1))
done
[ $tenths -lt 20 ] || wrong "still running two seconds after SIGINT"
wait "$pid"
status=$?
pid=
[ $status -eq 0 ] || wrong "exit $status after SIGINT"
grep -q 'stopped: the best so far is kept' "$dir/err" || wrong "no word about being stopped"
grep -q '"complete": *false' "$dir/table.json" || wrong "the table of a stopped run does not say that it is incomplete"
"$tune" check "$dir/table.json" >"$dir/out" 2>"$dir/err" || wrong "the table of a stopped run is not valid"
[ "$(workers)" -eq 0 ] || wrong "a worker is left after SIGINT"
again=$(cat "$dir"/state/flashdec/*.jsonl | grep '"outcome":"ok"' | sed 's/.*\("kernel".*"problem":"[^"]*"\).*/\1/' | sort | uniq -d)
[ -z "$again" ] || wrong "measured twice: $again"

exit $failed
