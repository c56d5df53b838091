/* Everything that a run works with: the data set, the network on its execution context, the
 * optimizer, the loaders, and the numbers that follow from config and data together. */
#ifndef BP_TRAIN_SESSION_H
#define BP_TRAIN_SESSION_H

#include "data/dataset.h"
#include "data/loader.h"
#include "nn/graph.h"
#include "train/config.h"
#include "train/memory_need.h"
#include "train/optim.h"
#include "train/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_session {
    struct bp_settings settings;
    struct bp_dataset *data;
    struct bp_exec *exec;
    struct bp_graph *graph;
    struct bp_optim *optim;
    struct bp_loader *train, *val;
    struct bp_schedule_config schedule;
    size_t batches;             /* per epoch */
    size_t epochs;              /* that the run will begin */
    uint64_t total_steps;       /* of the run */
    uint64_t planned_steps;     /* the same before it was cut: the schedule counts these */
    struct bp_schedule_cut cut; /* of the run that goes on */
    uint64_t qat_steps;         /* of the planned steps, the first ones run as qat */
    int batch_is_auto;          /* settings.batch was chosen here, to fit into memory */
    double time_forecast;       /* seconds; of --time */
    size_t memory_allowed;
    bp_memory_sums memory; /* forecast of the whole run */
};

/* Reads the data and builds the network for training, with the options of `command`. The config
 * must outlive the session. `bad` receives files that cannot be used, also on failure. On failure
 * nothing stays open. */
bp_status bp_session_open(struct bp_session *session, const bp_config *config, unsigned command,
                          struct bp_bad_files *bad);
/* The same without data, to time or test a network on made-up images (made_up.h): of the size,
 * channels and classes that the settings say, 32 pixels where they say no size. All steps have the
 * same learning rate. */
bp_status bp_session_open_made_up(struct bp_session *session, const bp_config *config,
                                  unsigned command);
void bp_session_close(struct bp_session *session);

/* Sets what was chosen in the config that the session was opened with, so that it makes the same
 * run again. */
bp_status bp_session_record(struct bp_session *session, bp_config *config);

/* Ends the run at `cut`, which bp_schedule_cut_to made. */
void bp_session_cut(struct bp_session *session, const struct bp_schedule_cut *cut);

/* Counts the steps again, after settings.epochs or max_steps changed. */
bp_status bp_session_count_steps(struct bp_session *session);

/* Puts a new network, as settings say, in the place of the one that is there. */
bp_status bp_session_renew(struct bp_session *session);

/* Opens the loaders; training batches begin where a run of `step` finished steps goes on. */
bp_status bp_session_start(struct bp_session *session, uint64_t step);

/* Closes them again. */
void bp_session_stop(struct bp_session *session);

/* The summary for BP_EVENT_START; `quantizer` is room for its text. */
void bp_session_summary(const struct bp_session *session, char *quantizer, size_t quantizer_size,
                        bp_run_summary *out);

/* The graph of settings for an input: shared by training, evaluation and timing. */
void bp_session_graph_config(const struct bp_settings *settings, size_t height, size_t width_px,
                             size_t channels, size_t classes, struct bp_graph_config *out);

/* Bytes planned for a network: weights, activations, gradients, scratch of all workers. */
size_t bp_graph_planned_bytes(const struct bp_graph *graph);

#ifdef __cplusplus
}
#endif
#endif
