// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mpirun -n N check-mpi: the collectives of all meshes of N devices, over MPI, against brute force. Exit status 1 and what is
// wrong, on each rank that sees it.

#include "test/unit/comm/CheckCollectives.h"

#include <cstdio>

int main() {
  snug_comm *comm = nullptr;
  if (snug_error *error = snug_comm_create_mpi(nullptr, nullptr, &comm)) {
    fprintf(stderr, "%s\n", snug_error_message(error));
    return 1;
  }
  std::string wrong;
  uint32_t size = comm->size();
  for (uint32_t d1 = 1; d1 <= size && wrong.empty(); ++d1)
    if (size % d1 == 0)
      wrong = checkCollectives(*comm, d1, size / d1, false);
  if (!wrong.empty())
    fprintf(stderr, "%s\n", wrong.c_str());
  else if (comm->rank() == 0)
    printf("%u ranks agree\n", size);
  snug_comm_destroy(comm);
  return !wrong.empty();
}
