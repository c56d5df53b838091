/* Tests of the products of tiles of bytes. The references multiply one byte at a time. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/bits.h"

static int value_of(uint8_t byte, int is_signed) {
    return is_signed && byte > 127 ? byte - 256 : byte;
}

struct tiles {
    size_t count, rows, places, taps, steps, lanes, pitch, step, y_stride, x_bytes, y_count;
    int is_exact; /* one row's sums reach the ends of int16 */
    int32_t *at, *to, *tap, *tap_w;
    uint8_t *x, *w;
};

/* Sweeps the lanes with few steps, then the rows; every tenth of the others has long sums: at most
 * 511 steps, so that signs do not leave int16. Layers: `depth` contracted channels. */
static void draw_tile_sizes(struct kcheck *t, struct tiles *s, size_t depth) {
    const struct kc_layer *l = t->layer;
    unsigned i = t->case_index;
    s->is_exact = l == NULL && i % 8 == 3;
    s->rows = 1 + kc_below(t, 20);
    s->taps = s->is_exact ? 1 : kc_below(t, 3) == 0 ? 9 : 1 + kc_below(t, 5);
    s->steps = s->is_exact ? 5 + kc_below(t, 6) : 1 + kc_below(t, 5);
    s->lanes = kc_below(t, 2) == 0 ? BP_LANES : 1 + kc_below(t, BP_LANES);
    if (l != NULL) {
        s->rows = kc_positions(t);
        s->taps = l->r * l->r;
        s->steps = bp_words(depth);
        s->lanes = BP_LANES;
    } else if (i < KC_SWEEP) {
        s->lanes = i % BP_LANES + 1;
    } else if (i < 2 * KC_SWEEP) {
        s->rows = i - KC_SWEEP + 1;
        s->taps = s->is_exact ? 1 : 1 + kc_below(t, 2);
    } else if (i % 10 == 0 && !s->is_exact) {
        s->steps = kc_below(t, 4) ? 1 + kc_below(t, 511 / s->taps) : 511 / s->taps;
    }
    s->count = (s->rows + 15) / 16 + (l != NULL ? 0 : kc_below(t, 3));
}

/* The steps of a row side by side, rows side by side, or anything: any number of bytes, and steps
 * that overlap (not where a sum is to be exact). */
static void draw_tile_distances(struct kcheck *t, struct tiles *s) {
    size_t unit = BP_TILE_STEP * s->steps, kind = kc_below(t, 4);
    s->step = BP_TILE_STEP;
    s->pitch = kc_below(t, 2) ? unit : kc_below(t, 2 * unit);
    if (kind == 1) {
        s->step = s->steps > 10 ? kc_below(t, 10) * 64 : 16 * 64 + kc_below(t, 100) * 64;
        s->pitch = BP_TILE_STEP;
    } else if (kind == 2) {
        s->step = kc_below(t, 400);
    } else if (kind == 3) {
        s->step = kc_below(t, 64);
    }
    if (s->is_exact && s->step < BP_TILE_STEP)
        s->step += BP_TILE_STEP;
}

/* Results: in any order, those that are not wanted anywhere between; or as of a layer one behind
 * the other or `apart`, with two rows of some blocks exchanged, or none. */
static void draw_places(struct kcheck *t, struct tiles *s) {
    size_t style = t->layer != NULL ? 1 : kc_below(t, 3);
    for (size_t i = 0; i < 16 * s->count; i++) {
        size_t j = style > 0 ? i : kc_below(t, i + 1);
        s->to[i] = s->to[j];
        s->to[j] = i < s->rows ? (int32_t)i : -1;
    }
    size_t last = 16 * s->count - 1;
    if (style == 2 && s->to[last] < 0 && kc_below(t, 2) == 0) { /* -1 before row 0 */
        memmove(s->to + 1, s->to, last * sizeof *s->to);
        s->to[0] = -1;
        style = 1;
    }
    for (size_t b = 0; style == 2 && b < s->count; b++) {
        int32_t *block = s->to + 16 * b, *other = block + 1 + kc_below(t, 15), kept = block[0];
        if (kc_below(t, 2) == 0)
            continue;
        block[0] = *other;
        *other = kept;
    }
    int32_t apart = t->layer != NULL || kc_below(t, 2) == 0 ? 1 : 1 + (int32_t)kc_below(t, 3);
    for (size_t i = 0; i < 16 * s->count; i++)
        s->to[i] *= s->to[i] < 0 ? 1 : apart;
    s->places = (s->rows - 1) * (size_t)apart + 1;
}

