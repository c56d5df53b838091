#include "report/report.h"

#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "report/page.h"

static bp_status draw(const struct bp_report_run *runs, size_t n_runs, const char *path) {
    struct bp_html html;
    char *text;
    bp_html_begin(&html);
    bp_status status =
        n_runs == 1 ? bp_page_run(&html, &runs[0]) : bp_page_compare(&html, runs, n_runs);
    bp_status written = bp_html_finish(&html, &text);
    if (status == BP_OK)
        status = written;
    if (status == BP_OK)
        status = bp_file_write(path, &(struct bp_chunk){text, strlen(text)}, 1);
    bp_free(text);
    return status;
}

/* Runs of one name in several folders are told apart by their paths. */
static void tell_apart(struct bp_report_run *runs, size_t n_runs) {
    int equal = 0;
    for (size_t i = 0; i < n_runs; i++)
        for (size_t j = 0; j < i; j++)
            equal |= strcmp(runs[i].name, runs[j].name) == 0;
    for (size_t i = 0; i < n_runs && equal; i++)
        runs[i].name = runs[i].path;
}

bp_status bp_report_write(const char *const *runs, size_t n_runs, const char *path) {
    struct bp_report_run *open;
    size_t n_open = 0;
    BP_TRY(bp_alloc_array(&open, n_runs, sizeof *open, "a report"));
    bp_status status = BP_OK;
    while (status == BP_OK && n_open < n_runs) {
        status = bp_report_run_open(&open[n_open], runs[n_open]);
        n_open += status == BP_OK;
    }
    tell_apart(open, n_open);
    if (status == BP_OK)
        status = draw(open, n_runs, path);
    for (size_t i = 0; i < n_open; i++)
        bp_report_run_close(&open[i]);
    bp_free(open);
    return status;
}
