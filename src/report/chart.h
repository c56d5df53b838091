/* Line charts as inline SVG. Colours are the classes c0, c1, ... of the page's style sheet
 * (report/style.c), told apart by dashes too, so that they do not carry the meaning alone. */
#ifndef BP_REPORT_CHART_H
#define BP_REPORT_CHART_H

#include "report/html.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BP_CHART_COLOURS = 8 };

struct bp_series {
    const char *name;    /* any text */
    const double *x, *y; /* [count]; where one is not finite the line has a gap */
    size_t count;
    int colour; /* counted on modulo BP_CHART_COLOURS; the next ones are dashed */
    int dashed, faint;
    int dots; /* marks every point; its text tells the numbers */
};

struct bp_chart {
    const char *title, *x_label; /* any text */
    const char *note;            /* a sentence below the title; NULL: none */
    int percent;                 /* y is a share, shown in per cent; the axis stays in 0 .. 1 */
    int logarithmic;             /* y; values that are not positive are gaps */
    int from_zero;               /* linear y begins at 0 */
    int whole_x; /* x counts something: no fractions on its axis where it has whole numbers */
    const struct bp_series *series;
    size_t n_series;
};

/* A <figure> with title, legend and drawing. A chart without any point says so. */
void bp_chart_draw(struct bp_html *html, const struct bp_chart *chart);

/* Where the marks of a linear axis stand: multiples of *step from *first on, at most about
 * `most`. lo < hi. */
void bp_chart_ticks(double lo, double hi, int most, double *first, double *step);

#ifdef __cplusplus
}
#endif
#endif
