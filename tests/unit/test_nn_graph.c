/* Whole networks: the same bytes whatever the workers and tiers, forward-only graphs, smaller
 * batches, no allocation after the first step, failures while building, first values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "nn_net.h"

/* Odd sizes, channel counts off the word size, both sizes and both kinds of stems. */
static const struct nn_variant variants[] = {
    {"vgg16", BP_PRECISION_FP32, 35, 0.05, BP_STEM_FP32},
    {"vgg16", BP_PRECISION_QAT, 32, 0.05, BP_STEM_FP32},
    {"vgg16", BP_PRECISION_PSQ, 35, 0.1, BP_STEM_FP32},
    {"vgg16", BP_PRECISION_FQT, 37, 0.15, BP_STEM_8_BIT},
    {"resnet18", BP_PRECISION_FP32, 9, 0.1, BP_STEM_FP32},
    {"resnet18", BP_PRECISION_QAT, 97, 0.03, BP_STEM_FP32},
    {"resnet18", BP_PRECISION_PSQ, 16, 0.15, BP_STEM_8_BIT},
    {"resnet18", BP_PRECISION_FQT, 19, 0.2, BP_STEM_FP32},
    {"resnet18", BP_PRECISION_FQT, 99, 0.03, BP_STEM_8_BIT},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

static void assert_same_values(const struct bp_graph *a, const struct bp_graph *b, int gradients) {
    assert_int_equal(a->n_params, b->n_params);
    assert_int_equal(a->n_running, b->n_running);
    for (size_t i = 0; i < a->n_params; i++) {
        size_t bytes = a->params[i]->count * sizeof(float);
        if (memcmp(a->params[i]->value, b->params[i]->value, bytes) != 0)
            fail_msg("%s differs", a->params[i]->name);
        if (gradients && memcmp(a->params[i]->grad, b->params[i]->grad, bytes) != 0)
            fail_msg("gradient of %s differs", a->params[i]->name);
    }
    for (size_t i = 0; i < a->n_running; i++)
        assert_memory_equal(a->running[i]->value, b->running[i]->value,
                            a->running[i]->count * sizeof(float));
}

/* Two steps of n images, on every tier; on the best one with several numbers of workers. */
static void check_same_bytes(const struct bp_graph_config *config, size_t n) {
    struct nn_net reference;
    nn_net_create(&reference, config, BP_TIER_C, 1);
    double losses[2];
    for (int step = 0; step < 2; step++) {
        nn_net_step(&reference, n, 0.05f);
        losses[step] = reference.loss;
        assert_true(isfinite(reference.loss));
    }
    assert_true(losses[1] != losses[0]);
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (int threads = tier == (int)bp_cpu_best() ? 1 : 3;
             threads <= 3 && bp_cpu_has((enum bp_tier)tier); threads++) {
            struct nn_net net;
            nn_net_create(&net, config, (enum bp_tier)tier, threads);
            for (int step = 0; step < 2; step++) {
                nn_net_step(&net, n, 0.05f);
                assert_true(net.loss == losses[step]);
            }
            assert_same_values(reference.graph, net.graph, 1);
            nn_net_destroy(&net);
        }
    nn_net_destroy(&reference);
}

static void test_same_bytes(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        const struct bp_graph_config config = nn_variant_config(&variants[v]);
        check_same_bytes(&config, 3);
    }
}

/* Codes of 8 bits, all kept: of sums that 16 bits do not hold, as many samples as AVX-512's lookups
 * want, as many positions as dW is rounded at: 2048 and 512. */
static void test_same_bytes_of_8_bits(void **state) {
    (void)state;
    const char *models[] = {"vgg16", "resnet18"};
    for (int i = 0; i < 2; i++) {
        struct bp_graph_config config = nn_config(models[i], BP_PRECISION_FQT, 32, 0.25);
        config.batch = 8;
        config.quant_da.bits = config.quant_dw.bits = 8;
        config.quant_da.keep = config.quant_dw.keep = 1;
        config.quant_da.select = config.quant_dw.select = BP_SELECT_NONE;
        check_same_bytes(&config, 8);
    }
}

