// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// --measure-links: what connects the ranks, as a topology file.
#ifndef SNUG_TOOLS_SNUG_RUN_LINKS_H
#define SNUG_TOOLS_SNUG_RUN_LINKS_H

#include "snug/Runtime.h"

#include <string>

namespace snug {

// All ranks; rank 0 writes the file, in the matrix form of docs/topology.md. Throws CommandFailure.
void measureLinks(snug_comm *comm, const std::string &path);

} // namespace snug

#endif
