// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/InitAll.h"
#include "codegen/Codegen.h"
#include "codegen/cuda/Passes.h"
#include "dialects/mesh/MeshDialect.h"
#include "dialects/nn/NnDialect.h"
#include "dialects/onnx/OnnxDialect.h"
#include "dialects/plan/PlanDialect.h"
#include "mlir/Dialect/Shard/IR/ShardDialect.h"
#include "passes/canonicalize/Passes.h"
#include "passes/chunk/Passes.h"
#include "passes/fuse/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/schedule/Passes.h"
#include "passes/shard/Passes.h"

void snug::registerAllSnugDialects(mlir::DialectRegistry &registry) {
  registry.insert<onnx::OnnxDialect, plan::PlanDialect, mlir::shard::ShardDialect>();
  registerNnDialect(registry);
  registerMeshDialect(registry);
  registerIndexRuleModels(registry);
  registerCodegenDialects(registry);
}

void snug::registerAllSnugPasses() {
  registerCanonicalizePasses();
  registerShardPasses();
  registerFusePasses();
  registerSchedulePasses();
  registerChunkPasses();
  registerMemoryPasses();
  registerCudaPasses();
}
