// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loaded before MPI: writes what collectives and messages a process starts to $SNUG_MPI_LOG.RANK, a line each: name, ranks, elements that it
// was called with, bytes of an element.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static void note(const char *name, MPI_Comm comm, int count, MPI_Datatype type) {
  static FILE *file = NULL;
  int ranks = 0, bytes = 0;
  if (!file) {
    char path[4096];
    int rank = 0;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    snprintf(path, sizeof(path), "%s.%d", getenv("SNUG_MPI_LOG"), rank);
    file = fopen(path, "w");
    if (!file)
      abort();
    setlinebuf(file);
  }
  PMPI_Comm_size(comm, &ranks);
  PMPI_Type_size(type, &bytes);
  fprintf(file, "%s %d %d %d\n", name, ranks, count, bytes);
}

int MPI_Isend(const void *send, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request) {
  note("message", comm, count, type);
  return PMPI_Isend(send, count, type, to, tag, comm, request);
}

int MPI_Iallreduce(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm, MPI_Request *request) {
  note("all_reduce", comm, count, type);
  return PMPI_Iallreduce(send, recv, count, type, op, comm, request);
}

int MPI_Ireduce_scatter_block(const void *send, void *recv, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm,
                              MPI_Request *request) {
  note("reduce_scatter", comm, count, type);
  return PMPI_Ireduce_scatter_block(send, recv, count, type, op, comm, request);
}

int MPI_Iallgather(const void *send, int count, MPI_Datatype type, void *recv, int recvCount, MPI_Datatype recvType, MPI_Comm comm,
                   MPI_Request *request) {
  note("all_gather", comm, count, type);
  return PMPI_Iallgather(send, count, type, recv, recvCount, recvType, comm, request);
}

int MPI_Ialltoall(const void *send, int count, MPI_Datatype type, void *recv, int recvCount, MPI_Datatype recvType, MPI_Comm comm,
                  MPI_Request *request) {
  note("all_to_all", comm, count, type);
  return PMPI_Ialltoall(send, count, type, recv, recvCount, recvType, comm, request);
}
