// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/Passes.h"
#include <map>

#define DEBUG_TYPE "snug-lower-onnx"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_LOWERONNX
#include "passes/canonicalize/Passes.h.inc"
} // namespace snug

namespace {
struct LowerOnnx : snug::impl::LowerOnnxBase<LowerOnnx> {
  using Base::Base;

  void runOnOperation() final {
    ModuleOp module = getOperation();
    auto main = module.lookupSymbol<func::FuncOp>("main");
    if (!main) {
      module.emitError("has no function @main; import a model first");
      return signalPassFailure();
    }
    DimSymbols symbols(&getContext());
    for (const std::string &definition : dims) {
      std::string problem;
      if (!symbols.add(definition, problem)) {
        main.emitError(problem);
        return signalPassFailure();
      }
    }
    if (failed(checkSupported(main)) || failed(lower(module, main, symbols)))
      return signalPassFailure();
  }

private:
  // All unsupported ops at once: op type, opset, how many, the first names.
  LogicalResult checkSupported(func::FuncOp main) {
    std::map<std::pair<std::string, int64_t>, SmallVector<onnx::NodeOp>> missing;
    main.walk([&](onnx::NodeOp node) {
      if (!LoweringTable::get().find(node.getDomain(), node.getOpType(), node.getOpset())) {
        std::string name = node.getDomain().empty() ? "" : node.getDomain().str() + ".";
        missing[{name + node.getOpType().str(), node.getOpset()}].push_back(node);
      }
    });
    for (auto &[key, nodes] : missing) {
      InFlightDiagnostic error = nodes.front().emitError();
      error << "op " << key.first << " of opset " << key.second << " is not supported (" << nodes.size()
            << (nodes.size() == 1 ? " node)" : " nodes)");
      error.attachNote() << "the op has no entry in the lowering table";
    }
    return success(missing.empty());
  }