/* oneDNN's own path through blocks and workers. */
static void test_same_bytes_default_backend(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        config.backend = bp_fp32_default();
        struct nn_net reference;
        nn_net_create(&reference, &config, bp_cpu_best(), 1);
        nn_net_step(&reference, 3, 0.05f);
        nn_net_step(&reference, 3, 0.05f);
        for (int threads = 2; threads <= 3; threads++) {
            struct nn_net net;
            nn_net_create(&net, &config, bp_cpu_best(), threads);
            nn_net_step(&net, 3, 0.05f);
            nn_net_step(&net, 3, 0.05f);
            assert_true(net.loss == reference.loss);
            assert_same_values(reference.graph, net.graph, 1);
            nn_net_destroy(&net);
        }
        nn_net_destroy(&reference);
    }
}

static void test_forward_only(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        struct nn_net trained, forward;
        nn_net_create(&trained, &config, bp_cpu_best(), 2);
        nn_net_step(&trained, 3, 0.05f);
        nn_net_step(&trained, 3, 0.05f);
        config.training = 0;
        nn_net_create(&forward, &config, bp_cpu_best(), 2);
        nn_net_copy(&forward, &trained);
        nn_net_eval(&trained, 3);
        nn_net_eval(&forward, 3);
        assert_memory_equal(trained.graph->logits->f32, forward.graph->logits->f32,
                            3 * 5 * sizeof(float));
        assert_memory_equal(trained.graph->probabilities, forward.graph->probabilities,
                            3 * 5 * sizeof(float));
        assert_true(trained.loss == forward.loss && trained.correct == forward.correct);
        assert_null(forward.graph->params[0]->grad);
        assert_true(bp_plan_bytes(forward.graph->step_plan) <
                    bp_plan_bytes(trained.graph->step_plan));
        assert_true(bp_plan_bytes(forward.graph->model_plan) <
                    bp_plan_bytes(trained.graph->model_plan) / 3);
        nn_net_destroy(&forward);
        nn_net_destroy(&trained);
    }
}

/* Evaluation between two steps changes nothing of the training. */
static void test_evaluation_between_steps(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        struct nn_net plain, disturbed;
        nn_net_create(&plain, &config, bp_cpu_best(), 2);
        nn_net_create(&disturbed, &config, bp_cpu_best(), 2);
        nn_net_step(&plain, 3, 0.05f);
        nn_net_step(&plain, 3, 0.05f);
        nn_net_step(&disturbed, 3, 0.05f);
        nn_net_eval(&disturbed, 2);
        nn_net_eval(&disturbed, 3);
        nn_net_step(&disturbed, 3, 0.05f);
        assert_same_values(plain.graph, disturbed.graph, 1);
        nn_net_destroy(&plain);
        nn_net_destroy(&disturbed);
    }
}

/* What is forecast is what creation takes, buffer by buffer, and planning takes none of it. */
static void test_plan_is_creation(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        config.backend = bp_fp32_default();
        config.share_gradients = v % 2 == 0;
        struct nn_net created;
        struct bp_exec *exec;
        struct bp_graph *planned;
        nn_net_create(&created, &config, bp_cpu_best(), 3);
        assert_int_equal(bp_exec_create(&exec, bp_cpu_best(), 3), BP_OK);
        assert_int_equal(bp_graph_plan(&planned, exec, &config), BP_OK);
        const struct bp_plan *a = created.graph->step_plan, *b = planned->step_plan;
        assert_int_equal(bp_plan_bytes(a), bp_plan_bytes(b));
        assert_int_equal(bp_plan_bytes(created.graph->model_plan),
                         bp_plan_bytes(planned->model_plan));
        assert_int_equal(created.exec->scratch_bytes, exec->scratch_bytes);
        assert_int_equal(bp_plan_count(a), bp_plan_count(b));
        for (size_t i = 0; i < bp_plan_count(a); i++)
            assert_int_equal(bp_plan_entry_at(a, i)->offset, bp_plan_entry_at(b, i)->offset);
        assert_true(bp_plan_bytes(b) > 0 && bp_plan_bytes(planned->model_plan) > 0);
        assert_true(planned->params[0]->value == NULL && planned->input->data == NULL);
        assert_null(exec->scratch);
        bp_graph_destroy(planned);
        bp_exec_destroy(exec);
        nn_net_destroy(&created);
    }
}

static const struct bp_plan_entry *entry_of(const struct bp_graph *graph, const char *name) {
    for (size_t i = 0; i < bp_plan_count(graph->step_plan); i++) {
        const struct bp_plan_entry *entry = bp_plan_entry_at(graph->step_plan, i);
        if (strcmp(entry->name, name) == 0)
            return entry;
    }
    fail_msg("no buffer %s", name);
    return NULL;
}

