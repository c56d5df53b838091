/* The variance of the gradient products as a run reports it: the formulas equal a sum over single
 * outputs written down from the definitions, the draws agree with the formulas, and observing
 * changes nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "nn/grad_variance.h"
#include "nn/layers.h"
#include "nn_net.h"
#include "ops/sign_float.h"

enum { DRAWS = 8 };

static const struct variant {
    const char *name, *model;
    struct bp_quant da, dw;
} variants[] = {
    {"balanced",
     "vgg16",
     {4, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_SAMPLE},
     {4, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL}},
    {"one-bit",
     "resnet18",
     {4, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_SAMPLE},
     {4, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL}},
    {"paper",
     "vgg16",
     {2, 0.5f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
     {4, 0.5f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL}},
    {"clipped",
     "resnet18",
     {3, 0.5f, BP_SELECT_BERNOULLI, BP_WEIGHTS_UNIFORM, BP_GRID_SYMMETRIC, 1.5f, BP_GROUPS_SAMPLE},
     {2, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 1.5f, BP_GROUPS_CHANNEL}},
    {"psq",
     "vgg16",
     {1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
     {1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE}},
};
enum { VARIANTS = sizeof variants / sizeof variants[0], BATCH = 6 };

static void create(struct nn_net *net, const struct variant *variant, int threads) {
    int large = strcmp(variant->model, "vgg16") == 0;
    struct bp_graph_config config =
        nn_config(variant->model, BP_PRECISION_FQT, large ? 32 : 11, large ? 0.05 : 0.1);
    config.batch = BATCH;
    config.backend = bp_fp32_default();
    config.quant_da = variant->da;
    config.quant_dw = variant->dw;
    nn_net_create(net, &config, bp_cpu_best(), threads);
    /* Some latent weights outside of the straight-through window. */
    for (size_t i = 0; i < net->graph->n_params; i++)
        for (size_t j = 0; j < net->graph->params[i]->count; j += 5)
            if (net->graph->params[i]->flags & BP_PARAM_LATENT)
                net->graph->params[i]->value[j] *= 60.0f;
    bp_graph_weights_changed(net->graph);
}

/* --- the formulas, output by output ----------------------------------------------------------- */

struct spelled_out {
    struct bp_backward_observer observer; /* first */
    struct bp_backward_observer *inner;
    struct bp_grad_variance *variance;
    const char *variant;
    size_t compared;
};

struct moments {
    double mean, rounding, p;
};

static struct moments moments_of(const struct bp_quant *quant, const struct bp_group *groups,
                                 size_t sample, size_t channel, float g) {
    const struct bp_group *group = &groups[quant->groups == BP_GROUPS_SAMPLE ? sample : channel];
    struct moments m = {.p = (double)group->probability};
    int code_min, code_max, is_signed;
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    double lo = (double)group->grid.lo, step = (double)group->step, t = 0.0;
    if (step > 0.0)
        t = fmin(fmax(((double)g - lo) / step, code_min), code_max);
    m.mean = lo + step * t;
    m.rounding = step * step * (t - floor(t)) * (1.0 - (t - floor(t)));
    return m;
}

/* L = sum of a_e X_e over one group, X_e = m V_e / p, a_e = +-1:
 * Var L = (sum Var V_e + (sum a_e E V_e)^2) / p - (sum a_e E V_e)^2. */
struct linear {
    double rounding, mean, exact, p;
};

static void add_term(struct linear *l, const struct moments *m, double a, float g) {
    l->rounding += m->rounding;
    l->mean += a * m->mean;
    l->exact += a * (double)g;
    l->p = m->p;
}

static double variance_of(const struct linear *l) {
    double square = l->mean * l->mean;
    return l->p > 0.0 ? (l->rounding + square) / l->p - square : 0.0;
}

static int bit(const uint64_t *words, size_t index) {
    return (int)(words[index / 64] >> index % 64 & 1);
}

struct totals {
    double variance, norm;
};

