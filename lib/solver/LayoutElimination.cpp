// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/solver/LayoutElimination.h"

#include <algorithm>
#include <limits>
#include <set>

namespace snug::layout {
namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Counts through all combinations of states, the last variable fastest, and keeps the offset of each in several tables.
class Odometer {
public:
  explicit Odometer(std::vector<unsigned> extents) : extents(std::move(extents)), at(this->extents.size(), 0) {}

  // The table's strides, one an extent. Returns where its offset is.
  size_t addTable(std::vector<size_t> strides) {
    tables.push_back(std::move(strides));
    offsets.push_back(0);
    return offsets.size() - 1;
  }
  size_t offset(size_t table) const { return offsets[table]; }

  // False once all combinations were seen.
  bool next() {
    for (size_t i = extents.size(); i-- > 0;) {
      if (++at[i] < extents[i]) {
        for (size_t t = 0; t < tables.size(); ++t)
          offsets[t] += tables[t][i];
        return true;
      }
      for (size_t t = 0; t < tables.size(); ++t)
        offsets[t] -= tables[t][i] * (extents[i] - 1);
      at[i] = 0;
    }
    return false;
  }

private:
  std::vector<unsigned> extents, at;
  std::vector<std::vector<size_t>> tables;
  std::vector<size_t> offsets;
};

// How far apart the states of the variables `of` are in a table of the variables `vars`; 0 of those that it has not.
std::vector<size_t> stridesOf(const std::vector<unsigned> &vars, const std::vector<unsigned> &of,
                              const std::vector<unsigned> &sizes) {
  std::vector<size_t> strides(of.size(), 0);
  size_t stride = 1;
  for (size_t i = vars.size(); i-- > 0; stride *= sizes[vars[i]])
    for (size_t k = 0; k < of.size(); ++k)
      if (of[k] == vars[i])
        strides[k] = stride;
  return strides;
}

std::vector<unsigned> extentsOf(const std::vector<unsigned> &vars, const std::vector<unsigned> &sizes) {
  std::vector<unsigned> extents;
  for (unsigned v : vars)
    extents.push_back(sizes[v]);
  return extents;
}

size_t entriesOf(const std::vector<unsigned> &vars, const std::vector<unsigned> &sizes) {
  size_t entries = 1;
  for (unsigned v : vars)
    entries *= sizes[v];
  return entries;
}

// The factor's table with its variables in another order.
std::vector<double> inOrder(const Factor &factor, const std::vector<unsigned> &vars,
                            const std::vector<unsigned> &sizes) {
  if (vars == factor.vars)
    return factor.table;
  std::vector<double> result;
  result.reserve(factor.table.size());
  Odometer odometer(extentsOf(vars, sizes));
  size_t from = odometer.addTable(stridesOf(factor.vars, vars, sizes));
  do
    result.push_back(factor.table[odometer.offset(from)]);
  while (odometer.next());
  return result;
}

// Plans on the variables of the factors alone.
class OrderPlanner {
public:
  OrderPlanner(const std::vector<unsigned> &sizes, const std::vector<Factor> &factors, double maxEntries)
      : sizes(sizes), maxEntries(maxEntries), users(sizes.size()), weights(sizes.size()), seen(sizes.size(), 0) {
    for (const Factor &factor : factors)
      addScope(factor.vars);
    for (unsigned v = 0; v < sizes.size(); ++v) {
      weights[v] = weightOf(v);
      queue.insert({weights[v], v});
    }
  }

  EliminationPlan run() {
    EliminationPlan plan;
    while (!queue.empty()) {
      auto [weight, v] = *queue.begin();
      if (weight > maxEntries) {
        v = widest();
        plan.cut.push_back(v);
        cut(v);
        continue;
      }
      (plan.cut.empty() ? plan.exact : plan.rest).push_back(v);
      (plan.cut.empty() ? plan.exactSteps : plan.restSteps) += eliminate(v, weight);
    }
    return plan;
  }

private:
  void addScope(const std::vector<unsigned> &vars) {
    for (unsigned v : vars)
      users[v].push_back(static_cast<unsigned>(scopes.size()));
    scopes.push_back(vars);
  }

