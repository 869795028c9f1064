// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/host/HostProgram.h"
#include "codegen/Codegen.h"
#include "codegen/host/Collectives.h"
#include "codegen/host/Launches.h"
#include "codegen/kernel/KernelTarget.h"
#include "codegen/link/StringTable.h"
#include "codegen/link/Weights.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "snug/ModelABI.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

std::string codegen::kernelEntryName(StringRef name) { return "snug_" + name.str(); }

namespace {
// The ONNX nodes that a kernel computes, in the order in which they were fused.
std::string nodeNames(Location location) {
  llvm::SetVector<StringRef> names;
  location->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner))
      names.insert(named.getName());
    return WalkResult::advance();
  });
  return llvm::join(names, ", ");
}
} // namespace

FailureOr<ModelSignature> ModelSignature::read(ModuleOp module, int defaultThreads) {
  ModelSignature signature;
  auto main = module.lookupSymbol<func::FuncOp>("main");
  auto name = module->getAttrOfType<StringAttr>("snug.model_name");
  signature.name = name ? name.str() : "model";
  auto threads = module->getAttrOfType<IntegerAttr>("snug.threads");
  signature.threads = threads ? threads.getInt() : defaultThreads;
  std::vector<std::string> names;
  if (auto dims = module->getAttrOfType<ArrayAttr>("snug.dims")) {
    for (Attribute attr : dims) {
      auto dict = dyn_cast<DictionaryAttr>(attr);
      auto text = dict ? dict.getAs<StringAttr>("name") : nullptr;
      auto min = dict ? dict.getAs<IntegerAttr>("min") : nullptr, max = dict ? dict.getAs<IntegerAttr>("max") : nullptr;
      if (!text || !min || !max)
        return module.emitError("an entry of snug.dims lacks name, min or max");
      auto step = dict.getAs<IntegerAttr>("step");
      signature.dims.push_back({text.str(), min.getInt(), max.getInt(), step ? step.getInt() : 1});
      names.push_back(text.str());
    }
  }
  if (auto texts = module->getAttrOfType<ArrayAttr>("snug.requires"))
    for (StringRef text : texts.getAsValueRange<StringAttr>()) {
      auto [relation, node] = text.split("; ");
      bool isEquation = relation.contains(" == ");
      auto sides = relation.split(isEquation ? " == " : " >= ");
      auto left = DimExpression::parse(sides.first, names);
      if (!left)
        return module.emitError() << "snug.requires: " << llvm::toString(left.takeError());
      auto right = DimExpression::parse(sides.second, names);
      if (!right)
        return module.emitError() << "snug.requires: " << llvm::toString(right.takeError());
      std::string said = relation.str() + (node.empty() ? "" : " (node '" + node.str() + "')");
      signature.requirements.push_back({said, *left, *right, isEquation});
    }
  auto numInputs = main->getAttrOfType<IntegerAttr>("snug.num_inputs");
  if (!numInputs || numInputs.getInt() < 0 || numInputs.getInt() > main.getNumArguments())
    return main.emitError("@main lacks snug.num_inputs");
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    bool isInput = i < numInputs.getInt();
    auto type = dyn_cast<MemRefType>(main.getArgumentTypes()[i]);
    if (!type || !type.getLayout().isIdentity())
      return main.emitError() << "argument " << i << " of @main is no dense memref";
    Value value;
    value.type = type;
    auto meant = main.getArgAttrOfType<TypeAttr>(i, "snug.element_type");
    value.elementType = meant ? meant.getValue() : type.getElementType();
    auto argName = main.getArgAttrOfType<StringAttr>(i, "snug.name");
    value.isOverwritten = isDonatedArgument(main.getArgument(i));
    value.name = argName ? argName.str() : (isInput ? "input" : "output") + std::to_string(i);
    if (auto layout = main.getArgAttrOfType<DenseI64ArrayAttr>(i, kLayout)) {
      auto isDim = [&](int64_t dim) { return dim >= -1 && dim < type.getRank() && (dim < 0 || !type.isDynamicDim(dim)); };
      if (layout.size() != 2 || !llvm::all_of(layout.asArrayRef(), isDim))
        return main.emitError() << "argument " << i << " has no layout that its type can have: " << layout;
      value.cutDims = {layout[0], layout[1]};
    }
    auto texts = main.getArgAttrOfType<ArrayAttr>(i, "snug.dims");
    if (texts && static_cast<int64_t>(texts.size()) != type.getRank())
      return main.emitError() << "argument " << i << " has rank " << type.getRank() << " but " << texts.size()
                              << " entries in snug.dims";
    for (int64_t dim = 0; dim < type.getRank(); ++dim) {
      std::string text = type.isDynamicDim(dim) ? "" : std::to_string(type.getDimSize(dim));
      if (texts)
        if (auto attr = dyn_cast<StringAttr>(texts[dim]))
          text = attr.str();
      // A size that the type fixes needs no expression, so its text may be anything the model's file says.
      llvm::Expected<DimExpression> extent =
          DimExpression::parse(type.isDynamicDim(dim) ? text : std::to_string(type.getDimSize(dim)), names);
      if (!extent)
        return main.emitError() << "'" << value.name << "': " << llvm::toString(extent.takeError());
      value.text.push_back(text);
      value.extents.push_back(*extent);
    }
    value.declared = value.extents;
    value.declaredText = value.text;
    if (auto largest = main.getArgAttrOfType<ArrayAttr>(i, kLargestShape)) {
      value.hasDataShape = true;
      value.declared.clear();
      value.declaredText.clear();
      for (StringRef text : largest.getAsValueRange<StringAttr>()) {
        llvm::Expected<DimExpression> extent = DimExpression::parse(text, names);
        if (!extent)
          return main.emitError() << "'" << value.name << "': " << llvm::toString(extent.takeError());
        value.declared.push_back(*extent);
        value.declaredText.push_back(text.str());
      }
    }
    if (auto output = main.getArgAttrOfType<IntegerAttr>(i, kShapeOf))
      value.shapeOf = output.getInt();
    if (auto elements = main.getArgAttrOfType<ArrayAttr>(i, kValueDims))
      for (auto [element, name] : llvm::enumerate(elements.getAsValueRange<StringAttr>())) {
        auto dim = llvm::find(names, name.str());
        if (dim != names.end())
          signature.valueDims.push_back({static_cast<unsigned>(dim - names.begin()), i, static_cast<int64_t>(element)});
      }
    (isInput ? signature.inputs : signature.outputs).push_back(std::move(value));
  }
  if (auto maps = module->getAttrOfType<ArrayAttr>(kMaps))
    for (auto map : maps.getAsRange<DictionaryAttr>())
      for (Value &output : signature.outputs) {
        auto name = map.getAs<StringAttr>("output");
        if (!name || name.getValue() != output.name || output.shapeOf)
          continue;
        if (auto strings = map.getAs<ArrayAttr>("keys"))
          for (StringRef key : strings.getAsValueRange<StringAttr>())
            output.stringKeys.push_back(key.str());
        if (auto ints = map.getAs<DenseI64ArrayAttr>("keys"))
          output.intKeys = ints.asArrayRef().vec();
      }
  main.walk([&](plan::ArenaOp arena) {
    signature.arenaBytes = cast<MemRefType>(arena.getType()).getNumElements();
    signature.arenaAlignment = arena.getAlignment();
  });
  signature.workspaceBytes = snug::workspaceBytes(module);
  if (auto precision = module->getAttrOfType<StringAttr>(kPrecision))
    signature.precision = precision.str();
  if (signature.workspaceBytes)
    signature.arenaAlignment = std::max<uint64_t>(signature.arenaAlignment, kWorkspaceAlignment);
  auto textBytes = module->getAttrOfType<IntegerAttr>(kTextBytes);
  signature.textBytes = textBytes ? textBytes.getInt() : 0;
  signature.usesText = main.walk([](plan::TextRuntimeOp) { return WalkResult::interrupt(); }).wasInterrupted();
  signature.buckets = Buckets::read(module);
  if (module->hasAttr("snug.buckets") && (!signature.buckets || signature.buckets->bounds.size() != names.size()))
    return module.emitError("snug.buckets does not fit snug.dims");
  FailureOr<std::optional<Mesh>> mesh = Mesh::of(module);
  if (failed(mesh))
    return module.emitError() << kMesh << " is not array<i64: d1, d2>, two numbers of devices from 1 on";
  signature.mesh = *mesh;
  for (const auto *values : {&signature.inputs, &signature.outputs})
    for (const Value &value : *values)
      if (!signature.mesh && (value.cutDims[0] >= 0 || value.cutDims[1] >= 0))
        return module.emitError() << "'" << value.name << "' has a layout, but the program is for one device";
  main.walk([&](mesh::CollectiveOpInterface op) {
    uint32_t axes = 0;
    for (int64_t axis : op.getAxes())
      axes |= 1u << axis;
    signature.collectives.push_back({op.getCollectiveKind(), axes, op.getCombination().value_or(mesh::Reduction::Sum),
                                     cast<MemRefType>(op.getInput().getType()).getElementType(),
                                     nodeNames(op->getLoc())});
    signature.startsCollectives |= op.getStarts();
  });
  main.walk([&](plan::LaunchOp launch) {
    signature.launches.push_back({launch.getKernel().str(), nodeNames(launch.getLoc())});
    if (plan::ContractionAttr contraction = launch.getLibraryAttr())
      signature.contractions.insert(contraction);
  });
  return signature;
}

