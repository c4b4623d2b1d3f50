/* SPDX-License-Identifier: MIT
 * flashdec.h - OpenCL kernels for the decode phase of large language models, chosen by measurement
 *
 * Read once; said again below only where a function differs.
 *
 * Shapes    [B, H, D]: row-major, last dimension contiguous. B sequences, H query heads, G key/value heads (H a
 *           multiple of G), D head_dim, T tokens of capacity. Element types are named; accumulation is always float32.
 * Units     are in names: n_ elements or tokens, _bytes, _us, _ms. Strides count elements.
 * Buffers   are the caller's cl_mem plus a byte offset (a multiple of the element size), and must outlive the work
 *           enqueued on them. Nothing is copied. Ranges are checked against CL_MEM_SIZE before anything is enqueued.
 * Aliasing  outputs may not overlap inputs, except where a function says so.
 * Async     run functions enqueue and return: no allocation, no compilation, no blocking call, no lock. Results are
 *           ready when the event is. On an out-of-order queue the wait list gates the first launch, and the event is
 *           the last one's.
 * Errors    every call that can fail returns fdec_status. FDEC_E_ARG and FDEC_E_UNSUPPORTED: nothing was enqueued and
 *           no output has changed. FDEC_E_DEVICE: outputs are undefined and no event is returned. fdec_last_error()
 *           has the text.
 * Threads   many threads may run one plan at once, each with its own queue and workspace; creating and destroying are
 *           the caller's to order. fdec_last_error() is per thread.
 * Params    structs are made by the FDEC_..._INIT macros, which set `size`; size 0 is refused. A zeroed field means its
 *           default. A struct, and the strings in it, need live only until the call returns.
 * ABI       the soname changes when a function or a field's meaning does. Structs only grow at the end; the library
 *           accepts a smaller `size` from a program compiled earlier and takes the missing fields as zero.
 * Library   loads and links where no OpenCL driver exists; fdec_device_pick() then returns FDEC_E_DEVICE and says so.
 *           The only output of the library is the log: FLASHDEC_LOG=select,compile,cache,table,all. */
