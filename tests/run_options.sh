#!/bin/sh
# SPDX-License-Identifier: MIT
# run_options.sh - what the options of flashdec-run do, on a tiny random model
#
#     run_options.sh FLASHDEC_RUN MANGLE
set -eu
run=$1 mangle=$2
. "$(dirname "$0")/run_lib.sh"
model=$tmp/model.gguf
"$mangle" tiny "$model"

decode() # OUT OPTIONS...
{
    out=$1
    shift
    timeout 300 "$run" -m "$model" "$@" >"$out" 2>"$tmp/err" || fail "$*: exit status $?"
    n_checks=$((n_checks + 1))
}
same() # A B WHAT
{
    cmp "$1" "$2" >&2 || fail "$3"
}

# The same weights tied or not, in f32, f16 or some of them in each, give the same tokens; and so does every way to feed the prompt.
decode "$tmp/want" --ids -n 20 --ignore-eos
[ "$(wc -w <"$tmp/want")" -eq 20 ] || fail "not 20 tokens"
for kind in tied f16 'tied f16' 'mixed f16'; do
    # shellcheck disable=SC2086 # two words
    "$mangle" tiny "$tmp/other.gguf" $kind
    decode "$tmp/got" --ids -n 20 --ignore-eos -m "$tmp/other.gguf"
    same "$tmp/want" "$tmp/got" "a model with $kind decodes something else"
done
decode "$tmp/got" --ids -n 20 --ignore-eos -p ''
same "$tmp/want" "$tmp/got" "an empty prompt is not BOS alone"
decode "$tmp/got" --ids -n 20 --ignore-eos -c 64
same "$tmp/want" "$tmp/got" "a longer context changes the tokens"
for n_prompt in 2 10; do
    head=$(cut -d ' ' -f 1-$((n_prompt - 1)) "$tmp/want" | tr ' ' ,)
    cut -d ' ' -f $n_prompt- "$tmp/want" >"$tmp/rest"
    decode "$tmp/got" --ids -n $((21 - n_prompt)) --ignore-eos --tokens "1,$head"
    same "$tmp/rest" "$tmp/got" "a prompt of $n_prompt tokens does not continue as it was"
done

# -p is --tokens of its encoding: a space in front, "abc" one token with it (see tiny_gguf.c).
decode "$tmp/a" --ids -n 5 --ignore-eos -p abcb --stats json
[ "$(stat prompt_tokens)" -eq 3 ] || fail "abcb is $(stat prompt_tokens) tokens, not 3"
decode "$tmp/b" --ids -n 5 --ignore-eos --tokens 1,267,261
same "$tmp/a" "$tmp/b" "-p abcb is not BOS, ' abc', 'b'"

# Sampling: the seed decides, and a token's number does not depend on how it was reached.
decode "$tmp/a" --ids -n 30 --ignore-eos --temp 1 --seed 7
decode "$tmp/b" --ids -n 30 --ignore-eos --temp 1 --seed 7
same "$tmp/a" "$tmp/b" "the same seed gives other tokens"
decode "$tmp/b" --ids -n 30 --ignore-eos --temp 1 --seed 7 --logits "$tmp/logits"
same "$tmp/a" "$tmp/b" "logits, for which no step is enqueued ahead, change the tokens"
decode "$tmp/b" --ids -n 30 --ignore-eos --temp 1 --seed 8
! cmp -s "$tmp/a" "$tmp/b" || fail "another seed gives the same tokens"
decode "$tmp/b" --ids -n 27 --ignore-eos --temp 1 --seed 7 --tokens "1,$(cut -d ' ' -f 1-3 "$tmp/a" | tr ' ' ,)"
cut -d ' ' -f 4- "$tmp/a" >"$tmp/rest"
same "$tmp/rest" "$tmp/b" "sampling depends on where the prompt ends"
decode "$tmp/b" --ids -n 20 --ignore-eos --temp 1e-6 --seed 3
same "$tmp/want" "$tmp/b" "sampling close to temperature 0 is not greedy"
for filter in '--top-k 1' '--top-p 1e-6' '--min-p 0.999999'; do
    # shellcheck disable=SC2086 # two words
    decode "$tmp/b" --ids -n 20 --ignore-eos --temp 1 --seed 3 $filter
    same "$tmp/want" "$tmp/b" "only one token left by $filter is not greedy"
