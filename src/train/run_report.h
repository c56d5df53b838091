/* What a run gathers for its report (src/report), and when it is drawn: nothing here changes what
 * is trained, and no failure here ends a run. */
#ifndef BP_TRAIN_RUN_REPORT_H
#define BP_TRAIN_RUN_REPORT_H

#include "nn/grad_variance.h"
#include "train/layer_times.h"
#include "train/run_folder.h"
#include "train/session.h"
#include "train/validation_log.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_run_report {
    const struct bp_session *session;
    const struct bp_run_folder *folder;
    int wanted;                        /* --report */
    struct bp_validation_log log;      /* if wanted */
    struct bp_layer_times times;       /* if wanted */
    struct bp_grad_variance *variance; /* with --report-variance; else NULL */
    int observing;                     /* the current step is observed */
    uint64_t step_ns, waited_ns;       /* at the begin of the current step */
};

/* At the begin of a run that goes on after `step` steps. Session and folder must outlive it. */
bp_status bp_run_report_open(struct bp_run_report *report, const struct bp_session *session,
                             const struct bp_run_folder *folder, uint64_t step);
void bp_run_report_close(struct bp_run_report *report);

/* Around a training step, `step` of them finished before it. The second one writes a line of
 * variance.jsonl where it is due. */
void bp_run_report_before_step(struct bp_run_report *report, uint64_t step);
bp_status bp_run_report_after_step(struct bp_run_report *report, size_t epoch, uint64_t step);

/* Before a validation; after one that was the best so far: writes validation.json. */
void bp_run_report_listen(struct bp_run_report *report, struct bp_evaluation *evaluation);
bp_status bp_run_report_best(struct bp_run_report *report, const struct bp_evaluation *evaluation,
                             size_t epoch);

/* At the end, after result.json: writes layers.json and report.html. */
bp_status bp_run_report_draw(struct bp_run_report *report);

#ifdef __cplusplus
}
#endif
#endif
