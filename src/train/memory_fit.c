#include "train/memory_fit.h"

#include "base/memory_limit.h"

size_t bp_memory_allowed(const struct bp_settings *settings) {
    size_t limit = bp_memory_limit("");
    return settings->max_mem_bytes > 0 ? bp_min_size(settings->max_mem_bytes, limit) : limit / 2;
}

static bp_status refuse(const struct bp_settings *settings, size_t batch, size_t needed,
                        size_t allowed) {
    int given = settings->max_mem_bytes > 0 && settings->max_mem_bytes <= allowed;
    return bp_fail(BP_RESOURCE,
                   "--batch auto: even a batch of %zu needs %.0f MB, but the run may take %.0f MB "
                   "(%s); allow more with --max-mem, or use a smaller --size or --width",
                   batch, (double)needed / 1e6, (double)allowed / 1e6,
                   given ? "--max-mem" : "of what the process may use");
}

bp_status bp_batch_choose(const struct bp_settings *settings, const struct bp_graph_config *config,
                          size_t train, size_t val, size_t data, size_t allowed, size_t *batch,
                          bp_memory_sums *sums) {
    struct bp_graph_config tried = *config;
    size_t least = bp_min_size(BP_BATCH_STEP, train);
    tried.batch = bp_min_size(BP_BATCH_MOST, train);
    tried.batch -= tried.batch > least ? tried.batch % BP_BATCH_STEP : 0;
    for (;; tried.batch -= BP_BATCH_STEP) {
        bp_status status = bp_memory_forecast(settings, &tried, train, val, sums);
        if (status == BP_OK) {
            bp_memory_set_data(sums, data);
            *batch = tried.batch;
            if (sums->total <= allowed)
                return BP_OK;
        }
        /* A failure may be the batch's fault: too large to index. */
        if (tried.batch <= least)
            return status != BP_OK ? status : refuse(settings, least, sums->total, allowed);
    }
}
