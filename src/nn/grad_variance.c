/* One observation of a layer, in order:
 *   1. collect the gradient G, and with float convolutions the exact products
 *   2. draw: the real backward pass, each time with other random numbers
 *   3. from the groups, which do not depend on the draw, the formulas
 * Sums run in one fixed order on one thread. */
#include "nn/grad_variance.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "nn/layers.h"
#include "ops/sign_float.h"

struct product_sums {
    double squares;     /* of all deviations of all draws from the exact product */
    float *exact, *sum; /* the exact product; the sum of the deviations */
    size_t count;
};

struct layer_state {
    struct bp_fp32_conv *conv;
    uint64_t *signs; /* at the last observation */
    int signs_known;
};

struct bp_grad_variance {
    struct bp_backward_observer observer; /* first: the graph knows this part only */
    struct bp_graph *graph;
    struct bp_exec exec; /* the graph's, with scratch of its own for the float convolutions */
    struct bp_plan *plan;
    int draws;
    struct layer_state *states;       /* [n_binary] */
    struct bp_layer_variance *layers; /* [n_binary] */
    float *g, *w;                     /* [n][oh][ow][k], [k][r][r][c] of the largest layer */
    struct product_sums da, dw;
    uint32_t *reached;   /* [h w] unmasked inputs of a pixel */
    uint32_t *unmasked;  /* [k][taps] unmasked weights */
    uint32_t *reached_w; /* [k] of these, at the taps that lie inside at a pixel */
};

/* --- the exact products ----------------------------------------------------------------------- */

static void collect(struct bp_grad_variance *v, const struct bp_layer *layer,
                    const struct bp_conv_shape *s) {
    bp_grad_source_collect(v->graph->exec, &layer->out->source, v->graph->n, s->oh, s->ow * s->k,
                           v->g);
}

static bp_status product_dw(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, float *signs, float *dw) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n;
    bp_sign_float_unpack(&v->exec, layer->in->bits, n, s->h, s->w, s->c, signs);
    BP_TRY(bp_fp32_conv_backward_weights(v->states[layer->binary_index].conv, &v->exec, n, signs,
                                         v->g, dw, NULL));
    bp_sign_float_mask_latent(&v->exec, parts->weight->value, parts->weight->count, dw);
    return BP_OK;
}

static bp_status product_da(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, float *da) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n;
    bp_sign_float_of(&v->exec, parts->weight->value, parts->weight->count, v->w);
    BP_TRY(bp_fp32_conv_backward_data(v->states[layer->binary_index].conv, &v->exec, n, v->g, v->w,
                                      da, 0));
    bp_sign_float_mask(&v->exec, layer->in->mask, n * s->h * s->w, s->c, da);
    return BP_OK;
}

/* --- draws ------------------------------------------------------------------------------------ */

static void add_draw(struct product_sums *sums, const float *drawn) {
    double squares = 0.0;
    for (size_t i = 0; i < sums->count; i++) {
        float deviation = drawn[i] - sums->exact[i];
        squares += (double)deviation * (double)deviation;
        sums->sum[i] += deviation;
    }
    sums->squares += squares;
}

static double norm_of(const float *values, size_t count) {
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += (double)values[i] * (double)values[i];
    return squares;
}

/* The sample variance, summed over the elements. */
static double drawn_variance(const struct product_sums *sums, int draws) {
    double of_mean = norm_of(sums->sum, sums->count) / draws;
    return fmax(sums->squares - of_mean, 0.0) / (draws - 1);
}

/* Random numbers that no training step uses. */
static uint64_t seed_of_draw(const struct bp_graph *graph, const struct bp_layer *layer, int draw) {
    struct bp_stream stream = bp_stream_make(graph->config.seed, BP_RANDOM_VARIANCE,
                                             (unsigned)layer->binary_index, graph->step);
    uint32_t block[4];
    bp_stream_block(&stream, (uint64_t)draw, block);
    return (uint64_t)block[1] << 32 | block[0];
}

