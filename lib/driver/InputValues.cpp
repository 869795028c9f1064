// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/InputValues.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "snug/ExitCodes.h"
#include "passes/canonicalize/DimSymbols.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace snug;

// A number as the element type has it; null where the word is none.
static Attribute parseNumber(StringRef word, Type type) {
  if (auto floating = dyn_cast<FloatType>(type)) {
    APFloat number(APFloat::IEEEdouble());
    auto status = number.convertFromString(word, APFloat::rmNearestTiesToEven);
    if (!status) {
      llvm::consumeError(status.takeError());
      return {};
    }
    bool lost;
    number.convert(floating.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
    return FloatAttr::get(type, number);
  }
  int64_t number;
  unsigned width = type.getIntOrFloatBitWidth();
  bool isUnsigned = type.isInteger(1) || type.isUnsignedInteger();
  if (word.getAsInteger(10, number) || !(isUnsigned ? number >= 0 && llvm::isUIntN(width, number) : llvm::isIntN(width, number)))
    return {};
  return IntegerAttr::get(type, number);
}

// Names of the dims that the model's inputs have, and of those that are elements of inputs.
static llvm::StringSet<> knownDims(ModuleOp program, func::FuncOp main) {
  SmallVector<std::string> names;
  DimSymbols none(program.getContext());
  llvm::StringSet<> known;
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    if (auto texts = main.getArgAttrOfType<ArrayAttr>(i, "snug.dims"))
      for (StringRef text : texts.getAsValueRange<StringAttr>())
        none.parse(text, names);
    if (auto elements = main.getArgAttrOfType<ArrayAttr>(i, kValueDims))
      for (StringRef name : elements.getAsValueRange<StringAttr>())
        known.insert(name);
  }
  for (const std::string &name : names)
    known.insert(name);
  return known;
}

// Makes dims of the elements of input `index`, of which `words` says the values or ranges; gives what is wrong, if anything.
static std::string boundValues(ModuleOp program, unsigned index, RankedTensorType type, ArrayRef<StringRef> words,
                               std::vector<std::string> &dims) {
  auto main = program.lookupSymbol<func::FuncOp>("main");
  if (!isa<IntegerType>(type.getElementType()) || type.getElementType().isInteger(1))
    return "only integers can be bounded";
  if (!type.hasStaticShape() || type.getRank() > 1 || type.getNumElements() < 1 || type.getNumElements() > 64)
    return "only a number, or a list of a fixed length up to 64, can be bounded";
  int64_t count = type.getNumElements();
  if (static_cast<int64_t>(words.size()) != count && words.size() != 1)
    return "the input has " + std::to_string(count) + " elements, given are " + std::to_string(words.size());
  // A name that can stand in expressions.
  std::string base = main.getArgAttrOfType<StringAttr>(index, "snug.name").str();
  for (char &c : base)
    c = llvm::isAlnum(c) || c == '_' || c == '.' || c == ':' ? c : '_';
  if (llvm::isDigit(base[0]))
    base = "_" + base;
  llvm::StringSet<> known = knownDims(program, main);
  SmallVector<Attribute> names;
  for (int64_t element = 0; element < count; ++element) {
    StringRef word = words[words.size() == 1 ? 0 : element].trim();
    auto [low, high] = word.split("..");
    int64_t first, last;
    if (low.trim().getAsInteger(10, first) || (high.empty() ? low : high).trim().getAsInteger(10, last))
      return "'" + printable(word.str()) + "' is neither a number nor a range A..B";
    if (first < 0 || last < first)
      return "'" + printable(word.str()) + "': what decides sizes is 0 or more, and a range goes up";
    std::string name = base + (count > 1 || type.getRank() > 1 ? "." + std::to_string(element) : "");
    while (known.contains(name))
      name += ".value";
    names.push_back(StringAttr::get(program.getContext(), name));
    dims.push_back(name + "=" + std::to_string(first) + ".." + std::to_string(last));
  }
  main.setArgAttr(index, kValueDims, ArrayAttr::get(program.getContext(), names));
  return "";
}

int snug::markInputValues(ModuleOp program, const CompileOptions &options, std::vector<std::string> &dims) {
  auto main = program.lookupSymbol<func::FuncOp>("main");
  for (const std::string &definition : options.values) {
    auto refuse = [&](const Twine &why) {
      return options.console.fail(SNUG_EXIT_USAGE, "--value " + printable(definition) + ": " + why);
    };
    auto [name, text] = StringRef(definition).split('=');
    name = name.trim();
    SmallVector<StringRef> words;
    if (!text.trim().empty())
      text.split(words, ',');
    std::optional<unsigned> index;
    std::string names;
    for (unsigned i = 0; i < main.getNumArguments(); ++i)
      if (auto known = main.getArgAttrOfType<StringAttr>(i, "snug.name")) {
        names += (names.empty() ? "" : ", ") + known.str();
        if (known.getValue() == name)
          index = i;
      }
    if (!index)
      return refuse("the model has no input '" + printable(name.str()) + "'; its inputs are " + printable(names));
    auto type = dyn_cast<RankedTensorType>(main.getArgument(*index).getType());
    if (!type || !type.getElementType().isIntOrFloat())
      return refuse("only a tensor of integers, booleans or floating-point numbers can be fixed");
    if (main.getArgAttr(*index, kArgumentValue) || main.getArgAttr(*index, kValueDims))
      return refuse("the input is given twice");
    if (text.contains("..")) {
      if (std::string problem = boundValues(program, *index, type, words, dims); !problem.empty())
        return refuse(problem);
      continue;
    }
    SmallVector<int64_t> shape(type.getShape());
    if (type.getRank() == 1 && type.isDynamicDim(0))
      shape[0] = words.size();
    if (llvm::is_contained(shape, ShapedType::kDynamic))
      return refuse("the input has dims that are not fixed");
    int64_t count = ShapedType::getNumElements(shape);
    if (count != static_cast<int64_t>(words.size()))
      return refuse("the input has " + Twine(count) + " elements, given are " + Twine(words.size()));
    SmallVector<Attribute> elements;
    for (StringRef word : words) {
      elements.push_back(parseNumber(word.trim(), type.getElementType()));
      if (!elements.back())
        return refuse("'" + printable(word.str()) + "' is no number of the input's type");
    }
    main.setArgAttr(*index, kArgumentValue,
                    DenseElementsAttr::get(RankedTensorType::get(shape, type.getElementType()), elements));
  }
  return SNUG_EXIT_DONE;
}
