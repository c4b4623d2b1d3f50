#!/bin/sh
# SPDX-License-Identifier: MIT
# steps.sh - one step of on-device, which starts it with a time limit and its output in a log
#
#     steps.sh NAME SECONDS PREFIX     PREFIX: of files that the step writes; PREFIX.log is its output
#
# From on-device: KIT_SOURCE, KIT_OUT, KIT_BUILD (folders), KIT_SHAPES, KIT_MODEL (files; no model: empty). The last
# line of the output says what came of it. Exit status 77: skipped.
set -u
name=$1 seconds=$2 prefix=$3
deadline=$(($(date +%s) + seconds - 2))
kit=$KIT_SOURCE/tools/kit
tools=$KIT_BUILD/tools
tune=$KIT_BUILD/tuner/flashdec-tune
trap 'echo "stopped in the middle of it"; exit 143' TERM # the running program got the signal too, and has ended

left() { echo $((deadline - $(date +%s))); }
skip() { echo "$*"; exit 77; }
have() { command -v "$1" >/dev/null 2>&1; }

# of_device KEY: what flashdec-info says of the chosen device
of_device() {
    "$tools/flashdec-info" --json | sed -n '/"chosen": true/,/}/ s/.*"'"$1"'": "\(.*\)".*/\1/p'
}

step_environment() {
    echo "flashdec $(sed -n "s/.*version: '\([0-9.]*\)'.*license.*/\1/p" "$KIT_SOURCE/meson.build")," \
        "commit $(git -C "$KIT_SOURCE" describe --always --dirty 2>/dev/null || echo unknown)"
    date -u
    uname -srvm
    cat /etc/os-release 2>/dev/null
    lscpu 2>/dev/null
    free -m 2>/dev/null
    for program in gcc meson ninja pkg-config python3 ld; do
        printf '%s: ' $program
        $program --version 2>/dev/null | head -n 1 | grep . || echo missing
    done
    cat "$KIT_OUT/drivers.txt"
    for lib in $(sed -n 's/^library \(.*\): .*/\1/p' "$KIT_OUT/drivers.txt"); do
        ldd "$lib" | grep 'not found' | sed "s|^|$lib needs|"
    done
    ! have nvidia-smi || nvidia-smi
    ! have nvidia-smi || nvidia-smi -q -d CLOCK,POWER,ECC
    ! have rocm-smi || rocm-smi --showproductname --showdriverversion --showclocks --showpower
    lscpu 2>/dev/null | sed -n 's/^Model name: *//p'
}

step_build() {
    if [ "$KIT_BUILD" != "$KIT_OUT/build" ]; then
        echo "$KIT_BUILD is taken as it is"
        return 0
    fi
    rm -rf "$KIT_BUILD"
    if ! meson setup "$KIT_BUILD" "$KIT_SOURCE" -Dtests=true; then
        echo '-- once more, without tests'
        rm -rf "$KIT_BUILD"
        meson setup "$KIT_BUILD" "$KIT_SOURCE" -Dtests=false || return 1
    fi
    ninja -C "$KIT_BUILD"
}

step_clinfo() {
    have clinfo || skip 'there is no clinfo'
    clinfo
    clinfo -l
    devices=$(clinfo -l | grep -c 'Device #')
    echo "$devices OpenCL devices"
    [ "$devices" -gt 0 ]
}

step_info() {
    "$tools/flashdec-info" --json >"$prefix.json" && "$tools/flashdec-info" || return 1
    echo "$(of_device name) ($(of_device type)), $(of_device platform) $(of_device driver)"
}

step_selftest() {
    "$tools/flashdec-info" --self-test --json >"$prefix.json"
    status=$?
    awk '/"self_test":/ {on = 1} on && /"pass": true/ {good++} on && /"pass": false/ {bad++} /"context":/ {on = 0}
         END {printf "%d variants passed, %d failed\n", good, bad}' "$prefix.json"
    return $status
}

step_smoke() {
    demo=$KIT_SOURCE/data/demo
    "$tools/flashdec-run" -m "$demo.gguf" -n 255 --temp 0 --ids --stats json >"$prefix.ids" || return 1
    if [ -n "$KIT_MODEL" ]; then
        "$tools/flashdec-run" -m "$KIT_MODEL" -n 128 --temp 0 --ignore-eos --stats json || return 1
        echo
    fi
    [ -x "$KIT_BUILD/tests/golden" ] || skip 'decoded; without tests nothing compares the tokens'
    "$KIT_BUILD/tests/golden" "$demo-golden.json" f16 ids "$prefix.ids" 0 && echo "the golden tokens"
}

