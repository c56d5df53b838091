#include "base/parallel_each.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/memory.h"

struct outcome {
    bp_status status;
    char message[BP_MESSAGE_BYTES];
};

struct job {
    bp_each_body *body;
    void *context;
    size_t count;
    atomic_size_t next;
    struct outcome *outcomes; /* of the threads */
};

static void work(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct outcome *outcome = &job->outcomes[thread];
    (void)begin;
    (void)end;
    while (outcome->status == BP_OK) {
        size_t index = atomic_fetch_add(&job->next, 1);
        if (index >= job->count)
            return;
        outcome->status = job->body(job->context, index, thread);
        if (outcome->status != BP_OK)
            snprintf(outcome->message, sizeof outcome->message, "%s", bp_status_message());
    }
}

bp_status bp_parallel_each(struct bp_threads *threads, size_t n, bp_each_body *body,
                           void *context) {
    struct job job = {.body = body, .context = context, .count = n};
    size_t workers = (size_t)bp_threads_count(threads);
    bp_status status = BP_OK;
    BP_TRY(bp_alloc_array(&job.outcomes, workers, sizeof *job.outcomes, "work on files"));
    bp_parallel_for(threads, workers, work, &job);
    for (size_t i = 0; i < workers && status == BP_OK; i++)
        if (job.outcomes[i].status != BP_OK)
            status = bp_fail(job.outcomes[i].status, "%s", job.outcomes[i].message);
    bp_free(job.outcomes);
    return status;
}
