#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data_files.h"
#include "train_files.h"

int train_folder_setup(void **state) {
    int failed = data_folder_setup(state);
    if (failed)
        return failed;
    char data[BP_PATH_BYTES];
    snprintf(data, sizeof data, "%s/data", (const char *)*state);
    const struct data_set set = {.train = 18, .val = 6, .h = 8, .w = 8, .classes = 3};
    assert_int_equal(bp_dir_create(data), BP_OK);
    data_write_set(data, &set);
    return 0;
}

static void set(bp_config *config, const char *name, const char *value) {
    if (bp_config_set(config, name, value, "command line") != BP_OK)
        fail_msg("%s", bp_last_error());
}

bp_config *train_config(const char *folder, const char *run, const char *const *options) {
    bp_config *config;
    char path[BP_PATH_BYTES];
    assert_int_equal(bp_config_create(&config), BP_OK);
    snprintf(path, sizeof path, "%s/data", folder);
    set(config, "data", path);
    snprintf(path, sizeof path, "%s/%s", folder, run);
    set(config, "run", path);
    set(config, "width", "0.05");
    set(config, "batch", "4");
    set(config, "epochs", "3");
    set(config, "threads", "1");
    set(config, "log-every", "3");
    for (; options[0] != NULL; options += 2)
        set(config, options[0], options[1]);
    return config;
}

void train_interrupt_at(void *user, const bp_event *event) {
    if (event->kind == BP_EVENT_STEP && event->step == *(const size_t *)user)
        bp_interrupt(SIGINT);
}

char *train_read(const char *folder, const char *run, const char *file, size_t *count) {
    char path[BP_PATH_BYTES], *text;
    uint8_t *bytes;
    snprintf(path, sizeof path, "%s/%s/%s", folder, run, file);
    if (bp_file_read(path, (size_t)1 << 30, BP_DATA, &bytes, count) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_int_equal(bp_alloc(&text, *count + 1, "a file"), BP_OK);
    memcpy(text, bytes, *count);
    bp_free(bytes);
    return text;
}

/* Cuts the times, which stand last in each line, out of metrics.jsonl. */
static size_t without_times(char *text) {
    char *out = text;
    for (const char *line = text; *line != 0;) {
        const char *end = strchr(line, '\n'), *times = strstr(line, ", \"images_per_s\"");
        assert_non_null(end);
        assert_true(times != NULL && times < end);
        memmove(out, line, (size_t)(times - line));
        out += times - line;
        *out++ = '\n';
        line = end + 1;
    }
    *out = 0;
    return (size_t)(out - text);
}

void train_expect_same_file(const char *folder, const char *run_a, const char *run_b,
                            const char *file) {
    size_t count_a, count_b;
    char *a = train_read(folder, run_a, file, &count_a);
    char *b = train_read(folder, run_b, file, &count_b);
    if (strcmp(file, "metrics.jsonl") == 0) {
        count_a = without_times(a);
        count_b = without_times(b);
        size_t same = 0;
        while (a[same] != 0 && a[same] == b[same])
            same++;
        if (a[same] != b[same])
            fail_msg("metrics.jsonl differs from byte %zu on: %.80s | %.80s", same, a + same,
                     b + same);
    }
    if (count_a != count_b || memcmp(a, b, count_a) != 0)
        fail_msg("%s of %s and %s differ", file, run_a, run_b);
    bp_free(a);
    bp_free(b);
}

void train_expect_same_run(const char *folder, const char *run_a, const char *run_b) {
    train_expect_same_file(folder, run_a, run_b, "metrics.jsonl");
    train_expect_same_file(folder, run_a, run_b, "best.ckpt");
    train_expect_same_file(folder, run_a, run_b, "last.ckpt");
}

void train_write(const char *folder, const char *run, const char *file, const char *text) {
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s/%s", folder, run, file);
    assert_int_equal(bp_file_write_text(path, text), BP_OK);
}
