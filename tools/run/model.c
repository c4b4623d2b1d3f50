/* SPDX-License-Identifier: MIT
 * model.c - metadata and tensors of the llama architecture; refuses what it would otherwise silently compute wrong */
#include "model.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIZE = 1 << 24 }; /* of one dimension: keeps products of two in 64 bits, and every one in an int */

struct loader {
    const struct gguf *g;
    struct err *e;
    bool *used; /* [g->n_tensors] */
};

static bool read_size(const struct loader *l, const char *key, uint32_t *out)
{
    return gguf_uint(l->g, key, 1, MAX_SIZE, out, l->e);
}

static bool read_size_or(const struct loader *l, const char *key, uint32_t otherwise, uint32_t *out)
{
    *out = otherwise;
    return !gguf_find(l->g, key) || read_size(l, key, out);
}

static bool read_heads(struct model *m, const struct loader *l)
{
    uint32_t value_dim;
    if (!read_size(l, "llama.attention.head_count", &m->n_heads) ||
        !read_size_or(l, "llama.attention.head_count_kv", m->n_heads, &m->n_kv_heads))
        return false;
    if (m->n_heads % m->n_kv_heads)
        return err_set(l->e, "llama.attention.head_count %" PRIu32 " is no multiple of head_count_kv %" PRIu32,
                       m->n_heads, m->n_kv_heads);
    if (!gguf_find(l->g, "llama.attention.key_length") && m->n_embd % m->n_heads)
        return err_set(l->e, "llama.embedding_length %" PRIu32 " is no multiple of attention.head_count %" PRIu32,
                       m->n_embd, m->n_heads);
    if (!read_size_or(l, "llama.attention.key_length", m->n_embd / m->n_heads, &m->head_dim) ||
        !read_size_or(l, "llama.attention.value_length", m->head_dim, &value_dim))
        return false;
    if (value_dim != m->head_dim)
        return err_set(
            l->e, "llama.attention.value_length %" PRIu32 " differs from key_length %" PRIu32 ", which is unsupported",
            value_dim, m->head_dim);
    if ((uint64_t) m->n_heads * m->head_dim > MAX_SIZE)
        return err_set(l->e, "llama.attention.head_count %" PRIu32 " times the head dimension %" PRIu32 " is over %d",
                       m->n_heads, m->head_dim, MAX_SIZE);
    return true;
}

static bool read_rope(struct model *m, const struct loader *l)
{
    static const char base_key[] = "llama.rope.freq_base", type_key[] = "llama.rope.scaling.type";
    if (!read_size_or(l, "llama.rope.dimension_count", m->head_dim, &m->rope_dim))
        return false;
    if (m->rope_dim % 2 || m->rope_dim > m->head_dim)
        return err_set(l->e,
                       "llama.rope.dimension_count %" PRIu32 " must be even and at most the head dimension %" PRIu32,
                       m->rope_dim, m->head_dim);
    m->rope_base = 10000;
    if (gguf_find(l->g, base_key) && !gguf_float(l->g, base_key, &m->rope_base, l->e))
        return false;
    if (!(m->rope_base > 1))
        return err_set(l->e, "%s is %g, it must be greater than 1", base_key, m->rope_base);

    struct gguf_str scaling = {"none", 4};
    if (gguf_find(l->g, type_key) && !gguf_string(l->g, type_key, &scaling, l->e))
        return false;
    if (!gguf_str_is(scaling, "none"))
        return err_set(l->e, "%s \"%s\" is unsupported", type_key, gguf_quote(scaling).text);
    return true;
}

static bool read_sizes(struct model *m, const struct loader *l)
{
    struct gguf_str architecture;
    uint32_t n_vocab, n_experts = 0;
    double eps;
    if (!gguf_string(l->g, "general.architecture", &architecture, l->e))
        return false;
    if (!gguf_str_is(architecture, "llama"))
        return err_set(l->e, "general.architecture is \"%s\", only \"llama\" can be run",
                       gguf_quote(architecture).text);
    if (gguf_find(l->g, "llama.expert_count") && !gguf_uint(l->g, "llama.expert_count", 0, MAX_SIZE, &n_experts, l->e))
        return false;
    if (n_experts)
        return err_set(l->e, "llama.expert_count is %" PRIu32 ": mixtures of experts are unsupported", n_experts);
    if (!gguf_uint(l->g, "llama.context_length", 1, INT32_MAX - 1, &m->n_ctx, l->e) ||
        !read_size(l, "llama.embedding_length", &m->n_embd) || !read_size(l, "llama.block_count", &m->n_layers) ||
        !read_size(l, "llama.feed_forward_length", &m->n_ff) || !read_heads(m, l) || !read_rope(m, l) ||
        !read_size_or(l, "llama.vocab_size", m->n_vocab, &n_vocab) ||
        !gguf_float(l->g, "llama.attention.layer_norm_rms_epsilon", &eps, l->e))
        return false;
    if (n_vocab != m->n_vocab)
        return err_set(l->e, "llama.vocab_size is %" PRIu32 " but tokenizer.ggml.tokens has %" PRIu32, n_vocab,
                       m->n_vocab);
    if (!(eps >= 0 && eps < 1))
        return err_set(l->e, "llama.attention.layer_norm_rms_epsilon is %g, not in 0..1", eps);
    m->eps = (float) eps;
    return true;
}

