// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/canonicalize/ExpandInputs.h"
#include "dialects/onnx/OnnxDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace snug;

namespace {
// More elements than any sequence that is written out can have.
constexpr int64_t kMostElements = 4096;
constexpr int64_t kHighestRank = 64;

class InputExpander {
public:
  InputExpander(ModuleOp module, func::FuncOp main, SmallVectorImpl<std::string> &dims)
      : main(main), builder(module.getContext()), dims(dims) {}

  LogicalResult run() {
    builder.setInsertionPointToStart(&main.front());
    for (unsigned index = 0; index < main.getNumArguments();) {
      BlockArgument argument = main.getArgument(index);
      auto name = main.getArgAttrOfType<StringAttr>(index, onnx::kTensorName);
      if (!name || !isExpandable(argument.getType(), name.getValue())) { // what refuses others names them
        ++index;
        continue;
      }
      made.clear();
      auto whole = expand(argument.getType(), name.str(), argument.getLoc(), index);
      if (failed(whole))
        return failure();
      argument = main.getArgument(index + made.size());
      argument.replaceAllUsesWith(*whole);
      if (failed(main.eraseArgument(index + made.size())))
        return failure();
      index += made.size();
    }
    return success();
  }

  std::string problem;

private:
  bool isExpandable(Type type, StringRef name) {
    if (isa<UnrankedTensorType>(type))
      return llvm::any_of(dims, [&](StringRef entry) { return entry.split('=').first.trim() == (name + ".rank").str(); });
    Type inner = type;
    while (isa<onnx::OptionalType, onnx::SequenceType>(inner))
      inner = isa<onnx::OptionalType>(inner) ? cast<onnx::OptionalType>(inner).getElementType()
                                             : cast<onnx::SequenceType>(inner).getElementType();
    auto tensor = dyn_cast<TensorType>(inner);
    return inner != type && tensor && tensor.getElementType().isIntOrFloat();
  }

  // The value of an input of that type, of tensors that are inserted as arguments from `index` on.
  FailureOr<Value> expand(Type type, const std::string &name, Location loc, unsigned index) {
    if (auto optional = dyn_cast<onnx::OptionalType>(type)) {
      auto present = number(name + ".present", 1);
      if (failed(present))
        return failure();
      return *present ? expand(optional.getElementType(), name, loc, index) : node("Optional", {}, type, loc);
    }
    if (auto sequence = dyn_cast<onnx::SequenceType>(type)) {
      auto length = number(name + ".length", kMostElements);
      if (failed(length))
        return failure();
      SmallVector<Value> elements;
      for (int64_t i = 0; i < *length; ++i) {
        auto element = addTensor(sequence.getElementType(), name + "." + std::to_string(i), name, loc, index);
        if (failed(element))
          return failure();
        elements.push_back(*element);
      }
      return node(elements.empty() ? "SequenceEmpty" : "SequenceConstruct", elements, type, loc);
    }
    return addTensor(type, name, name, loc, index);
  }

  FailureOr<Value> addTensor(Type type, const std::string &name, const std::string &input, Location loc, unsigned index) {
    auto ranked = dyn_cast<RankedTensorType>(type);
    if (auto unranked = dyn_cast<UnrankedTensorType>(type)) {
      auto rank = number(input + ".rank", kHighestRank);
      if (failed(rank))
        return failure();
      ranked = RankedTensorType::get(SmallVector<int64_t>(*rank, ShapedType::kDynamic), unranked.getElementType());
    }
    if (!ranked) {
      problem = "input '" + input + "' is a sequence of sequences, which is not supported";
      return failure();
    }
    SmallVector<Attribute> texts;
    for (int64_t dim = 0; dim < ranked.getRank(); ++dim)
      texts.push_back(builder.getStringAttr(ranked.isDynamicDim(dim) ? name + "_dim" + std::to_string(dim)
                                                                    : std::to_string(ranked.getDimSize(dim))));
    NamedAttrList attributes;
    attributes.append(onnx::kTensorName, builder.getStringAttr(name));
    attributes.append(onnx::kTensorDims, builder.getArrayAttr(texts));
    unsigned place = index + made.size();
    if (failed(main.insertArgument(place, ranked, attributes.getDictionary(builder.getContext()), loc)))
      return failure();
    made.push_back(place);
    return Value(main.getArgument(place));
  }

  FailureOr<Value> node(StringRef opType, ArrayRef<Value> inputs, Type type, Location loc) {
    return onnx::NodeOp::create(builder, loc, type, inputs, builder.getStringAttr(opType), builder.getStringAttr(""),
                                builder.getStringAttr(""), builder.getI64IntegerAttr(kOpset), builder.getDictionaryAttr({}),
                                builder.getArrayAttr({}), 0)
        ->getResult(0);
  }

  // What the list says of the name; a sequence's length and an input's rank must be said.
  FailureOr<int64_t> number(const std::string &name, int64_t most) {
    bool mayBeMissing = StringRef(name).ends_with(".present");
    for (size_t i = 0; i < dims.size(); ++i) {
      auto [key, text] = StringRef(dims[i]).split('=');
      if (key.trim() != name)
        continue;
      int64_t value = 0;
      if (text.trim().getAsInteger(10, value) || value < 0 || value > most) {
        problem = "--dim " + dims[i] + ": give one number from 0 to " + std::to_string(most);
        return failure();
      }
      known[name] = value;
      dims.erase(dims.begin() + i);
      break;
    }
    if (auto value = known.find(name); value != known.end())
      return value->second;
    if (mayBeMissing)
      return int64_t(1);
    auto [input, what] = StringRef(name).rsplit('.');
    problem = "input '" + input.str() + (what == "rank" ? "' has no shape; state its rank" : "' is a sequence; state its length") +
              " with --dim " + name + "=1";
    return failure();
  }

  // At which the ops that put sequences together mean what is meant here.
  static constexpr int64_t kOpset = 18;

  func::FuncOp main;
  OpBuilder builder;
  SmallVectorImpl<std::string> &dims;
  llvm::StringMap<int64_t> known;
  SmallVector<unsigned> made; // arguments for the input at hand
};
} // namespace

LogicalResult snug::expandInputs(ModuleOp module, SmallVectorImpl<std::string> &dims, std::string &problem) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal())
    return success();
  InputExpander expander(module, main, dims);
  LogicalResult result = expander.run();
  problem = expander.problem;
  return result;
}
