/* The variance of the quantized gradients: by depth at the last report, over the steps, and in
 * numbers. */
#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "report/page.h"

enum { DA, DW };

static const struct bp_variance_value *value_at(const struct bp_variance_record *v, size_t row,
                                                size_t layer) {
    return &v->values[row * v->n_layers + layer];
}

/* Columns of numbers for one chart: x and up to four lines. */
struct columns {
    double *block; /* [5][room] */
    size_t room;
};

static double *column(const struct columns *columns, size_t index) {
    return columns->block + index * columns->room;
}

static struct bp_series series(const struct columns *columns, size_t index, size_t count,
                               const char *name, int colour, int dashed) {
    return (struct bp_series){.name = name,
                              .x = column(columns, 0),
                              .y = column(columns, index),
                              .count = count,
                              .colour = colour,
                              .dashed = dashed,
                              .dots = count <= 80};
}

static void draw_by_depth(struct bp_html *html, const struct bp_variance_record *v,
                          const struct columns *columns) {
    for (size_t i = 0; i < v->n_layers; i++) {
        const struct bp_variance_value *value = value_at(v, v->count - 1, i);
        column(columns, 0)[i] = (double)(i + 1);
        for (int p = DA; p <= DW; p++) {
            column(columns, 1 + 2 * (size_t)p)[i] = value->exact[p];
            column(columns, 2 + 2 * (size_t)p)[i] = value->empirical[p];
        }
    }
    const struct bp_series lines[] = {
        series(columns, 1, v->n_layers, "activation gradient (dA), formula", 0, 0),
        series(columns, 2, v->n_layers, "dA, drawn", 5, 1),
        series(columns, 3, v->n_layers, "weight gradient (dW), formula", 1, 0),
        series(columns, 4, v->n_layers, "dW, drawn", 4, 1)};
    const struct bp_chart chart = {.title = "Relative variance by layer, last report",
                                   .x_label = "binary layer, from the input",
                                   .logarithmic = 1,
                                   .whole_x = 1,
                                   .series = lines,
                                   .n_series = 4};
    bp_chart_draw(html, &chart);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of the finite ones; sorts the values. */
static double median(double *values, size_t count) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i]))
            values[n++] = values[i];
    qsort(values, n, sizeof *values, ascending);
    if (n == 0)
        return NAN;
    return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* scratch [n_layers] */
static void draw_over_steps(struct bp_html *html, const struct bp_variance_record *v,
                            const struct columns *columns, double *scratch) {
    for (size_t row = 0; row < v->count; row++) {
        column(columns, 0)[row] = v->steps[row];
        for (size_t line = 1; line <= 3; line++) {
            for (size_t i = 0; i < v->n_layers; i++) {
                const struct bp_variance_value *value = value_at(v, row, i);
                scratch[i] = line == 3 ? value->flips : value->exact[line - 1];
            }
            column(columns, line)[row] = median(scratch, v->n_layers);
        }
    }
    const struct bp_series lines[] = {
        series(columns, 1, v->count, "activation gradient (dA)", 0, 0),
        series(columns, 2, v->count, "weight gradient (dW)", 1, 0)};
    const struct bp_series flips = series(columns, 3, v->count, "sign flips", 2, 0);
    struct bp_chart chart = {.title = "Relative variance over the run, median of the layers",
                             .x_label = "step",
                             .logarithmic = 1,
                             .series = lines,
                             .n_series = 2};
    bp_chart_draw(html, &chart);
    chart = (struct bp_chart){.title = "Weights that changed sign between reports, median",
                              .x_label = "step",
                              .percent = 1,
                              .series = &flips,
                              .n_series = 1};
    bp_chart_draw(html, &chart);
}

static void draw_table(struct bp_html *html, const struct bp_variance_record *v) {
    static const char *const heads[] = {"layer",     ">dA gradient", ">dA formula",
                                        ">dA drawn", ">dW gradient", ">dW formula",
                                        ">dW drawn", ">sign flips",  NULL};
    bp_html_raw(html, "<details><summary>The last report in numbers</summary><div class=\"scroll\">"
                      "<table>");
    bp_page_columns(html, heads);
    for (size_t i = 0; i < v->n_layers; i++) {
        const struct bp_variance_value *value = value_at(v, v->count - 1, i);
        bp_html_raw(html, "<tr><td class=\"wrap\">");
        bp_html_text(html, v->names[i]);
        for (int p = DA; p <= DW; p++) {
            const double numbers[] = {value->gradient[p], value->exact[p], value->empirical[p]};
            for (int k = 0; k < 3; k++) {
                bp_html_raw(html, "</td><td class=\"num\">");
                bp_html_significant(html, numbers[k]);
            }
        }
        bp_html_raw(html, "</td><td class=\"num\">");
        bp_html_percent(html, value->flips, 2);
        bp_html_raw(html, "</td></tr>\n");
    }
    bp_html_raw(html, "</tbody></table></div></details>\n");
}

bp_status bp_page_variance(struct bp_html *html, const struct bp_variance_record *variance) {
    const struct bp_variance_record *v = variance;
    struct columns columns = {.room = v->n_layers > v->count ? v->n_layers : v->count};
    double *scratch;
    if (v->count == 0)
        return BP_OK;
    BP_TRY(bp_alloc_array(&scratch, v->n_layers, sizeof *scratch, "a chart"));
    bp_status status = bp_alloc_array(&columns.block, 5 * columns.room, sizeof(double), "a chart");
    if (status == BP_OK) {
        bp_page_section(html, "variance", "Gradient variance");
        bp_html_raw(
            html,
            "<p class=\"note\">How much noise quantizing adds to the two gradient products of "
            "each 1-bit layer: the variance given the gradient, over the squared norm of the "
            "exact product. Above 1 there is more noise than signal in a single step. "
            "Formula: exact; drawn: from repeated draws of the same gradient.</p>"
            "<div class=\"charts\">");
        draw_by_depth(html, v, &columns);
        draw_over_steps(html, v, &columns, scratch);
        bp_html_raw(html, "</div>\n");
        draw_table(html, v);
        bp_html_raw(html, "</section>\n");
    }
    bp_free(scratch);
    bp_free(columns.block);
    return status;
}
