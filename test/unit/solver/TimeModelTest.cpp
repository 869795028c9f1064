// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/TimeModel.h"

#include <cmath>
#include <gtest/gtest.h>

using namespace snug;

namespace {

// One unit of each kind a second; a cache of 100 bytes for all threads, and 10 bytes/s from memory.
Machine machine() {
  Machine m;
  m.vector_bits = 512;
  m.contraction_per_s = m.attention_per_s = m.transcendental_per_s = m.elementwise_per_s = m.reduction_per_s =
      m.strided_per_s = 1;
  m.caches = {{100, true, 50}};
  m.memory_bytes_per_s = {10, 15};
  m.panel_bytes_per_s = 100;
  m.launch_s = 0.5;
  return m;
}

KernelCost elementwise(double operations, double pieces = 1) {
  KernelCost cost;
  cost.work.elementwise = operations;
  cost.pieces = pieces;
  return cost;
}

TEST(TimeModel, KernelTimeIsTheSlowerOfComputeAndMemoryAndAPartOfTheOther) {
  Machine m = machine();
  KernelCost cost = elementwise(10);
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 10);
  cost.far_bytes = 20;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 10 + 0.25 * 2); // compute bound
  cost.far_bytes = 400;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 40 + 0.25 * 10); // memory bound
  KernelCost tiled = cost;
  tiled.rows = 96;
  EXPECT_DOUBLE_EQ(kernelTime(m, tiled, 1), 0.5 + 40 + 10) << "a tile is computed, then moved";
  cost.near_s = 5;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 45 + 0.25 * 10);
}

TEST(TimeModel, ComputeScalesWithThreadsThatHavePiecesAndBandwidthAsTheTableSays) {
  Machine m = machine();
  KernelCost cost = elementwise(10, 100);
  m.fork_s = 1;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 10);
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 2), 0.5 + 1 + 5);
  cost.pieces = 1;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 2), 0.5 + 10) << "one piece wakes nobody";
  cost = elementwise(0, 100);
  cost.far_bytes = 300;
  cost.near_s = 1e-9; // enough to be split
  cost.work.elementwise = 1e-3;
  EXPECT_NEAR(kernelTime(m, cost, 8), 0.5 + 1 + 20, 1e-3) << "more threads get the last entry";
  EXPECT_NEAR(kernelTime(m, elementwise(1e-5, 100), 2), 0.5, 1e-4) << "too little to be split";
}

TEST(TimeModel, PiecesThatDoNotFillTheThreadsLeaveSomeIdle) {
  EXPECT_DOUBLE_EQ(speedup(1, 4), 1);
  EXPECT_DOUBLE_EQ(speedup(3, 2), 1.5);
  EXPECT_DOUBLE_EQ(speedup(4, 2), 2);
  EXPECT_DOUBLE_EQ(speedup(5, 4), 2.5);
  EXPECT_DOUBLE_EQ(speedup(1000, 2), 2);
}

TEST(TimeModel, TilesThatAreNotFullWasteRegisters) {
  Machine m = machine();
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 0), 1);
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 96), 1);
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 16), 16.0 / 17) << "12 and 4 rows";
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 1), 1.0 / 5) << "one row's sums wait for each other";
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 15), 15.0 / 22) << "12, 2 and 1";
  m.vector_bits = 256;
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 12), 1);
  EXPECT_DOUBLE_EQ(rowEfficiency(m, 7), 7.0 / 11);
  KernelCost cost;
  cost.work.contraction = 8;
  cost.rows = 1;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 40);
}

TEST(TimeModel, ColumnsThatAreNotFullWasteRegisters) {
  Machine m = machine();
  EXPECT_DOUBLE_EQ(columnEfficiency(m, 0), 1);
  EXPECT_DOUBLE_EQ(columnEfficiency(m, 64), 1);
  EXPECT_DOUBLE_EQ(columnEfficiency(m, 4), 4.0 / 32);
  EXPECT_DOUBLE_EQ(columnEfficiency(m, 33), 33.0 / 64);
  m.vector_bits = 256;
  EXPECT_DOUBLE_EQ(columnEfficiency(m, 4), 4.0 / 16);
  KernelCost cost;
  cost.work.contraction = 8;
  cost.rows = 12;
  cost.columns = 8;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 0.5 + 16);
}

// The same as one of four multiprocessors.
Machine gpu() {
  Machine m = machine();
  m.processors = 4;
  m.narrow_contraction_per_s = m.narrow_attention_per_s = 8;
  m.memory_bytes_per_s = {5, 10, 20, 20};
  m.launch_s = 0;
  return m;
}

