// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tables of include/snug/ModelABI.h as LLVM constants, and the functions around the run body. Structs are written
// field by field in that header's order; natural alignment gives them C's layout.
#include "codegen/Codegen.h"
#include "codegen/kernel/KernelTarget.h"
#include "codegen/host/HostProgram.h"
#include "codegen/link/StringTable.h"
#include "codegen/link/WeightFiles.h"
#include "dialects/onnx/OnnxDialect.h"
#include "lib/analysis/IndexBounds.h"
#include "snug/ModelABI.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"

using namespace llvm;
using namespace snug;
using namespace snug::codegen;

#ifndef SNUG_VERSION
#define SNUG_VERSION "0.1.0"
#endif

namespace {
snug_dtype dtypeOf(mlir::Type type) {
  if (type.isInteger(1))
    return {6, 8, 1};
  if (mlir::isa<onnx::StringType>(type))
    return {3, 128, 1};
  uint8_t bits = static_cast<uint8_t>(type.getIntOrFloatBitWidth());
  // DLPack's codes of narrow floats.
  uint8_t narrow = TypeSwitch<mlir::Type, uint8_t>(type)
                       .Case([](mlir::Float8E4M3FNType) { return 10; })
                       .Case([](mlir::Float8E4M3FNUZType) { return 11; })
                       .Case([](mlir::Float8E5M2Type) { return 12; })
                       .Case([](mlir::Float8E5M2FNUZType) { return 13; })
                       .Case([](mlir::Float8E8M0FNUType) { return 14; })
                       .Case([](mlir::Float6E2M3FNType) { return 15; })
                       .Case([](mlir::Float6E3M2FNType) { return 16; })
                       .Case([](mlir::Float4E2M1FNType) { return 17; })
                       .Default([](mlir::Type) { return 0; });
  if (narrow)
    return {narrow, bits, 1};
  if (type.isBF16())
    return {4, bits, 1};
  if (mlir::isa<mlir::FloatType>(type))
    return {2, bits, 1};
  return {static_cast<uint8_t>(type.isUnsignedInteger() ? 1 : 0), bits, 1};
}

class HeaderBuilder {
public:
  HeaderBuilder(Module &module, const HeaderInputs &in)
      : module(module), context(module.getContext()), in(in), pointer(PointerType::get(context, 0)),
        i64(Type::getInt64Ty(context)), i32(Type::getInt32Ty(context)) {}