/* Blocks and taps anywhere, of a layer as pixels lie in its image, a plane of it for each step. The
 * last of the rows that are read ends with x. */
static void make_tile_rows(struct kcheck *t, struct tiles *s) {
    const struct kc_layer *l = t->layer;
    int32_t side = s->taps == 9 ? 3 : 1;
    draw_tile_distances(t, s);
    if (l != NULL) {
        s->pitch = BP_TILE_STEP;
        s->step = (s->count * 16 + 2 * (l->w + 2) + 2) * BP_TILE_STEP;
    }
    s->at = kc_input(t, "at", KC_I32, s->count);
    s->tap = kc_input(t, "tap", KC_I32, s->taps);
    int32_t low_at = INT32_MAX, high_at = INT32_MIN, low_tap = INT32_MAX, high_tap = INT32_MIN;
    for (size_t b = 0; b < s->count; b++) {
        s->at[b] = (int32_t)(l != NULL ? b * 16 * s->pitch : kc_below(t, 4000));
        low_at = s->at[b] < low_at ? s->at[b] : low_at;
        high_at = s->at[b] > high_at ? s->at[b] : high_at;
    }
    for (int32_t i = 0; i < (int32_t)s->taps; i++) {
        s->tap[i] = l != NULL ? (i / side * (int32_t)(l->w + 2) + i % side) * 64
                              : (int32_t)kc_below(t, 3000) - 1500;
        low_tap = s->tap[i] < low_tap ? s->tap[i] : low_tap;
        high_tap = s->tap[i] > high_tap ? s->tap[i] : high_tap;
    }
    for (size_t b = 0; b < s->count; b++)
        s->at[b] -= low_at + low_tap;
    s->x_bytes = (size_t)(high_at - low_at + high_tap - low_tap) + 15 * s->pitch +
                 (s->steps - 1) * s->step + BP_TILE_STEP;
    s->to = kc_input(t, "to", KC_I32, 16 * s->count);
    draw_places(t, s);
}

/* x zero but for one wanted row, so that the magnitude of the sum of one lane there is 32767 and no
 * other sum is larger. */
static void fill_exact(struct kcheck *t, struct tiles *s) {
    size_t row = kc_below(t, 16 * s->count), lane = kc_below(t, s->lanes), left = 32767;
    while (s->to[row] < 0)
        row = (row + 1) % (16 * s->count);
    uint8_t *x = s->x + s->at[row / 16] + s->tap[0] + (ptrdiff_t)(row % 16 * s->pitch);
    const uint8_t *w = s->w + (size_t)s->tap_w[0] * s->steps * 64 * BP_LANES;
    int turn = kc_below(t, 2) ? -1 : 1;
    for (size_t i = 0; i < 64 * s->steps; i++) {
        const uint8_t *tile = w + (i / 64 * 2 + lane / 16) * 1024;
        int sign = turn * value_of(tile[i % 64 / 4 * 64 + lane % 16 * 4 + i % 4], 1);
        size_t most = sign < 0 ? 128 : 127;
        size_t magnitude = bp_min_size(left, kc_below(t, 4) ? most : 110);
        x[i / 64 * s->step + i % 64] = (uint8_t)(sign * (int)magnitude);
        left -= magnitude;
    }
}

#define START_MOST 63

/* Signed bytes whose sums fit int16; bytes of all ones become the largest. */
static void limit_bytes(struct kcheck *t, struct tiles *s) {
    int most = (int)((32767 - START_MOST) / (s->taps * s->steps * 64)),
        only_signs = kc_below(t, 2) != 0;
    for (size_t i = 0; i < s->x_bytes; i++) {
        int value = value_of(s->x[i], 1);
        if (only_signs)
            value = (value % 2 ? 1 : -1) * (most < 127 ? most : 127);
        else if (most < 128)
            value = value == -1 ? most : value % (most + 1);
        s->x[i] = (uint8_t)value;
    }
}