static struct totals spell_da(const struct bp_graph *graph, const struct bp_layer *layer,
                              const struct bp_bconv_parts *parts, const float *g) {
    const struct bp_conv_shape *s = parts->shape;
    const struct bp_group *groups = bp_bconv_groups_da(parts->op);
    struct totals totals = {0, 0};
    for (size_t out = 0; out < graph->n * s->h * s->w * s->c; out++) {
        size_t c = out % s->c, pixel = out / s->c, x = pixel % s->w, y = pixel / s->w % s->h;
        size_t n = pixel / s->w / s->h;
        struct linear l = {0};
        if (!bit(layer->in->mask + pixel * bp_words(s->c), c))
            continue;
        for (size_t e = 0; e < s->r * s->r * s->k; e++) {
            size_t k = e % s->k, tx = e / s->k % s->r, ty = e / s->k / s->r;
            size_t oy = (y + s->pad - ty) / s->stride, ox = (x + s->pad - tx) / s->stride;
            if (y + s->pad < ty || x + s->pad < tx || oy >= s->oh || ox >= s->ow ||
                oy * s->stride + ty != y + s->pad || ox * s->stride + tx != x + s->pad)
                continue;
            float value = g[((n * s->oh + oy) * s->ow + ox) * s->k + k];
            struct moments m = moments_of(&graph->config.quant_da, groups, n, k, value);
            float w = parts->weight->value[((k * s->r + ty) * s->r + tx) * s->c + c];
            add_term(&l, &m, w < 0.0f ? -1.0 : 1.0, value);
        }
        totals.variance += variance_of(&l);
        totals.norm += l.exact * l.exact;
    }
    return totals;
}

/* Sample groups add up independently here: they are all kept (psq). */
static struct totals spell_dw(const struct bp_graph *graph, const struct bp_layer *layer,
                              const struct bp_bconv_parts *parts, const float *g) {
    const struct bp_conv_shape *s = parts->shape;
    const struct bp_group *groups = bp_bconv_groups_dw(parts->op);
    struct totals totals = {0, 0};
    for (size_t out = 0; out < parts->weight->count; out++) {
        size_t c = out % s->c, tap = out / s->c % (s->r * s->r), k = out / s->c / (s->r * s->r);
        struct linear l = {0};
        if (!(fabsf(parts->weight->value[out]) < 1.0f))
            continue;
        for (size_t i = 0; i < graph->n * s->oh * s->ow; i++) {
            size_t ox = i % s->ow, oy = i / s->ow % s->oh, n = i / s->ow / s->oh;
            size_t y = oy * s->stride + tap / s->r - s->pad;
            size_t x = ox * s->stride + tap % s->r - s->pad;
            if (y >= s->h || x >= s->w)
                continue;
            size_t at = ((n * (s->h + 2) + y + 1) * (s->w + 2) + x + 1) * bp_words(s->c);
            struct moments m = moments_of(&graph->config.quant_dw, groups, n, k, g[i * s->k + k]);
            add_term(&l, &m, bit(layer->in->bits + at, c) ? -1.0 : 1.0, g[i * s->k + k]);
        }
        if (graph->config.quant_dw.groups == BP_GROUPS_SAMPLE)
            l.p = 1.0;
        totals.variance += variance_of(&l);
        totals.norm += l.exact * l.exact;
    }
    return totals;
}

static void compare(const struct spelled_out *self, const struct bp_layer *layer, const char *what,
                    const struct totals *wanted, const struct bp_product_variance *got) {
    double variance = got->exact * got->norm;
    if (wanted->norm == 0.0) {
        assert_true(isnan(got->exact));
        return;
    }
    if (!(fabs(got->norm - wanted->norm) <= 1e-5 * wanted->norm))
        fail_msg("%s, %s, %s: norm %.9g, not %.9g", self->variant, layer->name, what, got->norm,
                 wanted->norm);
    if (!(fabs(variance - wanted->variance) <= 1e-5 * wanted->variance + 1e-9 * wanted->norm))
        fail_msg("%s, %s, %s: variance %.9g, not %.9g", self->variant, layer->name, what, variance,
                 wanted->variance);
}

