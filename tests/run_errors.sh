#!/bin/sh
# SPDX-License-Identifier: MIT
# run_errors.sh - whatever is wrong: one clear line, exit status 1 (2 for usage), nothing on standard output, no crash
#
#     run_errors.sh FLASHDEC_RUN MANGLE
set -eu
run=$1 mangle=$2
. "$(dirname "$0")/run_lib.sh"
good=$tmp/good.gguf bad=$tmp/bad.gguf
"$mangle" tiny "$good"

# --- the command line
refused 2 'no model'
refused 2 'no-such-option' -m "$good" --no-such-option
refused 2 'requires an argument' -m
refused 2 'unexpected argument' -m "$good" more
refused 2 'exclude' -m "$good" -p a --tokens 1
for bad_option in '-n -1' '-n x' '-n 1x' '-n 99999999999' '-c 0' '-c -5' '--temp -1' '--temp nan' '--temp x' '--seed -1' '--seed x' \
    '--top-k 0' '--top-k 1025' '--top-p 0' '--top-p 1.5' '--top-p x' '--min-p 1' '--min-p -1' '--repeat-penalty 0' \
    '--repeat-penalty -1' '--repeat-last x' '--scheme fast' '--linear fast' '--kv q4' '--stats xml'; do
    # shellcheck disable=SC2086 # two words
    refused 2 'is not possible for' -m "$good" $bad_option
done
refused 1 'q8_0 and its head dimension 8 is no multiple' -m "$good" --kv q8_0
refused 1 'no list' -m "$good" --tokens ''
refused 1 'no list' -m "$good" --tokens '1,,2'
refused 1 'no list' -m "$good" --tokens '1,2,'
refused 1 'no list' -m "$good" --tokens '1 2'
refused 1 '271 is no token' -m "$good" --tokens 1,271
refused 1 'no token' -m "$good" --tokens 99999999999999999999999
refused 1 'over the model' -m "$good" -c 65
refused 1 'leave no room' -m "$good" -c 2 --tokens 1,2
refused 1 'leave no room' -m "$good" -c 2 --tokens 1,2,3

# --- the file
refused 1 "$tmp/none.gguf: No such file" -m "$tmp/none.gguf"
refused 1 'not a regular file' -m "$tmp"
refused 1 'not a regular file' -m /dev/null
size=$(wc -c <"$good")
for at in 1 3 4 7 8 15 20 24 31 40 60 100 500 1000 2000 5000 7000 8000 9000 $((size / 2)) $((size - 1)); do
    "$mangle" truncate "$good" "$bad" "$at"
    refused 1 "bad.gguf: " -m "$bad"
done

# damaged PATTERN MANGLE-ARGUMENTS: a good file damaged this way is refused, in a line that names the file
damaged()
{
    pattern=$1 how=$2
    shift 2
    "$mangle" "$how" "$good" "$bad" "$@"
    refused 1 "bad.gguf: .*$pattern" -m "$bad"
}
damaged 'not a GGUF file' u32 0 0
damaged 'version 1,' u32 4 1
damaged 'version 4,' u32 4 4
damaged 'version 50331648,' u32 4 0x03000000
damaged 'tensors cannot be' u64 8 0xffffffffffffffff
damaged 'tensors cannot be' u64 8 1000000
damaged 'metadata entries cannot be' u64 16 0x7fffffffffffffff
damaged 'is missing' u64 8 20
damaged '.' u64 8 22
damaged '.' u64 16 14
damaged '.' u64 16 16
damaged 'ends inside a metadata key' u64 24 0x7fffffffffffffff
damaged 'only "llama"' u32 64 0x616d616c
damaged 'is missing' rename general.architecture General.architecture
damaged 'type 13 at' kv-type llama.block_count 13
damaged 'no integer' kv-type llama.block_count 6
damaged 'too few' kv llama.block_count u32 100000
damaged 'knows how to use' kv llama.block_count u32 1
damaged 'not in 1' kv llama.block_count u32 0
damaged 'not in 1' kv llama.context_length u32 0xffffffff
damaged 'shape' kv llama.embedding_length u32 32
damaged 'no multiple' kv llama.attention.head_count u32 3
damaged 'no finite float' kv llama.attention.layer_norm_rms_epsilon u32 0x7fc00000
damaged 'no power of two' kv general.alignment u32 48
damaged 'longer than the file' array tokenizer.ggml.tokens n 0xffffffffffffffff
damaged 'not in 0..270' kv tokenizer.ggml.eos_token_id u32 271
damaged 'differ in length\|ends inside\|unknown\|empty' array tokenizer.ggml.scores n 3
damaged 'right type' array tokenizer.ggml.scores type 5
damaged 'is missing' rename blk.1.ffn_down.weight blk.1.ffn_dawn.weight
damaged 'is missing' rename token_embd.weight token_embx.weight
damaged 'is there twice' rename blk.0.attn_q.weight blk.0.attn_k.weight
damaged 'is there twice' rename tokenizer.ggml.scores tokenizer.ggml.tokens
damaged '5 dimensions' tensor blk.0.attn_q.weight n_dims 5
damaged 'dimension 0 is 0' tensor blk.0.attn_q.weight dim0 0
damaged 'overflows' tensor blk.0.attn_q.weight dim1 0x8000000000000000
damaged 'pass the end' tensor blk.0.attn_q.weight dim1 0x10000000
damaged 'shape' tensor blk.0.attn_q.weight dim1 8
damaged 'shape' tensor blk.0.attn_norm.weight dim0 8
damaged 'type 4 is unknown' tensor blk.0.attn_q.weight type 4
damaged 'type I16, which cannot be run' tensor blk.0.attn_q.weight type 25
damaged 'type BF16, vectors must be F32' tensor blk.0.attn_norm.weight type 30
damaged 'block of 32' tensor blk.0.attn_q.weight type 8
damaged 'multiple of the alignment' tensor blk.0.attn_q.weight offset 17
damaged 'pass the end' tensor blk.0.attn_q.weight offset 0xffffffffffffffe0

# --- the device's memory, the output, the device
"$mangle" kv "$good" "$bad" llama.context_length u32 2000000000
refused 1 'MiB' -m "$bad" -c 2000000000
refused 1 "$tmp/none/logits: " -m "$good" -n 2 --logits "$tmp/none/logits"

# full COMMAND...: a full disk or a closed pipe is exit status 1 and one line
full()
{
    status=0
    "$@" 2>"$tmp/err" || status=$?
    [ "$status" -eq 1 ] || fail "output error: exit status $status, not 1"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "output error: not one line"
    n_checks=$((n_checks + 1))
}
full "$run" -m "$good" -n 2 --ids >/dev/full
full "$run" -m "$good" -n 2 --logits /dev/full >"$tmp/out"
full "$run" --help >/dev/full
mkfifo "$tmp/pipe"
: <"$tmp/pipe" &
exec 3>"$tmp/pipe" # opens together with the reader, which then goes away
wait
full "$run" -m "$good" -n 2 --ids >&3
exec 3>&-

export FLASHDEC_DEVICE='no such device'
refused 1 "$FLASHDEC_DEVICE" -m "$good"
export FLASHDEC_DEVICE=999
refused 1 "$FLASHDEC_DEVICE" -m "$good"
echo "$n_checks wrong uses were refused"
