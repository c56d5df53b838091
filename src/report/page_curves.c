/* Curves over the epochs. */
#include <math.h>

#include "base/memory.h"
#include "report/page.h"

/* The steps' place between the epochs. */
struct curves {
    const struct bp_rows *epochs, *steps;
    double *step_x; /* [steps->count] */
    const char *x_label;
};

/* An epoch's steps are known once one is finished; before, the axis counts steps. */
static bp_status place_steps(struct curves *curves) {
    const struct bp_rows *epochs = curves->epochs, *steps = curves->steps;
    double per_epoch = NAN;
    BP_TRY(bp_alloc_array(&curves->step_x, steps->count, sizeof(double), "a chart"));
    if (epochs->count > 0)
        per_epoch = epochs->column[BP_COLUMN_STEP][0] / epochs->column[BP_COLUMN_EPOCH][0];
    int by_epoch = isfinite(per_epoch) && per_epoch > 0.0;
    curves->x_label = by_epoch ? "epoch" : "step";
    for (size_t i = 0; i < steps->count; i++)
        curves->step_x[i] = steps->column[BP_COLUMN_STEP][i] / (by_epoch ? per_epoch : 1.0);
    return BP_OK;
}

static struct bp_series of_epochs(const struct curves *curves, const char *name,
                                  enum bp_column column, int colour, int dashed) {
    const struct bp_rows *rows = curves->epochs;
    return (struct bp_series){.name = name,
                              .x = rows->column[BP_COLUMN_EPOCH],
                              .y = rows->column[column],
                              .count = rows->count,
                              .colour = colour,
                              .dashed = dashed,
                              .dots = rows->count <= 80};
}

static struct bp_series of_steps(const struct curves *curves, const char *name,
                                 enum bp_column column, int colour) {
    const struct bp_rows *rows = curves->steps;
    return (struct bp_series){.name = name,
                              .x = curves->step_x,
                              .y = rows->column[column],
                              .count = rows->count,
                              .colour = colour,
                              .faint = 1,
                              .dots = curves->epochs->count == 0 && rows->count <= 80};
}

/* Training (also of single steps) and validation. */
static void draw_pair(struct bp_html *html, const struct curves *curves, const char *title,
                      enum bp_column training, enum bp_column validation, int percent) {
    struct bp_series series[3];
    size_t n = 0;
    if (curves->steps->count > 1)
        series[n++] = of_steps(curves, "one training step", training, 6);
    series[n++] = of_epochs(curves, "training", training, 1, 1);
    series[n++] = of_epochs(curves, "validation", validation, 0, 0);
    struct bp_chart chart = {.title = title,
                             .x_label = curves->x_label,
                             .percent = percent,
                             .from_zero = !percent,
                             .whole_x = 1,
                             .series = series,
                             .n_series = n};
    bp_chart_draw(html, &chart);
}

static void draw_one(struct bp_html *html, const struct curves *curves, const char *title,
                     enum bp_column column, int percent) {
    /* Of single steps where that tells more; but speed is smoother over epochs. */
    const int by_steps = curves->epochs->count < 2 || column == BP_COLUMN_LR;
    struct bp_series series = by_steps && curves->steps->count > curves->epochs->count
                                  ? of_steps(curves, title, column, 2)
                                  : of_epochs(curves, title, column, 2, 0);
    series.faint = 0;
    struct bp_chart chart = {.title = title,
                             .x_label = curves->x_label,
                             .from_zero = 1,
                             .whole_x = 1,
                             .percent = percent,
                             .series = &series,
                             .n_series = 1};
    bp_chart_draw(html, &chart);
}

static void draw_table(struct bp_html *html, const struct bp_rows *epochs) {
    if (epochs->count == 0)
        return;
    static const char *const columns[] = {">epoch",
                                          ">step",
                                          ">loss",
                                          ">accuracy",
                                          ">validation loss",
                                          ">validation accuracy",
                                          ">learning rate",
                                          ">images/s",
                                          ">waited for data",
                                          NULL};
    bp_html_raw(html, "<details><summary>Every epoch in numbers</summary><div class=\"scroll "
                      "tall\"><table>");
    bp_page_columns(html, columns);
    for (size_t i = 0; i < epochs->count; i++) {
        bp_html_raw(html, "<tr>");
        for (int c = 0; c < BP_COLUMN_COUNT; c++) {
            double value = epochs->column[c][i];
            if (c == BP_COLUMN_SECONDS)
                continue;
            bp_html_raw(html, "<td class=\"num\">");
            if (c == BP_COLUMN_EPOCH || c == BP_COLUMN_STEP || c == BP_COLUMN_IMAGES_PER_S)
                bp_html_value(html, value, 0);
            else if (c == BP_COLUMN_LOSS || c == BP_COLUMN_VAL_LOSS)
                bp_html_value(html, value, 4);
            else if (c == BP_COLUMN_LR)
                bp_html_significant(html, value);
            else
                bp_html_percent(html, value, c == BP_COLUMN_DATA_WAIT ? 1 : 2);
            bp_html_raw(html, "</td>");
        }
        bp_html_raw(html, "</tr>\n");
    }
    bp_html_raw(html, "</tbody></table></div></details>\n");
}

bp_status bp_page_curves(struct bp_html *html, const struct bp_report_run *run) {
    struct curves curves = {.epochs = &run->metrics.epochs, .steps = &run->metrics.steps};
    BP_TRY(place_steps(&curves));
    bp_page_section(html, "curves", "Curves");
    bp_html_raw(html, "<div class=\"charts\">");
    draw_pair(html, &curves, "Loss (nats)", BP_COLUMN_LOSS, BP_COLUMN_VAL_LOSS, 0);
    draw_pair(html, &curves, "Accuracy", BP_COLUMN_ACCURACY, BP_COLUMN_VAL_ACCURACY, 1);
    draw_one(html, &curves, "Learning rate", BP_COLUMN_LR, 0);
    draw_one(html, &curves, "Images per second (training)", BP_COLUMN_IMAGES_PER_S, 0);
    bp_html_raw(html, "</div>\n");
    draw_table(html, curves.epochs);
    bp_html_raw(html, "</section>\n");
    bp_free(curves.step_x);
    return BP_OK;
}
