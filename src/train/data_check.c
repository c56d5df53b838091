/* bp_data_check: the options of the command, and the verdict. */
#include "base/clock.h"
#include "base/memory.h"
#include "data/check.h"
#include "train/config.h"
#include "train/model_eval.h"

static bp_status read_options(const bp_config *options, struct bp_dataset_options *out) {
    struct bp_settings settings;
    bp_config *config;
    BP_TRY(options != NULL ? bp_config_copy(&config, options) : bp_config_create(&config));
    bp_status status = bp_config_resolve(config, BP_COMMAND_DATA, &settings);
    bp_config_destroy(config);
    *out = (struct bp_dataset_options){
        .seed = settings.seed, .val_share = settings.val_share, .threads = settings.threads};
    return status;
}

bp_status bp_data_check(const char *data, const bp_config *options, bp_check_callback *callback,
                        void *user, bp_data_report **out) {
    struct bp_dataset_options dataset;
    bp_data_report *report;
    uint64_t begin_ns = bp_clock_ns();
    *out = NULL;
    BP_TRY(read_options(options, &dataset));
    BP_TRY(bp_alloc(&report, sizeof *report, "a report"));
    bp_status status = bp_check_data(data, &dataset, callback, user, report);
    if (status != BP_OK) {
        bp_data_report_free(report);
        return status;
    }
    report->seconds = (double)(bp_clock_ns() - begin_ns) * 1e-9;
    *out = report;
    if (report->errors == 0)
        return BP_OK;
    return bp_fail(BP_CHECK, "%.200s: %zu error%s%s: %.700s", data, report->errors,
                   report->errors == 1 ? "" : "s", report->errors == 1 ? "" : ", the first",
                   report->findings[0].text);
}

void bp_data_report_free(bp_data_report *report) {
    if (report == NULL)
        return;
    for (size_t i = 0; i < report->n_findings; i++) {
        bp_names_free(report->findings[i].paths, report->findings[i].n_paths);
        bp_free(report->findings[i].text);
    }
    bp_free(report->findings);
    bp_names_free(report->class_names, report->classes);
    bp_free(report->train_count);
    bp_free(report->val_count);
    bp_free(report);
}
