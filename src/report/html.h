/* Writes HTML into a growing buffer. Text that is not our own goes through bp_html_text, numbers
 * through bp_html_number: nothing else puts foreign bytes into a page. Failures of memory are
 * remembered and reported once, by bp_html_finish. */
#ifndef BP_REPORT_HTML_H
#define BP_REPORT_HTML_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_html {
    char *text;
    size_t length, capacity;
    bp_status status;
};

void bp_html_begin(struct bp_html *html);

/* Our own markup, as it is. */
void bp_html_raw(struct bp_html *html, const char *markup);
/* Our own markup with integers (%zu, %d) and words of our own (%s); no floats, which follow the
 * locale. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void bp_html_format(struct bp_html *html, const char *format, ...);

/* Any text, inside an element or a quoted attribute: & < > " ' become entities; what is not UTF-8,
 * and control characters, become U+FFFD; line breaks and tabulators become spaces. */
void bp_html_text(struct bp_html *html, const char *text);
/* The same, but at most `most` characters, the last one an ellipsis where something was cut. */
void bp_html_short_text(struct bp_html *html, const char *text, size_t most);

/* A number with up to `decimals` (0 .. 9) digits behind the point, without trailing zeros; NaN and
 * infinity are written as 0, so that every coordinate is one. */
void bp_html_number(struct bp_html *html, double value, int decimals);
/* The same for readers: all `decimals` digits stay; NaN and infinity are a dash. */
void bp_html_value(struct bp_html *html, double value, int decimals);
/* "71.2 %", or a dash. */
void bp_html_percent(struct bp_html *html, double share, int decimals);
/* Three significant digits ("0.0123", "4.56e-05"), or a dash. */
void bp_html_significant(struct bp_html *html, double value);

/* *text is the caller's (bp_free). On failure *text is NULL. */
bp_status bp_html_finish(struct bp_html *html, char **text);

#ifdef __cplusplus
}
#endif
#endif
