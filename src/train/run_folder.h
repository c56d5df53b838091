/* A run folder: everything that a run leaves behind (docs/FORMATS.md, "Run folder"). It is made
 * exclusively, never written over, and locked while a process works on it; the lock ends with the
 * process. Whole files are written atomically, metrics.jsonl and log.txt line by line. */
#ifndef BP_TRAIN_RUN_FOLDER_H
#define BP_TRAIN_RUN_FOLDER_H

#include "data/bad_files.h"
#include "train/checkpoint.h"
#include "train/config.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_run_folder {
    char path[BP_PATH_BYTES];
    char last[BP_PATH_BYTES], best[BP_PATH_BYTES];   /* last.ckpt, best.ckpt */
    char metrics[BP_PATH_BYTES], log[BP_PATH_BYTES]; /* metrics.jsonl, log.txt */
    char variance[BP_PATH_BYTES];                    /* variance.jsonl */
    char report[BP_PATH_BYTES];                      /* report.html */
    int lock;                                        /* file descriptor of the locked folder */
};

/* Makes a new folder: `path`, which must not exist (BP_RESOURCE), or, if NULL,
 * runs/<data>-<model>-<n> with the first free n. */
bp_status bp_run_folder_create(struct bp_run_folder *folder, const char *path, const char *data,
                               const char *model);
/* Takes a folder that was just created away again, with what bp_run_folder_describe wrote. */
void bp_run_folder_discard(struct bp_run_folder *folder);
/* Opens an existing one and removes the temporary files that a killed process left in it. BP_MODEL
 * if it is no run folder, BP_RESOURCE if another process works on it. */
bp_status bp_run_folder_open(struct bp_run_folder *folder, const char *path);
void bp_run_folder_close(struct bp_run_folder *folder);

/* config.json, settings.json, env.json and classes.txt. */
bp_status bp_run_folder_describe(const struct bp_run_folder *folder, const bp_config *config,
                                 const struct bp_exec *exec, char *const *class_names,
                                 size_t classes);
bp_status bp_run_folder_read_config(const struct bp_run_folder *folder, bp_config *config);

/* bad_files.txt: the files that the run goes without. */
bp_status bp_run_folder_bad_files(const struct bp_run_folder *folder,
                                  const struct bp_bad_files *bad);

/* A line into log.txt: "2024-05-01 12:00:00 <text>". */
bp_status bp_run_folder_log(const struct bp_run_folder *folder, const char *text);

/* One line of metrics.jsonl: a training step, or a finished epoch (val_accuracy >= 0). */
struct bp_metrics {
    size_t epoch; /* counted from 1 */
    uint64_t step;
    double loss, accuracy; /* of the step's batch, or means over the epoch */
    double val_loss, val_accuracy, best_accuracy;
    double lr, images_per_s, seconds;
    double data_wait; /* epochs: share of the training time in which no batch was ready */
};
bp_status bp_run_folder_step(const struct bp_run_folder *folder, const struct bp_metrics *metrics);
bp_status bp_run_folder_epoch(const struct bp_run_folder *folder, const struct bp_metrics *metrics);

/* Finishes `json` and writes it into a file of the folder, or appends it to a file of lines. */
bp_status bp_run_folder_json(const struct bp_run_folder *folder, const char *name,
                             struct bp_json *json);
bp_status bp_run_folder_json_line(const char *path, struct bp_json *json);

/* Cuts metrics.jsonl and variance.jsonl behind the last line that belongs to `progress`. */
bp_status bp_run_folder_rewind(const struct bp_run_folder *folder,
                               const struct bp_progress *progress);

/* result.json. */
bp_status bp_run_folder_result(const struct bp_run_folder *folder, const bp_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
