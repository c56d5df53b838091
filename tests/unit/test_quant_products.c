/* The two gradient products as random numbers, 3x3 and 1x1 with border and stride: the mean is the
 * float64 product of the gradient itself, the variance follows from that of the quantizer.
 *
 * A product element is a sum over groups of X = (m / p) (s + R): s is the exact sum of the group's
 * elements with their signs, R the sum of their rounding errors, m whether the group is kept.
 * Cumulants of independent terms add up; so those of R come from its two-point terms, the moments
 * of X from those of R, and the product's again from the groups' cumulants. The squared error has
 * the mean k2 and the variance k4 + 2 k2^2. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/bconv.h"
#include "unit/quant_model.h"
#include "unit/stat_bounds.h"

enum { IN_MAX = 400, OUT_MAX = 400, GROUPS_MAX = 8, HALO_MAX = 400, DRAWS = 4000 };

struct fixture {
    struct bp_conv_shape shape;
    struct bp_quant quant_da, quant_dw;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    uint64_t x[HALO_MAX], mask[IN_MAX];
    float w[OUT_MAX], g[OUT_MAX];
    float product[2][IN_MAX]; /* dA, dW */
};

/* Of one group's part in one product element; then of the whole element. */
struct part {
    double s;
    double k2, k3, k4;
    double largest; /* |R|, or |product - mean| */
    double doubt, doubt_k2;
};

/* --- set-up ----------------------------------------------------------------------------------- */

static size_t image_of(const struct bp_conv_shape *s) {
    return s->oh * s->ow * s->k;
}

static size_t x_at(const struct bp_conv_shape *s, size_t n, size_t y, size_t x) {
    return (n * (s->h + 2) + y + 1) * (s->w + 2) + x + 1;
}

static void fill_inputs(struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_stream stream = bp_stream_make(20260319, BP_RANDOM_TEST, 23, 0);
    uint64_t all = ((uint64_t)1 << s->c) - 1;
    uint64_t at = 0;
    for (size_t p = 0; p < s->n * s->h * s->w; p++) {
        size_t n = p / (s->h * s->w), y = p / s->w % s->h, x = p % s->w;
        f->x[x_at(s, n, y, x)] = bp_stream_u32(&stream, at++) & all;
        f->mask[p] = all;
    }
    for (size_t i = 0; i < s->k * s->r * s->r * s->c; i++)
        f->w[i] = bp_stream_u32(&stream, at++) & 1 ? -0.5f : 0.5f;
    for (size_t i = 0; i < s->n * image_of(s); i++) {
        float v = bp_stream_normal(&stream, 5000 + i);
        f->g[i] = v * v * v * (1.0f + (float)(i / image_of(s))) * (1.0f + (float)(i % s->k));
    }
}

static void set_up(struct fixture *f, const size_t *dims, const struct bp_quant *quant) {
    memset(f, 0, sizeof *f);
    f->quant_da = f->quant_dw = *quant;
    f->quant_da.groups = BP_GROUPS_SAMPLE;
    assert_int_equal(bp_conv_shape_set(&f->shape, dims[0], dims[1], dims[2], dims[3], dims[4],
                                       dims[5], dims[6], dims[5] / 2),
                     BP_OK);
    const struct bp_conv_shape *s = &f->shape;
    assert_true(s->n * (s->h + 2) * (s->w + 2) <= HALO_MAX && s->n * s->h * s->w * s->c <= IN_MAX);
    assert_true(s->n * image_of(s) <= OUT_MAX && s->k * s->r * s->r * s->c <= OUT_MAX);
    assert_int_equal(bp_exec_create(&f->exec, bp_cpu_best(), 1), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(
        bp_bconv_create(&f->op, f->exec, f->plan, s, &f->quant_da, &f->quant_dw, "test", 1, 2),
        BP_OK);
    bp_exec_need_scratch(f->exec, bp_bconv_backward_scratch_bytes(s, 1));
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    fill_inputs(f);
    bp_bconv_pack(f->op, f->exec, f->w);
}

static void tear_down(struct fixture *f) {
    bp_bconv_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
}

static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct fixture *f = context;
    size_t row_elements = f->shape.ow * f->shape.k;
    (void)scratch;
    memcpy(out, f->g + (n * f->shape.oh + row) * row_elements, rows * row_elements * sizeof *out);
}

