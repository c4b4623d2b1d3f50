/* SPDX-License-Identifier: MIT
 * attn_mma.cl - launch 1 of attention on the matrix units of GPUs; part of attn.cl, where the terms are explained
 *
 * One group of WAVES waves makes the partials of one (sequence, split, kv head, chunk of CHUNK rows), TILE keys at a
 * time. Rows are the unit's tokens (mma.h); on its side of 16 are
 *
 *     keys          scores [TILE x CHUNK] = K q^T      16 keys of every 16 * WAVES are a wave's
 *     columns of V  num [V_DIM x CHUNK] += V^T p^T     16 columns of every 16 * WAVES are
 *
 * Scores become weights in local memory (attn_pairs.cl). K and V have one tile each there, as they lie in the cache:
 * K's next one is on its way while weights are made and V is multiplied, V's while K is multiplied and weights are
 * made. Four barriers a tile, six where exponents move.
 *
 * q, K and V are of 16 bits as they are, or sums of pieces, p is a sum of three: all products of pieces are made, so
 * nothing is rounded. Units may cut off what a sum does not hold, where the library's own additions round; so each step
 * of MMA_K begins at 0, and is then added.
 *
 * The unit multiplies each line of V by each row's weights, be they 0. Keys that are not there are lines of zeros; but
 * what lies where one row may not look and another may can be NaN. Tiles with such keys are added without the unit.
 *
 * CHUNK is a multiple of MMA_N and at most 32, TILE of 16 and at most WG, CHUNK * TILE at least WG. Local memory:
 * struct tile, counted by unit_local_bytes in attn.c. */
#define K_BITS   PASTE(MMA_BITS_, K_TYPE)
#define V_BITS   PASTE(MMA_BITS_, V_TYPE)
#define Q_BITS   PASTE(MMA_BITS_, Q_TYPE)
#define K_F16    MMA_TAKES_F16(MATRIX_F16, K_BITS, Q_BITS)
#define K_PIECES MMA_PIECES(K_BITS, K_F16)
#define Q_PIECES MMA_PIECES(Q_BITS, K_F16)
#define V_PIECES MMA_PIECES(V_BITS, 0)
#define P_PIECES MMA_PIECES(MMA_BITS_f32, 0)

#define K_LINE ATTN_MMA_LINE(HEAD_DIM)
#define V_LINE ATTN_MMA_LINE(V_DIM)
#define P_LINE ATTN_MMA_LINE(TILE)
#define STRIDE(line) ((line) * 8) /* in elements */
#define COLS8(dim)   (((dim) + 15) / 16 * 2) /* of 8 elements, zeros at the end, in a line */
#define LOADS(dim)   ((TILE * COLS8(dim) + WG - 1) / WG)

#define ROW_TILES (CHUNK / MMA_N)
/* Of 16 keys, of 16 columns of V, and those of a wave. A wave that has none left does the last one once more. */
#define KEY_TILES (TILE / MMA_M)
#define COL_TILES ((V_DIM + MMA_M - 1) / MMA_M)
#define MY_KEYS   ((KEY_TILES + WAVES - 1) / WAVES)
#define MY_COLS   ((COL_TILES + WAVES - 1) / WAVES)

struct tile {
    uint4 q[Q_PIECES][CHUNK][K_LINE], k[TILE][K_LINE], v[TILE][V_LINE], p[P_PIECES][CHUNK][P_LINE];
    struct pairs pairs;
    struct keys keys[2]; /* of the tile at hand, and of the next one */
};

/* A work-item in its wave, and what the two share. */
struct lane {
    int item, wave, lane;
    local float *scratch;
};

struct sums {
    mma_sums num[MY_COLS][ROW_TILES];
};

/* ---- from global to local memory ---- */

/* Lines of `dim` elements: of K or V, of the keys at[0] .. at[TILE - 1]. */
struct lines {
    global const ushort *from;
    local const i64 *at;
    local uint4 *to;
    int dim;
    bool aligned;
};

/* Begins to bring 8 elements, number i of all lines. next: they, where they do not go straight to local memory. */
INLINE void fetch_8(const struct lines *l, int i, uint4 *next)
{
    const int key = i / COLS8(l->dim), col8 = i % COLS8(l->dim);
    local uint4 *to = l->to + key * ATTN_MMA_LINE(l->dim) + col8;
    const i64 at = key < TILE && col8 * 8 < l->dim ? l->at[key] : -1;
    global const ushort *from = l->from + at + col8 * 8;
    uint4 bits = 0;
    if (MMA_ASYNC && l->aligned && at >= 0)
        mma_copy(to, from);
    else {
        if (at >= 0)
            bits = l->aligned ? *(global const uint4 *) from : as_uint4(vload8(0, from));
        if (!MMA_ASYNC)
            *next = bits;
        else if (key < TILE)
            *to = bits;
    }
}

