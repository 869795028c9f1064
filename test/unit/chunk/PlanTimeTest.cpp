// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What loops cost in time, on problems written by hand and a machine of round numbers.
#include "passes/chunk/PlanTime.h"
#include "gtest/gtest.h"

using namespace snug;

namespace {
constexpr int64_t kSide = 1024; // tensors of 1024 x 1024 f32, 4 MiB

// Computing costs nothing; a byte from memory takes 1 us, one from the cache of 1 MiB is free.
Machine memoryBound() {
  Machine m;
  m.vector_bits = 512;
  m.contraction_per_s = m.attention_per_s = m.transcendental_per_s = m.elementwise_per_s = 1e30;
  m.reduction_per_s = m.strided_per_s = 1e30;
  m.caches = {{1 << 20, true, 1e30}};
  m.memory_bytes_per_s = {1e6};
  m.panel_bytes_per_s = 1e6;
  return m;
}

// All is in cache, an operation takes 1 us.
Machine computeBound() {
  Machine m = memoryBound();
  m.caches = {{int64_t(1) << 40, true, 1e30}};
  m.contraction_per_s = m.elementwise_per_s = 1e6;
  return m;
}

class Program {
public:
  ChunkProblem problem;

  int value(std::vector<int64_t> extents, bool inArena = true) {
    ChunkValue v;
    v.extents = std::move(extents);
    v.elementBytes = 4;
    if (inArena) {
      v.buffer = static_cast<int>(problem.buffers.size());
      problem.buffers.emplace_back();
    }
    problem.values.push_back(v);
    return static_cast<int>(problem.values.size()) - 1;
  }

  // A kernel over 1024 x 1024 elements; `weight`, if any, is read as a whole.
  int kernel(int read, double operations, int weight = -1) {
    int result = value({kSide, kSide}), node = static_cast<int>(problem.nodes.size());
    ChunkNode n;
    n.extents = {kSide, kSide};
    n.parallel = {true, true};
    n.tile = {1, 1};
    n.work.elementwise = operations;
    n.uses.push_back(use(read, {{0}, {1}}));
    if (weight >= 0)
      n.uses.push_back(use(weight, {DimAccess(), DimAccess()}));
    n.results.push_back(use(result, {{0}, {1}}));
    for (const ChunkUse &u : n.uses)
      touch(node, n, u.value);
    touch(node, n, result);
    problem.nodes.push_back(n);
    return result;
  }

  // A loop over all nodes along `dim`, but for so many at the end.
  ChunkLoop loop(int64_t size, int dim = 0, int without = 0) {
    ChunkLoop l;
    for (int node = 0; node < static_cast<int>(problem.nodes.size()) - without; ++node) {
      l.members.emplace_back();
      l.members.back().node = node;
      l.members.back().dim = dim;
    }
    l.last = static_cast<int>(l.members.size()) - 1;
    l.extent = kSide;
    l.size = size;
    return l;
  }

  double unchunked(const Machine &machine) { return measured(machine).unchunked(); }
  double timeOf(const Machine &machine, const ChunkLoop &l) { return measured(machine).timeOf(l); }

private:
  static ChunkUse use(int value, std::vector<DimAccess> access) {
    ChunkUse u;
    u.value = value;
    u.access = std::move(access);
    return u;
  }

  void touch(int node, ChunkNode &n, int value) {
    int buffer = problem.values[value].buffer;
    if (buffer < 0)
      return;
    n.buffers.push_back(buffer);
    problem.buffers[buffer].nodes.push_back(node);
    problem.buffers[buffer].bytes = 4 * kSide * kSide;
  }

