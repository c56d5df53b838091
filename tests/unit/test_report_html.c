/* The writers of HTML and charts: foreign text stays text, every coordinate is a number. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/memory.h"
#include "report/chart.h"
#include "report/html.h"
#include "unit/html_check.h"

static void expect(struct bp_html *html, const char *wanted) {
    char *text;
    assert_int_equal(bp_html_finish(html, &text), BP_OK);
    assert_string_equal(text, wanted);
    bp_free(text);
}

static void test_text(void **state) {
    (void)state;
    static const struct {
        const char *text, *html;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"},
                 {"\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;"},
                 {"a\nb\tc\rd", "a b c d"},
                 {"\x01\x7f", "\xef\xbf\xbd\xef\xbf\xbd"},
                 {"\xc2\x85", "\xef\xbf\xbd"}, /* U+0085, a control character */
                 {"\xc3\xa4\xe2\x9c\x8c\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x9c\x8c\xf0\x9f\x98\x80"},
                 {"\xff\xfe<", "\xef\xbf\xbd\xef\xbf\xbd&lt;"},
                 {"cut \xe2\x9c", "cut \xef\xbf\xbd\xef\xbf\xbd"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bp_html html;
        bp_html_begin(&html);
        bp_html_text(&html, cases[i].text);
        expect(&html, cases[i].html);
    }
}

static void test_short_text(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t most;
        const char *html;
    } cases[] = {{"four", 4, "four"},
                 {"fours", 4, "fou\xe2\x80\xa6"},
                 {"<<<<<", 3, "&lt;&lt;\xe2\x80\xa6"},
                 {"\xc3\xa4\xc3\xa4\xc3\xa4", 3, "\xc3\xa4\xc3\xa4\xc3\xa4"},
                 {"\xc3\xa4\xc3\xa4\xc3\xa4", 2, "\xc3\xa4\xe2\x80\xa6"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bp_html html;
        bp_html_begin(&html);
        bp_html_short_text(&html, cases[i].text, cases[i].most);
        expect(&html, cases[i].html);
    }
}

static void test_numbers(void **state) {
    (void)state;
    struct bp_html html;
    const double values[] = {0, -0.04, 12.5, 100, 1e15, NAN, INFINITY, -INFINITY};
    bp_html_begin(&html);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        bp_html_number(&html, values[i], 1);
        bp_html_raw(&html, " ");
    }
    bp_html_value(&html, 2.0, 2);
    bp_html_raw(&html, " ");
    bp_html_value(&html, NAN, 2);
    bp_html_raw(&html, " ");
    bp_html_percent(&html, 0.125, 1);
    bp_html_raw(&html, " ");
    bp_html_percent(&html, INFINITY, 1);
    bp_html_raw(&html, " ");
    bp_html_significant(&html, 0.000012345);
    expect(&html,
           "0 0 12.5 100 1000000000000000 0 0 0 2.00 \xe2\x80\x93 12.5\xc2\xa0% \xe2\x80\x93 "
           "1.23e-05");
}

/* A decimal comma would end up in coordinates. */
static void test_locale(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_NUMERIC, names[i]) != NULL)
            break;
    struct bp_html html;
    bp_html_begin(&html);
    bp_html_number(&html, 0.5, 3);
    bp_html_raw(&html, " ");
    bp_html_significant(&html, 1234.5);
    setlocale(LC_NUMERIC, "C");
    expect(&html, "0.5 1.23e+03");
}

static void test_memory(void **state) {
    (void)state;
    struct bp_html html;
    char *text;
    bp_html_begin(&html);
    bp_memory_fail_after(0);
    bp_html_raw(&html, "something");
    bp_html_text(&html, "more");
    assert_int_equal(bp_html_finish(&html, &text), BP_RESOURCE);
    bp_memory_fail_after(-1);
    assert_null(text);
}

/* --- charts ----------------------------------------------------------------------------------- */

