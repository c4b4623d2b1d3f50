#!/bin/sh
# SPDX-License-Identifier: MIT
# oclgrind.sh - GPU-like variants on tiny problems in an interpreter that sees data races, uses of values that nobody wrote, and
# accesses outside of buffers
#
#     oclgrind.sh CHECKCL OP
#
# Its version for LLVM 14 does not know an intrinsic that the inliner leaves behind, so no pass of the compiler runs.
set -eu
checkcl=$1 op=$2
command -v oclgrind >/dev/null || {
    echo "SKIP: no oclgrind"
    exit 77
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export FLASHDEC_DEVICE=oclgrind FLASHDEC_PRETEND=cpu_like=0,max_wg=64

# The bandwidth probes of a first start are slow here and of no interest: their answers go to the cache.
status=0
oclgrind --build-options -disable-llvm-passes "$checkcl" --tiny --kernel softmax/online >"$tmp/first" 2>&1 || status=$?
[ $status -eq 0 ] || {
    cat "$tmp/first"
    exit $status
}
oclgrind --build-options -disable-llvm-passes --data-races --uninitialized \
    "$checkcl" --tiny --style wg --op "$op" --build-timeout 600 >"$tmp/out" 2>"$tmp/err" || status=$?
cat "$tmp/out"
if grep -q 'Kernel: ' "$tmp/err"; then
    echo "FAIL: $(grep -c 'Kernel: ' "$tmp/err") reports, the first of which is"
    head -n 40 "$tmp/err"
    exit 1
fi
exit $status
