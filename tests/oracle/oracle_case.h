/* One reproducible training case: a network whose parameters, running statistics, images and labels
 * are set from exact uniform random numbers (not from the library's initialisation, so that golden
 * files do not depend on it), and the optimizer recipes that are compared. Shared by oracle_dump.c
 * (against PyTorch) and tests/unit/test_golden.c (against stored results). */
#ifndef BP_TESTS_ORACLE_CASE_H
#define BP_TESTS_ORACLE_CASE_H

#include "nn/graph.h"
#include "train/optim.h"
#include "train/schedule.h"

struct oracle_case {
    char model[16];
    enum bp_precision precision;
    double width;
    size_t size, channels, classes, batch;
    float smoothing;
    uint64_t seed;
    enum bp_fp32_backend backend;
};

/* An optimizer with its schedule; PyTorch's side of it is OPTIMIZERS in oracle.py. */
struct oracle_recipe {
    const char *name;
    struct bp_optim_config optim;
    struct bp_schedule_config schedule;
};
enum { ORACLE_RECIPES = 4, ORACLE_STEPS = 10 };
void oracle_recipe_get(struct oracle_recipe *recipe, int index);

/* The graph of a case, its images and labels (bp_free both). */
bp_status oracle_case_create(const struct oracle_case *c, struct bp_exec *exec,
                             struct bp_graph **graph, uint8_t **images, int32_t **labels);

/* Parameters and running statistics as at the start; moments cleared. */
void oracle_case_reset(const struct oracle_case *c, struct bp_graph *graph);

/* Forward, loss and (training) backward. logits [batch][classes] are copied before the backward
 * pass, which may reuse their memory; NULL: not wanted. */
bp_status oracle_case_run(const struct oracle_case *c, struct bp_graph *graph,
                          const uint8_t *images, const int32_t *labels, int training, float *logits,
                          double *loss, size_t *correct);

#endif