namespace {
using LocBuilder = ImplicitLocOpBuilder;

Value emitExtent(LocBuilder &b, const DimExpression &extent, ArrayRef<Value> dims) {
  return extent.evaluate<Value>([&](int64_t value) -> Value { return arith::ConstantIndexOp::create(b, value); },
                                [&](unsigned dim) { return dims[dim]; },
                                [&](char op, Value x, Value y) -> Value {
                                  switch (op) {
                                  case '+':
                                    return arith::AddIOp::create(b, x, y);
                                  case '-':
                                    return arith::SubIOp::create(b, x, y);
                                  case '*':
                                    return arith::MulIOp::create(b, x, y);
                                  case '>':
                                    return arith::MaxSIOp::create(b, x, y);
                                  case '<':
                                    return arith::MinSIOp::create(b, x, y);
                                  default: { // rounds down
                                    Value rest = arith::RemSIOp::create(b, x, y), zero = arith::ConstantIndexOp::create(b, 0);
                                    Value isBelow = arith::CmpIOp::create(b, arith::CmpIPredicate::slt, rest, zero);
                                    rest = arith::SelectOp::create(b, isBelow, arith::AddIOp::create(b, rest, y), rest);
                                    if (op == '%')
                                      return rest;
                                    return arith::DivSIOp::create(b, arith::SubIOp::create(b, x, rest), y);
                                  }
                                  }
                                });
}

// The number of the run's bucket: of each dim, how many bounds it exceeds.
Value emitBucket(LocBuilder &b, const Buckets &buckets, ArrayRef<Value> dims) {
  Value bucket = arith::ConstantIndexOp::create(b, 0);
  for (auto [bounds, dim] : llvm::zip_equal(buckets.bounds, dims)) {
    bucket = arith::MulIOp::create(b, bucket, arith::ConstantIndexOp::create(b, bounds.size()));
    for (int64_t bound : ArrayRef<int64_t>(bounds).drop_back()) {
      Value isAbove = arith::CmpIOp::create(b, arith::CmpIPredicate::sgt, dim, arith::ConstantIndexOp::create(b, bound));
      bucket = arith::AddIOp::create(b, bucket, arith::IndexCastUIOp::create(b, b.getIndexType(), isAbove));
    }
  }
  return bucket;
}

// One row of offsets a bucket: a run looks its row up once, and each offset in it.
void lowerOffsets(LocBuilder &b, ModuleOp module, const Buckets &buckets, ArrayRef<plan::OffsetOp> ops,
                  ArrayRef<Value> dims) {
  if (ops.empty())
    return;
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  std::vector<int64_t> numbers;
  for (size_t bucket = 0; bucket < buckets.size(); ++bucket)
    for (plan::OffsetOp op : ops)
      numbers.push_back(op.getOffsets()[bucket]);
  LLVM::GlobalOp table;
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(module.getBody());
    auto content = DenseElementsAttr::get(RankedTensorType::get({static_cast<int64_t>(numbers.size())}, i64),
                                          ArrayRef<int64_t>(numbers));
    table = LLVM::GlobalOp::create(b, LLVM::LLVMArrayType::get(i64, numbers.size()), /*isConstant=*/true,
                                   LLVM::Linkage::Internal, "snug_offsets", content);
  }
  Value row = arith::MulIOp::create(b, emitBucket(b, buckets, dims), arith::ConstantIndexOp::create(b, ops.size()));
  Value start = LLVM::GEPOp::create(b, pointer, i64, LLVM::AddressOfOp::create(b, table),
                                    ArrayRef<LLVM::GEPArg>{arith::IndexCastOp::create(b, i64, row).getResult()});
  for (auto [column, listed] : llvm::enumerate(ops)) {
    plan::OffsetOp op = listed;
    LocBuilder at(op->getLoc(), op);
    Value place = LLVM::GEPOp::create(at, pointer, i64, start, ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(column)});
    Value offset = LLVM::LoadOp::create(at, i64, place);
    op.getResult().replaceAllUsesWith(arith::IndexCastOp::create(at, at.getIndexType(), offset));
    op->erase();
  }
}

} // namespace