  void build() {
    const ModelSignature &s = in.signature;
    std::vector<Constant *> dims;
    for (const ModelSignature::Dim &dim : s.dims)
      dims.push_back(record({text(dim.name), number(dim.min), number(dim.max), number(dim.step)}));
    uint64_t inputBytes = 0, outputBytes = 0;
    Constant *inputs = values(s.inputs, inputBytes), *outputs = values(s.outputs, outputBytes);
    std::vector<Constant *> dataShapes, valueDims;
    for (const ModelSignature::Value &value : s.outputs)
      if (value.shapeOf)
        dataShapes.push_back(number32(*value.shapeOf));
    for (const ModelSignature::ValueDim &value : s.valueDims)
      valueDims.push_back(record({number32(value.dim), number32(value.input), number(value.element)}));
    std::vector<Constant *> maps;
    for (auto [place, value] : enumerate(s.outputs))
      if (size_t count = value.stringKeys.size() + value.intKeys.size()) {
        Constant *none = ConstantPointerNull::get(pointer), *ints = none;
        if (!value.intKeys.empty())
          ints = table(ConstantDataArray::get(context, ArrayRef(reinterpret_cast<const uint64_t *>(value.intKeys.data()), count)));
        Constant *strings = value.stringKeys.empty() ? none : stringList(value.stringKeys);
        maps.push_back(record({number32(place), number32(0), number(count), ints, strings}));
      }
    // As few readers as need be are shut out.
    Constant *inputCuts = cuts(s.inputs), *outputCuts = cuts(s.outputs);
    bool hasCuts = isa<GlobalVariable>(inputCuts) || isa<GlobalVariable>(outputCuts);
    oldest = in.code.isForGpu ? 5 : hasCuts || s.startsCollectives ? 4 : s.mesh ? 3 : dataShapes.empty() && valueDims.empty() && !s.usesText ? 1 : 2;
    Constant *memory = record({number(in.weightsBytes), number(s.arenaBytes), number(s.arenaAlignment), number(in.libraryBytes),
                               number(inputBytes), number(outputBytes)});
    Constant *embedded = ConstantPointerNull::get(pointer), *file = embedded;
    if (in.embedded) {
      auto *data = ConstantDataArray::getString(context, StringRef(in.embedded->data(), in.embedded->size()), false);
      auto *global = cast<GlobalVariable>(table(data));
      global->setAlignment(Align(64));
      embedded = global;
    }
    std::vector<Constant *> collectives, rankWeights;
    for (const ModelSignature::Collective &collective : s.collectives)
      collectives.push_back(record({number32(static_cast<uint32_t>(collective.kind)), number32(collective.axes),
                                    number32(static_cast<uint32_t>(collective.reduction)), dtype(collective.elementType),
                                    text(collective.nodes)}));
    uint64_t weightsOffset = 0;
    std::string weightsId = in.embeddedId;
    for (const WeightsFile &rank : in.weightsFiles) {
      if (s.mesh) {
        rankWeights.push_back(record({text(rank.name), number(rank.offset), text(rank.id)}));
        continue;
      }
      file = text(rank.name);
      weightsOffset = rank.offset;
      weightsId = rank.id;
    }
    auto along = [&](int axis) { return number32(s.mesh ? s.mesh->extents[axis] : 0); };
    std::vector<Constant *> launches;
    for (const ModelSignature::Launch &launch : s.launches)
      launches.push_back(record({text(launch.kernel), text(launch.nodes)}));
    std::vector<Constant *> kernels;
    for (const KernelCode::GpuKernel &kernel : in.code.gpuKernels)
      kernels.push_back(record({text(kernel.name), number32(kernel.threads), number32(kernel.sharedBytes),
                                number32(kernel.numArguments), number32(0)}));
    std::vector<Constant *> contractions;
    for (plan::ContractionAttr one : s.contractions)
      contractions.push_back(contraction(one));
    Constant *image = ConstantPointerNull::get(pointer);
    if (in.code.isForGpu)
      image = table(ConstantDataArray::get(context, ArrayRef(reinterpret_cast<const uint8_t *>(in.code.gpuImage.data()),
                                                             in.code.gpuImage.size())));
    Constant *header =
        record({number32(oldest), number32(sizeof(snug_model_header)), text(SNUG_VERSION), text(s.name),
                text(in.target), number32(s.dims.size()), number32(s.inputs.size()), number32(s.outputs.size() - dataShapes.size()),
                number32(s.threads), array(dims), inputs, outputs, memory, embedded, file, number(weightsOffset),
                text(weightsId), shapes(), run(), number32(s.launches.size()), number32(s.requirements.size()),
                array(launches), arenaNeed(), requirements(), unmet(), number32(dataShapes.size()),
                number32(valueDims.size()), array(dataShapes), array(valueDims), number(s.textBytes), number32(maps.size()), number32(0),
                array(maps), along(0), along(1), number32(collectives.size()), number32(0), array(collectives),
                array(rankWeights), inputCuts, outputCuts, number32(in.code.isForGpu ? SNUG_DEVICE_CUDA : SNUG_DEVICE_CPU),
                number32(kernels.size()), array(kernels), image, number(in.code.gpuImage.size()),
                number(s.workspaceBytes), number32(contractions.size()), number32(0), array(contractions), text(s.precision)});
    assert(module.getDataLayout().getTypeAllocSize(header->getType()) == sizeof(snug_model_header));
    query(table(header));
  }

private:
  Constant *number(uint64_t value) { return ConstantInt::get(i64, value); }
  Constant *number32(uint64_t value) { return ConstantInt::get(i32, value); }
  Constant *dtype(mlir::Type type) {
    snug_dtype said = dtypeOf(type);
    auto byte = [&](unsigned v) { return ConstantInt::get(Type::getInt8Ty(context), v); };
    return record({byte(said.code), byte(said.bits), ConstantInt::get(Type::getInt16Ty(context), 1)});
  }
  Constant *contraction(plan::ContractionAttr one) {
    uint32_t flags = (one.getTransposeA() ? SNUG_CONTRACTION_TRANSPOSE_A : 0) | (one.getTransposeB() ? SNUG_CONTRACTION_TRANSPOSE_B : 0) |
                     (one.getBias() ? SNUG_CONTRACTION_BIAS : 0) | (one.getActivation() == "relu" ? SNUG_CONTRACTION_RELU : 0) |
                     (one.getActivation() == "gelu" ? SNUG_CONTRACTION_GELU : 0) | (one.getTf32() ? SNUG_CONTRACTION_TF32 : 0);
    auto real = [&](mlir::FloatAttr value) { return ConstantFP::get(Type::getDoubleTy(context), value.getValueAsDouble()); };
    return record({dtype(one.getOperands()), dtype(one.getResult()), number32(flags), number32(one.getSpatial()), real(one.getAlpha()), real(one.getBeta())});
  }
  Constant *table(Constant *value) {
    return new GlobalVariable(module, value->getType(), /*isConstant=*/true, GlobalValue::InternalLinkage, value,
                              "snug_table");
  }
  Constant *text(StringRef value) { return table(ConstantDataArray::getString(context, value)); }
  Constant *record(ArrayRef<Constant *> fields) { return ConstantStruct::getAnon(context, fields); }
  Constant *array(ArrayRef<Constant *> items) {
    if (items.empty())
      return ConstantPointerNull::get(pointer);
    return table(ConstantArray::get(ArrayType::get(items[0]->getType(), items.size()), items));
  }
  Constant *values(const std::vector<ModelSignature::Value> &list, uint64_t &bytes) {
    std::vector<int64_t> largest;
    for (const ModelSignature::Dim &dim : in.signature.dims)
      largest.push_back(dim.max);
    std::vector<Constant *> items;
    for (const ModelSignature::Value &value : list) {
      if (value.shapeOf)
        continue;
      std::vector<Constant *> extents;
      uint64_t size = elementBytes(value.type.getElementType());
      for (auto [extent, source] : zip(value.declared, value.declaredText)) {
        DimExpression::Linear linear = extent.linear();
        extents.push_back(
            record({number32(linear.symbol), number32(0), number(linear.scale), number(linear.offset), text(source)}));
        size *= extent.evaluate(largest);
      }
      bytes += size;
      bool isString = mlir::isa<onnx::StringType>(value.elementType);
      uint32_t kind = isString ? SNUG_VALUE_STRING_TENSOR : SNUG_VALUE_TENSOR;
      items.push_back(record({text(value.name), number32(kind), dtype(value.elementType), number32(value.declared.size()),
                              number32((value.isOverwritten ? SNUG_VALUE_OVERWRITTEN : 0) |
                                       (value.hasDataShape ? SNUG_VALUE_DATA_SHAPE : 0)),
                              array(extents)}));
    }
    return array(items);
  }
  // NULL where no value is cut.
  Constant *cuts(const std::vector<ModelSignature::Value> &list) {
    std::vector<Constant *> items;
    bool any = false;
    for (const ModelSignature::Value &value : list) {
      if (value.shapeOf)
        continue;
      int64_t extents[2] = {0, 0};
      for (int axis = 0; axis < 2; ++axis)
        if (int64_t dim = value.cutDims[axis]; dim >= 0) {
          any = true;
          extents[axis] = value.type.getDimSize(dim);
          for (int other = 0; other < 2; ++other)
            extents[axis] *= value.cutDims[other] == dim ? in.signature.mesh->extents[other] : 1;
        }
      items.push_back(record({number32(value.cutDims[0]), number32(value.cutDims[1]), number(extents[0]), number(extents[1])}));
    }
    return array(any ? items : std::vector<Constant *>());
  }
  Function *function(StringRef name, Type *result, ArrayRef<Type *> parameters) {
    auto *f =
        Function::Create(FunctionType::get(result, parameters, false), GlobalValue::InternalLinkage, name, module);
    f->addFnAttr(Attribute::NoUnwind);
    return f;
  }
  Value *loadAt(IRBuilder<> &b, Type *type, Value *base, uint64_t bytes) {
    return b.CreateLoad(type, b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, bytes));
  }

