// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/shard/CutCandidates.h"
#include "mlir/IR/Block.h"
#include "mlir/IR/Operation.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace snug;

// More are not looked at; each is a dim, in one of the ways in which it falls into segments.
static constexpr size_t kMostCuts = 12;

CutCandidates::CutCandidates(Block &block, ArrayRef<KnownLayout> known) {
  for (Operation &op : block)
    entries.try_emplace(&op, Entry{ShardRule::of(&op), {}});
  for (const auto &[value, layout] : known) // first, as there is room for so many only
    follow(value, layout);
  spreadAll();
  for (Operation &op : block) {
    const ShardRule &rule = ruleOf(&op);
    bool contracts = false;
    for (unsigned dim = 0; dim < rule.extents().size(); ++dim)
      contracts |= rule.isReduction(dim);
    for (unsigned dim = 0; contracts && dim < rule.extents().size(); ++dim)
      add(&op, {dim, {rule.extents()[dim]}});
  }
  spreadAll();
}

void CutCandidates::spreadAll() {
  while (!work.empty()) {
    auto [op, cut] = std::move(work.back());
    work.pop_back();
    spread(op, cut);
  }
}

void CutCandidates::add(Operation *op, IterationCut cut) {
  auto found = entries.find(op);
  if (found == entries.end() || !found->second.rule.allows(cut) || found->second.cuts.size() >= kMostCuts ||
      llvm::is_contained(found->second.cuts, cut))
    return;
  found->second.cuts.push_back(cut);
  work.push_back({op, cut});
  cut.isRing = true; // where it has keys that can go round
  if (found->second.rule.keysOfRing(cut))
    add(op, std::move(cut));
}

void CutCandidates::spread(Operation *op, const IterationCut &cut) {
  const ShardRule &rule = ruleOf(op);
  for (unsigned i = 0; i < op->getNumOperands(); ++i)
    if (auto layout = rule.operandLayout(i, cut))
      follow(op->getOperand(i), *layout);
  for (unsigned i = 0; i < op->getNumResults(); ++i)
    if (auto layout = rule.resultLayout(i, cut))
      follow(op->getResult(i), *layout);
}

void CutCandidates::follow(Value value, const AxisLayout &layout) {
  if (layout.kind == AxisLayout::Whole)
    return;
  if (Operation *producer = value.getDefiningOp(); producer && entries.count(producer))
    for (IterationCut &cut : ruleOf(producer).cutsOfResult(cast<OpResult>(value).getResultNumber(), layout))
      add(producer, std::move(cut));
  for (OpOperand &use : value.getUses())
    if (entries.count(use.getOwner()))
      for (IterationCut &cut : ruleOf(use.getOwner()).cutsOfOperand(use.getOperandNumber(), layout))
        add(use.getOwner(), std::move(cut));
}
