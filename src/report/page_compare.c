/* Several runs side by side: what they reached, their curves, and the options that differ. */
#include <math.h>

#include "base/memory.h"
#include "report/json_read.h"
#include "report/page.h"

struct comparison {
    struct bp_html *html;
    const struct bp_report_run *runs;
    size_t n_runs;
    struct bp_series *series; /* [n_runs] */
};

static void draw_names(const struct comparison *c) {
    for (size_t i = 0; i < c->n_runs; i++) {
        bp_html_raw(c->html, "<th>");
        bp_html_text(c->html, c->runs[i].name);
        bp_html_raw(c->html, "</th>");
    }
}

static void number_cell(struct bp_html *html, double value, int decimals) {
    bp_html_raw(html, "<td class=\"num\">");
    bp_html_value(html, value, decimals);
    bp_html_raw(html, "</td>");
}

static void share_cell(struct bp_html *html, double share) {
    bp_html_raw(html, "<td class=\"num\">");
    bp_html_percent(html, share >= 0.0 ? share : NAN, 2);
    bp_html_raw(html, "</td>");
}

static void draw_results(const struct comparison *c) {
    static const char *const columns[] = {
        "run",     "network",   "precision", ">best accuracy", "|",     ">last accuracy",
        ">epochs", ">images/s", ">seconds",  ">peak MB",       "state", NULL};
    bp_page_section(c->html, "results", "Results");
    bp_html_raw(c->html, "<div class=\"scroll\"><table>");
    bp_page_columns(c->html, columns);
    for (size_t i = 0; i < c->n_runs; i++) {
        const struct bp_report_run *run = &c->runs[i];
        const char *status = bp_report_string(run->result, "status");
        double best = bp_report_number(run->result, "best_accuracy");
        bp_html_raw(c->html, "<tr><td class=\"wrap\">");
        bp_html_text(c->html, run->name);
        bp_html_raw(c->html, "</td><td>");
        bp_page_value(c->html, json_object_get(run->config, "model"));
        bp_html_raw(c->html, " \xc3\x97 ");
        bp_page_value(c->html, json_object_get(run->config, "width"));
        bp_html_raw(c->html, "</td><td>");
        bp_page_value(c->html, json_object_get(run->config, "precision"));
        bp_html_raw(c->html, " ");
        bp_page_value(c->html, json_object_get(run->config, "preset"));
        bp_html_raw(c->html, "</td>");
        share_cell(c->html, best);
        bp_html_raw(c->html, "<td class=\"bar\">");
        bp_page_bar(c->html, best);
        bp_html_raw(c->html, "</td>");
        share_cell(c->html, bp_report_number(run->result, "accuracy"));
        number_cell(c->html, bp_report_number(run->result, "epoch"), 0);
        number_cell(c->html, bp_report_number(run->result, "images_per_s"), 0);
        number_cell(c->html, bp_report_number(run->result, "seconds"), 1);
        number_cell(c->html, bp_report_number(run->result, "peak_rss_mb"), 0);
        bp_html_raw(c->html, "<td>");
        bp_html_text(c->html, status != NULL ? status : "no result yet");
        bp_html_raw(c->html, "</td></tr>\n");
    }
    bp_html_raw(c->html, "</tbody></table></div></section>\n");
}

static void draw_curve(const struct comparison *c, const char *title, enum bp_column x,
                       enum bp_column y) {
    for (size_t i = 0; i < c->n_runs; i++) {
        const struct bp_rows *epochs = &c->runs[i].metrics.epochs;
        c->series[i] = (struct bp_series){.name = c->runs[i].name,
                                          .x = epochs->column[x],
                                          .y = epochs->column[y],
                                          .count = epochs->count,
                                          .colour = (int)(i % (2 * BP_CHART_COLOURS)),
                                          .dots = epochs->count <= 30};
    }
    const int percent = y == BP_COLUMN_VAL_ACCURACY || y == BP_COLUMN_ACCURACY;
    const struct bp_chart chart = {.title = title,
                                   .x_label = x == BP_COLUMN_EPOCH ? "epoch" : "seconds",
                                   .percent = percent,
                                   .from_zero = !percent,
                                   .whole_x = x == BP_COLUMN_EPOCH,
                                   .series = c->series,
                                   .n_series = c->n_runs};
    bp_chart_draw(c->html, &chart);
}

static void draw_curves(const struct comparison *c) {
    bp_page_section(c->html, "curves", "Curves");
    bp_html_raw(c->html, "<div class=\"charts\">");
    draw_curve(c, "Validation accuracy", BP_COLUMN_EPOCH, BP_COLUMN_VAL_ACCURACY);
    draw_curve(c, "Validation accuracy over time (of the last sitting)", BP_COLUMN_SECONDS,
               BP_COLUMN_VAL_ACCURACY);
    draw_curve(c, "Validation loss (nats)", BP_COLUMN_EPOCH, BP_COLUMN_VAL_LOSS);
    draw_curve(c, "Training loss (nats)", BP_COLUMN_EPOCH, BP_COLUMN_LOSS);
    bp_html_raw(c->html, "</div></section>\n");
}

static int same_for_all(const struct comparison *c, const char *key) {
    const json_t *first = json_object_get(c->runs[0].config, key);
    for (size_t i = 1; i < c->n_runs; i++) {
        const json_t *other = json_object_get(c->runs[i].config, key);
        if ((first == NULL) != (other == NULL) || (first != NULL && !json_equal(first, other)))
            return 0;
    }
    return 1;
}

static int seen_before(const struct comparison *c, size_t run, const char *key) {
    for (size_t i = 0; i < run; i++)
        if (json_object_get(c->runs[i].config, key) != NULL)
            return 1;
    return 0;
}

static void draw_differences(const struct comparison *c) {
    const char *key;
    json_t *item;
    size_t rows = 0;
    bp_page_section(c->html, "settings", "Settings that differ");
    bp_html_raw(c->html,
                "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th>option</th>");
    draw_names(c);
    bp_html_raw(c->html, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < c->n_runs; i++)
        json_object_foreach(c->runs[i].config, key, item) {
            if (same_for_all(c, key) || seen_before(c, i, key))
                continue;
            bp_html_raw(c->html, "<tr><td class=\"mono\">");
            bp_html_text(c->html, key);
            bp_html_raw(c->html, "</td>");
            for (size_t j = 0; j < c->n_runs; j++) {
                bp_html_raw(c->html, "<td class=\"wrap\">");
                bp_page_value(c->html, json_object_get(c->runs[j].config, key));
                bp_html_raw(c->html, "</td>");
            }
            bp_html_raw(c->html, "</tr>\n");
            rows++;
        }
    bp_html_raw(c->html, "</tbody></table></div>\n");
    if (rows == 0)
        bp_html_raw(c->html, "<p class=\"empty\">none: all options are the same</p>\n");
    bp_html_raw(c->html, "</section>\n");
}

bp_status bp_page_compare(struct bp_html *html, const struct bp_report_run *runs, size_t n_runs) {
    struct comparison c = {.html = html, .runs = runs, .n_runs = n_runs};
    BP_TRY(bp_alloc_array(&c.series, n_runs, sizeof *c.series, "a chart"));
    bp_page_begin(html, "Comparison of runs");
    bp_html_format(html, "<header><h1>Comparison of %zu runs</h1></header>\n", n_runs);
    draw_results(&c);
    draw_curves(&c);
    draw_differences(&c);
    bp_page_end(html);
    bp_free(c.series);
    return BP_OK;
}
