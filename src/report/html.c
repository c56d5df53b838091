#include "report/html.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

#define DASH "\xe2\x80\x93" /* U+2013 */

void bp_html_begin(struct bp_html *html) {
    *html = (struct bp_html){.status = BP_OK};
}

/* Keeps one byte for the final zero. */
static void put(struct bp_html *html, const char *bytes, size_t count) {
    if (html->status != BP_OK)
        return;
    if (html->length + count + 1 > html->capacity) {
        size_t larger = html->capacity == 0 ? 16384 : 2 * html->capacity;
        while (larger < html->length + count + 1)
            larger *= 2;
        html->status = bp_grow(&html->text, html->length, larger, "a report");
        if (html->status != BP_OK)
            return;
        html->capacity = larger;
    }
    memcpy(html->text + html->length, bytes, count);
    html->length += count;
    html->text[html->length] = 0;
}

void bp_html_raw(struct bp_html *html, const char *markup) {
    put(html, markup, strlen(markup));
}

void bp_html_format(struct bp_html *html, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    bp_html_raw(html, text);
}

static const char *entity_of(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\n':
    case '\r':
    case '\t':
        return " ";
    default:
        return NULL;
    }
}

/* One character; returns its length in bytes. */
static size_t put_character(struct bp_html *html, const char *text) {
    size_t length = bp_utf8_length(text);
    unsigned char c = (unsigned char)*text;
    const char *entity = entity_of(*text);
    /* U+0080 to U+009F are control characters too. */
    int control = c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[1] < 0xa0);
    if (entity != NULL)
        bp_html_raw(html, entity);
    else if (length == 0 || control)
        bp_html_raw(html, BP_UTF8_REPLACEMENT);
    else
        put(html, text, length);
    return length > 0 ? length : 1;
}

void bp_html_text(struct bp_html *html, const char *text) {
    while (*text != 0)
        text += put_character(html, text);
}

void bp_html_short_text(struct bp_html *html, const char *text, size_t most) {
    size_t count = 0;
    for (const char *at = text; *at != 0; count++) {
        size_t length = bp_utf8_length(at);
        at += length > 0 ? length : 1;
    }
    size_t shown = count > most ? most - 1 : count;
    for (size_t i = 0; i < shown; i++)
        text += put_character(html, text);
    if (shown < count)
        bp_html_raw(html, "\xe2\x80\xa6");
}

/* printf with the point of the C locale, whatever the program's is. */
static void put_printed(struct bp_html *html, const char *format, int decimals, double value,
                        int trim) {
    char text[400];
    int length = snprintf(text, sizeof text, format, decimals, value);
    if (length <= 0 || (size_t)length >= sizeof text)
        return;
    char *point = strchr(text, localeconv()->decimal_point[0]);
    if (point != NULL)
        *point = '.';
    if (point != NULL && trim) {
        char *end = text + length;
        while (end > point && end[-1] == '0')
            *--end = 0;
        if (end[-1] == '.')
            end[-1] = 0;
    }
    bp_html_raw(html, strcmp(text, "-0") == 0 ? "0" : text);
}

void bp_html_number(struct bp_html *html, double value, int decimals) {
    put_printed(html, "%.*f", decimals, isfinite(value) ? value : 0.0, 1);
}

void bp_html_value(struct bp_html *html, double value, int decimals) {
    if (isfinite(value))
        put_printed(html, "%.*f", decimals, value, 0);
    else
        bp_html_raw(html, DASH);
}

void bp_html_percent(struct bp_html *html, double share, int decimals) {
    bp_html_value(html, 100.0 * share, decimals);
    if (isfinite(share))
        bp_html_raw(html, "\xc2\xa0%");
}

void bp_html_significant(struct bp_html *html, double value) {
    if (isfinite(value))
        put_printed(html, "%.*g", 3, value, 0);
    else
        bp_html_raw(html, DASH);
}

bp_status bp_html_finish(struct bp_html *html, char **text) {
    *text = html->text;
    if (html->status == BP_OK && html->text == NULL)
        html->status = bp_copy_string(text, "");
    if (html->status != BP_OK) {
        bp_free(html->text);
        *text = NULL;
    }
    html->text = NULL;
    return html->status;
}