/* Begins to bring all. next: the item's. */
INLINE void fetch(const struct lines *l, int item, uint4 *next)
{
    if (l->aligned || !MMA_ASYNC) {
        MMA_UNROLL for (int i = 0; i < LOADS(l->dim); i++)
            fetch_8(l, item + i * WG, next + i);
    } else {
        #pragma unroll 1
        for (int i = 0; i < LOADS(l->dim); i++)
            fetch_8(l, item + i * WG, next);
    }
}

/* Puts what was fetched where it belongs. */
INLINE void put(const struct lines *l, int item, const uint4 *next)
{
    if (MMA_ASYNC)
        return;
    MMA_UNROLL for (int i = 0; i < LOADS(l->dim); i++) {
        const int key = (item + i * WG) / COLS8(l->dim), col8 = (item + i * WG) % COLS8(l->dim);
        if (key < TILE)
            l->to[key * ATTN_MMA_LINE(l->dim) + col8] = next[i];
    }
}

INLINE void load_rows(local struct tile *s, const struct args *a, const struct task *k)
{
    for (int i = get_local_id(0); i < CHUNK * COLS8(HEAD_DIM); i += WG) {
        const int r = i / COLS8(HEAD_DIM), j = i % COLS8(HEAD_DIM);
        const bool there = r < k->n_rows && j < K_VECS;
#if K_F16
        uint4 bits = 0;
        if (there)
            bits = as_uint4(vload8(j, (global const ushort *) q_row(a, k, k->g, r)));
        s->q[0][r][j] = bits;
#else
        mma_put_pieces(&s->q[0][r][j], CHUNK * K_LINE, Q_PIECES, there ? Q_ROW(q_row(a, k, k->g, r), j) : (vec) 0.0f);
#endif
    }
    find_visible(&s->pairs, a, k);
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* ---- products ---- */

/* Of all pieces of w and of x. */
INLINE mma_sums product(bool f16, const mma_w *w, int w_pieces, const mma_x *x, int x_pieces, const struct lane *u)
{
    mma_sums sum = 0.0f;
    MMA_UNROLL for (int j = 0; j < x_pieces; j++)
        MMA_UNROLL for (int i = 0; i < w_pieces; i++)
            sum = mma(f16, w[i], x[j], sum, u->lane, u->scratch);
    return sum;
}

/* Columns from `column` on of a tile of rows. */
INLINE mma_x load_tokens(local const uint4 *tile, int column, int line, const struct lane *u)
{
    return mma_load_x((local const ushort *) tile + column, STRIDE(line), u->lane, u->scratch);
}

/* Dot products of all rows and the tile's keys. */
INLINE void multiply_keys(local struct tile *s, const struct lane *u)
{
    mma_sums dots[MY_KEYS][ROW_TILES];
    MMA_UNROLL for (int m = 0; m < MY_KEYS; m++)
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            dots[m][r] = 0.0f;
    MMA_UNROLL_FEW for (int c = 0; c < HEAD_DIM; c += MMA_K) {
        mma_x x[ROW_TILES][Q_PIECES];
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            MMA_UNROLL for (int j = 0; j < Q_PIECES; j++)
                x[r][j] = load_tokens(s->q[j][r * MMA_N], c, K_LINE, u);
        MMA_UNROLL for (int m = 0; m < MY_KEYS; m++) {
            const int tile = min(u->wave + m * WAVES, KEY_TILES - 1);
            mma_w w[K_PIECES];
            mma_w_pieces(w, K_PIECES, mma_load_w((local const ushort *) s->k[tile * MMA_M] + c, STRIDE(K_LINE),
                                                 u->lane, u->scratch));
            MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
                dots[m][r] += product(K_F16, w, K_PIECES, x[r], Q_PIECES, u);
        }
    }
    MMA_UNROLL for (int m = 0; m < MY_KEYS; m++)
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            MMA_UNROLL for (int i = 0; i < MMA_TOKENS; i++)
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j++) {
                    const int tile = u->wave + m * WAVES, key = tile * MMA_M + mma_row_of_line(u->lane, j);
                    if (tile < KEY_TILES)
                        s->pairs.p[r * MMA_N + mma_token(u->lane) + i][key] = mma_sum(dots[m][r], i, j);
                }
}

/* The weights as pieces. What a row does not see weighs 0. */
INLINE void put_weights(local struct tile *s)
{
    const float8 none = 0.0f;
    for (int i = get_local_id(0); i < CHUNK * TILE / 8; i += WG) {
        const int r = i / (TILE / 8), key8 = i % (TILE / 8);
        const float8 p = vload8(key8, s->pairs.p[r]);
        mma_put_pieces(&s->p[0][r][key8], CHUNK * P_LINE, P_PIECES, p == UNSEEN ? none : p);
    }
}

