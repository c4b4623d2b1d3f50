/* SPDX-License-Identifier: MIT
 * append.cl - rotary embedding, quantisation and the append to the cache, in one launch
 *
 *   q[n,h]       turned in place                                        h in [0, H)
 *   K(place, g)  = q8_0 / f16 / ... of k[n,g] turned                    g in [0, G)
 *   V(place, g)  = q8_0 / f16 / ... of v[n,g]
 *   bounds[block, g] = max(itself, {|K|, max_d |V_d|} of what was stored)
 * rope_append: a group per (row n, head), H query heads, then G kv heads. A head goes through local memory as f32:
 *      loaded in vectors, turned in pairs, stored in vectors of the cache's type. Local memory: 4*(576 + WG) + 4
 *      bytes.
 *
 * The bound of |K| is an upper bound of the exact norm of the stored key. The sum of n squares a lane (fma), 12
 * halvings at most, one more addition, the square root (3 ulp), a product and the rounding of the factor itself take
 * away (n/2 + 15) * 2^-24 of it at most, and underflow 2^-126 of each square: both are given back. Elements that are
 * infinite or NaN make it +inf, as they do for V. Non-negative floats are in the order of their bits, so a maximum
 * over integers serves, and NaN wins it.
 *
 * ACT_TYPE, K_TYPE, V_TYPE: f32, f16, bf16, q8_0 by name, as load.h takes them.  WG, VEC: row.h, VEC 4 or 16. */
#if !defined(WG) || !defined(VEC) || !defined(ACT_TYPE) || !defined(K_TYPE) || !defined(V_TYPE)
#error "append.cl needs WG, VEC, ACT_TYPE, K_TYPE and V_TYPE"
#endif
#define WIDTH VEC
#include "row.h"
#include "load.h"

#define ACT_T PASTE(T_, ACT_TYPE)
#define K_T   PASTE(T_, K_TYPE)
#define V_T   PASTE(T_, V_TYPE)
#include "append.h"

#if WG > 1
#define SYNC(fence) barrier(fence)
#else
#define SYNC(fence) /* PoCL copies what follows a barrier under a condition, and takes long to compile */
#endif

/* ---- where a row goes -------------------------------------------------------------------------------------------- */

struct place {
    i64 block; /* -1: nowhere, the row is skipped */
    int token; /* in the block */
};

static struct place place_of(const struct append_scalars *s, global const int *slots, global const int *block_table,
                             int row, int pos)
{
    struct place p;
    p.block = -1;
    p.token = pos;
    if (pos < 0 || pos >= s->max_len)
        return p;
    if (slots) {
        const int slot = slots[row];
        p.block = slot < 0 ? -1 : slot / s->block_tokens;
        p.token = slot % s->block_tokens;
    } else if (s->paged) {
        p.block = block_table[row / s->q_len * (size_t) s->max_blocks + pos / s->block_tokens];
        p.token = pos % s->block_tokens;
    } else {
        p.block = row / s->q_len;
    }
    if (p.block >= s->n_blocks)
        p.block = -1;
    return p;
}

/* ---- a head in local memory -------------------------------------------------------------------------------------- */

#define VECTORS(dim) (int) div_up(dim, VEC)

WITH_LOCAL vec row_load(local const float *row, int j)
{
    return PASTE(vload, VEC)(j, row);
}

WITH_LOCAL void fetch(local float *row, global const ACT_T *from, int dim)
{
    SYNC(CLK_LOCAL_MEM_FENCE); /* what was there is read */
    for (int j = get_local_id(0); j < VECTORS(dim); j += WG)
        PASTE(vstore, VEC)(PASTE(load_, ACT_TYPE)(from, j, dim), j, row);
    SYNC(CLK_LOCAL_MEM_FENCE);
}

struct angle {
    float cosine, sine;
};

/* Of a turn given as a 0.64 binary fraction, its top 32 bits. The quadrant is split off in integers, so what is left,
 * at most an eighth of a turn, is rounded twice: the angle is right to 1.5e-7 rad. The polynomials are minimax on
 * [-pi/4, pi/4], 1 ulp. */
static struct angle angle_of(u64 turn)
{
    const uint top = turn >> 32, quadrant = (top + (1u << 29)) >> 30;
    const float a = (float) (int) (top - (quadrant << 30)) * 0x1.921fb6p-30f, a2 = a * a;

