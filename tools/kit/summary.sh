#!/bin/sh
# SPDX-License-Identifier: MIT
# summary.sh - summary.md and summary.html of a folder that on-device fills, made of what is there
#
#     summary.sh OUTDIR ELAPSED SECONDS     seconds that have passed, of those given
#     summary.sh --says LOG                 what came of a step: its log's last word, or its tests counted
set -eu

# Tests as meson tells them: " 3/10 flashdec:unit / unit table   OK   0.02s"
says() {
    [ -f "$1" ] || return 0
    awk '$1 ~ "^[0-9]+/[0-9]+$" && $2 ~ "^flashdec:" {
             split($1, of, "/"); tests = of[2]
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
out=$1 elapsed=$2 seconds=$3
cd "$out"
tab='	'

# of_device KEY: of the chosen device, from the JSON of flashdec-info
of_device() { sed -n '/"chosen": true/,/}/ s/.*"'"$1"'": "\{0,1\}\([^"]*\)"\{0,1\},\{0,1\}$/\1/p' ./*-info.json 2>/dev/null | head -n 1; }

# Lines of flashdec-bench and of peers.py into one table; the aims stand here and nowhere else.
bench_tables() {
    cat ./*-bench.jsonl ./*-peers.jsonl 2>/dev/null | grep -q . || { echo 'Nothing was timed.'; return; }
    for kind in bench tuned peers; do
        for lines in ./*-$kind.jsonl; do [ ! -f "$lines" ] || sed "s/^/$kind /" "$lines"; done
    done | awk '
        function text(key,   s) { return match($0, "\"" key "\": ?\"[^\"]*\"") ? unquoted(substr($0, RSTART, RLENGTH)) : "" }
        function unquoted(s) { sub(/^"[^"]*": ?"/, "", s); sub(/"$/, "", s); return s }
        function number(key,   s) {
            if (!match($0, "\"" key "\": ?[-0-9.e+]+")) return ""
            s = substr($0, RSTART, RLENGTH); sub(/^"[^"]*": ?/, "", s); return s + 0
        }
        function us(x) { return x == "" ? "" : sprintf(x < 100 ? "%.1f" : "%.0f", x) }
        function percent(x) { return x == "" ? "" : sprintf("%.0f %%", 100 * x) }
        function aim(p, share,   m) { # the last share that was measured, against what is aimed at
            m = p; sub(/.* m=/, "", m); m += 0
            if (share == "" || p !~ /^(attn|linear):/ || p ~ /^linear/ && m > 8) return ""
            return share >= 0.85 ? "85 %: reached" : "85 %: missed"
        }
        $1 == "peers" {
            if (number("copy_gbps") != "") copy = copy sprintf("%s copies %.0f GB/s (read and written). ", text("peer"), number("copy_gbps"))
            else peers[++n_peers] = "| " text("problem") " | " text("peer") " | " us(number("peer_us")) " | " us(number("flashdec_us")) " | " \
                sprintf("%.2f", number("speedup")) " | " verdict(text("problem"), number("speedup")) " |"
            next
        }
        function verdict(p, speedup,   m) {
            m = p; sub(/.* m=/, "", m)
            if (p !~ /^linear/ || m + 0 > 16) return ""
            return speedup > 1 ? "faster: reached" : "faster: missed"
        }
        {
            p = text("problem")
            if (p == "") next
            if (!(p in seen)) { seen[p] = 1; order[++n] = p }
            time[$1, p] = number("median_us"); share[$1, p] = number("floor_share")
            gbps[p] = number("read_gbps"); kernel[p] = text("kernel")
            if (number("max_error_ratio") == "" || number("max_error_ratio") > 1) wrong[p] = " **wrong result**"
            rest = $0
            if (sub(/.*"peers": ?\[/, "", rest))
                for (; match(rest, /"name": ?"[^"]*"[^}]*}/); rest = substr(rest, RSTART + RLENGTH)) {
                    one = substr(rest, RSTART, RLENGTH); name = one; sub(/^"name": ?"/, "", name); sub(/".*/, "", name)
                    sub(/.*"speedup": ?/, "", one)
                    if (name == "without table") gain[p] = sprintf("%.2f", one)
                    else other[p] = other[p] (index(other[p], name) ? "" : (other[p] == "" ? "" : ", ") name sprintf(" %.2f", one))
                }
        }
        END {
            print "Share: of the bandwidth (or the arithmetic) that the same run measured beside it. Speedup: time of the other over"
            print "that of flashdec. Gain: the same of flashdec without the tuned table."
            print ""
            print "| problem | as it comes, us | share | tuned, us | share | gain | read GB/s | aim | kernel | speedup over |"
            print "|---|---|---|---|---|---|---|---|---|---|"
            for (i = 1; i <= n; i++) {
                p = order[i]; last = (("tuned", p) in share) ? share["tuned", p] : share["bench", p]
                print "| " p wrong[p] " | " us(time["bench", p]) " | " percent(share["bench", p]) " | " us(time["tuned", p]) " | " \
                    percent(share["tuned", p]) " | " gain[p] " | " us(gbps[p]) " | " aim(p, last) " | " kernel[p] " | " other[p] " |"
            }
            if (copy n_peers == "0") exit
            print "\n## Peers\n\nIn alternating rounds on this machine. " copy "Speedup: time of the peer over that of flashdec.\n"
            print "| problem | peer | its us | flashdec us | speedup | aim (M <= 16) |\n|---|---|---|---|---|---|"
            for (i = 1; i <= n_peers; i++) print peers[i]
        }'
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
        echo "| $name | $state | $took | $limit | $(says "$log" | tr '|' '/') | $([ ! -f "$log" ] || echo "[$log]($log)") |"
    done <steps.tsv
    echo
    echo "## Times"
    echo
    bench_tables
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

