// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/Canonicalize.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/canonicalize/Passes.h"

using namespace mlir;
using namespace snug;

LogicalResult snug::checkTypes(ModuleOp module) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  LogicalResult result = success();
  auto refuse = [&](Location location, const Twine &what) {
    emitError(location) << what;
    result = failure();
  };
  auto isNumber = [](Type type) {
    auto shaped = dyn_cast<ShapedType>(type);
    return !shaped || shaped.getElementType().isIntOrFloat() || isa<onnx::StringType>(shaped.getElementType());
  };
  for (BlockArgument argument : main.getArguments()) {
    auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "snug.name");
    std::string text = "input '" + (name ? name.str() : "") + "' ";
    if (isa<UnrankedTensorType>(argument.getType()))
      refuse(main.getLoc(), text + "has no shape, so its rank is unknown; export the model with shapes of its inputs, or state it "
                                 "with --dim NAME.rank=N");
    else if (isa<onnx::MapType>(argument.getType()))
      refuse(main.getLoc(), text + "is a map, whose keys would be known with its data only; export the model with a tensor of the "
                                   "values in its place");
    else if (!isa<RankedTensorType>(argument.getType()) || !isNumber(argument.getType()))
      refuse(main.getLoc(), text + "is no tensor of numbers or strings, nor a sequence or optional of such; complex numbers are not "
                                   "supported");
  }
  main.walk([&](Operation *op) {
    if (!llvm::all_of(op->getResultTypes(), isNumber))
      refuse(op->getLoc(), "makes complex numbers, which are not supported");
  });
  return result;
}

void snug::addCanonicalizePasses(OpPassManager &pm, ArrayRef<std::string> dims) {
  LowerOnnxOptions lower;
  for (const std::string &definition : dims)
    lower.dims.push_back(definition);
  pm.addPass(createLowerOnnx(lower));
  // What is stored narrow is computed in f32 from here on: fusion then sees where a rounding falls away.
  pm.addNestedPass<func::FuncOp>(createWidenFloats());
  pm.addPass(createVerifyCanonical());
}
