/* What the network takes for what: confusion matrix, classes, worst mistakes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/page.h"

enum {
    MATRIX_CLASSES_MAX = 100,
    NUMBERED_CLASSES_MAX = 20, /* with the counts in the cells */
    LABEL_CHARACTERS = 18,
    PAIRS_SHOWN = 12,
    SMALL_PICTURE = 48 /* thumbnails up to this many pixels show their pixels */
};

struct ranked {
    double key;
    size_t index;
};

/* What was drawn of a validation: sums that several parts need. */
struct confusion {
    struct bp_html *html;
    const struct bp_validation_record *v;
    size_t *worst; /* [classes] the pair that takes most samples of the class away, or n_pairs */
    struct ranked *order; /* [max(classes, pairs)] */
};

/* --- the matrix ------------------------------------------------------------------------------- */

struct layout {
    double cell, left, top, size, font;
    int numbered;
};

static struct layout make_layout(const struct bp_validation_record *v) {
    size_t longest = 1;
    for (size_t i = 0; i < v->n_classes; i++)
        longest = strlen(v->classes[i].name) > longest ? strlen(v->classes[i].name) : longest;
    double n = (double)v->n_classes;
    struct layout l = {.numbered = v->n_classes <= NUMBERED_CLASSES_MAX};
    l.cell = v->n_classes <= 12                     ? 38
             : v->n_classes <= NUMBERED_CLASSES_MAX ? 30
             : n <= 40                              ? 16
                                                    : 10;
    l.font = l.cell < 12 ? 9 : 11.5;
    double label =
        0.56 * l.font * (double)(longest > LABEL_CHARACTERS ? LABEL_CHARACTERS : longest);
    l.left = label + 26;
    l.top = label + 10;
    l.size = l.cell * n;
    return l;
}

static void draw_name(const struct confusion *c, const struct layout *l, size_t i, int column) {
    double middle = ((double)i + 0.5) * l->cell;
    bp_html_raw(c->html, column ? "<text text-anchor=\"start\" transform=\"translate("
                                : "<text text-anchor=\"end\" transform=\"translate(");
    bp_html_number(c->html, column ? l->left + middle + 0.35 * l->font : l->left - 5, 1);
    bp_html_raw(c->html, " ");
    bp_html_number(c->html, column ? l->top - 5 : l->top + middle + 0.35 * l->font, 1);
    bp_html_raw(c->html, column ? ") rotate(-90)\" style=\"font-size:" : ")\" style=\"font-size:");
    bp_html_number(c->html, l->font, 1);
    bp_html_raw(c->html, "px\">");
    bp_html_short_text(c->html, c->v->classes[i].name, LABEL_CHARACTERS);
    bp_html_raw(c->html, "<title>");
    bp_html_text(c->html, c->v->classes[i].name);
    bp_html_raw(c->html, "</title></text>");
}

static void draw_cell(const struct confusion *c, const struct layout *l,
                      const struct bp_pair_record *pair) {
    const struct bp_class_record *class = &c->v->classes[pair->label];
    double share = class->n > 0 ? fmin((double)pair->count / (double)class->n, 1.0) : 0.0;
    double ink = 0.08 + 0.92 * sqrt(share); /* few samples must be seen too */
    double x = l->left + (double)pair->predicted * l->cell;
    double y = l->top + (double)pair->label * l->cell;
    bp_html_format(c->html, "<g><title>");
    bp_html_text(c->html, class->name);
    bp_html_format(c->html, ": %zu of %zu taken for ", pair->count, class->n);
    bp_html_text(c->html, c->v->classes[pair->predicted].name);
    bp_html_format(c->html, "</title><rect class=\"%s\" fill-opacity=\"",
                   pair->label == pair->predicted ? "r" : "w");
    bp_html_number(c->html, ink, 3);
    bp_html_raw(c->html, "\" x=\"");
    bp_html_number(c->html, x, 1);
    bp_html_raw(c->html, "\" y=\"");
    bp_html_number(c->html, y, 1);
    bp_html_raw(c->html, "\" width=\"");
    bp_html_number(c->html, l->cell - 1, 1);
    bp_html_raw(c->html, "\" height=\"");
    bp_html_number(c->html, l->cell - 1, 1);
    bp_html_raw(c->html, "\"/>");
    if (l->numbered) {
        bp_html_format(c->html, "<text text-anchor=\"middle\" class=\"%s\" x=\"",
                       ink > 0.6 ? "in" : "out");
        bp_html_number(c->html, x + 0.5 * (l->cell - 1), 1);
        bp_html_raw(c->html, "\" y=\"");
        bp_html_number(c->html, y + 0.5 * l->cell + 3.5, 1);
        bp_html_format(c->html, "\"%s>%zu</text>",
                       pair->count > 9999 ? " style=\"font-size:8px\"" : "", pair->count);
    }
    bp_html_raw(c->html, "</g>\n");
}

