/* The gradient quantizers as random numbers: the mean of G^ is G, its variance is the formula of
 * docs/METHOD.md, and what is biased is biased as documented. G^ is read out of the backward pass
 * of a binary convolution (quant_observer.h); bounds are computed (quant_series.h, stat_bounds.h).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/quant_series.h"

/* Elements whose mean is not g, beyond every doubt. */
static size_t count_biased(const struct quant_series *s) {
    size_t count = 0;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        struct stat_law law = quant_law_of_element(s, i);
        double bound = stat_bound(law.variance, law.largest, s->draws) + law.slack;
        count += fabs(s->sum[i] / s->draws - (double)s->o->g[i]) > bound;
    }
    return count;
}

/* --- unbiased quantizers ---------------------------------------------------------------------- */

static const int all_bits[] = {1, 2, 3, 4, 8};
enum { BITS = sizeof all_bits / sizeof all_bits[0], GRIDS = 3, DRAWS = 1500 };

/* Every grid with every number of bits, both kinds of groups; nothing pruned, exact elements. */
static void test_rounding(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    for (int i = 0; i < BITS * GRIDS * 2; i++) {
        struct bp_quant quant = {.bits = all_bits[i % BITS], .keep = 1.0f};
        quant.grid = (enum bp_quant_grid_kind)(i / BITS % GRIDS);
        quant.groups = (enum bp_quant_groups)(i / BITS / GRIDS);
        if (quant.grid == BP_GRID_ZERO && quant.bits == 1)
            continue;
        observer_create(&o, &quant);
        quant_fill_exact(&quant, 0.0f, o.g);
        quant_observe(&o, series, 1, 100 + (uint64_t)i, DRAWS);
        quant_check_series(series);
        for (size_t j = 0; j < OBSERVER_ELEMENTS; j++)
            assert_true(series[OBSERVER_DA].elements[j].step == 0x1p-10);
        observer_destroy(&o);
    }
}

/* Elements so near to a level that the number of random bits shows. b = 8 has 16 of them: 1/655 of
 * a step must not always be rounded down. b <= 4 has 8: 7/8 of 1/256 counts as 1/256, not as 0, so
 * that the bias stays below 1/512. */
static void test_random_bits(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    for (int i = 0; i < BITS; i++) {
        struct bp_quant quant = {.bits = all_bits[i], .keep = 1.0f, .groups = BP_GROUPS_CHANNEL};
        int exact = quant.bits == 8;
        observer_create(&o, &quant);
        quant_fill_exact(&quant, exact ? 100.0f / 65536.0f : 7.0f / 2048.0f, o.g);
        quant_observe(&o, series, exact, 200 + (uint64_t)i, 4000);
        quant_check_series(series);
        observer_destroy(&o);
    }
}

/* Every selection, keep fraction and weight with every kind of groups; each twice, with bits and
 * grids in turn. */
static void test_selection(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    static const float keeps[] = {1.0f, 0.5f, 0.25f, 0.125f};
    for (int i = 0; i < 2 * 4 * 3 * 2 * 2; i++) {
        struct bp_quant quant = {.bits = all_bits[i % BITS], .keep = keeps[i / 2 % 4]};
        quant.select = i % 2 ? BP_SELECT_SYSTEMATIC : BP_SELECT_BERNOULLI;
        quant.weights = (enum bp_quant_weights)(i / 8 % 3);
        quant.groups = (enum bp_quant_groups)(i / 24 % 2);
        quant.grid = (enum bp_quant_grid_kind)((i + i / 48) % GRIDS);
        if (quant.grid == BP_GRID_ZERO && quant.bits == 1)
            quant.grid = BP_GRID_MINMAX;
        observer_create(&o, &quant);
        quant_fill_heavy(o.g);
        quant_observe(&o, series, 0, 300 + (uint64_t)i, DRAWS);
        quant_check_series(series);
        observer_destroy(&o);
    }
}

/* --- clipping: values inside the clip are unbiased, those outside become its end -------------- */

