#include "report/chart.h"

#include <math.h>

enum { WIDTH = 480, HEIGHT = 264, LEFT = 50, RIGHT = 14, TOP = 10, BOTTOM = 42 };
enum { MOST_POINTS = 600 }; /* of a drawn line; longer ones keep the extremes of equal parts */

struct axis {
    double lo, hi;   /* of the values; logarithms where the axis is logarithmic */
    double from, to; /* pixels */
};

struct drawing {
    struct bp_html *html;
    const struct bp_chart *chart;
    struct axis x, y;
    size_t points;
};

static double y_value(const struct bp_chart *chart, double y) {
    if (!chart->logarithmic)
        return y;
    return y > 0.0 ? log10(y) : NAN;
}

static double place(const struct axis *axis, double value) {
    double share = (value - axis->lo) / (axis->hi - axis->lo);
    return axis->from + (axis->to - axis->from) * share;
}

void bp_chart_ticks(double lo, double hi, int most, double *first, double *step) {
    double raw = (hi - lo) / most, power = pow(10.0, floor(log10(raw)));
    double digit = raw / power;
    *step = (digit <= 1.0 ? 1.0 : digit <= 2.0 ? 2.0 : digit <= 5.0 ? 5.0 : 10.0) * power;
    *first = ceil(lo / *step - 1e-9) * *step;
}

/* --- the range of the axes -------------------------------------------------------------------- */

static void widen(struct axis *axis, double value) {
    axis->lo = value < axis->lo ? value : axis->lo;
    axis->hi = value > axis->hi ? value : axis->hi;
}

/* An axis needs a length, also where all values are equal, or so near that floats are too coarse
 * for marks between them. */
static void give_length(struct axis *axis, double least) {
    double size = fmax(fabs(axis->lo), fabs(axis->hi));
    if (axis->hi - axis->lo > 1e-9 * size && axis->hi > axis->lo)
        return;
    double half = 0.5 * fmax(least, 1e-6 * size);
    axis->lo -= half;
    axis->hi += half;
}

static void measure(struct drawing *d) {
    const struct bp_chart *chart = d->chart;
    d->x = (struct axis){INFINITY, -INFINITY, LEFT, WIDTH - RIGHT};
    d->y = (struct axis){INFINITY, -INFINITY, HEIGHT - BOTTOM, TOP};
    for (size_t s = 0; s < chart->n_series; s++)
        for (size_t i = 0; i < chart->series[s].count; i++) {
            double x = chart->series[s].x[i], y = y_value(chart, chart->series[s].y[i]);
            if (!isfinite(x) || !isfinite(y) || fabs(x) > 1e15 || fabs(y) > 1e15)
                continue;
            widen(&d->x, x);
            widen(&d->y, y);
            d->points++;
        }
    if (d->points == 0)
        return;
    if (chart->from_zero && !chart->logarithmic)
        widen(&d->y, 0.0);
    give_length(&d->x, 1.0);
    give_length(&d->y, chart->percent ? 0.02 : chart->logarithmic ? 1.0 : 0.1);
    double margin = 0.04 * (d->y.hi - d->y.lo);
    if (!(chart->from_zero && d->y.lo == 0.0))
        d->y.lo -= margin;
    d->y.hi += margin;
    if (chart->percent) {
        d->y.lo = fmin(fmax(d->y.lo, 0.0), 0.99);
        d->y.hi = fmin(fmax(d->y.hi, d->y.lo + 0.01), 1.0);
    }
}

/* --- axes ------------------------------------------------------------------------------------- */

static void line(struct bp_html *html, const char *class, double x1, double y1, double x2,
                 double y2) {
    bp_html_format(html, "<line class=\"%s\" x1=\"", class);
    bp_html_number(html, x1, 1);
    bp_html_raw(html, "\" y1=\"");
    bp_html_number(html, y1, 1);
    bp_html_raw(html, "\" x2=\"");
    bp_html_number(html, x2, 1);
    bp_html_raw(html, "\" y2=\"");
    bp_html_number(html, y2, 1);
    bp_html_raw(html, "\"/>");
}

static void begin_label(struct bp_html *html, const char *anchor, double x, double y) {
    bp_html_format(html, "<text text-anchor=\"%s\" x=\"", anchor);
    bp_html_number(html, x, 1);
    bp_html_raw(html, "\" y=\"");
    bp_html_number(html, y, 1);
    bp_html_raw(html, "\">");
}

