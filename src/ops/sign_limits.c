#include "ops/sign_limits.h"

#include <math.h>
#include <stdio.h>

enum { SIGN_LOW, SIGN_HIGH, MASK_LOW, MASK_HIGH, FLIP, VALID, ROWS };

bp_status bp_sign_limits_plan(struct bp_sign_limits *limits, struct bp_plan *plan, size_t c,
                              const char *name, int first, int last) {
    char text[96];
    *limits = (struct bp_sign_limits){.c = c};
    snprintf(text, sizeof text, "%s limits", name);
    return bp_plan_add(plan, text, ROWS * c * sizeof(int16_t), first, last, &limits->rows);
}

struct bp_limit_rows bp_sign_limits_rows(const struct bp_sign_limits *limits) {
    const int16_t *rows = limits->rows;
    size_t c = limits->c;
    return (struct bp_limit_rows){rows, rows + c, rows + 2 * c, rows + 3 * c, rows + 4 * c};
}

/* One channel: u = y alpha; h = u < 0 ? u inner : u; v = h scale + shift; v < 0 ? v outer : v. With
 * factors of 1, which change nothing, it is either formula. Slopes are not negative here, so the
 * value rises with y, or falls. */
struct curve {
    float alpha, inner, scale, shift, outer;
    int falls;
};

static float value_at(const struct curve *curve, int y) {
    float u = (float)(curve->falls ? ~y : y) * curve->alpha;
    float h = u < 0.0f ? u * curve->inner : u, v = h * curve->scale + curve->shift;
    return v < 0.0f ? v * curve->outer : v;
}

/* Is the value at or above the level? The level -1 itself is below: a mask is |value| < 1. */
static int is_above(const struct curve *curve, int y, float level) {
    float value = value_at(curve, y);
    return level < 0.0f ? value > level : value >= level;
}

/* About where the curve, risen, meets the level; anything if nowhere. */
static double meeting_point(const struct curve *curve, float level) {
    double v = (double)level < 0.0 ? (double)level / (double)curve->outer : (double)level;
    double h = (v - (double)curve->shift) / (double)curve->scale;
    double u = h < 0.0 ? h / (double)curve->inner : h, y = u / (double)curve->alpha;
    return curve->falls ? -1.0 - y : y;
}

/* The first integer at or above the level, 32768 if there is none. */
static int first_above(const struct curve *curve, float level) {
    int below = INT16_MIN - 1,
        above = INT16_MAX + 1; /* known to be; those beyond the range count */
    double guess = meeting_point(curve, level);
    if (guess > -32000.0 && guess < 32000.0) {
        int near = (int)guess;
        if (is_above(curve, near + 2, level))
            above = near + 2;
        else
            below = near + 2;
        if (above == near + 2 && !is_above(curve, near - 1, level))
            below = near - 1;
    }
    while (above - below > 1) {
        int middle = below + (above - below) / 2;
        if (is_above(curve, middle, level))
            above = middle;
        else
            below = middle;
    }
    return above;
}

/* The integers `first` .. `end` - 1 of the risen curve, as limits; none: 1 .. 0. */
static void set_interval(const struct curve *curve, int first, int end, int16_t *low,
                         int16_t *high) {
    int is_empty = first >= end;
    *low = (int16_t)(is_empty ? 1 : curve->falls ? ~(end - 1) : first);
    *high = (int16_t)(is_empty ? 0 : curve->falls ? ~first : end - 1);
}

static int is_moderate(float v) {
    return fabsf(v) < 0x1p30f; /* so that no operation overflows, and no NaN arises */
}

static int has_limits(const struct curve *curve) {
    return is_moderate(curve->alpha) && is_moderate(curve->inner) && is_moderate(curve->scale) &&
           is_moderate(curve->shift) && is_moderate(curve->outer) && curve->inner >= 0.0f;
}

static void set_channel(const struct bp_sign_limits *limits, size_t j, struct curve *curve) {
    int16_t *at = limits->rows + j;
    size_t c = limits->c;
    /* A negative slope makes negative values positive: no signs; magnitudes are those of |slope|.
     */
    int has_signs = !(curve->outer < 0.0f);
    curve->outer = fabsf(curve->outer);
    curve->falls = (curve->alpha < 0.0f) != (curve->scale < 0.0f);
    at[FLIP * c] = (int16_t)(curve->falls ? -1 : 0);
    set_interval(curve, INT16_MIN, has_signs ? first_above(curve, 0.0f) : INT16_MIN,
                 at + SIGN_LOW * c, at + SIGN_HIGH * c);
    set_interval(curve, first_above(curve, -1.0f), first_above(curve, 1.0f), at + MASK_LOW * c,
                 at + MASK_HIGH * c);
}

/* Does z differ between any two integers, so that they are ordered alike? With s = |scale|:
 * products are off by 2^-9 s at most, sums by 2^-4 s where 32768 s + |shift| < 2^20 s, products
 * with the slope by 2^-4 s slope: of a step, s or s slope, more than half is left; and none is lost
 * below the smallest floats. */
static int is_ordered(const struct curve *curve) {
    float step = fabsf(curve->scale);
    return curve->outer > 0.0f && step > 0x1p-60f && step * curve->outer > 0x1p-60f &&
           fabsf(curve->shift) < 0x1.ep19f * step;
}

struct job {
    struct bp_sign_limits *limits;
    const struct bp_affine_rows *affine; /* one of these */
    const struct bp_act_norm_rows *act_norm;
    int ordered;
};

static struct curve curve_of(const struct job *job, size_t j) {
    const struct bp_affine_rows *a = job->affine;
    const struct bp_act_norm_rows *b = job->act_norm;
    if (a != NULL)
        return (struct curve){
            1.0f, 1.0f, a->scale[j], a->shift[j], a->slope == NULL ? 1.0f : a->slope[j], 0};
    return (struct curve){b->alpha[j], b->slope[j], b->scale[j], b->shift[j], 1.0f, 0};
}

static void set_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    for (size_t j = begin; j < end; j++) {
        struct curve curve = curve_of(job, j);
        int valid = has_limits(&curve) && (!job->ordered || is_ordered(&curve));
        job->limits->rows[VALID * job->limits->c + j] = (int16_t)valid;
        if (valid)
            set_channel(job->limits, j, &curve);
    }
}

static int set_all(struct job *job, struct bp_exec *exec) {
    const struct bp_sign_limits *limits = job->limits;
    bp_parallel_for(exec->threads, limits->c, set_part, job);
    for (size_t j = 0; j < limits->c; j++)
        if (!limits->rows[VALID * limits->c + j])
            return 0;
    return 1;
}

int bp_sign_limits_of_affine(struct bp_sign_limits *limits, struct bp_exec *exec,
                             const struct bp_affine_rows *a, int ordered) {
    struct job job = {.limits = limits, .affine = a, .ordered = ordered};
    return set_all(&job, exec);
}

int bp_sign_limits_of_act_norm(struct bp_sign_limits *limits, struct bp_exec *exec,
                               const struct bp_act_norm_rows *a) {
    struct job job = {.limits = limits, .act_norm = a};
    return set_all(&job, exec);
}
