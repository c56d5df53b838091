#include "unit/quant_series.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const product_names[] = {"dA element", "dW element"};

/* --- gradients -------------------------------------------------------------------------------- */

static uint32_t random_word(uint32_t step, uint64_t index) {
    struct bp_stream stream = bp_stream_make(20260317, BP_RANDOM_TEST, 21, step);
    return bp_stream_u32(&stream, index);
}

void quant_fill_heavy(float *g) {
    struct bp_stream stream = bp_stream_make(20260317, BP_RANDOM_TEST, 22, 0);
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        float v = bp_stream_normal(&stream, i);
        size_t sample = i / OBSERVER_K / OBSERVER_PIXELS, channel = i % OBSERVER_K;
        g[i] = v * v * v * 0.01f * (1.0f + (float)(sample % 3)) * (1.0f + (float)(channel % 5));
        if (channel == 5)
            g[i] = 0.02f;
    }
}

void quant_fill_exact(const struct bp_quant *quant, float above, float *g) {
    int code_min, code_max, is_signed;
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    uint32_t parts = quant->bits == 8 ? 65536 : 256, span = (uint32_t)(code_max - code_min);
    float lowest = (float)code_min; /* in steps */
    if (quant->grid == BP_GRID_MINMAX)
        lowest = -0.25f * (float)span;
    if (quant->grid == BP_GRID_SYMMETRIC)
        lowest = -0.5f * (float)span;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        size_t sample = i / OBSERVER_K / OBSERVER_PIXELS, channel = i % OBSERVER_K;
        int first = i / OBSERVER_K % OBSERVER_PIXELS == 0;
        float t = (float)(random_word(1, i) % (span * parts + 1)) / (float)parts;
        if (above > 0.0f)
            t = (float)(random_word(1, i) % span) + above;
        if (first && channel == sample)
            t = 0.0f;
        if (first && channel == (sample + 1) % OBSERVER_GROUPS)
            t = (float)span;
        g[i] = (lowest + t) * 0x1p-10f;
    }
}

/* --- series ----------------------------------------------------------------------------------- */

static void group_elements(const struct quant_series *s, size_t group, float *g) {
    size_t count = 0;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++)
        if (s->group[i] == group)
            g[count++] = s->o->g[i];
    assert_int_equal(count, OBSERVER_GROUP_ELEMENTS);
}

/* An element of dA sums K terms, one of dW all positions; each is at most |code's value| / p, and
 * has at most five float roundings. With groups = samples, dW adds those of all samples. */
static void fill_readout(struct quant_series *s) {
    int by_sample =
        s->product == OBSERVER_DW && s->o->quant[OBSERVER_DW].groups == BP_GROUPS_SAMPLE;
    double terms = s->product == OBSERVER_DA ? OBSERVER_K : OBSERVER_POSITIONS, all = 0.0;
    for (size_t i = 0; i < OBSERVER_GROUPS; i++) {
        const struct bp_group *group = &s->o->groups[s->product][i];
        double codes = (double)((1 << s->o->quant[s->product].bits) - 1);
        double value = (double)group->step * codes + fabs((double)group->grid.lo);
        s->readout[i] = s->p[i] > 0.0 ? terms * value / s->p[i] * 5.0 * 0x1p-24 : 0.0;
        all += s->readout[i] / OBSERVER_GROUPS;
    }
    for (size_t i = 0; by_sample && i < OBSERVER_GROUPS; i++)
        s->readout[i] = all;
}

static void series_start(struct quant_series *s, const struct observer *o, int product, int exact) {
    float g[OBSERVER_GROUP_ELEMENTS];
    memset(s, 0, sizeof *s);
    s->o = o;
    s->product = product;
    s->exact = exact;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++)
        s->group[i] = observer_group_of(o, product, i);
    for (size_t i = 0; i < OBSERVER_GROUPS; i++) {
        s->p[i] = (double)o->groups[product][i].probability;
        group_elements(s, i, g);
        quant_check_grid(&o->quant[product], &o->groups[product][i], g, OBSERVER_GROUP_ELEMENTS);
    }
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        const struct bp_group *group = &o->groups[product][s->group[i]];
        s->elements[i] = quant_element_make(&o->quant[product], group, o->g[i], exact);
    }
    fill_readout(s);
}

static void series_add(struct quant_series *s) {
    double z[OBSERVER_GROUPS] = {0};
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        const struct quant_element *element = &s->elements[i];
        size_t group = s->group[i];
        double seen = s->o->seen[s->product][i], error = seen - element->value;
        s->sum[i] += seen;
        z[group] += error * error;
        if (s->o->groups[s->product][group].kept && element->step > 0.0) {
            s->rounding += (seen * s->p[group] - element->value) / element->step;
            s->rounding_variance += element->up * (1.0 - element->up) + element->doubt;
            s->rounded++;
        }
    }
    for (size_t i = 0; i < OBSERVER_GROUPS; i++) {
        s->squares[i] += z[i];
        s->kept[i] += s->o->groups[s->product][i].kept;
    }
    s->draws++;
}

void quant_observe(struct observer *o, struct quant_series *series, int exact, uint64_t seed,
                   uint32_t draws) {
    for (uint32_t step = 0; step < draws; step++) {
        observer_draw(o, seed, step);
        for (int product = 0; product < OBSERVER_PRODUCTS; product++) {
            if (step == 0)
                series_start(&series[product], o, product, exact);
            series_add(&series[product]);
        }
    }
}