/* Digits that tell marks `step` apart; very large and very small ones are written with powers. */
static void mark_text(struct bp_html *html, double value, double step) {
    double size = fmax(fabs(value), step);
    if (size >= 1e6 || step < 1e-5)
        bp_html_significant(html, fabs(value) < 1e-9 * step ? 0.0 : value);
    else
        bp_html_number(html, value, step >= 1.0 ? 0 : (int)ceil(-log10(step) - 1e-9));
}

static void draw_x_axis(struct drawing *d) {
    double first, step;
    bp_chart_ticks(d->x.lo, d->x.hi, 6, &first, &step);
    if (d->chart->whole_x && step < 1.0 && d->x.hi - d->x.lo >= 2.0) {
        step = 1.0;
        first = ceil(d->x.lo);
    }
    for (int i = 0; first + i * step <= d->x.hi + 1e-9 * step && i < 20; i++) {
        double x = place(&d->x, first + i * step);
        line(d->html, "tick", x, d->y.from, x, d->y.from + 4);
        begin_label(d->html, "middle", x, d->y.from + 17);
        mark_text(d->html, first + i * step, step);
        bp_html_raw(d->html, "</text>");
    }
    begin_label(d->html, "middle", 0.5 * (d->x.from + d->x.to), HEIGHT - 6);
    bp_html_text(d->html, d->chart->x_label);
    bp_html_raw(d->html, "</text>");
}

static void draw_y_mark(struct drawing *d, double at, double value, double step) {
    double y = place(&d->y, at);
    line(d->html, "grid", d->x.from, y, d->x.to, y);
    begin_label(d->html, "end", d->x.from - 6, y + 4);
    if (d->chart->percent) {
        mark_text(d->html, 100.0 * value, 100.0 * step);
        bp_html_raw(d->html, " %");
    } else if (d->chart->logarithmic) {
        bp_html_significant(d->html, value);
    } else {
        mark_text(d->html, value, step);
    }
    bp_html_raw(d->html, "</text>");
}

/* Whole decades, every second or third of them where there are many; 1, 2, 5 where there are few.
 */
static void draw_log_axis(struct drawing *d) {
    double decades = d->y.hi - d->y.lo;
    int every = decades > 30 ? (int)(decades / 6) : decades > 12 ? 3 : decades > 6 ? 2 : 1;
    int drawn = 0;
    for (double decade = floor(d->y.lo); decade <= d->y.hi && drawn < 40; decade += every)
        for (int digit = 1; digit <= (decades < 2.0 ? 5 : 1); digit += digit == 2 ? 3 : 1) {
            double at = decade + log10(digit);
            if (at >= d->y.lo && at <= d->y.hi) {
                draw_y_mark(d, at, pow(10.0, at), 1.0);
                drawn++;
            }
        }
    if (drawn == 0)
        draw_y_mark(d, d->y.lo, pow(10.0, d->y.lo), 1.0);
}

static void draw_y_axis(struct drawing *d) {
    if (d->chart->logarithmic) {
        draw_log_axis(d);
        return;
    }
    double first, step;
    bp_chart_ticks(d->y.lo, d->y.hi, 5, &first, &step);
    for (int i = 0; first + i * step <= d->y.hi + 1e-9 * step && i < 20; i++)
        draw_y_mark(d, first + i * step, first + i * step, step);
}

/* --- lines ------------------------------------------------------------------------------------ */

static int drawable(double x, double y) {
    return isfinite(x) && isfinite(y) && fabs(x) <= 1e15 && fabs(y) <= 1e15;
}

static void add_point(struct drawing *d, double x, double y, int *pen_down) {
    bp_html_raw(d->html, *pen_down ? "L" : "M");
    bp_html_number(d->html, place(&d->x, x), 1);
    bp_html_raw(d->html, " ");
    bp_html_number(d->html, place(&d->y, y), 1);
    *pen_down = 1;
}

/* The lowest and the highest point of series[begin..end), in their order. */
static void add_extremes(struct drawing *d, const struct bp_series *series, size_t begin,
                         size_t end, int *pen_down) {
    size_t low = end, high = end;
    for (size_t i = begin; i < end; i++) {
        double y = y_value(d->chart, series->y[i]);
        if (!drawable(series->x[i], y)) {
            *pen_down = 0;
            continue;
        }
        if (low == end || series->y[i] < series->y[low])
            low = i;
        if (high == end || series->y[i] > series->y[high])
            high = i;
    }
    if (low == end)
        return;
    size_t first = low < high ? low : high, last = low < high ? high : low;
    add_point(d, series->x[first], y_value(d->chart, series->y[first]), pen_down);
    if (last != first)
        add_point(d, series->x[last], y_value(d->chart, series->y[last]), pen_down);
}