static void test_clip(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    for (int i = 0; i < BITS * GRIDS; i++) {
        struct bp_quant quant = {.bits = all_bits[i % BITS], .keep = 1.0f};
        quant.clip = i % 2 ? 1.5f : 0.5f; /* 0.5: below every element of the constant channel */
        quant.grid = (enum bp_quant_grid_kind)(i / BITS);
        quant.groups = i / 2 % 2 ? BP_GROUPS_SAMPLE : BP_GROUPS_CHANNEL;
        if (quant.grid == BP_GRID_ZERO && quant.bits == 1)
            continue;
        if (i % 3 == 0) {
            quant.select = BP_SELECT_SYSTEMATIC;
            quant.keep = 0.5f;
        }
        observer_create(&o, &quant);
        quant_fill_heavy(o.g);
        quant_observe(&o, series, 0, 500 + (uint64_t)i, DRAWS);
        quant_check_series(series); /* the mean is g, cut to the ends of the grid */
        for (int product = 0; product < OBSERVER_PRODUCTS; product++)
            assert_true(count_biased(&series[product]) > 0);
        observer_destroy(&o);
    }
}

/* --- topk: the largest groups as they are, the others lost ------------------------------------ */

/* Is the group among the `count` largest by max |g|, the earlier one among equals? */
static int among_largest(const struct quant_series *s, size_t group, size_t count) {
    double largest[OBSERVER_GROUPS] = {0};
    size_t before = 0;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        size_t at = s->group[i];
        largest[at] = fmax(largest[at], fabs((double)s->o->g[i]));
    }
    for (size_t i = 0; i < OBSERVER_GROUPS; i++)
        before += largest[i] > largest[group] || (largest[i] == largest[group] && i < group);
    return before < count;
}

static void test_topk(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    for (size_t i = 0; i < 6; i++) {
        size_t kept = (size_t)1 << i % 3; /* of 8: keep = 1/8, 1/4, 1/2 */
        struct bp_quant quant = {.bits = 4, .keep = (float)kept / OBSERVER_GROUPS};
        quant.select = BP_SELECT_TOPK;
        quant.groups = i < 3 ? BP_GROUPS_CHANNEL : BP_GROUPS_SAMPLE;
        observer_create(&o, &quant);
        quant_fill_heavy(o.g);
        quant_observe(&o, series, 0, 600 + i, 1000);
        quant_check_series(series); /* dropped groups are 0, kept ones unbiased */
        for (int product = 0; product < OBSERVER_PRODUCTS; product++) {
            const struct quant_series *s = &series[product];
            for (size_t j = 0; j < OBSERVER_GROUPS; j++)
                assert_true(s->p[j] == (among_largest(s, j, kept) ? 1.0 : 0.0));
            assert_true(count_biased(s) > OBSERVER_ELEMENTS / 4);
        }
        observer_destroy(&o);
    }
}

/* --- independence ----------------------------------------------------------------------------- */

enum { PAIR_DRAWS = 1000 };

/* The rounding errors of all elements of both products, in steps, are uncorrelated in pairs. */
static void check_pairs(const struct quant_series *series, const float *errors) {
    enum { ALL = OBSERVER_PRODUCTS * OBSERVER_ELEMENTS };
    const struct quant_element *element[ALL];
    for (size_t i = 0; i < ALL; i++)
        element[i] = &series[i / OBSERVER_ELEMENTS].elements[i % OBSERVER_ELEMENTS];
    for (size_t i = 0; i < ALL; i++)
        for (size_t j = 0; j < i; j++) {
            const float *a = errors + i * PAIR_DRAWS, *b = errors + j * PAIR_DRAWS;
            double fa = element[i]->up, fb = element[j]->up, sum = 0.0;
            for (size_t draw = 0; draw < PAIR_DRAWS; draw++)
                sum += (double)(a[draw] * b[draw]);
            /* 1e-5: the products' float rounding, in steps */
            struct stat_law law = {0.0, 1e-5, fa * (1.0 - fa) * fb * (1.0 - fb), 1.0};
            stat_check_mean("pair of element", i, sum, PAIR_DRAWS, &law);
        }
}

