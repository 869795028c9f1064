// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loop. Iterations become a loop over tensors, or one piece of code each, where they are few or what they carry changes in
// no regular way.
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/canonicalize/FirstError.h"
#include "passes/canonicalize/ops/ControlFlow.h"
#include "passes/canonicalize/ops/LoopCourse.h"

using namespace mlir;
using namespace snug;

namespace {
// So many iterations are no loop, but written out.
constexpr int64_t kFewIterations = 2;
// Beyond this many the code would be too much.
constexpr int64_t kMostIterations = 1024;

using Values = LoweredValues;

LoweredValue boolean(Lowering &l, bool value) { return l.splatValue(l.b.getBoolAttr(value), {}); }

LoweredValue number(Lowering &l, AffineExpr value) { return l.intsValue(l.b.getI64Type(), {value}, /*scalar=*/true); }

bool holdsSequence(const LoweredValue &value) { return value.isSequence; }

class LoopLowering {
public:
  explicit LoopLowering(Lowering &l) : l(l) {}

  LogicalResult run() {
    auto region = bodyOf(l, "body");
    if (failed(region))
      return failure();
    body = *region;
    std::optional<Extents> trips = l.hasInput(0) ? l.ints(l.input(0)) : std::nullopt;
    if (trips && trips->size() == 1)
      count = (*trips)[0];
    if (auto constant = dyn_cast_or_null<AffineConstantExpr>(count); constant && constant.getValue() < 0)
      count = l.constant(0);
    isCounted = l.hasInput(0);
    starting = l.hasInput(1) ? l.input(1) : boolean(l, true);
    starts = knownCondition(l, starting);
    if (starts && !*starts)
      count = l.constant(0);
    for (unsigned i = 2; i < l.numInputs(); ++i)
      initial.push_back(l.input(i));
    unsigned yields = body->front().getTerminator()->getNumOperands();
    if (yields < 1 + initial.size() || body->front().getNumArguments() != 2 + initial.size())
      return l.error() << "the body takes " << body->front().getNumArguments() << " values and gives " << yields << ", given are "
                       << initial.size() << " that it carries";
    numCollected = yields - 1 - initial.size();
    auto number = dyn_cast_or_null<AffineConstantExpr>(count);
    if (number && number.getValue() > INT32_MAX) { // what exporters write for none
      number = nullptr;
      count = nullptr;
      isCounted = false;
    }
    if (number && number.getValue() > 0 &&
        (number.getValue() <= kFewIterations || llvm::any_of(initial, holdsSequence)))
      return writtenOut(number.getValue());
    if (succeeded(attempt([&] { return asLoop(); })))
      return success();
    if (findCourses() && succeeded(attempt([&] { return asLoop(); })))
      return success();
    if (number && number.getValue() > 0 && number.getValue() <= kMostIterations) {
      auto loopProblem = problem;
      auto loopPlace = where;
      if (succeeded(attempt([&] { return writtenOut(number.getValue()); })))
        return success();
      if (isOpenEnded) { // why it is no loop says more
        problem = loopProblem;
        where = loopPlace;
      }
    }
    return failure();
  }

  // Says what stood in the way, once nothing else listens.
  LogicalResult say() { return problem ? LogicalResult(emitError(where.value_or(l.loc())) << *problem) : failure(); }

private:
  // Keeps what it says if it fails.
  LogicalResult attempt(llvm::function_ref<LogicalResult()> lower) {
    FirstError tried(l.b.getContext());
    if (succeeded(lower()))
      return success();
    problem = tried.text;
    where = tried.where;
    return failure();
  }

  // An iteration: whether to go on, and what it carries and collects.
  struct Iteration {
    LoweredValue goesOn;
    Lowering::LoopStep step;
  };

  FailureOr<Iteration> iterate(LoweredValue place, LoweredValue goesOn, ArrayRef<LoweredValue> carried) {
    Values arguments = {place, goesOn};
    llvm::append_range(arguments, carried);
    auto results = l.lowerBody(*body, arguments);
    if (failed(results))
      return failure();
    ArrayRef<LoweredValue> all = *results;
    Iteration made;
    made.goesOn = all[0];
    made.step.carried = all.slice(1, initial.size()).vec();
    made.step.collected = all.drop_front(1 + initial.size()).vec();
    return made;
  }

