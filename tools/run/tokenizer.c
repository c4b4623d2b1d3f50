/* SPDX-License-Identifier: MIT
 * tokenizer.c - encoding by best-score merges over a linked list of symbols with a heap of candidate pairs: O(n log n)
 * */
#include "tokenizer.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER, TOKEN_UNUSED, TOKEN_BYTE };
enum { MAX_TOKENS = 1 << 24, MAX_TEXT_BYTES = 1 << 22, MAX_USER_BYTES = 256, SPACE_BYTES = 3 };
static const char SPACE[] = "\xe2\x96\x81";     /* U+2581, the space of SentencePiece */
static const char UNKNOWN[] = " \xe2\x81\x87 "; /* what SentencePiece prints for the unknown token */

static int32_t type_of(const struct tokenizer *t, uint32_t id)
{
    int32_t type;
    memcpy(&type, t->types + sizeof type * id, sizeof type);
    return type;
}

static float score_of(const struct tokenizer *t, int32_t id)
{
    float score;
    memcpy(&score, t->scores + sizeof score * (uint32_t) id, sizeof score);
    return score;
}

/* ---- vocabulary ---- */

static uint32_t hash_text(const char *p, size_t n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char) p[i]) * 16777619u;
    return h;
}

/* The normal or user-defined token of exactly this text; -1: there is none. */
static int32_t find_token(const struct tokenizer *t, const char *p, size_t n)
{
    const uint32_t hash = hash_text(p, n);
    for (uint32_t i = hash & t->slot_mask; t->slots[i].id >= 0; i = (i + 1) & t->slot_mask)
        if (t->slots[i].hash == hash && t->text[t->slots[i].id].n == n && memcmp(t->text[t->slots[i].id].p, p, n) == 0)
            return t->slots[i].id;
    return -1;
}

/* Control, unknown, unused and byte tokens are not entered: their spelling in a text is just text. Of two tokens of
 * the same text the first counts. */