static void draw_matrix(const struct confusion *c) {
    const struct bp_validation_record *v = c->v;
    struct layout l = make_layout(v);
    double width = l.left + l.size + 4, height = l.top + l.size + 20;
    bp_html_raw(c->html, "<div class=\"scroll\"><svg class=\"matrix\" role=\"img\" aria-label=\""
                         "confusion matrix\" viewBox=\"0 0 ");
    bp_html_number(c->html, width, 0);
    bp_html_raw(c->html, " ");
    bp_html_number(c->html, height, 0);
    bp_html_raw(c->html, "\" style=\"width:100%;max-width:");
    bp_html_number(c->html, width, 0);
    bp_html_raw(c->html, "px;min-width:");
    bp_html_number(c->html, fmin(width, fmax(330, 0.66 * width)), 0);
    bp_html_raw(c->html, "px\"><rect class=\"cell\" x=\"");
    bp_html_number(c->html, l.left, 1);
    bp_html_raw(c->html, "\" y=\"");
    bp_html_number(c->html, l.top, 1);
    bp_html_raw(c->html, "\" width=\"");
    bp_html_number(c->html, l.size, 1);
    bp_html_raw(c->html, "\" height=\"");
    bp_html_number(c->html, l.size, 1);
    bp_html_raw(c->html, "\"/>\n");
    for (size_t i = 0; i < v->n_pairs; i++)
        if (v->pairs[i].count > 0)
            draw_cell(c, &l, &v->pairs[i]);
    for (size_t i = 0; i < v->n_classes; i++) {
        draw_name(c, &l, i, 0);
        draw_name(c, &l, i, 1);
    }
    bp_html_raw(c->html, "<text text-anchor=\"middle\" x=\"");
    bp_html_number(c->html, l.left + 0.5 * l.size, 1);
    bp_html_raw(c->html, "\" y=\"");
    bp_html_number(c->html, l.top + l.size + 14, 1);
    bp_html_raw(c->html, "\">columns: predicted; rows: true class</text></svg></div>\n");
}

/* --- tables ----------------------------------------------------------------------------------- */

static void draw_class(const struct confusion *c, size_t i) {
    const struct bp_class_record *class = &c->v->classes[i];
    double share = class->n > 0 ? (double)class->correct / (double)class->n : NAN;
    bp_html_raw(c->html, "<tr><td class=\"wrap\">");
    bp_html_text(c->html, class->name);
    bp_html_raw(c->html, "</td><td class=\"num\">");
    bp_html_percent(c->html, share, 1);
    bp_html_raw(c->html, "</td><td class=\"bar\">");
    bp_page_bar(c->html, share);
    bp_html_format(c->html, "</td><td class=\"num\">%zu of %zu</td><td class=\"wrap\">",
                   class->correct, class->n);
    if (c->worst[i] < c->v->n_pairs) {
        const struct bp_pair_record *pair = &c->v->pairs[c->worst[i]];
        bp_html_text(c->html, c->v->classes[pair->predicted].name);
        bp_html_format(c->html, " (%zu)", pair->count);
    }
    bp_html_raw(c->html, "</td></tr>\n");
}

