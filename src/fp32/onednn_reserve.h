/* What happens when memory ends inside oneDNN. Its small allocations throw a C++ exception, which
 * would end the process, as no C code can catch it. So some memory is held back; C++ is told
 * (std::set_new_handler) to give it up when an allocation fails, and the allocation succeeds then.
 * Whoever called oneDNN asks afterwards whether that happened, and fails in the usual way.
 *
 * Descriptors come from malloc, and oneDNN 2.6 writes to them without a look at the pointer: so
 * there is to be room on the heap before it is asked for some. */
#ifndef BP_FP32_ONEDNN_RESERVE_H
#define BP_FP32_ONEDNN_RESERVE_H

#include "base/status.h"

/* Before oneDNN is called to create something, outside of workers: makes room on the heap, and
 * takes the reserve unless it is there. BP_RESOURCE where there is no memory for them. */
bp_status bp_onednn_reserve_take(void);

/* 1 after the reserve was given up: memory has ended. Any thread. */
int bp_onednn_reserve_gone(void);

#endif
