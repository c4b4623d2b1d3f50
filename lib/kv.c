/* SPDX-License-Identifier: MIT
 * kv.c - the layout of a key/value cache */
#include "kv.h"

static const int64_t MAX_STRIDE = (int64_t) 1
                                  << 32; /* elements: products with 2^31 blocks and 4 bytes stay within 64 bits */

fdec_status kv_layout_complete(const char *who, fdec_kv_layout *kv, uint32_t batch, uint32_t max_len,
                               uint32_t n_kv_heads, uint32_t head_dim)
{
    const int64_t packed = (int64_t) n_kv_heads * head_dim;
    if (kv->type != FDEC_F32 && kv->type != FDEC_F16)
        return fail(FDEC_E_UNSUPPORTED, "%s: kv.type %d is neither FDEC_F32 nor FDEC_F16", who, (int) kv->type);
    if (kv->page_size) {
        if (!kv->max_blocks)
            kv->max_blocks = (uint32_t) div_up(max_len, kv->page_size);
        if (!kv->n_blocks)
            return fail(FDEC_E_ARG, "%s: kv.n_blocks >= 1 does not hold; a paged cache needs the size of its pool",
                        who);
        if ((uint64_t) kv->max_blocks * kv->page_size < max_len)
            return fail(FDEC_E_ARG, "%s: kv.max_blocks * kv.page_size >= max_len does not hold (%u * %u < %u)", who,
                        kv->max_blocks, kv->page_size, max_len);
    } else {
        if (!kv->capacity)
            kv->capacity = max_len;
        if (!kv->n_blocks)
            kv->n_blocks = batch;
        if (kv->capacity < max_len || kv->n_blocks < batch)
            return fail(FDEC_E_ARG,
                        "%s: kv.capacity >= max_len && kv.n_blocks >= batch does not hold (%u < %u or %u < %u)", who,
                        kv->capacity, max_len, kv->n_blocks, batch);
    }
    const int64_t tokens = kv->page_size ? kv->page_size : kv->capacity;
    if (!kv->token_stride)
        kv->token_stride = packed;
    if (!kv->head_stride)
        kv->head_stride = head_dim;
    if (!kv->block_stride)
        kv->block_stride = tokens * packed;
    if (kv->n_blocks > INT32_MAX || kv->max_blocks > INT32_MAX || kv->page_size > INT32_MAX || kv->capacity > INT32_MAX)
        return fail(FDEC_E_ARG, "%s: kv.n_blocks, max_blocks, page_size and capacity < 2^31 does not hold", who);
    if (kv->block_stride < 0 || kv->token_stride < 0 || kv->head_stride < 0 || kv->block_stride > MAX_STRIDE ||
        kv->token_stride > MAX_STRIDE || kv->head_stride > MAX_STRIDE)
        return fail(FDEC_E_ARG, "%s: 0 <= kv strides <= 2^32 does not hold", who);
    return FDEC_OK;
}

uint64_t kv_layout_bytes(const fdec_kv_layout *kv, uint32_t n_kv_heads, uint32_t head_dim)
{
    const uint64_t tokens = kv->page_size ? kv->page_size : kv->capacity;
    return type_bytes(kv->type) *
           ((kv->n_blocks - 1) * (uint64_t) kv->block_stride + (tokens - 1) * (uint64_t) kv->token_stride +
            (n_kv_heads - 1) * (uint64_t) kv->head_stride + head_dim);
}