static bp_status before(struct bp_backward_observer *observer, struct bp_graph *graph,
                        const struct bp_layer *layer) {
    struct spelled_out *self = (struct spelled_out *)(void *)observer;
    const struct bp_bconv_parts parts = bp_layer_bconv_parts(layer);
    const struct bp_conv_shape *s = parts.shape;
    const struct bp_layer_variance *got =
        &bp_grad_variance_layers(self->variance)[layer->binary_index];
    float *g;
    BP_TRY(self->inner->before(self->inner, graph, layer));
    BP_TRY(bp_alloc_array(&g, graph->n * s->oh * s->ow * s->k, sizeof(float), "a test"));
    bp_grad_source_collect(graph->exec, &layer->out->source, graph->n, s->oh, s->ow * s->k, g);
    double gradient = 0.0, norm = 0.0;
    for (size_t i = 0; i < graph->n * s->oh * s->ow * s->k; i++) {
        struct moments m = moments_of(&graph->config.quant_dw, bp_bconv_groups_dw(parts.op),
                                      i / s->k / s->ow / s->oh, i % s->k, g[i]);
        gradient += m.p > 0.0 ? (m.rounding + m.mean * m.mean) / m.p - m.mean * m.mean : 0.0;
        norm += (double)g[i] * (double)g[i];
    }
    if (norm > 0.0)
        assert_true(fabs(got->dw.gradient * norm - gradient) <= 1e-6 * gradient);
    struct totals da = spell_da(graph, layer, &parts, g), dw = spell_dw(graph, layer, &parts, g);
    compare(self, layer, "dA", &da, &got->da);
    compare(self, layer, "dW", &dw, &got->dw);
    bp_free(g);
    self->compared++;
    return BP_OK;
}

static void test_formulas(void **state) {
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct nn_net net;
        struct spelled_out spelled = {.observer = {before}, .variant = variants[i].name};
        create(&net, &variants[i], 1);
        assert_int_equal(bp_grad_variance_create(&spelled.variance, net.graph, 2, 1), BP_OK);
        bp_grad_variance_begin(spelled.variance);
        spelled.inner = net.graph->observer;
        net.graph->observer = &spelled.observer;
        nn_net_step(&net, BATCH - 1, 0.0f); /* an incomplete batch */
        assert_int_equal(spelled.compared, net.graph->n_binary);
        bp_grad_variance_end(spelled.variance);
        bp_grad_variance_destroy(spelled.variance);
        nn_net_destroy(&net);
    }
}

/* --- the draws -------------------------------------------------------------------------------- */

/* Given the gradient, the mean of empirical / exact is 1. Over many steps its mean must lie within
 * six of its standard errors of 1 (a normal number does so but for 2e-9; the seeds are fixed), and
 * the standard error must be small enough for that to mean something. */
static void expect_one(const char *variant, const char *product, double sum, double squares,
                       double n) {
    double mean = sum / n, variance = (squares - sum * mean) / (n - 1.0);
    double error = sqrt(variance / n);
    if (!(fabs(mean - 1.0) <= 6.0 * error))
        fail_msg("%s, %s: drawn variance / formula = %.4f +- %.4f", variant, product, mean, error);
    assert_true(error < 0.03);
}

static void test_draws(void **state) {
    (void)state;
    enum { STEPS = 40 };
    for (size_t i = 0; i < VARIANTS; i++) {
        struct nn_net net;
        struct bp_grad_variance *variance;
        double sum[2] = {0}, squares[2] = {0}, n[2] = {0};
        create(&net, &variants[i], 1);
        assert_int_equal(bp_grad_variance_create(&variance, net.graph, DRAWS, 1), BP_OK);
        for (int step = 0; step < STEPS; step++) {
            bp_grad_variance_begin(variance);
            nn_net_step(&net, BATCH, 0.0f);
            bp_grad_variance_end(variance);
            const struct bp_layer_variance *layers = bp_grad_variance_layers(variance);
            for (size_t j = 0; j < net.graph->n_binary; j++) {
                const struct bp_product_variance *products[] = {&layers[j].da, &layers[j].dw};
                for (int p = 0; p < 2; p++) {
                    double ratio = products[p]->empirical / products[p]->exact;
                    if (!isfinite(ratio) || products[p]->exact < 1e-9)
                        continue;
                    sum[p] += ratio;
                    squares[p] += ratio * ratio;
                    n[p]++;
                }
            }
        }
        assert_true(n[0] > 100 && n[1] > 100);
        expect_one(variants[i].name, "dA", sum[0], squares[0], n[0]);
        expect_one(variants[i].name, "dW", sum[1], squares[1], n[1]);
        bp_grad_variance_destroy(variance);
        nn_net_destroy(&net);
    }
}

