/* SPDX-License-Identifier: MIT
 * attn_values.cl - for attn_vec.cl: adding the values of a tile, times their weights, to the sums of a block */

/* q8_0: values are added without their scales, which the weights take on, a vector of them at a time. */
#if IS_Q8(V_TYPE)
#define V_SCALES        DIV_UP(V_DIM, BLOCK_q8_0)
#define V_PER_SCALE     (BLOCK_q8_0 / WIDTH) /* vectors */
#define V_WHOLE(row, j) whole_q8_0((row) + (j) / V_PER_SCALE * BYTES_q8_0, 0, (j) % V_PER_SCALE)

/* Scales converted at a time: of KEYS keys, of two twice. */
#if KEYS <= 4
#define SOME 4
#elif KEYS == 8
#define SOME 8
#else
#define SOME 16
#endif
#if WIDTH == SOME
#define REPEATED(x) (x)
#elif WIDTH == 2 * SOME
#define REPEATED(x) (vec)(x, x)
#else
#define REPEATED(x) (vec)(x, x, x, x)
#endif

/* scaled[b * GROUPS + u] = w[u] times the scales of block b of the keys of vector u. */
INLINE void scale_weights(const struct scores *from, const vec *w, vec *scaled)
{
    #pragma unroll
    for (int u = 0; u < GROUPS; u++) {
        global const V_T *row[SOME];
        #pragma unroll
        for (int i = 0; i < SOME; i++)
            row[i] = from->block->v + from->v[u * KEYS + i % KEYS];
        #pragma unroll 1
        for (int b = 0; b < V_SCALES; b++) {
            ushort bits[SOME];
            #pragma unroll
            for (int i = 0; i < SOME; i++)
                bits[i] = *(global const ushort *) (row[i] + b * BYTES_q8_0);
            const PASTE(float, SOME) scale = PASTE(PASTE(half, SOME), _bits)(PASTE(vload, SOME)(0, bits));
            scaled[b * GROUPS + u] = w[u] * REPEATED(scale);
        }
    }
}
#else
#define V_PER_SCALE V_VECS
#define V_WHOLE     V_ROW
#endif

/* The weight of key i of a tile in row r. */
#define WEIGHT(w, i, r) (((const float *) (w))[(i) / KEYS * WIDTH + (r) * KEYS + (i) % KEYS])

/* num[r] += weight of key i in row r * V[i] over all keys of a tile, for n columns of V: j, j + step, ... w: a tile's
 * weights for each V_PER_SCALE columns. n and step are constants. Where a page ends, keys in the order of Gray's code:
 * by equal strides from one to the next the hardware's prefetcher of strides goes on past the page, through hundreds of
 * lines that this task does not want. */
INLINE void add_columns(const struct args *a, const struct scores *from, const vec *w, int j, int step, int n,
                        struct cursor *next)
{
    const struct block *s = from->block;
    const int gray = from->ends ? 1 : 31;
    global float *to[ROWS];
    vec num[ROWS][COLS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        to[r] = num_of(a, s->partial[r]);
        #pragma unroll
        for (int c = 0; c < n; c++)
            num[r][c] = load_f32(to[r], j + c * step, V_DIM);
    }
    #pragma unroll 1
    for (int k = 0; k < TILE / V_STEP; k++) {
        const int key = (k ^ k >> gray) * V_STEP;
        ask(next, V_LINES);
        #pragma unroll
        for (int l = 0; l < V_STEP; l++) {
            const int i = key + l;
            global const V_T *row = s->v + from->v[i];
            #pragma unroll
            for (int c = 0; c < n; c++) {
                const vec x = V_WHOLE(row, j + c * step), *scaled = w + (j + c * step) / V_PER_SCALE * GROUPS;
                #pragma unroll
                for (int r = 0; r < ROWS; r++)
                    num[r][c] = fma((vec) WEIGHT(scaled, i, r), x, num[r][c]);
            }
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int c = 0; c < n; c++)
            store_f32(num[r][c], to[r], j + c * step, V_DIM);
}

INLINE void add_values(const struct args *a, const struct scores *from, const vec *w, struct cursor *next)
{
    struct cursor ahead = *next;
    int j = 0;
#if IS_Q8(V_TYPE)
    vec scaled[V_SCALES * GROUPS];
    scale_weights(from, w, scaled);
    w = scaled;
#if WIDTH == 16
    /* No two columns with one scale: a weight that is used once comes with the multiply-add; one that is used twice is
     * brought to all lanes by an instruction of its own, which on Zen 4 takes the place of a multiply-add. */
    enum { N = COLS < V_SCALES ? COLS : V_SCALES };
    #pragma unroll 1
    for (; j + V_PER_SCALE * N <= V_VECS; j += V_PER_SCALE * N)
        #pragma unroll 1
        for (int i = 0; i < V_PER_SCALE; i++)
            add_columns(a, from, w, j + i, V_PER_SCALE, N, &ahead);
#endif
#endif
    #pragma unroll 1
    for (; j + COLS <= V_VECS; j += COLS)
        add_columns(a, from, w, j, 1, COLS, &ahead);
    if (V_VECS % COLS && j < V_VECS)
        add_columns(a, from, w, j, 1, V_VECS % COLS, &ahead);
    *next = ahead;
}

/* The same, only of keys that the row sees. */
INLINE void add_seen_values(const struct args *a, const struct scores *from, const vec *w)
{
    const struct block *s = from->block;
    #pragma unroll 1
    for (int r = 0; r < ROWS; r++) {
        const bool again = is_again(s, r);
        global float *num = num_of(a, s->partial[r]);
        #pragma unroll 1
        for (int i = 0; i < TILE && !again; i++)
            if (from->seen[i / KEYS][r * KEYS + i % KEYS]) {
                const vec weight = WEIGHT(w, i, r);
                #pragma unroll 1
                for (int j = 0; j < V_VECS; j++)
                    store_f32(fma(weight, V_ROW(s->v + from->v[i], j), load_f32(num, j, V_DIM)), num, j, V_DIM);
            }
    }
}