static void test_independence(void **state) {
    (void)state;
    static struct observer o;
    static struct quant_series series[OBSERVER_PRODUCTS];
    static float errors[OBSERVER_PRODUCTS * OBSERVER_ELEMENTS][PAIR_DRAWS];
    for (int groups = 0; groups < 2; groups++) {
        struct bp_quant quant = {.bits = 2, .keep = 1.0f};
        quant.groups = (enum bp_quant_groups)groups;
        observer_create(&o, &quant);
        quant_fill_exact(&quant, 0.0f, o.g);
        quant_observe(&o, series, 1, 700, 1);
        for (uint32_t step = 0; step < PAIR_DRAWS; step++) {
            observer_draw(&o, 701, step);
            for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
                size_t product = i / OBSERVER_ELEMENTS, at = i % OBSERVER_ELEMENTS;
                const struct quant_element *element = &series[product].elements[at];
                errors[i][step] = (float)((o.seen[product][at] - element->value) / element->step);
            }
        }
        check_pairs(series, errors[0]);
        observer_destroy(&o);
    }
}

/* The choices of the two products are independent; so are bernoulli's among groups. */
static void test_independent_choices(void **state) {
    (void)state;
    static struct observer o;
    enum { ALL = OBSERVER_PRODUCTS * OBSERVER_GROUPS, CHOICES = 4000 };
    static double together[ALL][ALL];
    double p[ALL];
    struct bp_quant quant = {.bits = 1, .keep = 0.5f, .weights = BP_WEIGHTS_UNIFORM};
    quant.select = BP_SELECT_BERNOULLI;
    quant.groups = BP_GROUPS_CHANNEL;
    observer_create(&o, &quant);
    quant_fill_heavy(o.g);
    for (uint32_t step = 0; step < CHOICES; step++) {
        double error[ALL];
        observer_draw(&o, 800, step);
        for (size_t i = 0; i < ALL; i++) {
            const struct bp_group *group = &o.groups[i / OBSERVER_GROUPS][i % OBSERVER_GROUPS];
            p[i] = (double)group->probability;
            error[i] = group->kept - p[i];
            for (size_t j = 0; j < i; j++)
                together[i][j] += error[i] * error[j];
        }
    }
    for (size_t i = 0; i < ALL; i++)
        for (size_t j = 0; j < i; j++) {
            double variance = p[i] * (1.0 - p[i]) * p[j] * (1.0 - p[j]);
            struct stat_law law = {0.0, 0x1p-24, variance, 1.0};
            stat_check_mean("choice of pair", i * ALL + j, together[i][j], CHOICES, &law);
        }
    observer_destroy(&o);
}

/* The formula by hand: g = 0, 1/4, 1 in one bit, kept with p = 1/2. Rounding: 1/4 * 3/4 for the
 * second element only; 2 * 3/16 + (2 - 1) * 17/16 = 23/16. */
static void test_formula(void **state) {
    (void)state;
    static const float g[] = {0.0f, 0.25f, 1.0f};
    struct bp_group group = {.step = 1.0f, .probability = 0.5f};
    assert_true(bp_quant_variance(&group, g, 3) == 23.0 / 16.0);
    group.probability = 1.0f;
    assert_true(bp_quant_variance(&group, g, 3) == 3.0 / 16.0);
    group.step = 0.0f; /* constant */
    assert_true(bp_quant_variance(&group, g, 3) == 0.0);
    group.probability = 0.0f; /* all zero */
    assert_true(bp_quant_variance(&group, g, 3) == 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_random_bits),
        cmocka_unit_test(test_selection),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_topk),
        cmocka_unit_test(test_independence),
        cmocka_unit_test(test_independent_choices),
        cmocka_unit_test(test_formula),
        cmocka_unit_test(stat_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