done
decode "$tmp/b" --ids -n 30 --ignore-eos --temp 1 --seed 7 --top-k 271 --top-p 1 --min-p 0 --repeat-penalty 1
same "$tmp/a" "$tmp/b" "filters that keep everything change the tokens"
filters='--temp 1 --seed 7 --top-k 40 --top-p 0.9 --min-p 0.01 --repeat-penalty 1.2 --repeat-last 20'
# shellcheck disable=SC2086 # many words
decode "$tmp/a" --ids -n 30 --ignore-eos $filters
# shellcheck disable=SC2086
decode "$tmp/b" --ids -n 27 --ignore-eos $filters --tokens "1,$(cut -d ' ' -f 1-3 "$tmp/a" | tr ' ' ,)"
cut -d ' ' -f 4- "$tmp/a" >"$tmp/rest"
same "$tmp/rest" "$tmp/b" "filtered sampling depends on where the prompt ends"
decode "$tmp/b" --ids -n 30 --ignore-eos --repeat-penalty 1e9 --repeat-last 30
[ "$(tr ' ' '\n' <"$tmp/b" | sort | uniq -d | wc -l)" -eq 0 ] || fail "a huge penalty lets a token come twice"
decode "$tmp/b" --ids -n 20 --ignore-eos --repeat-penalty 1e9 --repeat-last 0
same "$tmp/want" "$tmp/b" "--repeat-last 0 penalises"

# Where it ends.
decode "$tmp/got" --ids -n 1000 --ignore-eos --stats json
[ "$(wc -w <"$tmp/got")" -eq 63 ] || fail "not as many tokens as the model's context has room for"
grep -q 'context of 64 is full' "$tmp/err" || fail "nobody said that the context is full"
decode "$tmp/got" --ids -n 1000 --ignore-eos -c 12
[ "$(wc -w <"$tmp/got")" -eq 11 ] || fail "not as many tokens as -c has room for"
decode "$tmp/got" -n 0 --stats json
[ ! -s "$tmp/got" ] || fail "-n 0 printed something"
[ "$(stat generated_tokens)" -eq 0 ] || fail "-n 0 counted something"
eos=$(cut -d ' ' -f 10 "$tmp/want") # made the end of text, so that the text ends before it
until=$(tr ' ' '\n' <"$tmp/want" | sed "/^$eos\$/,\$d" | wc -l)
"$mangle" kv "$model" "$tmp/other.gguf" tokenizer.ggml.eos_token_id u32 "$eos"
decode "$tmp/got" --ids -n 20 -m "$tmp/other.gguf" --logits "$tmp/logits" --stats json
[ "$(wc -w <"$tmp/got")" -eq "$until" ] || fail "decoding does not stop at EOS"
[ "$(stat generated_tokens)" -eq "$until" ] || fail "EOS was counted"
[ "$(wc -c <"$tmp/logits")" -eq $((4 * 271 * until)) ] || fail "not one row of logits for each token"
decode "$tmp/got" --ids -n 20 -m "$tmp/other.gguf" --ignore-eos
same "$tmp/want" "$tmp/got" "--ignore-eos changes the tokens"

