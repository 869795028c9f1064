// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a chunk region may take in, on problems written by hand: each node reads and writes tensors of 64 x 64.
#include "passes/chunk/GrowRegion.h"
#include "passes/chunk/LoopBody.h"
#include "gtest/gtest.h"

using namespace snug;

namespace {
const DimAccess kNot; // the dim is not in the tensor

class Program {
public:
  ChunkProblem problem;

  // A tensor in a buffer of its own.
  int value(int producer = -1) {
    ChunkValue v;
    v.extents = {64, 64};
    v.fixed = {true, true};
    v.elementBytes = 4;
    v.shape = 0;
    v.producer = producer;
    v.buffer = static_cast<int>(problem.buffers.size());
    ChunkBuffer buffer;
    buffer.bytes = 64 * 64 * 4;
    buffer.root = static_cast<int>(problem.values.size());
    problem.values.push_back(v);
    problem.buffers.push_back(buffer);
    return buffer.root;
  }

  // A kernel of as many dims as `parallel` has; returns its result.
  int kernel(int read, std::vector<DimAccess> reads, std::vector<DimAccess> writes, std::vector<bool> parallel) {
    int node = static_cast<int>(problem.nodes.size()), result = value(node);
    ChunkNode n;
    n.extents.assign(parallel.size(), 64);
    n.tile.assign(parallel.size(), 1);
    n.accumulates.assign(parallel.size(), false);
    n.parallel = std::move(parallel);
    ChunkUse use, made;
    use.value = read;
    use.access = std::move(reads);
    made.value = result;
    made.access = std::move(writes);
    n.uses = {use};
    n.results = {made};
    for (int v : {read, result}) {
      n.buffers.push_back(problem.values[v].buffer);
      problem.buffers[problem.values[v].buffer].nodes.push_back(node);
    }
    problem.values[read].users.push_back(node);
    problem.nodes.push_back(n);
    return result;
  }

  // A view of a tensor, and a kernel that writes over the view that it reads; returns its result.
  int overView(int source) {
    int buffer = problem.values[source].buffer;
    int view = elementwise(source);
    problem.nodes.back().isView = true;
    problem.nodes.back().buffers.clear();
    problem.buffers[buffer].nodes.pop_back();
    problem.values[view].buffer = buffer;
    int result = elementwise(view);
    ChunkNode &kernel = problem.nodes.back();
    kernel.uses.push_back(kernel.uses[0]);
    kernel.uses[1].isInit = true;
    kernel.buffers = {buffer};
    problem.values[result].buffer = buffer;
    return result;
  }

  // An op without a rule, which needs the tensor whole.
  void barrier(int read) { kernel(read, {}, {}, {}); }

  int elementwise(int read) { return kernel(read, {{0}, {1}}, {{0}, {1}}, {true, true}); }