  Value *valueOf(IRBuilder<> &b, const DimExpression &extent, Value *dims) {
    return extent.evaluate<Value *>([&](int64_t n) -> Value * { return number(n); },
                                    [&](unsigned dim) { return loadAt(b, i64, dims, 8 * dim); },
                                    [&](char op, Value *x, Value *y) -> Value * {
                                      switch (op) {
                                      case '+':
                                        return b.CreateAdd(x, y);
                                      case '-':
                                        return b.CreateSub(x, y);
                                      case '*':
                                        return b.CreateMul(x, y);
                                      case '>':
                                        return b.CreateBinaryIntrinsic(Intrinsic::smax, x, y);
                                      case '<':
                                        return b.CreateBinaryIntrinsic(Intrinsic::smin, x, y);
                                      default: { // rounds down: (h - kernel) / 2 + 2 is an extent where h < kernel, too
                                        Value *rest = b.CreateSRem(x, y);
                                        Value *isBelow = b.CreateICmpSLT(rest, number(0));
                                        rest = b.CreateSelect(isBelow, b.CreateAdd(rest, y), rest);
                                        return op == '/' ? b.CreateSDiv(b.CreateSub(x, rest), y) : rest;
                                      }
                                      }
                                    });
  }

  Constant *shapes() {
    Function *f = function("snug_shapes", Type::getVoidTy(context), {pointer, pointer});
    IRBuilder<> b(BasicBlock::Create(context, "entry", f));
    uint64_t place = 0;
    for (const auto *list : {&in.signature.inputs, &in.signature.outputs})
      for (const ModelSignature::Value &value : *list)
        for (const DimExpression &extent : value.shapeOf ? std::vector<DimExpression>() : value.declared)
          b.CreateStore(valueOf(b, extent, f->getArg(0)), b.CreateConstInBoundsGEP1_64(i64, f->getArg(1), place++));
    b.CreateRetVoid();
    return f;
  }

