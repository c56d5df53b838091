/* Gradients that share their memory are handed out layer by layer: the same bytes as in a graph
 * that keeps them, whatever the updater does to the weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "nn_net.h"

static const struct nn_variant variants[] = {
    {"vgg16", BP_PRECISION_FP32, 35, 0.05, BP_STEM_FP32},
    {"vgg16", BP_PRECISION_PSQ, 35, 0.1, BP_STEM_FP32},
    {"vgg16", BP_PRECISION_FQT, 37, 0.15, BP_STEM_8_BIT},
    {"resnet18", BP_PRECISION_QAT, 97, 0.03, BP_STEM_FP32},
    {"resnet18", BP_PRECISION_FQT, 19, 0.2, BP_STEM_FP32},
    {"resnet18", BP_PRECISION_FQT, 99, 0.03, BP_STEM_8_BIT},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* Looks at the gradients when they are handed out, compares them with those of a graph that keeps
 * all, and changes everything that an updater may change. */
struct taker {
    struct bp_param_updater base;
    const struct bp_graph *kept, *shared;
    int next, stop; /* layers: that has to come; after which the pass is to end */
};

static int of_sums; /* gradients that were integers */

static void same_gradient(const struct bp_param *kept, const struct bp_param *shared) {
    struct bp_kernels kernels;
    float *made = NULL;
    bp_kernels_init(&kernels, bp_cpu_best());
    if (shared->grad_is_sums) {
        of_sums++;
        assert_int_equal(bp_alloc_array(&made, shared->count, sizeof(float), "test"), BP_OK);
        bp_param_gradient(shared, &kernels, 0, shared->count, made);
    }
    size_t rows = shared->grad_zero != NULL ? shared->dims[0] : 1, row = kept->count / rows;
    for (size_t i = 0; i < rows; i++) {
        const float *a = kept->grad + i * row, *b = (made != NULL ? made : shared->grad) + i * row;
        int zero = shared->grad_zero != NULL && shared->grad_zero[i];
        for (size_t j = 0; zero && j < row; j++)
            assert_true(a[j] == 0.0f);
        if (!zero && memcmp(a, b, row * sizeof *a) != 0)
            fail_msg("gradient of %s differs", kept->name);
    }
    bp_free(made);
}

/* Small enough for the next loss to be finite. */
static void change(struct bp_param *param) {
    for (size_t i = 0; i < param->count; i++)
        param->value[i] *= i % 3 == 0 ? -0.5f : 1.25f;
}

static int take_gradients(struct bp_param_updater *base, const struct bp_layer *layer) {
    struct taker *taker = (struct taker *)(void *)base;
    assert_int_equal(layer->index, taker->next--);
    for (size_t i = 0; i < taker->shared->n_params; i++) {
        struct bp_param *param = taker->shared->params[i];
        if ((int)param->layer != layer->index)
            continue;
        assert_int_equal(param->grad_shared, param->n_dims > 1);
        same_gradient(taker->kept->params[i], param);
        if (!param->grad_shared)
            continue;
        memset(param->grad, 0xff, param->count * sizeof(float));
        change(param);
    }
    return layer->index != taker->stop;
}

static size_t bytes_of(const struct bp_graph *graph) {
    return bp_plan_bytes(graph->model_plan) + bp_plan_bytes(graph->step_plan);
}

static void test_shared_gradients(void **state) {
    (void)state;
    for (size_t i = 0; i < 2 * VARIANTS; i++) {
        struct bp_graph_config config = nn_variant_config(&variants[i / 2]);
        struct nn_net kept, shared;
        config.freeze_body = i % 2;
        if (variants[i / 2].width > 0.1) /* so many that dW is looked up, where it gives integers */
            config.batch = 16;
        nn_net_create(&kept, &config, bp_cpu_best(), 2);
        config.share_gradients = 1;
        nn_net_create(&shared, &config, bp_cpu_best(), 2);
        assert_true(bytes_of(shared.graph) < bytes_of(kept.graph));
        struct taker taker = {{take_gradients}, kept.graph, shared.graph, 0, -1};
        shared.updater = &taker.base;
        for (int step = 0; step < 3; step++) {
            nn_net_step(&kept, 3, 0.0f);
            taker.next = (int)shared.graph->n_layers - 1;
            nn_net_step(&shared, 3, 0.0f);
            assert_true(isfinite(kept.loss) && kept.loss == shared.loss);
            assert_int_equal(taker.next, (int)shared.graph->first_trained - 1);
            for (size_t p = 0; p < kept.graph->n_params; p++) {
                struct bp_param *param = kept.graph->params[p];
                assert_true(!param->grad_shared);
                if (param->layer < kept.graph->first_trained)
                    continue;
                if (param->n_dims > 1)
                    change(param);
                else /* is there until the next step */
                    same_gradient(param, shared.graph->params[p]);
            }
            bp_graph_weights_changed(kept.graph);
            bp_graph_weights_changed(shared.graph);
        }
        nn_net_destroy(&kept);
        nn_net_destroy(&shared);
    }
    assert_true(of_sums > 0 || bp_cpu_best() != BP_TIER_AVX512);
}

static void test_updater_ends_the_pass(void **state) {
    (void)state;
    struct bp_graph_config config = nn_variant_config(&variants[2]);
    struct nn_net kept, shared;
    nn_net_create(&kept, &config, bp_cpu_best(), 1);
    config.share_gradients = 1;
    nn_net_create(&shared, &config, bp_cpu_best(), 1);
    int last = (int)shared.graph->n_layers - 1;
    struct taker taker = {{take_gradients}, kept.graph, shared.graph, last, last - 3};
    shared.updater = &taker.base;
    nn_net_step(&kept, 3, 0.0f);
    nn_net_step(&shared, 3, 0.0f);
    assert_int_equal(taker.next, last - 4);
    nn_net_destroy(&kept);
    nn_net_destroy(&shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_gradients),
        cmocka_unit_test(test_updater_ends_the_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
