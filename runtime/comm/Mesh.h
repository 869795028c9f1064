// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A context's place in the mesh that its model is cut for, and the groups of its collectives.
#ifndef SNUG_RUNTIME_COMM_MESH_H
#define SNUG_RUNTIME_COMM_MESH_H

#include "runtime/comm/Comm.h"

#include <vector>

namespace snug::comm {

class Mesh {
public:
  // Throws unless the model and the communicator go together.
  static void checkSize(const snug_model_header &header, const snug_comm *comm);

  // All ranks: takes over what went wrong on this one (NULL: nothing), and throws on all when it did on one, or when they
  // have different libraries. `model` may be NULL where there is an error.
  static void agree(snug_comm &comm, snug_model *model, snug_error *own);

  // After agree().
  Mesh(snug_comm &comm, const snug_model_header &header);
  Mesh(const Mesh &) = delete;
  Mesh &operator=(const Mesh &) = delete;
  ~Mesh();

  const int64_t *index() const { return place; } // [2]

  // Devices that are together in what goes along these axes (bits), and this one's place among them.
  int64_t size(uint32_t axes) const { return sizes[axes]; }
  int64_t placeIn(uint32_t axes) const { return axes == 3 ? comm.rank() : place[axes == 1 ? 0 : 1]; }
  // The first of them.
  int64_t leader(uint32_t axes) const { return axes == 3 ? 0 : axes == 1 ? place[1] : place[0] * sizes[2]; }
  // Whether a collective goes along these axes, between several devices.
  bool uses(uint32_t axes) const;

  // All ranks: makes the groups of the communicator that `collective`, `start` and `wait` need; throws.
  void openGroups();

  // All ranks, at the start of a run: throws on all when one of them was refused (`own`, taken over), or where their `dims`
  // differ. Returns all bits that one of the ranks asks for. Allocates nothing unless it fails.
  uint64_t begin(snug_error *own, const int64_t *dims, uint64_t asks);
  // All ranks, where a run can fail by itself: throws on all when one did.
  void end(snug_error *own) { comm.agree(own); }
  // Throws when the run lost a rank.
  void check() const;

  // As snug_runtime_table has them; `state` is a Mesh.
  static void collective(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept;
  static void start(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept;
  static void wait(void *state, int64_t number) noexcept;
  // Moves on what is in flight, as transports may do so only when they are called. Whether there is something left.
  static bool poll(void *state) noexcept;

  snug_comm &comm;

private:
  const snug_model_header &header;
  int64_t place[2];
  void *groups[4] = {};  // by snug_collective_info.axes; 3: all, which has none
  int64_t sizes[4] = {}; // of these groups
  std::vector<snug_pending> pending; // by number of the collective
  std::vector<int64_t> inFlight;     // their numbers; room for all
  std::vector<int64_t> starts; // of runs: whether it was refused, what it asks for, and its dims, of each rank and of this one
};

} // namespace snug::comm

#endif
