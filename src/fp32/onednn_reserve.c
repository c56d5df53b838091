#define _GNU_SOURCE /* MAP_ANONYMOUS, RTLD_DEFAULT */
#include "fp32/onednn_reserve.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

enum {
    RESERVE_BYTES = 2 << 20,
    /* Below the 128 KiB from which glibc maps blocks of their own and gives free memory back. */
    HEAP_BYTES = 96 << 10,
    /* Calls after the reserve is gone: other threads that failed at the same time try again; one
     * that goes on failing is not kept in a loop. */
    LAST_CALLS = 64
};

typedef void (*new_handler)(void);
typedef new_handler (*set_new_handler)(new_handler);

static _Atomic(void *) reserve;
static atomic_int installed, gone, last_calls;
static set_new_handler set_handler; /* NULL where C++'s library is another one */
static new_handler handler_before;

static void give_up(void) {
    void *block = atomic_exchange(&reserve, NULL);
    atomic_store(&gone, 1);
    if (block != NULL)
        munmap(block, RESERVE_BYTES);
    else if (atomic_fetch_add(&last_calls, 1) >= LAST_CALLS)
        set_handler(handler_before);
}

static void install(void) {
    void *symbol = dlsym(RTLD_DEFAULT, "_ZSt15set_new_handlerPFvvE");
    memcpy(&set_handler, &symbol, sizeof symbol); /* C has no cast between the two */
    if (set_handler != NULL)
        handler_before = set_handler(give_up);
}

/* Leaves so much free on the heap. */
static bp_status make_heap_room(void) {
    void *block;
    BP_TRY(bp_alloc(&block, HEAP_BYTES, "oneDNN"));
    bp_free(block);
    return BP_OK;
}

bp_status bp_onednn_reserve_take(void) {
    BP_TRY(make_heap_room());
    if (!atomic_exchange(&installed, 1))
        install();
    if (set_handler == NULL || atomic_load(&reserve) != NULL)
        return BP_OK;
    void *block =
        mmap(NULL, RESERVE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return bp_fail(BP_RESOURCE, "out of memory: %d MB for oneDNN; use a smaller --batch",
                       RESERVE_BYTES >> 20);
    if (atomic_exchange(&last_calls, 0) > LAST_CALLS)
        set_handler(give_up);
    atomic_store(&gone, 0);
    atomic_store(&reserve, block);
    return BP_OK;
}

int bp_onednn_reserve_gone(void) {
    return atomic_load(&gone);
}
