/* The training loop: steps, and what follows the last step of an epoch. run.c puts a trainer
 * together for a new or a resumed run and takes it apart. */
#ifndef BP_TRAIN_TRAINER_H
#define BP_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/config.h"
#include "train/init.h"
#include "train/run_folder.h"
#include "train/run_report.h"
#include "train/session.h"
#include "train/time_limit.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_trainer {
    bp_config *config;
    char *recipe; /* the config as checkpoints hold it */
    struct bp_bad_files bad;
    struct bp_session session;
    struct bp_average *average; /* of the weights, with --ema; else NULL */
    struct bp_init *init;       /* what a new run begins with; NULL: nothing */
    struct bp_run_folder folder;
    struct bp_progress progress;
    struct bp_run_report report;
    bp_event_callback *callback;
    void *user;
    /* For reports only; none of it goes into a checkpoint. */
    uint64_t begin_ns;
    double train_seconds, epoch_seconds; /* spent in steps, validation not counted */
    size_t train_images, epoch_images;
    uint64_t epoch_waited_ns; /* for data, at the begin of the epoch */
    double step_seconds;      /* smoothed */
    double eval_seconds;      /* of the last validation */
    double train_accuracy;    /* of the last finished epoch; negative: none yet */
    size_t first_step;
    struct bp_time_limit limit;
};

/* Trains from `progress` to the end. Returns BP_INTERRUPT or BP_TERMINATE without a message, and
 * without saving, when bp_interrupt asks for it. */
bp_status bp_trainer_run(struct bp_trainer *t);

/* Why no step is left to do. */
enum bp_ending {
    BP_ENDING_NONE,
    BP_ENDING_EPOCHS,
    BP_ENDING_STEPS,
    BP_ENDING_PATIENCE,
    BP_ENDING_TIME
};
enum bp_ending bp_trainer_ending(const struct bp_trainer *t);

/* Writes last.ckpt. */
bp_status bp_trainer_save(const struct bp_trainer *t);

void bp_trainer_fill_event(const struct bp_trainer *t, bp_event_kind kind, bp_event *event);
void bp_trainer_send(const struct bp_trainer *t, const bp_event *event);
/* A note that the report could not be written, with the last message: no reason to end a run. */
void bp_trainer_report_failed(const struct bp_trainer *t);
void bp_trainer_send_text(const struct bp_trainer *t, bp_event_kind kind, const char *text);
/* A note, in the log too. */
bp_status bp_trainer_note(const struct bp_trainer *t, const char *text);

#ifdef __cplusplus
}
#endif
#endif
