/* SPDX-License-Identifier: MIT
 * mma.h - one layer over the matrix units of GPUs: a wave adds a product of 16 x 16 by 16 x MMA_N elements of 16 bits
 *
 * MATRIX is the dialect that lib/probe_matrix.c has found:
 *                                              lanes   tokens   of a lane's sums: rows x tokens
 *   1 PTX         mma.sync m16n8k16, ldmatrix   32       8       2 x 2
 *   2 MFMA        gfx90a, gfx942                64      16       4 x 1
 *   3 WMMA        gfx11                         32      16       8 x 1
 *   4 WMMA        gfx12                         32      16       8 x 1
 *
 * Weights are on the side of 16 rows, tokens on the other. Both lie in local memory row by row, MMA_K columns of them
 * are taken: mma_load_w(tile, stride, lane, scratch), mma_load_x() likewise, mma(f16, w, x, sums, lane, scratch). The
 * sums of a lane are those of MMA_ROWS rows and of MMA_TOKENS tokens from mma_token(lane) on: mma_sum(sums, token,
 * row). Where row r of 16 lies in line mma_place(r) of its tile, those rows are side by side, from mma_row(lane) on;
 * where it lies in line r, they are mma_row_of_line(lane, 0), ... Then mma_load_w_turned() can take W^T, too: MMA_K
 * lines of a tile, each with a column of the 16 rows.
 *
 * Elements are f16 where f16 is true, a constant, else bf16. A wider number is a sum of bf16 pieces of 8 bits
 * (MMA_PIECE): 2 of f16, 3 of f32. Products are exact, so pieces lose nothing but parts below 2^-126, which some units
 * take for 0. mma_put_pieces() makes them on the way to local memory, mma_w_pieces() of what was loaded from there.
 *
 * MATRIX_STANDIN: the instructions' lanes exchange their registers through local memory, as the makers lay them out, in
 * all else the same code; for tests on devices without such a unit. All work-items of a group come by together. */
#ifndef MMA_H
#define MMA_H
#include "common.h"

#define MATRIX_PTX        1
#define MATRIX_MFMA       2
#define MATRIX_WMMA       3
#define MATRIX_WMMA_GFX12 4

#define MMA_M 16
#define MMA_K 16
#define MMA_N_OF(dialect)     ((dialect) == MATRIX_PTX ? 8 : 16)
#define MMA_LANES_OF(dialect) ((dialect) == MATRIX_MFMA ? 64 : 32)
#define MMA_ASYNC_OF(dialect) ((dialect) == MATRIX_PTX) /* mma_copy is no load and store */
/* Elements of W and of x that a lane holds. */
#define MMA_W_OF(dialect) ((dialect) == MATRIX_WMMA ? 16 : (dialect) == MATRIX_MFMA ? 4 : 8)
#define MMA_X_OF(dialect) ((dialect) == MATRIX_WMMA ? 16 : (dialect) == MATRIX_WMMA_GFX12 ? 8 : 4)
/* Local f32 of a wave's stand-in. */
#define MMA_SCRATCH_OF(dialect) (MMA_LANES_OF(dialect) * (MMA_W_OF(dialect) + MMA_X_OF(dialect)))

/* Bits of a significand, and the pieces that hold them. f16: the unit takes f16 on both sides as they are. Quants of
 * blocks are whole numbers from -128 to 127: either type holds them. */
#define MMA_BITS_f32          24
#define MMA_BITS_f16          11
#define MMA_BITS_bf16         8
#define MMA_BITS_quant        7
#define MMA_PIECES(bits, f16) ((f16) ? 1 : ((bits) + 7) / 8)
#define MMA_TAKES_F16(unit_f16, w_bits, x_bits) \
    ((unit_f16) && (x_bits) == MMA_BITS_f16 && ((w_bits) == MMA_BITS_f16 || (w_bits) == MMA_BITS_quant))

