/* One observation of a layer, in order:
 *   1. collect the gradient G, and with float convolutions the exact products
 *   2. draw: the real backward pass, each time with other random numbers
 *   3. from the groups, which do not depend on the draw, the formulas
 * Sums run in one fixed order on one thread. */
#include "nn/grad_variance.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "nn/grad_variance_formula.h"
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
    float *drawn;                     /* [n][h][w][c] of the largest */
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

/* The sample variance, summed over the elements. */
static double drawn_variance(const struct product_sums *sums, int draws) {
    double of_mean = bp_grad_norm(sums->sum, sums->count) / draws;
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
    float *dx = layer->in->needs_grad ? v->drawn : NULL, *dw = parts->weight->grad;
    memset(v->da.sum, 0, v->da.count * sizeof(float));
    memset(v->dw.sum, 0, v->dw.count * sizeof(float));
    v->da.squares = v->dw.squares = 0.0;
    for (int draw = 0; draw < v->draws; draw++) {
        bp_bconv_backward(parts->op, graph->exec, graph->n, layer->in->bits, layer->in->mask,
                          &layer->out->source, seed_of_draw(graph, layer, draw),
                          (unsigned)layer->binary_index, graph->step, parts->weight->value, dx, dw,
                          NULL, NULL, NULL);
        if (dx != NULL)
            add_draw(&v->da, dx);
        add_draw(&v->dw, dw);
    }
}

/* --- formulas --------------------------------------------------------------------------------- */

static double relative(double variance, double norm) {
    return norm > 0.0 ? variance / norm : NAN;
}

/* G is in v->g. Where it is clipped, the products of the clipped one take the place of the sums of
 * the draws, which are not needed any more. */
static bp_status formula_da(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, struct bp_product_variance *out) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n;
    struct bp_grad_grouping grouping =
        bp_grad_grouping_make(&v->graph->config.quant_da, bp_bconv_groups_da(parts->op));
    out->gradient = bp_grad_norm(v->g, n * s->oh * s->ow * s->k);
    struct bp_grad_sums sums = bp_grad_sum_da(&grouping, s, n, v->g, layer->in->mask, v->reached);
    out->gradient = relative(sums.gradient, out->gradient);
    if (!layer->in->needs_grad)
        return BP_OK;
    const float *product = v->da.exact;
    if (grouping.quant->clip > 0.0f && bp_grad_grouping_prunes(&grouping, n)) {
        bp_grad_grouping_clip(&grouping, s, n, v->g);
        BP_TRY(product_da(v, layer, parts, v->da.sum));
        collect(v, layer, s); /* dW clips in its own way */
        product = v->da.sum;
    }
    sums.product += bp_grad_choice_variance(grouping.groups, n, product, s->h * s->w * s->c);
    out->exact = relative(sums.product, out->norm);
    return BP_OK;
}

static bp_status formula_dw(struct bp_grad_variance *v, const struct bp_layer *layer,
                            const struct bp_bconv_parts *parts, struct bp_product_variance *out) {
    const struct bp_conv_shape *s = parts->shape;
    size_t n = v->graph->n, taps = s->r * s->r;
    struct bp_grad_grouping grouping =
        bp_grad_grouping_make(&v->graph->config.quant_dw, bp_bconv_groups_dw(parts->op));
    int by_sample = grouping.quant->groups == BP_GROUPS_SAMPLE;
    int pruned = bp_grad_grouping_prunes(&grouping, by_sample ? n : s->k);
    out->gradient = bp_grad_norm(v->g, n * s->oh * s->ow * s->k);
    struct bp_grad_sums sums =
        bp_grad_sum_dw(&grouping, s, n, v->g, parts->weight->value, v->unmasked, v->reached_w);
    out->gradient = relative(sums.gradient, out->gradient);
    if (by_sample && pruned)
        return BP_OK;
    const float *product = v->dw.exact;
    if (grouping.quant->clip > 0.0f && pruned) {
        bp_grad_grouping_clip(&grouping, s, n, v->g);
        BP_TRY(product_dw(v, layer, parts, v->da.sum, v->dw.sum));
        product = v->dw.sum;
    }
    if (pruned)
        sums.product += bp_grad_choice_variance(grouping.groups, s->k, product, taps * s->c);
    out->exact = relative(sums.product, out->norm);
    return BP_OK;
}

/* --- an observation --------------------------------------------------------------------------- */

static double flips(struct layer_state *state, const struct bp_param *weight) {
    size_t words = weight->count / weight->sign_row * bp_words(weight->sign_row);
    size_t changed = 0;
    for (size_t i = 0; i < words; i++)
        changed += bp_count_bits(state->signs[i] ^ weight->signs[i]);
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
    out->dw.norm = bp_grad_norm(v->dw.exact, v->dw.count);
    out->da.norm = bp_grad_norm(v->da.exact, v->da.count);
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

static bp_status plan_all(struct bp_grad_variance *v) {
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
                   {largest.x, &v->drawn},
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
    return BP_OK;
}

static bp_status prepare(struct bp_grad_variance *v, int signs_known) {
    const struct bp_graph *graph = v->graph;
    BP_TRY(bp_plan_allocate(v->plan, "the report of the variance"));
    BP_TRY(bp_exec_allocate(&v->exec));
    for (size_t i = 0; i < graph->n_layers && signs_known; i++)
        if (graph->layers[i]->binary_index >= 0)
            flips(&v->states[graph->layers[i]->binary_index],
                  bp_layer_bconv_parts(graph->layers[i]).weight);
    return BP_OK;
}

/* All but the block of memory. */
static bp_status open_planned(struct bp_grad_variance **out, struct bp_graph *graph, int draws) {
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
        status = plan_all(v);
    if (status != BP_OK) {
        bp_grad_variance_destroy(v);
        return status;
    }
    *out = v;
    return BP_OK;
}

bp_status bp_grad_variance_create(struct bp_grad_variance **out, struct bp_graph *graph, int draws,
                                  int signs_known) {
    BP_TRY(open_planned(out, graph, draws));
    bp_status status = prepare(*out, signs_known);
    if (status != BP_OK) {
        bp_grad_variance_destroy(*out);
        *out = NULL;
    }
    return status;
}

bp_status bp_grad_variance_bytes(struct bp_graph *graph, size_t *bytes) {
    struct bp_grad_variance *v;
    *bytes = 0;
    BP_TRY(open_planned(&v, graph, 2));
    bp_status status = bp_plan_place(v->plan);
    if (status == BP_OK)
        *bytes = bp_plan_bytes(v->plan) +
                 v->exec.scratch_bytes * (size_t)bp_threads_count(v->exec.threads);
    bp_grad_variance_destroy(v);
    return status;
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