static void run_draws(struct bp_grad_variance *v, const struct bp_layer *layer,
                      const struct bp_bconv_parts *parts) {
    struct bp_graph *graph = v->graph;
    float *dx = layer->in->needs_grad ? layer->in->grad : NULL, *dw = parts->weight->grad;
    memset(v->da.sum, 0, v->da.count * sizeof(float));
    memset(v->dw.sum, 0, v->dw.count * sizeof(float));
    v->da.squares = v->dw.squares = 0.0;
    for (int draw = 0; draw < v->draws; draw++) {
        bp_bconv_backward(parts->op, graph->exec, graph->n, layer->in->bits, layer->in->mask,
                          &layer->out->source, seed_of_draw(graph, layer, draw),
                          (unsigned)layer->binary_index, graph->step, parts->weight->value, dx, dw);
        if (dx != NULL)
            add_draw(&v->da, dx);
        add_draw(&v->dw, dw);
    }
}

/* --- formulas --------------------------------------------------------------------------------- */

/* A quantizer's view of the gradient: which group an element belongs to. */
struct grouping {
    const struct bp_quant *quant;
    const struct bp_group *groups;
    int code_min, code_max;
};

static struct grouping make_grouping(const struct bp_quant *quant, const struct bp_group *groups) {
    struct grouping grouping = {.quant = quant, .groups = groups};
    int is_signed;
    bp_quant_codes(quant, &grouping.code_min, &grouping.code_max, &is_signed);
    return grouping;
}

static const struct bp_group *group_at(const struct grouping *grouping, size_t sample,
                                       size_t channel) {
    return &grouping->groups[grouping->quant->groups == BP_GROUPS_SAMPLE ? sample : channel];
}

/* Some groups are kept by chance. */
static int prunes(const struct grouping *grouping, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (grouping->groups[i].probability > 0.0f && grouping->groups[i].probability < 1.0f)
            return 1;
    return 0;
}

/* Replaces G by the mean of its codes' values, which differs where the grid is clipped. */
static void clip(const struct grouping *grouping, const struct bp_conv_shape *s, size_t n,
                 float *g) {
    size_t pixels = s->oh * s->ow;
    for (size_t i = 0; i < n * pixels * s->k; i++) {
        double mean;
        const struct bp_group *group = group_at(grouping, i / s->k / pixels, i % s->k);
        bp_quant_rounding_variance(group, grouping->code_min, grouping->code_max, g[i], &mean);
        g[i] = (float)mean;
    }
}

/* What both formulas add up over the elements of G. */
struct element_sums {
    double gradient; /* the variance of the quantized gradient */
    double product;  /* of the product, without the part of the choice of groups */
};

/* reach(k): how many elements of the product an element of channel k at this pixel adds to. */
static void add_pixel(const struct grouping *grouping, size_t sample, size_t channels,
                      const float *g, const uint32_t *reach, size_t reach_step,
                      struct element_sums *sums) {
    for (size_t k = 0; k < channels; k++) {
        const struct bp_group *group = group_at(grouping, sample, k);
        double p = (double)group->probability, mean;
        if (!(p > 0.0))
            continue;
        double rounding =
            bp_quant_rounding_variance(group, grouping->code_min, grouping->code_max, g[k], &mean) /
            p;
        sums->gradient += rounding + (1.0 / p - 1.0) * mean * mean;
        sums->product += rounding * reach[k * reach_step];
    }
}

/* Sums over the taps that lie inside the image, for the output pixel (y, x). */
static uint32_t reached_inputs(const uint32_t *reached, const struct bp_conv_shape *s, size_t y,
                               size_t x) {
    uint32_t sum = 0;
    for (size_t ty = 0; ty < s->r; ty++)
        for (size_t tx = 0; tx < s->r; tx++) {
            size_t iy = y * s->stride + ty - s->pad, ix = x * s->stride + tx - s->pad;
            if (iy < s->h && ix < s->w) /* outside: wraps around, far above */
                sum += reached[iy * s->w + ix];
        }
    return sum;
}

/* Unmasked inputs of each pixel of a sample. */
static void count_mask(const uint64_t *mask, const struct bp_conv_shape *s, uint32_t *reached) {
    size_t words = bp_words(s->c);
    for (size_t i = 0; i < s->h * s->w; i++) {
        reached[i] = 0;
        for (size_t word = 0; word < words; word++)
            reached[i] += (uint32_t)__builtin_popcountll(mask[i * words + word]);
    }
}