    float s = fma(a2, -1.9515295891e-4f, 8.3321608736e-3f);
    s = fma(s, a2, -1.6666654611e-1f);
    s = fma(s * a2, a, a);
    float c = fma(a2, 2.443315711809948e-5f, -1.388731625493765e-3f);
    c = fma(c, a2, 4.166664568298827e-2f);
    c = fma(c * a2, a2, fma(a2, -0.5f, 1.0f));

    const float swap_s = quadrant & 1 ? c : s, swap_c = quadrant & 1 ? s : c;
    struct angle r;
    r.sine = quadrant & 2 ? -swap_s : swap_s;
    r.cosine = (quadrant + 1) & 2 ? -swap_c : swap_c;
    return r;
}

WITH_LOCAL void turn(local float *a, local float *b, u64 turns, float factor)
{
    const struct angle t = angle_of(turns);
    const float c = t.cosine * factor, d = t.sine * factor, v0 = *a, v1 = *b;
    *a = fma(v0, c, -(v1 * d));
    *b = fma(v0, d, v1 * c);
}

WITH_LOCAL void rotate(const struct append_scalars *s, local float *row, global const u64 *restrict angles, int pos)
{
    const int pairs = s->rope_dim / 2;
    const float factor = s->attn_factor;
    local float *first = row + s->rope_begin;
    if (s->neox)
        for (int i = get_local_id(0); i < pairs; i += WG)
            turn(first + i, first + pairs + i, angles[i] * (u64) pos, factor);
    else
        for (int i = get_local_id(0); i < pairs; i += WG)
            turn(first + 2 * i, first + 2 * i + 1, angles[i] * (u64) pos, factor);
    SYNC(CLK_LOCAL_MEM_FENCE);
}

/* ---- from the row to a cache: vector j, as each type takes it ---------------------------------------------------- */

WITH_LOCAL void put_f32(local const float *row, global float *to, int j, int dim)
{
    store_f32(row_load(row, j), to, j, dim);
}

WITH_LOCAL void put_f16(local const float *row, global half *to, int j, int dim)
{
    store_f16(row_load(row, j), to, j, dim);
}

WITH_LOCAL void put_bf16(local const float *row, global ushort *to, int j, int dim)
{
    store_bf16(row_load(row, j), to, j, dim);
}

/* Largest |lane| as bits; NaN is above infinity. */
static uint magnitude(vec v)
{
    uint lane[VEC];
    PASTE(vstore, VEC)(PASTE(as_uint, VEC)(v) & 0x7fffffff, 0, lane);
    for (int step = VEC / 2; step > 0; step /= 2)
        for (int l = 0; l < step; l++)
            lane[l] = max(lane[l], lane[l + step]);
    return lane[0];
}

/* a / 127 and 1 / d rounded to nearest on devices whose division is off by 2.5 ulp too: one step of Newton on the exact
 * remainder. Beyond its range (d of 2^-100 and below, or infinite) q does not matter: d rounds to 0 or inf in f16. */
static float scale_of(float a)
{
    const float d = a / 127.0f;
    return fabs(d) > 0x1p-100f && d < INFINITY ? fma(fma(-d, 127.0f, a), 1.0f / 127.0f, d) : d;
}

static float inverse_of(float d)
{
    const float r = 1.0f / d;
    return d > 0x1p-100f && d < INFINITY ? fma(fma(-d, r, 1.0f), r, r) : d > 0 ? r : 0;
}

/* The block that holds vector j: d = max |x| / 127, q = round(x / d), halves away from zero; the item of its first
 * vector stores d. A block with an infinity or a NaN has such a d and q = 0: all of it reads as NaN. */
WITH_LOCAL void put_q8_0(local const float *row, global uchar *to, int j, int dim)
{
    const int vectors = 32 / VEC, first = j - j % vectors;
    uint top = 0;
    for (int i = 0; i < vectors; i++)
        top = max(top, magnitude(row_load(row, first + i)));
    const float d = scale_of(as_float(top));
    global uchar *block = to + first / vectors * 34;
    if (j == first)
        vstore_half_rte(d, 0, (global half *) block);
    const vec x = round(row_load(row, j) * inverse_of(d));
    PASTE(vstore, VEC)(PASTE(PASTE(convert_char, VEC), _sat)(x), j % vectors, (global char *) block + 2);
}