  LogicalResult unbounded() {
    return l.error() << "nothing bounds how often it runs: its trip count is "
                     << (isCounted ? "computed from data" : "not given")
                     << "; an input that states it is known with --value NAME=COUNT, or bounded with --value NAME=A..B";
  }

  // --- values whose course is known

  // Lowers two iterations to see how what is carried changes, and what bounds their number. Whether that is worth another
  // attempt.
  bool findCourses() {
    FirstError unheard(l.b.getContext());
    size_t numRequirements = l.requirements.size();
    auto first = iterate(number(l, l.constant(0)), boolean(l, true), initial);
    SmallVector<Continuation> afterFirst = continuations(l, condition());
    FailureOr<Iteration> second = failure();
    if (succeeded(first))
      second = iterate(number(l, l.constant(1)), boolean(l, true), first->step.carried);
    SmallVector<Continuation> afterSecond = continuations(l, condition());
    l.requirements.truncate(numRequirements);
    if (failed(second))
      return false;
    bool isNew = false;
    for (auto [before, after, next] : llvm::zip_equal(initial, first->step.carried, second->step.carried)) {
      courses.push_back(courseOf(l, before, after, next));
      isNew |= courses.back().grows() || courses.back().isKnown();
    }
    for (const Continuation &one : afterFirst)
      for (const Continuation &other : afterSecond) {
        auto decrease = dyn_cast<AffineConstantExpr>(sumOfProducts(one.slack - other.slack));
        if (count || one.comparison != other.comparison || !decrease || decrease.getValue() < 1)
          continue;
        auto most = iterationsUntil(l, one.slack, decrease.getValue());
        if (!most)
          continue;
        count = *most;
        ending = Ending{one, decrease.getValue()};
        isNew = true;
      }
    return isNew;
  }

  Value condition() { return body->front().getTerminator()->getOperand(0); }

  const Course &courseAt(unsigned index) {
    static const Course none;
    return courses.empty() ? none : courses[index];
  }

  Extents shapeIn(unsigned index, AffineExpr iteration) {
    Extents shape = initial[index].shape;
    for (auto [extent, growth] : llvm::zip(shape, courseAt(index).growth))
      extent = normalExtent(extent + growth * iteration);
    return shape;
  }

  // What the loop carries: of a value that grows a whole of its largest shape, which it begins; of one that is known nothing.
  FailureOr<Values> kept(ArrayRef<LoweredValue> values, AffineExpr iteration, ArrayRef<LoweredValue> into) {
    Values result;
    for (auto [index, given] : llvm::enumerate(values)) {
      const Course &course = courseAt(index);
      LoweredValue value = given;
      if (course.isKnown()) {
        auto elements = l.list(value);
        auto expected = l.list(elementsIn(index, iteration));
        if (!elements || !llvm::equal(*elements, *expected, areEqualExtents))
          return l.error() << "value " << index << " that the loop carries does not go on as it begins";
      } else if (course.grows()) {
        Extents shape = shapeIn(index, iteration);
        if (value.rank() != initial[index].rank() || !llvm::equal(value.shape, shape, areEqualExtents))
          return l.error() << "value " << index << " that the loop carries is " << l.print(value.shape) << " where " << l.print(shape)
                           << " would go on as it begins";
        LoweredValue whole = into.empty() ? largest(index) : into[result.size()];
        SmallVector<OpFoldResult> offsets(shape.size(), l.b.getIndexAttr(0)), strides(shape.size(), l.b.getIndexAttr(1));
        auto sizes = llvm::map_to_vector(shape, [&](AffineExpr extent) { return l.fold(extent); });
        Value filled = tensor::InsertSliceOp::create(l.b, l.loc(), l.tensor(value), l.tensor(whole), offsets, sizes, strides);
        result.push_back(l.tensorValue(filled, whole.shape, whole.elementType));
      } else {
        result.push_back(value);
      }
    }
    return result;
  }

