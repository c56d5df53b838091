/* The public functions that need more than one line stand where they belong: bp_config_... in
 * train/config.c, bp_options in train/options.c, bp_eval in train/model_eval.c, bp_info in
 * train/model_info.c, bp_bench_step in train/bench_step.c, bp_interrupt in train/evaluate.c,
 * bp_system in train/system_info.c, bp_self_test in train/self_test.c. */
#include "bitprop.h"

#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "base/status.h"
#include "report/report.h"
#include "train/run.h"

const char *bp_last_error(void) {
    return bp_status_message();
}

void bp_text_free(char *text) {
    bp_free(text);
}

bp_status bp_train(const bp_config *config, bp_event_callback *callback, void *user,
                   bp_train_result *result) {
    bp_train_result unwanted;
    return bp_run_new(config, callback, user, result != NULL ? result : &unwanted);
}

bp_status bp_resume(const char *run, const bp_config *overrides, bp_event_callback *callback,
                    void *user, bp_train_result *result) {
    bp_train_result unwanted;
    return bp_run_resume(run, overrides, callback, user, result != NULL ? result : &unwanted);
}

bp_status bp_report(const char *const *runs, size_t n_runs, const char *output,
                    char written[BP_PATH_BYTES]) {
    char path[BP_PATH_BYTES];
    if (n_runs == 0)
        return bp_fail(BP_USAGE, "no run to report on; give one such as runs/mnist-vgg16-1");
    if (output == NULL && n_runs > 1)
        return bp_fail(BP_USAGE, "a page that compares runs belongs to none of them; say where to "
                                 "write it: --output FILE");
    if (output != NULL && strlen(output) >= sizeof path)
        return bp_fail(BP_USAGE, "%.60s...: the path is too long", output);
    if (output != NULL)
        snprintf(path, sizeof path, "%s", output);
    else
        BP_TRY(bp_path_join(path, sizeof path, runs[0], "report.html"));
    BP_TRY(bp_report_write(runs, n_runs, path));
    if (written != NULL)
        memcpy(written, path, sizeof path);
    return BP_OK;
}
