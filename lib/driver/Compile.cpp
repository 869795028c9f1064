// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "lib/driver/Compile.h"
#include "codegen/Codegen.h"
#include "lib/analysis/NodeName.h"
#include "lib/driver/Calibrate.h"
#include "lib/driver/Faults.h"
#include "lib/driver/FittingMesh.h"
#include "lib/driver/InitAll.h"
#include "lib/driver/ListOps.h"
#include "lib/driver/LongestDim.h"
#include "lib/driver/MachineFile.h"
#include "lib/driver/MeasureSweep.h"
#include "lib/driver/OutputFile.h"
#include "lib/driver/Pipeline.h"
#include "lib/driver/TopologyFile.h"
#include "lib/driver/ReportPage.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "snug/ExitCodes.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <algorithm>

using namespace mlir;
using namespace snug;

namespace {
// One compilation as the command line sees it: what can be refused before the work, the work, and the files after it.
class Compilation {
public:
  explicit Compilation(const CompileOptions &given)
      : options(given), writesLibrary(!options.dryRun && !options.check && options.emit == Stage::Library) {}

  int run() {
    int code = checkOptions();
    if (!code)
      code = checkOutputs();
    if (!code)
      code = compile();
    if (code == SNUG_EXIT_FAULT)
      options.console.messages() << "snugc: " << howToReport() << "\n";
    return code;
  }

private:
  int fail(int code, const Twine &message) const { return options.console.fail(code, message); }

  int checkOptions() {
    if (options.model.empty())
      return fail(SNUG_EXIT_USAGE, "no model named; write snugc MODEL.onnx -o OUT.so (see snugc --help)");
    if (options.check && (options.dryRun || options.emit != Stage::Library))
      return fail(SNUG_EXIT_USAGE, "--check does nothing else; leave --dry-run and --emit out");
    if (options.dryRun && options.emit != Stage::Library)
      return fail(SNUG_EXIT_USAGE, "--dry-run and --emit exclude each other");
    if (writesLibrary && options.output.empty())
      return fail(SNUG_EXIT_USAGE, "no output named; add -o OUT.so (or --dry-run)");
    if (!options.depfile.empty() && options.output.empty())
      return fail(SNUG_EXIT_USAGE, "--depfile states what the output depends on; add -o OUT.so");
    if (int code = checkPins())
      return code;
    if (int code = chooseMachine(options))
      return code;
    return chooseTopology(options);
  }

  // Parts are those of a mesh that has devices along the axis.
  int checkPins() {
    bool isStated = !options.anyMesh && !options.leastMesh;
    for (const auto &[name, dims] : options.pins)
      for (size_t axis = 0; axis < 2; ++axis)
        if (dims[axis] >= 0 && isStated && options.mesh[axis] <= 1)
          return fail(SNUG_EXIT_USAGE, "--shard " + printable(name) + "=" + std::to_string(dims[axis]) + ":" + std::to_string(axis) +
                                           (options.mesh[0] * options.mesh[1] == 1
                                                ? std::string(": no mesh was asked for; add --mesh, as in --mesh 2x4")
                                                : ": the mesh " + std::to_string(options.mesh[0]) + "x" + std::to_string(options.mesh[1]) +
                                                      " has one device along axis " + std::to_string(axis)));
    return SNUG_EXIT_DONE;
  }

  // A path that cannot be written is said before the work.
  int checkOutputs() {
    std::vector<std::string> paths = options.reports;
    paths.push_back(options.depfile);
    if (writesLibrary)
      paths.push_back(options.output);
    for (const std::string &path : paths) {
      bool same = false;
      if (!path.empty() && !llvm::sys::fs::equivalent(path, options.model, same) && same)
        return fail(SNUG_EXIT_USAGE, "'" + path + "' is the model itself; name another file to write");
      for (auto [file, what] : {std::pair(&options.machineFile, "machine"), std::pair(&options.topologyFile, "topology")})
        if (!path.empty() && !file->empty() && !llvm::sys::fs::equivalent(path, *file, same) && same)
          return fail(SNUG_EXIT_USAGE, "'" + path + "' is the " + what + " file; name another file to write");
      if (std::string problem = path.empty() ? "" : outputProblem(path); !problem.empty())
        return fail(SNUG_EXIT_MACHINE, "cannot write '" + path + "': " + problem);
    }
    if (writesLibrary)
      paths.push_back(options.output + ".safetensors");
    for (size_t i = 0; i < paths.size(); ++i)
      if (!paths[i].empty() && std::count(paths.begin(), paths.end(), paths[i]) > 1)
        return fail(SNUG_EXIT_USAGE, "'" + paths[i] + "' is named for two things to write");
    llvm::sys::fs::file_status status;
    if (writesLibrary && !llvm::sys::fs::status(options.output, status) && !llvm::sys::fs::is_regular_file(status))
      return fail(SNUG_EXIT_MACHINE, "cannot write '" + options.output + "': it is no regular file");
    if (!options.saveTemps.empty())
      if (std::error_code code = llvm::sys::fs::create_directories(options.saveTemps))
        return fail(SNUG_EXIT_MACHINE, "cannot make the folder '" + options.saveTemps + "': " + code.message());
    return SNUG_EXIT_DONE;
  }