/* Draws it in every way; returns the last drawing. */
static char *draw(const double *x, const double *y, size_t count) {
    char *text = NULL;
    for (int way = 0; way < 8; way++) {
        const struct bp_series series[] = {
            {.name = "<one>", .x = x, .y = y, .count = count, .dots = 1},
            {.name = "two", .x = x, .y = y, .count = count, .colour = 11, .faint = 1}};
        const struct bp_chart chart = {.title = "<title>",
                                       .x_label = "\"x\"",
                                       .percent = way & 1,
                                       .logarithmic = way >> 1 & 1,
                                       .from_zero = way >> 2,
                                       .whole_x = way & 1,
                                       .series = series,
                                       .n_series = 2};
        struct bp_html html;
        bp_free(text);
        bp_html_begin(&html);
        bp_chart_draw(&html, &chart);
        assert_int_equal(bp_html_finish(&html, &text), BP_OK);
        html_expect_sound(text);
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
    }
    return text;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void test_charts(void **state) {
    (void)state;
    static const double x[] = {1, 2, 3, 4, 5, 6, 7};
    static const double rows[][7] = {{1, 2, 3, 4, 5, 6, 7},
                                     {0, 0, 0, 0, 0, 0, 0},
                                     {-1, -2, 0, 3, 1e-9, 1e-300, 5},
                                     {1e14, 1e14 + 1, 1e14, 1e14, 1e14, 1e14, 1e14},
                                     {1e300, -1e300, 1, 2, 3, 4, 5},
                                     {NAN, 1, NAN, 2, INFINITY, -INFINITY, 3},
                                     {NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                                     {0.999, 0.999, 1, 1, 1, 1, 1},
                                     {5, 6, 7, 8, 9, 10, 11}, /* as shares: more than everything */
                                     {1e-12, 1e-6, 1, 1e6, 1e12, 1e-3, 1e3},
                                     {1e-300, 1e14, 1, 1, 1, 1, 1}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        bp_free(draw(x, rows[i], 7));
        bp_free(draw(rows[i], x, 7));
        bp_free(draw(rows[i], rows[i], 1));
    }
    char *text = draw(x, x, 0);
    assert_non_null(strstr(text, "nothing to draw"));
    assert_non_null(strstr(text, "&lt;title&gt;"));
    bp_free(text);
    text = draw(NULL, NULL, 0);
    assert_null(strstr(text, "<svg"));
    bp_free(text);
    text = draw(x, x, 1); /* one point is a dot */
    assert_non_null(strstr(text, "<circle"));
    bp_free(text);
}

/* A long line is thinned out, and its peaks stay. */
static void test_long_line(void **state) {
    (void)state;
    enum { POINTS = 100000 };
    static double x[POINTS], y[POINTS];
    for (size_t i = 0; i < POINTS; i++) {
        x[i] = (double)i;
        y[i] = i == 77777 ? 10.0 : 1.0;
    }
    const struct bp_series series = {.name = "", .x = x, .y = y, .count = POINTS};
    const struct bp_chart chart = {
        .title = "", .x_label = "", .from_zero = 1, .series = &series, .n_series = 1};
    struct bp_html html;
    char *text;
    bp_html_begin(&html);
    bp_chart_draw(&html, &chart);
    assert_int_equal(bp_html_finish(&html, &text), BP_OK);
    html_expect_sound(text);
    assert_true(strlen(text) < 16384);
    assert_non_null(strstr(text, " 18.2L")); /* 10 of 10.4, from 222 up to 10 */
    bp_free(text);
}

static void test_ticks(void **state) {
    (void)state;
    static const struct {
        double lo, hi, first, step;
    } cases[] = {{0, 1, 0, 0.2},   {0, 10, 0, 2},        {1, 4, 1, 1},
                 {-1, 1, -1, 0.5}, {0.3, 0.7, 0.3, 0.1}, {0, 47000, 0, 10000}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        double first, step;
        bp_chart_ticks(cases[i].lo, cases[i].hi, 5, &first, &step);
        assert_true(fabs(first - cases[i].first) < 1e-9 * step);
        assert_true(fabs(step - cases[i].step) < 1e-9 * step);
    }
}

/* --- Base64 ----------------------------------------------------------------------------------- */

static void test_base64(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text;
        assert_int_equal(
            bp_base64_encode((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes), &text),
            BP_OK);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(bp_base64_is_valid(text), i > 0);
        bp_free(text);
    }
    static const char *const bad[] = {"Zg=", "Zg", "Z===", "Zg==Zg==", "Zm9\"", "====", "Zm9v\n"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(bp_base64_is_valid(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_short_text),
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_locale),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_charts),
        cmocka_unit_test(test_long_line), cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
