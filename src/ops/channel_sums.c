#include "ops/channel_sums.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_ELEMENTS 8192 /* read at once: several passes of a kernel find them in the cache */

static size_t parts_of(const struct bp_channel_sums *sums) {
    return sums->kind == BP_SUMS_I16_HALVES ? 4 : 2;
}

bp_status bp_channel_sums_plan(struct bp_channel_sums *sums, struct bp_exec *exec,
                               struct bp_plan *plan, enum bp_sums_kind kind, size_t n, size_t c,
                               const char *name, int first, int last) {
    char text[96];
    *sums = (struct bp_channel_sums){.kind = kind, .c = c};
    snprintf(text, sizeof text, "%s totals", name);
    BP_TRY(bp_plan_add(plan, text, parts_of(sums) * c * sizeof(double), first, last, &sums->total));
    snprintf(text, sizeof text, "%s sums", name);
    if (kind == BP_SUMS_F32)
        return bp_plan_add(plan, text, n * 2 * c * sizeof(double), first, last, &sums->floats);
    size_t workers = (size_t)bp_threads_count(exec->threads);
    return bp_plan_add(plan, text, workers * 4 * c * sizeof(int64_t), first, last, &sums->integers);
}

static void clear_samples(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct bp_channel_sums *sums = context;
    size_t size = 2 * sums->c;
    memset(sums->floats + begin * size, 0, (end - begin) * size * sizeof *sums->floats);
}

void bp_channel_sums_begin(struct bp_channel_sums *sums, const struct bp_exec *exec, size_t n) {
    size_t workers = (size_t)bp_threads_count(exec->threads);
    sums->complete = 0;
    if (sums->kind == BP_SUMS_F32)
        bp_parallel_for(exec->threads, n, clear_samples, sums);
    else
        memset(sums->integers, 0, workers * 4 * sums->c * sizeof *sums->integers);
}

void bp_channel_sums_add_i16(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                             int thread, const int16_t *y, size_t pixels, int limit) {
    int64_t *to = sums->integers + (size_t)thread * 4 * sums->c;
    if (sums->kind == BP_SUMS_I16_HALVES)
        kernels->half_sums_i16(y, pixels, sums->c, limit, to);
    else
        kernels->sums_i16(y, pixels, sums->c, limit, to, to + sums->c);
}

double *bp_channel_sums_of_sample(struct bp_channel_sums *sums, size_t sample) {
    return sums->floats + sample * 2 * sums->c;
}

void bp_channel_sums_add_f32(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                             size_t sample, const float *y, size_t pixels) {
    double *to = bp_channel_sums_of_sample(sums, sample);
    kernels->sums_f32(y, pixels, sums->c, to, to + sums->c);
}

void bp_channel_sums_settle_f16(struct bp_channel_sums *sums, const struct bp_kernels *kernels,
                                size_t sample, float *y, size_t pixels, size_t c, uint16_t *out) {
    kernels->settle_f16(y, pixels * c, out);
    if (sums != NULL)
        bp_channel_sums_add_f32(sums, kernels, sample, y, pixels);
}

void bp_channel_sums_end(struct bp_channel_sums *sums) {
    sums->complete = 1;
}

struct read_job {
    struct bp_channel_sums *sums;
    const struct bp_kernels *kernels;
    const void *data;
    size_t pixels;
};

static void read_part(void *context, size_t begin, size_t end, int thread) {
    struct read_job *job = context;
    size_t c = job->sums->c, piece = CHUNK_ELEMENTS / c + 1;
    for (size_t n = end; n-- > begin;) /* from the end: it was written last, and may be cached */
        for (size_t done = 0; done < job->pixels; done += piece) {
            size_t at = (n * job->pixels + done) * c,
                   pixels = bp_min_size(piece, job->pixels - done);
            if (job->sums->kind == BP_SUMS_F32)
                bp_channel_sums_add_f32(job->sums, job->kernels, n, (const float *)job->data + at,
                                        pixels);
            else
                bp_channel_sums_add_i16(job->sums, job->kernels, thread,
                                        (const int16_t *)job->data + at, pixels, INT16_MAX + 1);
        }
}

/* Totals from the parts of the workers. */
static void add_workers(struct bp_channel_sums *sums, size_t workers) {
    size_t c = sums->c, count = parts_of(sums) * c;
    for (size_t j = 0; j < count; j++) {
        int64_t exact = 0;
        for (size_t i = 0; i < workers; i++)
            exact += sums->integers[i * 4 * c + j];
        sums->total[j] = (double)exact;
    }
}

struct samples_job {
    struct bp_channel_sums *sums;
    size_t n;
};

/* Totals from the samples in their order. Items are sums of a channel. */
static void add_samples(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct samples_job *job = context;
    struct bp_channel_sums *sums = job->sums;
    for (size_t j = begin; j < end; j++)
        sums->total[j] = 0.0;
    for (size_t i = 0; i < job->n; i++)
        for (size_t j = begin; j < end; j++)
            sums->total[j] += sums->floats[i * 2 * sums->c + j];
}

int bp_channel_sums_finish(struct bp_channel_sums *sums, struct bp_exec *exec, size_t n,
                           const void *data, size_t pixels) {
    int read = !sums->complete;
    if (read) {
        struct read_job job = {sums, &exec->kernels, data, pixels};
        bp_channel_sums_begin(sums, exec, n);
        bp_parallel_for_down(exec->threads, n, read_part, &job);
    }
    struct samples_job job = {sums, n};
    if (sums->kind == BP_SUMS_F32)
        bp_parallel_for(exec->threads, parts_of(sums) * sums->c, add_samples, &job);
    else
        add_workers(sums, (size_t)bp_threads_count(exec->threads));
    sums->complete = 0;
    return read;
}