#ifndef FLASHDEC_H
#define FLASHDEC_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
template <class type> static inline type fdec_init_() /* {sizeof(type)} would warn of the fields that stay zero */
{
    type x = type();
    x.size = sizeof x;
    return x;
}
extern "C" {
#endif

#if defined(__GNUC__)
#define FDEC_API __attribute__((visibility("default")))
#else
#define FDEC_API
#endif

#ifdef __cplusplus
#define FDEC_INIT_(type) fdec_init_<type>()
#else
#define FDEC_INIT_(type) {.size = sizeof(type)} /* named: no warning about the fields that stay zero */
#endif

/* ---- status, version, log ---------------------------------------------------------------------------------------- */

typedef enum fdec_status {
    FDEC_OK            = 0,
    FDEC_E_ARG         = -1, /* the caller's mistake; the text names the failed condition */
    FDEC_E_UNSUPPORTED = -2, /* a valid problem that no kernel here can do on this device; the text says why */
    FDEC_E_MEMORY      = -3, /* host or device memory, or the plan's concurrent runs, ran out; try again later */
    FDEC_E_DEVICE      = -4, /* OpenCL failed, or there is no such device; the text has the call and the error */
    FDEC_E_DATA        = -5  /* a tuning table, or another file, could not be used */
} fdec_status;

/* Short name of a status, e.g. "bad argument". Never NULL. */
FDEC_API const char *fdec_status_name(fdec_status st);

/* Text of the last failed call in this thread, "" when none failed. Valid until the thread's next failing call. */
FDEC_API const char *fdec_last_error(void);

/* "0.1.0": the library in use at run time. */
FDEC_API const char *fdec_version(void);

/* Called with one line without newline, category one of "select", "compile", "cache", "table". May come from any thread
 * that creates a context or a plan; run functions never log. */
typedef void (*fdec_log_fn)(void *user, const char *category, const char *line);

/* ---- devices and contexts ---------------------------------------------------------------------------------------- */

/* Finds a device. `which`: NULL takes FLASHDEC_DEVICE from the environment, and without it the first GPU, else the
 * first device of any type. Else one of: "N" (index in the order of clinfo -l, all platforms counted through), "P:D"
 * (platform and device index), "pci:0000:01:00.0", "uuid:..." (hex), or a part of the device or platform name in any
 * case. A device that is not there, or a name that matches several devices, is FDEC_E_DEVICE: never another device
 * instead. */
FDEC_API fdec_status fdec_device_pick(const char *which, cl_platform_id *platform, cl_device_id *device);

typedef struct fdec_ctx fdec_ctx;

typedef struct fdec_ctx_params {
    size_t size;
    fdec_log_fn log; /* NULL: the lines FLASHDEC_LOG asks for go to standard error. Not NULL: every line goes here */
    void *log_user;
    const char *table;     /* path of a tuning table; NULL: FLASHDEC_TABLE, then the table directories (see README) */
    const char *cache_dir; /* programs; NULL: FLASHDEC_CACHE_DIR, then $XDG_CACHE_HOME/flashdec; "": none on disk */
} fdec_ctx_params;
#define FDEC_CTX_PARAMS_INIT FDEC_INIT_(fdec_ctx_params)

/* `context` must contain `device`; both are retained until destroy. params may be NULL. Probes the device by small
 * kernels (the answers are cached on disk) and finds the tuning table. An explicit table that cannot be read is
 * FDEC_E_DATA. */
FDEC_API fdec_status fdec_ctx_create(cl_context context, cl_device_id device, const fdec_ctx_params *params,
                                     fdec_ctx **ctx);

/* NULL is allowed; leaves NULL. Destroy the plans first. */
FDEC_API void fdec_ctx_destroy(fdec_ctx **ctx);

/* Looks for tuning tables again, as fdec_ctx_create did: the table that was asked for by name, else FLASHDEC_TABLE and
 * the table directories as they are now. For a process that lives on when flashdec-tune has written a new table. Plans
 * that exist keep their choices; plans made from now on use what was found. FDEC_E_DATA: a table asked for by name
 * cannot be read; those in force stay. May be called from any thread while others create, run and destroy plans. */
FDEC_API fdec_status fdec_ctx_reload_tables(fdec_ctx *ctx);

/* JSON object that describes the context: device facts, probed capabilities, denied kernels, the table in force and its
 * level. Writes at most n bytes with the terminating 0; *needed (may be NULL) is the full length without it. */
FDEC_API fdec_status fdec_ctx_describe(const fdec_ctx *ctx, char *buf, size_t n, size_t *needed);

typedef struct fdec_counters {
    uint64_t programs_compiled;   /* from source, probes included */
    uint64_t programs_from_cache; /* loaded from the disk cache */
    uint64_t programs_shared;     /* found already in memory */
    double compile_ms;            /* spent in the two kinds of load */
    uint64_t plans_at_level[7]; /* by what chose for them: [1] a table of this very device, [2] with another driver,
                                   [3] of this architecture, [4] modelled, [5] of the nearest device; [6] no table */
    uint64_t table_reloads;     /* fdec_ctx_reload_tables that found tables, or none, without an error */
    uint64_t kernels_denied; /* variants not used because flashdec-info --self-test found them wrong on this device */
} fdec_counters;

/* Since the context was made. */
FDEC_API void fdec_ctx_counters(const fdec_ctx *ctx, fdec_counters *out);

/* ---- common to all plans ----------------------------------------------------------------------------------------- */

typedef enum fdec_type {
    FDEC_F32  = 0,
    FDEC_F16  = 1,
    FDEC_BF16 = 2,
    /* Blocks of GGUF, as ggml defines them and as they lie in a model file. Caches: Q8_0 alone */
    FDEC_Q8_0 = 3, /* 32 elements in 34 bytes: f16 scale d, then 32 x i8 q; element = d * q */
    FDEC_Q4_0 = 4, /* 32 in 18 bytes */
    FDEC_Q4_1 = 5, /* 32 in 20 */
    FDEC_Q5_0 = 6, /* 32 in 22 */
    FDEC_Q5_1 = 7, /* 32 in 24 */
    FDEC_Q4_K = 8, /* 256 in 144 */
    FDEC_Q5_K = 9, /* 256 in 176 */
    FDEC_Q6_K = 10 /* 256 in 210 */
} fdec_type;

typedef struct fdec_buffer {
    cl_mem mem; /* NULL where the argument is optional and absent */
    size_t offset_bytes;
} fdec_buffer;

/* A plan fixes shapes, types, kernels, programs and workspace size; it holds no data. Made from the largest sizes of
 * use: a run may always be smaller. fdec_..._plan_create may compile and block; it uses ctx until the plan is
 * destroyed, and leaves *plan NULL when it fails: FDEC_E_ARG, FDEC_E_UNSUPPORTED (no kernel does it here),
 * FDEC_E_MEMORY, FDEC_E_DEVICE. */
typedef struct fdec_plan fdec_plan;

/* NULL is allowed; leaves NULL. No run of it may be in the middle of its call. */
FDEC_API void fdec_plan_destroy(fdec_plan **plan);

/* Device memory a run needs in args.workspace; 0: none. Constant for the plan's life. Its content need not be kept. */
FDEC_API size_t fdec_plan_workspace_bytes(const fdec_plan *plan);

/* Which kernel, configuration, table file and row, match level (1..6), reason, expected time and share of the roofline.
 * Text, or one JSON object. Writing as in fdec_ctx_describe. */
typedef enum fdec_format { FDEC_TEXT = 0, FDEC_JSON = 1 } fdec_format;
FDEC_API fdec_status fdec_explain(const fdec_plan *plan, fdec_format format, char *buf, size_t n, size_t *needed);

/* ---- attention --------------------------------------------------------------------------------------------------- */

typedef enum fdec_scheme {
    FDEC_SCHEME_AUTO    = 0, /* the table decides */
    FDEC_SCHEME_UNIFIED = 1, /* all splits share one maximum phi; guarded, flagged rows are redone by `pair` */
    FDEC_SCHEME_ONLINE  = 2, /* running maximum */
    FDEC_SCHEME_PAIR    = 3  /* (mantissa, exponent) pairs: cannot overflow */
} fdec_scheme;

/* Where `unified` takes phi from. A wrong phi costs time (the row is redone), never the result. */
typedef enum fdec_phi_source {
    FDEC_PHI_AUTO     = 0, /* the first of these that there is: softcap <= 50 (phi = 0); args.bounds, where there is no
                              args.state or they rule out a redo; args.state; args.phi; params.phi */
    FDEC_PHI_CONSTANT = 1, /* params.phi, the same for all heads */
    FDEC_PHI_PER_HEAD = 2, /* args.phi, f32 [H] on the device, read by each run: calibrated constants */
    FDEC_PHI_BOUNDS   = 3, /* args.bounds: scale * |q| * max |k| (Cauchy-Schwarz): never overflows */
    FDEC_PHI_STATE    = 4  /* args.state: the LSE of the previous step, else as without it */
} fdec_phi_source;

/* One of the two caches. Element d of token t of kv head g is at  block*block_stride + slot*token_stride +
 * g*head_stride + d,  where
 *   contiguous (page_size 0): block = sequence, slot = t
 *   paged:                    block = block_table[sequence, t / page_size], slot = t % page_size
 * Strides count elements, 0..2^32; of a Q8_0 cache they are multiples of 32. */
typedef struct fdec_cache {
    fdec_type type;
    int64_t block_stride; /* 0: T*G*D (contiguous) or page_size*G*D */
    int64_t token_stride; /* 0: G*D */
    int64_t head_stride;  /* 0: D.  [B, G, T, D] is head_stride = T*D, token_stride = D */
} fdec_cache;

typedef struct fdec_kv_layout {
    uint32_t page_size;  /* tokens in a page, >= 1; 0: contiguous */
    uint32_t capacity;   /* contiguous: T, tokens per sequence, >= max_len; 0: max_len. Paged: not used */
    uint32_t n_blocks;   /* contiguous: sequences, 0: max_batch. Paged: pages in the pool, required */
    uint32_t max_blocks; /* paged: columns of block_table; 0: ceil(max_len / page_size) */
    fdec_cache k, v;     /* D is head_dim of K, v_head_dim of V */
} fdec_kv_layout;

typedef enum fdec_mask {
    FDEC_MASK_CAUSAL = 0, /* a query token sees the keys up to its own position */
    FDEC_MASK_NONE   = 1  /* all of them */
} fdec_mask;

/* Every feature works with every other, but for these, which are refused with a text:
 *   - a Q8_0 cache whose head dimension is no multiple of 32: a row must be whole blocks
 *   - batch_invariant with FDEC_PHI_STATE: what an earlier step left is not the sequence's own content */
typedef struct fdec_attn_params {
    size_t size;
    uint32_t max_batch, max_len; /* the largest B and length of any run; max_len at most 2^30 */
    uint32_t n_heads, n_kv_heads; /* H / G is 1..128, H at most 65536 */
    uint32_t head_dim;            /* of q and K: a multiple of 8, 8..576 */
    uint32_t v_head_dim;          /* of V and out, likewise; 0: head_dim */
    uint32_t max_q_len;           /* query tokens of a sequence in any run, 1..64; 0: 1 */
    fdec_type q_type, out_type;   /* f32, f16, bf16 */
    float scale;                  /* 0: 1/sqrt(head_dim) */
    float softcap;                /* 0 < c <= 1000: score = c * tanh(scale * q.k / c), before bias and ALiBi; 0: none */
    uint32_t window;              /* w > 0: a query at position p sees p-w+1 .. p only, whatever the mask; 0: all */
    fdec_mask mask;
    fdec_kv_layout kv;
    fdec_scheme scheme;
    fdec_phi_source phi_source;
    float phi;
    uint32_t batch_invariant; /* 1: a sequence's results have the same bits alone, in any batch, in any page order:
                                 kernel, configuration and splits depend on the class and its own length alone */
    uint32_t max_concurrent;  /* runs being enqueued at the same moment, at most 256; 0: 8. One more is FDEC_E_MEMORY */
} fdec_attn_params;
#define FDEC_ATTN_PARAMS_INIT FDEC_INIT_(fdec_attn_params)

FDEC_API fdec_status fdec_attn_plan_create(fdec_ctx *ctx, const fdec_attn_params *params, fdec_plan **plan);

typedef struct fdec_attn_args {
    size_t size;
    uint32_t batch;   /* B of this run; 0: max_batch */
    uint32_t max_len; /* upper bound of lens in this run, sets the grid; 0: the plan's */
    uint32_t q_len;   /* Q, query tokens per sequence, <= max_q_len; with q_starts their upper bound. 0: max_q_len */
    uint32_t n_q;     /* with q_starts: rows of q and out; 0: B*Q */
    uint32_t n_slots; /* of state; 0: B */
    fdec_buffer q;    /* [B, Q, H, D] of q_type; with q_starts [n_q, H, D] */
    fdec_buffer k, v; /* params.kv */
    fdec_buffer lens; /* [B] i32 on the device: tokens in the cache, the new ones included, 0..max_len. Others are
                         clamped and counted */
    fdec_buffer q_starts; /* optional: [B+1] i32: sequence b has the query tokens q_starts[b] .. q_starts[b+1]-1, at
                             most Q. Others are clamped and counted */
    fdec_buffer q_pos;    /* optional: [B] i32: position in the cache of the first query token, any value; absent:
                             lens[b] minus its number of query tokens (bottom-right). The others follow it */
    fdec_buffer block_table; /* paged: [B, max_blocks] i32. Ids outside the pool (-1) read as no keys, counted */
    fdec_buffer bias;        /* optional: f32, added to the score of (b, query token i, head h, key t), at
                                b*bias_batch_stride + i*bias_query_stride + h*bias_head_stride + t. -inf: the key is not
                                there */
    int64_t bias_batch_stride, bias_query_stride, bias_head_stride; /* elements; 0: the same for all. [B, T]: T, 0, 0 */
    float bias_max;      /* what bias may add to a score at most; a hint for FDEC_PHI_BOUNDS, 0 where it is never
                            positive */
    fdec_buffer alibi;   /* optional: [H] f32 slopes: slope * (t - position) is added */
    fdec_buffer sinks;   /* optional: [H] f32: a score that takes weight and has no value */
    fdec_buffer phi;     /* optional: [H] f32 */
    fdec_buffer bounds;  /* optional: [n_blocks, G, 2] f32: upper bounds of |k| (Euclidean) and of |v_d| (largest
                            element) of each block's keys, as fdec_append_run keeps them */
    fdec_buffer state;   /* optional: fdec_attn_state_bytes. Read (FDEC_PHI_AUTO but in a batch-invariant plan, _STATE)
                            and written: the LSE of the last query token, 0 where that is not finite. The caller zeroes
                            a slot when it gets another sequence */
    fdec_buffer slots;   /* optional: [B] i32: the slot of each sequence, each at most once; absent: b. Outside
                            0..n_slots-1: none */
    fdec_buffer out;     /* [B, Q, H, Dv] of out_type, or [n_q, H, Dv]. A row with no keys gives 0. May be the same
                            buffer as q where types and head dimensions are the same */
    fdec_buffer lse;     /* optional: [B, Q, H] f32, or [n_q, H]: ln of the sum of e^score, sink included; where there
                            are no keys, the sink, or -inf without one */
    fdec_buffer workspace; /* fdec_plan_workspace_bytes */
} fdec_attn_args;
#define FDEC_ATTN_ARGS_INIT FDEC_INIT_(fdec_attn_args)

/* Attention of each sequence's last tokens:
 *   out[b,i,h] = sum_t p_t V[b,g,t],   p = softmax over the visible t of score(t),   g = h / (H/G)
 *   score(t)   = cap(scale * q[b,i,h] . K[b,g,t]) + alibi[h] * (t - position) + bias[b,i,h,t]
 *   position   = q_pos[b] + i
 * NaN or Inf in the input gives NaN where the formula has it, and nowhere else. Enqueues at most two kernels. */
FDEC_API fdec_status fdec_attn_run(fdec_plan *plan, cl_command_queue queue, const fdec_attn_args *args, cl_uint n_wait,
                                   const cl_event *wait, cl_event *event);

/* Bytes of args.state: H floats for each slot. */
FDEC_API size_t fdec_attn_state_bytes(const fdec_plan *plan, uint32_t n_slots);

typedef struct fdec_attn_counts {
    uint64_t rows_recomputed; /* (row, split) pairs that `unified` flagged and redid by `pair` */
    uint64_t lens_clamped;    /* lengths outside 0..max_len, query token ranges outside 0..n_q or longer than Q */
    uint64_t blocks_clamped;  /* pages without a block of the pool, of which keys were wanted; once for as many kv
                                 heads as one work-group takes: 0 or not is what it says */
} fdec_attn_counts;

/* Since the plan was made, each modulo 2^32. Blocks until the queue's earlier work is done. */
FDEC_API fdec_status fdec_attn_counts_read(fdec_plan *plan, cl_command_queue queue, fdec_attn_counts *out);

/* Moves a plan from `unified` to `online` for good when the share of (row, split) pairs that were redone was over 1/16
 * between the last two calls and between the two before, with at least 64 pairs each. Call it now and then, never
 * during a run: it blocks until the queue's earlier work is done, and may compile. *moved (may be NULL): 1 if the plan
 * is on `online` now because of this. A plan of another scheme, and a batch-invariant one, stays as it is. */
FDEC_API fdec_status fdec_attn_adapt(fdec_plan *plan, cl_command_queue queue, int *moved);

/* Reads a file of calibrated constants, as `flashdec-run --calibrate` writes it for a model: phi [n_layers, n_heads], a
 * row of which, on the device, is args.phi of that layer. Host only. FDEC_E_DATA, and phi as it was: the file cannot be
 * read, is no such file, or is for other sizes. */
FDEC_API fdec_status fdec_phi_read(const char *path, uint32_t n_layers, uint32_t n_heads, float *phi);

/* ---- rotary embedding and append --------------------------------------------------------------------------------- */

typedef enum fdec_rope_scaling {
    FDEC_ROPE_UNSCALED = 0,
    FDEC_ROPE_LINEAR   = 1, /* position interpolation */
    FDEC_ROPE_YARN     = 2, /* "YaRN: Efficient Context Window Extension of Large Language Models", arXiv 2309.00071 */
    FDEC_ROPE_LLAMA3   = 3  /* Llama 3.1 */
} fdec_rope_scaling;

/* How fast pair i of the dimensions turns, i in [0, rope_dim / 2): by w = base^(-2i / rope_dim) rad a token, which is
 * n = w L / (2 pi) turns in the L = original_max_len tokens of training. A scaling makes it  (1 - r) w + r w / factor:
 *   LINEAR  r = 1
 *   YARN    r = (i - lo) / (hi - lo), within 0..1;  lo and hi: the i at which n is beta_fast and beta_slow, the one
 *           rounded down, the other up, and kept within 0..rope_dim-1
 *   LLAMA3  r = (high_freq_factor - n) / (high_freq_factor - low_freq_factor), within 0..1
 * As in modeling_rope_utils.py of Hugging Face's transformers. A field that the scaling does not read must be 0. */
typedef struct fdec_rope_params {
    size_t size;
    uint32_t rope_dim; /* dimensions that turn: even, >= 2 */
    double base;       /* > 1: "rope theta", 10000 in many models */
    fdec_rope_scaling scaling;
    double factor;             /* LINEAR, YARN, LLAMA3: >= 1 */
    uint32_t original_max_len; /* YARN, LLAMA3 */
    double beta_fast, beta_slow;                 /* YARN; 0: 32 and 1 */
    double low_freq_factor, high_freq_factor;    /* LLAMA3; 0: 1 and 4 */
    double attn_factor;        /* what cosines and sines are multiplied by; 0: YARN 0.1 ln(factor) + 1, else 1 */
    uint32_t yarn_unrounded;   /* 1: lo and hi are not rounded (gpt-oss) */
} fdec_rope_params;
#define FDEC_ROPE_PARAMS_INIT FDEC_INIT_(fdec_rope_params)

/* For args.angles of fdec_append_run: turns per token as a 64-bit binary fraction, so that the device's angle is right
 * to 1e-6 rad at any position. out[i] = frequency / (2 pi) * 2^64, i in [0, rope_dim / 2). Host only. *attn_factor: for
 * args.attn_factor; NULL where it is 1. */
FDEC_API fdec_status fdec_rope_angles(const fdec_rope_params *params, uint64_t *out, float *attn_factor);

typedef enum fdec_rope_style {
    FDEC_ROPE_INTERLEAVED = 0, /* pairs (2i, 2i+1) */
    FDEC_ROPE_NEOX        = 1  /* pairs (i, i + rope_dim/2) */
} fdec_rope_style;

typedef struct fdec_append_params {
    size_t size;
    uint32_t max_tokens;          /* the largest number of tokens of any run, of all sequences together */
    uint32_t max_batch;           /* sequences; 0: max_tokens */
    uint32_t max_len;             /* tokens a sequence may have */
    uint32_t n_heads, n_kv_heads; /* H a multiple of G */
    uint32_t head_dim;            /* of q and k: a multiple of 8, 8..576 */
    uint32_t v_head_dim;          /* of v, likewise; 0: head_dim */
    uint32_t rope_dim;            /* dimensions that turn, even; 0: head_dim */
    uint32_t rope_begin;          /* the first of them; pairs are counted from it. rope_begin + rope_dim <= head_dim */
    fdec_rope_style style;
    fdec_type act_type;           /* of q, k and v: f32, f16, bf16 */
    fdec_kv_layout kv;            /* as in fdec_attn_params */
    uint32_t max_concurrent;      /* as in attention */
} fdec_append_params;
#define FDEC_APPEND_PARAMS_INIT FDEC_INIT_(fdec_append_params)

FDEC_API fdec_status fdec_append_plan_create(fdec_ctx *ctx, const fdec_append_params *params, fdec_plan **plan);

/* A row n is skipped, q included, where pos[n] is outside 0..max_len-1 or there is no place for it. The place is
 *   slots given     slots[n] = block * page_size + slot (paged), sequence * T + token (contiguous);
 *                   -1, and all that is outside the pool: none
 *   paged           token pos[n] of sequence n / q_len, through its block table; ids outside the pool (-1): none
 *   contiguous      token pos[n] of sequence n / q_len
 * Two rows of one run must not have the same place. */
typedef struct fdec_append_args {
    size_t size;
    uint32_t n_tokens;    /* N, rows of q, k and v; 0: max_tokens */
    uint32_t q_len;       /* rows of each sequence; 0: 1. Not with slots */
    float attn_factor;    /* of fdec_rope_angles; 0: 1, and only that without angles */
    fdec_buffer pos;      /* [N] i32: positions, for the angle */
    fdec_buffer slots;    /* optional: [N] i32 */
    fdec_buffer angles;   /* [rope_dim / 2] u64, of fdec_rope_angles; absent: nothing turns, and q must be absent too */
    fdec_buffer q;        /* [N, H, D] of act_type, in place */
    fdec_buffer k, v;     /* [N, G, D] and [N, G, Dv] of act_type; they stay as they are */
    fdec_buffer block_table; /* paged, without slots: [B, max_blocks] i32, B = ceil(N / q_len) */
    fdec_buffer k_cache, v_cache;
    fdec_buffer bounds;   /* optional: f32 [n_blocks, G, 2], raised to max |k| (Euclidean, rounded up) and max |v_d| of
                             what is stored. A block is a page, or a sequence; the caller zeroes its entries when it
                             hands it out. A row with an infinity or a NaN leaves +inf */
} fdec_append_args;
#define FDEC_APPEND_ARGS_INIT FDEC_INIT_(fdec_append_args)

/* Turns q in place, turns k, and writes k and v to their places in the caches, in one kernel. f16 and bf16 are rounded
 * to nearest even. Q8_0 as in ggml: d = max |x| / 127 rounded to f16, q = x times 1 / (the unrounded d), rounded,
 * halves away from zero; a block with an infinity or a NaN reads as NaN. */
FDEC_API fdec_status fdec_append_run(fdec_plan *plan, cl_command_queue queue, const fdec_append_args *args,
                                     cl_uint n_wait, const cl_event *wait, cl_event *event);

/* ---- linear ------------------------------------------------------------------------------------------------------ */

typedef enum fdec_linear_impl {
    FDEC_LINEAR_AUTO = 0, /* the table decides */
    FDEC_LINEAR_GEMV = 1, /* A: row by row on plain cores */
    FDEC_LINEAR_FLAT = 2, /* B: M tile fitted to M, K walked with double buffering */
    FDEC_LINEAR_GEMM = 3  /* C: CLBlast, or the tile kernel of the library */
} fdec_linear_impl;

typedef enum fdec_glu {
    FDEC_GLU_NONE     = 0,
    FDEC_GLU_SILU     = 1, /* z / (1 + e^-z) */
    FDEC_GLU_GELU     = 2, /* z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) */
    FDEC_GLU_GELU_ERF = 3  /* z/2 (1 + erf(z / sqrt 2)) */
} fdec_glu;

typedef enum fdec_w_layout {
    FDEC_W_STORED = 0, /* rows of K elements, as in a model file */
    FDEC_W_PACKED = 1  /* what fdec_linear_pack_run made of them: all weights of the plan in one buffer */
} fdec_w_layout;

/* z_i = softcap * tanh((scale * x W_i^T + bias_i) / softcap), then
 *   without glu   y_i = z_i + residual   for each of one to three weights, the residual where there is one weight
 *   with glu      y = act(z_1) * z_2 + residual; W_1 is gate, W_2 is up
 * x is RMS-normalised before where `norm` is set. Every feature works with every other but as said here. */
typedef struct fdec_linear_params {
    size_t size;
    uint32_t max_m; /* the largest M of any run, >= 1 */
    uint32_t n, k;  /* rows of w, >= 1, and their length: any, of quantised types a multiple of the block */
    fdec_type w_type; /* any */
    fdec_linear_impl impl; /* with packed weights AUTO or FLAT */
    uint32_t max_concurrent; /* as in attention */
    fdec_type x_type, y_type; /* f32, f16, bf16; y_type is residual's too */
    uint32_t n2, n3;      /* rows of w2 and w3, several weights with one x (q, k and v); 0: none. Not with glu */
    fdec_glu glu;
    fdec_w_layout w_layout;
    uint32_t norm;        /* 1: x[m] / sqrt(mean(x[m]^2) + eps) * args.norm takes the place of x */
    float eps;            /* >= 0; only with norm */
    float scale;          /* 0: 1 */
    float softcap;        /* > 0; 0: none */
    uint32_t batch_invariant; /* 1: a row of y has the same bits whatever M is: one kernel in one configuration for all
                                 M. Not CLBlast */
    uint32_t stats;       /* 1: runs write args.stats as well, so that sampling reads y no second time. With one weight,
                             no glu and y_type f32; not CLBlast */
} fdec_linear_params;
#define FDEC_LINEAR_PARAMS_INIT FDEC_INIT_(fdec_linear_params)

FDEC_API fdec_status fdec_linear_plan_create(fdec_ctx *ctx, const fdec_linear_params *params, fdec_plan **plan);

typedef struct fdec_linear_args {
    size_t size;
    uint32_t m;           /* M of this run; 0: max_m */
    fdec_buffer x;        /* [M, K] of x_type */
    fdec_buffer w;        /* [N, K] of w_type, as it lies in a model file; packed: fdec_linear_packed_bytes */
    fdec_buffer bias;     /* optional: [N] f32 */
    fdec_buffer residual; /* optional: [M, N] of y_type; may be the same buffer as y. Not with n2 */
    fdec_buffer y;        /* [M, N] of y_type */
    fdec_buffer workspace;
    fdec_buffer w2, w3;       /* [N2, K], [N3, K]; with glu w2 is [N, K]. Absent where packed */
    fdec_buffer bias2, bias3; /* optional: [N2], [N3] f32; with glu bias2 is [N] */
    fdec_buffer y2, y3;       /* [M, N2], [M, N3] of y_type */
    fdec_buffer norm;         /* with params.norm: [K] f32 */
    fdec_buffer stats;        /* with params.stats: fdec_sample_args.stats of y */
    float stats_temperature;  /* what they are for, as in fdec_sample_args; 0: greedy */
} fdec_linear_args;
#define FDEC_LINEAR_ARGS_INIT FDEC_INIT_(fdec_linear_args)

/* Enqueues one kernel; one before it where x is normalised, or converted for a CPU-like device; one after it where K is
 * split, or a GPU-like device makes stats. Where explain names CLBlast, the call locks, may allocate, compile and copy
 * W. */
FDEC_API fdec_status fdec_linear_run(fdec_plan *plan, cl_command_queue queue, const fdec_linear_args *args,
                                     cl_uint n_wait, const cl_event *wait, cl_event *event);

/* Once per model: weights in panels of 16 rows, which CPU-like devices read faster (docs/linear.md has by how much).
 * FDEC_E_UNSUPPORTED where that was not measured to pay: GPU-like devices, and types other than f32, f16, bf16, q8_0,
 * q4_0. */
typedef struct fdec_linear_pack_params {
    size_t size;
    uint32_t n, n2, n3, k; /* these and the next two: as in the plans that will read it */
    fdec_type w_type;
    fdec_glu glu;
    uint32_t max_concurrent;
} fdec_linear_pack_params;
#define FDEC_LINEAR_PACK_PARAMS_INIT FDEC_INIT_(fdec_linear_pack_params)

FDEC_API fdec_status fdec_linear_pack_plan_create(fdec_ctx *ctx, const fdec_linear_pack_params *params,
                                                  fdec_plan **plan);

/* Size of the packed weights of a pack plan, or of a linear plan for packed weights; 0: another plan. */
FDEC_API uint64_t fdec_linear_packed_bytes(const fdec_plan *plan);

typedef struct fdec_linear_pack_args {
    size_t size;
    fdec_buffer w, w2, w3; /* as in fdec_linear_args */
    fdec_buffer packed;    /* fdec_linear_packed_bytes; its offset a multiple of 4 */
} fdec_linear_pack_args;
#define FDEC_LINEAR_PACK_ARGS_INIT FDEC_INIT_(fdec_linear_pack_args)

/* One kernel. */
FDEC_API fdec_status fdec_linear_pack_run(fdec_plan *plan, cl_command_queue queue, const fdec_linear_pack_args *args,
                                          cl_uint n_wait, const cl_event *wait, cl_event *event);

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

typedef enum fdec_softmax_impl {
    FDEC_SOFTMAX_AUTO       = 0,
    FDEC_SOFTMAX_THREE_PASS = 1, /* maximum, sum, write */
    FDEC_SOFTMAX_ONLINE     = 2, /* maximum and sum in one pass, write */
    FDEC_SOFTMAX_TWO_PASS   = 3  /* (mantissa, exponent) pairs in one pass, write */
} fdec_softmax_impl;

typedef struct fdec_softmax_params {
    size_t size;
    uint32_t max_rows, cols; /* >= 1 */
    fdec_softmax_impl impl;
    uint32_t max_concurrent; /* as in attention */
} fdec_softmax_params;
#define FDEC_SOFTMAX_PARAMS_INIT FDEC_INIT_(fdec_softmax_params)

FDEC_API fdec_status fdec_softmax_plan_create(fdec_ctx *ctx, const fdec_softmax_params *params, fdec_plan **plan);

typedef struct fdec_softmax_args {
    size_t size;
    uint32_t rows;   /* 0: max_rows */
    fdec_buffer x;   /* [rows, cols] f32 */
    fdec_buffer y;   /* [rows, cols] f32; may be the same buffer as x */
    fdec_buffer lse; /* optional: [rows] f32 */
    fdec_buffer workspace;
} fdec_softmax_args;
#define FDEC_SOFTMAX_ARGS_INIT FDEC_INIT_(fdec_softmax_args)

/* y[r] = softmax(x[r]). -inf has weight 0; a row of nothing but -inf is NaN, with lse = -inf. At most two kernels. */
FDEC_API fdec_status fdec_softmax_run(fdec_plan *plan, cl_command_queue queue, const fdec_softmax_args *args,
                                      cl_uint n_wait, const cl_event *wait, cl_event *event);

/* ---- rows of an embedding table --------------------------------------------------------------------------------- */

typedef struct fdec_embed_params {
    size_t size;
    uint32_t max_rows;    /* the largest number of rows of any run, >= 1 */
    uint32_t cols;        /* a multiple of the type's block */
    fdec_type table_type; /* any */
    uint32_t max_concurrent; /* as in attention */
} fdec_embed_params;
#define FDEC_EMBED_PARAMS_INIT FDEC_INIT_(fdec_embed_params)

FDEC_API fdec_status fdec_embed_plan_create(fdec_ctx *ctx, const fdec_embed_params *params, fdec_plan **plan);

typedef struct fdec_embed_args {
    size_t size;
    uint32_t rows;         /* 0: max_rows */
    uint32_t n_rows_table; /* >= 1 */
    fdec_buffer ids;       /* [rows] i32 */
    fdec_buffer table;     /* [n_rows_table, cols] of table_type, as it lies in a model file */
    fdec_buffer y;         /* [rows, cols] f32 */
} fdec_embed_args;
#define FDEC_EMBED_ARGS_INIT FDEC_INIT_(fdec_embed_args)

/* y[r] = table[ids[r]], in one kernel: the exact value, of q4_1, q5_1, q4_K and q5_K rounded once. An id outside the
 * table gives a row of NaN: loud, and no read outside. */
FDEC_API fdec_status fdec_embed_run(fdec_plan *plan, cl_command_queue queue, const fdec_embed_args *args,
                                    cl_uint n_wait, const cl_event *wait, cl_event *event);

/* ---- sampling ---------------------------------------------------------------------------------------------------- */

typedef struct fdec_sample_params {
    size_t size;
    uint32_t max_rows, cols; /* >= 1; cols, the vocabulary, at most 2^30 */
    uint32_t max_concurrent; /* as in attention */
} fdec_sample_params;
#define FDEC_SAMPLE_PARAMS_INIT FDEC_INIT_(fdec_sample_params)

FDEC_API fdec_status fdec_sample_plan_create(fdec_ctx *ctx, const fdec_sample_params *params, fdec_plan **plan);

/* The filters work in this order, each on what the one before it left, renormalised. Of equal logits the lower column
 * comes first.
 *   penalty      each column that is in recent[r], once: x > 0 ? x * (1 / repeat_penalty) : x * repeat_penalty
 *   temperature  weights e^(x / temperature)
 *   top-k        the top_k largest
 *   top-p        of the largest as few as have together at least the share top_p of what top-k left
 *   min-p        those of at least min_p times the largest weight */
typedef struct fdec_sample_args {
    size_t size;
    uint32_t rows;         /* 0: max_rows */
    float temperature;     /* 2^-64..2^64; 0: greedy, the largest after the penalty: top_k, top_p, min_p, seed, step and
                              u are then not used */
    uint32_t top_k;        /* 1..1024; 0: all */
    float top_p;           /* 0 < top_p <= 1; 0: 1, all */
    float min_p;           /* 0 <= min_p < 1 */
    float repeat_penalty;  /* 2^-64..2^64; 0: 1. Another than 1 needs recent */
    uint32_t n_recent;     /* columns of recent, at most 2^20; 0: there is none */
    uint64_t seed, step;   /* without u: u[r] = 2^-24 times the upper 24 bits of the first word of Philox4x32-10
                              (Random123), key seed, counter (step, r): 64, then 32 bits, the low word first */
    float stats_temperature; /* with stats: the temperature they were made with, and so `temperature` unless greedy */
    fdec_buffer x;         /* [rows, cols] f32 */
    fdec_buffer stats;     /* optional: [rows, ceil(cols / 256), 4] u32, a record for each 256 columns of x before any
                              filter: f32 m and n, the sum of e^(x / stats_temperature) being m * 2^n; f32 the largest;
                              i32 its column. Only as a function of this library wrote them */
    fdec_buffer recent;    /* optional: [rows, n_recent] i32: columns, in any order; outside 0..cols-1 (-1): none */
    fdec_buffer u;         /* optional: [rows] f32 in [0, 1): the caller's own uniform numbers */
    fdec_buffer ids;       /* [rows] i32 */
    fdec_buffer workspace; /* fdec_plan_workspace_bytes */
} fdec_sample_args;
#define FDEC_SAMPLE_ARGS_INIT FDEC_INIT_(fdec_sample_args)

/* ids[r] = a column of x[r], drawn from what the filters leave: the lowest at which the running sum of the weights
 * passes u[r] * total. The same on every device for the same x and arguments: own exp, sums in a fixed order. NaN is
 * never chosen, +inf always is. A row of nothing but NaN and -inf gives its first -inf, of NaN alone 0. Weights below
 * 2^-100 of the largest are 0. Enqueues at most two kernels; with stats one, which reads of x only what it needs:
 * nothing for greedy, one tile of 256 columns for temperature alone, under filters those tiles that can matter, up to
 * 95 times each where a flat row must be cut by top-p. */
FDEC_API fdec_status fdec_sample_run(fdec_plan *plan, cl_command_queue queue, const fdec_sample_args *args,
                                     cl_uint n_wait, const cl_event *wait, cl_event *event);

/* ---- small operations: one object, one program, one kernel a call ------------------------------------------------ */

/* Threads use it at once as they do a plan. Create compiles one program; destroy takes NULL, leaves NULL, and comes
 * before that of ctx. */
typedef struct fdec_ops fdec_ops;
FDEC_API fdec_status fdec_ops_create(fdec_ctx *ctx, fdec_ops **ops);
FDEC_API void fdec_ops_destroy(fdec_ops **ops);

/* y[b,i] = w[i] * x[b,i] / sqrt(mean_i(x[b,i]^2) + eps).  x, y [rows, cols] f32, may be the same buffer; w [cols] f32.
 * */
typedef struct fdec_rmsnorm_args {
    size_t size;
    uint32_t rows, cols;
    float eps;
    fdec_buffer x, w, y;
} fdec_rmsnorm_args;
#define FDEC_RMSNORM_ARGS_INIT FDEC_INIT_(fdec_rmsnorm_args)
FDEC_API fdec_status fdec_rmsnorm_run(fdec_ops *ops, cl_command_queue queue, const fdec_rmsnorm_args *args,
                                      cl_uint n_wait, const cl_event *wait, cl_event *event);

/* y[i] = gate[i] / (1 + e^-gate[i]) * up[i], n elements, f32. y may be the same buffer as gate or up. */
typedef struct fdec_swiglu_args {
    size_t size;
    uint64_t n;
    fdec_buffer gate, up, y;
} fdec_swiglu_args;
#define FDEC_SWIGLU_ARGS_INIT FDEC_INIT_(fdec_swiglu_args)
FDEC_API fdec_status fdec_swiglu_run(fdec_ops *ops, cl_command_queue queue, const fdec_swiglu_args *args,
                                     cl_uint n_wait, const cl_event *wait, cl_event *event);

/* y[i] = a[i] + b[i], n elements, f32. y may be the same buffer as a or b. */
typedef struct fdec_add_args {
    size_t size;
    uint64_t n;
    fdec_buffer a, b, y;
} fdec_add_args;
#define FDEC_ADD_ARGS_INIT FDEC_INIT_(fdec_add_args)
FDEC_API fdec_status fdec_add_run(fdec_ops *ops, cl_command_queue queue, const fdec_add_args *args, cl_uint n_wait,
                                  const cl_event *wait, cl_event *event);

/* ids[r] = index of the largest of x[r], ties to the lower index, NaN never wins (a row of NaN gives 0). x [rows,
 * cols] f32. */
typedef struct fdec_argmax_args {
    size_t size;
    uint32_t rows, cols;
    fdec_buffer x, ids;
} fdec_argmax_args;
#define FDEC_ARGMAX_ARGS_INIT FDEC_INIT_(fdec_argmax_args)
FDEC_API fdec_status fdec_argmax_run(fdec_ops *ops, cl_command_queue queue, const fdec_argmax_args *args,
                                     cl_uint n_wait, const cl_event *wait, cl_event *event);

/* One attention from n over disjoint keys (a shared prefix and what follows it, shards, ranks), by what fdec_attn_run
 * gives as out and lse:
 *   out[r] = sum_i w_i part[i,r] / sum_i w_i,   w_i = e^(lse_in[i,r] - M),   lse[r] = M + ln sum_i w_i
 * M the largest lse_in of the row. A part whose lse_in is -inf had no keys: it has no weight and is not read. Of
 * nothing but those, out is 0 and lse -inf; a NaN among lse_in makes the row NaN. Parts are added in order. A merged
 * result is a part again: merging in any grouping gives the same up to rounding. A sink belongs to one part alone. */
typedef struct fdec_attn_merge_args {
    size_t size;
    uint32_t rows, dim;  /* rows: of all sequences, query tokens and heads; dim: v_head_dim */
    uint32_t n_parts;    /* 1..4096 */
    fdec_buffer part;    /* [n_parts, rows, dim] f32 */
    fdec_buffer lse_in;  /* [n_parts, rows] f32 */
    fdec_buffer out;     /* [rows, dim] f32; may be where the first part is */
    fdec_buffer lse;     /* optional: [rows] f32; may be where the first part's is */
} fdec_attn_merge_args;
#define FDEC_ATTN_MERGE_ARGS_INIT FDEC_INIT_(fdec_attn_merge_args)
FDEC_API fdec_status fdec_attn_merge_run(fdec_ops *ops, cl_command_queue queue, const fdec_attn_merge_args *args,
                                         cl_uint n_wait, const cl_event *wait, cl_event *event);

#ifdef __cplusplus
}
#endif
#endif