static struct tiles draw_tiles(struct kcheck *t, size_t depth) {
    struct tiles s;
    draw_tile_sizes(t, &s, depth);
    make_tile_rows(t, &s);
    size_t w_taps = kc_draw_w_taps(t, s.taps);
    s.tap_w = kc_make_tap_w(t, s.taps, w_taps);
    s.x = kc_input(t, "x", KC_U8, s.x_bytes);
    if (!s.is_exact)
        kc_fill_bytes(t, s.x, s.x_bytes);
    uint64_t *signs = kc_input(t, "signs", KC_U64, w_taps * s.steps * BP_LANES);
    kc_fill_bits(t, signs, w_taps * s.steps * BP_LANES, 64);
    s.w = kc_input(t, "w", KC_U8, w_taps * s.steps * 64 * BP_LANES);
    t->reference->spread_weights(signs, w_taps * s.steps, (int8_t *)s.w, NULL);
    s.y_stride = s.lanes + (t->layer != NULL ? 32 : kc_below(t, 2) * kc_below(t, 40));
    s.y_count = (s.places - 1) * s.y_stride + s.lanes;
    kc_params(t,
              "blocks=%zu rows=%zu pitch=%zu step=%zu taps=%zu w_taps=%zu steps=%zu lanes=%zu "
              "y_stride=%zu%s",
              s.count, s.rows, s.pitch, s.step, s.taps, w_taps, s.steps, s.lanes, s.y_stride,
              s.is_exact ? " exact" : "");
    kc_work(t, (double)(s.rows * s.taps * s.steps * 64) * (double)s.lanes, "MAC");
    return s;
}

/* What sums start from, or NULL; the other sums are at most START_MOST below the ends of int16. */
static int32_t *draw_start(struct kcheck *t, const struct tiles *s) {
    int32_t *start = kc_input(t, "start", KC_I32, BP_LANES);
    for (size_t j = 0; j < BP_LANES; j++)
        start[j] = s->is_exact ? 0 : (int32_t)kc_below(t, 2 * START_MOST + 1) - START_MOST;
    return kc_below(t, 2) ? start : NULL;
}

/* Row i, lane j. */
static int32_t expected_sum(const struct tiles *s, int is_signed, size_t i, size_t j) {
    int32_t sum = 0;
    for (size_t k = 0; k < s->taps; k++) {
        const uint8_t *x = s->x + s->at[i / 16] + s->tap[k] + (ptrdiff_t)(i % 16 * s->pitch);
        for (size_t e = 0; e < 64 * s->steps; e++) {
            size_t tile = ((size_t)s->tap_w[k] * s->steps + e / 64) * 2 + j / 16;
            uint8_t w = s->w[tile * 1024 + e % 64 / 4 * 64 + j % 16 * 4 + e % 4];
            sum += value_of(x[e / 64 * s->step + e % 64], is_signed) * value_of(w, 1);
        }
    }
    return sum;
}

static struct bp_tile_blocks blocks_at(struct kcheck *t, const struct tiles *s) {
    return (struct bp_tile_blocks){s->count, kc_at(t, s->at), kc_at(t, s->to), s->pitch, s->step};
}

/* Words from one row of the result to the next: 1 or more. */
static struct bp_lane_mask draw_mask(struct kcheck *t, const struct tiles *s) {
    struct bp_lane_mask mask = {.stride = 1 + kc_below(t, 3)};
    size_t words = (s->places - 1) * mask.stride + 1;
    uint64_t *bits = kc_input(t, "mask", KC_U64, words);
    kc_fill_bits(t, bits, words, 64);
    mask.words = bits;
    mask.shift = (unsigned)kc_below(t, 65 - s->lanes);
    return mask;
}

static int is_wanted(const struct bp_lane_mask *mask, size_t row, size_t lane) {
    return mask == NULL || bp_bit(mask->words + row * mask->stride, mask->shift + lane);
}

