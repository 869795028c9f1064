// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/DrawMemory.h"
#include "dialects/plan/Buckets.h"
#include "dialects/plan/PlanDialect.h"
#include "lib/analysis/BufferLife.h"
#include "lib/analysis/IndexBounds.h"
#include "lib/analysis/NodeName.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"
#include "mlir/Interfaces/LoopLikeInterface.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>

using namespace mlir;
using namespace snug;

static std::string typeText(MemRefType type) {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << type.getElementType() << "[";
  llvm::interleaveComma(type.getShape(), os, [&](int64_t size) {
    if (ShapedType::isDynamic(size))
      os << "?";
    else
      os << size;
  });
  os << "]";
  return text;
}

static std::vector<std::string> namesOf(Operation *op) {
  SmallVector<std::string> names = nodeNames(op->getLoc());
  return {names.begin(), names.end()};
}

static bool isControl(Operation *op) { return isa<LoopLikeOpInterface, scf::IfOp>(op); }

static bool isKernel(Operation *op) {
  return llvm::any_of(op->getOperandTypes(), llvm::IsaPred<BaseMemRefType>) && !isMemoryEffectFree(op);
}

// Whether it computes one of the values; an op that does not say what it writes counts.
static bool writes(Operation *op, const llvm::SetVector<Value> &values) {
  auto kernel = dyn_cast<DestinationStyleOpInterface>(op);
  return !kernel || llvm::any_of(kernel.getDpsInits(), [&](Value init) { return values.contains(init); });
}

namespace {
class Picture {
public:
  explicit Picture(func::FuncOp function) : function(function), timeline(function) {}

  MemoryPicture draw(ModuleOp module) {
    collect(function.front(), 1);
    IndexBounds bounds(module);
    plan::ArenaOp arena;
    function.walk([&](plan::ArenaOp op) { arena = op; });
    if (arena) {
      picture.arena = cast<MemRefType>(arena.getType()).getDimSize(0);
      for (Operation *user : arena->getUsers())
        if (auto view = dyn_cast<memref::ViewOp>(user))
          add(view, arena.getAlignment(), bounds);
    }
    // Uses are listed last first.
    llvm::sort(picture.buffers, [](const PictureBuffer &a, const PictureBuffer &b) {
      return std::tie(a.begin, a.offset, a.end) < std::tie(b.begin, b.offset, b.end);
    });
    std::vector<int64_t> change(picture.steps.size() + 1);
    for (const PictureBuffer &buffer : picture.buffers) {
      change[buffer.begin] += buffer.bytes;
      change[buffer.end] -= buffer.bytes;
    }
    int64_t live = 0;
    for (size_t step = 0; step < picture.steps.size(); ++step) {
      picture.live.push_back(live += change[step]);
      if (picture.peakStep < 0 || live > picture.live[picture.peakStep])
        picture.peakStep = step;
    }
    return std::move(picture);
  }

private:
  void collect(Block &block, int64_t level) {
    for (Operation &op : block) {
      if (isControl(&op)) {
        bool loops = isa<LoopLikeOpInterface>(op);
        size_t loop = picture.loops.size();
        if (loops) {
          auto index = op.getAttrOfType<IntegerAttr>("snug.chunk_loop");
          picture.loops.push_back({stepAt(timeline.of(&op).lower), 0, level, index ? index.getInt() : -1});
        }
        for (Region &region : op.getRegions())
          for (Block &inner : region)
            collect(inner, level + loops);
        if (loops)
          picture.loops[loop].end = picture.steps.size();
      } else if (isKernel(&op)) {
        times.push_back(timeline.of(&op).lower);
        picture.steps.push_back({op.getName().stripDialect().str(), namesOf(&op)});
      }
    }
  }

  // Of the first kernel that does not start before `time`.
  int64_t stepAt(int64_t time) const { return std::lower_bound(times.begin(), times.end(), time) - times.begin(); }

  void add(memref::ViewOp view, int64_t alignment, IndexBounds &bounds) {
    auto uses = bufferUses(view.getResult());
    if (failed(uses))
      return;
    auto life = liveSpan(view, uses->accesses, timeline);
    std::optional<int64_t> bytes = bounds.bytes(view.getType(), view.getSizes());
    std::optional<int64_t> offset = plannedOffset(view.getByteShift());
    if (failed(life) || !*life || !bytes || !offset)
      return; // never looked at; all else the plan's verifier has refused
    PictureBuffer buffer;
    buffer.begin = stepAt((*life)->lower);
    buffer.end = stepAt((*life)->upper);
    buffer.offset = *offset;
    buffer.bytes = llvm::alignTo(*bytes, alignment);
    buffer.type = typeText(view.getType());
    llvm::sort(uses->accesses, [&](Operation *a, Operation *b) { return timeline.of(a).lower < timeline.of(b).lower; });
    for (Operation *access : uses->accesses) {
      if (!writes(access, uses->aliases))
        continue;
      if (buffer.op.empty())
        buffer.op = access->getName().stripDialect().str();
      for (const std::string &name : namesOf(access))
        if (!llvm::is_contained(buffer.nodes, name))
          buffer.nodes.push_back(name);
    }
    picture.buffers.push_back(std::move(buffer));
  }

  func::FuncOp function;
  Timeline timeline;
  std::vector<int64_t> times; // of the steps
  MemoryPicture picture;
};
} // namespace

MemoryPicture snug::drawMemory(ModuleOp planned) {
  for (auto function : planned.getOps<func::FuncOp>())
    if (!function.isDeclaration() && llvm::hasSingleElement(function.getBody()))
      return Picture(function).draw(planned);
  return {};
}