static bool fill_slots(struct tokenizer *t, struct err *e)
{
    uint32_t n_slots = 16;
    while (n_slots < 2 * t->n)
        n_slots *= 2;
    t->slot_mask = n_slots - 1;
    t->slots = malloc(n_slots * sizeof *t->slots);
    if (!t->slots)
        return err_set(e, "out of memory");
    for (uint32_t i = 0; i < n_slots; i++)
        t->slots[i].id = -1;

    for (uint32_t id = 0; id < t->n; id++) {
        const struct gguf_str s = t->text[id];
        const int32_t type = type_of(t, id);
        if ((type != TOKEN_NORMAL && type != TOKEN_USER) || s.n == 0 || find_token(t, s.p, s.n) >= 0)
            continue;
        if (type == TOKEN_USER && s.n > t->longest_user)
            t->longest_user = (uint32_t) (s.n < MAX_USER_BYTES ? s.n : MAX_USER_BYTES);
        const uint32_t hash = hash_text(s.p, s.n);
        uint32_t i = hash & t->slot_mask;
        while (t->slots[i].id >= 0)
            i = (i + 1) & t->slot_mask;
        t->slots[i].id = (int32_t) id;
        t->slots[i].hash = hash;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0x0A>" -> 10; -1: not of this form. */
static int byte_of(struct gguf_str s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' || hex_digit(s.p[3]) < 0 || hex_digit(s.p[4]) < 0)
        return -1;
    return hex_digit(s.p[3]) * 16 + hex_digit(s.p[4]);
}

/* Writes what token id prints to out and returns the number of bytes, never more than its text has, or sizeof UNKNOWN
 * - 1. */
static size_t render(struct tokenizer *t, uint32_t id, char *out)
{
    const struct gguf_str s = t->text[id];
    const int32_t type = type_of(t, id);
    size_t n = 0;
    if (type == TOKEN_BYTE) {
        out[n++] = (char) byte_of(s);
    } else if (type == TOKEN_UNKNOWN) {
        n = sizeof UNKNOWN - 1;
        memcpy(out, UNKNOWN, n);
    } else if (type == TOKEN_NORMAL || type == TOKEN_USER) {
        for (uint64_t i = 0; i < s.n; n++) {
            const bool space = s.n - i >= SPACE_BYTES && memcmp(s.p + i, SPACE, SPACE_BYTES) == 0;
            out[n] = space ? ' ' : s.p[i];
            i += space ? SPACE_BYTES : 1;
        }
    }
    return n;
}

static bool fill_texts(struct tokenizer *t, const struct gguf_array *tokens, struct err *e)
{
    const unsigned char *next = tokens->data;
    uint64_t n_arena = 1;
    for (int b = 0; b < 256; b++)
        t->byte_token[b] = -1;
    for (uint32_t id = 0; id < t->n; id++) {
        t->text[id] = gguf_next_string(&next);
        n_arena += t->text[id].n + sizeof UNKNOWN;
        const int32_t type = type_of(t, id);
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
            return err_set(e, "tokenizer.ggml.token_type of token %" PRIu32 " is %" PRId32 ", which is unknown", id,
                           type);
        if (type != TOKEN_BYTE)
            continue;
        const int byte = byte_of(t->text[id]);
        if (byte < 0)
            return err_set(e, "token %" PRIu32 " is a byte token but reads \"%s\"", id, gguf_quote(t->text[id]).text);
        if (t->byte_token[byte] < 0)
            t->byte_token[byte] = (int32_t) id;
    }

    char *at = t->arena = malloc(n_arena);
    if (!at)
        return err_set(e, "out of memory");
    for (uint32_t id = 0; id < t->n; id++) {
        t->output[id] = (struct gguf_str){at, render(t, id, at)};
        at += t->output[id].n;
    }
    return true;
}

static bool read_id(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t otherwise, int32_t *id,
                    struct err *e)
{
    uint32_t u = (uint32_t) otherwise;
    if (gguf_find(g, key) && !gguf_uint(g, key, 0, t->n - 1, &u, e))
        return false;
    if (u >= t->n)
        return err_set(e, "the vocabulary has %" PRIu32 " tokens, %s would be %" PRIu32, t->n, key, u);
    *id = (int32_t) u;
    return true;
}

static bool read_flag(const struct gguf *g, const char *key, bool otherwise, bool *flag, struct err *e)
{
    uint32_t u = otherwise;
    if (gguf_find(g, key) && !gguf_uint(g, key, 0, 1, &u, e))
        return false;
    *flag = u == 1;
    return true;
}

static bool read_vocabulary(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    struct gguf_str model;
    const struct gguf_array *tokens, *scores, *types;
    if (!gguf_string(g, "tokenizer.ggml.model", &model, e))
        return false;
    if (!gguf_str_is(model, "llama"))
        return err_set(e, "tokenizer.ggml.model is \"%s\", only \"llama\" (SentencePiece) can be read",
                       gguf_quote(model).text);
    if (!gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, e) ||
        !gguf_array(g, "tokenizer.ggml.scores", GGUF_F32, &scores, e) ||
        !gguf_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, e))
        return false;
    if (tokens->n < 1 || tokens->n > MAX_TOKENS)
        return err_set(e, "tokenizer.ggml.tokens has %" PRIu64 " tokens, 1..%d are possible", tokens->n, MAX_TOKENS);
    if (scores->n != tokens->n || types->n != tokens->n)
        return err_set(
            e, "tokenizer.ggml.tokens, .scores and .token_type differ in length: %" PRIu64 ", %" PRIu64 ", %" PRIu64,
            tokens->n, scores->n, types->n);

    t->n = (uint32_t) tokens->n;
    t->scores = scores->data;
    t->types = types->data;
    t->text = calloc(t->n, sizeof *t->text);
    t->output = calloc(t->n, sizeof *t->output);
    if (!t->text || !t->output)
        return err_set(e, "out of memory");
    return read_id(t, g, "tokenizer.ggml.bos_token_id", 1, &t->bos, e) &&
           read_id(t, g, "tokenizer.ggml.eos_token_id", 2, &t->eos, e) &&
           read_id(t, g, "tokenizer.ggml.unknown_token_id", 0, &t->unknown, e) &&
           read_flag(g, "tokenizer.ggml.add_bos_token", true, &t->add_bos, e) &&
           read_flag(g, "tokenizer.ggml.add_space_prefix", true, &t->add_space, e) && fill_texts(t, tokens, e) &&
           fill_slots(t, e);
}

bool tokenizer_open(struct tokenizer *t, const struct gguf *g, struct err *e)
{
    *t = (struct tokenizer){.n = 0};
    if (read_vocabulary(t, g, e))
        return true;
    tokenizer_close(t);
    return false;
}

void tokenizer_close(struct tokenizer *t)
{
    free(t->text);
    free(t->output);
    free(t->slots);
    free(t->arena);
    *t = (struct tokenizer){.n = 0};
}

/* ---- encoding ---- */

struct symbol {
    const char *p;
    uint32_t n;         /* bytes; 0: merged into the one before */
    int32_t prev, next; /* -1: none */
    bool whole;         /* a user-defined token: never merged */
};

struct merge { /* of symbol left and its right neighbour, while together they still have n bytes */
    float score;
    int32_t left, right;
    uint32_t n;
};

struct encoder {
    const struct tokenizer *t;
    char *text; /* with U+2581 for spaces */
    size_t n;
    struct symbol *symbols;
    int32_t n_symbols;
    struct merge *heap; /* the best is heap[0] */
    size_t n_heap;
};

static bool better(const struct merge *a, const struct merge *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void push(struct encoder *c, struct merge m)
{
    size_t i = c->n_heap++;
    for (; i > 0 && better(&m, &c->heap[(i - 1) / 2]); i = (i - 1) / 2)
        c->heap[i] = c->heap[(i - 1) / 2];
    c->heap[i] = m;
}

static struct merge pop(struct encoder *c)
{
    const struct merge top = c->heap[0], last = c->heap[--c->n_heap];
    size_t i = 0;
    for (size_t child = 1; child < c->n_heap; child = 2 * i + 1) {
        if (child + 1 < c->n_heap && better(&c->heap[child + 1], &c->heap[child]))
            child++;
        if (!better(&c->heap[child], &last))
            break;
        c->heap[i] = c->heap[child];
        i = child;
    }
    c->heap[i] = last;
    return top;
}

/* Enters the pair if its union is a token. At most one new pair per symbol and two per merge: 3 * n_symbols in all. */
static void consider(struct encoder *c, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || c->symbols[left].whole || c->symbols[right].whole)
        return;
    const uint32_t n = c->symbols[left].n + c->symbols[right].n;
    const int32_t id = find_token(c->t, c->symbols[left].p, n);
    if (id >= 0)
        push(c, (struct merge){score_of(c->t, id), left, right, n});
}

