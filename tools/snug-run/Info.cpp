// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Info.h"
#include "tools/snug-run/CommandFailure.h"

#include <cinttypes>
#include <cstdio>

using namespace snug;

std::string snug::dtypeText(snug_dtype dtype) {
  static const char *const names[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  if (dtype.code == 6 && dtype.bits == 8)
    return "bool";
  if (dtype.code == kDLOpaqueHandle && dtype.bits == 128)
    return "string";
  return (dtype.code <= 6 ? names[dtype.code] : "type" + std::to_string(dtype.code) + "_") + std::to_string(dtype.bits);
}

std::string snug::bytesText(uint64_t bytes) {
  static const char *const units[] = {"KiB", "MiB", "GiB"};
  if (bytes < 1024)
    return std::to_string(bytes) + " B";
  double value = double(bytes) / 1024;
  int unit = 0;
  for (; value >= 1024 && unit < 2; ++unit)
    value /= 1024;
  char text[32];
  snprintf(text, sizeof(text), "%.1f %s", value, units[unit]);
  return text;
}

// Keys of maps are text of the model's: what is no printable character is written as its code.
static std::string quoted(const snug_string &text) {
  std::string result = "'";
  for (uint64_t i = 0; i < text.size; ++i) {
    char code[8];
    auto byte = static_cast<unsigned char>(text.data[i]);
    snprintf(code, sizeof code, "\\x%02x", byte);
    result += byte < 0x20 || byte == 0x7f ? std::string(code) : std::string(1, text.data[i]);
  }
  return result + "'";
}

static void printKeys(const snug_model *model) {
  for (uint32_t i = 0; i < snug_model_num_outputs(model); ++i) {
    const snug_map_keys *keys = snug_model_output_keys(model, i);
    if (!keys)
      continue;
    printf("keys    %s:", snug_model_output(model, i)->name);
    for (uint64_t k = 0; k < keys->count; ++k)
      printf("%s%s", k ? ", " : " ", keys->ints ? std::to_string(keys->ints[k]).c_str() : quoted(keys->strings[k]).c_str());
    printf("\n");
  }
}

// ", one of 2 parts of dim 1"
static std::string partText(const snug_model *model, const snug_value_cut *cut) {
  uint32_t mesh[2];
  snug_model_mesh(model, mesh);
  std::string text;
  bool isNested = cut && cut->dim[0] == cut->dim[1];
  for (int axis = 0; cut && axis < (isNested ? 1 : 2); ++axis)
    if (cut->dim[axis] >= 0)
      text += (text.empty() ? ", one of " : ", of ") + std::to_string(isNested ? mesh[0] * mesh[1] : mesh[axis]) + " parts of dim " +
              std::to_string(cut->dim[axis]);
  return text;
}

static void printValues(const snug_model *model, const char *kind, const snug_value_info *(*at)(const snug_model *, uint32_t),
                        const snug_value_cut *(*cut)(const snug_model *, uint32_t)) {
  for (uint32_t i = 0; const snug_value_info *info = at(model, i); ++i) {
    std::string shape;
    for (int32_t k = 0; k < info->rank; ++k)
      shape += (k ? ", " : "") + (info->extents[k].symbol == -1 ? std::to_string(info->extents[k].offset)
                                                                : std::string(info->extents[k].text));
    printf("%-7s %s: %s [%s]%s%s\n", kind, info->name, dtypeText(info->dtype).c_str(), shape.c_str(),
           info->flags & SNUG_VALUE_OVERWRITTEN ? ", overwritten" : "", partText(model, cut(model, i)).c_str());
  }
}

void snug::printInfo(const snug_model *model) {
  printf("model   %s, compiled by snugc %s for %s, %u thread(s)\n", snug_model_name(model),
         snug_model_compiler_version(model), snug_model_target(model), snug_model_num_threads(model));
  if (std::string precision = snug_model_precision(model); precision != "f32")
    printf("types   products of f32 are made in %s\n", precision.c_str());
  uint32_t mesh[2];
  snug_model_mesh(model, mesh);
  if (mesh[0])
    printf("mesh    %u x %u devices; what follows is of one of them\n", mesh[0], mesh[1]);
  printValues(model, "input", snug_model_input, snug_model_input_cut);
  printValues(model, "output", snug_model_output, snug_model_output_cut);
  printKeys(model);
  for (uint32_t i = 0; const snug_dim_info *dim = snug_model_dim(model, i); ++i) {
    printf("dim     %s = %" PRId64, dim->name, dim->min);
    if (dim->max != dim->min)
      printf("..%" PRId64, dim->max);
    if (dim->max != dim->min && dim->step != 1)
      printf(" in steps of %" PRId64, dim->step);
    printf("\n");
  }
  snug_memory_need need;
  check(snug_model_memory(model, nullptr, &need));
  const std::pair<const char *, uint64_t> rows[] = {{"weights", need.weights}, {"arena", need.arena},
                                                    {"library", need.library}, {"inputs", need.inputs},
                                                    {"outputs", need.outputs}, {"total", need.total}};
  printf("memory, at the largest dims:\n");
  for (const auto &[name, bytes] : rows)
    printf("  %-8s %15" PRIu64 " B  %s\n", name, bytes, bytesText(bytes).c_str());
}
