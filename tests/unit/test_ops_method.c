/* Which method multiplies what: the table of docs/KERNELS.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/product_method.h"

static void test_forward(void **state) {
    (void)state;
    assert_int_equal(bp_product_method_forward(BP_TIER_C), BP_PRODUCT_BITS);
    assert_int_equal(bp_product_method_forward(BP_TIER_AVX2), BP_PRODUCT_LOOKUP);
    assert_int_equal(bp_product_method_forward(BP_TIER_AVX512), BP_PRODUCT_BITS);
    assert_int_equal(bp_product_method_forward(BP_TIER_AMX), BP_PRODUCT_TILES);
    assert_int_equal(bp_product_method_forward(BP_TIER_NEON), BP_PRODUCT_BITS);
}

static void test_gradient(void **state) {
    (void)state;
    static const int bits[] = {1, 2, 3, 4, 8};
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        assert_int_equal(bp_product_method_gradient(BP_TIER_C, bits[i]), BP_PRODUCT_BITS);
        assert_int_equal(bp_product_method_gradient(BP_TIER_AVX2, bits[i]), BP_PRODUCT_LOOKUP);
        assert_int_equal(bp_product_method_gradient(BP_TIER_AMX, bits[i]), BP_PRODUCT_TILES);
        enum bp_product_method expected = bits[i] == 1 ? BP_PRODUCT_BITS : BP_PRODUCT_LOOKUP;
        assert_int_equal(bp_product_method_gradient(BP_TIER_AVX512, bits[i]), expected);
        assert_int_equal(bp_product_method_gradient(BP_TIER_NEON, bits[i]), expected);
    }
}

static void test_weights(void **state) {
    (void)state;
    for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++)
        for (size_t batch = 1; batch <= 16; batch++) {
            enum bp_product_method expected = bp_product_method_gradient((enum bp_tier)tier, 4);
            if (tier == BP_TIER_AVX512 && batch < 8)
                expected = BP_PRODUCT_BITS;
            assert_int_equal(bp_product_method_weights((enum bp_tier)tier, 4, batch, 1024 * batch),
                             expected);
        }
    assert_int_equal(bp_product_method_weights(BP_TIER_AVX512, 1, 128, 4096), BP_PRODUCT_BITS);
    /* Sums of tiles have 32 bits. */
    const size_t most = INT32_MAX / 255;
    assert_int_equal(bp_product_method_weights(BP_TIER_AMX, 8, 128, most), BP_PRODUCT_TILES);
    assert_int_equal(bp_product_method_weights(BP_TIER_AMX, 8, 128, most + 1), BP_PRODUCT_LOOKUP);
    assert_int_equal(bp_product_method_weights(BP_TIER_AMX, 8, 4, most + 1), BP_PRODUCT_BITS);
}