/* Length of the UTF-8 character at p, 1 where there is none. */
static size_t utf8_char(const char *p, size_t n)
{
    const unsigned char c = (unsigned char) p[0];
    const size_t want = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
    if (want > n)
        return 1;
    for (size_t i = 1; i < want; i++)
        if (((unsigned char) p[i] & 0xc0) != 0x80)
            return 1;
    return want;
}

static size_t user_token(const struct encoder *c, size_t at)
{
    size_t n = c->n - at < c->t->longest_user ? c->n - at : c->t->longest_user;
    for (; n > 0; n--) {
        const int32_t id = find_token(c->t, c->text + at, n);
        if (id >= 0 && type_of(c->t, (uint32_t) id) == TOKEN_USER)
            return n;
    }
    return 0;
}

static void cut(struct encoder *c)
{
    for (size_t at = 0; at < c->n; c->n_symbols++) {
        const size_t whole = user_token(c, at), n = whole ? whole : utf8_char(c->text + at, c->n - at);
        c->symbols[c->n_symbols] =
            (struct symbol){c->text + at, (uint32_t) n, c->n_symbols - 1, c->n_symbols + 1, whole > 0};
        at += n;
    }
    if (c->n_symbols)
        c->symbols[c->n_symbols - 1].next = -1;
}

static void merge_all(struct encoder *c)
{
    for (int32_t i = 0; i + 1 < c->n_symbols; i++)
        consider(c, i, i + 1);
    while (c->n_heap) {
        const struct merge m = pop(c);
        struct symbol *left = &c->symbols[m.left], *right = &c->symbols[m.right];
        if (left->n == 0 || right->n == 0 || left->n + right->n != m.n) /* one of them has been merged since */
            continue;
        left->n = m.n;
        right->n = 0;
        left->next = right->next;
        if (right->next >= 0)
            c->symbols[right->next].prev = m.left;
        consider(c, left->prev, m.left);
        consider(c, m.left, left->next);
    }
}

static uint32_t put_ids(const struct encoder *c, int32_t *ids)
{
    uint32_t n = 0;
    for (int32_t i = c->n_symbols ? 0 : -1; i >= 0; i = c->symbols[i].next) {
        const struct symbol *s = &c->symbols[i];
        const int32_t id = find_token(c->t, s->p, s->n);
        if (id >= 0) {
            ids[n++] = id;
            continue;
        }
        for (uint32_t b = 0; b < s->n; b++) {
            const int32_t byte = c->t->byte_token[(unsigned char) s->p[b]];
            if (byte >= 0 || b == 0) /* without byte tokens: one unknown for the character */
                ids[n++] = byte >= 0 ? byte : c->t->unknown;
        }
    }
    return n;
}

static void spell(struct encoder *c, const char *text, size_t n)
{
    if (n > 0 && c->t->add_space) {
        memcpy(c->text, SPACE, SPACE_BYTES);
        c->n = SPACE_BYTES;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(c->text + c->n, SPACE, SPACE_BYTES);
            c->n += SPACE_BYTES;
        } else {
            c->text[c->n++] = text[i];
        }
    }
}

bool tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, int32_t **ids, uint32_t *n_ids,
                      struct err *e)
{
    if (n > MAX_TEXT_BYTES)
        return err_set(e, "a prompt of %zu bytes, %d are possible", n, MAX_TEXT_BYTES);
    const size_t most = SPACE_BYTES * (n + 1); /* bytes after spelling, so symbols and ids as well */
    struct encoder c = {.t = t};
    c.text = malloc(most);
    c.symbols = malloc(most * sizeof *c.symbols);
    c.heap = malloc(3 * most * sizeof *c.heap);
    *ids = malloc((most + 1) * sizeof **ids);
    bool ok = c.text && c.symbols && c.heap && *ids;
    if (ok) {
        spell(&c, text, n);
        cut(&c);
        merge_all(&c);
        if (t->add_bos)
            (*ids)[0] = t->bos;
        *n_ids = t->add_bos + put_ids(&c, *ids + t->add_bos);
    } else {
        free(*ids);
        *ids = NULL;
        err_set(e, "out of memory");
    }
    free(c.text);
    free(c.symbols);
    free(c.heap);
    return ok;
}

size_t utf8_complete(const char *text, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char c = (unsigned char) text[n - back];
        if ((c & 0xc0) == 0x80)
            continue; /* a continuation: look further left for its first byte */
        const size_t want = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;
        return want > back ? n - back : n;
    }
    return n;
}