  // The nodes of the region grown from a dim of a node.
  std::vector<int> region(int seed, int dim) const {
    std::vector<int> nodes;
    if (auto loop = growRegion(problem, seed, dim, 0, static_cast<int>(problem.nodes.size()) - 1).loop)
      for (const ChunkMember &m : loop->members)
        nodes.push_back(m.node);
    return nodes;
  }
};

using Nodes = std::vector<int>;

TEST(GrowRegion, FollowsADimBothWays) {
  Program p;
  int a = p.elementwise(p.value());
  int b = p.kernel(a, {{1}, {0}}, {{0}, {1}}, {true, true}); // a transpose
  p.elementwise(b);
  for (int seed : {0, 1, 2})
    for (int dim : {0, 1})
      EXPECT_EQ(p.region(seed, dim), (Nodes{0, 1, 2})) << seed << " " << dim;
}

// Trap 4, the second guard: iterations that a result does not tell apart would write over each other, even if a rule
// says that they are parallel.
TEST(GrowRegion, LeavesOutWhatTheResultIsNotIndexedBy) {
  Program p;
  int a = p.elementwise(p.value());
  p.kernel(a, {{0}, kNot, {1}}, {{0}, {1}, kNot}, {true, true, true});
  EXPECT_EQ(p.region(0, 0), (Nodes{0, 1}));
  EXPECT_EQ(p.region(0, 1), (Nodes{0}));
  EXPECT_EQ(p.region(1, 2), Nodes());
}

// Traps 4 and 5: a dim that may not be cut stops the region from either side, wherever it stands in the result.
TEST(GrowRegion, LeavesOutWhatMayNotBeCut) {
  Program p;
  int a = p.elementwise(p.value());
  int b = p.kernel(a, {{0}, {1}}, {{0}, {1}}, {true, false}); // a softmax
  p.elementwise(b);
  EXPECT_EQ(p.region(0, 0), (Nodes{0, 1, 2}));
  EXPECT_EQ(p.region(0, 1), (Nodes{0}));
  EXPECT_EQ(p.region(1, 1), Nodes());
  EXPECT_EQ(p.region(2, 1), (Nodes{2}));
}
// What is written over a view of a tensor of the loop's own stays in the loop. Where others need the buffer whole, the
// loop ends before that.
TEST(GrowRegion, WritesOverViewsOfItsOwn) {
  Program own;
  own.barrier(own.elementwise(own.overView(own.elementwise(own.value()))));
  EXPECT_EQ(own.region(0, 0), (Nodes{0, 1, 2, 3}));
  EXPECT_EQ(own.region(2, 1), (Nodes{0, 1, 2, 3}));
  Program shared;
  shared.barrier(shared.overView(shared.elementwise(shared.value())));
  EXPECT_EQ(shared.region(0, 0), (Nodes{0, 1}));
}
TEST(GrowRegion, RecomputesWhatIsCheapAndNeededWhole) {
  Program p;
  int a = p.elementwise(p.value());
  p.kernel(a, {kNot, {1}}, {{0}, {1}}, {true, true}); // reads all of dim 0
  EXPECT_EQ(p.region(1, 0), (Nodes{1})) << "before the loop";
  GrowOptions recomputes;
  recomputes.recomputes = true;
  auto loop = growRegion(p.problem, 1, 0, 0, 1, recomputes).loop;
  ASSERT_TRUE(loop);
  EXPECT_EQ(loop->members.size(), 1u) << "it is not cheap";
  p.problem.nodes[0].isCheap = true;
  loop = growRegion(p.problem, 1, 0, 0, 1, recomputes).loop;
  ASSERT_TRUE(loop);
  ASSERT_EQ(loop->members.size(), 2u);
  EXPECT_EQ(loop->members[0].dim, -1);
  EXPECT_EQ(loop->members[1].dim, 0);
  p.elementwise(a); // somebody else needs it, too
  EXPECT_FALSE(growRegion(p.problem, 1, 0, 0, 2, recomputes).loop);
}

TEST(GrowRegion, SaysWithWhichUnitMoreNodesWouldJoin) {
  Program p;
  int a = p.kernel(p.value(), {{0, 32, 32}, {1}}, {{0, 32, 32}, {1}}, {true, true}); // panels of 32 rows
  p.problem.nodes[0].extents[0] = 2;
  p.elementwise(a);
  GrownRegion region = growRegion(p.problem, 1, 0, 0, 1);
  ASSERT_TRUE(region.loop);
  EXPECT_EQ(region.loop->members.size(), 1u);
  EXPECT_EQ(region.coarser, 32);
  GrowOptions pairs;
  pairs.unit = region.coarser;
  region = growRegion(p.problem, 1, 0, 0, 1, pairs);
  ASSERT_TRUE(region.loop);
  EXPECT_EQ(region.loop->members.size(), 2u);
  EXPECT_EQ(region.loop->extent, 2);
  EXPECT_EQ(region.coarser, 1);
}

TEST(GrowRegion, SaysWhereALargerWindowMayLeadFurther) {
  Program p;
  int value = p.value();
  for (int i = 0; i < 4; ++i)
    value = p.elementwise(value);
  p.barrier(value);
  struct {
    int first, last;
    bool opensBefore, opensBehind;
  } windows[] = {{1, 2, true, true}, {0, 2, false, true}, {1, 4, true, false}, {0, 4, false, false}};
  for (auto [first, last, opensBefore, opensBehind] : windows) {
    GrownRegion region = growRegion(p.problem, 2, 0, first, last);
    ASSERT_TRUE(region.loop);
    EXPECT_EQ(region.opensBefore, opensBefore) << first << " " << last;
    EXPECT_EQ(region.opensBehind, opensBehind) << first << " " << last;
  }
}

TEST(GrowRegion, IsNotFinishedWhereItIsNotWanted) {
  Program p;
  p.elementwise(p.value());
  size_t asked = 0;
  GrowOptions options;
  options.isWanted = [&](const ChunkLoop &loop) {
    asked += loop.members.size();
    return asked > 1;
  };
  EXPECT_FALSE(growRegion(p.problem, 0, 0, 0, 0, options).loop);
  EXPECT_TRUE(growRegion(p.problem, 0, 0, 0, 0, options).loop);
}

// A result takes the buffer of what is read for the last time. What reads it behind the loop, though nothing of the
// loop, is in the window, too.
TEST(GrowRegion, OverwritesOnlyWhatDies) {
  for (bool isReadAgain : {false, true}) {
    Program p;
    p.barrier(p.value());
    int x = p.problem.nodes[0].results[0].value;
    int made = p.elementwise(x);
    ChunkUse init;
    init.value = p.value(2);
    init.isInit = true;
    init.access = {{0}, {1}};
    p.problem.values[init.value].buffer = p.problem.values[made].buffer;
    p.problem.nodes[1].uses[0].elementwise = true;
    p.problem.nodes[1].uses.push_back(init);
    p.barrier(made);
    p.problem.values[init.value].producer = static_cast<int>(p.problem.nodes.size());
    p.problem.nodes.emplace_back();
    p.problem.nodes.back().isEmpty = true;
    if (isReadAgain)
      p.barrier(x);
    auto loop = growRegion(p.problem, 1, 0, 1, static_cast<int>(p.problem.nodes.size()) - 1).loop;
    ASSERT_TRUE(loop);
    EXPECT_EQ(loop->inPlace.size(), isReadAgain ? 0u : 1u);
  }
}

TEST(LoopBody, IsOneIteration) {
  Program p;
  p.barrier(p.value());
  int a = p.elementwise(p.problem.nodes[0].results[0].value);
  int b = p.elementwise(a);
  p.barrier(b);
  for (ChunkNode &node : p.problem.nodes)
    node.work.elementwise = 6400;
  auto loop = growRegion(p.problem, 1, 1, 1, 2).loop;
  ASSERT_TRUE(loop);
  loop->size = 8;
  ChunkProblem body = bodyOf(p.problem, *loop);
  ASSERT_EQ(body.nodes.size(), 2u);
  EXPECT_EQ(body.nodes[0].extents, (std::vector<int64_t>{64, 8}));
  EXPECT_EQ(body.nodes[0].work.elementwise, 800);
  const ChunkValue &read = body.values[body.nodes[0].uses[0].value], &own = body.values[body.nodes[0].results[0].value],
                   &leaving = body.values[body.nodes[1].results[0].value];
  EXPECT_EQ(read.producer, -1);
  EXPECT_EQ(own.producer, 0);
  EXPECT_EQ(own.users, Nodes{1});
  EXPECT_EQ(own.extents, (std::vector<int64_t>{64, 8}));
  EXPECT_EQ(body.buffers[read.buffer].bytes, 0) << "it is there anyway";
  EXPECT_EQ(body.buffers[own.buffer].bytes, 64 * 8 * 4);
  EXPECT_EQ(body.buffers[own.buffer].nodes, (Nodes{0, 1}));
  EXPECT_EQ(body.buffers[leaving.buffer].bytes, 0) << "the barrier reads it whole";
}

} // namespace