  LoweredValue largest(unsigned index) {
    Extents shape = shapeIn(index, count);
    return l.tensorValue(l.empty(shape, initial[index].elementType), shape, initial[index].elementType);
  }

  LoweredValue elementsIn(unsigned index, AffineExpr iteration) {
    Extents elements = *l.list(initial[index]);
    for (auto [element, step] : llvm::zip_equal(elements, courseAt(index).steps))
      element = normalExtent(element + step * iteration);
    return l.intsValue(initial[index].elementType, elements, initial[index].rank() == 0);
  }

  // The carried values before an iteration.
  Values valuesIn(ArrayRef<LoweredValue> carried, AffineExpr iteration) {
    Values values;
    for (unsigned index = 0, next = 0; index < initial.size(); ++index) {
      if (courseAt(index).isKnown()) {
        values.push_back(elementsIn(index, iteration));
        continue;
      }
      LoweredValue value = carried[next++];
      if (courseAt(index).grows()) {
        SmallVector<AffineExpr> offsets(value.rank(), l.constant(0));
        value = l.slice(value, offsets, shapeIn(index, iteration), SmallVector<int64_t>(value.rank(), 1));
      }
      values.push_back(value);
    }
    return values;
  }

  // An iteration of a loop that carries `carried` as kept() says.
  FailureOr<Iteration> iterateKept(AffineExpr iteration, ArrayRef<LoweredValue> carried) {
    auto made = iterate(number(l, iteration), boolean(l, true), valuesIn(carried, iteration));
    if (failed(made))
      return failure();
    if (ending) { // what the bound of iterations rests on
      auto same = llvm::find_if(continuations(l, condition()), [&](const Continuation &one) {
        return one.comparison == ending->first.comparison &&
               areEqualExtents(one.slack, ending->first.slack - iteration * ending->decrease);
      });
      if (!same)
        return LogicalResult(unbounded());
    }
    auto next = kept(made->step.carried, iteration + 1, carried);
    if (failed(next))
      return failure();
    made->step.carried = *next;
    return made;
  }

  LogicalResult asLoop() {
    if (!count)
      return unbounded();
    SmallVector<Lowering::Collecting> collecting(numCollected);
    bool computed = !starts;
    FailureOr<Values> results = failure();
    if (!computed) {
      auto begin = kept(initial, l.constant(0), {});
      if (failed(begin))
        return failure();
      auto step = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
        auto made = iterateKept(iteration, carried);
        if (failed(made))
          return failure();
        auto goesOn = knownCondition(l, made->goesOn);
        computed = !goesOn || !*goesOn;
        if (computed)
          return failure();
        return made->step;
      };
      results = l.loop(count, *begin, collecting, step);
      if (succeeded(results))
        results = completed(*results, begin->size(), count);
    }
    if (computed)
      results = untilFalse();
    if (failed(results))
      return failure();
    defineAll(l, *results);
    return success();
  }

  // What the op gives of what the loop does: first `numKept` carried values.
  Values completed(ArrayRef<LoweredValue> results, size_t numKept, AffineExpr iterations) {
    Values values = valuesIn(results.take_front(numKept), iterations);
    llvm::append_range(values, results.drop_front(numKept));
    return values;
  }

