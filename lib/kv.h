/* SPDX-License-Identifier: MIT
 * kv.h - the layout of a key/value cache: defaults, checks, size. One place for attention and for the append */
#ifndef KV_H
#define KV_H
#include "plan.h"

/* Of a sequence, and of a page: kernels count tokens in ints, and look some tiles or a page ahead. */
enum { KV_MAX_TOKENS = 1 << 30 };

/* Fills in the defaults of a layout for `batch` sequences of up to max_len tokens, and checks it. */
fdec_status kv_layout_complete(const char *who, fdec_kv_layout *kv, uint32_t batch, uint32_t max_len,
                               uint32_t n_kv_heads, uint32_t head_dim, uint32_t v_head_dim);

/* Bytes of one cache from its first element to behind the last one that may be addressed. dim: of its rows. */
uint64_t kv_cache_bytes(const fdec_kv_layout *kv, const fdec_cache *cache, uint32_t n_kv_heads, uint32_t dim);
#endif
