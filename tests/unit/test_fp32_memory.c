#define _GNU_SOURCE /* RTLD_DEFAULT */
/* Memory that ends inside oneDNN, where C++ would throw: the handler that C++ calls then is called
 * here as C++ would call it. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "fp32/fp32_ops.h"

typedef void (*new_handler)(void);

static new_handler current_handler(void) {
    void *symbol = dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
    new_handler (*get)(void);
    assert_non_null(symbol);
    memcpy(&get, &symbol, sizeof get);
    return get();
}

struct convolution {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_fp32_conv *conv;
};

static void convolution_open(struct convolution *c) {
    struct bp_conv_shape shape;
    assert_int_equal(bp_conv_shape_set(&shape, 8, 8, 8, 16, 16, 3, 1, 1), BP_OK);
    assert_int_equal(bp_exec_create(&c->exec, BP_TIER_C, 2), BP_OK);
    assert_int_equal(bp_plan_create(&c->plan), BP_OK);
    assert_int_equal(bp_fp32_conv_create(&c->conv, c->exec, c->plan, bp_fp32_default(), &shape,
                                         BP_FP32_FORWARD, "conv", 0, 1),
                     BP_OK);
    assert_int_equal(bp_plan_allocate(c->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(c->exec), BP_OK);
}

static void convolution_close(struct convolution *c) {
    bp_fp32_conv_destroy(c->conv);
    bp_plan_destroy(c->plan);
    bp_exec_destroy(c->exec);
}

static bp_status forward(struct convolution *c) {
    static float x[8 * 8 * 8 * 16], w[16 * 9 * 16], y[8 * 8 * 8 * 16];
    return bp_fp32_conv_forward(c->conv, c->exec, 8, x, w, NULL, y);
}

static void the_end_of_memory_is_an_error(void **state) {
    (void)state;
    struct convolution c = {0};
    convolution_open(&c);
    assert_int_equal(forward(&c), BP_OK);
    new_handler handler = current_handler();
    assert_non_null(handler);
    handler();
    assert_int_equal(forward(&c), BP_RESOURCE);
    assert_string_equal(bp_status_message(),
                        "out of memory: oneDNN in the forward pass of conv; use a smaller --batch");
    convolution_close(&c);
    convolution_open(&c); /* takes a new reserve */
    assert_int_equal(forward(&c), BP_OK);
    convolution_close(&c);
}

/* A thread that finds the reserve gone may try again, but not for ever: at the end C++ throws. */
static void the_handler_goes_when_it_cannot_help(void **state) {
    (void)state;
    struct convolution c = {0};
    convolution_open(&c);
    new_handler handler = current_handler();
    size_t calls = 0;
    while (current_handler() == handler) {
        handler();
        assert_true(++calls < 1000);
    }
    assert_true(calls > 2);
    convolution_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_memory_is_an_error),
        cmocka_unit_test(the_handler_goes_when_it_cannot_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
