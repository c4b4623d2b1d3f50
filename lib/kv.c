/* SPDX-License-Identifier: MIT
 * kv.c - the layout of a key/value cache */
#include "kv.h"

static const int64_t MAX_STRIDE = (int64_t) 1 << 32;   /* elements */
static const uint64_t MAX_EXTENT = (uint64_t) 1 << 56; /* elements: bytes, and sums of three, stay within 63 bits */

/* Strides and type of one cache. */
static fdec_status complete_cache(const char *who, const char *name, fdec_cache *c, int64_t tokens, int64_t n_kv_heads,
                                  int64_t dim)
{
    if ((unsigned) c->type > FDEC_Q8_0)
        return fail(FDEC_E_UNSUPPORTED, "%s: kv.%s.type %d is none of f32, f16, bf16, q8_0", who, name, (int) c->type);
    const int64_t block = (int64_t) type_block(c->type);
    if (dim % block)
        return fail(FDEC_E_UNSUPPORTED,
                    "%s: kv.%s is q8_0 and its head dimension %d is no multiple of its blocks of 32", who, name,
                    (int) dim);
    if (!c->token_stride)
        c->token_stride = n_kv_heads * dim;
    if (!c->head_stride)
        c->head_stride = dim;
    if (!c->block_stride)
        c->block_stride = tokens * n_kv_heads * dim;
    const int64_t strides[] = {c->block_stride, c->token_stride, c->head_stride};
    for (size_t i = 0; i < ARRAY_LEN(strides); i++) {
        if (strides[i] < 0 || strides[i] > MAX_STRIDE)
            return fail(FDEC_E_ARG, "%s: 0 <= kv.%s strides <= 2^32 does not hold", who, name);
        if (strides[i] % block)
            return fail(FDEC_E_ARG, "%s: kv.%s strides are multiples of its blocks of 32: does not hold", who, name);
    }
    return FDEC_OK;
}

static fdec_status check_extent(const char *who, const char *name, const fdec_cache *c, int64_t n_blocks,
                                int64_t tokens)
{
    if ((uint64_t) (n_blocks - 1) * (uint64_t) c->block_stride > MAX_EXTENT ||
        (uint64_t) (tokens - 1) * (uint64_t) c->token_stride > MAX_EXTENT)
        return fail(FDEC_E_ARG, "%s: kv.%s blocks and tokens within 2^56 elements of the first does not hold", who,
                    name);
    return FDEC_OK;
}

fdec_status kv_layout_complete(const char *who, fdec_kv_layout *kv, uint32_t batch, uint32_t max_len,
                               uint32_t n_kv_heads, uint32_t head_dim, uint32_t v_head_dim)
{
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
    if (kv->n_blocks > INT32_MAX || kv->max_blocks > INT32_MAX || kv->page_size > KV_MAX_TOKENS ||
        kv->capacity > INT32_MAX)
        return fail(FDEC_E_ARG, "%s: kv.n_blocks, max_blocks, capacity < 2^31 and page_size <= 2^30 does not hold",
                    who);
    const int64_t tokens = kv->page_size ? kv->page_size : kv->capacity;
    fdec_status st = complete_cache(who, "k", &kv->k, tokens, n_kv_heads, head_dim);
    st = st ? st : complete_cache(who, "v", &kv->v, tokens, n_kv_heads, v_head_dim);
    st = st ? st : check_extent(who, "k", &kv->k, kv->n_blocks, tokens);
    return st ? st : check_extent(who, "v", &kv->v, kv->n_blocks, tokens);
}

uint64_t kv_cache_bytes(const fdec_kv_layout *kv, const fdec_cache *cache, uint32_t n_kv_heads, uint32_t dim)
{
    const uint64_t tokens = kv->page_size ? kv->page_size : kv->capacity;
    return type_bytes(cache->type, (kv->n_blocks - 1) * (uint64_t) cache->block_stride +
                                       (tokens - 1) * (uint64_t) cache->token_stride +
                                       (n_kv_heads - 1) * (uint64_t) cache->head_stride + dim);
}
