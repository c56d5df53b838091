/* What the files of the amx tier share: eight tile registers, each of 16 rows of 64 bytes. */
#ifndef BP_KERNELS_X86_VEC_AMX_H
#define BP_KERNELS_X86_VEC_AMX_H

#include <string.h>

#include "kernels/x86/vec_avx512.h"

#define TILE_BYTES ((size_t)1024)

/* Adds the products of tiles of codes (or signs) and of signs to a tile of sums. is_signed of the
 * scope is a constant after inlining, as the registers' numbers are. */
#define MULTIPLY_TILES(to, x, w)                                                                   \
    do {                                                                                           \
        if (is_signed)                                                                             \
            _tile_dpbssd(to, x, w);                                                                \
        else                                                                                       \
            _tile_dpbusd(to, x, w);                                                                \
    } while (0)

/* What stores tiles falls asleep when nothing was stored for some 500 ns, and then takes 300 ns to
 * wake (docs/KERNELS.md, "What stores tiles sleeps"). So between stores that are further apart a
 * tile, any, is stored to a line that nobody reads: beside every twelfth step of a product. */
struct wake {
    char line[64] __attribute__((aligned(64)));
    int left; /* steps until then */
};

#define STEPS_AWAKE 12

BP_INLINE void stay_awake(struct wake *wake) {
    if (--wake->left == 0) {
        _tile_stored(4, wake->line, 0);
        wake->left = STEPS_AWAKE;
    }
}

/* All registers, whole, but for those of the first (0, 1, 4) and the second (2, 3, 5) block of
 * rows, which have so many. A kernel begins with this and ends with _tile_release, without which
 * the system would have to save 8 KiB more of a thread. */
BP_INLINE void configure_rows(size_t first, size_t second) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (size_t i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    config.rows[0] = config.rows[1] = config.rows[4] = (uint8_t)first;
    config.rows[2] = config.rows[3] = config.rows[5] = (uint8_t)second;
    __asm__ volatile("" : "+m"(config)); /* gcc's intrinsic names the first 8 bytes only */
    _tile_loadconfig(&config);
}

BP_INLINE void configure_tiles(void) {
    configure_rows(16, 16);
}

#endif
