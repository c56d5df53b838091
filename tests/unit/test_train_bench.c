/* bench: the arithmetic of rates and means, and that the counts of real layers are those of the
 * network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "train/bench_layers.h"
#include "train/rounds.h"

static void near(double value, double wanted) {
    if (!(value > wanted - 1e-9 * wanted - 1e-12 && value < wanted + 1e-9 * wanted + 1e-12))
        fail_msg("%.17g, not %.17g", value, wanted);
}

static void test_median(void **state) {
    (void)state;
    double one[] = {3}, odd[] = {9, 1, 4}, even[] = {8, 1, 2, 5};
    near(bp_rounds_median(one, 1), 3);
    near(bp_rounds_median(odd, 3), 4);
    near(bp_rounds_median(even, 4), 3.5);
}

static void test_rate(void **state) {
    (void)state;
    bp_bench_product product = {.ms = 2, .gmac = 3, .ceiling = 2000};
    bp_bench_product_rate(&product);
    near(product.gmac_per_s, 1500);
    near(product.share, 0.75);
    product.ceiling = 0; /* no loop, no share */
    bp_bench_product_rate(&product);
    near(product.gmac_per_s, 1500);
    near(product.share, 0);
    product.ms = 0;
    bp_bench_product_rate(&product);
    near(product.gmac_per_s, 0);
}

static void test_mean(void **state) {
    (void)state;
    bp_bench_layer layers[2] = {{.count = 1}, {.count = 3}};
    bp_bench_product mean;
    layers[0].products[1] = (bp_bench_product){.method = "lookup",
                                               .ms = 2,
                                               .gmac = 6,
                                               .gmac_needed = 5,
                                               .ceiling = 4000,
                                               .ceiling_mean = 3000};
    layers[1].products[1] = (bp_bench_product){.method = "lookup",
                                               .ms = 2,
                                               .gmac = 2,
                                               .gmac_needed = 1,
                                               .ceiling = 4000,
                                               .ceiling_mean = 1000};
    bp_bench_product_rate(&layers[0].products[1]); /* 3000, 0.75 */
    bp_bench_product_rate(&layers[1].products[1]); /* 1000, 0.25 */
    bp_bench_layers_mean(layers, 2, 1, &mean);
    assert_string_equal(mean.method, "lookup");
    near(mean.ms, 8);
    near(mean.gmac, 12);
    near(mean.gmac_needed, 8);
    near(mean.gmac_per_s, 2000); /* half of the work at either rate */
    near(mean.ceiling, 4000);
    near(mean.ceiling_mean, 2000);
    near(mean.share, 0.5);
    layers[1].products[1].method = "nonzero";
    bp_bench_layers_mean(layers, 2, 1, &mean);
    assert_string_equal(mean.method, "mixed");
    layers[0].products[1].gmac = layers[1].products[1].gmac = 0;
    bp_bench_layers_mean(layers, 2, 1, &mean);
    near(mean.gmac_per_s, 0);
    near(mean.share, 0);
}

/* VGG-16: every layer of the table once or more, twelve in all, and the multiply-adds that follow
 * from their sizes. */
static void test_layers(void **state) {
    (void)state;
    static const char *const options[][2] = {{"width", "0.0625"},
                                             {"batch", "8"},
                                             {"rounds", "2"},
                                             {"threads", "1"},
                                             {"preset", "balanced"}};
    static bp_bench_layers_result r;
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        assert_int_equal(bp_config_set(config, options[i][0], options[i][1], "test"), BP_OK);
    assert_int_equal(bp_bench_layers(config, &r), BP_OK);
    bp_config_destroy(config);
    size_t count = 0;
    double gmac[BP_BENCH_PRODUCTS] = {0};
    for (size_t i = 0; i < r.n_layers; i++) {
        const bp_bench_layer *layer = &r.layers[i];
        double taps = 9e-9 * 8 * (double)(layer->h * layer->w * layer->c * layer->k);
        double inside = 1e-9 * 8 * (double)((3 * layer->h - 2) * (3 * layer->w - 2)) *
                        (double)(layer->c * layer->k);
        for (size_t j = 0; j < i; j++)
            assert_false(layer->h == r.layers[j].h && layer->c == r.layers[j].c &&
                         layer->k == r.layers[j].k);
        for (int p = 0; p < BP_BENCH_PRODUCTS; p++) {
            assert_true(layer->products[p].ms > 0);
            near(layer->products[p].gmac_needed, layer->products[0].gmac_needed); /* all kept */
            gmac[p] += (double)layer->count * layer->products[p].gmac;
        }
        for (int p = 0; p < BP_BENCH_PRODUCTS; p++) /* of tiles: test_ops_bconv_work */
            assert_true(layer->products[p].gmac > 0.999999 * inside &&
                        layer->products[p].gmac < 1.000001 * taps);
        if (strcmp(layer->products[0].method, "tiles") != 0)
            near(layer->products[0].gmac, layer->h > 4 ? taps : inside);
        if (strcmp(layer->products[1].method, "tiles") != 0)
            near(layer->products[1].gmac, inside);
        near(layer->products[0].gmac_needed, inside);
        count += layer->count;
    }
    assert_int_equal(count, 12);
    for (int p = 0; p < BP_BENCH_PRODUCTS; p++)
        near(r.mean[p].gmac, gmac[p]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median),
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_mean),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
