// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Each number of a machine file is measured by a program of one kernel that is bound by just that, compiled and run as
// any model is.
#include "lib/driver/Calibrate.h"
#include "codegen/cpu/CpuTarget.h"
#include "lib/driver/Faults.h"
#include "lib/driver/InitAll.h"
#include "lib/driver/MeasuredProgram.h"
#include "lib/driver/OutputFile.h"
#include "mlir/IR/DialectRegistry.h"
#include "snug/ExitCodes.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>
#include <fstream>
#include <thread>

using namespace mlir;
using namespace snug;

namespace {
std::string tensor(std::initializer_list<int64_t> shape) {
  std::string text = "tensor<";
  for (int64_t extent : shape)
    text += std::to_string(extent) + "x";
  return text + "f32>";
}

// The value that a model's file names a tensor by, with its shape.
std::string named(const std::string &name, std::initializer_list<int64_t> shape) {
  std::string dims;
  for (int64_t extent : shape)
    dims += (dims.empty() ? "\"" : ", \"") + std::to_string(extent) + "\"";
  return " {snug.name = \"" + name + "\", snug.dims = [" + dims + "]}";
}

// A program of one input %x and one result, computed by `body`, which returns %y.
std::string program(std::initializer_list<int64_t> in, std::initializer_list<int64_t> out, const std::string &body,
                    const std::string &before = "") {
  return "module attributes {snug.model_name = \"calibrate\", snug.dims = []} {\n" + before +
         "func.func @main(%x: " + tensor(in) + named("x", in) + ") -> (" + tensor(out) + named("y", out) + ") {\n" +
         body + "return %y : " + tensor(out) + "\n}\n}\n";
}

// y = f(x) on each element, with `f` from %in to %r.
std::string elementwise(int64_t count, const std::string &f) {
  std::string type = tensor({count});
  return program({count}, {count},
                 "%one = arith.constant 1.0 : f32\n%half = arith.constant 0.5 : f32\n%e = tensor.empty() : " + type +
                     "\n%y = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], "
                     "iterator_types = [\"parallel\"]} ins(%x : " +
                     type + ") outs(%e : " + type + ") {\n^bb0(%in: f32, %o: f32):\n" + f +
                     "linalg.yield %r : f32\n} -> " + type + "\n");
}

std::string contraction(int64_t m, int64_t k, int64_t n) {
  constexpr int64_t width = 32; // a multiple of every target's tile
  std::string x = tensor({m, k}), w = tensor({n / width, k, width}), y = tensor({m, n}), data = tensor({k, n});
  return program({m, k}, {m, n},
                 "%w = snug_nn.weight @w recipe [#snug_nn.pack<" + std::to_string(width) + ">] : " + w +
                     "\n%e = tensor.empty() : " + y + "\n%y = snug_nn.contract ins(%x, %w : " + x + ", " + w +
                     ") outs(%e : " + y +
                     ") attributes {packed, indexing_maps = [affine_map<(i, j, k) -> (i, k)>, "
                     "affine_map<(i, j, k) -> (k, j)>, affine_map<(i, j, k) -> (i, j)>], "
                     "iterator_types = [\"parallel\", \"parallel\", \"reduction\"]} {\n^bb0(%sum: f32):\n"
                     "snug_nn.yield %sum : f32\n} -> " +
                     y + "\n",
                 "snug_nn.data @w : " + data + " {value = dense<0.01> : " + data + "}\n");
}

std::string attention(int64_t heads, int64_t rows, int64_t size) {
  std::string type = tensor({rows, heads, size});
  auto map = [](const char *row, const char *last) {
    return std::string("affine_map<(h, s, t, d, e) -> (") + row + ", h, " + last + ")>";
  };
  return program({rows, heads, size}, {rows, heads, size},
                 "%e = tensor.empty() : " + type + "\n%scale = arith.constant 0.125 : f32\n" +
                     "%y = snug_nn.attention ins(%x, %x, %x : " + type + ", " + type + ", " + type +
                     ") outs(%e : " + type + ") attributes {indexing_maps = [" + map("s", "d") + ", " + map("t", "d") +
                     ", " + map("t", "e") + ", " + map("s", "e") + "]} {\n^bb0(%q: f32):\n" +
                     "%s = arith.mulf %q, %scale : f32\nsnug_nn.yield %s : f32\n} -> " + type + "\n");
}

std::string norm(int64_t rows, int64_t columns) {
  std::string type = tensor({rows, columns}), row = tensor({columns});
  return program({rows, columns}, {rows, columns},
                 "%w = snug_nn.weight @w : " + row + "\n%e = tensor.empty() : " + type +
                     "\n%y = snug_nn.norm layer ins(%x : " + type + ") scale(%w : " + row + ") shift(%w : " + row +
                     ") outs(%e : " + type + ") {epsilon = 1.0e-5 : f32} -> " + type + "\n",
                 "snug_nn.data @w : " + row + " {value = dense<0.5> : " + row + "}\n");
}

std::string transposition(int64_t side) {
  std::string type = tensor({side, side});
  return program({side, side}, {side, side},
                 "%e = tensor.empty() : " + type + "\n%y = linalg.transpose ins(%x : " + type + ") outs(%e : " + type +
                     ") permutation = [1, 0]\n");
}

// `count` kernels of 16 elements one after another, or one in a loop of so many turns.
constexpr int64_t kTiny = 16;
const char *kTinyAdd = "linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], "
                       "iterator_types = [\"parallel\"]} ins(";
std::string tinyKernel(const std::string &result, const std::string &from, const std::string &to) {
  std::string type = tensor({kTiny});
  return result + " = " + kTinyAdd + from + " : " + type + ") outs(" + to + " : " + type +
         ") {\n^bb0(%in: f32, %o: f32):\n%r = arith.addf %in, %one : f32\nlinalg.yield %r : f32\n} -> " + type + "\n";
}
std::string launches(int64_t count) {
  std::string type = tensor({kTiny}), body = "%one = arith.constant 1.0 : f32\n", from = "%x";
  for (int64_t i = 0; i < count; ++i) {
    std::string to = i + 1 == count ? "%y" : "%v" + std::to_string(i);
    body += "%e" + std::to_string(i) + " = tensor.empty() : " + type + "\n" +
            tinyKernel(to, from, "%e" + std::to_string(i));
    from = to;
  }
  return program({kTiny}, {kTiny}, body);
}
std::string turns(int64_t count) {
  std::string type = tensor({kTiny}), all = tensor({count * kTiny});
  return program({count * kTiny}, {count * kTiny},
                 "%one = arith.constant 1.0 : f32\n%c0 = arith.constant 0 : index\n%step = arith.constant " +
                     std::to_string(kTiny) + " : index\n%end = arith.constant " + std::to_string(count * kTiny) +
                     " : index\n%e = tensor.empty() : " + all +
                     "\n%y = scf.for %i = %c0 to %end step %step iter_args(%a = " + "%e) -> (" + all +
                     ") {\n%s = tensor.extract_slice %x[%i] [" + std::to_string(kTiny) + "] [1] : " + all + " to " +
                     type + "\n%t = tensor.extract_slice %a[%i] [" + std::to_string(kTiny) + "] [1] : " + all + " to " +
                     type + "\n" + tinyKernel("%p", "%s", "%t") + "%n = tensor.insert_slice %p into %a[%i] [" +
                     std::to_string(kTiny) + "] [1] : " + type + " into " + all + "\nscf.yield %n : " + all + "\n}\n");
}

std::string lineOf(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// What the system says about data caches beyond the first level; empty where it does not.
std::vector<CacheLevel> cachesHere() {
  std::vector<CacheLevel> caches;
  const std::string cpu = "/sys/devices/system/cpu/cpu0/";
  std::string siblings = lineOf(cpu + "topology/thread_siblings_list");
  for (int index = 0; index < 16; ++index) {
    std::string at = cpu + "cache/index" + std::to_string(index) + "/", size = lineOf(at + "size");
    if (size.empty())
      break;
    CacheLevel cache;
    int level = std::atoi(lineOf(at + "level").c_str());
    cache.bytes = std::atoll(size.c_str()) * (size.back() == 'M' ? 1 << 20 : 1 << 10);
    cache.shared = lineOf(at + "shared_cpu_list") != siblings;
    if (level >= 2 && lineOf(at + "type") != "Instruction" && (caches.empty() || cache.bytes > caches.back().bytes))
      caches.push_back(cache);
  }
  return caches;
}

std::string processorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (StringRef(line).starts_with("model name"))
      return StringRef(line).split(':').second.trim().str();
  return "processor";
}

// The share of a cache's bandwidth below which some of what is moved was not in it.
constexpr double kInCache = 0.8;

class Calibration {
public:
  Calibration(MLIRContext &context, const std::string &folder, int threads, int vectorBits)
      : context(context), folder(folder), threads(threads), m(builtinMachine(vectorBits)) {}