/* --- what else -------------------------------------------------------------------------------- */

static void test_observing_changes_nothing(void **state) {
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct nn_net plain, observed;
        struct bp_grad_variance *variance;
        create(&plain, &variants[i], 1);
        create(&observed, &variants[i], 2);
        assert_int_equal(bp_grad_variance_create(&variance, observed.graph, 2, 0), BP_OK);
        for (int step = 0; step < 3; step++) {
            bp_grad_variance_begin(variance);
            nn_net_step(&observed, BATCH, 0.01f);
            bp_grad_variance_end(variance);
            nn_net_step(&plain, BATCH, 0.01f);
            for (size_t p = 0; p < plain.graph->n_params; p++)
                assert_memory_equal(plain.graph->params[p]->grad, observed.graph->params[p]->grad,
                                    plain.graph->params[p]->count * sizeof(float));
        }
        bp_grad_variance_destroy(variance);
        nn_net_destroy(&observed);
        nn_net_destroy(&plain);
    }
}

static void test_flips(void **state) {
    (void)state;
    struct nn_net net;
    struct bp_grad_variance *variance;
    create(&net, &variants[0], 1);
    assert_int_equal(bp_grad_variance_create(&variance, net.graph, 2, 0), BP_OK);
    const struct bp_layer_variance *layers = bp_grad_variance_layers(variance);
    for (int round = 0; round < 3; round++) {
        bp_grad_variance_begin(variance);
        nn_net_step(&net, BATCH, 0.0f);
        bp_grad_variance_end(variance);
        struct bp_param *weight = nn_net_param(&net, "conv3.weight");
        double quarter = (double)((weight->count + 3) / 4) / (double)weight->count;
        assert_true(round == 0 ? isnan(layers[1].flips)
                               : layers[1].flips == (round == 2 ? quarter : 0.0));
        for (size_t i = 0; i < weight->count; i += 4)
            weight->value[i] = round == 1 ? -weight->value[i] : weight->value[i];
        bp_graph_weights_changed(net.graph);
    }
    bp_grad_variance_destroy(variance);
    nn_net_destroy(&net);
}

static void test_memory(void **state) {
    (void)state;
    struct nn_net net;
    struct bp_grad_variance *variance;
    create(&net, &variants[0], 1);
    long failures = 0;
    for (;; failures++) {
        bp_memory_fail_after(failures);
        bp_status status = bp_grad_variance_create(&variance, net.graph, 2, 1);
        bp_memory_fail_after(-1);
        if (status == BP_OK)
            break;
        assert_int_equal(status, BP_RESOURCE);
        assert_null(variance);
    }
    assert_true(failures > 5);
    long requests = bp_memory_requests();
    bp_grad_variance_begin(variance);
    nn_net_step(&net, BATCH, 0.0f);
    bp_grad_variance_end(variance);
    assert_int_equal(bp_memory_requests(), requests);
    bp_grad_variance_destroy(variance);
    nn_net_destroy(&net);
}

/* The forecast of a network that is only planned is that of the one that is there. */
static void test_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct nn_net net;
        struct bp_exec *exec;
        struct bp_graph *planned;
        size_t bytes, planned_bytes;
        create(&net, &variants[i], 2);
        assert_int_equal(bp_exec_create(&exec, bp_cpu_best(), 2), BP_OK);
        assert_int_equal(bp_graph_plan(&planned, exec, &net.graph->config), BP_OK);
        assert_int_equal(bp_grad_variance_bytes(net.graph, &bytes), BP_OK);
        assert_int_equal(bp_grad_variance_bytes(planned, &planned_bytes), BP_OK);
        assert_int_equal(bytes, planned_bytes);
        size_t largest = 0;
        for (size_t j = 0; j < net.graph->n_layers; j++) {
            if (net.graph->layers[j]->binary_index < 0)
                continue;
            const struct bp_conv_shape *s = bp_layer_bconv_parts(net.graph->layers[j]).shape;
            size_t input = s->n * s->h * s->w * s->c * sizeof(float);
            largest = input > largest ? input : largest;
        }
        assert_true(largest > 0 && bytes > 2 * largest); /* da.exact and da.sum at least */
        bp_graph_destroy(planned);
        bp_exec_destroy(exec);
        nn_net_destroy(&net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_observing_changes_nothing),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