  LogicalResult lower(ModuleOp module, func::FuncOp main, DimSymbols &symbols) {
    OpBuilder builder(&getContext());
    // Shapes of inputs; dims without a value are reported together.
    SmallVector<std::string> missing;
    SmallVector<Extents> inputShapes;
    for (BlockArgument argument : main.getArguments()) {
      Extents shape;
      if (auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
        for (Attribute text : texts) {
          auto extent = symbols.parse(cast<StringAttr>(text).getValue(), missing);
          shape.push_back(*extent);
        }
      inputShapes.push_back(shape);
    }
    if (!missing.empty()) {
      InFlightDiagnostic error = main.emitError();
      error << "dim" << (missing.size() == 1 ? " " : "s ");
      llvm::interleaveComma(missing, error, [&](const std::string &name) { error << "'" << name << "'"; });
      error << (missing.size() == 1 ? " has" : " have") << " no value; add";
      for (const std::string &name : missing)
        error << " --dim " << name << "=1";
      return failure();
    }
    main->setAttr("snug.symbols", builder.getStrArrayAttr(llvm::map_to_vector(
                                      symbols.symbols(), [&](unsigned i) { return StringRef(symbols.ranges()[i].name); })));
    setModuleDims(module, symbols, builder);

    Lowering lowering(builder, symbols);
    lowering.entry = &main.front();
    lowering.module = module;
    for (auto [argument, shape] : llvm::zip(main.getArguments(), inputShapes)) {
      auto type = lowering.tensorType(shape, cast<ShapedType>(argument.getType()).getElementType());
      argument.setType(type);
      lowering.map(argument, lowering.tensorValue(argument, shape));
    }
    builder.setInsertionPointToStart(&main.front());
    if (failed(bindSymbols(lowering, main, inputShapes)))
      return failure();
    for (Operation &op : llvm::make_early_inc_range(main.front())) {
      builder.setInsertionPoint(&op);
      if (auto get = dyn_cast<onnx::GetOp>(op)) {
        if (failed(lowerGet(lowering, module, get)))
          return failure();
      } else if (auto node = dyn_cast<onnx::NodeOp>(op)) {
        lowering.setNode(node);
        if (failed(LoweringTable::get().find(node.getDomain(), node.getOpType(), node.getOpset())(lowering)))
          return failure();
      } else if (auto ret = dyn_cast<func::ReturnOp>(op)) {
        if (failed(lowerReturn(lowering, main, ret)))
          return failure();
      }
    }
    eraseOnnx(module, main);
    return success();
  }

  // Every symbol is bound to the first input dim that is the bare name.
  LogicalResult bindSymbols(Lowering &l, func::FuncOp main, ArrayRef<Extents> inputShapes) {
    for (unsigned symbol = 0; symbol < l.dims.symbols().size(); ++symbol) {
      AffineExpr wanted = getAffineSymbolExpr(symbol, &getContext());
      Value bound;
      for (auto [argument, shape] : llvm::zip(main.getArguments(), inputShapes))
        if (auto dim = llvm::find(shape, wanted); !bound && dim != shape.end())
          bound = tensor::DimOp::create(l.b, main.getLoc(), argument, dim - shape.begin());
      if (!bound)
        return main.emitError() << "dim '" << l.dims.ranges()[l.dims.symbols()[symbol]].name
                                << "' is no extent of an input, so its value cannot be known at run time; fix it with "
                                   "--dim NAME=VALUE";
      l.symbolValues.push_back(bound);
    }
    return success();
  }

  void setModuleDims(ModuleOp module, const DimSymbols &symbols, OpBuilder &b) {
    SmallVector<Attribute> all;
    for (const DimRange &range : symbols.ranges())
      all.push_back(b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(range.name)),
                                         b.getNamedAttr("min", b.getI64IntegerAttr(range.min)),
                                         b.getNamedAttr("max", b.getI64IntegerAttr(range.max)),
                                         b.getNamedAttr("step", b.getI64IntegerAttr(range.step))}));
    module->setAttr("snug.dims", b.getArrayAttr(all));
  }

  LogicalResult lowerGet(Lowering &l, ModuleOp module, onnx::GetOp get) {
    auto initializer = module.lookupSymbol<onnx::InitializerOp>(get.getInitializer());
    l.map(get.getResult(), l.initializerValue(initializer, get.getResult()));
    return success();
  }

  LogicalResult lowerReturn(Lowering &l, func::FuncOp main, func::ReturnOp ret) {
    SmallVector<Value> results;
    SmallVector<Type> types;
    for (auto [index, operand] : llvm::enumerate(ret.getOperands())) {
      LoweredValue &value = l.lookup(operand);
      results.push_back(l.tensor(value));
      types.push_back(results.back().getType());
      SmallVector<Attribute> texts;
      for (AffineExpr extent : value.shape)
        texts.push_back(l.b.getStringAttr(l.dims.print(extent)));
      main.setResultAttr(index, "snug.dims", l.b.getArrayAttr(texts));
    }
    for (BlockArgument argument : main.getArguments()) {
      SmallVector<Attribute> texts;
      for (AffineExpr extent : l.lookup(argument).shape)
        texts.push_back(l.b.getStringAttr(l.dims.print(extent)));
      main.setArgAttr(argument.getArgNumber(), "snug.dims", l.b.getArrayAttr(texts));
    }
    ret.getOperandsMutable().assign(results);
    main.setType(FunctionType::get(&getContext(), main.front().getArgumentTypes(), types));
    return success();
  }

  // Lowered nodes have no users outside the onnx dialect; other dead code was made on the way (shapes' operands).
  void eraseOnnx(ModuleOp module, func::FuncOp main) {
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(main.front())))
      if (isa<onnx::OnnxDialect>(op.getDialect())) {
        op.dropAllUses();
        op.erase();
      } else if (isOpTriviallyDead(&op)) {
        op.erase();
      }
    for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
      if (isa<onnx::OnnxDialect>(op.getDialect()) || (isa<func::FuncOp>(op) && &op != main.getOperation()))
        op.erase();
  }
};
} // namespace
