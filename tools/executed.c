/* A plugin of QEMU (version 6.2 and later) that counts how often each block of instructions runs,
 * for tools/count_executed.py:
 *
 *     cc -O2 -shared -fPIC -o executed.so tools/executed.c
 *     qemu-aarch64 -plugin ./executed.so,out=FILE PROGRAM ...
 *
 * FILE: a line with the address where the program begins, then "address instructions times" of each
 * block. For programs of one thread: the counters are not shared with care. QEMU's interface is
 * declared here, as distributions leave its header out. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_start_code(void);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
                                           void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation,
                                              void *counter, uint64_t amount);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void *context);

EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

struct block {
    uint64_t address, instructions, times;
    struct block *next;
};

static struct block *blocks;
static const char *path;

static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL)
        abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    block->instructions = qemu_plugin_tb_n_insns(tb);
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &block->times, 1); /* 0: add */
}

static void finished(uint64_t id, void *context) {
    (void)id;
    (void)context;
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        return;
    }
    fprintf(file, "%llx\n", (unsigned long long)qemu_plugin_start_code());
    for (const struct block *b = blocks; b != NULL; b = b->next)
        fprintf(file, "%llx %llu %llu\n", (unsigned long long)b->address,
                (unsigned long long)b->instructions, (unsigned long long)b->times);
    fclose(file);
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0) {
        fprintf(stderr, "executed: say where to write: -plugin ./executed.so,out=FILE\n");
        return 1;
    }
    path = argv[0] + 4;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