/* What a quantized convolution's codes are made from makes room for the gradient that its products
 * write; float products read until they have written. */
static void test_codes_come_first(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        int quantized =
            config.precision == BP_PRECISION_FQT || config.precision == BP_PRECISION_PSQ;
        struct nn_net net;
        nn_net_create(&net, &config, BP_TIER_C, 1);
        for (size_t i = 0; i < net.graph->n_layers; i++) {
            const struct bp_layer *layer = net.graph->layers[i];
            char name[128];
            if (layer->binary_index < 0 || !layer->in->needs_grad)
                continue;
            snprintf(name, sizeof name, "%s gradient", layer->in->name);
            assert_int_equal(entry_of(net.graph, name)->first, layer->backward_time + quantized);
            assert_int_equal(entry_of(net.graph, layer->out->name)->last, layer->backward_time);
            assert_true(entry_of(net.graph, layer->in->name)->last >=
                        layer->backward_time + quantized);
        }
        nn_net_destroy(&net);
    }
}

/* A batch smaller than planned, after a full one, is as in a graph planned for it. */
static void test_smaller_batch(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        struct nn_net exact, larger;
        config.batch = 2;
        nn_net_create(&exact, &config, bp_cpu_best(), 2);
        config.batch = 5;
        nn_net_create(&larger, &config, bp_cpu_best(), 2);
        nn_net_step(&larger, 5, 0.05f);
        nn_net_copy(&exact, &larger);
        exact.graph->step = larger.graph->step;
        nn_net_step(&exact, 2, 0.05f);
        nn_net_step(&larger, 2, 0.05f);
        assert_true(exact.loss == larger.loss);
        assert_same_values(exact.graph, larger.graph, 1);
        nn_net_destroy(&exact);
        nn_net_destroy(&larger);
    }
}

static void test_no_allocation(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++)
        for (int backend = 0; backend < 2; backend++) {
            struct bp_graph_config config = nn_variant_config(&variants[v]);
            config.backend = backend ? bp_fp32_default() : BP_FP32_PLAIN;
            struct nn_net net;
            nn_net_create(&net, &config, bp_cpu_best(), 2);
            nn_net_step(&net, 3, 0.05f);
            long before = bp_memory_requests();
            nn_net_step(&net, 3, 0.05f);
            nn_net_step(&net, 2, 0.05f);
            nn_net_eval(&net, 3);
            assert_int_equal(bp_memory_requests(), before);
            nn_net_destroy(&net);
        }
}

static void test_allocation_failure(void **state) {
    (void)state;
    for (size_t v = 0; v < VARIANTS; v++) {
        struct bp_graph_config config = nn_variant_config(&variants[v]);
        config.backend = bp_fp32_default();
        config.height = config.width_px = config.model[0] == 'v' ? 32 : 8;
        config.width = 0.02;
        config.batch = 1;
        struct bp_exec *exec;
        assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
        long allowed = 0;
        for (;; allowed++) {
            struct bp_graph *graph;
            bp_memory_fail_after(allowed);
            bp_status status = bp_graph_create(&graph, exec, &config);
            bp_memory_fail_after(-1);
            bp_graph_destroy(graph);
            if (status == BP_OK)
                break;
            assert_int_equal(status, BP_RESOURCE);
            assert_null(graph);
        }
        assert_true(allowed > 100);
        bp_exec_destroy(exec);
    }
}

static void refuse(const struct bp_graph_config *config, const char *word) {
    struct bp_exec *exec;
    struct bp_graph *graph;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
    assert_int_equal(bp_graph_create(&graph, exec, config), BP_USAGE);
    assert_null(graph);
    if (strstr(bp_status_message(), word) == NULL)
        fail_msg("'%s' does not name '%s'", bp_status_message(), word);
    bp_exec_destroy(exec);
}

static void test_refuses(void **state) {
    (void)state;
    struct bp_graph_config config = nn_config("vgg16", BP_PRECISION_FP32, 31, 0.1);
    refuse(&config, "small");
    config = nn_config("vgg11", BP_PRECISION_FP32, 32, 0.1);
    refuse(&config, "vgg11");
    config = nn_config("resnet18", BP_PRECISION_FP32, 32, 0.001);
    refuse(&config, "width");
    config = nn_config("resnet18", BP_PRECISION_FP32, 32, 0.1);
    config.batch = 0;
    refuse(&config, "batch");
    config.batch = 1;
    config.classes = 0;
    refuse(&config, "classes");
    config.classes = 2;
    config.channels = 4; /* mean and deviation have three */
    refuse(&config, "channels");
}

