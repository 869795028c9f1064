// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/lower/HookCalls.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace snug::sim;

namespace {
// On calls of hooks, see fillInObjects.
constexpr StringLiteral kPointers = "snug.sim.pointers";

Block &entryOf(Operation *op) { return op->getParentOfType<FunctionOpInterface>().getFunctionBody().front(); }

Type pointer(OpBuilder &b) { return LLVM::LLVMPointerType::get(b.getContext()); }

void describe(Location location, llvm::raw_ostream &os) {
  if (auto file = dyn_cast<FileLineColRange>(location)) {
    os << llvm::sys::path::filename(file.getFilename()) << ":" << file.getStartLine() << ":" << file.getStartColumn();
  } else if (auto name = dyn_cast<NameLoc>(location)) {
    os << name.getName().getValue();
  } else if (auto call = dyn_cast<CallSiteLoc>(location)) {
    describe(call.getCallee(), os);
  } else if (auto fused = dyn_cast<FusedLoc>(location); fused && !fused.getLocations().empty()) {
    describe(fused.getLocations().front(), os);
  } else {
    os << "an unknown place";
  }
}

// The site as bytes, in a constant of the module.
Value site(OpBuilder &b, Operation *at, ArrayRef<int32_t> values) {
  int32_t all[6] = {};
  assert(values.size() <= std::size(all) && "a site has six values");
  llvm::copy(values, all);
  std::string bytes(reinterpret_cast<const char *>(all), sizeof all);
  llvm::raw_string_ostream os(bytes);
  os << at->getName() << " at ";
  describe(at->getLoc(), os);
  os << '\0';

  auto module = at->getParentOfType<ModuleOp>();
  int64_t number = 0;
  if (auto last = module->getAttrOfType<IntegerAttr>("snug.sim.sites"))
    number = last.getInt();
  module->setAttr("snug.sim.sites", b.getI64IntegerAttr(number + 1));
  std::string name = "snug.sim.site." + std::to_string(number);
  OpBuilder globals(module.getBodyRegion());
  LLVM::GlobalOp::create(globals, at->getLoc(), LLVM::LLVMArrayType::get(b.getI8Type(), bytes.size()), true,
                         LLVM::Linkage::Internal, name, b.getStringAttr(bytes), /*alignment=*/8);
  return LLVM::AddressOfOp::create(b, at->getLoc(), pointer(b), name);
}

Value load(OpBuilder &b, Location loc, Type type, Value address) {
  auto op = LLVM::LoadOp::create(b, loc, type, address, /*alignment=*/0, /*isVolatile=*/false, /*isNonTemporal=*/false,
                                 /*isInvariant=*/true);
  op->setAttr(kOwnAccess, b.getUnitAttr());
  return op;
}
} // namespace

Value snug::sim::contextOf(Operation *op) { return entryOf(op).getArgument(0); }

Value snug::sim::loadField(OpBuilder &b, Operation *at, size_t offset, Type type) {
  Value address = LLVM::GEPOp::create(b, at->getLoc(), pointer(b), b.getI8Type(), contextOf(at),
                                      ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(offset)});
  return load(b, at->getLoc(), type, address);
}

Value snug::sim::constantI32(OpBuilder &b, Location loc, int64_t value) {
  return LLVM::ConstantOp::create(b, loc, b.getI32Type(), b.getI32IntegerAttr(static_cast<int32_t>(value)));
}

Value snug::sim::stackSlot(OpBuilder &b, Operation *at, Type type) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&entryOf(at));
  Value one = constantI32(b, at->getLoc(), 1);
  return LLVM::AllocaOp::create(b, at->getLoc(), pointer(b), type, one, /*alignment=*/16);
}

int32_t snug::sim::objectOf(Value pointer) {
  while (auto element = pointer.getDefiningOp<LLVM::GEPOp>())
    pointer = element.getBase();
  if (Operation *op = pointer.getDefiningOp()) {
    auto object = op->getAttrOfType<IntegerAttr>(kObject);
    return object ? static_cast<int32_t>(object.getInt()) : kUnknown;
  }
  auto argument = cast<BlockArgument>(pointer);
  bool isParam = argument.getOwner()->isEntryBlock() && isa<FunctionOpInterface>(argument.getOwner()->getParentOp());
  return isParam ? kFirstParam + static_cast<int32_t>(argument.getArgNumber()) - 1 : kUnknown;
}

Value snug::sim::callHook(OpBuilder &b, Operation *at, Hook hook, ArrayRef<int32_t> values, ValueRange arguments,
                          Type result, ArrayRef<int32_t> pointers) {
  Location loc = at->getLoc();
  SmallVector<Value> operands;
  Value hooks = loadField(b, at, offsetof(Context, hooks), pointer(b));
  Value address = LLVM::GEPOp::create(b, loc, pointer(b), pointer(b), hooks, ArrayRef<LLVM::GEPArg>{int32_t(hook)});
  operands.push_back(load(b, loc, pointer(b), address));
  operands.push_back(contextOf(at));
  operands.push_back(site(b, at, values));
  llvm::append_range(operands, arguments);
  SmallVector<Type> types;
  for (Value operand : ArrayRef<Value>(operands).drop_front())
    types.push_back(operand.getType());
  auto type = LLVM::LLVMFunctionType::get(result ? result : LLVM::LLVMVoidType::get(b.getContext()), types);
  auto call = LLVM::CallOp::create(b, loc, type, operands);
  if (!pointers.empty())
    call->setAttr(kPointers, b.getDenseI32ArrayAttr(pointers));
  return result ? call.getResult() : Value();
}

void snug::sim::fillInObjects(LLVM::CallOp call) {
  auto pointers = call->getAttrOfType<DenseI32ArrayAttr>(kPointers);
  if (!pointers)
    return;
  const unsigned before = 3; // the function, the context and the site
  OpBuilder b(call);
  for (int32_t pointer : pointers.asArrayRef())
    call->setOperand(before + pointer + 1, constantI32(b, call.getLoc(), objectOf(call->getOperand(before + pointer))));
}