INLINE void shrink_sums(local const struct pairs *s, struct sums *sums, int lane)
{
    MMA_UNROLL for (int r = 0; r < ROW_TILES; r++) {
        float shrink[MMA_SUMS];
        MMA_UNROLL for (int i = 0; i < MMA_SUMS; i++)
            shrink[i] = s->shrink[r * MMA_N + mma_token(lane) + i % MMA_TOKENS];
        MMA_UNROLL for (int m = 0; m < MY_COLS; m++)
            sums->num[m][r] *= PASTE(vload, MMA_SUMS)(0, shrink);
    }
}

INLINE int my_columns(const struct lane *u, int m)
{
    return min(u->wave + m * WAVES, COL_TILES - 1) * MMA_M;
}

/* num += V^T p^T from the first n keys of the tile, a multiple of MMA_K. */
INLINE void multiply_values(local const struct tile *s, struct sums *sums, int n, const struct lane *u)
{
    #pragma unroll 1
    for (int key = 0; key < n; key += MMA_K) {
        mma_x x[ROW_TILES][P_PIECES];
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            MMA_UNROLL for (int j = 0; j < P_PIECES; j++)
                x[r][j] = load_tokens(s->p[j][r * MMA_N], key, P_LINE, u);
        MMA_UNROLL for (int m = 0; m < MY_COLS; m++) {
            mma_w w[V_PIECES];
            mma_w_pieces(w, V_PIECES, mma_load_w_turned((local const ushort *) s->v[key] + my_columns(u, m),
                                                        STRIDE(V_LINE), u->lane, u->scratch));
            MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
                sums->num[m][r] += product(false, w, V_PIECES, x[r], P_PIECES, u);
        }
    }
}

INLINE float value_at(local const struct tile *s, int key, int column)
{
    return V_BITS == MMA_BITS_f16 ? vload_half(column, (local const half *) s->v[key])
                                  : as_float((uint) ((local const ushort *) s->v[key])[column] << 16);
}

/* The same without the unit, from all keys, in the rows that see them. */
INLINE void add_values(local const struct tile *s, struct sums *sums, const struct lane *u)
{
    MMA_UNROLL for (int m = 0; m < MY_COLS; m++)
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++) {
            float sum[MMA_SUMS];
            MMA_UNROLL for (int i = 0; i < MMA_SUMS; i++)
                sum[i] = 0.0f;
            #pragma unroll 1
            for (int key = 0; key < TILE; key++)
                MMA_UNROLL for (int i = 0; i < MMA_SUMS; i++) {
                    const float p = s->pairs.p[r * MMA_N + mma_token(u->lane) + i % MMA_TOKENS][key];
                    const float v = value_at(s, key, my_columns(u, m) + mma_row_of_line(u->lane, i / MMA_TOKENS));
                    sum[i] = p == UNSEEN ? sum[i] : fma(p, v, sum[i]);
                }
            sums->num[m][r] += PASTE(vload, MMA_SUMS)(0, sum);
        }
}

/* ---- the whole ---- */

INLINE void make_scores(local struct tile *s, local const struct keys *keys, const struct args *a,
                        const struct task *k, int t)
{
    for (int i = get_local_id(0); i < CHUNK * TILE; i += WG)
        make_score(&s->pairs, keys, a, k, t, i, s->pairs.p[i / TILE][i % TILE]);
}