static void test_input(void **state) {
    (void)state;
    for (size_t channels = 1; channels <= 3; channels += 2) {
        struct bp_graph_config config = nn_config("resnet18", BP_PRECISION_FP32, 8, 0.05);
        config.width_px = 11;
        config.channels = channels;
        struct nn_net net;
        nn_net_create(&net, &config, BP_TIER_C, 2);
        bp_graph_set_input(net.graph, 3, net.images);
        for (size_t i = 0; i < 3 * 8 * 11 * channels; i++) {
            double mean = (double)config.mean[i % channels];
            double deviation = (double)config.deviation[i % channels];
            double x = ((double)net.images[i] / 255 - mean) / deviation;
            assert_true(fabs((double)net.graph->input->f32[i] - x) < 1e-6);
        }
        nn_net_destroy(&net);
        config.stem = BP_STEM_8_BIT; /* the pixels as they are */
        nn_net_create(&net, &config, BP_TIER_C, 2);
        bp_graph_set_input(net.graph, 3, net.images);
        assert_memory_equal(net.graph->input->u8, net.images, 3 * 8 * 11 * channels);
        nn_net_destroy(&net);
    }
}

/* Stems in 8 bits of 3x3 taps are not stored on AVX-512, in training or not. */
static void test_stem_output(void **state) {
    (void)state;
    for (size_t v = 0; v < 2 * VARIANTS; v++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
            struct bp_graph_config config = nn_variant_config(&variants[v / 2]);
            struct nn_net net;
            if (!bp_cpu_has((enum bp_tier)tier))
                continue;
            config.training = v % 2 == 0;
            nn_net_create(&net, &config, (enum bp_tier)tier, 1);
            int small = config.model[0] == 'v' || config.height < 96;
            assert_int_equal(net.graph->layers[0]->out->data == NULL,
                             config.stem == BP_STEM_8_BIT && small &&
                                 (tier == BP_TIER_AVX512 || tier == BP_TIER_AMX));
            nn_net_destroy(&net);
        }
}

static void check_spread(const struct bp_param *param, double deviation) {
    double sum = 0, squares = 0, count = (double)param->count;
    for (size_t i = 0; i < param->count; i++) {
        sum += (double)param->value[i];
        squares += (double)param->value[i] * (double)param->value[i];
    }
    double limit = 5 * deviation / sqrt(count); /* five standard errors */
    if (fabs(sum / count) > limit || fabs(sqrt(squares / count) - deviation) > limit)
        fail_msg("%s: mean %g, deviation %g, expected %g", param->name, sum / count,
                 sqrt(squares / count), deviation);
}

static void check_constant(const struct nn_net *net, const char *name, float value) {
    const struct bp_param *param = nn_net_param(net, name);
    for (size_t i = 0; i < param->count; i++)
        assert_true(param->value[i] == value);
    assert_true(param->flags & BP_PARAM_NO_DECAY);
}

static void test_first_values(void **state) {
    (void)state;
    struct bp_graph_config config = nn_config("resnet18", BP_PRECISION_FQT, 16, 0.25);
    struct nn_net net, again, other;
    nn_net_create(&net, &config, BP_TIER_C, 2);
    nn_net_create(&again, &config, BP_TIER_C, 1);
    assert_same_values(net.graph, again.graph, 0);
    config.seed = 2;
    nn_net_create(&other, &config, BP_TIER_C, 1);
    size_t latent = 0;
    for (size_t i = 0; i < net.graph->n_params; i++) {
        const struct bp_param *param = net.graph->params[i];
        if (param->n_dims == 1)
            continue;
        assert_memory_not_equal(param->value, other.graph->params[i]->value,
                                param->count * sizeof(float));
        size_t fan_in = param->count / param->dims[0];
        int head = (param->flags & BP_PARAM_HEAD) != 0;
        if (!(param->flags & BP_PARAM_LATENT)) {
            check_spread(param, sqrt((head ? 1.0 : 2.0) / (double)fan_in));
            continue;
        }
        latent++;
        for (size_t j = 0; j < param->count; j++) /* inside the straight-through window */
            assert_true(fabsf(param->value[j]) < 1.0f);
    }
    assert_int_equal(latent, 16);
    assert_int_equal(net.graph->n_binary, 16);
    check_constant(&net, "stage1.block1.norm1.weight", 1.0f);
    check_constant(&net, "stage1.block1.norm1.bias", 0.0f);
    check_constant(&net, "stage4.block2.act2.alpha", 1.0f);
    check_constant(&net, "stage4.block2.act2.slope", 0.25f);
    check_constant(&net, "head.bias", 0.0f);
    assert_int_equal(nn_net_param(&net, "head.weight")->n_dims, 2);
    assert_int_equal(nn_net_param(&net, "stage2.block1.shortcut.conv.weight")->dims[1], 1);
    nn_net_destroy(&net);
    nn_net_destroy(&again);
    nn_net_destroy(&other);
}

