/* What the elements of a tensor are, for loops that read any of these: constants after inlining. */
#ifndef BP_KERNELS_VALUE_TYPE_H
#define BP_KERNELS_VALUE_TYPE_H

enum value_type { VALUE_F32, VALUE_I16, VALUE_F16, VALUE_BF16 };

#endif