/* Sums of all keys of the task. Of what is on its way to local memory V's tile is the older one. */
INLINE void sum_keys(local struct tile *s, const struct args *a, const struct task *k, struct sums *sums, bool moving,
                     const struct lane *u)
{
    const bool count = moving == (SCHEME != UNIFIED); /* bad blocks: once, not when a split is redone */
    global const K_T *k_from = k_of_head(a, k->g);
    global const V_T *v_from = v_of_head(a, k->g);
    struct lines k_lines = {(global const ushort *) k_from, 0, s->k[0], HEAD_DIM, k_aligned(a, k_from)};
    struct lines v_lines = {(global const ushort *) v_from, 0, s->v[0], V_DIM, v_aligned(a, v_from)};
    uint4 next_k[LOADS(HEAD_DIM)], next_v[LOADS(V_DIM)];
    find_keys(&s->pairs, &s->keys[0], a, k, k->begin, count);
    barrier(CLK_LOCAL_MEM_FENCE);
    k_lines.at = s->keys[0].k, v_lines.at = s->keys[0].v;
    fetch(&k_lines, u->item, next_k);
    MMA_COPIES_END();
    put(&k_lines, u->item, next_k);
    fetch(&v_lines, u->item, next_v);
    MMA_COPIES_END();
    MMA_COPIES_WAIT(1);
    barrier(CLK_LOCAL_MEM_FENCE);

    for (int t = k->begin, now = 0; t < k->end; t += TILE, now ^= 1) {
        find_keys(&s->pairs, &s->keys[now ^ 1], a, k, t + TILE, count);
        multiply_keys(s, u);
        barrier(CLK_LOCAL_MEM_FENCE); /* nobody reads K any more */
        k_lines.at = s->keys[now ^ 1].k;
        fetch(&k_lines, u->item, next_k);
        MMA_COPIES_END();
        make_scores(s, &s->keys[now], a, k, t);
        if (moving) {
            raise_exponents(&s->pairs);
            shrink_sums(&s->pairs, sums, u->lane);
        }
        weigh(&s->pairs, moving);
        put(&v_lines, u->item, next_v); /* PoCL 3.1 loses stores of this where put_weights() follows at once */
        barrier(CLK_LOCAL_MEM_FENCE);
        put_weights(s);
        MMA_COPIES_WAIT(1);
        barrier(CLK_LOCAL_MEM_FENCE); /* V is there, and its weights */
        const bool masked = s->pairs.masked;
        multiply_values(s, sums, masked ? 0 : TILE, u);
        if (masked)
            add_values(s, sums, u);
        put(&k_lines, u->item, next_k);
        MMA_COPIES_WAIT(0);
        barrier(CLK_LOCAL_MEM_FENCE); /* the next K is there, and nobody reads V any more */
        v_lines.at = s->keys[now ^ 1].v;
        fetch(&v_lines, u->item, next_v);
        MMA_COPIES_END();
    }
}

/* Stores the partials. Sets s->pairs.bad. */
INLINE void store_partials(local struct tile *s, const struct args *a, const struct task *k, const struct sums *sums,
                           const struct lane *u)
{
    store_dens(&s->pairs, a, k);
    MMA_UNROLL for (int m = 0; m < MY_COLS; m++)
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            MMA_UNROLL for (int i = 0; i < MMA_TOKENS; i++) {
                const int row = r * MMA_N + mma_token(u->lane) + i, tile = u->wave + m * WAVES;
                if (row >= k->n_rows || tile >= COL_TILES)
                    continue;
                global float *num = num_of(a, partial_of(a, k, k->g, row));
                MMA_UNROLL for (int j = 0; j < MMA_ROWS; j++) {
                    const int column = tile * MMA_M + mma_row_of_line(u->lane, j);
                    const float x = mma_sum(sums->num[m][r], i, j);
                    if (column < V_DIM)
                        num[column] = x;
                    if (column < V_DIM && !num_in_range((vec) x))
                        atomic_or(&s->pairs.bad, 1 << row);
                }
            }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The exponent that row r begins with. */
INLINE float first_exponent(const struct args *a, const struct task *k, int r)
{
    vec sum = 0.0f;
    for (int j = 0; j < K_VECS && needs_bounds(a) && r < k->n_rows; j++) {
        const vec q = Q_ROW(q_row(a, k, k->g, r), j);
        sum = fma(q, q, sum);
    }
    const float4 four = sum.lo + sum.hi;
    const float2 two = four.lo + four.hi;
    return unified_exponent(a, k, r, two.x + two.y);
}

/* The partials of the task by one way through its keys. */
INLINE void make_partials(local struct tile *s, const struct args *a, const struct task *k, bool moving,
                          const struct lane *u)
{
    const int item = get_local_id(0);
    struct sums sums;
    MMA_UNROLL for (int m = 0; m < MY_COLS; m++)
        MMA_UNROLL for (int r = 0; r < ROW_TILES; r++)
            sums.num[m][r] = 0.0f;
    begin_pairs(&s->pairs, moving || item >= CHUNK ? EXP_NONE : first_exponent(a, k, item));
    sum_keys(s, a, k, &sums, moving, u);
    store_partials(s, a, k, &sums, u);
}

__attribute__((reqd_work_group_size(WG, 1, 1)))
kernel void attn_mma(ATTN_BUFFERS(BUFFER_PARAM) ATTN_SCALARS(SCALAR_PARAM) int unused)
{
    TAKE_ARGS(a)
    local struct tile s;
    MMA_SCRATCH(all_scratch, WAVES)
    const int item = hardware_item(), wave = item / MMA_LANES;
    const struct lane u = {item, wave, item % MMA_LANES, MMA_SCRATCH_AT(all_scratch, wave)};
    struct task k;
    find_task(&k, &a, TILE);
    load_rows(&s, &a, &k);
    make_partials(&s, &a, &k, SCHEME != UNIFIED, &u);
    if (SCHEME != UNIFIED)
        return;
    keep_bad(&s.pairs, &a, &k);
    make_partials(&s, &a, &k, true, &u);
}