#ifdef __OPENCL_VERSION__
#define MMA_N     MMA_N_OF(MATRIX)
#define MMA_LANES MMA_LANES_OF(MATRIX)
#ifndef MATRIX_STANDIN
#define MATRIX_STANDIN 0
#endif
#if MATRIX_STANDIN
#define MMA_UNROLL     _Pragma("unroll 1") /* else each of its barriers makes another part to compile */
#define MMA_UNROLL_FEW _Pragma("unroll 1")
#define MMA_SCRATCH(name, waves) local float name[(waves) * MMA_SCRATCH_OF(MATRIX)];
#define MMA_SCRATCH_AT(name, wave) (name + (wave) * MMA_SCRATCH_OF(MATRIX))
#else
#define MMA_UNROLL     _Pragma("unroll")
#define MMA_UNROLL_FEW _Pragma("unroll 4")
#define MMA_SCRATCH(name, waves)
#define MMA_SCRATCH_AT(name, wave) 0
#endif

#if MATRIX == MATRIX_PTX
#define MMA_ROWS   2
#define MMA_TOKENS 2
#define MMA_SUMS   4
#define MMA_W_N    8 /* MMA_W_OF, for names */
#define MMA_X_N    4
#define MMA_AS_W   as_uint4
typedef uint4 mma_w;
typedef uint2 mma_x;
typedef float4 mma_sums;
#elif MATRIX == MATRIX_MFMA
#define MMA_ROWS   4
#define MMA_TOKENS 1
#define MMA_SUMS   4
#define MMA_W_N    4 /* MMA_W_OF, for names */
#define MMA_X_N    4
#define MMA_AS_W   as_ushort4
typedef ushort4 mma_w;
typedef ushort4 mma_x;
typedef float4 mma_sums;
#elif MATRIX == MATRIX_WMMA
#define MMA_ROWS   8
#define MMA_TOKENS 1
#define MMA_SUMS   8
#define MMA_W_N    16 /* MMA_W_OF, for names */
#define MMA_X_N    16
#define MMA_AS_W   as_ushort16
typedef ushort16 mma_w;
typedef ushort16 mma_x;
typedef float8 mma_sums;
#elif MATRIX == MATRIX_WMMA_GFX12
#define MMA_ROWS   8
#define MMA_TOKENS 1
#define MMA_SUMS   8
#define MMA_W_N    8 /* MMA_W_OF, for names */
#define MMA_X_N    8
#define MMA_AS_W   as_ushort8
typedef ushort8 mma_w;
typedef ushort8 mma_x;
typedef float8 mma_sums;
#else
#error "mma.h needs MATRIX"
#endif

#if MMA_W_N != MMA_W_OF(MATRIX) || MMA_X_N != MMA_X_OF(MATRIX)
#error "mma.h: the elements of a lane are told in two ways"
#endif

/* ---- where what lies --------------------------------------------------------------------------------------------- */

INLINE int mma_place(int row)
{
    return MATRIX == MATRIX_PTX ? row / 2 + row % 2 * 8 : MATRIX == MATRIX_WMMA ? row % 8 * 2 + row / 8 : row;
}

INLINE int mma_row(int lane)
{
    return MATRIX == MATRIX_PTX ? lane / 4 * 2 : lane / 16 * MMA_ROWS;
}

/* Row j of a lane's sums, where rows lie in line. */
INLINE int mma_row_of_line(int lane, int j)
{
    return MATRIX == MATRIX_PTX ? lane / 4 + j * 8 : MATRIX == MATRIX_WMMA ? j * 2 + lane / 16 : mma_row(lane) + j;
}

INLINE int mma_token(int lane)
{
    return MATRIX == MATRIX_PTX ? lane % 4 * 2 : lane % 16;
}

#define MMA_AT(token, row) ((token) + (row) * MMA_TOKENS) /* in a lane's sums */

INLINE float mma_sum(mma_sums sums, int token, int row)
{
    float s[MMA_SUMS];
    PASTE(vstore, MMA_SUMS)(sums, 0, s);
    return s[MMA_AT(token, row)];
}

