// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/comm/Mesh.h"
#include "runtime/comm/Combine.h"
#include "runtime/core/Bind.h"
#include "runtime/core/Error.h"
#include "runtime/core/Model.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace snug;
using namespace snug::comm;

namespace {
// What has to be the same on all ranks.
struct Identity {
  uint64_t content; // of the library's file; 0 where there is none
  uint32_t mesh[2];
  uint64_t dims, collectives; // hashes
  char model[128], version[32];
};
static_assert(std::is_trivially_copyable_v<Identity>);
} // namespace

static std::string count(uint64_t number, const char *what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

static std::string meshText(const uint32_t *mesh) {
  return mesh[0] ? "a mesh of " + std::to_string(mesh[0]) + " x " + std::to_string(mesh[1]) : "one device";
}

void Mesh::checkSize(const snug_model_header &header, const snug_comm *comm) {
  uint32_t ranks = numRanks(header);
  std::string model = std::string("the model '") + header.model_name + "' ";
  if (!comm && ranks)
    throw Failure(SNUG_EXIT_USAGE, model + "is cut for " + meshText(header.mesh) + " devices, and the context has no communicator: "
                                       "give each rank its own (snug_context_options.comm)");
  if (comm && !ranks)
    throw Failure(SNUG_EXIT_USAGE, model + "is for one device, but " + count(comm->size(), "rank") +
                                       " came: start one without a communicator, or compile for a mesh");
  if (comm && ranks != comm->size())
    throw Failure(SNUG_EXIT_USAGE, model + "is cut for " + meshText(header.mesh) + ", " + count(ranks, "device") + ", but " +
                                       count(comm->size(), "rank") + " came: start " + std::to_string(ranks) +
                                       ", or compile for a mesh of " + std::to_string(comm->size()));
}

static Identity identify(snug_model &model) {
  Identity identity{};
  const snug_model_header &header = *model.header;
  identity.content = model.contentHash();
  snug_model_mesh(&model, identity.mesh);
  std::string text;
  for (uint32_t i = 0; i < header.num_dims; ++i) {
    const snug_dim_info &dim = header.dims[i];
    text += dim.name;
    for (int64_t bound : {dim.min, dim.max, dim.step})
      text += "," + std::to_string(bound);
  }
  identity.dims = XXH3_64bits(text.data(), text.size());
  text.clear();
  for (uint32_t i = 0; i < (numRanks(header) ? header.num_collectives : 0); ++i) {
    const snug_collective_info &info = header.collectives[i];
    for (uint32_t part : {info.kind, info.axes, info.reduction, uint32_t(info.dtype.code), uint32_t(info.dtype.bits)})
      text += "," + std::to_string(part);
  }
  identity.collectives = XXH3_64bits(text.data(), text.size());
  strncpy(identity.model, header.model_name, sizeof(identity.model) - 1);
  strncpy(identity.version, header.snug_version, sizeof(identity.version) - 1);
  return identity;
}

// What differs between two ranks' libraries; empty: nothing.
static std::string difference(const Identity &a, const Identity &b) {
  auto both = [](const std::string &left, const std::string &right) { return ": " + left + " and " + right; };
  if (strcmp(a.model, b.model) != 0)
    return "their model" + both("'" + std::string(a.model) + "'", "'" + std::string(b.model) + "'");
  if (memcmp(a.mesh, b.mesh, sizeof(a.mesh)) != 0)
    return "what they are cut for" + both(meshText(a.mesh), meshText(b.mesh));
  if (strcmp(a.version, b.version) != 0)
    return "their compiler" + both(a.version, b.version);
  if (a.dims != b.dims)
    return "their dims or the ranges of these";
  if (a.collectives != b.collectives)
    return "their collectives";
  return a.content == b.content ? "" : "the contents of their files";
}

void Mesh::agree(snug_comm &comm, snug_model *model, snug_error *own) {
  std::unique_ptr<snug_error, void (*)(snug_error *)> owned(own, &snug_error_destroy);
  std::vector<Identity> all(comm.size());
  Identity mine{};
  snug_error *unread = guard([&] {
    if (model)
      mine = identify(*model);
  });
  if (!owned)
    owned.reset(unread);
  else
    snug_error_destroy(unread);
  if (!comm.allGather(&mine, all.data(), sizeof(mine)))
    comm.fail();
  for (uint32_t r = 1; r < comm.size(); ++r)
    if (all[0].content && all[r].content)
      if (std::string what = difference(all[0], all[r]); !what.empty())
        throw Failure(SNUG_EXIT_RUN, "rank 0 and rank " + std::to_string(r) + " have not loaded the same library; they differ in " +
                                         what + ": give all of them one that was compiled once");
  comm.agree(owned.release());
}

Mesh::Mesh(snug_comm &comm, const snug_model_header &header) : comm(comm), header(header) {
  uint32_t width = header.mesh[1], rank = comm.rank();
  place[0] = rank / width;
  place[1] = rank % width;
  sizes[1] = header.mesh[0];
  sizes[2] = header.mesh[1];
  sizes[3] = comm.size();
  starts.resize((size_t(comm.size()) + 1) * (header.num_dims + 2));
  pending.resize(header.num_collectives);
  inFlight.reserve(header.num_collectives);
}

bool Mesh::uses(uint32_t axes) const {
  return sizes[axes] > 1 && std::any_of(header.collectives, header.collectives + header.num_collectives,
                                        [&](const snug_collective_info &info) { return info.axes == axes; });
}

void Mesh::openGroups() {
  // The groups of an axis are those that have the other index in common.
  for (uint32_t axes : {1u, 2u})
    if (uses(axes) && !comm.split(uint32_t(place[axes == 1 ? 1 : 0]), groups[axes]))
      comm.fail();
}

Mesh::~Mesh() {
  for (void *group : groups)
    if (group)
      comm.freeGroup(group);
}

uint64_t Mesh::begin(snug_error *own, const int64_t *dims, uint64_t asks) {
  std::unique_ptr<snug_error, void (*)(snug_error *)> owned(own, &snug_error_destroy);
  size_t stride = header.num_dims + 2;
  int64_t *all = starts.data(), *mine = all + stride * comm.size();
  mine[0] = snug_error_code(own);
  mine[1] = int64_t(asks);
  std::copy(dims, dims + header.num_dims, mine + 2);
  if (!comm.allGather(mine, all, stride * sizeof(int64_t))) {
    if (own)
      throw Failure(own->code, own->message);
    comm.fail();
  }
  bool isRefused = false;
  for (uint32_t r = 0; r < comm.size(); ++r)
    isRefused = isRefused || all[r * stride] != SNUG_EXIT_DONE;
  if (isRefused)
    comm.agree(owned.release());
  for (uint32_t r = 1; r < comm.size(); ++r)
    for (uint32_t i = 0; i < header.num_dims; ++i)
      if (int64_t first = all[i + 2], other = all[r * stride + i + 2]; first != other)
        throw Failure(SNUG_EXIT_RUN, "the ranks run different sizes: dim '" + std::string(header.dims[i].name) + "' is " +
                                         std::to_string(first) + " on rank 0 and " + std::to_string(other) + " on rank " +
                                         std::to_string(r) + "; give all of them inputs of the same shapes");
  for (uint32_t r = 0; r < comm.size(); ++r)
    asks |= uint64_t(all[r * stride + 1]);
  return asks;
}

void Mesh::check() const {
  if (!comm.lost.empty())
    comm.fail();
}

void Mesh::collective(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept {
  Mesh &mesh = *static_cast<Mesh *>(state);
  const snug_collective_info &info = mesh.header.collectives[number];
  if (mesh.sizes[info.axes] > 1)
    mesh.comm.collective(mesh.groups[info.axes], info, send, recv, count);
  else if (send != recv && count > 0 && mesh.comm.lost.empty())
    memcpy(recv, send, uint64_t(count) * elementBytes(info.dtype));
}

void Mesh::start(void *state, int64_t number, const void *send, void *recv, int64_t count) noexcept {
  Mesh &mesh = *static_cast<Mesh *>(state);
  const snug_collective_info &info = mesh.header.collectives[number];
  if (mesh.sizes[info.axes] == 1)
    collective(state, number, send, recv, count);
  else if (count > 0 && mesh.comm.start(mesh.groups[info.axes], info, send, recv, count, mesh.pending[size_t(number)]))
    mesh.inFlight.push_back(number);
}

void Mesh::wait(void *state, int64_t number) noexcept {
  Mesh &mesh = *static_cast<Mesh *>(state);
  auto found = std::find(mesh.inFlight.begin(), mesh.inFlight.end(), number);
  if (found == mesh.inFlight.end()) // nothing was to be sent
    return;
  mesh.comm.wait(mesh.pending[size_t(number)]);
  mesh.inFlight.erase(found);
}

bool Mesh::poll(void *state) noexcept {
  Mesh &mesh = *static_cast<Mesh *>(state);
  bool isLeft = false;
  for (int64_t number : mesh.inFlight)
    isLeft = !mesh.comm.test(mesh.pending[size_t(number)]) || isLeft;
  return isLeft && mesh.comm.lost.empty();
}