  // Empty, or what went wrong.
  std::string run(Machine &machine) {
    m.name = processorName() + ", " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    computing();
    moving();
    starting();
    machine = m;
    return problem;
  }

private:
  // Seconds with each of these numbers of threads.
  std::vector<double> measure(const std::string &text, std::initializer_list<int> counts, bool fuse = true) {
    return measure(text, std::vector<int>(counts), fuse);
  }
  std::vector<double> measure(const std::string &text, const std::vector<int> &counts, bool fuse = true) {
    MeasuredProgram program(context, text, folder, threads, fuse);
    std::vector<double> result;
    for (int count : counts)
      result.push_back(std::max(program.seconds(count), 1e-9));
    if (problem.empty())
      problem = program.problem();
    return result;
  }

  void computing() {
    constexpr int64_t m0 = 768, k0 = 768, n0 = 768, elements = 1 << 15, chain = 32;
    m.contraction_per_s = 2.0 * m0 * k0 * n0 / measure(contraction(m0, k0, n0), {1})[0];
    m.reduction_per_s = static_cast<double>(64 * k0) / measure(norm(64, k0), {1})[0];
    std::string f;
    for (int64_t i = 0; i < chain; i += 2) {
      std::string from = i ? "%a" + std::to_string(i) : "%in",
                  last = i + 2 == chain ? "%r" : "%a" + std::to_string(i + 2);
      f += "%m" + std::to_string(i) + " = arith.maximumf " + from + ", %half : f32\n" + last + " = arith.mulf %m" +
           std::to_string(i) + ", %half : f32\n";
    }
    m.elementwise_per_s = static_cast<double>(elements * chain) / measure(elementwise(elements, f), {1})[0];
    std::vector<double> tanh = measure(elementwise(elements, "%r = math.tanh %in : f32\n"), {1});
    m.transcendental_per_s = static_cast<double>(elements) / tanh[0];
    // The products of attention are what its scores do not explain.
    constexpr int64_t heads = 8, rows = 288, size = 64;
    double scores = static_cast<double>(heads * rows * rows), whole = measure(attention(heads, rows, size), {1})[0];
    double others = scores / m.transcendental_per_s + 7 * scores / m.elementwise_per_s;
    m.attention_per_s = 4 * scores * size / std::max(whole - others, whole / 4);
    // Of narrower floats both are made in f32.
    m.narrow_contraction_per_s = m.contraction_per_s;
    m.narrow_attention_per_s = m.attention_per_s;
    constexpr int64_t side = 512;
    m.strided_per_s = static_cast<double>(side * side) / measure(transposition(side), {1})[0];
  }