void kcheck_product_tiles_i16(struct kcheck *t) {
    struct tiles s = draw_tiles(t, t->layer != NULL ? t->layer->c : 0);
    struct bp_lane_mask of = draw_mask(t, &s), *mask = kc_below(t, 2) ? &of : NULL;
    const int32_t *start = draw_start(t, &s);
    if (s.is_exact)
        fill_exact(t, &s);
    else
        limit_bytes(t, &s);
    int16_t *y = kc_output(t, "y", KC_I16, s.y_count);
    kc_fill_i16(t, y, s.y_count);
    kc_keep_initial(t, y);
    const struct bp_tile_blocks blocks = {s.count, s.at, s.to, s.pitch, s.step};
    if (t->layer != NULL)
        t->reference->product_tiles_i16((int8_t *)s.x, &blocks, s.tap, s.tap_w, s.taps, s.steps,
                                        (int8_t *)s.w, start, s.lanes, y, s.y_stride, mask);
    else
        for (size_t i = 0; i < 16 * s.count; i++)
            for (size_t j = 0; s.to[i] >= 0 && j < s.lanes; j++)
                y[(size_t)s.to[i] * s.y_stride + j] =
                    is_wanted(mask, (size_t)s.to[i], j)
                        ? (int16_t)(expected_sum(&s, 1, i, j) + (start == NULL ? 0 : start[j]))
                        : 0;
    while (kc_next(t)) {
        struct bp_tile_blocks at = blocks_at(t, &s);
        struct bp_lane_mask mask_at = of;
        mask_at.words = kc_at(t, of.words);
        t->kernels->product_tiles_i16(kc_at(t, s.x), &at, kc_at(t, s.tap), kc_at(t, s.tap_w),
                                      s.taps, s.steps, kc_at(t, s.w),
                                      start == NULL ? NULL : kc_at(t, start), s.lanes, kc_at(t, y),
                                      s.y_stride, mask == NULL ? NULL : &mask_at);
    }
}

void kcheck_product_tiles_i32(struct kcheck *t) {
    struct tiles s = draw_tiles(t, t->layer != NULL ? t->layer->k : 0);
    int is_signed = kc_below(t, 2) != 0;
    if (s.is_exact)
        fill_exact(t, &s);
    int32_t *y = kc_output(t, "y", KC_I32, s.y_count);
    kc_fill_i32(t, y, s.y_count);
    kc_keep_initial(t, y);
    const struct bp_tile_blocks blocks = {s.count, s.at, s.to, s.pitch, s.step};
    if (t->layer != NULL)
        t->reference->product_tiles_i32(s.x, is_signed, &blocks, s.tap, s.tap_w, s.taps, s.steps,
                                        (int8_t *)s.w, s.lanes, y, s.y_stride, NULL);
    else
        for (size_t i = 0; i < 16 * s.count; i++)
            for (size_t j = 0; s.to[i] >= 0 && j < s.lanes; j++)
                y[(size_t)s.to[i] * s.y_stride + j] = expected_sum(&s, is_signed, i, j);
    size_t soon_bytes = kc_below(t, s.y_count * 4), with_soon = kc_below(t, 2);
    while (kc_next(t)) {
        struct bp_tile_blocks at = blocks_at(t, &s);
        char *soon_at = kc_at(t, y); /* whatever it fetches, y holds the result */
        struct bp_fetch soon = {.at = soon_at, .end = soon_at + soon_bytes};
        t->kernels->product_tiles_i32(kc_at(t, s.x), is_signed, &at, kc_at(t, s.tap),
                                      kc_at(t, s.tap_w), s.taps, s.steps, kc_at(t, s.w), s.lanes,
                                      kc_at(t, y), s.y_stride, with_soon ? &soon : NULL);
    }
}

struct turned {
    size_t k, c, taps, n_runs, steps, pitch, plane, y_stride, y_tap;
    size_t row_bytes, x_bytes; /* of a row of codes and of a plane, as far as the runs reach */
    struct bp_run *runs;
    size_t *begin;
};