  Constant *requirements() {
    std::vector<Constant *> texts;
    for (const ModelSignature::Requirement &requirement : in.signature.requirements)
      texts.push_back(text(requirement.text));
    return array(texts);
  }

  // The number of the first requirement that the dims do not meet.
  Constant *unmet() {
    if (in.signature.requirements.empty())
      return ConstantPointerNull::get(pointer);
    Function *f = function("snug_unmet", i32, {pointer});
    BasicBlock *next = BasicBlock::Create(context, "entry", f);
    uint32_t place = 0;
    for (const ModelSignature::Requirement &requirement : in.signature.requirements) {
      IRBuilder<> b(next);
      Value *left = valueOf(b, requirement.left, f->getArg(0)), *right = valueOf(b, requirement.right, f->getArg(0));
      Value *holds = requirement.isEquation ? b.CreateICmpEQ(left, right) : b.CreateICmpSGE(left, right);
      BasicBlock *broken = BasicBlock::Create(context, "broken", f);
      next = BasicBlock::Create(context, "next", f);
      b.CreateCondBr(holds, next, broken);
      IRBuilder<>(broken).CreateRet(number32(place++));
    }
    IRBuilder<>(next).CreateRet(number32(place));
    return f;
  }

  // Bytes of the arena for given dims: of their bucket, as the run body looks it up.
  Constant *arenaNeed() {
    const std::optional<Buckets> &buckets = in.signature.buckets;
    if (!buckets)
      return ConstantPointerNull::get(pointer);
    Function *f = function("snug_arena_need", i64, {pointer});
    IRBuilder<> b(BasicBlock::Create(context, "entry", f));
    Value *bucket = number(0);
    for (auto [dim, bounds] : enumerate(buckets->bounds)) {
      bucket = b.CreateMul(bucket, number(bounds.size()));
      Value *value = loadAt(b, i64, f->getArg(0), 8 * dim);
      for (int64_t bound : ArrayRef<int64_t>(bounds).drop_back())
        bucket = b.CreateAdd(bucket, b.CreateZExt(b.CreateICmpSGT(value, number(bound)), i64));
    }
    std::vector<Constant *> arenas;
    for (int64_t bytes : buckets->arenas)
      arenas.push_back(number(bytes));
    b.CreateRet(b.CreateLoad(i64, b.CreateGEP(i64, array(arenas), bucket)));
    return f;
  }

  // As snug_string.
  template <class Strings> Constant *stringList(const Strings &strings) {
    std::vector<Constant *> items;
    for (StringRef string : strings) {
      Constant *bytes = ConstantPointerNull::get(pointer);
      if (!string.empty())
        bytes = table(ConstantDataArray::getString(context, string, /*AddNull=*/false));
      items.push_back(record({bytes, number(string.size())}));
    }
    Constant *all = array(items);
    if (auto *global = dyn_cast<GlobalVariable>(all))
      global->setAlignment(Align(64));
    return all;
  }