  // All iterations run, but those after the condition has become false do nothing. Where some values are collected or have
  // a course, those before are counted: what is collected has as many parts.
  FailureOr<Values> untilFalse() {
    bool isCounting = numCollected || llvm::any_of(courses, [](const Course &one) { return one.grows() || one.isKnown(); });
    auto begin = kept(initial, l.constant(0), {});
    if (failed(begin))
      return failure();
    size_t numKept = begin->size();
    Values all = *begin;
    LoweredValue first = starting;
    if (first.rank() > 0) {
      auto scalar = l.reshape(first, {});
      if (failed(scalar))
        return failure();
      first = *scalar;
    }
    all.push_back(first);
    if (isCounting)
      all.push_back(number(l, l.constant(0)));
    auto step = [&](AffineExpr iteration, ArrayRef<LoweredValue> carried) -> FailureOr<Lowering::LoopStep> {
      LoweredValue goesOn = carried[numKept];
      Values parts; // of the last iteration that was lowered
      auto next = [&]() -> FailureOr<Values> {
        unsigned inside = l.symbolValues.size();
        auto made = iterateKept(iteration, carried.take_front(numKept));
        if (failed(made))
          return failure();
        parts = made->step.collected;
        for (const LoweredValue &part : parts)
          if (part.isSequence || llvm::any_of(part.shape, [&](AffineExpr extent) { return l.isMadeInside(extent, inside); }))
            return l.error() << "what an iteration collects is a sequence, or of a size that is computed from data in it; that is not "
                                "supported";
        Values values = made->step.carried;
        auto scalar = made->goesOn.rank() ? l.reshape(made->goesOn, {}) : FailureOr<LoweredValue>(made->goesOn);
        if (failed(scalar))
          return failure();
        values.push_back(*scalar);
        if (isCounting)
          values.push_back(number(l, iteration + 1));
        llvm::append_range(values, parts);
        return values;
      };
      auto rest = [&]() -> FailureOr<Values> {
        Values values = carried.vec();
        for (const LoweredValue &part : parts) // nobody sees it
          values.push_back(l.splatValue(numberAttr(part.elementType, 0), part.shape, part.elementType));
        return values;
      };
      auto results = l.branch(goesOn, next, rest);
      if (failed(results))
        return failure();
      ArrayRef<LoweredValue> given = *results;
      return Lowering::LoopStep{given.take_front(carried.size()).vec(), given.drop_front(carried.size()).vec()};
    };
    auto results = l.loop(count, all, SmallVector<Lowering::Collecting>(numCollected), step);
    if (failed(results))
      return failure();
    ArrayRef<LoweredValue> given = *results;
    if (!isCounting)
      return given.take_front(numKept).vec();
    LoweredValue done = given[numKept + 1];
    AffineExpr iterations = l.dataExtent(done, count);
    Values values = valuesIn(given.take_front(numKept), iterations);
    for (LoweredValue whole : given.drop_front(numKept + 2)) {
      Extents sizes = whole.shape;
      sizes[0] = iterations;
      SmallVector<AffineExpr> offsets(whole.rank(), l.constant(0));
      values.push_back(l.slice(whole, offsets, sizes, SmallVector<int64_t>(whole.rank(), 1)));
    }
    return values;
  }

  LogicalResult writtenOut(int64_t times) {
    Values carried = initial;
    std::vector<Values> collected(numCollected);
    LoweredValue goesOn = starting;
    for (int64_t i = 0; i < times; ++i) {
      auto known = knownCondition(l, goesOn);
      if ((isOpenEnded = !known))
        return l.error() << "whether iteration " << i << " runs is computed from data";
      if (!*known)
        break;
      auto made = iterate(number(l, l.constant(i)), goesOn, carried);
      if (failed(made))
        return failure();
      carried = made->step.carried;
      goesOn = made->goesOn;
      for (auto [list, value] : llvm::zip_equal(collected, made->step.collected)) {
        Extents shape = value.shape;
        shape.insert(shape.begin(), l.constant(1));
        auto part = l.reshape(value, shape);
        if (failed(part))
          return failure();
        list.push_back(*part);
      }
    }
    for (Values &parts : collected) {
      auto whole = l.concat(parts, 0);
      if (failed(whole))
        return failure();
      carried.push_back(*whole);
    }
    defineAll(l, carried);
    return success();
  }

  Lowering &l;
  Region *body = nullptr;
  AffineExpr count; // null where it is not known
  bool isCounted = false;
  LoweredValue starting; // the condition before it
  std::optional<bool> starts;
  Values initial;
  std::vector<Course> courses; // of the carried values; none while nothing is known of them
  struct Ending {
    Continuation first; // after iteration 0
    int64_t decrease;   // of its slack from one iteration to the next
  };
  std::optional<Ending> ending; // what bounds the number of iterations, where `count` does not come from the op's input
  unsigned numCollected = 0;
  bool isOpenEnded = false; // data ends it
  std::optional<std::string> problem;
  std::optional<Location> where;
};

} // namespace

LogicalResult snug::loopOp(Lowering &l) {
  LoopLowering lowering(l);
  return succeeded(lowering.run()) ? success() : lowering.say();
}

