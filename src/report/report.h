/* Reports: what a run folder holds as one HTML file without anything outside of it (no script, no
 * network): curves, confusions, worst mistakes, layers, gradient variance, settings, machine; or
 * several runs side by side. Everything is read from the files of the folders, whatever is there;
 * neither the data set nor the network is needed. */
#ifndef BP_REPORT_REPORT_H
#define BP_REPORT_REPORT_H

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes the report of one run, or one page that compares several, to `path`, atomically. BP_MODEL:
 * not a run folder; BP_RESOURCE: out of memory, or the file cannot be written. */
bp_status bp_report_write(const char *const *runs, size_t n_runs, const char *path);

#ifdef __cplusplus
}
#endif
#endif