/* n rows of k; n 0: a vector of k. */
static bool find_weight(const struct loader *l, const char *name, uint64_t n, uint64_t k, struct weight *w)
{
    const struct gguf_tensor *t = gguf_find_tensor(l->g, name);
    if (!t)
        return err_set(l->e, "tensor \"%s\" is missing", name);
    if (n == 0 && t->weight != FDEC_F32)
        return err_set(l->e, "tensor \"%s\" has type %s, vectors must be F32", name, t->type_name);
    if (t->weight == GGUF_NO_WEIGHT)
        return err_set(l->e, "tensor \"%s\" has type %s, which cannot be run", name, t->type_name);
    if (t->dims[0] != k || t->dims[1] != (n ? n : 1) || t->dims[2] != 1 || t->dims[3] != 1)
        return err_set(l->e,
                       "tensor \"%s\" has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64 "], not [%" PRIu64
                       ", %" PRIu64 "] as the metadata says",
                       name, t->dims[0], t->dims[1], t->dims[2], t->dims[3], k, n ? n : 1);
    *w = (struct weight){t, (fdec_type) t->weight, (uint32_t) n, (uint32_t) k, NULL};
    l->used[t - l->g->tensors] = true;
    return true;
}

static bool find_layer(struct model *m, const struct loader *l, uint32_t i)
{
    const uint64_t n_q = (uint64_t) m->n_heads * m->head_dim, n_kv = (uint64_t) m->n_kv_heads * m->head_dim;
    const struct {
        const char *name;
        uint64_t n, k;
    } want[N_LAYER_WEIGHTS] = {
        [W_ATTN_NORM] = {"attn_norm", 0, m->n_embd}, [W_Q] = {"attn_q", n_q, m->n_embd},
        [W_K] = {"attn_k", n_kv, m->n_embd},         [W_V] = {"attn_v", n_kv, m->n_embd},
        [W_O] = {"attn_output", m->n_embd, n_q},     [W_FFN_NORM] = {"ffn_norm", 0, m->n_embd},
        [W_GATE] = {"ffn_gate", m->n_ff, m->n_embd}, [W_UP] = {"ffn_up", m->n_ff, m->n_embd},
        [W_DOWN] = {"ffn_down", m->n_embd, m->n_ff},
    };
    for (int w = 0; w < N_LAYER_WEIGHTS; w++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", i, want[w].name);
        if (!find_weight(l, name, want[w].n, want[w].k, &m->layers[i].w[w]))
            return false;
    }
    return true;
}

static bool find_weights(struct model *m, const struct loader *l)
{
    if (m->n_layers > l->g->n_tensors / N_LAYER_WEIGHTS)
        return err_set(l->e, "llama.block_count is %" PRIu32 ", but %" PRIu64 " tensors are too few for that",
                       m->n_layers, l->g->n_tensors);
    m->layers = calloc(m->n_layers, sizeof *m->layers);
    if (!m->layers)
        return err_set(l->e, "out of memory");
    m->tied = !gguf_find_tensor(l->g, "output.weight");
    if (!find_weight(l, "token_embd.weight", m->n_vocab, m->n_embd, &m->embd) ||
        !find_weight(l, "output_norm.weight", 0, m->n_embd, &m->out_norm) ||
        !find_weight(l, m->tied ? "token_embd.weight" : "output.weight", m->n_vocab, m->n_embd, &m->out))
        return false;
    for (uint32_t i = 0; i < m->n_layers; i++)
        if (!find_layer(m, l, i))
            return false;
    for (uint64_t i = 0; i < l->g->n_tensors; i++)
        if (!l->used[i])
            return err_set(l->e, "tensor \"%s\" is nothing this program knows how to use",
                           gguf_quote(l->g->tensors[i].name).text);
    return true;
}

bool model_open(struct model *m, const struct gguf *g, uint32_t n_tokens, struct err *e)
{
    *m = (struct model){.n_vocab = n_tokens};
    struct loader l = {g, e, calloc(g->n_tensors + 1, sizeof *l.used)};
    const bool ok = l.used ? read_sizes(m, &l) && find_weights(m, &l) : err_set(e, "out of memory");
    free(l.used);
    if (!ok)
        model_close(m);
    return ok;
}

void model_close(struct model *m)
{
    free(m->layers);
    m->layers = NULL;
}
