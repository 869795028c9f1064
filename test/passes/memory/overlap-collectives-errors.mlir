// RUN: not snug-opt %s -snug-overlap-collectives=pieces=3 2>&1 | FileCheck %s
// RUN: not snug-opt %s -snug-overlap-collectives=pieces=-2 2>&1 | FileCheck %s
// RUN: not snug-opt %s -snug-overlap-collectives=links=1e9,0 2>&1 | FileCheck %s
// RUN: not snug-opt %s -snug-overlap-collectives=links=1e9,0,0,0 2>&1 | FileCheck %s

// CHECK: snug-overlap-collectives wants 0, 1, 2, 4 or 8 pieces, and of links four numbers
module attributes {snug.mesh = array<i64: 2, 1>} {
}
