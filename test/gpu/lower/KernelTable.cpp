// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "test/gpu/lower/KernelTable.h"
#include "test/gpu/lower/HookCalls.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/IRBuilder.h"

using namespace mlir;
using namespace snug::sim;

namespace {
// A struct or an array as a constant of the module; its address.
llvm::Constant *place(llvm::Module &module, llvm::Constant *value, const llvm::Twine &name = "") {
  return new llvm::GlobalVariable(module, value->getType(), /*isConstant=*/true, llvm::GlobalValue::PrivateLinkage, value,
                                  name);
}

llvm::Constant *array(llvm::Module &module, llvm::ArrayRef<llvm::Constant *> rows) {
  if (rows.empty())
    return llvm::ConstantPointerNull::get(llvm::PointerType::getUnqual(module.getContext()));
  return place(module, llvm::ConstantArray::get(llvm::ArrayType::get(rows.front()->getType(), rows.size()), rows));
}
} // namespace

void snug::sim::addKernelTable(ModuleOp from, llvm::Module &to) {
  llvm::IRBuilder<> b(to.getContext());
  std::vector<llvm::Constant *> kernels;
  for (auto function : from.getOps<LLVM::LLVMFuncOp>()) {
    auto kernel = function->getAttrOfType<DictionaryAttr>(kKernel);
    if (!kernel)
      continue;
    auto i32s = [&](StringRef name) { return kernel.getAs<DenseI32ArrayAttr>(name).asArrayRef(); };
    auto i64s = [&](StringRef name) { return kernel.getAs<DenseI64ArrayAttr>(name).asArrayRef(); };
    std::vector<llvm::Constant *> params, shared, block;
    for (size_t i = 0; i < i32s("param_bytes").size(); ++i)
      params.push_back(llvm::ConstantStruct::getAnon({b.getInt32(i32s("param_bytes")[i]), b.getInt32(i32s("param_pointers")[i]),
                                                      b.getInt32(i32s("param_aligns")[i]),
                                                      b.getInt32(i32s("param_read_only")[i])}));
    for (size_t i = 0; i < i64s("shared_bytes").size(); ++i)
      shared.push_back(llvm::ConstantStruct::getAnon({b.getInt64(i64s("shared_bytes")[i]), b.getInt64(i64s("shared_aligns")[i])}));
    for (int32_t extent : i32s("block"))
      block.push_back(b.getInt32(extent));
    std::string name = function.getName().str();
    kernels.push_back(llvm::ConstantStruct::getAnon(
        {place(to, llvm::ConstantDataArray::getString(to.getContext(), name)), to.getFunction(name + "_entry"),
         b.getInt32(params.size()), b.getInt32(shared.size()), array(to, params), array(to, shared),
         llvm::ConstantArray::get(llvm::ArrayType::get(b.getInt32Ty(), 3), block),
         b.getInt32(kernel.getAs<BoolAttr>("waits").getValue())}));
  }
  llvm::Constant *table = llvm::ConstantStruct::getAnon({b.getInt64(kernels.size()), array(to, kernels)});
  new llvm::GlobalVariable(to, table->getType(), /*isConstant=*/true, llvm::GlobalValue::ExternalLinkage, table,
                           "snug_sim_kernels");
}
