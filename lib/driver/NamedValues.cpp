// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Of the pipeline: what the command line says of values that the model names, which are its dims, inputs, outputs and weights.
#include "dialects/onnx/OnnxDialect.h"
#include "lib/analysis/Arguments.h"
#include "lib/driver/InputValues.h"
#include "lib/driver/Pipeline.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/canonicalize/DimSymbols.h"
#include "passes/canonicalize/ExpandInputs.h"
#include "passes/canonicalize/InferDims.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace snug;

int Pipeline::checkPins(const TensorPins &unknown) {
  auto main = program->lookupSymbol<func::FuncOp>("main");
  auto names = [](unsigned count, llvm::function_ref<DictionaryAttr(unsigned)> attributes) {
    std::string all;
    for (unsigned i = 0; i < count; ++i)
      if (auto name = attributes(i).getAs<StringAttr>("snug.name"))
        all += (all.empty() ? "" : ", ") + name.str();
    return all;
  };
  if (!unknown.empty())
    return options.console.fail(
        SNUG_EXIT_USAGE,
        "--shard: the model's graph has no value '" + printable(unknown.begin()->first) + "'; its inputs are " +
            printable(names(main.getNumArguments(), [&](unsigned i) { return main.getArgAttrDict(i); })) + ", its outputs " +
            printable(names(main.getNumResults(), [&](unsigned i) { return main.getResultAttrDict(i); })) +
            ", and any weight or result of a node that is not in a loop, branch or function can be named");
  for (auto initializer : program->getOps<onnx::InitializerOp>())
    if (initializer->hasAttr(onnx::kTensorPin) && initializer.getValueAttr())
      return options.console.fail(SNUG_EXIT_UNSUPPORTED, "--shard: '" + printable(initializer.getSymName().str()) +
                                                             "' has so few elements that they are part of the program, which all devices have");
  return SNUG_EXIT_DONE;
}

int Pipeline::checkDims() {
  auto usage = [&](const Twine &message) { return options.console.fail(SNUG_EXIT_USAGE, message); };
  auto main = program->lookupSymbol<func::FuncOp>("main");
  DimSymbols none(&context), given(&context);
  SmallVector<std::string> known, missing;
  for (const std::string &definition : dims) {
    std::string problem;
    if (!given.add(definition, problem))
      return usage(problem);
  }
  for (BlockArgument argument : main.getArguments())
    if (auto texts = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), "snug.dims"))
      for (StringRef text : texts.getAsValueRange<StringAttr>())
        none.parse(text, known);
  for (BlockArgument argument : main.getArguments())
    if (auto names = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), kValueDims))
      for (StringRef name : names.getAsValueRange<StringAttr>())
        known.push_back(name.str());
  for (const std::string &definition : dims) {
    std::string name = StringRef(definition).split('=').first.trim().str();
    if (!llvm::is_contained(known, name))
      return usage("the model has no dim '" + name + "'" +
                   (known.empty() ? std::string("; all its dims are fixed") : "; its dims are " + llvm::join(known, ", ")));
  }
  inferDims(*program, dims, missing);
  // What is supported does not depend on the size of a dim that nobody stated; a small one is as good as any.
  while (options.check && !missing.empty()) {
    dims.push_back(missing.front() + "=8");
    missing.clear();
    inferDims(*program, dims, missing);
  }
  if (missing.empty())
    return SNUG_EXIT_DONE;
  std::string command = commandText(options);
  for (const std::string &name : missing)
    command += " --dim " + shellWord(printable(name) + "=1");
  return usage("dim" + std::string(missing.size() == 1 ? " '" : "s '") + printable(llvm::join(missing, "', '")) +
               (missing.size() == 1 ? "' has" : "' have") + " no value; for example:\n  " + command);
}

int Pipeline::expandInputs() {
  dims.assign(options.dims.begin(), options.dims.end());
  std::string problem;
  if (succeeded(snug::expandInputs(*program, dims, problem)))
    return SNUG_EXIT_DONE;
  return options.console.fail(SNUG_EXIT_USAGE, printable(problem));
}

int Pipeline::markValues() {
  std::vector<std::string> bounded;
  int code = markInputValues(*program, options, bounded);
  dims.append(bounded.begin(), bounded.end());
  return code;
}

int Pipeline::markDonated() {
  auto main = program->lookupSymbol<func::FuncOp>("main");
  llvm::StringMap<unsigned> inputs;
  std::string names;
  for (unsigned i = 0; i < main.getNumArguments(); ++i)
    if (auto name = main.getArgAttrOfType<StringAttr>(i, "snug.name")) {
      inputs[name] = i;
      names += (names.empty() ? "" : ", ") + name.str();
    }
  for (const std::string &name : options.donated) {
    auto found = inputs.find(name);
    if (found == inputs.end()) {
      return options.console.fail(SNUG_EXIT_USAGE, "--donate: the model has no input '" + printable(name) +
                                                       "'; its inputs are " + printable(names));
    }
    main.setArgAttr(found->second, kDonatedArgument, UnitAttr::get(&context));
  }
  return SNUG_EXIT_DONE;
}