  // A sum streams through each level: what is read and written fills a quarter of it.
  void moving() {
    std::string f = "%r = arith.addf %in, %one : f32\n";
    std::vector<CacheLevel> caches = cachesHere();
    if (!caches.empty())
      m.caches = caches;
    int64_t largest = 1 << 20;
    auto bandwidth = [&](int64_t bytes) {
      return static_cast<double>(bytes) / measure(elementwise(bytes / 8, f), {1})[0];
    };
    for (CacheLevel &cache : m.caches) {
      largest = std::max(largest, cache.bytes);
      cache.bytes_per_s = bandwidth(cache.bytes / 4);
      // Of a cache that is shared, with neighbours too that no one here sees, as much counts as can be had.
      int64_t eighth = cache.bytes / 8, part = 8;
      while (cache.shared && part > 2 && bandwidth(part * eighth) < kInCache * cache.bytes_per_s)
        --part;
      cache.bytes = part * eighth;
    }
    int64_t count = std::min<int64_t>(largest, 64 << 20); // four bytes each, read and written: eight times the cache
    std::vector<int> counts;
    for (int n = 1; n <= threads; n = n < 8 ? n + 1 : n + n / 4)
      counts.push_back(n);
    if (counts.back() != threads)
      counts.push_back(threads);
    // Panels that no cache holds, for one tile of rows: what takes longer than with those of a cache is waited for.
    int64_t k = 2048, n = std::min<int64_t>(2 * largest, 256 << 20) / (4 * k) / 32 * 32;
    double waited = measure(contraction(12, k, n), {1})[0] - 24.0 * static_cast<double>(k * n) / m.contraction_per_s;
    m.panel_bytes_per_s = static_cast<double>(4 * k * n) / std::max(waited, 1e-6);
    std::vector<double> took = measure(elementwise(count, f), counts);
    m.memory_bytes_per_s.clear();
    for (size_t i = 0; i < counts.size(); ++i)
      // Lines that are written are read first. Thread counts between two that were measured get the lower one's.
      while (static_cast<int>(m.memory_bytes_per_s.size()) < counts[i])
        m.memory_bytes_per_s.push_back(
            static_cast<int>(m.memory_bytes_per_s.size()) + 1 == counts[i] || i == 0
                ? std::max(12.0 * static_cast<double>(count) / took[i], i ? m.memory_bytes_per_s.back() : 0)
                : m.memory_bytes_per_s.back());
  }