static void add_turned_run(struct turned *s, size_t table, size_t index, size_t count) {
    s->runs[s->n_runs++] = (struct bp_run){(int32_t)table, (int32_t)index, (int32_t)count};
    s->steps += count;
    if (count > 0) {
        s->row_bytes = table + 64 * count > s->row_bytes ? table + 64 * count : s->row_bytes;
        s->x_bytes = index + 1024 * count > s->x_bytes ? index + 1024 * count : s->x_bytes;
    }
}

#define LAYER_STEPS 8 /* of each tap: a step is 64 samples at one pixel */
#define RUNS_MOST   (49 * LAYER_STEPS)

/* Runs for each tap, some for none; the first tap need not begin with the first run. */
static void draw_turned_runs(struct kcheck *t, struct turned *s) {
    size_t before = kc_below(t, 3) == 0 ? kc_below(t, 4) : 0;
    /* 1: all runs are empty. */
    size_t most = t->case_index % 16 == 5 ? 1 : s->taps < 3 && kc_below(t, 4) == 0 ? 60 : 6;
    for (size_t i = 0; i < before; i++)
        add_turned_run(s, kc_below(t, 5000), kc_below(t, 9000), kc_below(t, most));
    s->steps = s->row_bytes = s->x_bytes = 0;
    for (size_t tap = 0; tap < s->taps; tap++) {
        s->begin[tap] = s->n_runs;
        size_t count = kc_below(t, 3) == 0 ? 0 : kc_below(t, 40 / s->taps);
        for (size_t i = 0; i < count; i++)
            add_turned_run(s, kc_below(t, 5000), kc_below(t, 9000), kc_below(t, most));
    }
    s->begin[s->taps] = s->n_runs;
}

/* Part of a row of a layer, or several, as each tap sees them. The four planes of a row lie
 * together; with stride 2 the even columns come first. */
static void make_layer_runs(const struct kc_layer *l, struct turned *s) {
    size_t columns = l->w + 2, count = bp_min_size(l->w / l->stride, LAYER_STEPS);
    s->plane = 1024 * columns;
    for (size_t tap = 0; tap < s->taps; tap++) {
        size_t ty = tap / l->r, tx = tap % l->r;
        size_t slot = tx / l->stride + tx % l->stride * ((columns + 1) / 2);
        s->begin[tap] = s->n_runs;
        for (size_t row = 0; row < LAYER_STEPS / count; row++)
            add_turned_run(s, 64 * count * row, 4 * s->plane * (row * l->stride + ty) + 1024 * slot,
                           count);
    }
    s->begin[s->taps] = s->n_runs;
}

/* Planes anywhere; sums of a tap after those of the one before, or rows of all taps. */
static void draw_turned_distances(struct kcheck *t, struct turned *s) {
    size_t gap = kc_below(t, 2) * kc_below(t, 100);
    s->pitch = s->row_bytes + kc_below(t, 2) * kc_below(t, 100);
    s->plane = kc_below(t, 4) == 0 ? kc_below(t, 3000) : s->x_bytes + kc_below(t, 2) * gap;
    if (kc_below(t, 2)) {
        s->y_tap = s->c + gap;
        s->y_stride = s->taps * s->y_tap + kc_below(t, 2) * kc_below(t, 100);
    } else {
        s->y_stride = s->c + gap;
        s->y_tap = s->k * s->y_stride + kc_below(t, 2) * kc_below(t, 100);
    }
}

