/* SPDX-License-Identifier: MIT
 * model.h - a Llama model in a GGUF file: its sizes and its tensors, checked against each other. No device here
 *
 *     x = embed(id);  per layer:  x += Wo attn(rope(Wq n), rope(Wk n), Wv n), n = rmsnorm(x);  x += Wdown swiglu(Wgate
 * m, Wup m),
 *     m = rmsnorm(x);  logits = Wout rmsnorm(x).  RoPE turns pairs (2i, 2i+1): converters permute Wq and Wk for that.
 * */
#ifndef MODEL_H
#define MODEL_H
#include "gguf.h"
#include "flashdec.h"

struct weight { /* [n, k] as stored, k contiguous; n 0: a vector [k] */
    const struct gguf_tensor *tensor;
    fdec_type type;
    uint32_t n, k;
    cl_mem mem; /* the decoder's */
};

enum layer_weight { W_ATTN_NORM, W_Q, W_K, W_V, W_O, W_FFN_NORM, W_GATE, W_UP, W_DOWN, N_LAYER_WEIGHTS };

struct layer {
    struct weight w[N_LAYER_WEIGHTS];
};

struct model {
    uint32_t n_layers, n_embd, n_heads, n_kv_heads, head_dim, rope_dim, n_ff, n_vocab, n_ctx;
    double rope_base;
    float eps;
    struct weight embd, out_norm, out; /* tied: out has the tensor of embd */
    bool tied;
    struct layer *layers;
};

/* False with a line: a key missing or out of range, sizes that do not fit together, a tensor missing, of another shape
 * or type, or one that would have to be ignored. Tensors stay in g. n_tokens: of the tokenizer. */
bool model_open(struct model *m, const struct gguf *g, uint32_t n_tokens, struct err *e);
void model_close(struct model *m);
#endif
