// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.text: what scalar kernels do with strings.
#ifndef SNUG_DIALECTS_NN_TEXTOPS_H
#define SNUG_DIALECTS_NN_TEXTOPS_H

#include "dialects/nn/NnDialect.h"

#include "dialects/nn/TextKind.h.inc"
#define GET_OP_CLASSES
#include "dialects/nn/TextOps.h.inc"

namespace snug::nn {
// Formats of decode_image, by the numbers of snug_pixel_format.
enum PixelFormat : int64_t { PixelsRGB = 0, PixelsBGR = 1, PixelsGrayscale = 2 };
} // namespace snug::nn

#endif