# Statistics: exactly these keys, in the last line; --quiet leaves nothing else.
decode "$tmp/got" -n 4 --quiet --stats json
[ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "--quiet is not quiet"
keys=$(grep -o '"[a-z_]*":' "$tmp/err" | tr -d '":\n' | tr '\n' ' ')
want=prompt_tokensgenerated_tokensprefill_tokens_per_sdecode_tokens_per_stime_to_first_token_msprograms_compiled
want=${want}programs_from_cacherows_recomputedtabletable_leveldevice
[ "$keys" = "$want" ] || fail "the keys of --stats are $keys"
decode "$tmp/got" -n 4 --quiet
[ ! -s "$tmp/err" ] || fail "--quiet without --stats is not quiet"
decode "$tmp/got" --help
for option in model prompt tokens n-predict temp seed top-k top-p min-p repeat-penalty repeat-last scheme linear kv calibrate phi context ignore-eos ids logits stats quiet help version; do
    grep -q -- "--$option" "$tmp/got" || fail "--help does not know --$option"
done
decode "$tmp/got" --version
# Every type of cache decodes, and one that rounds little changes nothing here.
"$mangle" tiny "$tmp/wide.gguf" wide
for kind in f16 bf16 q8_0; do
    decode "$tmp/a" --ids -n 20 --ignore-eos -m "$tmp/wide.gguf" -p abcb --kv $kind
    [ "$(wc -w <"$tmp/a")" -eq 20 ] || fail "--kv $kind: not 20 tokens"
done
decode "$tmp/got" --ids -n 20 --ignore-eos --kv f16
same "$tmp/want" "$tmp/got" "an f16 cache changes the tokens of a model whose choices are not close"
refused 1 'no multiple of its blocks of 32' -m "$model" --kv q8_0

# A prompt in chunks gives what it gives token by token, whatever the chunk's tail.
decode "$tmp/all" --ids -n 50 --ignore-eos -c 64
for n_prompt in 32 33 34; do
    head=$(cut -d ' ' -f 1-$((n_prompt - 1)) "$tmp/all" | tr ' ' ,)
    cut -d ' ' -f $n_prompt- "$tmp/all" >"$tmp/rest"
    decode "$tmp/got" --ids -n $((51 - n_prompt)) --ignore-eos -c 64 --tokens "1,$head"
    same "$tmp/rest" "$tmp/got" "a prompt of $n_prompt tokens does not continue as it was"
done

# Calibration: a file for 2 layers of 2 heads, that --phi takes; with it or with a wrong one the tokens stay the same.
decode "$tmp/got" --calibrate "$tmp/phi.json" --tokens "1,$head" --stats json
[ "$(stat generated_tokens)" -eq 0 ] || fail "--calibrate generated tokens"
grep -q '"schema": "flashdec-phi", "version": 1, "model": "model.gguf", "n_layers": 2, "n_heads": 2,' "$tmp/phi.json" ||
    fail "the head of the calibration file: $(cat "$tmp/phi.json")"
decode "$tmp/got" --ids -n 20 --ignore-eos --scheme unified --phi "$tmp/phi.json"
same "$tmp/want" "$tmp/got" "calibrated constants change the tokens"
sed 's/\[\[[^,]*,/[[300,/; s/^ *\[[^,]*,/[-300,/' "$tmp/phi.json" >"$tmp/wrong.json"
decode "$tmp/got" --ids -n 20 --ignore-eos --scheme unified --phi "$tmp/wrong.json" --stats json
same "$tmp/want" "$tmp/got" "wrong constants change the tokens"
[ "$(stat rows_recomputed)" -gt 0 ] || fail "wrong constants were never noticed"
cp "$tmp/phi.json" "$tmp/before.json"
refused 1 'cannot\|No such' -m "$model" --calibrate "$tmp/none/phi.json" --quiet
same "$tmp/phi.json" "$tmp/before.json" "a refused calibration"
head -c 100 "$tmp/phi.json" >"$tmp/cut.json"
refused 1 'cut.json: line' -m "$model" --phi "$tmp/cut.json"
sed 's/"n_heads": 2/"n_heads": 4/' "$tmp/phi.json" >"$tmp/heads.json"
refused 1 'heads.json: is not for 2 layers of 2 heads' -m "$model" --phi "$tmp/heads.json"
refused 1 'none.json' -m "$model" --phi "$tmp/none.json"
refused 2 'only the unified scheme' -m "$model" --phi "$tmp/phi.json" --scheme online
[ "$(find "$tmp" -name 'phi.json.*' | wc -l)" -eq 0 ] || fail "--calibrate left a temporary file"

# Matrices in blocks: the very logits of the same numbers in f32, to rounding in another order of sums.
"$mangle" tiny "$tmp/blocks.gguf" large q4_k
"$mangle" tiny "$tmp/widened.gguf" large widened q4_k
for kind in blocks widened; do
    decode "$tmp/got" --ids -n 4 --ignore-eos -m "$tmp/$kind.gguf" --logits "$tmp/$kind.logits"
done
python3 - "$tmp/blocks.logits" "$tmp/widened.logits" <<'END' || fail "a model in blocks has other logits than the same numbers in f32"
import array, sys
a, b = array.array('f'), array.array('f')
a.frombytes(open(sys.argv[1], 'rb').read())
b.frombytes(open(sys.argv[2], 'rb').read())
sys.exit(len(a) != len(b) or len(a) == 0 or max(abs(x - y) for x, y in zip(a, b)) > 1e-4 * max(map(abs, b)))
END

# Ctrl-C while it decodes: what was decoded is out, the statistics come, exit status 130. (Not through timeout, which
# signals its child and then its group: a second Ctrl-C, which ends the program at once.)
"$mangle" kv "$model" "$tmp/long.gguf" llama.context_length u32 400000
status=0
rm "$tmp/got" "$tmp/err"
"$run" -m "$tmp/long.gguf" -n 390000 --ignore-eos --ids --stats json >"$tmp/got" 2>"$tmp/err" &
started=$!
until [ -s "$tmp/got" ] || ! kill -0 "$started" 2>/dev/null; do
    sleep 0.1
done
kill -INT "$started" 2>/dev/null || fail "over before it was interrupted"
wait "$started" || status=$?
[ "$status" -eq 130 ] || fail "interrupted: exit status $status, not 130"
[ "$(stat generated_tokens)" -eq "$(wc -w <"$tmp/got")" ] || fail "interrupted: the statistics do not fit the output"
echo "$n_checks runs"