FailureOr<OwningOpRef<ModuleOp>> codegen::buildHostModule(ModuleOp module, func::FuncOp main,
                                                          const ModelSignature &signature, const Weights &weights,
                                                          const StringTable &strings, const KernelCode &code) {
  Location loc = main.getLoc();
  OwningOpRef<ModuleOp> host = ModuleOp::create(loc);
  LocBuilder b(loc, host->getBodyRegion());
  b.setInsertionPointToStart(host->getBody());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto bytesType = [&](uint64_t bytes) {
    return MemRefType::get({static_cast<int64_t>(std::max<uint64_t>(bytes, 1))}, b.getI8Type());
  };
  SmallVector<Type> types{bytesType(signature.arenaBytes), bytesType(weights.bytes),
                          bytesType(strings.strings.size() * sizeof(snug_string))};
  for (Type type : main.getArgumentTypes())
    types.push_back(MemRefType::get({}, cast<MemRefType>(type).getElementType()));
  types.append(signature.dims.size(), b.getIndexType());
  types.append(11, pointer);
  auto body = func::FuncOp::create(b, "snug_run_body", b.getFunctionType(types, {}));
  Block *entry = body.addEntryBlock();
  b.setInsertionPointToStart(entry);

  ValueRange arguments = entry->getArguments();
  Value arena = arguments[0], weightsBlob = arguments[1], stringTable = arguments[2];
  constexpr unsigned firstTensor = 3;
  unsigned numTensors = main.getNumArguments();
  SmallVector<Value> dims(arguments.slice(firstTensor + numTensors, signature.dims.size()));
  Value startLaunch = arguments[arguments.size() - 2], startState = arguments.back();
  Value text = arguments[arguments.size() - 4], textState = arguments[arguments.size() - 3];
  Value collective = arguments[arguments.size() - 7], commState = arguments[arguments.size() - 6],
        meshIndex = arguments[arguments.size() - 5], start = arguments[arguments.size() - 9],
        wait = arguments[arguments.size() - 8], read = arguments[arguments.size() - 10], contract = arguments[arguments.size() - 11];

  // Tensors of the caller: dense memrefs over bare pointers, with sizes from the dims.
  SmallVector<Value> tensors;
  SmallVector<SmallVector<Value>> sizes;
  for (unsigned i = 0; i < numTensors; ++i) {
    const ModelSignature::Value &value =
        i < signature.inputs.size() ? signature.inputs[i] : signature.outputs[i - signature.inputs.size()];
    SmallVector<OpFoldResult> sizeValues, strides;
    sizes.emplace_back();
    for (auto [dim, extent] : llvm::enumerate(value.extents)) {
      sizes.back().push_back(emitExtent(b, extent, dims));
      if (value.type.isDynamicDim(dim))
        sizeValues.push_back(sizes.back().back());
      else
        sizeValues.push_back(b.getIndexAttr(value.type.getDimSize(dim)));
    }
    int64_t offset;
    SmallVector<int64_t> staticStrides;
    (void)value.type.getStridesAndOffset(staticStrides, offset);
    strides.resize(value.type.getRank());
    Value running = arith::ConstantIndexOp::create(b, 1);
    for (unsigned dim = value.type.getRank(); dim-- > 0;) {
      if (ShapedType::isDynamic(staticStrides[dim]))
        strides[dim] = running;
      else
        strides[dim] = b.getIndexAttr(staticStrides[dim]);
      running = arith::MulIOp::create(b, running, sizes.back()[dim]);
    }
    tensors.push_back(memref::ReinterpretCastOp::create(b, value.type, arguments[firstTensor + i],
                                                        OpFoldResult(b.getIndexAttr(0)), sizeValues, strides));
  }

  // @main's body, in place of its return.
  auto end = func::ReturnOp::create(b);
  Block &source = main.front();
  source.getTerminator()->erase();
  for (auto [argument, tensor] : llvm::zip(source.getArguments(), tensors))
    argument.replaceAllUsesWith(tensor);
  entry->getOperations().splice(end->getIterator(), source.getOperations());

  SmallVector<Operation *> ops;
  body.walk([&](Operation *op) { ops.push_back(op); });
  int64_t maxArguments = 0, maxShape = 0, launches = 0, collectives = 0;
  llvm::DenseMap<Operation *, Operation *> startOf; // of waits, as long as they are there
  llvm::DenseMap<Operation *, int64_t> numberOf;    // of collectives
  body.walk([&](mesh::WaitOp op) { startOf[op] = op.getStart(); });
  for (Operation *op : ops)
    if (auto launch = dyn_cast<plan::LaunchOp>(op)) {
      maxArguments = std::max<int64_t>(maxArguments, launch.getArgs().size());
      maxShape = std::max<int64_t>(maxShape, launch.getShape().size());
    }
  b.setInsertionPointToStart(entry);
  Value count = LLVM::ConstantOp::create(b, b.getI64Type(), b.getI64IntegerAttr(1 + maxArguments));
  LaunchCalls calls{LLVM::AllocaOp::create(b, pointer, b.getI64Type(), count), startLaunch, startState, contract, {}};
  if (!signature.contractions.empty()) {
    count = LLVM::ConstantOp::create(b, b.getI64Type(), b.getI64IntegerAttr(maxShape));
    calls.shape = LLVM::AllocaOp::create(b, pointer, b.getI64Type(), count);
  }
  SmallVector<plan::OffsetOp> offsets;
  for (Operation *op : ops)
    if (auto offset = dyn_cast<plan::OffsetOp>(op))
      offsets.push_back(offset);
  if (!offsets.empty() && !signature.buckets)
    return main.emitError("snug_plan.offset without snug.buckets");
  if (signature.buckets)
    lowerOffsets(b, *host, *signature.buckets, offsets, dims);
  for (Operation *op : ops) {
    if (llvm::is_contained(offsets, op))
      continue; // gone
    LocBuilder at(op->getLoc(), op);
    if (isa<plan::ArenaOp>(op)) {
      op->getResult(0).replaceAllUsesWith(arena);
      op->erase();
    } else if (auto weight = dyn_cast<nn::WeightOp>(op)) {
      std::optional<uint64_t> place = strings.offsetOf(weight);
      Value shift = arith::ConstantIndexOp::create(at, place ? *place : weights.offsetOf(weight));
      op->getResult(0).replaceAllUsesWith(memref::ViewOp::create(at, cast<MemRefType>(weight.getResult().getType()),
                                                                 place ? stringTable : weightsBlob, shift, ValueRange{}));
      op->erase();
    } else if (auto runtime = dyn_cast<plan::TextRuntimeOp>(op)) {
      Type i64 = b.getI64Type();
      runtime.getFunction().replaceAllUsesWith(LLVM::PtrToIntOp::create(at, i64, text));
      runtime.getState().replaceAllUsesWith(LLVM::PtrToIntOp::create(at, i64, textState));
      runtime.getLaunch().replaceAllUsesWith(arith::ConstantOp::create(at, at.getI64IntegerAttr(launches)));
      op->erase();
    } else if (auto launch = dyn_cast<plan::LaunchOp>(op)) {
      int64_t contraction = llvm::find(signature.contractions, launch.getLibraryAttr()) - signature.contractions.begin();
      if (failed(lowerLaunch(launch, launches++, contraction, code, calls)))
        return failure();
    } else if (auto together = dyn_cast<mesh::CollectiveOpInterface>(op)) {
      numberOf[together] = collectives;
      lowerCollective(together, collectives++, together.getStarts() ? start : collective, commState);
    } else if (auto ends = dyn_cast<mesh::WaitOp>(op)) {
      lowerWait(ends, numberOf.lookup(startOf[ends]), wait, commState);
    } else if (auto index = dyn_cast<mesh::IndexOp>(op)) {
      lowerMeshIndex(index, meshIndex);
    } else if (auto load = dyn_cast<memref::LoadOp>(op)) {
      // What the runtime has read and checked is not read again.
      bool isKnown = false;
      auto found = llvm::find(tensors, load.getMemRef());
      std::optional<int64_t> element = load.getIndices().empty() ? 0 : getConstantIntValue(load.getIndices()[0]);
      for (const ModelSignature::ValueDim &value : signature.valueDims)
        if (found != tensors.end() && found - tensors.begin() == value.input && element == value.element) {
          load.getResult().replaceAllUsesWith(
              arith::IndexCastOp::create(at, load.getResult().getType(), dims[value.dim]).getResult());
          load.erase();
          isKnown = true;
          break;
        }
      if (!isKnown && code.isForGpu)
        lowerRead(load, read, startState);
    } else if (auto dim = dyn_cast<memref::DimOp>(op)) {
      auto found = llvm::find(tensors, dim.getSource());
      std::optional<int64_t> index = dim.getConstantIndex();
      if (found == tensors.end() || !index)
        continue;
      dim.getResult().replaceAllUsesWith(sizes[found - tensors.begin()][*index]);
      dim.erase();
    }
  }
  return host;
}
