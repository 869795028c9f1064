// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_SCATTEROP_H
#define SNUG_DIALECTS_NN_SCATTEROP_H

#include "dialects/nn/NnDialect.h"

#define GET_OP_CLASSES
#include "dialects/nn/ScatterOp.h.inc"

#endif