TEST(TimeModel, AGpuHasItsMultiprocessorsWhateverTheThreads) {
  Machine m = gpu();
  KernelCost cost = elementwise(8, 100);
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 2);
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 7), 2);
  cost.pieces = 5; // a second round for the last one
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 8 / 2.5);
  EXPECT_DOUBLE_EQ(kernelTime(m, elementwise(4e-6, 100), 1), 1e-6) << "nothing has to be woken";
  cost = elementwise(0, 2);
  cost.work.elementwise = 1e-3;
  cost.far_bytes = 100;
  EXPECT_NEAR(kernelTime(m, cost, 1), 10, 1e-3) << "two of them";
}

TEST(TimeModel, AGpuComputesTilesOfBlocksAndBringsNothingIntoOrder) {
  Machine m = gpu();
  for (auto [extent, tile] : {std::pair(1, 16), {16, 16}, {17, 64}, {64, 64}, {65, 128}, {128, 128}, {192, 256}}) {
    EXPECT_DOUBLE_EQ(rowEfficiency(m, extent), static_cast<double>(extent) / tile);
    EXPECT_DOUBLE_EQ(columnEfficiency(m, extent), static_cast<double>(extent) / tile);
  }
  EXPECT_DOUBLE_EQ(piecesOf(m, 3, 129, 256), 12);
  EXPECT_DOUBLE_EQ(piecesOf(m, 1, 128, 65), 4) << "smaller ones, for each multiprocessor one";
  EXPECT_DOUBLE_EQ(piecesOf(m, 1, 64, 65), 2);
  EXPECT_DOUBLE_EQ(packing(m, 10, 1000), 0);
  EXPECT_DOUBLE_EQ(piecesOf(machine(), 1, 97, 129), 4);
  EXPECT_DOUBLE_EQ(packing(machine(), 10, 97), 20) << "once for each tile of rows";
  KernelCost cost;
  cost.work.contraction = 80;
  cost.rows = cost.columns = 128;
  cost.far_bytes = 5;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 80 + 0.25 * 1) << "other blocks compute while one moves";
  cost.isNarrow = true;
  EXPECT_DOUBLE_EQ(kernelTime(m, cost, 1), 10 + 0.25 * 1);
  cost = KernelCost();
  addTransfer(m, {50, 1e6, true, false}, 1, cost);
  EXPECT_NEAR(cost.far_bytes, 50, 1e-6) << "nothing is read of what is written";
}

TEST(TimeModel, WhatACacheStillHoldsIsNotReadFromMemory) {
  Machine m = machine();
  auto transfer = [&](double bytes, double distance, bool isWrite) {
    KernelCost cost;
    addTransfer(m, {bytes, distance, isWrite, false}, 1, cost);
    return std::make_pair(cost.near_s, cost.far_bytes);
  };
  EXPECT_EQ(transfer(50, 100, false), std::make_pair(1.0, 0.0));
  EXPECT_EQ(transfer(50, 100, true), std::make_pair(1.0, 0.0));
  EXPECT_LT(transfer(50, 1e6, false).first, 1e-9);
  EXPECT_NEAR(transfer(50, 1e6, false).second, 50, 1e-6);
  EXPECT_NEAR(transfer(50, 1e6, true).second, 100, 1e-6) << "its lines are read first";
}

TEST(TimeModel, TheShareThatACacheHoldsFallsSteadily) {
  EXPECT_EQ(residentShare(99, 100), 1);
  double previous = 1;
  for (double distance : {110, 150, 200, 300, 1000}) {
    double share = residentShare(distance, 100);
    EXPECT_LT(share, previous);
    EXPECT_NEAR(share, std::exp(-(1 - share) * distance / 100), 0.02);
    previous = share;
  }
  EXPECT_NEAR(residentShare(200, 100), 0.2, 0.01);
}

TEST(TimeModel, PanelsFromMemoryAreWaitedFor) {
  Machine m = machine();
  m.panel_bytes_per_s = 4;
  KernelCost cost;
  cost.work.contraction = 100;
  addTransfer(m, {20, 1e9, false, true}, 1, cost);
  EXPECT_EQ(cost.far_bytes, 0);
  EXPECT_NEAR(kernelTime(m, cost, 1), 0.5 + 100 + 5, 1e-6);
  cost.pieces = 100;
  EXPECT_NEAR(kernelTime(m, cost, 2), 0.5 + 50 + 2.5, 1e-6) << "each thread waits for its own";
  EXPECT_NEAR(kernelTime(m, cost, 10), 0.5 + 10 + 20 / 15.0, 1e-6) << "together no faster than memory";
}

TEST(TimeModel, InnerCachesOfAllThreadsAndOuterOnesShareATensor) {
  Machine m = machine();
  m.caches = {{10, false, 100}, {100, true, 50}};
  KernelCost cost;
  double inner = 100 * residentShare(100, 20);
  addTransfer(m, {100, 100, false, false}, 2, cost);
  EXPECT_DOUBLE_EQ(cost.near_s, inner / 100.0 + (100 - inner) / 50.0);
  EXPECT_DOUBLE_EQ(cost.far_bytes, 0);
}

} // namespace
