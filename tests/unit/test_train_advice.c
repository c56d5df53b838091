/* What the end of a run suggests: only where it is called for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "train/advice.h"
#include "unit/train_options.h"

static void expect(struct bp_outcome outcome, const char *const *options, const char *const *words,
                   const char *without) {
    bp_config *config = train_with(options);
    assert_int_equal(bp_config_set(config, "data", "d", COMMAND_LINE), BP_OK);
    struct bp_settings settings = train_settings_of(config);
    char text[256] = "something";
    bp_advice(&settings, &outcome, text, sizeof text);
    if (words == NULL)
        assert_string_equal(text, "");
    for (; words != NULL && *words != NULL; words++)
        if (strstr(text, *words) == NULL)
            fail_msg("'%s' lacks '%s'", text, *words);
    if (without != NULL && strstr(text, without) != NULL)
        fail_msg("'%s' has '%s'", text, without);
    assert_null(strchr(text, '\n'));
    assert_true(strlen(text) < sizeof text - 1); /* not cut off */
    bp_config_destroy(config);
}

#define OUTCOME(TRAIN, VAL, SHARE, N) ((struct bp_outcome){TRAIN, VAL, SHARE, N})
#define LIST(...)                     ((const char *const[]){__VA_ARGS__, NULL})

static void test_by_heart(void **state) {
    (void)state;
    const char *const *none = (const char *const[]){NULL};
    expect(OUTCOME(0.95, 0.849, 0.1, 1000), none, LIST("95.00 %", "84.90 %", "--aug light"),
           "strong");
    expect(OUTCOME(1.00, 0.89, 0.1, 1000), none, LIST("by heart"), NULL);
    expect(OUTCOME(0.949, 0.7, 0.1, 1000), none, NULL, NULL);
    expect(OUTCOME(0.95, 0.86, 0.1, 1000), none, NULL, NULL);
    expect(OUTCOME(-1, 0.86, 0.1, 1000), none, NULL, NULL);
    expect(OUTCOME(1, 0.8, 0.1, 1000), LIST("aug", "light"), LIST("--aug strong"), "light");
    expect(OUTCOME(1, 0.8, 0.1, 1000), LIST("aug-flip", "true"), LIST("--aug strong"), "light");
    expect(OUTCOME(1, 0.8, 0.1, 1000), LIST("aug", "strong"), LIST("pictures"), "--aug");
}

static void test_nothing(void **state) {
    (void)state;
    const char *const *none = (const char *const[]){NULL};
    expect(OUTCOME(0.1, 0.1, 0.1, 1000), none,
           LIST("10.00 %", "10.0 %", "--epochs", "--lr", "0.01"), "--preset");
    expect(OUTCOME(0.1, 0.1, 0.1, 1000), LIST("preset", "one-bit", "lr", "0.002"),
           LIST("--preset balanced", "0.002"), NULL);
    expect(OUTCOME(0.1, 0.1, 0.1, 1000), LIST("precision", "fp32"), LIST("--lr", "0.001"),
           "--preset");
    /* Two standard errors: 2 sqrt(0.1 0.9 / 1000) = 0.019; of 20 samples 0.134, too much. */
    expect(OUTCOME(0.1, 0.118, 0.1, 1000), none, LIST("largest class"), NULL);
    expect(OUTCOME(0.1, 0.120, 0.1, 1000), none, NULL, NULL);
    expect(OUTCOME(0.1, 0.13, 0.1, 20), none, LIST("largest class"), NULL);
    expect(OUTCOME(0.1, 0.14, 0.1, 20), none, NULL, NULL);
    expect(OUTCOME(0.9, 0.90, 0.9, 1000), none, LIST("90.0 %"), NULL);
    expect(OUTCOME(1, 1, 1, 20), none, NULL, NULL); /* one class */
    expect(OUTCOME(-1, -1, 0.1, 20), none, NULL, NULL);
    expect(OUTCOME(0.1, 0, 0, 0), none, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_heart),
        cmocka_unit_test(test_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