  // Calls back with each neighbour once, until that returns false. Forgets scopes that are gone.
  template <class F> void forNeighbours(unsigned v, F visit) {
    seen[v] = ++round;
    std::vector<unsigned> &mine = users[v];
    for (size_t i = 0; i < mine.size();) {
      const std::vector<unsigned> &scope = scopes[mine[i]];
      if (scope.empty()) {
        mine[i] = mine.back();
        mine.pop_back();
        continue;
      }
      for (unsigned u : scope)
        if (seen[u] != round) {
          seen[u] = round;
          if (!visit(u))
            return;
        }
      ++i;
    }
  }

  double weightOf(unsigned v) {
    double weight = 1;
    forNeighbours(v, [&](unsigned u) { return (weight *= sizes[u]) <= maxEntries; });
    return weight <= maxEntries ? weight : kInfinity;
  }

  std::vector<unsigned> neighboursOf(unsigned v) {
    std::vector<unsigned> result;
    forNeighbours(v, [&](unsigned u) {
      result.push_back(u);
      return true;
    });
    std::sort(result.begin(), result.end());
    return result;
  }

  unsigned widest() {
    size_t most = 0;
    unsigned best = queue.begin()->second;
    for (unsigned v = 0; v < sizes.size(); ++v)
      if (queue.count({weights[v], v})) {
        size_t degree = neighboursOf(v).size();
        if (degree > most) {
          most = degree;
          best = v;
        }
      }
    return best;
  }

  void update(const std::vector<unsigned> &vars) {
    for (unsigned v : vars) {
      queue.erase({weights[v], v});
      weights[v] = weightOf(v);
      queue.insert({weights[v], v});
    }
  }

  double eliminate(unsigned v, double weight) {
    std::vector<unsigned> neighbours = neighboursOf(v);
    double steps = weight * sizes[v] * static_cast<double>(std::max<size_t>(1, users[v].size()));
    queue.erase({weights[v], v});
    for (unsigned s : users[v])
      scopes[s].clear();
    users[v].clear();
    if (!neighbours.empty())
      addScope(neighbours);
    update(neighbours);
    return steps;
  }

  void cut(unsigned v) {
    std::vector<unsigned> neighbours = neighboursOf(v);
    queue.erase({weights[v], v});
    for (unsigned s : users[v])
      scopes[s].erase(std::find(scopes[s].begin(), scopes[s].end(), v));
    users[v].clear();
    update(neighbours);
  }

  const std::vector<unsigned> &sizes;
  double maxEntries;
  std::vector<std::vector<unsigned>> scopes, users;
  std::vector<double> weights;
  std::vector<unsigned> seen;
  unsigned round = 0;
  std::set<std::pair<double, unsigned>> queue; // by weight
};
} // namespace

double entryOf(const Factor &factor, const std::vector<unsigned> &states, const std::vector<unsigned> &sizes) {
  size_t index = 0;
  for (unsigned v : factor.vars)
    index = index * sizes[v] + states[v];
  return factor.table[index];
}

EliminationPlan planElimination(const std::vector<unsigned> &sizes, const std::vector<Factor> &factors,
                                double maxEntries) {
  return OrderPlanner(sizes, factors, maxEntries).run();
}

Elimination::Elimination(const std::vector<unsigned> &sizes, std::vector<Factor> all)
    : sizes(sizes), users(sizes.size()) {
  factors.reserve(all.size());
  for (Factor &factor : all)
    add(std::move(factor));
}

void Elimination::add(Factor factor) {
  if (factor.vars.empty()) {
    sum += factor.table[0];
    return;
  }
  for (unsigned v : factor.vars)
    users[v].push_back(static_cast<unsigned>(factors.size()));
  factors.push_back(std::move(factor));
}

void Elimination::eliminate(const std::vector<unsigned> &order) {
  for (unsigned v : order) {
    Bucket bucket{v, {}};
    for (unsigned f : users[v])
      if (!factors[f].vars.empty()) {
        bucket.factors.push_back(std::move(factors[f]));
        factors[f].vars.clear();
      }
    users[v].clear();
    add(leastOver(v, bucket.factors));
    buckets.push_back(std::move(bucket));
  }
}

