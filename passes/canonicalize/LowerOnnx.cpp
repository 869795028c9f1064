// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "dialects/mesh/MeshDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "passes/canonicalize/ExpandInputs.h"
#include "passes/canonicalize/ElementCount.h"
#include "passes/canonicalize/FirstError.h"
#include "passes/canonicalize/InferDims.h"
#include "passes/canonicalize/InlineFunctions.h"
#include "passes/canonicalize/Lowering.h"
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/Passes.h"
#include "passes/canonicalize/ShareNodes.h"
#include <map>

#define DEBUG_TYPE "snug-lower-onnx"

using namespace mlir;
using namespace snug;

namespace snug {
#define GEN_PASS_DEF_LOWERONNX
#include "passes/canonicalize/Passes.h.inc"
} // namespace snug

namespace {
// Lowers @main of a module in place.
struct ModelLowering {
  // `stopsAtFirst`: at what cannot be lowered; else all of that is found and said.
  ModelLowering(ModuleOp module, const DimSymbols &symbols, bool stopsAtFirst = false)
      : module(module), main(module.lookupSymbol<func::FuncOp>("main")), symbols(symbols), stopsAtFirst(stopsAtFirst) {}
  std::optional<std::string> solution, ending; // see Lowering
  std::optional<std::pair<std::string, int64_t>> step;

  LogicalResult run() {
    if (failed(inlineFunctions(module, main)))
      return failure();
    shareNodes(main.getBody());
    bool supported = succeeded(checkSupported());
    if (!supported && stopsAtFirst)
      return failure();
    return failure(failed(lower()) || !supported);
  }

private:
  ModuleOp module;
  func::FuncOp main;
  const DimSymbols &symbols;
  bool stopsAtFirst;

  MLIRContext *context() { return module.getContext(); }

  // All unsupported ops at once: op type, opset, how many, the first names.
  LogicalResult checkSupported() {
    std::map<std::pair<std::string, int64_t>, SmallVector<onnx::NodeOp>> missing;
    main.walk<WalkOrder::PreOrder>([&](onnx::NodeOp node) {
      // Which branch of an If is taken is known only when its condition is; the other one may hold anything.
      if (node.getDomain().empty() && node.getOpType() == "If")
        return WalkResult::skip();
      if (!LoweringTable::get().find(node.getDomain(), node.getOpType(), node.getOpset())) {
        std::string name = node.getDomain().empty() ? "" : node.getDomain().str() + ".";
        missing[{name + node.getOpType().str(), node.getOpset()}].push_back(node);
        unknown.insert_range(node->getResults());
        unsupported.insert(node);
      }
      return WalkResult::advance();
    });
    for (auto &[key, nodes] : missing) {
      InFlightDiagnostic error = nodes.front().emitError();
      error << "op " << key.first << " of opset " << key.second << " is not supported (" << nodes.size()
            << (nodes.size() == 1 ? " node" : " nodes");
      constexpr size_t limit = 5;
      for (onnx::NodeOp other : ArrayRef(nodes).drop_front().take_front(limit))
        if (std::string name = nodeName(other.getLoc()); !name.empty())
          error << ", '" << name << "'";
      error << (nodes.size() > limit + 1 ? ", ...)" : ")");
      error.attachNote() << "the op has no entry in the lowering table";
    }
    return success(missing.empty());
  }

  LogicalResult lower() {
    OpBuilder builder(context());
    SmallVector<Extents> inputShapes;
    SmallVector<std::string> missing; // none: the caller has looked
    for (BlockArgument argument : main.getArguments()) {
      auto type = dyn_cast<ShapedType>(argument.getType());
      auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims");
      auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "snug.name");
      if (!type || !texts || !codeOf(type.getElementType()))
        return main.emitError() << "input '" << (name ? name.getValue() : "") << "' of type " << argument.getType()
                                << (texts ? "" : " without a shape") << " is not supported";
      Extents shape;
      for (Attribute text : texts)
        shape.push_back(*symbols.parse(cast<StringAttr>(text).getValue(), missing));
      inputShapes.push_back(shape);
    }
    main->setAttr("snug.symbols", builder.getStrArrayAttr(llvm::map_to_vector(
                                      symbols.symbols(), [&](unsigned i) { return StringRef(symbols.ranges()[i].name); })));
    setModuleDims(builder);

