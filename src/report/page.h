/* The parts of a page, each a <section>; what a run lacks is left out or said. */
#ifndef BP_REPORT_PAGE_H
#define BP_REPORT_PAGE_H

#include "report/chart.h"
#include "report/html.h"
#include "report/run_files.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const char *const bp_page_style[]; /* the style sheet in parts, NULL-ended */

/* page.c: a whole page. */
bp_status bp_page_run(struct bp_html *html, const struct bp_report_run *run);
/* page_compare.c */
bp_status bp_page_compare(struct bp_html *html, const struct bp_report_run *runs, size_t n_runs);

/* page.c: what all pages begin and end with. */
void bp_page_begin(struct bp_html *html, const char *title);
void bp_page_end(struct bp_html *html);
void bp_page_section(struct bp_html *html, const char *id, const char *title);

/* page_curves.c */
bp_status bp_page_curves(struct bp_html *html, const struct bp_report_run *run);
/* page_confusion.c */
bp_status bp_page_confusion(struct bp_html *html, const struct bp_validation_record *validation);
void bp_page_mistakes(struct bp_html *html, const struct bp_validation_record *validation);
/* page_layers.c */
void bp_page_layers(struct bp_html *html, const struct bp_layers_record *layers);
/* page_variance.c */
bp_status bp_page_variance(struct bp_html *html, const struct bp_variance_record *variance);
/* page_settings.c */
void bp_page_settings(struct bp_html *html, const struct bp_report_run *run);
void bp_page_machine(struct bp_html *html, const struct bp_report_run *run);

/* The head of a table, from its <thead> to the begin of its <tbody>. Names are our own, NULL-ended;
 * one that begins with '>' heads numbers, with '|' bars. */
void bp_page_columns(struct bp_html *html, const char *const *names);

/* A value of a JSON file: text, number, yes or no; nothing where there is none. */
void bp_page_value(struct bp_html *html, const struct json_t *value);

/* A bar of a table: share 0 .. 1 of its cell's width. */
void bp_page_bar(struct bp_html *html, double share);

#ifdef __cplusplus
}
#endif
#endif