/* Groups are samples, and a sample's part of dA comes from its own gradient alone. */
static struct element_sums sum_da(struct bp_grad_variance *v, const struct bp_layer *layer,
                                  const struct bp_conv_shape *s, const struct grouping *grouping) {
    struct element_sums sums = {0};
    size_t mask_words = s->h * s->w * bp_words(s->c);
    for (size_t n = 0; n < v->graph->n; n++) {
        count_mask(layer->in->mask + n * mask_words, s, v->reached);
        for (size_t y = 0; y < s->oh; y++)
            for (size_t x = 0; x < s->ow; x++) {
                uint32_t reach = reached_inputs(v->reached, s, y, x);
                add_pixel(grouping, n, s->k, v->g + ((n * s->oh + y) * s->ow + x) * s->k, &reach, 0,
                          &sums);
            }
    }
    return sums;
}

/* Bit t: tap t lies inside the image at output pixel (y, x). */
static uint32_t taps_inside(const struct bp_conv_shape *s, size_t y, size_t x) {
    uint32_t inside = 0;
    for (size_t ty = 0; ty < s->r; ty++)
        for (size_t tx = 0; tx < s->r; tx++) {
            size_t iy = y * s->stride + ty - s->pad, ix = x * s->stride + tx - s->pad;
            inside |= (uint32_t)(iy < s->h && ix < s->w) << (ty * s->r + tx);
        }
    return inside;
}

static void count_unmasked(const struct bp_conv_shape *s, const float *w, uint32_t *unmasked) {
    for (size_t i = 0; i < s->k * s->r * s->r; i++) {
        unmasked[i] = 0;
        for (size_t c = 0; c < s->c; c++)
            unmasked[i] += fabsf(w[i * s->c + c]) < 1.0f;
    }
}

static void reach_weights(const struct bp_conv_shape *s, const uint32_t *unmasked, uint32_t inside,
                          uint32_t *reached) {
    size_t taps = s->r * s->r;
    for (size_t k = 0; k < s->k; k++) {
        reached[k] = 0;
        for (size_t t = 0; t < taps; t++)
            reached[k] += inside >> t & 1 ? unmasked[k * taps + t] : 0;
    }
}

static struct element_sums sum_dw(struct bp_grad_variance *v, const struct bp_bconv_parts *parts,
                                  const struct grouping *grouping) {
    const struct bp_conv_shape *s = parts->shape;
    struct element_sums sums = {0};
    uint32_t last = UINT32_MAX;
    count_unmasked(s, parts->weight->value, v->unmasked);
    for (size_t i = 0; i < v->graph->n * s->oh * s->ow; i++) {
        uint32_t inside = taps_inside(s, i / s->ow % s->oh, i % s->ow);
        if (inside != last)
            reach_weights(s, v->unmasked, inside, v->reached_w);
        last = inside;
        add_pixel(grouping, i / s->ow / s->oh, s->k, v->g + i * s->k, v->reached_w, 1, &sums);
    }
    return sums;
}

/* The part of the choice: sum over the groups of (1/p - 1) |product of the group|^2; `product` has
 * one block of `block` elements for each group. */
static double choice_variance(const struct bp_group *groups, size_t n, const float *product,
                              size_t block) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double p = (double)groups[i].probability;
        if (p > 0.0 && p < 1.0)
            sum += (1.0 / p - 1.0) * norm_of(product + i * block, block);
    }
    return sum;
}

static double relative(double variance, double norm) {
    return norm > 0.0 ? variance / norm : NAN;
}

/* G is in v->g. Where it is clipped, the products of the clipped one take the place of the sums of
 * the draws, which are not needed any more. */
static bp_status formula_da(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, struct bp_product_variance *out) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n;
    struct grouping grouping =
        make_grouping(&v->graph->config.quant_da, bp_bconv_groups_da(parts->op));
    out->gradient = norm_of(v->g, n * s->oh * s->ow * s->k);
    struct element_sums sums = sum_da(v, layer, s, &grouping);
    out->gradient = relative(sums.gradient, out->gradient);
    if (!layer->in->needs_grad)
        return BP_OK;
    const float *product = v->da.exact;
    if (grouping.quant->clip > 0.0f && prunes(&grouping, n)) {
        clip(&grouping, s, n, v->g);
        BP_TRY(product_da(v, layer, parts, v->da.sum));
        collect(v, layer, s); /* dW clips in its own way */
        product = v->da.sum;
    }
    sums.product += choice_variance(grouping.groups, n, product, s->h * s->w * s->c);
    out->exact = relative(sums.product, out->norm);
    return BP_OK;
}

