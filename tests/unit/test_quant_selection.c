/* Which groups are kept: the probabilities are those of the definition (docs/METHOD.md, "The
 * gradient quantizer"), groups are kept as often as these say, and as many as each rule promises.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/stat_bounds.h"

#include "ops/grad_quant.h"

enum { GROUPS_MAX = 128, COUNT = 50 };

struct groups {
    struct bp_quant quant;
    size_t n;
    struct bp_group group[GROUPS_MAX];
};

/* --- groups of many kinds --------------------------------------------------------------------- */

enum kind { EVEN, EQUAL, HEAVY, ONE_LARGE, MOSTLY_ZERO, CONSTANT, FAR_APART, KINDS };

/* Ranges as of a group of COUNT elements. */
static struct bp_range range_of(enum kind kind, size_t i) {
    struct bp_stream stream = bp_stream_make(20260318, BP_RANDOM_TEST, (unsigned)kind, 0);
    float v = fabsf(bp_stream_normal(&stream, i)) + 0.01f, size = v;
    if (kind == EVEN)
        size = 1.0f + 0.1f * v;
    if (kind == EQUAL)
        size = 1.0f;
    if (kind == HEAVY)
        size = v * v * v * v * v;
    if (kind == ONE_LARGE && i == 2)
        size = 1000.0f;
    if (kind == MOSTLY_ZERO && i % 5 != 0)
        size = 0.0f;
    if (kind == FAR_APART) /* as of samples that are learnt and samples that are not */
        size = i % 9 == 0 ? v : v * 1e-17f;
    struct bp_range range = {-size, 0.5f * size, 0.1f * COUNT * size * size};
    if (kind == CONSTANT && i % 3 == 0)
        range.lo = range.hi = size;
    return range;
}

static void make_groups(struct groups *groups, enum kind kind, size_t n, float keep,
                        enum bp_quant_select select, enum bp_quant_weights weights) {
    memset(groups, 0, sizeof *groups);
    groups->quant = (struct bp_quant){.bits = 2, .keep = keep, .select = select};
    groups->quant.weights = weights;
    groups->n = n;
    for (size_t i = 0; i < n; i++) {
        groups->group[i].range = range_of(kind, i);
        bp_quant_grid(&groups->quant, COUNT, &groups->group[i]);
    }
    uint32_t order[2 * GROUPS_MAX];
    bp_quant_probabilities(&groups->quant, COUNT, groups->group, n, order);
}

/* Kernels multiply with inv_step in parts of a step, 65536 at most: where that overflows the group
 * is constant, as where its step is zero. */
static void test_grids_are_finite(void **state) {
    (void)state;
    for (int grid = BP_GRID_MINMAX; grid <= BP_GRID_SYMMETRIC; grid++)
        for (int exponent = -149; exponent <= 100; exponent++) {
            float m = (float)ldexp(1.0, exponent);
            struct bp_quant quant = {.bits = 8, .grid = (enum bp_quant_grid_kind)grid, .keep = 1};
            struct bp_group group = {.range = {-m, m, m * m}};
            bp_quant_grid(&quant, COUNT, &group);
            assert_true(isfinite(group.grid.inv_step * 65536.0f));
            assert_true((group.step > 0.0f) == (group.grid.inv_step > 0.0f));
            assert_true(exponent < -90 || group.step > 0.0f);
        }
}

/* --- probabilities ---------------------------------------------------------------------------- */

static double weight_of(const struct groups *groups, size_t i) {
    const struct bp_range *range = &groups->group[i].range;
    double width = (double)range->hi - (double)range->lo, step = width / 3.0; /* 2 bits */
    double magnitude = fmax(fabs((double)range->lo), fabs((double)range->hi));
    if (magnitude == 0.0)
        return 0.0;
    if (groups->quant.weights == BP_WEIGHTS_UNIFORM)
        return 1.0;
    if (groups->quant.weights == BP_WEIGHTS_RANGE)
        return width > 0.0 ? width : magnitude; /* a constant group is not lost */
    return sqrt((double)range->sum_squares + COUNT * step * step / 6.0);
}

static size_t target_of(const struct groups *groups) {
    size_t target = (size_t)floor((double)groups->quant.keep * (double)groups->n + 0.5), filled = 0;
    for (size_t i = 0; i < groups->n; i++)
        filled += weight_of(groups, i) > 0.0;
    target = target > 0 ? target : 1;
    return target < filled ? target : filled;
}

/* The c of p = min(1, c weight) whose sum is the target, by bisection of its logarithm. */
static double find_factor(const struct groups *groups) {
    double low = -200.0, high = 200.0;
    for (int round = 0; round < 200; round++) {
        double middle = 0.5 * (low + high), sum = 0.0;
        for (size_t i = 0; i < groups->n; i++)
            sum += fmin(1.0, exp(middle) * weight_of(groups, i));
        *(sum < (double)target_of(groups) ? &low : &high) = middle;
    }
    return exp(high);
}

static void check_probabilities(const struct groups *groups) {
    double factor = find_factor(groups), sum = 0.0;
    for (size_t i = 0; i < groups->n; i++) {
        double p = (double)groups->group[i].probability;
        double want = fmin(1.0, factor * weight_of(groups, i));
        if (!(p >= 0.0 && p <= 1.0 && fabs(p - want) <= 1e-6 * want))
            fail_msg("group %zu of %zu: p is %.9g, not %.9g", i, groups->n, p, want);
        sum += p;
    }
    if (!(fabs(sum - (double)target_of(groups)) <= (double)groups->n * 0x1p-24))
        fail_msg("%zu groups: the p add up to %.9g, not %zu", groups->n, sum, target_of(groups));
}