# suites NAME...: their tests, but those that bring a driver of their own and the one that runs this. The two of minutes
# each come last, so that a short time does not end in the midst of both and of nothing else
suites() {
    [ -d "$KIT_BUILD/tests" ] || skip 'built without tests'
    for suite in "$@"; do set -- "$@" --suite "$suite"; shift; done
    meson test -C "$KIT_BUILD" --no-rebuild --list "$@" 2>/dev/null | sed -n 's|^flashdec:[^/]* / ||p' |
        grep -v -e rusticl -e oclgrind -e 'on device' >"$KIT_OUT/tmp/names"
    processes=$(nproc)
    [ "$processes" -le 8 ] || processes=8
    newline='
'
    IFS=$newline
    set -f
    status=0
    echo "$(grep -c . "$KIT_OUT/tmp/names") tests"
    for which in -v -x; do
        names=$(grep $which -e '^checkcl attn$' -e '^checkcl linear$' "$KIT_OUT/tmp/names") || continue
        # shellcheck disable=SC2086 # a name a line
        meson test -C "$KIT_BUILD" --no-rebuild --print-errorlogs --num-processes "$processes" --logbase on-device "$@" \
            $names || status=$?
    done
    unset IFS
    rm -f "$KIT_OUT/tmp/names"
    return $status
}

step_tests() { suites kernels; }
step_programs() { suites headers unit programs; }

# bench OPTIONS: each problem of the list while there is time, a JSON line each
bench() {
    worst=0
    while read -r problem; do
        case $problem in '' | '#'*) continue ;; esac
        [ "$(left)" -gt 2 ] || { echo "no time for: $problem"; continue; }
        # shellcheck disable=SC2086 # words
        timeout "$(left)" "$tools/flashdec-bench" $problem --json --rounds 9 --seconds 4 "$@" >"$prefix.line" \
            </dev/null
        status=$?
        [ $status -ne 124 ] || { echo "no time for: $problem"; continue; }
        [ $status -eq 0 ] || { echo "exit status $status: $problem"; worst=1; }
        cat "$prefix.line"
        cat "$prefix.line" >>"$prefix.jsonl"
    done <"$KIT_SHAPES"
    rm -f "$prefix.line"
}

# timed: how much bench has; nothing is a failure
timed() {
    [ -s "$prefix.jsonl" ] || { echo 'nothing was timed'; return 1; }
    echo "$(grep -c . "$prefix.jsonl") problems"
    return $worst
}

step_bench() {
    export XDG_DATA_HOME="$KIT_OUT/none" # without the table of an earlier run in this folder
    bench
    if [ "$KIT_SHAPES" = "$kit/shapes" ] && [ "$(left)" -gt 20 ]; then
        timeout "$(left)" "$tools/flashdec-bench" all --json --rounds 5 --seconds 1 --no-peers >>"$prefix.jsonl"
        status=$?
        [ $status -eq 0 ] || [ $status -eq 124 ] || worst=1
    fi
    timed
}

step_tuned() {
    [ -n "$(ls "$KIT_OUT"/data/flashdec/*.json 2>/dev/null)" ] || skip 'there is no table'
    bench --without-table
    timed
}

# tune_shapes SHAPES PERCENT: this share of the whole step's time, if it is still there
tune_shapes() {
    budget=$(((seconds - 10) * $2 / 100))
    [ "$budget" -le $(($(left) - 3)) ] || budget=$(($(left) - 3))
    [ "$budget" -ge 5 ] || { echo "no time for: $1"; return 0; }
    echo "== $1, $budget s"
    "$tune" --shapes "$1" --budget "$budget" || worst=1
}

step_tune() {
    worst=0 timed=$KIT_OUT/tmp/timed
    sed -n 's/.*"problem":"\([^"]*\)".*/\1/p' "${prefix%/*}"/*-bench.jsonl 2>/dev/null | sort -u >"$timed"
    if [ -s "$timed" ]; then # what the benchmark measures again afterwards
        tune_shapes "$timed" 50
        tune_shapes "${KIT_MODEL:-llama3-8b}" 25
    else
        tune_shapes "${KIT_MODEL:-llama3-8b}" 75
    fi
    tune_shapes "$KIT_SOURCE/data/demo.gguf" 25
    for log in "$KIT_OUT"/state/flashdec/*.jsonl; do
        [ ! -f "$log" ] || "$tune" report "$log" --out "$KIT_OUT/logs/$(basename "$log" .jsonl).html" || worst=1
    done
    for table in "$KIT_OUT"/data/flashdec/*.json; do
        [ -f "$table" ] || { echo 'the time was not enough for a table'; return 1; }
        "$tune" check "$table" || return 1
        echo "$(basename "$table"): $(grep -c '"class".*"range"' "$table") entries"
    done
    return $worst
}

step_peers() {
    have python3 || skip 'there is no python3'
    kind=gpu
    [ "$(of_device type)" != CPU ] || kind=cpu
    python3 "$kit/peers.py" "$tools/flashdec-bench" "$KIT_SHAPES" "$(left)" "$prefix.jsonl" $kind
}

step_"$name"
