#!/bin/sh
# SPDX-License-Identifier: MIT
# summary.sh - summary.md and summary.html of a folder that on-device fills, made of what is there
#
#     summary.sh OUTDIR ELAPSED SECONDS     seconds that have passed, of those given
#     summary.sh --says LOG                 what came of a step: its log's last word, or its tests counted
set -eu

# Tests as meson tells them: " 3/10 flashdec:unit / unit table   OK   0.02s"; before them "23 tests"
says() {
    [ -f "$1" ] || return 0
    awk '$2 == "tests" && NF == 2 {tests = $1}
         $1 ~ "^[0-9]+/[0-9]+$" && $2 ~ "^flashdec:" {
             if (/ OK  /) good++; else if (/ SKIP /) skipped++; else if (/ (FAIL|TIMEOUT|ERROR) /) bad++
         }
         NF {last = $0}
         END {
             if (tests) printf "%d of %d tests passed, %d failed, %d skipped\n", good, tests, bad, skipped
             else print substr(last, 1, 160)
         }' "$1"
}
if [ "$1" = --says ]; then
    says "$2"
    exit 0
fi
kit=$(cd "$(dirname "$0")" && pwd)
out=$1 elapsed=$2 seconds=$3
cd "$out"
tab='	'

# of_device KEY: of the chosen device, from the JSON of flashdec-info
of_device() {
    cat ./*-info.json 2>/dev/null | sed -n '/"chosen": true/,/}/ s/.*"'"$1"'": "\(.*\)".*/\1/p'
}

time_tables() {
    for kind in bench tuned peers; do
        for lines in ./*-"$kind".jsonl; do [ ! -f "$lines" ] || sed "s/^/$kind /" "$lines"; done
    done | awk -f "$kit/times.awk"
}

markdown() {
    device=$(of_device name)
    echo "# flashdec on ${device:-a device}"
    echo
    echo "- device: ${device:-unknown}"
    echo "- driver: $(of_device platform), $(of_device driver), $(of_device version)"
    echo "- date: $(date -u '+%Y-%m-%d %H:%M') UTC, $elapsed s of $seconds s"
    echo "- source: $(sed -n '/^flashdec /p' ./*-environment.log 2>/dev/null | head -n 1)"
    echo "- system: $(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' ./*-environment.log 2>/dev/null), $(uname -sr)"
    echo
    echo "## Steps"
    echo
    echo "| step | state | seconds | of | says | log |"
    echo "|---|---|---|---|---|---|"
    while IFS=$tab read -r number name state took limit; do
        log=$number-$name.log
        link=
        [ ! -f "$log" ] || link="[$log]($log)"
        echo "| $name | $state | $took | $limit | $(says "$log" | tr '|' '/') | $link |"
    done <steps.tsv
    echo
    echo "## Times"
    echo
    time_tables
    echo
    echo "## Tables"
    echo
    for file in tables/*.json logs/*.html logs/*.jsonl; do
        [ ! -f "$file" ] || { echo "- [$file]($file)"; found=1; }
    done
    [ -n "${found-}" ] || echo "None was made."
    while IFS=$tab read -r number name state took limit; do
        case $state in passed | skipped | 'no time') continue ;; esac
        echo
        echo "## The end of $number-$name.log ($state)"
        echo
        echo '```'
        tail -n 15 "$number-$name.log" 2>/dev/null | cut -c 1-400
        echo '```'
    done <steps.tsv
}

# Under another name first: a reader, or a sudden end, finds the old page or the new one
markdown >summary.md.new
mv summary.md.new summary.md
awk -f "$kit/page.awk" summary.md >summary.html.new
mv summary.html.new summary.html