static const float keeps[] = {1.0f, 0.5f, 0.25f, 0.125f, 0.3f};
enum { KEEPS = sizeof keeps / sizeof keeps[0] };

static void test_probabilities(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 8, 31, GROUPS_MAX};
    for (int i = 0; i < 6 * KEEPS * KINDS * 3; i++) {
        struct groups groups;
        make_groups(&groups, (enum kind)(i / 6 / KEEPS % KINDS), sizes[i % 6], keeps[i / 6 % KEEPS],
                    i % 2 ? BP_SELECT_BERNOULLI : BP_SELECT_SYSTEMATIC,
                    (enum bp_quant_weights)(i / 6 / KEEPS / KINDS));
        check_probabilities(&groups);
    }
}

/* --- choices ---------------------------------------------------------------------------------- */

/* Draws many times; each group is kept as often as its p says, scale and offset are divided by p.
 * Counts: systematic keeps floor or ceil of the sum of p, in every draw. */
static void check_choices(struct groups *groups, uint64_t seed, uint32_t draws) {
    double kept[GROUPS_MAX] = {0}, sum = 0.0, variance = 0.0, all = 0.0;
    size_t n = groups->n;
    for (size_t i = 0; i < n; i++) {
        double p = (double)groups->group[i].probability;
        sum += p;
        variance += p * (1.0 - p);
    }
    for (uint32_t step = 0; step < draws; step++) {
        struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_SELECT_DW, 4, step);
        size_t count = bp_quant_select(&groups->quant, &stream, groups->group, n), counted = 0;
        for (size_t i = 0; i < n; i++) {
            const struct bp_group *group = &groups->group[i];
            float p = group->kept ? group->probability : INFINITY;
            assert_true(group->scale == group->step / p);
            assert_true(group->offset == group->grid.lo / p);
            counted += group->kept != 0;
            kept[i] += group->kept;
        }
        assert_int_equal(count, counted);
        if (groups->quant.select == BP_SELECT_SYSTEMATIC)
            assert_in_range(count, (size_t)floor(sum), (size_t)ceil(sum));
        all += (double)count;
    }
    for (size_t i = 0; i < n; i++) {
        double p = (double)groups->group[i].probability;
        struct stat_law law = {.mean = p};
        if (p > 0.0 && p < 1.0)
            law = (struct stat_law){p, 0x1p-24, p * (1.0 - p), 1.0};
        stat_check_mean("group", i, kept[i], draws, &law);
    }
    struct stat_law law = {sum, (double)n * 0x1p-24, variance, (double)n};
    if (groups->quant.select == BP_SELECT_SYSTEMATIC) {
        double above = sum - floor(sum);
        law = (struct stat_law){sum, 0x1p-23, above * (1.0 - above), 1.0};
    }
    stat_check_mean("count of", n, all, draws, &law);
}

static void test_choices(void **state) {
    (void)state;
    static const size_t sizes[] = {3, 8, 31};
    for (int i = 0; i < 3 * KEEPS * KINDS * 2; i++) {
        struct groups groups;
        make_groups(&groups, (enum kind)(i / 3 / KEEPS % KINDS), sizes[i % 3], keeps[i / 3 % KEEPS],
                    i / 3 / KEEPS / KINDS ? BP_SELECT_BERNOULLI : BP_SELECT_SYSTEMATIC,
                    (enum bp_quant_weights)(i % 3));
        check_choices(&groups, (uint64_t)i, 4000);
    }
}

/* none keeps all but zero groups; topk the largest by max |g|, the earlier ones among equals. */
static void test_fixed_choices(void **state) {
    (void)state;
    struct bp_stream stream = bp_stream_make(1, BP_RANDOM_SELECT_DA, 0, 0);
    for (int kind = 0; kind < KINDS; kind++) {
        struct groups all, top;
        make_groups(&all, (enum kind)kind, 31, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE);
        make_groups(&top, (enum kind)kind, 31, 0.25f, BP_SELECT_TOPK, BP_WEIGHTS_RANGE);
        bp_quant_select(&all.quant, &stream, all.group, 31);
        assert_int_equal(bp_quant_select(&top.quant, &stream, top.group, 31), target_of(&top));
        for (size_t i = 0; i < 31; i++) {
            /* lo is the largest by magnitude; -0.0 in zero groups */
            float size = fabsf(top.group[i].range.lo);
            size_t before = 0;
            for (size_t j = 0; j < 31; j++) {
                float other = fabsf(top.group[j].range.lo);
                before += other > size || (other == size && j < i);
            }
            assert_int_equal(top.group[i].kept, before < target_of(&top));
            assert_true(!top.group[i].kept || top.group[i].scale == top.group[i].step);
            assert_int_equal(all.group[i].kept, all.group[i].range.sum_squares > 0.0f);
            assert_true(!all.group[i].kept || all.group[i].scale == all.group[i].step);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grids_are_finite), cmocka_unit_test(test_probabilities),
        cmocka_unit_test(test_choices),          cmocka_unit_test(test_fixed_choices),
        cmocka_unit_test(stat_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
