// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// First fit and best fit over item orders, and the improvement of an order by promoting items that do not fit.
#include "lib/solver/ArenaSearch.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <tuple>

namespace snug::arena {

static int64_t alignUp(int64_t value, int64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

std::vector<Order> firstFitOrders(const Component &component) {
  const std::vector<Item> &items = component.items;
  size_t count = items.size();
  // The fullest section an item is live in: items at the peak have the least freedom, so they should go first.
  std::vector<int64_t> pressure(count, 0);
  for (size_t i = 0; i < count; ++i)
    for (int32_t s = items[i].first; s <= items[i].last; ++s)
      pressure[i] = std::max(pressure[i], component.sectionTotals[s]);

  auto length = [&](int32_t i) { return static_cast<int64_t>(items[i].last - items[i].first + 1); };
  auto area = [&](int32_t i) { return static_cast<long double>(items[i].size) * length(i); };
  std::vector<Order> orders;
  auto addOrder = [&](auto key) {
    Order order(count);
    std::iota(order.begin(), order.end(), 0);
    // Ties are broken by position: the result must not depend on the library's sort.
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return std::make_pair(key(a), a) < std::make_pair(key(b), b); });
    orders.push_back(std::move(order));
  };
  addOrder([&](int32_t i) { return std::make_tuple(-items[i].size, -length(i)); });
  addOrder([&](int32_t i) { return std::make_tuple(-area(i), -items[i].size); });
  addOrder([&](int32_t i) { return std::make_tuple(-pressure[i], -items[i].size); });
  addOrder([&](int32_t i) { return std::make_tuple(-length(i), -items[i].size); });
  addOrder([&](int32_t i) { return std::make_tuple(-pressure[i], -static_cast<int64_t>(length(i))); });
  addOrder([&](int32_t i) { return std::make_tuple(items[i].first, -length(i)); });
  addOrder([&](int32_t i) { return std::make_tuple(-items[i].last, -length(i)); });
  return orders;
}

std::optional<Packing> packInOrder(const Component &component, const Order &order, bool bestFit, int64_t limit,
                                   StepBudget &steps, size_t *failedAt) {
  struct Placed {
    int64_t offset, end;
    int32_t first, last;
  };
  std::vector<Placed> placed; // sorted by offset, so one pass sees the gaps from the bottom up
  placed.reserve(order.size());
  const bool sparse = !component.conflicts.empty();
  std::vector<Placed> nearby; // where sparse: only the placed items in conflict
  auto byOffset = [](const Placed &a, const Placed &b) { return a.offset < b.offset; };
  Packing packing;
  packing.offsets.assign(order.size(), -1); // not placed yet
  for (size_t position = 0; position < order.size(); ++position) {
    const Item &item = component.items[order[position]];
    int64_t top = 0; // end of the conflicting items seen so far
    int64_t bestOffset = -1, bestGap = std::numeric_limits<int64_t>::max();
    int64_t visited = 0;
    if (sparse) {
      nearby.clear();
      for (int32_t other : component.conflicts[order[position]])
        if (packing.offsets[other] >= 0)
          nearby.push_back({packing.offsets[other], packing.offsets[other] + component.items[other].size,
                            component.items[other].first, component.items[other].last});
      std::sort(nearby.begin(), nearby.end(), byOffset);
      visited = 4 * static_cast<int64_t>(nearby.size()); // for the sort
    }
    for (const Placed &other : sparse ? nearby : placed) {
      ++visited;
      if (other.first > item.last || other.last < item.first)
        continue;
      if (other.offset > top) {
        int64_t offset = alignUp(top, item.alignment);
        int64_t gap = other.offset - offset;
        if (gap >= item.size && gap < bestGap) {
          bestOffset = offset;
          bestGap = gap;
          if (!bestFit || gap == item.size)
            break;
        }
      }
      top = std::max(top, other.end);
    }
    steps.spend(visited);
    int64_t offset = bestOffset >= 0 ? bestOffset : alignUp(top, item.alignment);
    if (offset + item.size > limit) {
      if (failedAt)
        *failedAt = position;
      return std::nullopt;
    }
    packing.offsets[order[position]] = offset;
    packing.capacity = std::max(packing.capacity, offset + item.size);
    if (sparse)
      continue;
    Placed entry{offset, offset + item.size, item.first, item.last};
    auto at = std::upper_bound(placed.begin(), placed.end(), entry, byOffset);
    placed.insert(at, entry);
  }
  return packing;
}

void improveByPromotion(const Component &component, Order order, int64_t target, StepBudget &steps, Packing &best) {
  if (best.capacity <= target)
    return;
  // Aiming a little below the best so far instead of at the bound: a limit that cannot be met promotes items for no
  // reason and destroys the order. The aim tightens after a success and loosens after a failed series.
  int64_t aim = (best.capacity + target) / 2;
  size_t failures = 0;
  const size_t patience = 32 + component.items.size() / 8;
  std::vector<int32_t> promotions(order.size(), 0);
  Order start = order;
  while (best.capacity > target && steps.left > 0) {
    size_t failedAt = 0;
    if (std::optional<Packing> packing = packInOrder(component, order, false, aim, steps, &failedAt)) {
      best = std::move(*packing);
      start = order;
      aim = (best.capacity + target) / 2;
      failures = 0;
      continue;
    }
    if (++failures > patience) {
      if (aim >= best.capacity - 1)
        return;
      aim = std::max(aim + 1, (aim + best.capacity) / 2);
      aim = std::min(aim, best.capacity - 1);
      order = start;
      std::fill(promotions.begin(), promotions.end(), 0);
      failures = 0;
      continue;
    }
    // The more often an item has failed, the further forward it goes.
    int32_t item = order[failedAt];
    int32_t times = std::min(++promotions[item], 30);
    size_t destination = failedAt >> times;
    std::rotate(order.begin() + destination, order.begin() + failedAt, order.begin() + failedAt + 1);
  }
}

} // namespace snug::arena