  void starting() {
    constexpr int64_t many = 64, loops = 512, elements = 1 << 17;
    double one = measure(launches(1), {1}, false)[0], all = measure(launches(many), {1}, false)[0];
    m.launch_s = std::max(0.0, (all - one) / (many - 1));
    double few = measure(turns(1), {1}, false)[0], turned = measure(turns(loops), {1}, false)[0];
    m.iteration_s = std::max(0.0, (turned - few) / (loops - 1) - m.launch_s);
    if (threads > 1) {
      std::vector<double> took = measure(elementwise(elements, "%r = math.tanh %in : f32\n"), {1, threads});
      m.fork_s = std::max(0.0, took[1] - took[0] / threads);
    }
  }

  MLIRContext &context;
  const std::string &folder;
  int threads;
  Machine m;
  std::string problem;
};
} // namespace

int snug::calibrate(const CompileOptions &options) {
  auto fail = [&](int code, const Twine &message) { return options.console.fail(code, message); };
  if (!options.model.empty())
    return fail(SNUG_EXIT_USAGE,
                "--calibrate measures this machine and takes no model; write snugc --calibrate -o FILE.json");
  if (options.output.empty())
    return fail(SNUG_EXIT_USAGE, "--calibrate writes a machine file; add -o FILE.json");
  if (options.march != "native")
    return fail(SNUG_EXIT_USAGE, "--calibrate runs kernels for this machine's CPU; leave --march out");
  if (std::string problem = outputProblem(options.output); !problem.empty())
    return fail(SNUG_EXIT_MACHINE, "cannot write '" + options.output + "': " + problem);
  llvm::SmallString<128> folder;
  if (std::error_code code = llvm::sys::fs::createUniqueDirectory("snug-calibrate", folder))
    return fail(SNUG_EXIT_MACHINE, "cannot make a folder for temporary files: " + code.message());
  auto target = codegen::CpuTarget::create("");
  if (!target)
    return fail(SNUG_EXIT_MACHINE, llvm::toString(target.takeError()));
  DialectRegistry registry;
  registerAllSnugDialects(registry);
  MLIRContext context(registry);
  context.loadAllAvailableDialects();
  int threads = options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  Machine machine;
  std::string path = folder.str().str();
  std::string problem = Calibration(context, path, threads, static_cast<int>(target->vectorBits)).run(machine);
  llvm::sys::fs::remove_directories(folder);
  if (!problem.empty()) {
    fail(SNUG_EXIT_FAULT, "internal fault: this machine could not be measured: " + problem);
    options.console.messages() << "snugc: " << howToReport() << "\n";
    return SNUG_EXIT_FAULT;
  }
  std::string text = machineText(machine);
  if (!parseMachine(text, problem))
    return fail(SNUG_EXIT_MACHINE, "what was measured is no machine: " + problem + "; is it busy with other work?");
  if (!writeOutput(options.output, text, problem))
    return fail(SNUG_EXIT_MACHINE, "cannot write '" + options.output + "': " + problem);
  return SNUG_EXIT_DONE;
}