  // Locations carry the names of ONNX nodes as NameLoc, those of fused kernels several of them.
  LogicalResult print(Diagnostic &diagnostic) {
    DiagnosticSeverity severity = diagnostic.getSeverity();
    if (severity == DiagnosticSeverity::Note || (severity == DiagnosticSeverity::Remark && !options.verbose))
      return success();
    const char *kind = severity == DiagnosticSeverity::Error     ? "error"
                       : severity == DiagnosticSeverity::Warning ? "warning"
                                                                 : "remark";
    errors += severity == DiagnosticSeverity::Error;
    std::string name = nodeName(diagnostic.getLocation());
    // Names come from the model's file, which nobody vouches for.
    options.console.messages() << "snugc: " << kind << ": "
                 << printable((name.empty() ? "" : "node '" + name + "': ") + diagnostic.str()) << "\n";
    return success();
  }

  int compile() {
    DialectRegistry registry;
    registerAllSnugDialects(registry);
    MLIRContext context(registry);
    context.printOpOnDiagnostic(false);
    ScopedDiagnosticHandler handler(&context, [&](Diagnostic &d) { return print(d); });
    CompileReport report;
    if (asksForLongestDim(options) && asksForFittingMesh(options))
      return fail(SNUG_EXIT_USAGE, "--dim NAME=max and a mesh that fits cannot both be looked for; state the dim, or the mesh");
    if (asksForLongestDim(options))
      if (int code = resolveLongestDim(context, options))
        return code;
    if (asksForFittingMesh(options))
      if (int code = resolveFittingMesh(context, options, report.consideredMeshes))
        return code;
    Pipeline pipeline(context, options, report);
    int code = pipeline.run();
    if (code == SNUG_EXIT_FAULT && errors == 0)
      fail(code, "internal fault, without a message");
    if (code == SNUG_EXIT_DONE)
      code = finish(pipeline, report);
    else if (code == SNUG_EXIT_BUDGET) // a plan that does not fit is worth reading, too, and so is what does
      if (int failed = writeReports(report) ? SNUG_EXIT_MACHINE : printSweep(report))
        return failed;
    return code;
  }

  // What comes after the stages: measurements, files, what is printed.
  int finish(Pipeline &pipeline, CompileReport &report) {
    int code = options.measure ? measureSweep(*pipeline.module()->getContext(), options, report) : SNUG_EXIT_DONE;
    if (!code)
      code = writeReports(report);
    if (!code)
      code = write(options.depfile, depfileText(options.output, report));
    if (code) { // all or nothing
      for (const std::string &path : written)
        llvm::sys::fs::remove(path);
      if (writesLibrary) {
        llvm::sys::fs::remove(options.output);
        for (const std::string &path : weightsPaths(options.output, pipeline.module()))
          llvm::sys::fs::remove(path);
      }
      return code;
    }
    if (int failed = printSweep(report))
      return failed;
    if (options.check) {
      options.console.messages() << "all of the model is supported\n";
      return SNUG_EXIT_DONE;
    }
    if (!writesLibrary && !options.dryRun)
      return printProgram(pipeline.module());
    options.console.messages() << summaryText(report, options.verbose);
    if (options.dryRun && !options.budgetSweep)
      options.console.messages() << "\n" << fitsText(*report.fits);
    if (options.timeReport)
      for (const auto &[stage, ms] : report.timing)
        options.console.messages() << llvm::format("%12s %9.1f ms\n", stage.c_str(), ms);
    return SNUG_EXIT_DONE;
  }

  int writeReports(const CompileReport &report) {
    if (options.reports.empty())
      return SNUG_EXIT_DONE;
    std::string json = reportText(options, report);
    for (const std::string &path : options.reports) {
      if (int code = write(path, StringRef(path).ends_with(".html") ? reportPage(json) : json))
        return code;
      written.push_back(path);
    }
    return SNUG_EXIT_DONE;
  }

  // To standard output, unless a program goes there.
  int printSweep(const CompileReport &report) {
    if (!options.budgetSweep)
      return SNUG_EXIT_DONE;
    llvm::raw_ostream &os = writesLibrary || options.dryRun ? options.console.output() : options.console.messages();
    os << fitsText(*report.fits);
    return options.console.flushOutput();
  }

  int write(const std::string &path, const std::string &text) {
    std::string problem;
    if (path.empty() || writeOutput(path, text, problem))
      return SNUG_EXIT_DONE;
    return fail(SNUG_EXIT_MACHINE, "cannot write '" + path + "': " + problem);
  }

  int printProgram(ModuleOp module) {
    module->print(options.console.output(), OpPrintingFlags().enableDebugInfo(options.verbose));
    options.console.output() << "\n";
    return options.console.flushOutput();
  }

  CompileOptions options;
  bool writesLibrary;
  std::vector<std::string> written; // reports
  int errors = 0;
};
} // namespace

int snug::compile(const CompileOptions &options) {
  if (options.listOps) {
    options.console.output() << listOps();
    return options.console.flushOutput();
  }
  return options.calibrate ? calibrate(options) : Compilation(options).run();
}
