// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/MeshMix.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>
#include <set>

using namespace mlir;
using namespace snug;

namespace {
struct Dim {
  std::string name;
  int64_t min, max, step;
};
} // namespace

static std::vector<Dim> dimsOf(ModuleOp program) {
  std::vector<Dim> dims;
  if (auto list = program->getAttrOfType<ArrayAttr>("snug.dims"))
    for (auto dim : list.getAsRange<DictionaryAttr>())
      dims.push_back({dim.getAs<StringAttr>("name").str(), dim.getAs<IntegerAttr>("min").getInt(), dim.getAs<IntegerAttr>("max").getInt(),
                      dim.getAs<IntegerAttr>("step").getInt()});
  return dims;
}

// Sets the dims that "seq=1,batch=2" names. What is wrong with it; empty: nothing.
static std::string place(llvm::StringRef text, llvm::ArrayRef<Dim> dims, std::vector<int64_t> &point) {
  std::set<std::string> seen;
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, ',');
  for (llvm::StringRef part : parts) {
    auto [name, value] = part.split('=');
    int64_t number = 0;
    if (value.getAsInteger(10, number))
      return "'" + printable(part.str()) + "' is no dim with a value; write, as in --mesh-mix 256:seq=1, how often and DIM=V[,DIM=V...]";
    const Dim *dim = llvm::find_if(dims, [&](const Dim &one) { return one.name == name; });
    if (dim == dims.end()) {
      std::string names = llvm::join(llvm::map_range(dims, [](const Dim &one) { return one.name; }), ", ");
      return "the model has no dim '" + printable(name.str()) + "'" + (dims.empty() ? "" : "; its dims are " + printable(names));
    }
    if (!seen.insert(dim->name).second)
      return "dim '" + printable(dim->name) + "' is named twice in '" + printable(text.str()) + "'";
    if (number < dim->min || number > dim->max || (number - dim->min) % std::max<int64_t>(1, dim->step) != 0)
      return "dim '" + printable(dim->name) + "' cannot be " + std::to_string(number) + ": --dim says " + std::to_string(dim->min) +
             (dim->min == dim->max ? "" : ".." + std::to_string(dim->max)) + (dim->step > 1 ? ":" + std::to_string(dim->step) : "");
    point[dim - dims.begin()] = number;
  }
  return "";
}

int snug::readMeshMix(ModuleOp program, const CompileOptions &options, MeshMix &mix) {
  std::vector<Dim> dims = dimsOf(program);
  std::vector<int64_t> largest;
  for (const Dim &dim : dims)
    largest.push_back(dim.max);
  if (options.meshMix.empty()) {
    mix = {{{"largest dims", 1}}, {{1, largest}}};
    return SNUG_EXIT_DONE;
  }
  for (const std::string &text : options.meshMix) {
    auto [often, where] = llvm::StringRef(text).split(':');
    double runs = 0;
    if (often.getAsDouble(runs) || !(runs > 0 && runs <= 1e12))
      return options.console.fail(SNUG_EXIT_USAGE, "--mesh-mix: '" + printable(text) + "' does not begin with how often that is run; write it as " +
                                                       "in 256:seq=1");
    PhasePoint point{runs, largest};
    if (std::string problem = place(where, dims, point.atMost); !problem.empty())
      return options.console.fail(SNUG_EXIT_USAGE, "--mesh-mix: " + problem);
    mix.phases.push_back({where.str(), runs});
    mix.points.push_back(std::move(point));
  }
  return SNUG_EXIT_DONE;
}
