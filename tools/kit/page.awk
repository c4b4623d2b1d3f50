# SPDX-License-Identifier: MIT
# page.awk - summary.md as an HTML page; knows what summary.sh writes, and no more of Markdown than that
function safe(s) {
    gsub(/&/, "\\&amp;", s)
    gsub(/</, "\\&lt;", s)
    gsub(/>/, "\\&gt;", s)
    return s
}
function inline(s,   target) {
    s = safe(s)
    while (match(s, /\[[^]]*\]\([^)]*\)/)) {
        target = substr(s, RSTART, RLENGTH)
        sub(/^\[[^]]*\]\(/, "", target)
        sub(/\)$/, "", target)
        s = substr(s, 1, RSTART - 1) "<a href=\"" target "\">" target "</a>" substr(s, RSTART + RLENGTH)
    }
    while (match(s, /\*\*[^*]*\*\*/))
        s = substr(s, 1, RSTART - 1) "<b>" substr(s, RSTART + 2, RLENGTH - 4) "</b>" substr(s, RSTART + RLENGTH)
    return s
}
function into(block) {
    if (block == open)
        return
    if (open)
        print "</" open ">"
    if (block)
        print "<" block ">"
    open = block
}
function row(line,   n, cell, tag, i, class, s) {
    tag = open == "table" ? "td" : "th"
    into("table")
    n = split(line, cell, "|")
    for (i = 2; i < n; i++) {
        class = cell[i] ~ /^ (failed|cut short|stopped|no time) $|: missed|wrong result/ ? " class=bad" : ""
        class = cell[i] ~ /^ passed $|: reached/ ? " class=good" : class
        s = s "<" tag class ">" inline(cell[i]) "</" tag ">"
    }
    print "<tr>" s "</tr>"
}

BEGIN {
    print "<!doctype html><meta charset=\"utf-8\"><title>flashdec on a device</title><style>"
    print "body { font: 15px/1.4 sans-serif; margin: 2em } table { border-collapse: collapse }"
    print "td, th { border: 1px solid #bbb; padding: 2px 7px; text-align: left }"
    print "pre { background: #eee; padding: 1em; overflow: auto }"
    print ".bad { background: #fbd } .good { background: #dfd }</style>"
}
/^```/ { into(open == "pre" ? "" : "pre"); next }
open == "pre" { print safe($0); next }
/^\|---/ { next }
/^\|/ { row($0); next }
/^- / { into("ul"); print "<li>" inline(substr($0, 3)) "</li>"; next }
{ into("") }
/^# / { print "<h1>" inline(substr($0, 3)) "</h1>"; next }
/^## / { print "<h2>" inline(substr($0, 4)) "</h2>"; next }
{ print inline($0) }