/* Smallest keys first, equal ones in their order. */
static int by_key(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void draw_classes(const struct confusion *c) {
    static const char *const columns[] = {
        "class", ">accuracy", "|", ">right", "most often taken for", NULL};
    for (size_t i = 0; i < c->v->n_classes; i++) {
        const struct bp_class_record *class = &c->v->classes[i];
        c->order[i].index = i;
        c->order[i].key = class->n > 0 ? (double)class->correct / (double)class->n : 2.0;
    }
    qsort(c->order, c->v->n_classes, sizeof *c->order, by_key);
    bp_html_raw(c->html, "<div><h3>Accuracy of each class, lowest first</h3><div class=\"scroll "
                         "tall\"><table>");
    bp_page_columns(c->html, columns);
    for (size_t i = 0; i < c->v->n_classes; i++)
        draw_class(c, c->order[i].index);
    bp_html_raw(c->html, "</tbody></table></div></div>\n");
}

static void draw_pairs(const struct confusion *c) {
    static const char *const columns[] = {"true class", "taken for", ">times", ">of the class",
                                          NULL};
    size_t n = 0;
    for (size_t i = 0; i < c->v->n_pairs; i++) {
        const struct bp_pair_record *pair = &c->v->pairs[i];
        if (pair->label != pair->predicted && pair->count > 0)
            c->order[n++] = (struct ranked){-(double)pair->count, i};
    }
    qsort(c->order, n, sizeof *c->order, by_key);
    bp_html_raw(c->html, "<div><h3>Most frequent confusions</h3>");
    if (n == 0)
        bp_html_raw(c->html, "<p class=\"empty\">none: every sample was right</p>");
    bp_html_raw(c->html, n > 0 ? "<div class=\"scroll\"><table>" : "");
    if (n > 0)
        bp_page_columns(c->html, columns);
    for (size_t i = 0; i < n && i < PAIRS_SHOWN; i++) {
        const struct bp_pair_record *pair = &c->v->pairs[c->order[i].index];
        const struct bp_class_record *class = &c->v->classes[pair->label];
        bp_html_raw(c->html, "<tr><td class=\"wrap\">");
        bp_html_text(c->html, class->name);
        bp_html_raw(c->html, "</td><td class=\"wrap\">");
        bp_html_text(c->html, c->v->classes[pair->predicted].name);
        bp_html_format(c->html, "</td><td class=\"num\">%zu</td><td class=\"num\">", pair->count);
        bp_html_percent(c->html, class->n > 0 ? (double)pair->count / (double)class->n : NAN, 1);
        bp_html_raw(c->html, "</td></tr>\n");
    }
    bp_html_raw(c->html, n > 0 ? "</tbody></table></div></div>\n" : "</div>\n");
}

static void find_worst(const struct confusion *c) {
    const struct bp_validation_record *v = c->v;
    for (size_t i = 0; i < v->n_classes; i++)
        c->worst[i] = v->n_pairs;
    for (size_t i = 0; i < v->n_pairs; i++) {
        const struct bp_pair_record *pair = &v->pairs[i];
        size_t *worst = &c->worst[pair->label];
        if (pair->label != pair->predicted && pair->count > 0 &&
            (*worst == v->n_pairs || pair->count > v->pairs[*worst].count))
            *worst = i;
    }
}

bp_status bp_page_confusion(struct bp_html *html, const struct bp_validation_record *validation) {
    const struct bp_validation_record *v = validation;
    struct confusion c = {.html = html, .v = v};
    size_t most = v->n_classes > v->n_pairs ? v->n_classes : v->n_pairs;
    BP_TRY(bp_alloc_array(&c.worst, v->n_classes, sizeof *c.worst, "a report"));
    bp_status status = bp_alloc_array(&c.order, most, sizeof *c.order, "a report");
    if (status == BP_OK) {
        find_worst(&c);
        bp_page_section(html, "classes", "Classes");
        bp_html_format(html,
                       "<p class=\"note\">The network of epoch %zu, the best one, on the %zu "
                       "samples of the validation part: ",
                       v->epoch, v->n);
        bp_html_percent(html, v->accuracy, 2);
        bp_html_raw(html, " right.</p>");
        int beside = v->n_classes <= 12; /* a small matrix has room for a table beside it */
        bp_html_raw(html, beside ? "<div class=\"split\"><div>" : "");
        if (v->n_classes <= MATRIX_CLASSES_MAX)
            draw_matrix(&c);
        else
            bp_html_format(html,
                           "<p class=\"note\">A matrix of %zu classes would not be readable; "
                           "the tables say the same.</p>",
                           v->n_classes);
        if (!beside) {
            bp_html_raw(html, "<div class=\"split\">");
            draw_classes(&c);
        }
        draw_pairs(&c);
        if (beside) {
            bp_html_raw(html, "</div>");
            draw_classes(&c);
        }
        bp_html_raw(html, "</div></section>\n");
    }
    bp_free(c.worst);
    bp_free(c.order);
    return status;
}

/* --- worst mistakes --------------------------------------------------------------------------- */

static void draw_mistake(struct bp_html *html, const struct bp_validation_record *v,
                         const struct bp_mistake_record *mistake) {
    bp_html_raw(html, "<li>");
    if (mistake->png != NULL) {
        bp_html_format(html, "<img%s alt=\"",
                       v->thumbnail_px <= SMALL_PICTURE ? " class=\"small\"" : "");
        bp_html_text(html, v->classes[mistake->label].name);
        bp_html_raw(html, "\" src=\"data:image/png;base64,");
        bp_html_raw(html, mistake->png); /* Base64, checked by the reader */
        bp_html_raw(html, "\">");
    }
    bp_html_raw(html, "<span class=\"said\">said <b>");
    bp_html_text(html, v->classes[mistake->predicted].name);
    bp_html_raw(html, "</b> ");
    bp_html_percent(html, mistake->probability, 0);
    bp_html_raw(html, "</span><br><span class=\"was\">is <b>");
    bp_html_text(html, v->classes[mistake->label].name);
    bp_html_raw(html, "</b> ");
    bp_html_percent(html, mistake->probability_of_label, 1);
    bp_html_raw(html, "</span><small>loss ");
    bp_html_value(html, mistake->loss, 2);
    if (mistake->path != NULL) {
        bp_html_raw(html, ", ");
        bp_html_text(html, mistake->path);
    } else {
        bp_html_format(html, ", sample %zu", mistake->sample);
    }
    bp_html_raw(html, "</small></li>\n");
}

void bp_page_mistakes(struct bp_html *html, const struct bp_validation_record *validation) {
    if (validation->n_mistakes == 0)
        return;
    bp_page_section(html, "mistakes", "Worst mistakes");
    bp_html_raw(html,
                "<p class=\"note\">The wrong answers of the same network with the largest loss: "
                "unusual samples, or wrong labels.</p><ul class=\"mistakes\">");
    for (size_t i = 0; i < validation->n_mistakes; i++)
        draw_mistake(html, validation, &validation->mistakes[i]);
    bp_html_raw(html, "</ul></section>\n");
}