/* Of each of a lane's sums the number of its row; `rows` has those of the 16 rows of the tile. */
INLINE mma_sums mma_of_rows(local const float *rows, int lane)
{
#if MATRIX == MATRIX_PTX
    return vload2(0, rows + mma_row(lane)).xxyy;
#else
    return PASTE(vload, MMA_SUMS)(0, rows + mma_row(lane));
#endif
}

/* Sixteen rows of ones, wherever their elements lie: their sums are those of x alone. */
INLINE mma_w mma_ones(const bool f16)
{
    const int one = f16 ? 0x3c00 : 0x3f80;
#if MATRIX == MATRIX_PTX
    return (mma_w) (one << 16 | one);
#else
    return (mma_w) (one);
#endif
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* The first 8 bits of the n floats v, and less than v unless it is 0: then no piece of an infinity is NaN times 0,
 * since no piece is 0 but of 0. */
#define MMA_PIECE(n, v) \
    PASTE(as_float, n)((PASTE(as_uint, n)(v) + PASTE(as_uint, n)((PASTE(as_uint, n)(v) << 1) != 0u)) & 0xffff0000u)

/* v as n pieces, `apart` from each other. */
INLINE void mma_put_pieces(local uint4 *to, int apart, int n, float8 v)
{
    MMA_UNROLL for (int i = 0; i < n; i++) {
        const float8 piece = i + 1 < n ? MMA_PIECE(8, v) : v;
        to[i * apart] = as_uint4(convert_ushort8(as_uint8(piece) >> 16));
        v -= piece;
    }
}

/* w as n pieces: itself, or two of f16. */
INLINE void mma_w_pieces(mma_w *pieces, int n, mma_w w)
{
    const PASTE(ushort, MMA_W_N) bits = PASTE(as_ushort, MMA_W_N)(w);
    const PASTE(float, MMA_W_N) v = PASTE(vload_half, MMA_W_N)(0, (const half *) &bits), first = MMA_PIECE(MMA_W_N, v);
    if (n == 1) {
        pieces[0] = w;
        return;
    }
    pieces[0] = MMA_AS_W(PASTE(convert_ushort, MMA_W_N)(PASTE(as_uint, MMA_W_N)(first) >> 16));
    pieces[1] = MMA_AS_W(PASTE(convert_ushort, MMA_W_N)(PASTE(as_uint, MMA_W_N)(v - first) >> 16));
}

#if MATRIX_STANDIN
/* ---- stand-ins: lane and element of what the instructions read and write ----------------------------------------- */

INLINE int mma_w_at(int row, int k)
{
#if MATRIX == MATRIX_PTX
    return (row % 8 * 4 + k % 8 / 2) * MMA_W_N + (row / 8 + k / 8 * 2) * 2 + k % 2;
#elif MATRIX == MATRIX_MFMA
    return (row + k / 4 * 16) * MMA_W_N + k % 4;
#elif MATRIX == MATRIX_WMMA
    return (row + k % 2 * 16) * MMA_W_N + k; /* both halves of the wave hold all: each is used */
#else
    return (row + k / 8 * 16) * MMA_W_N + k % 8;
#endif
}

INLINE int mma_x_at(int k, int token)
{
#if MATRIX == MATRIX_PTX
    return (token * 4 + k % 8 / 2) * MMA_X_N + k / 8 * 2 + k % 2;
#else
    return mma_w_at(token, k);
#endif
}

/* Row and token of register i of a lane's sums. */
INLINE int2 mma_sum_at(int lane, int i)
{
#if MATRIX == MATRIX_PTX
    return (int2) (lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2);
#elif MATRIX == MATRIX_WMMA
    return (int2) (i * 2 + lane / 16, lane % 16);
#else
    return (int2) (lane / 16 * MMA_SUMS + i, lane % 16);
#endif
}

INLINE float mma_float(bool f16, ushort bits)
{
    return f16 ? vload_half(0, (const half *) &bits) : as_float((uint) bits << 16);
}

INLINE mma_sums mma(bool f16, mma_w w, mma_x x, mma_sums sums, int lane, local float *scratch)
{
    local float *all_x = scratch + MMA_LANES * MMA_W_N;
    ushort w_bits[MMA_W_N], x_bits[MMA_X_N];
    float s[MMA_SUMS];
    PASTE(vstore, MMA_SUMS)(sums, 0, s);
    PASTE(vstore, MMA_W_N)(PASTE(as_ushort, MMA_W_N)(w), 0, w_bits);
    PASTE(vstore, MMA_X_N)(PASTE(as_ushort, MMA_X_N)(x), 0, x_bits);
    for (int i = 0; i < MMA_W_N; i++)
        scratch[lane * MMA_W_N + i] = mma_float(f16, w_bits[i]);
    for (int i = 0; i < MMA_X_N; i++)
        all_x[lane * MMA_X_N + i] = mma_float(f16, x_bits[i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < MMA_SUMS; i++) {
        const int2 at = mma_sum_at(lane, i);
        for (int k = 0; k < MMA_K; k++)
            s[i] = fma(scratch[mma_w_at(at.x, k)], all_x[mma_x_at(k, at.y)], s[i]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return PASTE(vload, MMA_SUMS)(0, s);
}
#elif MATRIX == MATRIX_PTX
#define MMA_PTX(types) \
    __asm__ volatile("mma.sync.aligned.m16n8k16.row.col." types \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                     : "+f"(a), "+f"(b), "+f"(c), "+f"(d) \
                     : "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w), "r"(x.x), "r"(x.y))
INLINE mma_sums mma(bool f16, mma_w w, mma_x x, mma_sums s, int lane, local float *scratch)
{
    float a = s.x, b = s.y, c = s.z, d = s.w;
    if (f16)
        MMA_PTX("f32.f16.f16.f32");
    else
        MMA_PTX("f32.bf16.bf16.f32");
    return (float4) (a, b, c, d);
}
#else
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
INLINE mma_sums mma(bool f16, mma_w w, mma_x x, mma_sums s, int lane, local float *scratch)
{
#if MATRIX == MATRIX_MFMA
    return f16 ? __builtin_amdgcn_mfma_f32_16x16x16f16(as_half4(w), as_half4(x), s, 0, 0, 0)
               : __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(as_short4(w), as_short4(x), s, 0, 0, 0);
#elif MATRIX == MATRIX_WMMA
    return f16 ? __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(as_half16(w), as_half16(x), s)
               : __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(as_short16(w), as_short16(x), s);
#else
    return f16 ? __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(as_half8(w), as_half8(x), s)
               : __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(as_short8(w), as_short8(x), s);
#endif
}
#endif

/* ---- from local memory: tile is aligned to 16 bytes, stride a multiple of 8 elements --- */

#if MATRIX == MATRIX_PTX
#if MATRIX_STANDIN
/* Lanes 8j..8j+7 tell where the rows of matrix j are; a lane gets two elements of row lane / 4 of each. */
INLINE uint4 mma_ldmatrix(local const ushort *tile, int offset, int matrices, int lane, local float *scratch)
{
    uint r[4] = {0, 0, 0, 0};
    local int *offsets = (local int *) scratch;
    offsets[lane] = offset;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = 0; j < matrices; j++)
        r[j] = *(local const uint *) (tile + offsets[j * 8 + lane / 4] + lane % 4 * 2);
    barrier(CLK_LOCAL_MEM_FENCE);
    return vload4(0, r);
}

/* The same of four matrices, each turned: two elements of column lane / 4. */
INLINE uint4 mma_ldmatrix_turned(local const ushort *tile, int offset, int lane, local float *scratch)
{
    uint r[4];
    local int *offsets = (local int *) scratch;
    offsets[lane] = offset;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int j = 0; j < 4; j++) {
        const int row = j * 8 + lane % 4 * 2, column = lane / 4;
        r[j] = tile[offsets[row] + column] | (uint) tile[offsets[row + 1] + column] << 16;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return vload4(0, r);
}
#else
INLINE uint4 mma_ldmatrix(local const ushort *tile, int offset, int matrices, int lane, local float *scratch)
{
    const uint at = (uint) (size_t) (tile + offset);
    uint4 r = 0;
    if (matrices == 4)
        __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                         : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w) : "r"(at) : "memory");
    else
        __asm__ volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                         : "=r"(r.x), "=r"(r.y) : "r"(at) : "memory");
    return r;
}

INLINE uint4 mma_ldmatrix_turned(local const ushort *tile, int offset, int lane, local float *scratch)
{
    uint4 r;
    __asm__ volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                     : "r"((uint) (size_t) (tile + offset))
                     : "memory");
    return r;
}
#endif

