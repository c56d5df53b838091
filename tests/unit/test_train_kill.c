/* A process that is killed at any moment leaves a folder from which the run goes on to the same
 * bytes. Every run has a process of its own; this one only compares. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "data_files.h"
#include "train_files.h"

/* Where the first process dies. */
struct death {
    bp_event_kind kind;
    size_t step;
};

static void die(void *user, const bp_event *event) {
    const struct death *death = user;
    if (event->kind == death->kind && event->step == death->step)
        raise(SIGKILL);
}

/* Runs or resumes in a process of its own; returns its wait status. */
static int in_process(const char *folder, const char *run, const struct death *death, int resume) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char path[BP_PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, run);
        bp_config *config = TRAIN_CONFIG(folder, run, "checkpoint-every", "3");
        bp_event_callback *callback = death != NULL ? die : NULL;
        void *user = (void *)(uintptr_t)death;
        bp_status status = resume ? bp_resume(path, NULL, callback, user, NULL)
                                  : bp_train(config, callback, user, NULL);
        _exit((int)status);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_kill(void **state) {
    static const struct death deaths[] = {
        {BP_EVENT_START, 0}, {BP_EVENT_STEP, 1},   {BP_EVENT_CHECKPOINT, 3},
        {BP_EVENT_STEP, 4},  {BP_EVENT_EPOCH, 4},  {BP_EVENT_CHECKPOINT, 4},
        {BP_EVENT_STEP, 8},  {BP_EVENT_EPOCH, 12}, {BP_EVENT_STEP, 12},
    };
    const char *folder = *state;
    assert_int_equal(in_process(folder, "whole", NULL, 0), 0);
    for (size_t i = 0; i < sizeof deaths / sizeof deaths[0]; i++) {
        char run[32];
        snprintf(run, sizeof run, "killed-%zu", i);
        int status = in_process(folder, run, &deaths[i], 0);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(in_process(folder, run, NULL, 1), 0);
        train_expect_same_run(folder, "whole", run);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, train_folder_setup, data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
