/* What the network says to each sample of the validation part, noted during a validation that takes
 * place anyway, and written for the report (validation.json, docs/FORMATS.md). */
#ifndef BP_TRAIN_VALIDATION_LOG_H
#define BP_TRAIN_VALIDATION_LOG_H

#include "base/json_writer.h"
#include "data/dataset.h"
#include "train/evaluate.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_validation_note {
    int32_t predicted;
    float loss, probability, probability_of_label;
};

struct bp_validation_log {
    struct bp_validation_note *notes; /* [part->count] */
};

bp_status bp_validation_log_open(struct bp_validation_log *log, const struct bp_part *part);
void bp_validation_log_close(struct bp_validation_log *log);

/* Makes bp_evaluate note every sample. */
void bp_validation_log_listen(struct bp_validation_log *log, struct bp_evaluation *evaluation);

/* The last validation as one JSON object: classes, confusions, and the mistakes of largest loss
 * with thumbnails. `json` is begun here; the caller finishes it. */
bp_status bp_validation_log_json(const struct bp_validation_log *log, const struct bp_dataset *data,
                                 const struct bp_evaluation *evaluation, size_t epoch,
                                 struct bp_json *json);

#ifdef __cplusplus
}
#endif
#endif
