/* What the products of a binary convolution multiply, for those who time them or choose among them.
 */
#include "ops/bconv_internal.h"

#include <stdlib.h>

enum bp_product_method bp_bconv_method(const struct bp_bconv *op, enum bp_bconv_product product) {
    return product == BP_BCONV_FORWARD ? op->method_forward
           : product == BP_BCONV_DA    ? (op->nonzero_da ? BP_PRODUCT_NONZERO : op->method_da)
           : op->nonzero_dw            ? BP_PRODUCT_NONZERO
                                       : op->method_dw;
}

size_t bp_bconv_joined_pixels(const struct bp_bconv *op) {
    size_t count = 0;
    for (size_t t = 0; t < op->taps; t++)
        count += op->valid_count[t];
    return count;
}

struct bp_bconv_work bp_bconv_work(const struct bp_bconv *op, enum bp_bconv_product product,
                                   size_t n) {
    const struct bp_conv_shape *s = &op->shape;
    double channels = (double)s->c * (double)s->k, samples = (double)n;
    size_t inside = bp_bconv_joined_pixels(op), whole = s->oh * s->ow * op->taps;
    size_t all = inside; /* the taps of each pixel's class */
    if (product == BP_BCONV_FORWARD) {
        all = op->method_forward == BP_PRODUCT_TILES ? bp_forward_tiles_joined(op)
              : op->by_class                         ? inside
                                                     : whole;
    } else if (product == BP_BCONV_DA) {
        samples = (double)op->kept_da;
        if (op->method_da == BP_PRODUCT_TILES)
            all = bp_dgrad_tiles_joined(op);
    } else {
        if (op->quant_dw.groups == BP_GROUPS_CHANNEL)
            channels = (double)s->c * (double)op->kept_dw;
        else
            samples = (double)op->kept_dw;
        if (op->method_dw == BP_PRODUCT_BITS) /* words of positions, whatever the tap */
            all = whole;
        if (bp_bconv_method(op, product) == BP_PRODUCT_TILES)
            all = bp_wgrad_tiles_joined(op);
    }
    return (struct bp_bconv_work){samples * channels * (double)all,
                                  samples * channels * (double)inside};
}

int bp_bconv_passes(const struct bp_bconv *op, enum bp_bconv_product product, int *entry_max) {
    const struct bp_quant *quant = product == BP_BCONV_DA ? &op->quant_da : &op->quant_dw;
    int is_lookup = bp_bconv_method(op, product) == BP_PRODUCT_LOOKUP;
    *entry_max = BP_QUAD; /* one for each sign */
    if (product == BP_BCONV_FORWARD)
        return 1;
    if (bp_bconv_method(op, product) == BP_PRODUCT_TILES)
        return 1;
    if (!is_lookup)
        return quant->bits;
    struct bp_digit digits[2];
    int count = (int)bp_bconv_digits(quant, digits);
    *entry_max = BP_QUAD * digits[0].top;
    return count;
}

#define SAMPLED 64

/* Digits of a code that are not zero: of the form those are set in which x and 3 x differ. */
static uint8_t digits_set(int code, size_t weights) {
    unsigned x = (unsigned)(code < 0 ? -code : code);
    uint8_t set = 0;
    for (x = weights == BP_NONZERO_FORM ? x ^ 3 * x : x; x != 0; x &= x - 1)
        set++;
    return set;
}

double bp_bconv_set_digits(const uint8_t *codes, size_t positions, size_t k, size_t weights) {
    size_t step = positions / SAMPLED | 1, count = 0, set = 0; /* odd: all columns of the image */
    uint8_t of_code[256];
    for (size_t i = 0; i < 256; i++)
        of_code[i] = digits_set((int8_t)i, weights);
    for (size_t p = 0; p < positions; p += step, count += k)
        for (size_t i = 0; i < k; i++)
            set += of_code[codes[p * k + i]];
    return (double)set / (double)count;
}

double bp_bconv_over_wide(const uint8_t *codes, size_t positions, size_t k, struct bp_quads quads) {
    const size_t step = positions / SAMPLED | 1;
    size_t count = 0, over = 0;
    for (size_t p = 0; p < positions; p += step, count += quads.count)
        for (size_t i = 0; i < quads.count; i++) {
            const uint8_t *quad = codes + p * k + i * quads.next;
            int sum = 0;
            for (size_t e = 0; e < BP_QUAD; e++)
                sum += abs((int8_t)quad[e * quads.step]);
            over += sum > BP_WIDE_MOST;
        }
    return count > 0 ? (double)over / (double)count : 0;
}