/* --- what is expected ------------------------------------------------------------------------- */

/* p is a float, compared with multiples of 2^-24: it is known up to that. */
static double doubt_of_p(double p) {
    return 0x1p-24 / p;
}

struct stat_law quant_law_of_element(const struct quant_series *s, size_t i) {
    const struct quant_element *element = &s->elements[i];
    size_t group = s->group[i];
    double p = s->p[group], value = element->value;
    struct stat_law law = {.slack = s->readout[group]};
    if (p == 0.0)
        return law;
    law.mean = value;
    law.slack += element->step * element->doubt + fabs(value) * doubt_of_p(p);
    law.variance = quant_rounding_variance(element) / p + (1.0 / p - 1.0) * value * value;
    law.largest = quant_largest_error(element, p);
    if (p < 1.0)
        law.largest = fmax(law.largest, fabs(value));
    return law;
}

/* Adds (X - v)^2 of a kept element to the law of the group's Z, given that it is kept. */
static void add_square(struct stat_law *law, const struct quant_element *element, double p) {
    double low = element->low / p - element->value, high = low + element->step / p;
    double a = low * low, b = high * high, f = element->up;
    double largest = quant_largest_error(element, p);
    law->mean += a + f * (b - a);
    law->slack += element->doubt * fabs(b - a);
    law->variance += (b - a) * (b - a) * (f * (1.0 - f) + element->doubt);
    law->largest += largest * largest;
}

static struct stat_law law_of_group(const struct quant_series *s, size_t group) {
    struct stat_law law = {0};
    double p = s->p[group], dropped = 0.0, errors = 0.0;
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++)
        if (s->group[i] == group) {
            double value = fabs(s->elements[i].value);
            dropped += value * value;
            errors += value;
            if (p > 0.0) {
                add_square(&law, &s->elements[i], p);
                errors += quant_largest_error(&s->elements[i], p);
            }
        }
    double distance = fabs(law.mean - dropped) + law.slack;
    law.variance = p * law.variance + p * (1.0 - p) * distance * distance;
    law.mean = p * law.mean + (1.0 - p) * dropped;
    law.slack = p * law.slack + distance * 0x1p-24 + 2.0 * s->readout[group] * errors;
    if (p > 0.0 && p < 1.0)
        law.largest = fmax(law.largest, dropped);
    return law;
}

static void check_mean(const struct quant_series *s) {
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        struct stat_law law = quant_law_of_element(s, i);
        stat_check_mean(product_names[s->product], i, s->sum[i], s->draws, &law);
    }
}

/* All kept elements together: given the choice of groups, their roundings are independent, so a
 * bias of the rounding shows much smaller than in one element. An error is below 2 steps. */
static void check_rounding(const struct quant_series *s) {
    struct stat_law law = {.largest = 2.0};
    for (size_t i = 0; i < OBSERVER_ELEMENTS; i++) {
        size_t group = s->group[i];
        const struct quant_element *element = &s->elements[i];
        if (element->step > 0.0)
            law.slack =
                fmax(law.slack, element->doubt + s->readout[group] * s->p[group] / element->step);
    }
    if (s->rounded > 0.0) {
        law.variance = s->rounding_variance / s->rounded;
        stat_check_mean("rounding of product", (size_t)s->product, s->rounding, s->rounded, &law);
    }
}

/* The squared error is what the two outcomes of each element give, and so is the formula. At the
 * ends of a grid, floats put (g - lo) / S up to 255 * 3 * 2^-24 beside a whole number. */
static void check_variance(const struct quant_series *s) {
    float g[OBSERVER_GROUP_ELEMENTS];
    double beside = s->exact ? 0.0 : 255.0 * 3.0 * 0x1p-24;
    for (size_t i = 0; i < OBSERVER_GROUPS; i++) {
        struct stat_law law = law_of_group(s, i);
        const struct bp_group *group = &s->o->groups[s->product][i];
        stat_check_mean("squared error of group", i, s->squares[i], s->draws, &law);
        if (s->o->quant[s->product].select == BP_SELECT_TOPK)
            continue; /* biased: the formula is not for it */
        group_elements(s, i, g);
        double formula = bp_quant_variance(group, g, OBSERVER_GROUP_ELEMENTS);
        double step = (double)group->step, tolerance = (s->exact ? 1e-12 : 1e-6) * law.mean;
        if (s->p[i] > 0.0)
            tolerance += beside * step * step * OBSERVER_GROUP_ELEMENTS / s->p[i];
        if (s->o->quant[s->product].clip == 0.0f && !(fabs(formula - law.mean) <= tolerance))
            fail_msg("group %zu: the formula gives %.9g, the outcomes %.9g", i, formula, law.mean);
    }
}

static void check_kept(const struct quant_series *s) {
    for (size_t i = 0; i < OBSERVER_GROUPS; i++) {
        struct stat_law law = {s->p[i], 0x1p-24, s->p[i] * (1.0 - s->p[i]), 1.0};
        if (s->p[i] == 1.0 || s->p[i] == 0.0)
            law = (struct stat_law){.mean = s->p[i]};
        stat_check_mean("choice of group", i, s->kept[i], s->draws, &law);
    }
}

void quant_check_series(const struct quant_series *series) {
    for (int product = 0; product < OBSERVER_PRODUCTS; product++) {
        check_kept(&series[product]);
        check_mean(&series[product]);
        check_rounding(&series[product]);
        check_variance(&series[product]);
    }
}