static enum bp_tensor_kind kind_of_shortcut(enum bp_precision precision,
                                            enum bp_shortcut shortcut) {
    struct bp_graph_config config = nn_config("resnet18", precision, 32, 0.1);
    struct nn_net net;
    config.shortcut = shortcut;
    nn_net_create(&net, &config, BP_TIER_C, 1);
    size_t i = 0;
    while (strcmp(net.graph->tensors[i]->name, "stage3.block1.shortcut.pool") != 0)
        assert_true(++i < net.graph->n_tensors);
    enum bp_tensor_kind kind = net.graph->tensors[i]->kind;
    nn_net_destroy(&net);
    return kind;
}

static void test_shortcut(void **state) {
    (void)state;
    for (int p = BP_PRECISION_FP32; p <= BP_PRECISION_FQT; p++) {
        enum bp_precision precision = (enum bp_precision)p;
        int floats = precision == BP_PRECISION_FP32 || precision == BP_PRECISION_QAT;
        assert_int_equal(kind_of_shortcut(precision, BP_SHORTCUT_BY_PRECISION),
                         floats ? BP_TENSOR_F32 : BP_TENSOR_BF16);
        assert_int_equal(kind_of_shortcut(precision, BP_SHORTCUT_FP32), BP_TENSOR_F32);
        assert_int_equal(kind_of_shortcut(precision, BP_SHORTCUT_16_BIT), BP_TENSOR_BF16);
    }
}

static const float *running(const struct nn_net *net, const char *name) {
    for (size_t i = 0; i < net->graph->n_running; i++)
        if (strcmp(net->graph->running[i]->name, name) == 0)
            return net->graph->running[i]->value;
    fail_msg("no %s", name);
    return NULL;
}

/* Whatever the stem's output is kept in, its norm sees the values: statistics of one step, of which
 * a tenth enters the running ones, are those of floats but for the rounding of the weights. */
static void test_stem_values(void **state) {
    (void)state;
    for (size_t size = 32; size <= 96; size += 64) {
        const struct nn_variant v = {"resnet18", BP_PRECISION_FQT, size, 0.25, BP_STEM_FP32};
        struct bp_graph_config config = nn_variant_config(&v);
        struct nn_net floats, bytes;
        nn_net_create(&floats, &config, bp_cpu_best(), 2);
        config.stem = BP_STEM_8_BIT;
        nn_net_create(&bytes, &config, bp_cpu_best(), 2);
        nn_net_step(&floats, 3, 0.0f);
        nn_net_step(&bytes, 3, 0.0f);
        const float *mean[2] = {running(&floats, "stem.norm.running_mean"),
                                running(&bytes, "stem.norm.running_mean")};
        const float *var[2] = {running(&floats, "stem.norm.running_var"),
                               running(&bytes, "stem.norm.running_var")};
        for (size_t j = 0; j < 16; j++) {
            float variance = var[0][j] - 0.9f;
            assert_true(fabsf(var[1][j] - var[0][j]) <= 0.1f * variance);
            assert_true(fabsf(mean[1][j] - mean[0][j]) <= 0.1f * 0.1f * sqrtf(10.0f * variance));
        }
        nn_net_destroy(&floats);
        nn_net_destroy(&bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_same_bytes_of_8_bits),
        cmocka_unit_test(test_same_bytes_default_backend),
        cmocka_unit_test(test_forward_only),
        cmocka_unit_test(test_evaluation_between_steps),
        cmocka_unit_test(test_plan_is_creation),
        cmocka_unit_test(test_codes_come_first),
        cmocka_unit_test(test_smaller_batch),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_stem_output),
        cmocka_unit_test(test_first_values),
        cmocka_unit_test(test_shortcut),
        cmocka_unit_test(test_stem_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