# What markdown() writes, and no more of Markdown than that
html() {
    awk '
        function safe(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }
        function inline(s,   at) {
            s = safe(s)
            while (match(s, /\[[^]]*\]\([^)]*\)/)) {
                at = substr(s, RSTART, RLENGTH); sub(/^\[[^]]*\]\(/, "", at); sub(/\)$/, "", at)
                s = substr(s, 1, RSTART - 1) "<a href=\"" at "\">" at "</a>" substr(s, RSTART + RLENGTH)
            }
            while (match(s, /\*\*[^*]*\*\*/))
                s = substr(s, 1, RSTART - 1) "<b>" substr(s, RSTART + 2, RLENGTH - 4) "</b>" substr(s, RSTART + RLENGTH)
            return s
        }
        function into(block) { if (block != open) { if (open) print "</" open ">"; if (block) print "<" block ">"; open = block } }
        BEGIN {
            print "<!doctype html><meta charset=\"utf-8\"><title>flashdec on a device</title><style>"
            print "body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:2px 7px;"
            print "text-align:left}pre{background:#eee;padding:1em;overflow:auto}.bad{background:#fbd}.good{background:#dfd}</style>"
        }
        /^```/ { into(open == "pre" ? "" : "pre"); next }
        open == "pre" { print safe($0); next }
        /^\|---/ { next }
        /^\|/ {
            tag = open == "table" ? "td" : "th"; into("table"); n = split($0, cell, "|"); row = ""
            for (i = 2; i < n; i++) {
                class = cell[i] ~ /^ (failed|cut short|stopped|no time) $|missed|wrong/ ? " class=bad" : cell[i] ~ /^ passed $|reached/ ? " class=good" : ""
                row = row "<" tag class ">" inline(cell[i]) "</" tag ">"
            }
            print "<tr>" row "</tr>"; next
        }
        /^- / { into("ul"); print "<li>" inline(substr($0, 3)) "</li>"; next }
        { into("") }
        /^# / { print "<h1>" inline(substr($0, 3)) "</h1>"; next }
        /^## / { print "<h2>" inline(substr($0, 4)) "</h2>"; next }
        { print inline($0) }'
}

# Under another name first: a reader, or a sudden end, finds the old page or the new one
markdown >summary.md.new
mv summary.md.new summary.md
html <summary.md >summary.html.new
mv summary.html.new summary.html
