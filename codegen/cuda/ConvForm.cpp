// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "codegen/cuda/ConvForm.h"
#include "codegen/cuda/Kernels.h"
#include "codegen/cuda/Layouts.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace snug;
using namespace snug::codegen;

// Adds the dims of a sum of multiples of dims, with their factors. False where it is something else.
static bool addTerms(AffineExpr expr, int64_t factor, SmallVectorImpl<std::pair<unsigned, int64_t>> &terms) {
  if (auto dim = dyn_cast<AffineDimExpr>(expr)) {
    terms.emplace_back(dim.getPosition(), factor);
    return true;
  }
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue() == 0;
  auto binary = dyn_cast<AffineBinaryOpExpr>(expr);
  if (!binary)
    return false;
  if (binary.getKind() == AffineExprKind::Add)
    return addTerms(binary.getLHS(), factor, terms) && addTerms(binary.getRHS(), factor, terms);
  auto by = dyn_cast<AffineConstantExpr>(binary.getRHS());
  return binary.getKind() == AffineExprKind::Mul && by && by.getValue() > 0 && addTerms(binary.getLHS(), factor * by.getValue(), terms);
}

// What each dim of the contraction is to a convolution. False where that is not all of them.
static bool findDims(const Layouts &layouts, ConvForm &form) {
  unsigned d = layouts.result(), known = 0;
  bool hasChannel = false, hasFilter = false;
  auto isFilters = [&](unsigned dim) { return layouts.place(1, dim).has_value(); };
  auto isMade = [&](unsigned dim) { return layouts.place(d, dim).has_value(); };
  for (auto [place, expr] : llvm::enumerate(layouts.map(0).getResults())) {
    SmallVector<std::pair<unsigned, int64_t>> terms;
    if (!addTerms(expr, 1, terms) || terms.size() > 2)
      return false;
    known += terms.size();
    if (terms.size() == 2 && !isMade(terms[0].first))
      std::swap(terms[0], terms[1]);
    if (terms.empty()) // of one element
      continue;
    auto [dim, factor] = terms[0];
    if (terms.size() == 2) {
      auto [window, dilation] = terms[1];
      if (!isMade(dim) || isFilters(dim) || isMade(window) || !isFilters(window))
        return false;
      form.spatial.push_back({unsigned(place), dim, window, factor, dilation});
    } else if (!isMade(dim)) {
      if (hasChannel || factor != 1 || !isFilters(dim))
        return false;
      form.channel = dim;
      hasChannel = true;
    } else if (isFilters(dim)) {
      if (form.group || factor != 1)
        return false;
      form.group = dim;
    } else if (!form.batch && factor == 1) {
      form.batch = dim;
    } else {
      form.spatial.push_back({unsigned(place), dim, std::nullopt, factor, 1});
    }
  }
  for (unsigned dim = 0, all = layouts.map(0).getNumDims(); dim < all; ++dim)
    if (!layouts.map(0).isFunctionOfDim(dim) && isFilters(dim) && isMade(dim) && !hasFilter) {
      form.filter = dim;
      hasFilter = true;
      ++known;
    }
  bool hasWindow = llvm::any_of(form.spatial, [](const ConvForm::Spatial &one) { return one.window.has_value(); });
  return hasChannel && hasFilter && hasWindow && known == layouts.map(0).getNumDims() && form.spatial.size() <= 3;
}

// What else is read: a tensor like the result, and a vector along its channels.
static bool findReads(const Layouts &layouts, const LibraryEpilogue &epilogue, ConvForm &form, double &beta) {
  SmallVector<unsigned> channels, places;
  if (form.group)
    channels.push_back(*form.group);
  channels.push_back(form.filter);
  if (form.batch)
    places.push_back(*form.batch);
  for (const ConvForm::Spatial &one : form.spatial)
    places.push_back(one.out);
  for (auto [number, weight] : llvm::enumerate(epilogue.weights)) {
    unsigned read = 2 + number;
    if (weight == 0)
      continue;
    if (layouts.elementOf(read) != layouts.elementOf(layouts.result()) || !layouts.hasAll(read, channels) || !layouts.areOne(read, channels))
      return false;
    if (!layouts.hasAny(read, places)) {
      if (form.bias || weight != 1 || layouts.strideOf(read, channels) != 1)
        return false;
      form.bias = read;
      continue;
    }
    if (form.c || !layouts.hasAll(read, places))
      return false;
    form.c = read;
    beta = weight;
  }
  return true;
}

