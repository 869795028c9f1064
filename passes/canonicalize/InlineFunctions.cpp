// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/InlineFunctions.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace snug;

namespace {
// Far deeper than exporters nest modules.
constexpr unsigned kDeepestCall = 64;

StringRef nameOf(Location loc) {
  auto name = dyn_cast<NameLoc>(loc);
  return name ? name.getName().getValue() : "";
}

// The attributes of a node inside a function, where some refer to those of the calling node.
DictionaryAttr resolve(DictionaryAttr attributes, onnx::NodeOp caller, DictionaryAttr defaults) {
  NamedAttrList resolved;
  for (NamedAttribute attribute : attributes) {
    auto reference = dyn_cast<onnx::RefAttr>(attribute.getValue());
    Attribute value = attribute.getValue();
    if (reference) {
      value = caller.getNodeAttr(reference.getName());
      if (!value && defaults)
        value = defaults.get(reference.getName());
    }
    if (value)
      resolved.append(attribute.getName(), value);
  }
  return resolved.getDictionary(attributes.getContext());
}

void inlineCall(onnx::NodeOp caller, func::FuncOp callee, SmallVectorImpl<onnx::NodeOp> &made) {
  OpBuilder builder(caller);
  IRMapping mapping;
  for (auto [index, argument] : llvm::enumerate(callee.getArguments())) {
    bool given = index < caller->getNumOperands();
    mapping.map(argument, given ? caller->getOperand(index)
                                : onnx::NoneOp::create(builder, caller.getLoc(), builder.getNoneType()).getResult());
  }
  auto defaults = callee->getAttrOfType<DictionaryAttr>(onnx::kFunctionDefaults);
  for (Operation &op : callee.front().without_terminator()) {
    Operation *copy = builder.clone(op, mapping);
    copy->walk<WalkOrder::PreOrder>([&](onnx::NodeOp node) {
      node.setNodeAttrsAttr(resolve(node.getNodeAttrs(), caller, defaults));
      std::string name = (nameOf(caller.getLoc()) + "/" + nameOf(node.getLoc())).str();
      node->setLoc(NameLoc::get(builder.getStringAttr(name)));
      made.push_back(node);
    });
  }
  Operation *end = callee.front().getTerminator();
  for (auto [index, result] : llvm::enumerate(caller->getResults()))
    if (index < end->getNumOperands())
      result.replaceAllUsesWith(mapping.lookupOrDefault(end->getOperand(index)));
  caller.erase();
}
} // namespace

LogicalResult snug::inlineFunctions(ModuleOp module, func::FuncOp main) {
  SymbolTable symbols(module);
  SmallVector<std::pair<onnx::NodeOp, unsigned>> work; // and how deep in calls
  // What is in a node's bodies is taken before the node, with which the bodies go.
  main.walk<WalkOrder::PreOrder>([&](onnx::NodeOp node) { work.push_back({node, 0}); });
  while (!work.empty()) {
    auto [node, depth] = work.pop_back_val();
    auto callee = symbols.lookup<func::FuncOp>(node.getFunctionSymbol());
    if (!callee)
      callee = symbols.lookup<func::FuncOp>(node.getSchemaFunctionSymbol());
    if (!callee || callee == main || callee.isExternal())
      continue;
    if (depth >= kDeepestCall)
      return node.emitError() << "the model's function " << node.getFunctionSymbol() << " calls itself";
    SmallVector<onnx::NodeOp> made;
    inlineCall(node, callee, made);
    for (onnx::NodeOp inner : made)
      work.push_back({inner, depth + 1});
  }
  return success();
}
