#include "unit/html_check.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { DEPTH_MAX = 64, NAME_MAX_BYTES = 32 };

struct checker {
    const char *at;
    char open[DEPTH_MAX][NAME_MAX_BYTES];
    int depth;
};

static void wrong(const struct checker *c, const char *what) {
    fail_msg("%s at: %.80s", what, c->at);
}

static int is_number(const char *text, size_t length) {
    size_t i = length > 0 && text[0] == '-', digits = 0, points = 0;
    for (; i < length; i++) {
        digits += isdigit((unsigned char)text[i]) != 0;
        points += text[i] == '.';
    }
    return digits > 0 && points <= 1 && digits + points + (text[0] == '-') == length;
}

static int is_coordinate(const char *name, size_t length) {
    static const char *const names[] = {"x",  "y",  "x1", "y1",    "x2",     "y2",
                                        "cx", "cy", "r",  "width", "height", "fill-opacity"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == length && strncmp(names[i], name, length) == 0)
            return 1;
    return 0;
}

/* M1 2L3 4 ... */
static int is_path(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (strchr("ML -.0123456789", text[i]) == NULL)
            return 0;
    return 1;
}

static void attribute(struct checker *c) {
    size_t name = strcspn(c->at, "= >\"'<");
    if (name == 0 || strncmp(c->at + name, "=\"", 2) != 0)
        wrong(c, "an attribute without a quoted value");
    const char *value = c->at + name + 2;
    size_t length = strcspn(value, "\"");
    if (value[length] == 0 || memchr(value, '<', length) != NULL)
        wrong(c, "an attribute that is not closed");
    if (is_coordinate(c->at, name) && !is_number(value, length))
        wrong(c, "a coordinate that is no number");
    if (name == 1 && c->at[0] == 'd' && !is_path(value, length))
        wrong(c, "a path of more than lines");
    if (name >= 2 && strncmp(c->at, "on", 2) == 0)
        wrong(c, "a handler");
    c->at = value + length + 1;
}

static void open_tag(struct checker *c) {
    static const char *const empty[] = {"meta", "img", "br"};
    char name[NAME_MAX_BYTES] = "";
    size_t length = strcspn(c->at, " />");
    if (length == 0 || length >= sizeof name)
        wrong(c, "no name of an element");
    memcpy(name, c->at, length);
    c->at += length;
    while (*c->at == ' ') {
        c->at += strspn(c->at, " ");
        attribute(c);
    }
    int closed = *c->at == '/';
    c->at += closed;
    if (*c->at != '>')
        wrong(c, "an element that is not closed");
    c->at++;
    if (strcmp(name, "script") == 0)
        wrong(c, "a script");
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
        closed |= strcmp(name, empty[i]) == 0;
    if (closed)
        return;
    if (c->depth == DEPTH_MAX)
        wrong(c, "too deep");
    memcpy(c->open[c->depth++], name, sizeof name);
}

static void close_tag(struct checker *c) {
    size_t length = strcspn(c->at, ">");
    if (c->depth == 0 || strlen(c->open[c->depth - 1]) != length ||
        strncmp(c->open[c->depth - 1], c->at, length) != 0)
        wrong(c, "an end without its begin");
    c->depth--;
    c->at += length + 1;
}

static void entity(struct checker *c) {
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(c->at, known[i], strlen(known[i])) == 0) {
            c->at += strlen(known[i]);
            return;
        }
    wrong(c, "a bare ampersand");
}

void html_expect_sound(const char *html) {
    struct checker c = {.at = html};
    while (*c.at != 0) {
        if (strncmp(c.at, "<!DOCTYPE html>", 15) == 0) {
            c.at += 15;
        } else if (strncmp(c.at, "</", 2) == 0) {
            c.at += 2;
            close_tag(&c);
        } else if (*c.at == '<') {
            c.at++;
            open_tag(&c);
        } else if (*c.at == '&') {
            entity(&c);
        } else {
            c.at++;
        }
    }
    if (c.depth != 0)
        fail_msg("<%s> is not closed", c.open[c.depth - 1]);
}
