/* A run folder as reports see it: every file that is there and can be read. */
#ifndef BP_REPORT_RUN_FILES_H
#define BP_REPORT_RUN_FILES_H

#include "report/records.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BP_REPORT_PROBLEMS_MAX = 8 };

struct bp_report_run {
    char path[BP_PATH_BYTES];
    const char *name;                       /* the last part of path */
    struct json_t *config;                  /* an object */
    struct json_t *result, *env;            /* objects; NULL: not there */
    struct json_t *settings;                /* an array; NULL: not there */
    struct bp_metrics_record metrics;       /* empty: not there */
    struct bp_validation_record validation; /* root NULL: not there */
    struct bp_layers_record layers;         /* root NULL: not there */
    struct bp_variance_record variance;     /* empty: not there */
    char *problems[BP_REPORT_PROBLEMS_MAX]; /* files that are there and cannot be read */
    size_t n_problems;
};

/* BP_MODEL if the folder is no run, BP_RESOURCE out of memory; everything else becomes a problem.
 */
bp_status bp_report_run_open(struct bp_report_run *run, const char *path);
void bp_report_run_close(struct bp_report_run *run);

#ifdef __cplusplus
}
#endif
#endif