static bp_status formula_dw(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, struct bp_product_variance *out) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n, taps = s->r * s->r;
    struct grouping grouping =
        make_grouping(&v->graph->config.quant_dw, bp_bconv_groups_dw(parts->op));
    int by_sample = grouping.quant->groups == BP_GROUPS_SAMPLE;
    int pruned = prunes(&grouping, by_sample ? n : s->k);
    out->gradient = norm_of(v->g, n * s->oh * s->ow * s->k);
    struct element_sums sums = sum_dw(v, parts, &grouping);
    out->gradient = relative(sums.gradient, out->gradient);
    if (by_sample && pruned)
        return BP_OK;
    const float *product = v->dw.exact;
    if (grouping.quant->clip > 0.0f && pruned) {
        clip(&grouping, s, n, v->g);
        BP_TRY(product_dw(v, layer, parts, v->da.sum, v->dw.sum));
        product = v->dw.sum;
    }
    if (pruned)
        sums.product += choice_variance(grouping.groups, s->k, product, taps * s->c);
    out->exact = relative(sums.product, out->norm);
    return BP_OK;
}

/* --- an observation --------------------------------------------------------------------------- */

static double flips(struct layer_state *state, const struct bp_param *weight) {
    size_t words = weight->count / weight->sign_row * bp_words(weight->sign_row);
    size_t changed = 0;
    for (size_t i = 0; i < words; i++)
        changed += (size_t)__builtin_popcountll(state->signs[i] ^ weight->signs[i]);
    double share = state->signs_known ? (double)changed / (double)weight->count : NAN;
    memcpy(state->signs, weight->signs, words * sizeof *weight->signs);
    state->signs_known = 1;
    return share;
}

static bp_status observe(struct bp_backward_observer *observer, struct bp_graph *graph,
                         const struct bp_layer *layer) {
    struct bp_grad_variance *v = (struct bp_grad_variance *)(void *)observer;
    const struct bp_bconv_parts parts = bp_layer_bconv_parts(layer);
    const struct bp_conv_shape *s = parts.shape;
    struct bp_layer_variance *out = &v->layers[layer->binary_index];
    const struct bp_product_variance unknown = {NAN, NAN, NAN, NAN};
    *out = (struct bp_layer_variance){layer, unknown, unknown, NAN};
    v->da.count = layer->in->needs_grad ? graph->n * s->h * s->w * s->c : 0;
    v->dw.count = parts.weight->count;
    collect(v, layer, s);
    BP_TRY(product_dw(v, layer, &parts, v->da.sum, v->dw.exact));
    if (layer->in->needs_grad)
        BP_TRY(product_da(v, layer, &parts, v->da.exact));
    out->dw.norm = norm_of(v->dw.exact, v->dw.count);
    out->da.norm = norm_of(v->da.exact, v->da.count);
    run_draws(v, layer, &parts);
    out->dw.empirical = relative(drawn_variance(&v->dw, v->draws), out->dw.norm);
    if (layer->in->needs_grad)
        out->da.empirical = relative(drawn_variance(&v->da, v->draws), out->da.norm);
    out->flips = flips(&v->states[layer->binary_index], parts.weight);
    BP_TRY(formula_da(v, layer, &parts, &out->da));
    return formula_dw(v, layer, &parts, &out->dw);
}

void bp_grad_variance_begin(struct bp_grad_variance *variance) {
    for (size_t i = 0; i < variance->graph->n_binary; i++)
        variance->layers[i].layer = NULL;
    variance->graph->observer = &variance->observer;
}

void bp_grad_variance_end(struct bp_grad_variance *variance) {
    variance->graph->observer = NULL;
}

const struct bp_layer_variance *bp_grad_variance_layers(const struct bp_grad_variance *variance) {
    return variance->layers;
}

/* --- set-up ----------------------------------------------------------------------------------- */

struct largest {
    size_t g, x, w, pixels, filters, filter_taps;
};