static void test_zeros(void **state) {
    (void)state;
    /* 0.3 bits a code pay from four words of channels on, 0.2 from two, 0.05 from one; 0.8 never.
     */
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 2, 32768, 1, 0.02, 3, 0.33));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 4, 32768, 1, 0.02, 3, 0.3));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 1, 32768, 1, 0.02, 3, 0.2));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 2, 32768, 1, 0.02, 3, 0.2));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 1, 32768, 1, 0.02, 3, 0.05));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 8, 32768, 1, 0.02, 3, 0.45));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 8, 32768, 1, 0.02, 3, 0.8));
    /* Behind a pooling, where 0.09 are set, so do many positions of one word. */
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 1, 131072, 1, 1.0 / 64, 3, 0.09));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 1, 131072, 1, 1.0 / 64, 3, 0.15));
    /* 8 samples take as many lookups as 16. */
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 1, 32768, 2, 0.02, 3, 0.2));
    /* Few positions do not make up for the end of a count. */
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AVX512, 3, 8, 100, 1, 0.02, 3, 0.1));
    /* Tiles cost little a code, but signs are spread for all, however few are kept. */
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 1, 131072, 1, 1.0 / 64, 3, 0.33));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 1, 131072, 1, 1.0 / 16, 3, 0.135));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 1, 131072, 1, 1.0 / 16, 3, 0.03));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 8, 2048, 1, 1.0 / 512, 3, 0.55));
    assert_true(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 4, 2048, 1, 4.0 / 128, 3, 0.14));
    assert_false(bp_product_zeros_pay_weights(BP_TIER_AMX, 3, 4, 512, 1, 4.0 / 128, 3, 0.19));
    /* dA: 0.45 bits a code pay from four words of channels on, 0.1 from one. */
    const enum bp_tier avx512 = BP_TIER_AVX512;
    assert_true(bp_product_zeros_pay_activations(avx512, 512, 2048, 3, 6.25, 8, 1, 3, 0.45));
    assert_false(bp_product_zeros_pay_activations(avx512, 512, 2048, 3, 6.25, 8, 1, 3, 0.9));
    assert_true(bp_product_zeros_pay_activations(avx512, 256, 8192, 3, 7.5, 4, 1, 3, 0.45));
    assert_false(bp_product_zeros_pay_activations(avx512, 256, 8192, 3, 7.5, 2, 1, 3, 0.45));
    assert_true(bp_product_zeros_pay_activations(avx512, 128, 32768, 3, 8.3, 2, 1, 3, 0.1));
    assert_true(bp_product_zeros_pay_activations(avx512, 64, 131072, 3, 8.7, 1, 1, 3, 0.07));
    assert_false(bp_product_zeros_pay_activations(avx512, 64, 131072, 3, 8.7, 1, 1, 3, 0.2));
    /* For few pixels the rows of signs are not made. */
    assert_false(bp_product_zeros_pay_activations(avx512, 512, 16, 3, 6.25, 8, 1, 3, 0.1));
    /* One tap is little work beside the lists. */
    assert_true(bp_product_zeros_pay_activations(avx512, 512, 8192, 1, 1, 4, 1, 3, 0.03));
    assert_false(bp_product_zeros_pay_activations(avx512, 512, 8192, 1, 1, 4, 1, 3, 0.25));
    /* Codes of 8 bits have more digits, and more than one lookup. */
    assert_true(bp_product_zeros_pay_weights(avx512, 3, 2, 32768, 2, 0.02, 8, 0.5));
    assert_false(bp_product_zeros_pay_weights(avx512, 3, 2, 32768, 1.3, 0.02, 8, 0.5));
    assert_false(bp_product_zeros_pay_weights(avx512, 3, 2, 32768, 2, 0.02, 8, 0.8));
    assert_false(bp_product_zeros_pay_weights(avx512, 3, 1, 131072, 2, 1.0 / 64, 8, 0.5));
    assert_true(bp_product_zeros_pay_activations(avx512, 256, 8192, 3, 7.5, 4, 2, 8, 0.5));
    assert_false(bp_product_zeros_pay_activations(avx512, 256, 8192, 3, 7.5, 4, 2, 8, 1.9));
    assert_false(bp_product_zeros_pay_activations(avx512, 64, 131072, 3, 8.7, 1, 2, 8, 0.5));
    /* Not measured on the others. */
    for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++) {
        if (tier == BP_TIER_AVX512)
            continue;
        assert_false(
            bp_product_zeros_pay_activations((enum bp_tier)tier, 512, 2048, 3, 6.25, 8, 1, 3, 0.1));
        if (tier != BP_TIER_AMX)
            assert_false(
                bp_product_zeros_pay_weights((enum bp_tier)tier, 3, 8, 32768, 1, 0.02, 3, 0.1));
    }
}

/* Wide tables unless they would leave out too much. */
static void test_lookup_passes(void **state) {
    (void)state;
    assert_true(bp_product_lookup_passes(4, 0.5) == 1);
    assert_true(bp_product_lookup_passes(8, 0) < 2);
    assert_true(bp_product_lookup_passes(8, 0.005) < 2);
    assert_true(bp_product_lookup_passes(8, 0.02) == 2);
    assert_true(bp_product_lookup_passes(8, 1) == 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup_passes), cmocka_unit_test(test_forward),
        cmocka_unit_test(test_gradient),      cmocka_unit_test(test_weights),
        cmocka_unit_test(test_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
