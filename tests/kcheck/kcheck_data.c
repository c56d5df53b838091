/* Sizes and content of test cases. */
#include "kcheck/kcheck.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t kc_random(struct kcheck *t) {
    uint64_t z = t->random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

size_t kc_below(struct kcheck *t, size_t n) {
    return (size_t)(kc_random(t) % n);
}

size_t kc_edge_size(struct kcheck *t) {
    static const unsigned char sizes[] = {1,  2,  3,  5,  7,  8,  9,  15, 16,  17,  24,
                                          31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129};
    return sizes[kc_below(t, sizeof sizes)];
}

size_t kc_positions(const struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t side = l->h / l->stride, positions = l->n * side * (l->w / l->stride);
    return bp_min_size(positions, t->is_bench ? 512 : 96);
}

void kc_sizes(struct kcheck *t, size_t *n, size_t *c) {
    unsigned i = t->case_index;
    if (t->layer != NULL) {
        *n = kc_positions(t);
        *c = t->layer->c;
    } else if (i < KC_SWEEP) {
        *c = i + 1;
        *n = 1 + kc_below(t, 8);
    } else if (i < 2 * KC_SWEEP) {
        *n = i - KC_SWEEP + 1;
        *c = kc_edge_size(t);
    } else if (i % 10 == 0) { /* long enough for sums in bytes or half-words to overflow */
        *n = 1 + kc_below(t, 1100);
        *c = kc_edge_size(t);
    } else {
        *n = 1 + kc_below(t, 40);
        *c = 1 + kc_below(t, 300);
    }
}

size_t kc_make_windows(struct kcheck *t, int32_t *pixel, size_t n, int32_t *tap, size_t taps,
                       size_t unit_size) {
    const struct kc_layer *l = t->layer;
    int32_t width = l != NULL ? (int32_t)(l->w + 2) : 1 + (int32_t)kc_below(t, 12);
    int32_t unit = (int32_t)unit_size, side = taps == 9 ? 3 : 1;
    for (int32_t i = 0; i < (int32_t)taps; i++)
        tap[i] = l != NULL ? (i / side * width + i % side) * unit
                           : (int32_t)kc_below(t, 41 * unit_size) - 20 * unit;
    for (int32_t p = 0; p < (int32_t)n; p++)
        pixel[p] = l != NULL ? p * (int32_t)l->stride * unit : (int32_t)kc_below(t, 60 * unit_size);
    int32_t lowest = INT32_MAX, highest = INT32_MIN;
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < taps; i++) {
            int32_t at = pixel[p] + tap[i];
            lowest = at < lowest ? at : lowest;
            highest = at > highest ? at : highest;
        }
    for (size_t p = 0; p < n; p++)
        pixel[p] -= lowest;
    return (size_t)(highest - lowest) + unit_size;
}

size_t kc_draw_w_taps(struct kcheck *t, size_t taps) {
    return t->layer != NULL ? taps : taps + kc_below(t, 3);
}

int32_t *kc_make_tap_w(struct kcheck *t, size_t taps, size_t w_taps) {
    int32_t *tap_w = kc_input(t, "tap_w", KC_I32, taps);
    for (size_t i = 0; i < taps; i++)
        tap_w[i] = (int32_t)(t->layer != NULL ? taps - 1 - i : kc_below(t, w_taps));
    return tap_w;
}

int32_t *kc_make_places(struct kcheck *t, size_t n) {
    int32_t *place = kc_input(t, "to", KC_I32, n);
    for (size_t i = 0; i < n; i++) {
        size_t j = t->layer != NULL ? i : kc_below(t, i + 1);
        place[i] = place[j];
        place[j] = (int32_t)i;
    }
    return place;
}

struct kc_gradient kc_make_gradient(struct kcheck *t, size_t count, int in_place,
                                    enum kc_floats which) {
    struct kc_gradient g = {.form = ""};
    int as_sums = !in_place && !t->is_bench && kc_below(t, 2) != 0;
    g.value = in_place ? kc_output(t, "g and out", KC_F32, count) : kc_input(t, "g", KC_F32, count);
    if (!as_sums) {
        kc_fill_floats(t, g.value, count, which);
        return g;
    }
    g.form = ", g of sums";
    g.sums = kc_input(t, "sums", KC_I16, count);
    g.scale = kc_below(t, 8) ? kc_moderate(t) : 0.0f;
    kc_fill_i16(t, g.sums, count);
    for (size_t i = 0; i < count; i++)
        g.value[i] = g.scale * (float)g.sums[i];
    return g;
}

struct kc_gradient kc_make_bf16_gradient(struct kcheck *t, size_t count) {
    struct kc_float16 g = kc_make_float16(t, KC_BF16, "g", count, 0);
    return (struct kc_gradient){g.value, NULL, g.bits, 1.0f, ", g in bfloat16"};
}

struct bp_gradient_rows kc_gradient_at(struct kcheck *t, const struct kc_gradient *g) {
    struct bp_gradient_rows rows = {NULL, NULL, g->scale, NULL};
    if (g->sums != NULL)
        rows.sums = kc_at(t, g->sums);
    else if (g->bf16 != NULL)
        rows.bf16 = kc_at(t, g->bf16);
    else
        rows.floats = kc_at(t, g->value);
    return rows;
}

void kc_params(struct kcheck *t, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(t->params, sizeof t->params, format, arguments);
    va_end(arguments);
}

enum pattern { ZEROS, ONES, ALTERNATING, EXTREME, SPARSE, RANDOM, PATTERNS };