  Constant *run() {
    Function *body = module.getFunction("snug_run_body");
    body->setLinkage(GlobalValue::InternalLinkage);
    Function *f = function("snug_run", Type::getVoidTy(context), {pointer});
    IRBuilder<> b(BasicBlock::Create(context, "entry", f));
    Value *args = f->getArg(0);
    auto field = [&](uint64_t offset) { return loadAt(b, pointer, args, offset); };
    std::vector<Value *> operands{field(offsetof(snug_run_args, arena)), field(offsetof(snug_run_args, weights)),
                                  stringList(in.strings.strings)};
    auto tensors = [&](uint64_t offset, size_t count) {
      Value *list = field(offset);
      for (size_t i = 0; i < count; ++i)
        operands.push_back(loadAt(b, pointer, list, 8 * i));
    };
    tensors(offsetof(snug_run_args, inputs), in.signature.inputs.size());
    tensors(offsetof(snug_run_args, outputs), in.signature.outputs.size());
    Value *dims = field(offsetof(snug_run_args, dims));
    for (size_t i = 0; i < in.signature.dims.size(); ++i)
      operands.push_back(loadAt(b, i64, dims, 8 * i));
    Value *runtime = field(offsetof(snug_run_args, runtime));
    // A runtime of before strings, meshes, or what runs beside computing, has shorter tables.
    auto member = [&](bool isUsed, Value *base, uint64_t offset) -> Value * {
      return isUsed ? loadAt(b, pointer, base, offset) : ConstantPointerNull::get(pointer);
    };
    bool isMesh = in.signature.mesh.has_value();
    operands.push_back(member(!in.signature.contractions.empty(), runtime, offsetof(snug_runtime_table, contract)));
    operands.push_back(member(in.code.isForGpu, runtime, offsetof(snug_runtime_table, read)));
    operands.push_back(member(in.signature.startsCollectives, runtime, offsetof(snug_runtime_table, start)));
    operands.push_back(member(in.signature.startsCollectives, runtime, offsetof(snug_runtime_table, wait)));
    operands.push_back(member(isMesh, runtime, offsetof(snug_runtime_table, collective)));
    operands.push_back(member(isMesh, runtime, offsetof(snug_runtime_table, comm_state)));
    operands.push_back(member(isMesh, args, offsetof(snug_run_args, mesh_index)));
    operands.push_back(member(in.signature.usesText, runtime, offsetof(snug_runtime_table, text)));
    operands.push_back(member(in.signature.usesText, runtime, offsetof(snug_runtime_table, text_state)));
    if (in.code.isForGpu) {
      operands.push_back(loadAt(b, pointer, runtime, offsetof(snug_runtime_table, launch)));
      operands.push_back(loadAt(b, pointer, runtime, offsetof(snug_runtime_table, device_state)));
    } else {
      operands.push_back(loadAt(b, pointer, runtime, offsetof(snug_runtime_table, parallel_for)));
      operands.push_back(field(offsetof(snug_run_args, runtime_state)));
    }
    b.CreateCall(body, operands);
    b.CreateRetVoid();
    return f;
  }

  void query(Constant *header) {
    Function *f = function(SNUG_MODEL_QUERY_SYMBOL, pointer, {i32});
    f->setLinkage(GlobalValue::ExternalLinkage);
    IRBuilder<> b(BasicBlock::Create(context, "entry", f));
    Value *tooOld = b.CreateICmpULT(f->getArg(0), number32(oldest));
    b.CreateRet(b.CreateSelect(tooOld, ConstantPointerNull::get(pointer), header));
  }

  Module &module;
  LLVMContext &context;
  const HeaderInputs &in;
  PointerType *pointer;
  Type *i64, *i32;
  uint32_t oldest = 1; // ABI version that serves the library
};
} // namespace

void codegen::addModelHeader(Module &module, const HeaderInputs &inputs) { HeaderBuilder(module, inputs).build(); }

void codegen::addKernelEntries(Module &module) {
  LLVMContext &context = module.getContext();
  Type *i64 = Type::getInt64Ty(context);
  std::vector<Function *> kernels;
  for (Function &f : module)
    if (!f.isDeclaration())
      kernels.push_back(&f);
  for (Function *kernel : kernels) {
    kernel->setLinkage(GlobalValue::InternalLinkage);
    // Inlined, its noalias parameters would become scopes, which later passes may lose.
    kernel->addFnAttr(Attribute::NoInline);
    auto *type = FunctionType::get(Type::getVoidTy(context), {PointerType::get(context, 0), i64, i64, i64}, false);
    auto *entry = Function::Create(type, GlobalValue::ExternalLinkage, kernelEntryName(kernel->getName()), module);
    entry->setVisibility(GlobalValue::HiddenVisibility);
    IRBuilder<> b(BasicBlock::Create(context, "entry", entry));
    std::vector<Value *> operands;
    unsigned count = kernel->arg_size() - 3;
    for (unsigned i = 0; i < count; ++i)
      operands.push_back(
          b.CreateLoad(kernel->getArg(i)->getType(), b.CreateConstInBoundsGEP1_64(i64, entry->getArg(0), i)));
    for (unsigned i = 1; i < 4; ++i)
      operands.push_back(entry->getArg(i));
    b.CreateCall(kernel, operands);
    b.CreateRetVoid();
  }
}
