/* SPDX-License-Identifier: MIT
 * faults.h - what broken.cl can do wrong; read by both compilers. X(name, text) */
#ifndef FAULTS_H
#define FAULTS_H

#define ATTN_FAULTS(X) \
    X(TAIL, "the last key is left out") \
    X(TILE, "a tile of 16 keys is left out") \
    X(SCALE, "scores are scaled by 1/D") \
    X(STALE, "the last element is never written") \
    X(PAST_END, "one element behind the last is written") \
    X(HALF, "probabilities are rounded to 11 bits") \
    X(STRIDES, "token and head strides are swapped") \
    X(BARRIER, "local memory is read without a barrier") \
    X(NAN_IGNORED, "a score that is NaN counts as -inf") \
    X(NO_GUARD, "phi is used and nothing guards it") \
    X(NO_TABLE, "the block table is not read") \
    X(MASK, "keys past the length are multiplied by 0") \
    X(EMPTY, "a sequence without keys divides 0 by 0") \
    X(KV_HEAD, "query head h reads kv head h mod G") \
    X(LSE, "lse lacks the maximum") \
    X(CAUSAL, "a query sees one key too many") \
    X(WINDOW, "the window is one key too short") \
    X(NEXT_NAN, "keys that a query does not see are multiplied by 0") \
    X(Q_POS, "q_pos is not read") \
    X(Q_STARTS, "query rows start one row too early") \
    X(BIAS, "the bias of the first head is every head's") \
    X(ALIBI, "ALiBi counts from the end of the sequence") \
    X(SOFTCAP, "scores are cut off where they should bend") \
    X(SINK, "the sink has no weight") \
    X(STATE, "the state of a slot is another sequence's")

#define LINEAR_FAULTS(X) \
    X(TAIL, "the last column is left out") \
    X(TILE, "a tile of 16 columns is left out") \
    X(STALE, "the last element is never written") \
    X(PAST_END, "one element behind the last is written") \
    X(HALF, "sums are rounded to 11 bits") \
    X(HALF_X, "x is rounded to 11 bits") \
    X(STRIDES, "W is read as [K, N]") \
    X(BARRIER, "local memory is read without a barrier") \
    X(NAN_IGNORED, "a product that is NaN counts as 0") \
    X(NO_BIAS, "bias is left out") \
    X(ACCUMULATE, "the sum is added to what was in y")

#define SOFTMAX_FAULTS(X) \
    X(TAIL, "the sum lacks the last column") \
    X(NO_MAX, "the maximum is not subtracted") \
    X(STALE, "the last element is never written") \
    X(PAST_END, "one element behind the last is written") \
    X(HALF, "exponentials are rounded to 11 bits") \
    X(BARRIER, "local memory is read without a barrier") \
    X(NAN_IGNORED, "NaN weighs nothing") \
    X(LSE, "lse lacks the maximum") \
    X(IN_PLACE, "x is read after y was written")

#define FAULT_NAME(name, text) name,
#endif
