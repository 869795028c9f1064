// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Inputs.h"
#include "tools/snug-run/CommandFailure.h"
#include "tools/snug-run/Info.h"
#include "tools/snug-run/NpyFile.h"
#include "tools/snug-run/NpzFile.h"
#include "tools/snug-run/Parts.h"
#include "tools/snug-run/PbFile.h"

#include <cstring>

using namespace snug;

namespace {
using InfoAt = const snug_value_info *(*)(const snug_model *, uint32_t);
}

// Throws unless the model has such a value.
static void checkName(const snug_model *model, const char *kind, InfoAt at, const std::string &name,
                      const std::string &source) {
  std::string known;
  for (uint32_t i = 0; const snug_value_info *info = at(model, i); ++i) {
    if (name == info->name)
      return;
    known += (known.empty() ? "" : ", ") + std::string(info->name);
  }
  throw CommandFailure(SNUG_EXIT_USAGE, source + ": the model has no " + kind + " '" + name + "'; it has " + known);
}

// What rank `rank` has of them.
static std::map<std::string, HostTensor> readInputs(const snug_model *model, const RunOptions &options, uint32_t rank) {
  std::map<std::string, HostTensor> tensors;
  std::map<std::string, uint32_t> numbers;
  for (uint32_t i = 0; const snug_value_info *info = snug_model_input(model, i); ++i)
    numbers[info->name] = i;
  auto partOf = [&](const std::string &name, const std::string &file) {
    auto number = numbers.find(name);
    return number == numbers.end() || options.ownFiles.count(file)
               ? PartOf()
               : [=, input = number->second](const std::vector<int64_t> &whole, const snug_dtype &dtype) {
                   return placesOfInput(model, input, rank, whole, dtype);
                 };
  };
  if (!options.inputArchive.empty())
    tensors = readNpzFile(options.inputArchive, [&](const std::string &name) { return partOf(name, options.inputArchive); });
  for (const auto &item : tensors)
    checkName(model, "input", snug_model_input, item.first, options.inputArchive);
  for (const auto &[name, file] : options.inputs) {
    checkName(model, "input", snug_model_input, name, "--input");
    if (!isPbFile(file))
      tensors[name] = readNpyFile(file, partOf(name, file));
    else if (options.ownFiles.count(file))
      tensors[name] = readPbFile(file);
    else
      tensors[name] = partOfInput(model, numbers[name], rank, readPbFile(file));
  }
  for (const auto &item : options.outputs)
    checkName(model, "output", snug_model_output, item.first, "--output");
  return tensors;
}

// Throws with what to add to the command line when a dim is given by no file and no flag.
static void checkOpenDims(const snug_model *model, const std::vector<bool> &isGiven, const std::vector<int64_t> &dims) {
  std::vector<bool> isKnown(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    const snug_dim_info *dim = snug_model_dim(model, uint32_t(i));
    isKnown[i] = dims[i] != -1 || dim->min == dim->max;
  }
  for (uint32_t i = 0; i < isGiven.size(); ++i) {
    const snug_value_info *info = snug_model_input(model, i);
    for (int32_t k = 0; isGiven[i] && k < info->rank; ++k)
      if (info->extents[k].symbol >= 0)
        isKnown[size_t(info->extents[k].symbol)] = true;
  }
  for (uint32_t i = 0; const snug_value_dim *value = snug_model_value_dim(model, i); ++i)
    isKnown[value->dim] = isKnown[value->dim] || isGiven[value->input];
  std::string names, flags;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (isKnown[i])
      continue;
    const snug_dim_info *dim = snug_model_dim(model, uint32_t(i));
    names += (names.empty() ? "'" : ", '") + std::string(dim->name) + "'";
    flags += std::string(" --dim ") + dim->name + "=" + std::to_string(dim->max);
  }
  if (!names.empty())
    throw CommandFailure(SNUG_EXIT_USAGE, "no input file determines " + names + "; with the largest values, add" + flags);
}