// Rows of the last variable that is left are added and compared as a whole, which compilers vectorise.
Factor Elimination::leastOver(unsigned var, const std::vector<Factor> &bucket) const {
  Factor result;
  for (const Factor &factor : bucket)
    for (unsigned v : factor.vars)
      if (v != var)
        result.vars.push_back(v);
  std::sort(result.vars.begin(), result.vars.end());
  result.vars.erase(std::unique(result.vars.begin(), result.vars.end()), result.vars.end());
  result.table.assign(entriesOf(result.vars, sizes), kInfinity);
  std::vector<unsigned> outer = result.vars;
  bool hasRows = !outer.empty();
  unsigned rowVar = hasRows ? outer.back() : var;
  size_t length = hasRows ? sizes[rowVar] : 1;
  if (hasRows)
    outer.pop_back();

  struct Table {
    std::vector<double> entries; // [outer...][var], or [outer...][var][rowVar]
    size_t at;                   // in the odometer
  };
  std::vector<Table> scalars, rows;
  Odometer odometer(extentsOf(outer, sizes));
  for (const Factor &factor : bucket) {
    bool isRow = hasRows && factor.vars.end() != std::find(factor.vars.begin(), factor.vars.end(), rowVar);
    std::vector<unsigned> order;
    for (unsigned v : factor.vars)
      if (v != var && !(isRow && v == rowVar))
        order.push_back(v);
    order.push_back(var);
    if (isRow)
      order.push_back(rowVar);
    Table table{inOrder(factor, order, sizes), odometer.addTable(stridesOf(order, outer, sizes))};
    (isRow ? rows : scalars).push_back(std::move(table));
  }

  unsigned states = sizes[var];
  std::vector<double> partial(length);
  double *least = result.table.data();
  do {
    for (unsigned s = 0; s < states; ++s) {
      double scalar = 0;
      for (const Table &table : scalars)
        scalar += table.entries[odometer.offset(table.at) + s];
      if (scalar == kInfinity)
        continue;
      if (rows.empty()) {
        *least = std::min(*least, scalar);
        continue;
      }
      auto rowOf = [&](const Table &table) { return &table.entries[odometer.offset(table.at) + s * length]; };
      const double *row = rowOf(rows[0]);
      if (rows.size() > 1) {
        std::copy(row, row + length, partial.begin());
        for (size_t r = 1; r < rows.size(); ++r) {
          const double *more = rowOf(rows[r]);
          for (size_t i = 0; i < length; ++i)
            partial[i] += more[i];
        }
        row = partial.data();
      }
      for (size_t i = 0; i < length; ++i) {
        double value = scalar + row[i];
        least[i] = value < least[i] ? value : least[i];
      }
    }
    least += length;
  } while (odometer.next());
  return result;
}

std::vector<Factor> Elimination::left() const {
  std::vector<Factor> result;
  for (const Factor &factor : factors)
    if (!factor.vars.empty())
      result.push_back(factor);
  return result;
}

void Elimination::decode(std::vector<unsigned> &states) const {
  for (auto bucket = buckets.rbegin(); bucket != buckets.rend(); ++bucket) {
    unsigned best = 0;
    double least = kInfinity;
    for (unsigned s = 0; s < sizes[bucket->var]; ++s) {
      states[bucket->var] = s;
      double cost = 0;
      for (const Factor &factor : bucket->factors)
        cost += entryOf(factor, states, sizes);
      if (cost < least) {
        least = cost;
        best = s;
      }
    }
    states[bucket->var] = best;
  }
}

Factor slice(const Factor &factor, const std::vector<unsigned> &sizes, const std::vector<int> &choice) {
  Factor result;
  std::vector<unsigned> counted; // all but those in a state
  size_t start = 0;
  for (unsigned v : factor.vars) {
    start *= sizes[v];
    if (choice[v] >= 0)
      start += static_cast<size_t>(choice[v]);
    else
      counted.push_back(v);
    if (choice[v] == kAll)
      result.vars.push_back(v);
  }
  result.table.assign(entriesOf(result.vars, sizes), kInfinity);
  Odometer odometer(extentsOf(counted, sizes));
  size_t from = odometer.addTable(stridesOf(factor.vars, counted, sizes));
  size_t to = odometer.addTable(stridesOf(result.vars, counted, sizes));
  do {
    double &least = result.table[odometer.offset(to)];
    least = std::min(least, factor.table[start + odometer.offset(from)]);
  } while (odometer.next());
  return result;
}

} // namespace snug::layout