    Lowering lowering(builder, symbols);
    for (BlockArgument argument : main.getArguments())
      for (StringRef name : valueDims(argument))
        lowering.dims.markValue(name);
    lowering.entry = &main.front();
    lowering.module = module;
    for (auto [argument, shape] : llvm::zip(main.getArguments(), inputShapes)) {
      if (isTooLarge(shape)) {
        auto name = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), "snug.name");
        return main.emitError() << "input '" << (name ? name.getValue() : "") << "' of shape " << lowering.print(shape)
                                << " has more than 2^48 elements";
      }
      Type elementType = cast<ShapedType>(argument.getType()).getElementType();
      argument.setType(lowering.tensorType(shape, elementType));
      lowering.map(argument, lowering.tensorValue(argument, shape, elementType));
      if (storedAs(elementType) != elementType)
        main.setArgAttr(argument.getArgNumber(), onnx::kTensorType, TypeAttr::get(elementType));
    }
    builder.setInsertionPointToStart(&main.front());
    if (failed(bindSymbols(lowering, inputShapes)))
      return failure();
    for (BlockArgument argument : main.getArguments())
      if (auto known = main.getArgAttrOfType<DenseElementsAttr>(argument.getArgNumber(), kArgumentValue)) {
        if (llvm::equal(known.getType().getShape(), inputShapes[argument.getArgNumber()],
                        [&](int64_t size, AffineExpr extent) { return lowering.constant(size) == extent; }))
          lowering.map(argument, lowering.denseValue(known, argument));
        else
          return main.emitError() << "--value gives an input of shape "
                                  << lowering.print(inputShapes[argument.getArgNumber()]) << " "
                                  << known.getNumElements() << " elements";
      }
    for (BlockArgument argument : main.getArguments())
      if (SmallVector<StringRef> names = valueDims(argument); !names.empty()) {
        Extents elements = llvm::map_to_vector<6>(names, [&](StringRef name) { return *symbols.parse(name, missing); });
        LoweredValue &value = lowering.lookup(argument);
        lowering.map(argument, lowering.intsValue(value.elementType, elements, value.rank() == 0));
      }
    LogicalResult result = lowerBody(lowering);
    solution = lowering.solution;
    step = lowering.step;
    ending = lowering.ending;
    for (Problem &problem : problems)
      say(problem);
    if (failed(result))
      return failure();
    if (!lowering.requirements.empty())
      module->setAttr("snug.requires",
                      builder.getStrArrayAttr(SmallVector<StringRef>(lowering.requirements.begin(), lowering.requirements.end())));
    eraseOnnx();
    return success();
  }

  // What is wrong with one or more nodes.
  struct Problem {
    std::string text;
    SmallVector<Location> nodes;
  };

  LogicalResult lowerBody(Lowering &lowering) {
    for (Operation &op : llvm::make_early_inc_range(main.front())) {
      lowering.b.setInsertionPoint(&op);
      if (auto ret = dyn_cast<func::ReturnOp>(op))
        return unknown.empty() ? lowerReturn(lowering, ret) : failure();
      if (failed(stopsAtFirst ? lowering.lowerOp(&op) : lowerOrNote(lowering, &op)))
        return failure();
    }
    return success();
  }

  // Where an op cannot be lowered, what it says is kept, and the ops that need it are passed over: nothing is known of
  // them.
  LogicalResult lowerOrNote(Lowering &lowering, Operation *op) {
    if (unsupported.contains(op))
      return success();
    bool isKnown = true;
    op->walk([&](Operation *inner) {
      for (Value operand : inner->getOperands())
        isKnown &= !unknown.contains(operand);
    });
    std::string text;
    Location where = op->getLoc(); // or of a node in a branch
    LogicalResult result = failure();
    if (isKnown) {
      FirstError error(context());
      result = lowering.lowerOp(op);
      text = error.text;
      where = error.where.value_or(where);
    }
    if (succeeded(result))
      return success();
    unknown.insert_range(op->getResults());
    if (isKnown) {
      auto same = llvm::find_if(problems, [&](Problem &problem) { return problem.text == text; });
      if (same == problems.end())
        problems.push_back({text, {where}});
      else
        same->nodes.push_back(where);
    }
    return success();
  }

  static void say(const Problem &problem) {
    InFlightDiagnostic error = emitError(problem.nodes.front()) << problem.text;
    if (problem.nodes.size() == 1)
      return;
    constexpr size_t limit = 5;
    error << " (and in " << problem.nodes.size() - 1 << " more: ";
    auto others = ArrayRef(problem.nodes).drop_front();
    llvm::interleaveComma(others.take_front(limit), error,
                          [&](Location node) { error << "'" << nodeName(node) << "'"; });
    error << (others.size() > limit ? ", ...)" : ")");
  }

  SmallVector<Problem> problems;
  llvm::SmallDenseSet<Value> unknown;           // results of what could not be lowered
  llvm::SmallDenseSet<Operation *> unsupported; // nodes without an entry in the table

  // The dims that the elements of an input are.
  SmallVector<StringRef> valueDims(BlockArgument argument) {
    auto names = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kValueDims);
    return names ? SmallVector<StringRef>(names.getAsValueRange<StringAttr>()) : SmallVector<StringRef>();
  }

  // Every symbol is bound to the element of an input, or to the first input dim, that is the bare name.
  LogicalResult bindSymbols(Lowering &l, ArrayRef<Extents> inputShapes) {
    for (unsigned symbol = 0; symbol < l.dims.symbols().size(); ++symbol) {
      AffineExpr wanted = getAffineSymbolExpr(symbol, context());
      Value bound;
      for (BlockArgument argument : main.getArguments())
        for (auto [element, name] : llvm::enumerate(valueDims(argument)))
          if (name == l.dims.ranges()[l.dims.symbols()[symbol]].name) {
            SmallVector<Value> place(cast<RankedTensorType>(argument.getType()).getRank(), l.materialize(l.constant(element)));
            bound = tensor::ExtractOp::create(l.b, main.getLoc(), argument, place);
            bound = arith::IndexCastOp::create(l.b, main.getLoc(), l.b.getIndexType(), bound);
          }
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

  void setModuleDims(OpBuilder &b) {
    SmallVector<Attribute> all;
    for (const DimRange &range : symbols.ranges())
      all.push_back(b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(range.name)),
                                         b.getNamedAttr("min", b.getI64IntegerAttr(range.min)),
                                         b.getNamedAttr("max", b.getI64IntegerAttr(range.max)),
                                         b.getNamedAttr("step", b.getI64IntegerAttr(range.step))}));
    module->setAttr("snug.dims", b.getArrayAttr(all));
  }

  // An output that is a sequence is NAME.0, NAME.1...; an optional without a value is none. Lists of the extents of outputs
  // whose shape is computed from data come last.
  LogicalResult lowerReturn(Lowering &l, func::ReturnOp ret) {
    SmallVector<Value> results;
    SmallVector<Type> types;
    SmallVector<DictionaryAttr> attributes;
    struct ShapeList {
      LoweredValue extents;
      std::string name;
      unsigned output;
    };
    std::vector<ShapeList> shapeLists;
    auto textsOf = [&](ArrayRef<AffineExpr> shape) {
      auto texts = llvm::map_to_vector(shape, [&](AffineExpr e) -> Attribute { return l.b.getStringAttr(l.dims.print(e)); });
      return l.b.getArrayAttr(texts);
    };
    auto addResult = [&](LoweredValue &value, const std::string &name, NamedAttrList named) {
      results.push_back(l.tensor(value));
      types.push_back(results.back().getType());
      named.append("snug.name", l.b.getStringAttr(name));
      named.append("snug.dims", textsOf(value.shape));
      if (storedAs(value.elementType) != value.elementType)
        named.append(onnx::kTensorType, TypeAttr::get(value.elementType));
      attributes.push_back(named.getDictionary(context()));
    };
    auto add = [&](LoweredValue &value, const std::string &name, Attribute pin = {}) -> LogicalResult {
      NamedAttrList named;
      if (pin)
        named.append(onnx::kTensorPin, pin);
      if (llvm::none_of(value.shape, [&](AffineExpr extent) { return l.dims.isOfData(extent); })) {
        addResult(value, name, named);
        return success();
      }
      Extents largest = llvm::map_to_vector<6>(value.shape, [&](AffineExpr extent) { return l.dims.atMost(extent); });
      auto parts = l.handOut(value);
      if (failed(parts))
        return failure();
      named.append(kLargestShape, textsOf(largest));
      shapeLists.push_back({parts->second, name, static_cast<unsigned>(results.size())});
      addResult(parts->first, name, named);
      return success();
    };
    for (auto [index, operand] : llvm::enumerate(ret.getOperands())) {
      LoweredValue &value = l.lookup(operand);
      auto given = main.getResultAttrOfType<StringAttr>(index, "snug.name");
      std::string name = given ? given.str() : "output" + std::to_string(index);
      Attribute pin = main.getResultAttr(index, onnx::kTensorPin);
      bool isOfData = value.isTensor() && !value.parts &&
                      llvm::any_of(value.shape, [&](AffineExpr extent) { return l.dims.isOfData(extent); });
      if (pin && (!value.isTensor() || isOfData))
        return main.emitError() << "output '" << name << "' is no tensor of a shape that is known before, so devices cannot have parts of it";
      if (value.parts)
        return main.emitError() << "output '" << name << "': " << kOpenSequence;
      if (value.isTensor() && failed(add(value, name, pin)))
        return failure();
      for (auto [place, element] : llvm::enumerate(value.elements)) {
        if (!element.isTensor())
          return main.emitError() << "output '" << name << "' is a sequence of sequences or optionals, which is not supported";
        if (failed(add(element, name + "." + std::to_string(place))))
          return failure();
      }
    }
    for (ShapeList &list : shapeLists) {
      NamedAttrList named;
      named.append(kShapeOf, l.b.getI64IntegerAttr(list.output));
      addResult(list.extents, list.name + ".shape", named);
    }
    for (BlockArgument argument : main.getArguments()) {
      SmallVector<Attribute> texts;
      for (AffineExpr extent : l.lookup(argument).shape)
        texts.push_back(l.b.getStringAttr(l.dims.print(extent)));
      main.setArgAttr(argument.getArgNumber(), "snug.dims", l.b.getArrayAttr(texts));
    }
    ret.getOperandsMutable().assign(results);
    main.setType(FunctionType::get(context(), main.front().getArgumentTypes(), types));
    main.setAllResultAttrs(attributes);
    return success();
  }

  // Lowered nodes have no users outside the onnx dialect; other dead code was made on the way (shapes' operands).
  void eraseOnnx() {
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

struct LowerOnnx : snug::impl::LowerOnnxBase<LowerOnnx> {
  using Base::Base;

  void runOnOperation() final {
    ModuleOp module = getOperation();
    auto main = module.lookupSymbol<func::FuncOp>("main");
    if (!main) {
      module.emitError("has no function @main; import a model first");
      return signalPassFailure();
    }
    SmallVector<std::string> given(dims.begin(), dims.end()), open;
    if (std::string problem; failed(expandInputs(module, given, problem))) {
      main.emitError(problem);
      return signalPassFailure();
    }
    inferDims(module, given, open);
    DimSymbols symbols(&getContext());
    for (const std::string &definition : given) {
      std::string problem;
      if (!symbols.add(definition, problem)) {
        main.emitError(problem);
        return signalPassFailure();
      }
    }
    if (!open.empty()) {
      InFlightDiagnostic error = main.emitError();
      error << "dim" << (open.size() == 1 ? " " : "s ");
      llvm::interleaveComma(open, error, [&](const std::string &name) { error << "'" << name << "'"; });
      error << (open.size() == 1 ? " has" : " have") << " no value; add";
      for (const std::string &name : open)
        error << " --dim " << name << "=1";
      return signalPassFailure();
    }
    if (failed(ModelLowering(module, symbols).run()))
      signalPassFailure();
  }
};
} // namespace

