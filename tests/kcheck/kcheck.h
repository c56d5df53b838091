/* kcheck tests kernels: every kernel of kernels.def, in every tier of this machine. The expected
 * result of a small case comes from a naive reference written in the test from the contract alone,
 * of a real layer from the C tier. Every buffer is seen by the kernel twice: ending right before a
 * page that faults, and beginning right after one, with canary bytes on its other side.
 *
 * A test draws one case (sizes, inputs, expected outputs) and then lets every version run:
 *
 *     kc_params(t, "n=%zu", n);
 *     float *x = kc_input(t, "x", KC_F32, n);
 *     kc_fill_floats(t, x, n, KC_ANY_FLOAT);
 *     uint64_t *y = kc_output(t, "y", KC_U64, n);
 *     ... writes the expected content of y ...
 *     while (kc_next(t))
 *         t->kernels->some_kernel(kc_at(t, x), n, kc_at(t, y));
 *
 * kc_next checks the call before it: outputs, pad bytes, that inputs are unchanged. */
#ifndef KCHECK_H
#define KCHECK_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum kc_type {
    KC_U8,
    KC_I16,
    KC_I32,
    KC_I64,
    KC_U64,
    KC_BF16, /* every NaN equals every NaN, in halves too */
    KC_F16,
    KC_F32,       /* the same bits, but every NaN equals every NaN */
    KC_F32_VALUE, /* as KC_F32, but -0.0 equals +0.0, and kc_anything() equals everything */
    KC_F64
};

/* One line of bench/shapes: a convolution of n samples. */
struct kc_layer {
    char name[24];
    size_t n, h, w, c, k, r, stride;
};

struct kc_buffer {
    char name[16];
    enum kc_type type;
    int is_output;
    size_t count, bytes, capacity;
    unsigned char *data;    /* content of an input, expected content of an output */
    unsigned char *initial; /* an output before the call */
    int has_initial;
    unsigned char *at;   /* where the kernel finds it */
    unsigned char *room; /* writable bytes between two guard pages */
    size_t room_bytes;
};

#define KC_BUFFERS  16
#define KC_VERSIONS 4

/* One table of kernels that is being tested. */
struct kc_version {
    struct bp_kernels kernels;
    const char *label;
    enum bp_tier tier;
    int failed; /* in the current kernel; it is then left out */
};

enum kc_placement { KC_ENDS_AT_GUARD, KC_BEGINS_AT_GUARD, KC_PLACEMENTS };

struct kc_bench {
    long left, calls;
    int round;
    double begin_ns, total_ns, best_ns, work;
    const char *unit;
    double ns[KC_VERSIONS], rate[KC_VERSIONS];
    int with_peak;
    int planes; /* of a product on words; 0: it has none */
};

struct kcheck {
    /* For tests. */
    const struct bp_kernels *kernels;   /* the version to call, set by kc_next */
    const struct bp_kernels *reference; /* the C tier */
    const struct kc_layer *layer;       /* a real layer, or NULL */
    unsigned case_index;
    size_t together; /* see kc_together */

    /* The case being run. */
    uint64_t seed, random;
    const char *kernel_name;
    char params[256], patterns[128];
    struct kc_buffer buffers[KC_BUFFERS];
    size_t n_buffers;

    /* The versions and where the run stands: position = version * KC_PLACEMENTS + placement. */
    struct kc_version versions[KC_VERSIONS];
    size_t n_versions, position;
    int in_call, quiet, no_guards, by_together, also_one;
    char failure[256];
    sigjmp_buf jump;

    int is_bench, entry_max; /* of the products by lookup on layers */
    struct kc_bench bench;
};

typedef void kc_test(struct kcheck *t);

/* Names of the drawn sizes, printed when the case fails. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void kc_params(struct kcheck *t, const char *format, ...);

/* Wide tables are where so many quads stand together (sums_at_once), and in C. */
#define KC_WIDE_TOGETHER 4

