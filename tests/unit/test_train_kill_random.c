#define _POSIX_C_SOURCE 200809L
/* Runs that are killed, or whose disk is full, again and again at random moments: in the end they
 * leave what a run leaves that was never stopped, and at no moment is the last checkpoint lost.
 *
 * usage: test_train_kill_random [DEATHS [SEED]]; the seed is printed, and repeats what was drawn.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file_io.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "unit/data_files.h"
#include "unit/dying_calls.h"
#include "unit/train_files.h"

enum { BY_CALL, BY_OTHER_CALL /* than write */, BY_FULL_DISK, BY_TIME, WAYS };
static const char *const way_names[WAYS] = {"a call", "no write", "a full disk", "time"};

static unsigned long deaths_wanted = 5, seed;
static uint32_t draws;

static uint32_t draw(uint32_t below) {
    const struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_SHUFFLE, 77, 0);
    return bp_stream_below(&stream, draws++, below);
}

static int has_file(const char *folder, const char *run, const char *file) {
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s/%s", folder, run, file);
    return bp_path_exists(path);
}

/* One life of the run: begun, or resumed if there is something to resume. Does not return. */
static void live(const char *folder, const char *run, enum dying_kind kind, long at,
                 int without_writes, int report) {
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, run);
    bp_config *config = TRAIN_CONFIG(folder, run, "checkpoint-every", "1", "log-every", "1");
    dying_arm(kind, at, without_writes);
    bp_status status = has_file(folder, run, "config.json")
                           ? bp_resume(path, NULL, NULL, NULL, NULL)
                           : bp_train(config, NULL, NULL, NULL);
    long calls = dying_calls();
    dying_arm(DYING_BEFORE, 0, 0);
    if (report >= 0 && write(report, &calls, sizeof calls) != sizeof calls)
        _exit(99);
    if (status == BP_USAGE && strstr(bp_last_error(), "is finished") != NULL)
        status = BP_OK; /* killed behind the last checkpoint: nothing was left to do */
    if (status != BP_OK && (kind != DYING_FULL || status != BP_RESOURCE))
        fprintf(stderr, "status %d: %s\n", status, bp_last_error());
    _exit((int)status);
}

/* The step of last.ckpt; -1 if there is none. Fails unless it can be read. */
static long step_of(const char *path) {
    struct bp_checkpoint *checkpoint;
    if (!bp_path_exists(path))
        return -1;
    if (bp_checkpoint_open(&checkpoint, path) != BP_OK)
        fail_msg("%s", bp_last_error());
    long step = (long)bp_checkpoint_head_of(checkpoint)->progress.step;
    bp_checkpoint_close(checkpoint);
    return step;
}

/* Looks at last.ckpt all the time until the process ends, killing it after `ns` (0: never). Steps
 * never fall below *step. Returns the wait status. */
static int watch(pid_t child, const char *last, long ns, long *step) {
    const struct timespec pause = {0, 500000};
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int status;;) {
        long found = step_of(last);
        if (found < *step)
            fail_msg("%s: step %ld after step %ld", last, found, *step);
        *step = found;
        pid_t ended = waitpid(child, &status, WNOHANG);
        assert_true(ended >= 0);
        if (ended == child) {
            found = step_of(last);
            assert_true(found >= *step);
            *step = found;
            return status;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        long passed = (now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec;
        if (ns > 0 && passed > ns)
            kill(child, SIGKILL);
        nanosleep(&pause, NULL);
    }
}

/* Runs once without a death; *calls and *ns say how long that is. */
static void measure(const char *folder, const char *run, int without_writes, long *calls,
                    long *ns) {
    int ends[2];
    struct timespec begin, end;
    assert_int_equal(pipe(ends), 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live(folder, run, DYING_BEFORE, 0, without_writes, ends[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], calls, sizeof *calls), sizeof *calls);
    close(ends[0]);
    close(ends[1]);
    *ns = (end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec;
}

/* One life that is to end early; returns 1 if it did. */
static int one_life(const char *folder, const char *run, const long calls[2], long ns, long *step) {
    static const enum dying_kind kinds[] = {DYING_BEFORE, DYING_WITHIN, DYING_AFTER};
    char last[BP_PATH_BYTES];
    snprintf(last, sizeof last, "%s/%s/last.ckpt", folder, run);
    uint32_t way = draw(WAYS);
    enum dying_kind kind = way == BY_FULL_DISK ? DYING_FULL : kinds[draw(3)];
    /* A third of a run, so that it takes several deaths to get through. */
    long at = way == BY_TIME ? 0 : 1 + (long)draw((uint32_t)(calls[way == BY_OTHER_CALL] / 3));
    long limit_ns = way == BY_TIME ? 1 + (long)((double)ns * draw(1000) / 2000) : 0;
    printf("%s: %s, kind %d, call %ld, %.1f ms, from step %ld\n", run, way_names[way], (int)kind,
           at, (double)limit_ns * 1e-6, *step);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        live(folder, run, kind, at, way == BY_OTHER_CALL, -1);
    int status = watch(child, last, limit_ns, step);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return 1;
    }
    if (way == BY_FULL_DISK && WEXITSTATUS(status) == BP_RESOURCE)
        return 1;
    assert_int_equal(WEXITSTATUS(status), 0);
    return 0;
}

static void test_random_deaths(void **state) {
    const char *folder = *state;
    long calls[2], ns, step = -1; /* with and without writes */
    unsigned long deaths = 0, runs = 1;
    char run[32] = "run-1";
    printf("seed %lu\n", seed);
    measure(folder, "whole", 0, &calls[0], &ns);
    measure(folder, "whole-again", 1, &calls[1], &ns);
    printf("a whole run: %ld calls, %ld without writes, %.1f ms\n", calls[0], calls[1],
           (double)ns * 1e-6);
    assert_true(calls[0] > calls[1] && calls[1] > 20);
    for (int died = 1; deaths < deaths_wanted || died;) {
        if (deaths < deaths_wanted) {
            died = one_life(folder, run, calls, ns, &step);
        } else {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0)
                live(folder, run, DYING_BEFORE, 0, 0, -1);
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            assert_int_equal(status, 0);
            died = 0;
        }
        deaths += (unsigned long)died;
        if (!died)
            train_expect_same_run(folder, "whole", run);
        /* A folder without config.json is no run: its name is taken, and that is all. */
        int is_no_run = has_file(folder, run, "") && !has_file(folder, run, "config.json");
        if (!died || is_no_run) {
            snprintf(run, sizeof run, "run-%lu", ++runs);
            step = -1;
        }
    }
    printf("%lu deaths\n", deaths);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_deaths, train_folder_setup,
                                        data_folder_teardown),
    };
    if (argc > 1)
        deaths_wanted = strtoul(argv[1], NULL, 10);
    seed = argc > 2 ? strtoul(argv[2], NULL, 10)
                    : (unsigned long)time(NULL) * 1000003 + (unsigned long)getpid();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