static struct turned draw_turned(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    unsigned i = t->case_index;
    struct turned s = {.k = 1 + kc_below(t, 32), .c = 1 + kc_below(t, 64)};
    s.k = kc_below(t, 2) ? s.k : bp_round_up(s.k, 16); /* whole tiles */
    s.c = kc_below(t, 2) ? s.c : bp_round_up(s.c, 32);
    s.taps = kc_below(t, 3) == 0 ? 9 : 1 + kc_below(t, 5);
    if (l != NULL) {
        s.k = bp_min_size(l->k, 32);
        s.c = bp_min_size(l->c, 64);
        s.taps = l->r * l->r;
    } else if (i < KC_SWEEP) {
        s.c = i % 64 + 1;
    } else if (i < 2 * KC_SWEEP) {
        s.k = (i - KC_SWEEP) % 32 + 1;
    }
    struct bp_run drawn[RUNS_MOST];
    s.runs = drawn;
    s.begin = kc_input(t, "begin", KC_U64, s.taps + 1);
    if (l != NULL) {
        make_layer_runs(l, &s);
        s.pitch = (LAYER_STEPS | 1) * 64;
        s.y_tap = l->c;
        s.y_stride = s.taps * l->c;
    } else {
        draw_turned_runs(t, &s);
        draw_turned_distances(t, &s);
    }
    s.runs = kc_input(t, "runs", KC_I32, 3 * s.n_runs);
    for (size_t r = 0; r < s.n_runs; r++)
        s.runs[r] = drawn[r];
    return s;
}

/* Row i and lane j of a tap. */
static int32_t turned_sum(const struct turned *s, const uint8_t *codes, int is_signed,
                          const uint8_t *x, size_t tap, size_t i, size_t j) {
    int32_t sum = 0;
    for (size_t r = s->begin[tap]; r < s->begin[tap + 1]; r++) {
        const uint8_t *code = codes + i * s->pitch + s->runs[r].table;
        const uint8_t *lane = x + j / 16 * s->plane + s->runs[r].index + j % 16 * 4;
        for (size_t e = 0; e < 64 * (size_t)s->runs[r].count; e++)
            sum += value_of(code[e], is_signed) * value_of(lane[e / 4 * 64 + e % 4], 1);
    }
    return sum;
}

void kcheck_product_turned(struct kcheck *t) {
    struct turned s = draw_turned(t);
    int is_signed = kc_below(t, 2) != 0, add = kc_below(t, 4) != 0;
    kc_params(t,
              "k=%zu pitch=%zu taps=%zu runs=%zu from %zu steps=%zu plane=%zu c=%zu y_stride=%zu "
              "y_tap=%zu codes %s%s",
              s.k, s.pitch, s.taps, s.n_runs, s.begin[0], s.steps, s.plane, s.c, s.y_stride,
              s.y_tap, is_signed ? "signed" : "unsigned", add ? " added" : "");
    kc_work(t, (double)(s.steps * 64 * s.k) * (double)s.c, "MAC");
    /* These rows and lanes are read. */
    size_t code_bytes = (bp_round_up(s.k, 16) - 1) * s.pitch + s.row_bytes;
    size_t x_bytes = (bp_round_up(s.c, 32) / 16 - 1) * s.plane + s.x_bytes;
    uint8_t *codes = kc_input(t, "codes", KC_U8, code_bytes);
    uint8_t *x = kc_input(t, "x", KC_U8, x_bytes);
    kc_fill_bytes(t, codes, code_bytes);
    kc_fill_bytes(t, x, x_bytes);
    size_t y_count = (s.taps - 1) * s.y_tap + (s.k - 1) * s.y_stride + s.c;
    int32_t *y = kc_output(t, "y", KC_I32, y_count);
    kc_fill_i32(t, y, y_count);
    kc_keep_initial(t, y);
    if (t->layer != NULL)
        t->reference->product_turned(codes, is_signed, add, s.k, s.pitch, s.runs, s.begin, s.taps,
                                     (int8_t *)x, s.plane, s.c, y, s.y_stride, s.y_tap);
    else
        for (size_t tap = 0; tap < s.taps; tap++)
            for (size_t i = 0; i < s.k; i++)
                for (size_t j = 0; j < s.c; j++)
                    y[tap * s.y_tap + i * s.y_stride + j] =
                        (add ? y[tap * s.y_tap + i * s.y_stride + j] : 0) +
                        turned_sum(&s, codes, is_signed, x, tap, i, j);
    while (kc_next(t)) {
        t->kernels->product_turned(kc_at(t, codes), is_signed, add, s.k, s.pitch, kc_at(t, s.runs),
                                   kc_at(t, s.begin), s.taps, kc_at(t, x), s.plane, s.c,
                                   kc_at(t, y), s.y_stride, s.y_tap);
    }
}