/* --- what is expected ------------------------------------------------------------------------- */

/* Adds one rounded element, of probability `up`, with sign +-1: a two-point variable. */
static void add_element(struct part *part, const struct quant_element *element, int sign) {
    double f = element->up, step = sign * element->step, variance = f * (1.0 - f);
    part->s += sign * element->value;
    part->k2 += step * step * variance;
    part->k3 += step * step * step * variance * (1.0 - 2.0 * f);
    part->k4 += step * step * step * step * variance * (1.0 - 6.0 * variance);
    part->largest += quant_largest_error(element, 1.0);
    part->doubt += element->step * element->doubt;
    part->doubt_k2 += element->step * element->step * element->doubt;
}

/* Adds (m / p) (s + R) of one group to a product element. */
static void add_group(struct part *total, const struct part *group, double p) {
    double s = group->s, c = s * (1.0 / p - 1.0); /* error: R / p + c if kept, -s if not */
    double k2 = group->k2 / (p * p), k3 = group->k3 / (p * p * p);
    double r4 = (group->k4 + 3.0 * group->k2 * group->k2) / (p * p * p * p);
    double m2 = p * (k2 + c * c) + (1.0 - p) * s * s;
    double m3 = p * (k3 + 3.0 * c * k2 + c * c * c) - (1.0 - p) * s * s * s;
    double m4 =
        p * (r4 + 4.0 * c * k3 + 6.0 * c * c * k2 + c * c * c * c) + (1.0 - p) * s * s * s * s;
    double largest = group->largest / p + fabs(c);
    total->s += s;
    total->k2 += m2;
    total->k3 += m3;
    total->k4 += m4 - 3.0 * m2 * m2;
    total->largest += p < 1.0 ? fmax(largest, fabs(s)) : largest;
    total->doubt += group->doubt + fabs(s) * 0x1p-24 / p;
    total->doubt_k2 += (group->doubt_k2 + 2.0 * p * fabs(c) * group->doubt +
                        group->doubt * group->doubt + m2 * 0x1p-24) /
                       p;
}

/* Does tap t of output (oy, ox) lie inside the image, and where? */
static int tap_inside(const struct bp_conv_shape *s, size_t oy, size_t ox, size_t t, size_t *y,
                      size_t *x) {
    *y = oy * s->stride + t / s->r - s->pad;
    *x = ox * s->stride + t % s->r - s->pad;
    return *y < s->h && *x < s->w; /* a negative position wraps to a huge one */
}

