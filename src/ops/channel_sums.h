/* Sums of the elements and of their squares, per channel of a tensor: what batch statistics are
 * made of. The consumer of a tensor owns them. Whoever writes the tensor may add it up piece by
 * piece while it is in the cache (begin, add, end); where nobody has, bp_channel_sums_finish reads
 * the tensor again. Both ways give the same bytes: sums of integers are exact, and floats are
 * summed in double, sample by sample in order of the pixels. */
#ifndef BP_OPS_CHANNEL_SUMS_H
#define BP_OPS_CHANNEL_SUMS_H

#include "base/plan.h"
#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_sums_kind {
    BP_SUMS_I16,
    BP_SUMS_I16_HALVES, /* those of elements >= 0 and of elements < 0 apart */
    BP_SUMS_F32
};

struct bp_channel_sums {
    enum bp_sums_kind kind;
    size_t c;
    int64_t *integers; /* [workers][4][c] */
    double *floats;    /* [n][2][c] */
    int complete;      /* the whole tensor is in */
    /* [4][c] after bp_channel_sums_finish: sum and sum of squares; of halves those of elements >=
     * 0, then those of elements < 0 */
    double *total;
};

/* n, c: samples and channels. The buffers live from time `first`, when the tensor is written. */
bp_status bp_channel_sums_plan(struct bp_channel_sums *sums, struct bp_exec *exec,
                               struct bp_plan *plan, enum bp_sums_kind kind, size_t n, size_t c,
                               const char *name, int first, int last);

/* For whoever writes the tensor of n samples; each pixel is added once. add_i16: `pixels` of any
 * samples, none above `limit` in magnitude, by worker `thread`. add_f32: the next pixels of
 * `sample`, all by one worker. */
void bp_channel_sums_begin(struct bp_channel_sums *sums, const struct bp_exec *exec, size_t n);
void bp_channel_sums_add_i16(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                             int thread, const int16_t *y, size_t pixels, int limit);
void bp_channel_sums_add_f32(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                             size_t sample, const float *y, size_t pixels);
/* The same of a tensor in halves: elements y [pixels][c] are rounded to these (settle_f16), to
 * `out` and in y. sums NULL: nobody wants them. */
void bp_channel_sums_settle_f16(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                                size_t sample, float *y, size_t pixels, size_t c, uint16_t *out);
/* Where the sums of a sample stand, for a kernel that adds to them itself. */
double *bp_channel_sums_of_sample(struct bp_channel_sums *sums, size_t sample);
void bp_channel_sums_end(struct bp_channel_sums *sums);

/* For the consumer: sets `total` of data [n][pixels][c], and forgets what was added. Returns
 * whether the data were read for it. */
int bp_channel_sums_finish(struct bp_channel_sums *sums, struct bp_exec *exec, size_t n,
                           const void *data, size_t pixels);

#ifdef __cplusplus
}
#endif
#endif
