// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/InputValues.h"
#include "lib/analysis/Arguments.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
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

int snug::markInputValues(ModuleOp program, const CompileOptions &options) {
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
    if (text.contains(".."))
      return refuse("a range of values is not supported; give the value, as in " + printable(name.str()) + "=4");
    auto type = dyn_cast<RankedTensorType>(main.getArgument(*index).getType());
    if (!type || !type.getElementType().isIntOrFloat())
      return refuse("only a tensor of integers, booleans or floating-point numbers can be fixed");
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
