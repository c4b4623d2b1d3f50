#!/bin/sh
# SPDX-License-Identifier: MIT
# style.sh - what can be counted of the style guide: lengths, forbidden words, licence lines, exported symbols
#
#     tools/style.sh [libflashdec.so]     one line per finding; exit 1 if there is any
set -u
cd "$(dirname "$0")/.."
found=$(mktemp)
trap 'rm -f "$found"' EXIT

sources=$(git ls-files '*.c' '*.h' '*.cl' 2>/dev/null)
[ -n "$sources" ] || sources=$(find include lib cl tuner tools tests -name '*.[ch]' -o -name '*.cl')
scripts=$(git ls-files 'tools/*' 'tests/*.sh' '.ci/*' '*meson.build' | grep -v '\.[ch]$\|\.cl$\|\.py$')

for f in $sources; do
    # functions: from a line that starts with a name in column 0 and opens a body at the next lone "{" to the lone "}"
    awk -v file="$f" '
        length($0) > 120 { print file ":" NR ": " length($0) " columns, the limit is 120" }
        /^\{/ { start = NR }
        /^\}/ { if (start && NR - start > 80) print file ":" start ": a function of " NR - start " lines, the limit is 80"; start = 0 }
        # the public header is one file, so that a program includes one: mostly comments
        END   { limit = file == "include/flashdec.h" ? 750 : 600
                if (NR > limit) print file ": " NR " lines, the limit is " limit }' "$f"
done >>"$found"

for f in $sources $scripts; do
    head -n 3 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f: no SPDX-License-Identifier: MIT in the first lines"
done >>"$found"

words='TO''DO|FIX''ME|XX''X|HA''CK'
grep -nE "\b($words)\b" $sources $scripts | sed 's/$/   <- unfinished work/' >>"$found"
grep -nE '^#if 0' $sources | sed 's/$/   <- dead code/' >>"$found"
grep -nE '\b(printf|puts|fputs|putchar|abort|exit|_exit|assert)[[:space:]]*\(' lib/*.c lib/*.h cl/*.c |
    sed 's/$/   <- the library never prints, aborts or exits/' >>"$found"
grep -nE 'fast-relaxed-math|finite-math-only' lib/*.c cl/*.c cl/*.cl | grep -v 'Never' |
    sed 's/$/   <- deletes the guard of unified softmax/' >>"$found"

if [ $# -ge 1 ]; then
    nm -D --defined-only "$1" | awk '{print $3}' | grep -v '^fdec_' | sed 's/$/   <- exported, and not fdec_*/' >>"$found"
fi

cat "$found"
[ ! -s "$found" ]