void snug::inferDims(ModuleOp module, SmallVectorImpl<std::string> &dims, SmallVectorImpl<std::string> &open) {
  MLIRContext *context = module.getContext();
  // As the pass declares them; outside of a pass nobody else does it.
  context->loadDialect<arith::ArithDialect, math::MathDialect, linalg::LinalgDialect, tensor::TensorDialect,
                       affine::AffineDialect, scf::SCFDialect, nn::NnDialect, mesh::MeshDialect>();
  auto main = module.lookupSymbol<func::FuncOp>("main");
  llvm::StringMap<int64_t> steps; // of open dims
  while (true) {
    DimSymbols symbols(context);
    std::string problem;
    for (const std::string &definition : dims)
      if (!symbols.add(definition, problem))
        return; // whoever reads the definitions next says so
    open.clear();
    for (BlockArgument argument : main.getArguments())
      if (auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
        for (StringRef text : texts.getAsValueRange<StringAttr>())
          symbols.parse(text, open);
    if (open.empty())
      return;
    // Lower a copy with symbols in the place of the open dims, until two extents must be equal that are not. Where none
    // must, one may be read up to another and not beyond: it is taken to end there. (It might be larger. But a library
    // for just what is read is right, and refuses more; and whoever has more gives the dim.)
    for (const std::string &name : open)
      symbols.addOpen(name, steps.contains(name) ? steps[name] : 1);
    OwningOpRef<ModuleOp> copy(module.clone());
    ScopedDiagnosticHandler silence(context, [](Diagnostic &) { return success(); });
    ModelLowering trial(*copy, symbols, /*stopsAtFirst=*/true);
    bool lowered = succeeded(trial.run());
    const std::optional<std::string> &found = !lowered && trial.solution ? trial.solution : trial.ending;
    if (!lowered && trial.step) {
      steps[trial.step->first] = trial.step->second; // goes on rising, so that this ends
      continue;
    }
    if (!found)
      return;
    dims.push_back(*found);
  }
}
