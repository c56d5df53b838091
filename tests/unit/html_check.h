/* Whether a page is sound: elements nest and are closed, attributes are quoted, and no coordinate
 * is anything but a plain number. Include after cmocka.h. */
#ifndef BP_TESTS_HTML_CHECK_H
#define BP_TESTS_HTML_CHECK_H

/* Fails the test with the place of the first mistake. */
void html_expect_sound(const char *html);

#endif
