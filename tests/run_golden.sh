#!/bin/sh
# SPDX-License-Identifier: MIT
# run_golden.sh - flashdec-run against golden output, under each softmax scheme x linear implementation, and with prompts on both
# sides of the prefill chunk
#
#     run_golden.sh FLASHDEC_RUN GOLDEN models    the real model in FLASHDEC_MODELS (default: ../shared/models beside the source)
#     run_golden.sh FLASHDEC_RUN GOLDEN demo      data/demo.gguf
#
# Exit status 77: skipped, because the files are not there.
set -eu
run=$1 golden=$2 set=$3
. "$(dirname "$0")/run_lib.sh"
root=$(cd "$(dirname "$0")/.." && pwd)

# check MODEL JSON RECORD N_PROMPT OPTIONS...: the record's tokens after the first N_PROMPT, from a prompt of these
check()
{
    model=$1 json=$2 record=$3 n_prompt=$4
    shift 4
    prompt=$("$golden" "$json" "$record" prompt "$n_prompt")
    "$run" -m "$model" --tokens "$prompt" -n $((n_tokens - n_prompt)) --temp 0 --ids --quiet "$@" >"$tmp/ids" ||
        fail "$model, prompt of $n_prompt: $*"
    "$golden" "$json" "$record" ids "$tmp/ids" $((n_prompt - 1)) || fail "$model, prompt of $n_prompt: $*"
    n_checks=$((n_checks + 1))
}

# check_all MODEL JSON RECORD N_TOKENS: as many as the record has, BOS included
check_all()
{
    n_tokens=$4
    "$run" -m "$1" -n $((n_tokens - 1)) --temp 0 --quiet >"$tmp/text" || fail "$1"
    "$golden" "$2" "$3" text "$tmp/text" || fail "$1: text"
    for scheme in unified online pair; do
        for linear in table gemv flat gemm; do
            check "$1" "$2" "$3" 1 --scheme $scheme --linear $linear --logits "$tmp/logits"
            "$golden" "$2" "$3" logits "$tmp/logits" 1e-4 >"$tmp/worst" || fail "$1: logits, $scheme, $linear"
        done
        for n_prompt in 2 31 32 33 100; do
            check "$1" "$2" "$3" $n_prompt --scheme $scheme
        done
    done
    for linear in gemv flat gemm; do
        check "$1" "$2" "$3" 40 --linear $linear
    done
}

if [ "$set" = demo ]; then
    model=$root/data/demo.gguf json=$root/data/demo-golden.json
    if [ ! -f "$model" ] || [ ! -f "$json" ]; then
        echo "SKIP: $model or $json is missing"
        exit 77
    fi
    check_all "$model" "$json" f16 256 # its whole context
else
    models=${FLASHDEC_MODELS:-$root/../shared/models}
    if [ ! -f "$models/stories260K-golden.json" ]; then
        echo "SKIP: no stories260K-golden.json in $models (FLASHDEC_MODELS)"
        exit 77
    fi
    check_all "$models/stories260K-f32.gguf" "$models/stories260K-golden.json" f32 257
    check_all "$models/stories260K-f16.gguf" "$models/stories260K-golden.json" f16 257
fi
echo "$n_checks runs gave the golden tokens"
