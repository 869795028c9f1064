// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which elements of tensors are computed from which others, by the index rules, in boxes: each position of a tensor is
// cut where slices and parts of it begin and end, so that a box is read, or written, as a whole or not at all.
#ifndef SNUG_PASSES_CHUNK_ELEMENTGRAPH_H
#define SNUG_PASSES_CHUNK_ELEMENTGRAPH_H

#include "passes/chunk/ChunkProblem.h"

namespace snug {

/// Along one position of an operand, the elements that an element of the result is computed from.
struct ReadAxis {
  enum Kind {
    Whole,  ///< all in [lo, hi)
    Linked, ///< those of `window` from d * stride + lo on, where d is the place of a dim in the result
    Unknown
  } kind = Whole;
  int64_t lo = 0, hi = 0;
  int64_t stride = 1, window = 1, dilation = 1;
  int dim = -1;
  std::vector<int> inner; ///< dims in the result, too, that tell the elements of a stride apart
  bool isClipped = false; ///< may lie outside of the operand, where nothing is read
};

/// Where a dim is in the result: at d * scale + offset and behind, up to the next one, if it is the outermost there.
struct ResultDim {
  int position = -1;
  int64_t scale = 1, offset = 0, extent = 1;
  bool isOutermost = false;
};

/// An operand of a node, and a result of it.
struct ElementRead {
  int node = -1, operand = -1, result = -1;
  std::vector<ReadAxis> axes;
  std::vector<ResultDim> dims;
  bool isBijective = false;    ///< each element of either is one of the other
  std::vector<int64_t> lo, hi; ///< not empty: of a destination, the box of the result that is written over it
};

/// A place at which a position of a value is cut besides.
struct ElementCut {
  int value = -1, position = -1;
  int64_t at = 0;
};

/// Of each position, the intervals between cuts, one bit each.
using Coverage = std::vector<uint32_t>;

class ElementGraph {
public:
  /// Of `unknown` reads and axes of them, nothing is said.
  explicit ElementGraph(const ChunkProblem &problem, const std::vector<ElementCut> &more = {},
                        const std::vector<std::pair<int, int>> &unknown = {});

  std::vector<ElementRead> reads;
  std::vector<std::vector<int>> readsOf, readsFor;     ///< by operand; by result
  std::vector<std::vector<std::vector<int64_t>>> cuts; ///< of each position of a value: begins, and the end

  int numBoxes() const { return firstBox.back(); }
  int firstBoxOf(int value) const { return firstBox[value]; }
  int endOf(int value) const { return firstBox[value + 1]; } ///< no boxes: not in a buffer that may be written
  int valueOf(int box) const { return values[box]; }
  int64_t bytesOf(int box) const { return bytes[box]; }
  int64_t beginOf(int box, int position) const { return intervalOf(box, position).begin; }
  /// Whether the slices of a loop over this position of the value may overlap.
  bool hasWindow(int value, int position) const { return windows[value][position]; }

  /// Whether all is the same if slabs of the value along this position change places: all that has such slabs, too, is
  /// read slab by slab, or as a whole.
  bool isSymmetric(int value, int position) const;
  /// Reads and axes of them but for which all is the same if slabs along either position change places, each by itself.
  /// False if there is no telling.
  bool separate(int value, int position, int other, std::vector<std::pair<int, int>> &unknown) const;

  /// What elements with this coverage of the result are computed from: for each index in the covered intervals, one
  /// along the positions where none is. False where that may be nothing.
  bool coveredBy(const ElementRead &read, const Coverage &of, Coverage &covered) const;
  bool coversAll(int value, const Coverage &coverage) const;
  bool coversBox(const Coverage &coverage, int box) const;
  /// Some element of the result's box may be computed from one of the operand's box.
  bool mayRead(const ElementRead &read, int operandBox, int resultBox) const;
  /// Each element of the result's box is computed from one or more of the operand's box.
  bool alwaysReads(const ElementRead &read, int operandBox, int resultBox) const;
  /// Pairs of elements of the boxes, each computed from the other of the pair, so many for each element of either box.
  bool isRegular(const ElementRead &read, int operandBox, int resultBox) const;
  /// Each element of the operand's box is read for some of the result.
  bool isReadAll(const ElementRead &read, int operandBox) const;
  /// Elements of the operand that each element of the result is computed from, at least.
  int64_t elementsRead(const ElementRead &read) const;

private:
  struct Interval {
    int64_t begin, end;
  };
  ElementRead readOf(int id, const ChunkNode &node, const ChunkUse &use, const ChunkUse &result) const;
  void add(ElementRead read);
  bool addReshape(int node);
  void addCuts(const std::vector<ElementCut> &more);
  template <class Visit> void visitLinks(int value, int position, Visit visit) const;
  void addBoxes();
  bool hasWindows(int value, int position) const;
  Interval intervalOf(int box, int position) const;
  Interval dimsOf(const ResultDim &dim, Interval interval, bool &exact) const;
  Interval dimsIn(const ResultDim &dim, int resultBox) const;
  bool isOutside(const ElementRead &read, int box) const;

  const ChunkProblem &problem;
  std::vector<int> firstBox, values;
  std::vector<int64_t> bytes;
  std::vector<std::vector<bool>> windows;
};

} // namespace snug

#endif