static std::vector<int64_t> bindDims(const snug_model *model, const RunOptions &options,
                                     std::vector<HostTensor> &inputs, const std::vector<bool> &isGiven) {
  std::vector<int64_t> dims(snug_model_num_dims(model), -1);
  for (const auto &[name, value] : options.dims) {
    bool found = false;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (name != snug_model_dim(model, uint32_t(i))->name)
        continue;
      dims[i] = value;
      found = true;
    }
    if (!found)
      throw CommandFailure(SNUG_EXIT_USAGE, "--dim: the model has no dim '" + name + "'");
    if (value < 0)
      throw CommandFailure(SNUG_EXIT_USAGE, "--dim " + name + ": cannot be negative");
  }
  checkOpenDims(model, isGiven, dims);
  std::vector<DLTensor> views;
  std::vector<const DLTensor *> pointers;
  for (HostTensor &input : inputs)
    views.push_back(input.view());
  for (size_t i = 0; i < views.size(); ++i)
    pointers.push_back(isGiven[i] ? &views[i] : nullptr);
  check(snug_model_bind_dims(model, pointers.data(), uint32_t(pointers.size()), dims.data()));
  return dims;
}

RunTensors snug::makeTensors(const snug_model *model, const RunOptions &options, uint32_t rank) {
  std::map<std::string, HostTensor> files = readInputs(model, options, rank);
  RunTensors tensors;
  uint32_t count = snug_model_num_inputs(model);
  tensors.inputs.resize(count);
  std::vector<bool> isGiven(count);
  for (uint32_t i = 0; i < count; ++i) {
    const char *name = snug_model_input(model, i)->name;
    auto found = files.find(name);
    isGiven[i] = found != files.end();
    if (isGiven[i])
      tensors.inputs[i] = std::move(found->second);
    else if (!options.randomSeed)
      throw CommandFailure(SNUG_EXIT_USAGE, "input '" + std::string(name) + "' is missing: add --input " + name +
                                         "=FILE.npy, or --random-inputs SEED");
  }
  tensors.dims = bindDims(model, options, tensors.inputs, isGiven);

  for (const auto &item : options.randomRanges)
    checkName(model, "input", snug_model_input, item.first, "--random-range");
  for (uint32_t i = 0; i < count; ++i) {
    if (isGiven[i])
      continue;
    const snug_value_info *info = snug_model_input(model, i);
    std::vector<int64_t> shape(size_t(info->rank) + 1), start(shape.size());
    check(snug_model_input_part(model, i, 0, tensors.dims.data(), shape.data(), start.data()));
    shape.pop_back();
    HostTensor whole(info->dtype, shape);
    if (info->kind == SNUG_VALUE_STRING_TENSOR)
      throw CommandFailure(SNUG_EXIT_USAGE, "input '" + std::string(info->name) + "' takes strings, which are not made at random: add --input " +
                                         info->name + "=FILE.npy");
    auto range = options.randomRanges.find(info->name);
    if (range != options.randomRanges.end() && info->dtype.code != kDLInt && info->dtype.code != kDLUInt)
      throw CommandFailure(SNUG_EXIT_USAGE, "--random-range " + range->first + ": the input is " + dtypeText(info->dtype) +
                                         ", and only integers take a range");
    fillRandom(whole, *options.randomSeed + i, range == options.randomRanges.end() ? nullptr : &range->second);
    tensors.inputs[i] = partOfInput(model, i, rank, std::move(whole));
  }
  for (uint32_t i = 0; const snug_value_dim *value = snug_model_value_dim(model, i); ++i)
    if (!isGiven[value->input]) {
      size_t bytes = snug_model_input(model, value->input)->dtype.bits / 8;
      memcpy(tensors.inputs[value->input].data() + value->element * bytes, &tensors.dims[value->dim], bytes);
    }
  for (uint32_t i = 0; const snug_value_info *info = snug_model_output(model, i); ++i) {
    std::vector<int64_t> shape(size_t(info->rank) + 1);
    check(snug_model_output_shape(model, i, tensors.dims.data(), shape.data()));
    shape.pop_back();
    tensors.outputs.emplace_back(info->dtype, shape);
  }
  return tensors;
}
