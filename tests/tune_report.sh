#!/bin/sh
# SPDX-License-Identifier: MIT
# tune_report.sh - a log for other programs (export) and for people (report)
#
#     tune_report.sh FLASHDEC-TUNE
# The page is looked at by headless Chromium where that is installed.
set -u
tune=$1
. "$(dirname "$0")/tune_lib.sh"

printf '%s\n' 'linear:f32 m=1 n=64 k=64' 'linear:f32 m=4 n=64 k=64' 'softmax:f32 rows=1 cols=500' >"$dir/list"
for attempt in 1 2 3 4 5 6; do # on a busy machine one budget may be too short; each goes on where the last one stopped
    "$tune" --shapes "$dir/list" --budget 25 --out "$dir/table.json" >"$dir/out" 2>"$dir/err"
    [ "$(grep -c 'rows=1 cols=500",.*"outcome":"ok"' "$dir"/state/flashdec/*.jsonl)" -lt 2 ] || break
done
log=$(echo "$dir"/state/flashdec/*.jsonl)

# ---- export
expect 2 "$tune" export "$log"
expect 2 "$tune" export "$log" --format pdf
expect 1 "$tune" export "$dir/none" --format csv
for format in t4 csv chrome-trace; do
    expect 0 "$tune" export "$log" --format $format --out "$dir/$format"
    expect 0 "$tune" export "$log" --format $format
    cmp "$dir/out" "$dir/$format" || wrong "$format: a file is not what standard output gets"
done
expect 1 "$tune" export "$log" --format kernel-tuner
says 'softmax:f32 rows=1 cols=500'
kernel=$(sed -n 's/.*"end","kernel":"\([^"]*\)".*rows=1 cols=500.*"outcome":"ok".*/\1/p' "$log" | head -n 1)
expect 0 "$tune" export "$log" --format kernel-tuner --problem 'softmax:f32 rows=1 cols=500' --kernel "$kernel" --out "$dir/cache.json"

python3 - "$log" "$dir" <<'PYTHON' || wrong "an export is not what the log says"
import csv, json, sys
log, folder = sys.argv[1:]
ends = [json.loads(line) for line in open(log) if '"line":"end"' in line]
rows = list(csv.DictReader(open(folder + "/csv")))
assert len(rows) == len(ends), "a row for each end"
for row, end in zip(rows, ends):
    assert row["problem"] == end["problem"] and row["outcome"] == end["outcome"]
    assert row["median_ns"] == str(end.get("median_ns", "")), "the times of the log"
t4 = json.load(open(folder + "/t4"))
once = {(end["kernel"], end["config"], end["problem"]) for end in ends if end["outcome"] != "stopped"}
assert t4["schema_version"] and len(t4["results"]) == len(once), "the last word on each candidate"
for result in t4["results"]:
    assert {"timestamp", "configuration", "times", "invalidity", "correctness", "measurements", "objectives"} <= set(result)
trace = json.load(open(folder + "/chrome-trace"))["traceEvents"]
slices = [e for e in trace if e["ph"] == "X"]
assert len(slices) >= len(ends) and all(e["dur"] >= 0 and e["ts"] >= 0 for e in slices)
cache = json.load(open(folder + "/cache.json"))
assert cache["kernel_name"] and cache["tune_params_keys"] and cache["cache"]
PYTHON

# ---- report
expect 2 "$tune" report "$log"
expect 1 "$tune" report "$dir/none" --out "$dir/page.html"
[ ! -e "$dir/page.html" ] || wrong "a page of no log"
expect 0 "$tune" report "$log" --out "$dir/page.html"
expect 0 "$tune" report "$log" --table "$dir/table.json" --out "$dir/other.html"
grep -q -e 'http:' -e 'https:' -e ' src=' -e '@import' "$dir/page.html" && wrong "the page needs a network"

python3 - "$dir/page.html" <<'PYTHON' || wrong "the page's tables are not its values"
import html.parser, json, re, sys

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.where, self.data, self.cells, self.cell = [], "", [], None
    def handle_starttag(self, tag, attributes):
        if tag == "script" and dict(attributes).get("id") == "data":
            self.where.append("data")
        elif tag == "td":
            self.cell = ""
    def handle_endtag(self, tag):
        if tag == "script" and self.where:
            self.where.pop()
        elif tag == "td":
            self.cells.append(self.cell.strip())
            self.cell = None
    def handle_data(self, text):
        if self.where:
            self.data += text
        elif self.cell is not None:
            self.cell += text

def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []

page = Page()
page.feed(open(sys.argv[1]).read())
known = numbers(json.loads(page.data))
shown = [c for c in page.cells if re.fullmatch(r"\d+(\.\d+)?", c)]
assert len(shown) > 20, "hardly a number in the tables"
for text in shown:
    places = len(text.partition(".")[2])
    assert any("%.*f" % (places, n) == text for n in known), text + " is none of the page's values"
PYTHON

if ! command -v chromium >/dev/null; then
    echo "no chromium: the page was not looked at"
    exit $failed
fi
# What the browser makes of it goes into the title: width of the contents, colour of the page.
# A window is 500 px wide at least: the page is in a frame of the width that is wanted.
frame() {
    python3 - "$dir/page.html" "$1" <<'PYTHON' >"$dir/seen.html"
import html, sys
page, width = open(sys.argv[1]).read(), sys.argv[2]
print('<!doctype html><title>no</title><iframe id="f" width="%s" height="800" style="border:0" srcdoc="%s"></iframe>' % (width, html.escape(page)))
print("""<script>f.onload = () => { const d = f.contentDocument;
document.title = "seen " + d.documentElement.scrollWidth + " " + f.contentWindow.getComputedStyle(d.body).backgroundColor; }</script>""")
PYTHON
}
# look WIDTH SCHEME: 0 dark, 1 light
look() {
    frame "$1"
    timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$dir/chromium" --enable-logging=stderr --window-size=1300,900 \
        --virtual-time-budget=5000 --blink-settings=preferredColorScheme="$2" --dump-dom "file://$dir/seen.html" 2>"$dir/err" |
        sed -n 's/.*<title>\(seen [^<]*\)<.*/\1/p'
    grep -q 'CONSOLE' "$dir/err" && wrong "the browser's console has errors"
}
light=$(look 360 1)
dark=$(look 360 0)
wide=$(look 1200 1)
echo "360 px: $light; dark: $dark; 1200 px: $wide"
[ "${light%% rgb*}" != "$light" ] || wrong "the browser did not show the page"
width=$(echo "$light" | cut -d ' ' -f 2)
[ "${width:-9999}" -le 360 ] || wrong "the page is $width px wide on a phone"
[ "${light#seen * }" != "${dark#seen * }" ] || wrong "no dark mode"

exit $failed
