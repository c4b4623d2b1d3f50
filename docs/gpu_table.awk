# SPDX-License-Identifier: MIT
# gpu_table.awk - the rows of tools/offline as the table of docs/gpu.md: awk -F '\t' -f docs/gpu_table.awk rows
#
# A line is a kernel of a variant in a configuration for a problem; a cell is what one card's compiler says of it:
# registers of a work-item / bytes of local memory / occupancy in per cent, * where the library takes it there, "s" where
# scalar registers went to vector registers, "m" with matrix instructions; the last column the widest loads in bits.
NR == 1 {next}
{
    gsub(/ ?(SPLITK|PARTS|SPAN)=[0-9]+/, "", $2) # no code depends on it
    key = "`" $1 ": " $5 "` " ($2 == "-" ? "" : $2) " | " $4
    if (!(key in seen)) {seen[key] = 1; keys[++n] = key}
    if (!($3 in known)) {known[$3] = 1; cards[++m] = $3}
    cell[key, $3] = $16 ~ /compile/ ? "fails" : $8 "/" $9 "/" $12 ($6 == "default" ? "*" : "") ($10 ~ /s$/ ? "s" : "") ($13 > 0 ? "m" : "") ($16 == "ok" ? "" : " !")
    if (!((key, $14) in width) && $14 != "-") {width[key, $14] = 1; loads[key] = loads[key] (loads[key] ? ", " : "") $14}
}
END {
    line = "| kernel | problem |"; rule = "|---|---|"
    for (i = 1; i <= m; i++) {line = line " " cards[i] " |"; rule = rule "---|"}
    print line " loads |"; print rule "---|"
    for (k = 1; k <= n; k++) {
        line = "| " keys[k] " |"
        for (i = 1; i <= m; i++) line = line " " ((keys[k], cards[i]) in cell ? cell[keys[k], cards[i]] : "") " |"
        print line " " loads[keys[k]] " |"
    }
}