static void draw_line(struct drawing *d, const struct bp_series *series) {
    int pen_down = 0, dashed = series->dashed || series->colour / BP_CHART_COLOURS % 2 == 1;
    bp_html_format(d->html, "<path class=\"line c%d%s%s\" d=\"", series->colour % BP_CHART_COLOURS,
                   dashed ? " dashed" : "", series->faint ? " faint" : "");
    size_t parts = series->count > MOST_POINTS ? MOST_POINTS / 2 : series->count;
    for (size_t i = 0; i < parts; i++)
        add_extremes(d, series, i * series->count / parts, (i + 1) * series->count / parts,
                     &pen_down);
    bp_html_raw(d->html, "\"/>");
}

static void draw_dots(struct drawing *d, const struct bp_series *series) {
    for (size_t i = 0; i < series->count; i++) {
        double y = y_value(d->chart, series->y[i]);
        if (!drawable(series->x[i], y))
            continue;
        bp_html_format(d->html, "<circle class=\"dot c%d\" r=\"2.6\" cx=\"",
                       series->colour % BP_CHART_COLOURS);
        bp_html_number(d->html, place(&d->x, series->x[i]), 1);
        bp_html_raw(d->html, "\" cy=\"");
        bp_html_number(d->html, place(&d->y, y), 1);
        bp_html_raw(d->html, "\"><title>");
        bp_html_text(d->html, series->name);
        bp_html_raw(d->html, ", ");
        bp_html_text(d->html, d->chart->x_label);
        bp_html_raw(d->html, " ");
        bp_html_number(d->html, series->x[i], 3);
        bp_html_raw(d->html, ": ");
        if (d->chart->percent)
            bp_html_percent(d->html, series->y[i], 2);
        else
            bp_html_significant(d->html, series->y[i]);
        bp_html_raw(d->html, "</title></circle>");
    }
}

static void draw_legend(struct bp_html *html, const struct bp_chart *chart) {
    if (chart->n_series < 2)
        return;
    bp_html_raw(html, "<ul class=\"legend\">");
    for (size_t s = 0; s < chart->n_series; s++) {
        const struct bp_series *series = &chart->series[s];
        int dashed = series->dashed || series->colour / BP_CHART_COLOURS % 2 == 1;
        bp_html_format(html,
                       "<li><svg class=\"key\" viewBox=\"0 0 26 10\" aria-hidden=\"true\"><path "
                       "class=\"line c%d%s%s\" d=\"M1 5L25 5\"/></svg>",
                       series->colour % BP_CHART_COLOURS, dashed ? " dashed" : "",
                       series->faint ? " faint" : "");
        bp_html_text(html, series->name);
        bp_html_raw(html, "</li>");
    }
    bp_html_raw(html, "</ul>");
}

void bp_chart_draw(struct bp_html *html, const struct bp_chart *chart) {
    struct drawing d = {.html = html, .chart = chart};
    bp_html_raw(html, "<figure class=\"chart\"><figcaption>");
    bp_html_text(html, chart->title);
    bp_html_raw(html, "</figcaption>");
    if (chart->note != NULL) {
        bp_html_raw(html, "<p class=\"note\">");
        bp_html_text(html, chart->note);
        bp_html_raw(html, "</p>");
    }
    measure(&d);
    if (d.points == 0) {
        bp_html_raw(html, "<p class=\"empty\">nothing to draw yet</p></figure>\n");
        return;
    }
    draw_legend(html, chart);
    bp_html_format(html, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    bp_html_text(html, chart->title);
    bp_html_raw(html, "\">");
    draw_y_axis(&d);
    draw_x_axis(&d);
    line(html, "axis", d.x.from, d.y.from, d.x.to, d.y.from);
    for (size_t s = 0; s < chart->n_series; s++)
        draw_line(&d, &chart->series[s]);
    for (size_t s = 0; s < chart->n_series; s++)
        if (chart->series[s].dots)
            draw_dots(&d, &chart->series[s]);
    bp_html_raw(html, "</svg></figure>\n");
}