std::optional<ConvForm> ConvForm::of(nn::ContractOp op, const LibraryEpilogue &epilogue) {
  Layouts layouts(op);
  ConvForm form;
  form.op = op;
  unsigned d = layouts.result();
  Type element = layouts.elementOf(0);
  auto isPlain = [](AffineMap map) { return map.isProjectedPermutation(/*allowZeroInResults=*/true); };
  if (op.getPacked() || !layouts.haveStrides() || !haveLibraryTypes(op) || element.isF64() || layouts.elementOf(d) != element ||
      !llvm::all_of(ArrayRef(op.getMaps()).drop_front(), isPlain) || !findDims(layouts, form))
    return std::nullopt;
  llvm::sort(form.spatial, [&](const Spatial &x, const Spatial &y) { return *layouts.place(d, x.out) < *layouts.place(d, y.out); });
  if (form.group && (!layouts.areOne(0, *form.group, form.channel) || !layouts.areOne(d, *form.group, form.filter)))
    return std::nullopt;

  double beta = 0;
  if (!findReads(layouts, epilogue, form, beta))
    return std::nullopt;
  // Neighbours are either those of the last spatial dim or the channels of one place.
  const Spatial &last = form.spatial.back();
  auto liesSo = [&](bool channelsLast) {
    auto like = [&](unsigned operand) { return layouts.strideOf(operand, {channelsLast ? form.filter : last.out}) == 1; };
    bool input = channelsLast ? layouts.strideOf(0, {form.channel}) == 1 : layouts.strideAt(0, last.in) == 1;
    return input && like(d) && (!form.c || like(*form.c));
  };
  form.channelsLast = !liesSo(false);
  if (form.channelsLast && !liesSo(true))
    return std::nullopt;

  Builder builder(op.getContext());
  auto number = [&](double value) { return builder.getF64FloatAttr(value); };
  // What it has engines for in all layouts: a factor; or a bias, with a residual before it and ReLU behind it.
  bool isRelu = epilogue.activation == LibraryEpilogue::Activation::Relu;
  if (epilogue.activation != LibraryEpilogue::Activation::None && !isRelu)
    return std::nullopt;
  // A result may lie where it reads in graphs of one operation only, which adds to it then.
  bool isInPlace = form.c && bufferOf(op->getOperand(*form.c)) == bufferOf(op.getInit());
  bool isAddedTo = isInPlace && areSame(op->getOperand(*form.c), op.getInit()) && layouts.map(*form.c) == layouts.map(d);
  if (isInPlace ? !isAddedTo || form.bias || isRelu : !form.bias && (form.c || isRelu))
    return std::nullopt;
  if (form.bias && epilogue.alpha != 1)
    return std::nullopt;
  form.contraction = plan::ContractionAttr::get(op.getContext(), element, element, form.spatial.size(), /*transposeA=*/false,
                                                /*transposeB=*/false, number(epilogue.alpha), number(beta),
                                                form.bias.has_value(), builder.getStringAttr(isRelu ? "relu" : "none"), element.isF32() && multipliesInTf32(op));
  return form;
}

SmallVector<unsigned> ConvForm::filterDims() const {
  SmallVector<unsigned> dims, windows;
  for (const Spatial &one : spatial)
    if (one.window)
      windows.push_back(*one.window);
  if (group)
    dims.push_back(*group);
  dims.push_back(filter);
  if (channelsLast)
    llvm::append_range(dims, windows);
  dims.push_back(channel);
  if (!channelsLast)
    llvm::append_range(dims, windows);
  return dims;
}

SmallVector<Value> ConvForm::shape(OpBuilder &host, Value workspace) {
  Layouts layouts(op);
  Location loc = op->getLoc();
  unsigned d = layouts.result();
  auto number = [&](int64_t value) -> Value { return arith::ConstantIndexOp::create(host, loc, value); };
  Value none = number(0), one = number(1);
  auto extentOf = [&](std::optional<unsigned> dim) { return dim ? layouts.extent(host, {*dim}) : one; };
  auto strideOf = [&](unsigned operand, std::optional<unsigned> dim) { return dim ? layouts.strideOf(host, operand, {*dim}) : none; };
  Value groups = extentOf(group);
  auto ofAll = [&](unsigned dim) { return host.createOrFold<arith::MulIOp>(loc, groups, extentOf(dim)); };
  SmallVector<Value> values{extentOf(batch), ofAll(channel), ofAll(filter), groups};
  auto perSpatial = [&](Value missing, llvm::function_ref<Value(const Spatial &)> of) {
    for (unsigned i = 0; i < 3; ++i)
      values.push_back(i < spatial.size() ? of(spatial[i]) : missing);
  };
  perSpatial(one, [&](const Spatial &s) { return host.createOrFold<memref::DimOp>(loc, op.getA(), s.in); });
  perSpatial(one, [&](const Spatial &s) { return extentOf(s.window); });
  perSpatial(one, [&](const Spatial &s) { return extentOf(s.out); });
  perSpatial(one, [&](const Spatial &s) { return number(s.step); });
  perSpatial(one, [&](const Spatial &s) { return number(s.dilation); });
  values.append({strideOf(0, batch), strideOf(0, channel)});
  perSpatial(none, [&](const Spatial &s) { return layouts.strideAt(host, 0, s.in); });
  values.append({strideOf(1, filter), strideOf(1, channel)});
  perSpatial(none, [&](const Spatial &s) { return strideOf(1, s.window); });
  for (std::optional<unsigned> made : {c, std::optional(d)}) {
    auto stride = [&](std::optional<unsigned> dim) { return made ? strideOf(*made, dim) : none; };
    values.append({stride(batch), stride(filter)});
    perSpatial(none, [&](const Spatial &s) { return stride(s.out); });
  }
  auto address = [&](std::optional<unsigned> operand) { return operand ? op->getOperand(*operand) : none; };
  values.append({address(0), address(1), address(c), address(d), address(bias), workspace ? workspace : none});
  return values;
}