static const char *const pattern_names[] = {"zeros",   "ones",   "alternating",
                                            "extreme", "sparse", "random"};

/* Random content half of the time. */
static enum pattern draw_pattern(struct kcheck *t) {
    size_t draw = kc_below(t, 2 * (size_t)RANDOM);
    enum pattern pattern = t->is_bench || draw > RANDOM ? RANDOM : (enum pattern)draw;
    size_t used = strlen(t->patterns);
    snprintf(t->patterns + used, sizeof t->patterns - used, "%s%s", used ? ", " : "",
             pattern_names[pattern]);
    return pattern;
}

static uint64_t pattern_word(struct kcheck *t, enum pattern pattern, size_t index) {
    switch (pattern) {
    case ZEROS:
        return 0;
    case ONES:
        return UINT64_MAX;
    case ALTERNATING:
        return index % 2 ? 0xAAAAAAAAAAAAAAAAu : 0x5555555555555555u;
    case EXTREME: /* the first and last bits of words */
        return index % 3 == 0 ? 0x8000000000000001u : index % 3 == 1 ? 1 : (uint64_t)1 << 63;
    case SPARSE:
        return (uint64_t)(kc_below(t, 4) == 0) << kc_below(t, 64);
    default:
        return kc_random(t);
    }
}

void kc_fill_bits(struct kcheck *t, uint64_t *words, size_t rows, size_t bits) {
    enum pattern pattern = draw_pattern(t);
    size_t row_words = bp_words(bits);
    uint64_t last = bits % 64 ? ((uint64_t)1 << bits % 64) - 1 : UINT64_MAX;
    for (size_t i = 0; i < rows * row_words; i++) {
        words[i] = pattern_word(t, pattern, i);
        if (i % row_words == row_words - 1)
            words[i] &= last;
    }
}

void kc_fill_bytes(struct kcheck *t, uint8_t *bytes, size_t count) {
    enum pattern pattern = draw_pattern(t);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(pattern_word(t, pattern, i) >> (pattern == EXTREME ? i % 2 * 56 : 0));
}

void kc_fill_i16(struct kcheck *t, int16_t *values, size_t count) {
    enum pattern pattern = draw_pattern(t);
    static const int16_t constants[] = {-1, INT16_MIN, INT16_MAX};
    int16_t constant = constants[kc_below(t, 3)];
    static const int16_t extremes[] = {INT16_MIN, INT16_MAX, 0, -1, 1, 4608, -4608};
    for (size_t i = 0; i < count; i++) {
        int small = (int)kc_below(t, 1153) - 576;
        switch (pattern) {
        case ZEROS:
            values[i] = 0;
            break;
        case ONES:
            values[i] = constant;
            break;
        case ALTERNATING:
            values[i] = i % 2 ? -576 : 576;
            break;
        case EXTREME:
            values[i] = extremes[kc_below(t, sizeof extremes / sizeof extremes[0])];
            break;
        case SPARSE:
            values[i] = (int16_t)(kc_below(t, 8) == 0 ? small : 0);
            break;
        default:
            values[i] = (int16_t)(kc_below(t, 2) ? small : (int)kc_below(t, 65536) - 32768);
            break;
        }
    }
}

void kc_fill_i32(struct kcheck *t, int32_t *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        values[i] = (int32_t)kc_below(t, 2000001) - 1000000;
}

float kc_moderate(struct kcheck *t) {
    float u = (float)(kc_random(t) >> 40) * 0x1p-24f;
    return (u * 4.0f - 2.0f) * (kc_below(t, 8) == 0 ? 0x1p-12f : 1.0f);
}

void kc_fill_moderate(struct kcheck *t, float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        values[i] = kc_moderate(t);
}

static float extreme_float(struct kcheck *t, enum kc_floats which) {
    static const float finite[] = {0.0f,
                                   -0.0f,
                                   1.0f,
                                   -1.0f,
                                   1.0f - FLT_EPSILON / 2,
                                   -(1.0f - FLT_EPSILON / 2),
                                   1.0f + FLT_EPSILON,
                                   -(1.0f + FLT_EPSILON),
                                   FLT_MIN,
                                   -FLT_MIN,
                                   0x1p-149f,
                                   -0x1p-149f,
                                   1e18f,
                                   -1e18f};
    const size_t n_finite = sizeof finite / sizeof finite[0];
    size_t draw = kc_below(t, n_finite + (which == KC_ANY_FLOAT ? 5 : 0));
    if (draw < n_finite)
        return finite[draw];
    const float others[] = {INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX};
    return others[draw - n_finite];
}

void kc_fill_floats(struct kcheck *t, float *values, size_t count, enum kc_floats which) {
    enum pattern pattern = draw_pattern(t);
    /* Whole arrays of wild numbers end in NaN everywhere and then compare nothing. */
    size_t wild = 2 + kc_below(t, 200);
    for (size_t i = 0; i < count; i++)
        switch (pattern) {
        case ZEROS:
            values[i] = kc_below(t, 2) ? 0.0f : -0.0f;
            break;
        case ONES:
            values[i] = 1.0f;
            break;
        case ALTERNATING:
            values[i] = i % 2 ? -1.0f : 1.0f;
            break;
        case EXTREME:
            values[i] = kc_below(t, wild) < 2 ? extreme_float(t, which) : kc_moderate(t);
            break;
        case SPARSE:
            values[i] = kc_below(t, 8) == 0 ? kc_moderate(t) : 0.0f;
            break;
        default:
            values[i] = kc_moderate(t);
            break;
        }
}