INLINE mma_w mma_load_w(local const ushort *tile, int stride, int lane, local float *scratch)
{
    return mma_ldmatrix(tile, lane % 16 * stride + lane / 16 * 8, 4, lane, scratch);
}

INLINE mma_x mma_load_x(local const ushort *tile, int stride, int lane, local float *scratch)
{
    return mma_ldmatrix(tile, lane % 8 * stride + lane / 8 % 2 * 8, 2, lane, scratch).lo;
}

INLINE mma_w mma_load_w_turned(local const ushort *tile, int stride, int lane, local float *scratch)
{
    return mma_ldmatrix_turned(tile, (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8, lane, scratch);
}
#else
INLINE mma_w mma_load_w(local const ushort *tile, int stride, int lane, local float *scratch)
{
    local const ushort *row = tile + lane % 16 * stride;
#if MATRIX == MATRIX_MFMA
    return as_ushort4(*(local const uint2 *) (row + lane / 16 * 4));
#elif MATRIX == MATRIX_WMMA
    return as_ushort16((uint8) (*(local const uint4 *) row, *(local const uint4 *) (row + 8)));
#else
    return as_ushort8(*(local const uint4 *) (row + lane / 16 * 8));
#endif
}
#define mma_load_x mma_load_w

INLINE mma_w mma_load_w_turned(local const ushort *tile, int stride, int lane, local float *scratch)
{
    const int first = MATRIX == MATRIX_WMMA ? 0 : lane / 16 * MMA_W_N; /* of the lane's elements of a row */
    ushort w[MMA_W_N];
    MMA_UNROLL for (int i = 0; i < MMA_W_N; i++)
        w[i] = tile[(first + i) * stride + lane % 16];
    return PASTE(vload, MMA_W_N)(0, w);
}
#endif

/* ---- 16 bytes from global to local memory, on their way while the wave goes on --- */

#define MMA_ASYNC MMA_ASYNC_OF(MATRIX)

#if MMA_ASYNC && !MATRIX_STANDIN
INLINE void mma_copy(local uint4 *to, global const void *from)
{
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"((uint) (size_t) to), "l"(from) : "memory");
}
#define MMA_COPIES_END() __asm__ volatile("cp.async.commit_group;" : : : "memory")
/* All but the last n groups of copies have arrived, for this work-item: a barrier must follow. */
#define MMA_COPIES_WAIT(n) __asm__ volatile("cp.async.wait_group %0;" : : "n"(n) : "memory")
#else
INLINE void mma_copy(local uint4 *to, global const void *from)
{
    *to = *(global const uint4 *) from;
}
#define MMA_COPIES_END()
#define MMA_COPIES_WAIT(n)
#endif
#else /* the host */
#include <flashdec.h>

/* Bits of a significand of what is made pieces of: floats, and the quants of blocks. */
static inline int mma_bits(fdec_type type)
{
    switch (type) {
    case FDEC_F32: return MMA_BITS_f32;
    case FDEC_F16: return MMA_BITS_f16;
    case FDEC_BF16: return MMA_BITS_bf16;
    default: return MMA_BITS_quant;
    }
}
#endif
#endif
