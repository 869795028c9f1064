// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Collectives of all kinds, types, reductions and groups of a mesh, against brute force.
#ifndef SNUG_TEST_UNIT_COMM_CHECK_COLLECTIVES_H
#define SNUG_TEST_UNIT_COMM_CHECK_COLLECTIVES_H

#include "runtime/comm/Comm.h"

#include <string>

// Every rank of a mesh of d1 x d2 calls it; returns what is wrong first, or nothing. `inOrder`: elements are combined in
// order of rank and rounded once, to the bit. Else only that is required which any order gives, and that it is always
// the same: twice, and on all ranks.
std::string checkCollectives(snug_comm &comm, uint32_t d1, uint32_t d2, bool inOrder);

#endif
