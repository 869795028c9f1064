// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sequences: lists of values at compile time, or the parts of one value, whose number only the run tells.
#include "passes/canonicalize/LoweringTable.h"
#include "passes/canonicalize/StringType.h"
#include "passes/canonicalize/ops/Layout.h"

using namespace mlir;
using namespace snug;

namespace {
LoweredValue sequenceOf(LoweredValues elements) {
  LoweredValue value;
  value.isSequence = true;
  value.elements = std::move(elements);
  return value;
}

// Of more elements a sequence is no list of values, but parts of one, as where only the run tells how many there are.
constexpr int64_t kMostElements = 1024;

LogicalResult splitToSequence(Lowering &l) {
  LoweredValue &in = l.input(0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), in.rank());
  if (!axis)
    return failure();
  auto extent = dyn_cast<AffineConstantExpr>(in.shape[*axis]);
  auto given = l.hasInput(1) ? l.ints(l.input(1)) : std::nullopt;
  bool drop = !l.hasInput(1) && !l.intAttr("keepdims", 1);
  std::optional<Extents> lengths;
  if (given && l.input(1).rank() == 1) {
    lengths = given;
  } else if (auto step = given ? dyn_cast<AffineConstantExpr>((*given)[0]) : AffineConstantExpr();
             step ? step.getValue() > 0 : !l.hasInput(1)) {
    // A scalar is the length of each part but the last; without it each part has one element.
    int64_t length = step ? step.getValue() : 1;
    if (!extent || extent.getValue() / length > kMostElements) {
      LoweredValue parts = sequenceOf({in});
      parts.parts = Parts{*axis, length, drop};
      l.define(0, parts);
      return success();
    }
    lengths.emplace();
    for (int64_t at = 0; at < extent.getValue(); at += length)
      lengths->push_back(l.constant(std::min(length, extent.getValue() - at)));
  }
  if (!lengths) {
    l.error() << "cannot tell the lengths of the parts of extent " << l.dims.print(in.shape[*axis]);
    return failure();
  }
  auto pieces = cut(l, in, *axis, *lengths);
  if (failed(pieces))
    return failure();
  for (LoweredValue &piece : *pieces) {
    if (!drop)
      continue;
    Extents shape = piece.shape;
    shape.erase(shape.begin() + *axis);
    auto dropped = l.reshape(piece, shape);
    if (failed(dropped))
      return failure();
    piece = *dropped;
  }
  l.define(0, sequenceOf(std::move(*pieces)));
  return success();
}

// The sequence of input 0 and the place in it that input `index` says, counted from the end where negative; `room` is
// 1 where a place behind the last element is meant.
std::optional<int64_t> placeIn(Lowering &l, unsigned index, int64_t room) {
  int64_t count = l.input(0).elements.size();
  if (!l.input(0).isSequence) {
    l.error() << "input 0 is no sequence";
    return std::nullopt;
  }
  auto position = l.constantInts(l.input(index));
  if (!position || position->size() != 1) {
    l.error() << "a position that is not constant is not supported";
    return std::nullopt;
  }
  int64_t place = (*position)[0] < 0 ? (*position)[0] + count : (*position)[0];
  if (place < 0 || place >= count + room) {
    l.error() << "position " << (*position)[0] << " is outside a sequence of " << count << " elements";
    return std::nullopt;
  }
  return place;
}

AffineExpr countOf(const LoweredValue &sequence) {
  return sequence.elements[0].shape[sequence.parts->axis].ceilDiv(sequence.parts->length);
}

// One of as many parts as the run tells.
LogicalResult partAt(Lowering &l, const LoweredValue &sequence) {
  auto position = l.constantInts(l.input(1));
  if (!position || position->size() != 1)
    return l.error() << "a position that is not constant is not supported";
  int64_t place = (*position)[0];
  auto [axis, length, drops] = *sequence.parts;
  LoweredValue whole = sequence.elements[0];
  AffineExpr count = countOf(sequence), extent = whole.shape[axis];
  constexpr int64_t most = int64_t(1) << 30;
  if (place < -most || place > most || !l.isAtLeast(count, place < 0 ? -place : place + 1))
    return l.error() << "position " << place << " may be outside a sequence of " << l.dims.print(count)
                     << " elements; give the dim a range in which it is not";
  AffineExpr offset = (place < 0 ? count + place : l.constant(place)) * length;
  auto size = length == 1 ? l.constant(1) : l.extremum(extent - offset, l.constant(length), /*larger=*/false);
  if (!size)
    return l.error() << "parts of extent " << l.dims.print(extent) << ", which is computed from data, are not supported";
  Extents offsets(whole.rank(), l.constant(0)), sizes = whole.shape;
  offsets[axis] = offset;
  sizes[axis] = *size;
  LoweredValue part = l.slice(whole, offsets, sizes, SmallVector<int64_t>(whole.rank(), 1));
  if (drops)
    sizes.erase(sizes.begin() + axis);
  return finish(l, l.reshape(part, sizes));
}

