// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// snug_nn.text: what scalar kernels do with strings.
#ifndef SNUG_DIALECTS_NN_TEXTOPS_H
#define SNUG_DIALECTS_NN_TEXTOPS_H

#include "dialects/nn/NnDialect.h"

#include "dialects/nn/TextKind.h.inc"
#define GET_OP_CLASSES
#include "dialects/nn/TextOps.h.inc"

#endif
