/* Real layers: a built-in choice for the tests, files of bench/shapes for --bench. */
#include "kcheck/kcheck.h"

#include <stdio.h>
#include <string.h>

const struct kc_layer kc_layers[] = {
    /* name       n   h    w    c    k   r  stride */
    {"conv1_2", 128, 32, 32, 64, 64, 3, 1},   {"conv2_1", 128, 16, 16, 64, 128, 3, 1},
    {"conv3_2", 128, 8, 8, 256, 256, 3, 1},   {"conv4_2", 128, 4, 4, 512, 512, 3, 1},
    {"conv5_1", 128, 2, 2, 512, 512, 3, 1},   {"layer2_0_conv1", 128, 32, 32, 64, 128, 3, 2},
    {"width_0.75", 64, 28, 28, 96, 48, 3, 1}, {"large_image", 16, 224, 224, 64, 64, 3, 1},
};
const size_t kc_layers_count = sizeof kc_layers / sizeof kc_layers[0];

static int same_shape(const struct kc_layer *a, const struct kc_layer *b) {
    return a->n == b->n && a->h == b->h && a->w == b->w && a->c == b->c && a->k == b->k &&
           a->r == b->r && a->stride == b->stride;
}

/* 1: a layer, 0: nothing (empty, comment), -1: not understood */
static int parse_line(const char *line, struct kc_layer *l) {
    const char *text = line + strspn(line, " \t\r\n");
    if (*text == 0 || *text == '#')
        return 0;
    char rest[2];
    int fields = sscanf(text, "%23s %zu %zu %zu %zu %zu %zu %zu %1s", l->name, &l->n, &l->h, &l->w,
                        &l->c, &l->k, &l->r, &l->stride, rest);
    size_t largest = l->n | l->h | l->w | l->c | l->k;
    int is_shape = fields == 8 && l->n && l->h && l->w && l->c && l->k && l->r && l->r <= 7 &&
                   l->stride && l->stride <= l->h && l->stride <= l->w && largest <= 65535;
    /* The forward product's contract. */
    return is_shape && l->r * l->r * ((l->c + 63) / 64) * 64 <= 32767 ? 1 : -1;
}

long kc_layers_read(const char *path, struct kc_layer *layers, size_t capacity) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "kcheck: cannot open the shapes file %s\n", path);
        return -1;
    }
    char line[256];
    size_t count = 0;
    long number = 0;
    while (count < capacity && fgets(line, sizeof line, file) != NULL) {
        number++;
        struct kc_layer layer = {0};
        int kind = parse_line(line, &layer);
        if (kind < 0) {
            fprintf(stderr, "kcheck: %s:%ld: expected 'name n h w c k r stride'\n", path, number);
            fclose(file);
            return -1;
        }
        int known = 0;
        for (size_t i = 0; i < count; i++)
            known |= same_shape(&layers[i], &layer);
        if (kind > 0 && !known)
            layers[count++] = layer;
    }
    fclose(file);
    return (long)count;
}