/* Buffers of a case; the content is zero at first. An in-out buffer is filled with what stands
 * there before the call, kept by kc_keep_initial, then changed to what is expected. */
void *kc_input(struct kcheck *t, const char *name, enum kc_type type, size_t count);
void *kc_output(struct kcheck *t, const char *name, enum kc_type type, size_t count);
void kc_keep_initial(struct kcheck *t, const void *data);
int kc_next(struct kcheck *t);
/* Outputs of ranges of k columns (kcheck_range.c): what stands there, one more element of column j,
 * where the kernel finds them. */
struct bp_columns kc_columns(struct kcheck *t, size_t k);
void kc_columns_add(const struct bp_columns *r, size_t j, float v);
struct bp_columns kc_columns_at(struct kcheck *t, const struct bp_columns *r);
/* An input of *k of c columns, rising. */
int32_t *kc_rising(struct kcheck *t, size_t c, size_t *k);
/* How many quads stand together in this case, 1 or 4. Each case runs for both, with the versions
 * made for it (also_one: those made for 4 take 1 too) and the C tier, which takes both. */
size_t kc_together(struct kcheck *t, int also_one);
/* Is version `index` one of them? */
int kc_takes_part(const struct kcheck *t, size_t index);
/* Where the kernel finds the buffer that was given as `data` (NULL stays NULL). */
void *kc_at(struct kcheck *t, const void *data);
/* What one call amounts to, for --bench. unit: "MAC", "element". */
void kc_work(struct kcheck *t, double amount, const char *unit);

/* --- data ------------------------------------------------------------------------------------- */

uint64_t kc_random(struct kcheck *t);
/* 0 .. n - 1 */
size_t kc_below(struct kcheck *t, size_t n);
/* A size around the widths of registers and words. */
size_t kc_edge_size(struct kcheck *t);
/* What kernels that round rows [n][c] twice are given, see struct bp_rounding_both
 * (kcheck_quantize.c): inputs and outputs, what is expected of element i = g, where the kernel
 * finds them. */
struct bp_rounding_both kc_make_both(struct kcheck *t, size_t n, size_t c);
void kc_both_expect(const struct bp_rounding_both *both, size_t c, size_t i, float g);
struct bp_rounding_both kc_both_at(struct kcheck *t, const struct bp_rounding_both *both);
/* Rows and columns of a case: the first cases sweep the columns from 1 to 130, the next ones the
 * rows; then both are random. A layer: positions and input channels. */
void kc_sizes(struct kcheck *t, size_t *n, size_t *c);
/* Output positions of the layer, cut to what a test or a tile of a real step works on. */
size_t kc_positions(const struct kcheck *t);
/* Windows of `unit` elements at pixel[p] + tap[i]: random, or those of the layer's convolution with
 * pixels of `unit` elements. Returns how many elements of data they need; the last window ends with
 * the data. */
size_t kc_make_windows(struct kcheck *t, int32_t *pixel, size_t n, int32_t *tap, size_t taps,
                       size_t unit);
/* Of how many taps of the weights, and which of them are the `taps` of the windows: [taps], any, or
 * those of the layer backwards. */
size_t kc_draw_w_taps(struct kcheck *t, size_t taps);
int32_t *kc_make_tap_w(struct kcheck *t, size_t taps, size_t w_taps);
/* Where results go: [n], a permutation of 0 .. n - 1, that of a layer its order. */
int32_t *kc_make_places(struct kcheck *t, size_t n);

enum kc_floats { KC_FINITE, KC_ANY_FLOAT };

/* x to the nearest bfloat16, or half, as the contracts of round_bf16 and settle_f16 say, and the
 * number that x is. type: KC_BF16 or KC_F16. */
uint16_t kc_to_16(enum kc_type type, float x);
float kc_of_16(enum kc_type type, uint16_t x);

/* An input, or an output that holds something before the call, in such numbers. */
struct kc_float16 {
    uint16_t *bits;
    float *value; /* what they amount to, before the call; not the kernel's */
};
struct kc_float16 kc_make_float16(struct kcheck *t, enum kc_type type, const char *name,
                                  size_t count, int is_output);