  PlanTime measured(const Machine &machine) {
    PlanTime time(problem, machine, 1);
    time.measure(std::vector<int64_t>(problem.nodes.size(), 8 * kSide * kSide));
    return time;
  }
};

TEST(PlanTime, SlicesThatStayInCacheAreNotMoved) {
  Program p;
  p.kernel(p.kernel(p.kernel(p.value({kSide, kSide}, false), 1), 1), 1);
  Machine m = memoryBound();
  double tensor = 4e-6 * kSide * kSide;
  EXPECT_NEAR(p.unchunked(m), 9 * tensor, 0.1 * tensor)
      << "three are read, and three written, whose lines are read first";
  // The tensor between the first two is the loop's, and written and read in cache.
  EXPECT_NEAR(-p.timeOf(m, p.loop(16, 0, 1)), 3 * tensor, 0.2 * tensor);
  EXPECT_LT(-p.timeOf(m, p.loop(512, 0, 1)), 0.5 * tensor) << "slices of 2 MiB do not stay";
}

TEST(PlanTime, WeightsAreReadAgainByEachIterationUnlessACacheHoldsThem) {
  for (bool large : {false, true}) {
    Program p;
    int64_t rows = large ? 4 * kSide : 16; // 16 MiB or 64 KiB
    p.kernel(p.kernel(p.value({kSide, kSide}, false), 1, p.value({rows, kSide}, false)), 1);
    Machine m = memoryBound();
    double weight = static_cast<double>(4 * rows * kSide) * 1e-6;
    double two = p.timeOf(m, p.loop(512, 0, 1)), eight = p.timeOf(m, p.loop(128, 0, 1));
    if (large) {
      EXPECT_NEAR(eight - two, 6 * weight, 0.5 * weight);
    } else {
      EXPECT_NEAR(p.timeOf(m, p.loop(16, 0, 1)), p.timeOf(m, p.loop(32, 0, 1)), 0.1 * weight);
    }
  }
}

TEST(PlanTime, EachIterationStartsItsKernelsAndTheLoop) {
  Program p;
  p.kernel(p.kernel(p.value({kSide, kSide}, false), 1000), 1000);
  Machine m = computeBound();
  m.launch_s = 0.25;
  m.iteration_s = 1;
  EXPECT_NEAR(p.timeOf(m, p.loop(256)), 4 * (2 * 0.25 + 1) - 2 * 0.25, 1e-6);
  EXPECT_NEAR(p.timeOf(m, p.loop(300)), 4 * (2 * 0.25 + 1) - 2 * 0.25, 1e-6) << "the last one is shorter";
  ChunkLoop nested = p.loop(256);
  nested.bodyPeak = 0;
  nested.bodyTime = 7;
  EXPECT_NEAR(p.timeOf(m, nested) - p.timeOf(m, p.loop(256)), 4 * 7, 1e-6);
}

TEST(PlanTime, WhatIsComputedAnewCountsAnew) {
  Program p;
  p.kernel(p.kernel(p.value({kSide, kSide}, false), 3e6), 1e6);
  Machine m = computeBound();
  EXPECT_NEAR(p.unchunked(m), 4, 1e-6);
  EXPECT_NEAR(p.timeOf(m, p.loop(256)), 0, 1e-6);
  ChunkLoop anew = p.loop(256);
  anew.members[0].dim = -1;
  EXPECT_NEAR(p.timeOf(m, anew), 3 * 3, 1e-6) << "by three more iterations";
  ChunkLoop halo = p.loop(256);
  halo.members[0].before = 64;
  halo.members[0].after = 64;
  EXPECT_NEAR(p.timeOf(m, halo), 3 * 0.5, 1e-6) << "384 rows in place of 256";
}

TEST(PlanTime, RunsShorterThanALineWasteIt) {
  Program p;
  p.kernel(p.value({kSide, kSide}, false), 1e6);
  Machine m = computeBound();
  EXPECT_NEAR(p.timeOf(m, p.loop(1, 0)), 0, 1e-6) << "a row is one run";
  EXPECT_NEAR(p.timeOf(m, p.loop(16, 1)), 0, 1e-6) << "a line is one run";
  EXPECT_NEAR(p.timeOf(m, p.loop(4, 1)), 3, 1e-6);
  EXPECT_NEAR(p.timeOf(m, p.loop(1, 1)), 15, 1e-6);
  EXPECT_GT(p.timeOf(memoryBound(), p.loop(4, 1)), 2 * p.timeOf(memoryBound(), p.loop(16, 1)));
}

TEST(PlanTime, FewRowsDoNotFillTiles) {
  Program p;
  p.kernel(p.value({kSide, kSide}, false), 0);
  ChunkNode &node = p.problem.nodes[0];
  node.work.contraction = 1e6;
  node.rows = {true, false};
  node.columns = {false, true};
  Machine m = computeBound();
  double whole = p.unchunked(m);
  EXPECT_NEAR(p.timeOf(m, p.loop(1)), 5 - whole, 1e-3) << "a row takes as long as five";
  EXPECT_LT(p.timeOf(m, p.loop(16)), 0.1);
  // Elements that each tile of rows brings into order for itself.
  m.strided_per_s = 1e6;
  p.problem.nodes[0].packed = 1e6;
  EXPECT_NEAR(p.unchunked(m) - whole, 11, 1e-6) << "1024 rows are 11 tiles";
  EXPECT_NEAR(p.timeOf(m, p.loop(16)), 64 - 11, 0.1);
}

} // namespace
