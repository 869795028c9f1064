// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Layouts by brute force: devices hold numbered elements, steps are carried out on them, and what comes out is compared with
// what the layout says that each device holds.
#include "lib/solver/TensorLayout.h"

#include <gtest/gtest.h>
#include <map>
#include <numeric>
#include <random>

using namespace snug;

namespace {
constexpr int kRank = 2;
using Index = std::array<int64_t, kRank>;
using Local = std::map<Index, double>; // by place in the local tensor
struct Devices {
  MeshExtents mesh;
  std::vector<Local> held;
  Local &at(int64_t i, int64_t j) { return held[static_cast<size_t>(i * mesh[1] + j)]; }
};

double valueOf(Index global) { return double(1 + global[0] * 1000 + global[1]); }

// What is cut: a lone segment that does not divide is taken for one that divides among all devices.
std::vector<int64_t> filled(std::vector<int64_t> segments, int64_t parts, const MeshExtents &mesh) {
  if (segments.size() == 1 && segments[0] % parts != 0)
    while (segments[0] % (mesh[0] * mesh[1]) != 0)
      ++segments[0];
  return segments;
}

// The positions of a dim that a device has, in order; what is filled up is none.
std::vector<int64_t> positions(int64_t extent, int64_t dim, const TensorLayout &layout, const MeshExtents &mesh, Index place) {
  std::vector<int64_t> all(static_cast<size_t>(extent));
  std::iota(all.begin(), all.end(), 0);
  int64_t parts = 1, part = 0;
  const std::vector<int64_t> *segments = nullptr;
  for (int axis = 0; axis < kMeshAxes; ++axis)
    if (layout[axis].kind == AxisLayout::Cut && layout[axis].dim == dim) {
      parts *= mesh[axis];
      part = part * mesh[axis] + place[static_cast<size_t>(axis)];
      segments = &layout[axis].segments;
    }
  if (!segments)
    return all;
  std::vector<int64_t> mine;
  int64_t start = 0;
  for (int64_t length : filled(*segments, parts, mesh)) {
    for (int64_t k = 0; k < length / parts; ++k)
      if (int64_t place = start + part * (length / parts) + k; place < extent)
        mine.push_back(place);
    start += length;
  }
  return mine;
}

Devices lay(Index extents, const TensorLayout &layout, const MeshExtents &mesh) {
  Devices devices{mesh, std::vector<Local>(static_cast<size_t>(mesh[0] * mesh[1]))};
  for (int64_t i = 0; i < mesh[0]; ++i)
    for (int64_t j = 0; j < mesh[1]; ++j) {
      auto rows = positions(extents[0], 0, layout, mesh, {i, j}), columns = positions(extents[1], 1, layout, mesh, {i, j});
      double summands = 1; // of equal size, for simplicity
      for (int axis = 0; axis < kMeshAxes; ++axis)
        if (layout[axis].kind == AxisLayout::Partial)
          summands *= double(mesh[axis]);
      for (size_t r = 0; r < rows.size(); ++r)
        for (size_t c = 0; c < columns.size(); ++c)
          devices.at(i, j)[{int64_t(r), int64_t(c)}] = valueOf({rows[r], columns[c]}) / summands;
    }
  return devices;
}

// Segments of a dim as a device has them whose part of them is 1 / parts.
std::vector<int64_t> localSegments(const std::vector<int64_t> &segments, int64_t parts) {
  std::vector<int64_t> local;
  for (int64_t length : segments)
    local.push_back(length / parts);
  return local;
}

// Part `part` of n of each segment of a local dim.
Local partOf(const Local &whole, int64_t dim, const std::vector<int64_t> &segments, int64_t n, int64_t part) {
  Local result;
  for (auto &[index, value] : whole) {
    int64_t start = 0, before = 0;
    for (int64_t length : segments) {
      int64_t in = index[size_t(dim)] - start, share = length / n;
      if (in >= 0 && in < length && in / share == part) {
        Index place = index;
        place[size_t(dim)] = before + in % share;
        result[place] = value;
      }
      start += length;
      before += share;
    }
  }
  return result;
}

Local joined(const std::vector<Local> &parts, int64_t dim, const std::vector<int64_t> &segments) {
  Local result;
  int64_t n = int64_t(parts.size());
  for (int64_t part = 0; part < n; ++part)
    for (auto &[index, value] : parts[size_t(part)]) {
      int64_t start = 0, before = 0;
      for (int64_t length : segments) {
        int64_t share = length / n, in = index[size_t(dim)] - before;
        if (in >= 0 && in < share) {
          Index place = index;
          place[size_t(dim)] = start + part * share + in;
          result[place] = value;
        }
        start += length;
        before += share;
      }
    }
  return result;
}

Local sum(const std::vector<Local> &parts) {
  Local result;
  for (const Local &part : parts)
    for (auto &[index, value] : part)
      result[index] += value;
  return result;
}

void apply(const ReshardStep &step, const TensorLayout &other, Devices &devices) {
  const MeshExtents mesh = devices.mesh;
  int axis = step.axis;
  int64_t n = mesh[size_t(axis)], groups = mesh[size_t(1 - axis)];
  auto segmentsOf = [&](const AxisLayout &layout) {
    const AxisLayout &around = other[size_t(1 - axis)];
    bool isNested = around.kind == AxisLayout::Cut && around.dim == layout.dim;
    EXPECT_FALSE(isNested && axis == 0) << "axis 0 within axis 1";
    int64_t parts = n * (isNested ? groups : 1);
    return localSegments(filled(layout.segments, parts, mesh), isNested ? groups : 1);
  };
  for (int64_t g = 0; g < groups; ++g) {
    auto at = [&](int64_t k) -> Local & { return axis == 0 ? devices.at(k, g) : devices.at(g, k); };
    std::vector<Local> before, after;
    for (int64_t k = 0; k < n; ++k)
      before.push_back(at(k));
    for (int64_t k = 0; k < n; ++k)
      switch (step.kind) {
      case ReshardStep::Slice:
        after.push_back(partOf(before[size_t(k)], step.to.dim, segmentsOf(step.to), n, k));
        break;
      case ReshardStep::Mask:
        after.push_back(before[size_t(k)]);
        for (auto &[index, value] : after.back())
          value = k == 0 ? value : 0;
        break;
      case ReshardStep::AllReduce:
      case ReshardStep::AllReduceBoth: // of one axis: apply() is called for each
        after.push_back(sum(before));
        break;
      case ReshardStep::ReduceScatter:
        after.push_back(partOf(sum(before), step.to.dim, segmentsOf(step.to), n, k));
        break;
      case ReshardStep::AllGather:
        after.push_back(joined(before, step.from.dim, segmentsOf(step.from)));
        break;
      case ReshardStep::AllToAll: {
        std::vector<Local> got;
        for (const Local &from : before)
          got.push_back(partOf(from, step.to.dim, segmentsOf(step.to), n, k));
        after.push_back(joined(got, step.from.dim, segmentsOf(step.from)));
      }
      }
    for (int64_t k = 0; k < n; ++k)
      at(k) = after[size_t(k)];
  }
}

struct Space {
  Index extents;
  std::vector<MeshExtents> meshes;
  std::vector<AxisLayout> layouts;
};

// The steps from each layout to each other one, on each mesh.
void checkAll(const Space &space, size_t least) {
  std::vector<AxisLayout> all = space.layouts;
  all.push_back(AxisLayout::partial());
  size_t checked = 0;
  for (const MeshExtents &mesh : space.meshes)
    for (const AxisLayout &a : all)
      for (const AxisLayout &b : all)
        for (const AxisLayout &c : all)
          for (const AxisLayout &d : all) {
            TensorLayout from{a, b}, to{c, d};
            // What an axis of one device is said to be does not matter.
            bool isNonsense = !isLayout(from, mesh) || !isLayout(to, mesh);
            for (size_t axis : {0, 1})
              isNonsense |= mesh[axis] == 1 && (from[axis].kind != AxisLayout::Whole || to[axis].kind != AxisLayout::Whole);
            if (isNonsense)
              continue;
            Devices devices = lay(space.extents, from, mesh);
            TensorLayout now = from;
            for (const ReshardStep &step : planResharding(from, to, mesh)) {
              ASSERT_EQ(now[size_t(step.axis)], step.from);
              apply(step, now, devices);
              if (step.kind == ReshardStep::AllReduceBoth) {
                ASSERT_EQ(now[1], step.from);
                apply({step.kind, 1, step.from, step.to}, now, devices);
              }
              now = after(now, step);
              ASSERT_TRUE(isLayout(now, mesh)) << "on the way";
            }
            ASSERT_EQ(now, to);
            Devices want = lay(space.extents, to, mesh);
            for (int axis : {0, 1}) // of summands their sum counts
              if (to[size_t(axis)].kind == AxisLayout::Partial)
                for (Devices *summands : {&devices, &want})
                  apply({ReshardStep::AllReduce, axis, to[size_t(axis)], AxisLayout::whole()}, to, *summands);
            for (size_t k = 0; k < want.held.size(); ++k) {
              ASSERT_EQ(devices.held[k].size(), want.held[k].size());
              for (auto &[index, value] : want.held[k])
                ASSERT_NEAR(devices.held[k][index], value, 1e-9);
            }
            ++checked;
          }
  EXPECT_GE(checked, least);
}

TEST(TensorLayout, ReshardingByBruteForce) {
  checkAll({{12, 24},
            {{1, 1}, {2, 1}, {1, 2}, {2, 3}, {3, 2}, {6, 1}},
            {AxisLayout::whole(), AxisLayout::cut(0, {12}), AxisLayout::cut(1, {24}), AxisLayout::cut(1, {12, 12}),
             AxisLayout::cut(1, {12, 6, 6})}},
           900);
}

// Dims that one axis or the other can cut, but not both.
TEST(TensorLayout, ReshardingOfShortDims) {
  checkAll({{8, 4},
            {{2, 4}, {4, 2}, {2, 2}},
            {AxisLayout::whole(), AxisLayout::cut(0, {8}), AxisLayout::cut(0, {4, 4}), AxisLayout::cut(1, {4}), AxisLayout::cut(1, {2, 2})}},
           500);
}

// Dims that do not divide.
TEST(TensorLayout, ReshardingOfFilledDims) {
  checkAll({{7, 13},
            {{2, 1}, {1, 4}, {2, 2}, {2, 4}, {4, 2}, {3, 2}},
            {AxisLayout::whole(), AxisLayout::cut(0, {7}), AxisLayout::cut(1, {13})}},
           500);
  checkAll({{6, 12}, // by one axis, or by both
            {{4, 2}, {2, 4}, {3, 5}, {5, 2}},
            {AxisLayout::whole(), AxisLayout::cut(0, {6}), AxisLayout::cut(1, {12}), AxisLayout::cut(1, {6, 6})}},
           300);
}

TEST(TensorLayout, WhatMovesLittle) {
  using Steps = std::vector<ReshardStep::Kind>;
  auto kinds = [](TensorLayout from, TensorLayout to, MeshExtents mesh) {
    Steps steps;
    for (const ReshardStep &step : planResharding(from, to, mesh))
      steps.push_back(step.kind);
    return steps;
  };
  auto whole = AxisLayout::whole(), partial = AxisLayout::partial(), rows = AxisLayout::cut(0, {12}), columns = AxisLayout::cut(1, {24});
  EXPECT_EQ(kinds({partial, whole}, {whole, whole}, {2, 1}), Steps{ReshardStep::AllReduce});
  EXPECT_EQ(kinds({partial, partial}, {whole, whole}, {2, 3}), Steps{ReshardStep::AllReduceBoth});
  EXPECT_EQ(kinds({partial, partial}, {whole, whole}, {2, 1}), Steps{ReshardStep::AllReduce});
  EXPECT_EQ(kinds({partial, whole}, {rows, whole}, {2, 1}), Steps{ReshardStep::ReduceScatter});
  EXPECT_EQ(kinds({rows, whole}, {columns, whole}, {2, 1}), Steps{ReshardStep::AllToAll});
  EXPECT_EQ(kinds({columns, partial}, {columns, columns}, {2, 3}), Steps{ReshardStep::ReduceScatter}); // within axis 0's parts
  EXPECT_EQ(kinds({partial, whole}, {columns, columns}, {2, 3}), (Steps{ReshardStep::ReduceScatter, ReshardStep::Slice}));
  EXPECT_EQ(kinds({whole, partial}, {columns, columns}, {2, 3}), (Steps{ReshardStep::Slice, ReshardStep::ReduceScatter}));
  EXPECT_EQ(kinds({columns, columns}, {columns, whole}, {2, 3}), Steps{ReshardStep::AllGather});
  EXPECT_EQ(kinds({whole, whole}, {columns, rows}, {2, 3}), (Steps{ReshardStep::Slice, ReshardStep::Slice}));
  EXPECT_EQ(kinds({partial, whole}, {rows, whole}, {1, 3}), Steps{});
  EXPECT_EQ(kinds({whole, whole}, {whole, partial}, {2, 3}), Steps{ReshardStep::Mask});
  EXPECT_EQ(kinds({rows, whole}, {partial, columns}, {2, 3}), (Steps{ReshardStep::Slice, ReshardStep::AllGather, ReshardStep::Mask}));
}

TEST(TensorLayout, WhatCanBe) {
  auto columns = AxisLayout::cut(1, {24}), three = AxisLayout::cut(1, {12, 6, 6});
  EXPECT_TRUE(isLayout({columns, AxisLayout::whole()}, {4, 1}));
  EXPECT_TRUE(isLayout({columns, AxisLayout::whole()}, {5, 1})); // filled up
  EXPECT_FALSE(isLayout({AxisLayout::cut(1, {12, 12}), AxisLayout::whole()}, {5, 1}));
  EXPECT_FALSE(isLayout({three, AxisLayout::whole()}, {4, 1})); // 6 / 4
  EXPECT_FALSE(isLayout({columns, columns}, {4, 4}));           // 24 / 16, but 24 / 4
  EXPECT_TRUE(isLayout({columns, columns}, {5, 7}));
  EXPECT_FALSE(isLayout({columns, columns}, {5, 4}));           // filled up along axis 0 only
  EXPECT_FALSE(isLayout({columns, three}, {2, 3}));             // one dim in two ways
  EXPECT_TRUE(isLayout({columns, three}, {2, 1}));
  EXPECT_DOUBLE_EQ(shareOf({columns, AxisLayout::cut(0, {12})}, {2, 3}), 1.0 / 6);
  EXPECT_DOUBLE_EQ(shareOf({columns, AxisLayout::partial()}, {2, 3}), 1.0 / 2);
  auto open = AxisLayout::cut(0, {AxisLayout::kOpen});
  EXPECT_TRUE(isLayout({open, open}, {2, 3}));
  EXPECT_DOUBLE_EQ(shareOf({open, columns}, {2, 3}, {7, 24}), 12.0 / 7 / 6);
  EXPECT_DOUBLE_EQ(shareOf({open, open}, {2, 3}, {1, 24}), 1);
  EXPECT_DOUBLE_EQ(shareOf({columns, AxisLayout::whole()}, {5, 1}, {7, 24}), 5.0 / 24);
}
} // namespace