/* ---- running maxima of a block ----------------------------------------------------------------------------------- */

static void raise(global float *bound, uint bits)
{
    atomic_max((volatile global uint *) bound, min(bits, as_uint(INFINITY)));
}

WITH_LOCAL void bound_key(global float *bound, local float *part, global const K_T *key, int dim)
{
    vec sum = 0.0f;
    for (int j = get_local_id(0); j < VECTORS(dim); j += WG) {
        const vec x = PASTE(load_, K_TYPE)(key, j, dim);
        sum = fma(x, x, sum);
    }
    const float total = group_sum(part, lanes_sum(sum)) + dim * 0x1p-126f;
    const float up = 1.0f + (0.5f * div_up(dim, STRIDE) + 16.0f) * 0x1p-24f;
    if (get_local_id(0) == 0)
        raise(bound, as_uint(sqrt(total) * up) & 0x7fffffff); /* a NaN may have a sign */
}

WITH_LOCAL void bound_value(global float *bound, local uint *top, global const V_T *value, int dim)
{
    if (get_local_id(0) == 0)
        *top = 0;
    SYNC(CLK_LOCAL_MEM_FENCE);
    uint mine = 0;
    for (int j = get_local_id(0); j < VECTORS(dim); j += WG)
        mine = max(mine, magnitude(PASTE(load_, V_TYPE)(value, j, dim)));
    atomic_max(top, mine);
    SYNC(CLK_LOCAL_MEM_FENCE);
    if (get_local_id(0) == 0)
        raise(bound, *top);
}

/* ------------------------------------------------------------------------------------------------------------------ */

#define SCALAR_VALUE(type, name) name,

__attribute__((reqd_work_group_size(WG, 1, 1))) IN_STEP
kernel void rope_append(APPEND_BUFFERS(BUFFER_PARAM) APPEND_SCALARS(SCALAR_PARAM) int unused)
{
    APPEND_BUFFERS(BUFFER_BEGIN)
    local float row[APPEND_MAX_DIM], part[WG];
    local uint top;
    const struct append_scalars s = {APPEND_SCALARS(SCALAR_VALUE)};
    const int heads = n_heads + n_kv_heads, n = get_group_id(0) / heads, head = get_group_id(0) % heads;
    const int g = head - n_heads; /* < 0: a query head */
    const struct place at = place_of(&s, slots, block_table, n, pos[n]);
    if (at.block < 0 || (g < 0 && !HAS(angles)))
        return;

    if (g < 0) {
        global ACT_T *mine = q + (n * (size_t) n_heads + head) * head_dim;
        fetch(row, mine, head_dim);
        rotate(&s, row, angles, pos[n]);
        for (int j = get_local_id(0); j < VECTORS(head_dim); j += WG)
            PASTE(store_, ACT_TYPE)(row_load(row, j), mine, j, head_dim);
        return;
    }

    const size_t from = n * (size_t) n_kv_heads + g;
    const i64 k_at = at.block * k_block_stride + at.token * k_token_stride + g * k_head_stride,
              v_at = at.block * v_block_stride + at.token * v_token_stride + g * v_head_stride;
    global K_T *key = k_cache + UNITS(K_TYPE, k_at);
    global V_T *value = v_cache + UNITS(V_TYPE, v_at);
    fetch(row, k + from * head_dim, head_dim);
    if (HAS(angles))
        rotate(&s, row, angles, pos[n]);
    for (int j = get_local_id(0); j < VECTORS(head_dim); j += WG)
        PASTE(put_, K_TYPE)(row, key, j, head_dim);
    fetch(row, v + from * v_head_dim, v_head_dim);
    for (int j = get_local_id(0); j < VECTORS(v_head_dim); j += WG)
        PASTE(put_, V_TYPE)(row, value, j, v_head_dim);

    if (HAS(bounds)) {
        SYNC(CLK_GLOBAL_MEM_FENCE);
        bound_key(bounds + (at.block * n_kv_heads + g) * 2, part, key, head_dim);
        bound_value(bounds + (at.block * n_kv_heads + g) * 2 + 1, &top, value, v_head_dim);
    }
}