/* A gradient in one of its forms, see struct bp_gradient_rows. */
struct kc_gradient {
    float *value;   /* what it amounts to; of floats the buffer itself */
    int16_t *sums;  /* or NULL */
    uint16_t *bf16; /* or NULL */
    float scale;
    const char *form; /* for kc_params */
};
/* Floats or sums: an input, or, floats then, an output as well: the kernel works in place. */
struct kc_gradient kc_make_gradient(struct kcheck *t, size_t count, int in_place,
                                    enum kc_floats which);
struct kc_gradient kc_make_bf16_gradient(struct kcheck *t, size_t count);
struct bp_gradient_rows kc_gradient_at(struct kcheck *t, const struct kc_gradient *g);

/* Fill with one of the patterns: constant, alternating, extreme, random. rows x bits packed bits
 * have clear pad bits. */
void kc_fill_bits(struct kcheck *t, uint64_t *words, size_t rows, size_t bits);
void kc_fill_bytes(struct kcheck *t, uint8_t *bytes, size_t count);
void kc_fill_i16(struct kcheck *t, int16_t *values, size_t count);
/* -1e6 .. 1e6 */
void kc_fill_i32(struct kcheck *t, int32_t *values, size_t count);
void kc_fill_floats(struct kcheck *t, float *values, size_t count, enum kc_floats which);
/* Parameters such as scales: moderate numbers. */
void kc_fill_moderate(struct kcheck *t, float *values, size_t count);
float kc_moderate(struct kcheck *t);
float kc_anything(void);

/* --- run -------------------------------------------------------------------------------------- */

#define KC_SWEEP       130u
#define KC_CASES_DRAWN (2 * KC_SWEEP + 100u)

extern const struct kc_layer kc_layers[];
extern const size_t kc_layers_count;
/* Reads a file of bench/shapes; -1 after a message. */
long kc_layers_read(const char *path, struct kc_layer *layers, size_t capacity);

void kc_catch_faults(struct kcheck *t);
void kc_fail(struct kcheck *t, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void kc_place_buffers(struct kcheck *t, enum kc_placement placement);
void kc_check_buffers(struct kcheck *t);
/* Names the buffer next to a faulting address. */
void kc_describe_address(const struct kcheck *t, const void *address, char *out, size_t size);
void kc_free_buffers(struct kcheck *t);
/* Runs one case in all versions that have not failed yet. */
void kc_run_case(struct kcheck *t, size_t kernel, unsigned case_index);
size_t kc_versions_left(const struct kcheck *t);
unsigned kc_cases_count(void);

int kc_bench_next(struct kcheck *t);
/* Times the versions of one kernel on each layer and prints a line per version. */
void kc_bench_run(struct kcheck *t, size_t kernel, const struct kc_layer *layers, size_t count);
/* What the tier's loop of the kernel being timed reaches on registers alone, in GMAC/s; 0: no such
 * loop. */
double kc_peak(const struct kcheck *t, enum bp_tier tier);
/* A kernel with a mistake. */
struct kc_planted {
    const char *kernel, *mistake;
    struct bp_kernels kernels; /* the one broken entry; the rest is empty */
};
extern const struct kc_planted kc_planted_act[], kc_planted_lookup[], kc_planted_norm[];
extern const size_t kc_planted_act_count, kc_planted_lookup_count, kc_planted_norm_count;
extern const struct kc_planted kc_planted_float16[], kc_planted_bytes[], kc_planted_tiles[],
    kc_planted_bf16[], kc_planted_act_scale[];
extern const size_t kc_planted_float16_count, kc_planted_bytes_count, kc_planted_tiles_count,
    kc_planted_bf16_count, kc_planted_act_scale_count;
/* Runs planted broken kernels: each one that is found passed. */
void kc_self_test(struct kcheck *t, unsigned *passed, unsigned *failed);

#endif