/* The groups' parts in every element of both products, from their definitions. */
static void expect_parts(const struct fixture *f, struct part (*da)[GROUPS_MAX],
                         struct part (*dw)[GROUPS_MAX]) {
    const struct bp_conv_shape *s = &f->shape;
    size_t taps = s->r * s->r;
    for (size_t i = 0; i < s->n * image_of(s) * taps * s->c; i++) {
        size_t c = i % s->c, t = i / s->c % taps, e = i / s->c / taps, y, x;
        size_t k = e % s->k, ox = e / s->k % s->ow, oy = e / s->k / s->ow % s->oh;
        size_t n = e / image_of(s), of_da = n;
        size_t of_dw = f->quant_dw.groups == BP_GROUPS_CHANNEL ? k : n;
        if (!tap_inside(s, oy, ox, t, &y, &x))
            continue;
        struct quant_element element_da =
            quant_element_make(&f->quant_da, &bp_bconv_groups_da(f->op)[of_da], f->g[e], 0);
        struct quant_element element_dw =
            quant_element_make(&f->quant_dw, &bp_bconv_groups_dw(f->op)[of_dw], f->g[e], 0);
        size_t at_w = (k * taps + t) * s->c + c;
        size_t at_x = ((n * s->h + y) * s->w + x) * s->c + c;
        add_element(&da[at_x][of_da], &element_da, f->w[at_w] < 0.0f ? -1 : 1);
        add_element(&dw[at_w][of_dw], &element_dw, f->x[x_at(s, n, y, x)] >> c & 1 ? -1 : 1);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

struct product {
    size_t elements;
    const struct bp_group *groups;
    struct part parts[IN_MAX][GROUPS_MAX], total[IN_MAX];
    double readout[IN_MAX]; /* float rounding */
    double sum[IN_MAX], squares[IN_MAX];
};

static void add_totals(struct product *product) {
    for (size_t i = 0; i < product->elements; i++)
        for (size_t j = 0; j < GROUPS_MAX; j++) {
            const struct part *part = &product->parts[i][j];
            if (part->largest == 0.0 && part->s == 0.0)
                continue; /* not in this element */
            double p = (double)product->groups[j].probability;
            add_group(&product->total[i], part, p);
            product->readout[i] += 1e-6 * (part->largest + fabs(part->s)) / p;
        }
}

static void check_product(const struct product *product, const char *name) {
    for (size_t i = 0; i < product->elements; i++) {
        const struct part *total = &product->total[i];
        double largest = total->largest, readout = product->readout[i];
        struct stat_law mean = {total->s, total->doubt + readout, total->k2 + total->doubt_k2,
                                largest};
        stat_check_mean(name, i, product->sum[i], DRAWS, &mean);
        double spread = total->k4 + 2.0 * total->k2 * total->k2;
        struct stat_law square = {total->k2, total->doubt_k2 + 2.0 * readout * largest,
                                  spread + total->doubt_k2 * largest * largest, largest * largest};
        stat_check_mean(name, i, product->squares[i], DRAWS, &square);
    }
}

static void run_case(const size_t *dims, const struct bp_quant *quant, uint64_t seed) {
    static struct fixture f;
    static struct product products[2];
    set_up(&f, dims, quant);
    const struct bp_conv_shape *s = &f.shape;
    struct bp_grad_source source = {.rows = rows_of_g, .context = &f, .scratch_bytes = 1};
    memset(products, 0, sizeof products);
    products[0].elements = s->n * s->h * s->w * s->c;
    products[1].elements = s->k * s->r * s->r * s->c;
    for (uint32_t step = 0; step < DRAWS; step++) {
        bp_bconv_backward(f.op, f.exec, s->n, f.x, f.mask, &source, seed, 2, step, NULL,
                          f.product[0], f.product[1], NULL, NULL, NULL);
        if (step == 0) {
            products[0].groups = bp_bconv_groups_da(f.op);
            products[1].groups = bp_bconv_groups_dw(f.op);
            expect_parts(&f, products[0].parts, products[1].parts);
            add_totals(&products[0]);
            add_totals(&products[1]);
        }
        for (size_t i = 0; i < products[0].elements + products[1].elements; i++) {
            size_t which = i >= products[0].elements, at = i - which * products[0].elements;
            double seen = (double)f.product[which][at];
            double error = seen - products[which].total[at].s;
            products[which].sum[at] += seen;
            products[which].squares[at] += error * error;
        }
    }
    check_product(&products[0], "dA element");
    check_product(&products[1], "dW element");
    tear_down(&f);
}

/* Independent groups in one element only: systematic choices are not, so dW by samples is left to
 * bernoulli. */
static void test_products(void **state) {
    (void)state;
    static const size_t shapes[][7] = {
        /* n, h, w, c, k, r, stride */
        {3, 4, 5, 3, 4, 3, 1},
        {4, 5, 4, 2, 3, 3, 2},
        {4, 5, 3, 3, 4, 1, 2},
    };
    static const struct bp_quant quants[] = {
        {4, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL},
        {4, 0.5f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL},
        {1, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
        {2, 0.5f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RMS, BP_GRID_SYMMETRIC, 0, BP_GROUPS_SAMPLE},
        {8, 0.25f, BP_SELECT_BERNOULLI, BP_WEIGHTS_UNIFORM, BP_GRID_ZERO, 0, BP_GROUPS_SAMPLE},
        {3, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL},
    };
    for (size_t i = 0; i < 18; i++)
        run_case(shapes[i % 3], &quants[i / 3], 900 + i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(stat_finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