static void raise_to(size_t *value, size_t other) {
    *value = *value > other ? *value : other;
}

static bp_status prepare_layer(struct bp_grad_variance *v, const struct bp_layer *layer,
                               struct largest *largest) {
    const struct bp_bconv_parts parts = bp_layer_bconv_parts(layer);
    const struct bp_conv_shape *s = parts.shape;
    struct layer_state *state = &v->states[layer->binary_index];
    size_t words = parts.weight->count / parts.weight->sign_row * bp_words(parts.weight->sign_row);
    raise_to(&largest->g, s->n * s->oh * s->ow * s->k);
    raise_to(&largest->x, s->n * s->h * s->w * s->c);
    raise_to(&largest->w, parts.weight->count);
    raise_to(&largest->pixels, s->h * s->w);
    raise_to(&largest->filters, s->k);
    raise_to(&largest->filter_taps, s->k * s->r * s->r);
    BP_TRY(bp_alloc_array(&state->signs, words, sizeof *state->signs, "signs of the weights"));
    return bp_fp32_conv_create(&state->conv, &v->exec, v->plan, v->graph->config.backend, s,
                               BP_FP32_BACKWARD_DATA | BP_FP32_BACKWARD_WEIGHTS, layer->name,
                               layer->binary_index, layer->binary_index);
}

static bp_status prepare(struct bp_grad_variance *v, int signs_known) {
    struct bp_graph *graph = v->graph;
    struct largest largest = {0};
    const int last = (int)graph->n_binary;
    for (size_t i = 0; i < graph->n_layers; i++)
        if (graph->layers[i]->binary_index >= 0)
            BP_TRY(prepare_layer(v, graph->layers[i], &largest));
    const struct {
        size_t count;
        void *where;
    } buffers[] = {{largest.g, &v->g},
                   {largest.w, &v->w},
                   {largest.x, &v->da.exact},
                   {largest.x, &v->da.sum},
                   {largest.w, &v->dw.exact},
                   {largest.w, &v->dw.sum},
                   {largest.pixels, &v->reached},
                   {largest.filter_taps, &v->unmasked},
                   {largest.filters, &v->reached_w}};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) /* all of 4-byte numbers */
        BP_TRY(bp_plan_add(v->plan, "variance", buffers[i].count * sizeof(float), 0, last,
                           buffers[i].where));
    BP_TRY(bp_plan_allocate(v->plan, "the report of the variance"));
    BP_TRY(bp_exec_allocate(&v->exec));
    for (size_t i = 0; i < graph->n_layers && signs_known; i++)
        if (graph->layers[i]->binary_index >= 0)
            flips(&v->states[graph->layers[i]->binary_index],
                  bp_layer_bconv_parts(graph->layers[i]).weight);
    return BP_OK;
}

bp_status bp_grad_variance_create(struct bp_grad_variance **out, struct bp_graph *graph, int draws,
                                  int signs_known) {
    struct bp_grad_variance *v;
    *out = NULL;
    BP_TRY(bp_alloc(&v, sizeof *v, "the report of the variance"));
    v->observer.before = observe;
    v->graph = graph;
    v->draws = draws;
    v->exec = *graph->exec;
    v->exec.scratch = NULL;
    v->exec.scratch_bytes = 0;
    bp_status status = bp_plan_create(&v->plan);
    if (status == BP_OK)
        status = bp_alloc_array(&v->states, graph->n_binary, sizeof *v->states, "layers");
    if (status == BP_OK)
        status = bp_alloc_array(&v->layers, graph->n_binary, sizeof *v->layers, "layers");
    if (status == BP_OK)
        status = prepare(v, signs_known);
    if (status != BP_OK) {
        bp_grad_variance_destroy(v);
        return status;
    }
    *out = v;
    return BP_OK;
}

void bp_grad_variance_destroy(struct bp_grad_variance *variance) {
    if (variance == NULL)
        return;
    for (size_t i = 0; variance->states != NULL && i < variance->graph->n_binary; i++) {
        bp_fp32_conv_destroy(variance->states[i].conv);
        bp_free(variance->states[i].signs);
    }
    bp_free(variance->states);
    bp_free(variance->layers);
    bp_free(variance->exec.scratch);
    bp_plan_destroy(variance->plan);
    bp_free(variance);
}