LogicalResult sequenceAt(Lowering &l) {
  if (l.input(0).parts)
    return partAt(l, l.input(0));
  auto place = placeIn(l, 1, 0);
  if (!place)
    return failure();
  LoweredValue element = l.input(0).elements[*place];
  l.define(0, element);
  return success();
}

LogicalResult sequenceConstruct(Lowering &l) {
  LoweredValues elements;
  for (unsigned i = 0; i < l.numInputs(); ++i)
    elements.push_back(l.input(i));
  l.define(0, sequenceOf(std::move(elements)));
  return success();
}

LogicalResult sequenceEmpty(Lowering &l) {
  l.define(0, sequenceOf({}));
  return success();
}

LogicalResult sequenceInsert(Lowering &l) {
  LoweredValues elements = l.input(0).elements;
  auto place = l.hasInput(2) ? placeIn(l, 2, 1) : std::optional<int64_t>(elements.size());
  if (!place)
    return failure();
  elements.insert(elements.begin() + *place, l.input(1));
  l.define(0, sequenceOf(std::move(elements)));
  return success();
}

LogicalResult sequenceErase(Lowering &l) {
  LoweredValues elements = l.input(0).elements;
  auto place = l.hasInput(1) ? placeIn(l, 1, 0) : std::optional<int64_t>(static_cast<int64_t>(elements.size()) - 1);
  if (!place || *place < 0)
    return failure();
  elements.erase(elements.begin() + *place);
  l.define(0, sequenceOf(std::move(elements)));
  return success();
}

LogicalResult sequenceLength(Lowering &l) {
  LoweredValue &sequence = l.input(0);
  AffineExpr count = sequence.parts ? countOf(sequence) : l.constant(sequence.elements.size());
  l.define(0, l.intsValue(l.b.getI64Type(), {count}, /*scalar=*/true));
  return success();
}

LogicalResult concatFromSequence(Lowering &l) {
  if (const LoweredValue &sequence = l.input(0); sequence.parts) {
    auto axis = l.normalizeAxis(l.intAttr("axis", 0), sequence.elements[0].rank());
    if (!axis)
      return failure();
    if (*axis != sequence.parts->axis || static_cast<bool>(l.intAttr("new_axis", 0)) != sequence.parts->drops)
      return l.error() << "of a sequence whose length only the run tells, it is supported only along the axis that it was split along";
    l.define(0, LoweredValue(sequence.elements[0]));
    return success();
  }
  LoweredValues parts = l.input(0).elements;
  if (parts.empty()) {
    l.error() << "the sequence is empty";
    return failure();
  }
  bool newAxis = l.intAttr("new_axis", 0);
  auto axis = l.normalizeAxis(l.intAttr("axis", 0), parts[0].rank() + newAxis);
  if (!axis)
    return failure();
  for (LoweredValue &part : parts) {
    if (!newAxis)
      continue;
    Extents shape = part.shape;
    shape.insert(shape.begin() + std::min<int64_t>(*axis, part.rank()), l.constant(1));
    auto grown = l.reshape(part, shape);
    if (failed(grown))
      return failure();
    part = *grown;
  }
  auto result = l.concat(parts, *axis);
  if (failed(result))
    return failure();
  l.define(0, *result);
  return success();
}
} // namespace

void snug::addSequenceOps(LoweringTable &t) {
  t.add("SplitToSequence", 11, splitToSequence, types::Any);
  t.add("SequenceAt", 11, sequenceAt, types::Any);
  t.add("SequenceConstruct", 11, sequenceConstruct, types::Any);
  t.add("SequenceEmpty", 11, sequenceEmpty, types::Any);
  t.add("SequenceInsert", 11, sequenceInsert, types::Any);
  t.add("SequenceErase", 11, sequenceErase, types::Any);
  t.add("SequenceLength", 11, sequenceLength, types::Any);
  t.add("ConcatFromSequence", 11, concatFromSequence, types::Any);
}
