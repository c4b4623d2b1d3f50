# SPDX-License-Identifier: MIT
# times.awk - the section of times of summary.md, from JSON lines of flashdec-bench and peers.py, each with "bench ",
# "tuned " or "peers " in front. The aims stand here and nowhere else
BEGIN {
    AIM_SHARE = 0.85 # of the measured bandwidth: attention, and linear layers up to
    AIM_SHARE_M = 8
    AIM_FASTER_M = 16 # and faster than the peer's linear layers up to
}

# The first value of a key in the line, which is flashdec's: those of its peers come last
function text(key,   s) {
    if (!match($0, "\"" key "\": ?\"[^\"]*\""))
        return ""
    s = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": ?"/, "", s)
    sub(/"$/, "", s)
    return s
}
function number(key,   s) {
    if (!match($0, "\"" key "\": ?[-0-9.e+]+"))
        return ""
    s = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": ?/, "", s)
    return s + 0
}
function rounded(x) { return x == "" ? "" : sprintf(x < 100 ? "%.1f" : "%.0f", x) }
function percent(x) { return x == "" ? "" : sprintf("%.0f %%", 100 * x) }
function rows_of(problem) { sub(/.* m=/, "", problem); return problem + 0 }

function aim(problem, share) {
    if (share == "" || problem !~ /^attn:/ && (problem !~ /^linear:/ || rows_of(problem) > AIM_SHARE_M))
        return ""
    return percent(AIM_SHARE) (share >= AIM_SHARE ? ": reached" : ": missed")
}
function aim_of_peer(problem, speedup) {
    if (problem !~ /^linear:/ || rows_of(problem) > AIM_FASTER_M)
        return ""
    return speedup > 1 ? "faster: reached" : "faster: missed"
}

# Of flashdec-bench's peers: "name speedup, ..." into other[], flashdec without the table into gain[]
function read_peers(problem,   rest, one, name) {
    rest = $0
    if (!sub(/.*"peers": ?\[/, "", rest))
        return
    for (; match(rest, /"name": ?"[^"]*"[^}]*}/); rest = substr(rest, RSTART + RLENGTH)) {
        one = substr(rest, RSTART, RLENGTH)
        name = one
        sub(/^"name": ?"/, "", name)
        sub(/".*/, "", name)
        sub(/.*"speedup": ?/, "", one)
        if (name == "without table")
            gain[problem] = sprintf("%.2f", one)
        else if (!index(other[problem], name " "))
            other[problem] = other[problem] (other[problem] == "" ? "" : ", ") name " " sprintf("%.2f", one)
    }
}

$1 == "peers" && number("copy_gbps") != "" {
    copy = sprintf("%s copies %.0f GB/s, read and written. ", text("peer"), number("copy_gbps"))
}
$1 == "peers" && number("speedup") != "" {
    peers[++n_peers] = "| " text("problem") " | " text("peer") " | " rounded(number("peer_us")) " | " \
        rounded(number("flashdec_us")) " | " sprintf("%.2f", number("speedup")) " | " \
        aim_of_peer(text("problem"), number("speedup")) " |"
}
$1 != "peers" && text("problem") != "" {
    p = text("problem")
    if (!(p in kernel))
        order[++n] = p
    time[$1, p] = number("median_us")
    share[$1, p] = number("floor_share")
    read_rate[p] = number("read_gbps")
    kernel[p] = text("kernel")
    if (number("max_error_ratio") == "" || number("max_error_ratio") > 1)
        wrong[p] = " **wrong result**"
    read_peers(p)
}

END {
    if (!n)
        print "Nothing was timed."
    else {
        print "Share: of the bandwidth (or the arithmetic) measured in the same rounds. Gain: time without the new"
        print "table over that with it. Speedup: time of the other over that of flashdec.\n"
        print "| problem | as it comes, us | share | tuned, us | share | gain | read GB/s | aim | kernel " \
            "| speedup over |"
        print "|---|---|---|---|---|---|---|---|---|---|"
    }
    for (i = 1; i <= n; i++) {
        p = order[i]
        last = (("tuned", p) in share) ? share["tuned", p] : share["bench", p]
        print "| " p wrong[p] " | " rounded(time["bench", p]) " | " percent(share["bench", p]) " | " \
            rounded(time["tuned", p]) " | " percent(share["tuned", p]) " | " gain[p] " | " rounded(read_rate[p]) " | " \
            aim(p, last) " | " kernel[p] " | " other[p] " |"
    }
    if (copy != "")
        print "\n## Peers\n\nIn rounds that alternate with flashdec's. " copy
    if (n_peers)
        print "\n| problem | peer | its us | flashdec us | speedup | aim |\n|---|---|---|---|---|---|"
    for (i = 1; i <= n_peers; i++)
        print peers[i]
}
