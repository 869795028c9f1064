// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tools/snug-run/Ranks.h"
#include "tools/snug-run/CommandFailure.h"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <sys/time.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace snug;

// The value of the first variable that is set to a number.
static uint32_t numberOf(std::initializer_list<const char *> variables) {
  for (const char *variable : variables)
    if (const char *text = getenv(variable); text && *text)
      return uint32_t(strtoul(text, nullptr, 10));
  return 0;
}

// Open MPI's own, and those of the process managers of MPICH and Slurm (PMI) and of PMIx.
uint32_t snug::launchedRanks() { return numberOf({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}); }
uint32_t snug::launchedRank() { return numberOf({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}); }

// Open MPI's, those of Intel MPI and MPICH (Hydra), and Slurm's; of one launched process each thread is a rank.
uint32_t snug::localRank(const snug_comm *comm) {
  if (launchedRanks() > 1)
    for (const char *variable : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID"})
      if (const char *text = getenv(variable); text && *text)
        return uint32_t(strtoul(text, nullptr, 10));
  return snug_comm_rank(comm);
}

void snug::together(snug_comm *comm, const std::function<void()> &body) {
  if (!comm)
    return body();
  snug_exit_code code = SNUG_EXIT_DONE;
  std::string message;
  try {
    body();
  } catch (const CommandFailure &failure) {
    code = failure.code;
    message = failure.what();
  } catch (const std::bad_alloc &) {
    code = SNUG_EXIT_MACHINE;
    message = "out of memory";
  } catch (const std::exception &error) {
    code = SNUG_EXIT_FAULT;
    message = std::string("internal fault: ") + error.what() + "; please report it with this command";
  }
  check(snug_comm_agree(comm, code, message.c_str()));
}

static const std::string kRank = "{rank}";

RunOptions snug::optionsOf(const RunOptions &options, uint32_t rank) {
  RunOptions own = options;
  // False where the file is not this rank's own.
  auto resolve = [&](std::string &path) {
    bool isOwn = false;
    for (size_t at; (at = path.find(kRank)) != std::string::npos; isOwn = true)
      path.replace(at, kRank.size(), std::to_string(rank));
    if (isOwn)
      own.ownFiles.insert(path);
    return isOwn;
  };
  resolve(own.inputArchive);
  for (auto &item : own.inputs)
    resolve(item.second);
  own.outputs.clear();
  for (auto [name, path] : options.outputs)
    if (resolve(path) || rank == 0)
      own.outputs[name] = path;
  if (!resolve(own.outputArchive) && rank != 0)
    own.outputArchive.clear();
  return own;
}

// A launcher that sees a process die ends the others, by SIGTERM first. Those that wait for it are about to say so: they get
// the time.
static volatile sig_atomic_t isTold = 0; // by this rank or another
static void endSoon(int) {
  itimerval soon = {{0, 0}, {0, 700000}};
  setitimer(ITIMER_REAL, &soon, nullptr);
}
static void endNow(int) {
  static const char text[] = "snug-run: error: the run was ended from outside (SIGTERM), as launchers do when a rank was lost\n";
  if (!isTold && launchedRank() == 0 && write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
    _exit(SNUG_EXIT_FAULT);
  _exit(SNUG_EXIT_RUN);
}

// Then all stay for a second. The launcher ends the others when one has ended with a failure, before the reporter has spoken;
// and to those that have not met the failure yet, one that ends would be lost as well, and they report that.
static void tell(const CommandFailure &failure, bool isReporter) {
  isTold = 1;
  if (isReporter)
    fprintf(stderr, "snug-run: error: %s\n", failure.what());
  std::this_thread::sleep_for(std::chrono::seconds(1));
}

void snug::overMpi(const std::function<void(snug_comm *)> &body) {
  using CommHandle = std::unique_ptr<snug_comm, void (*)(snug_comm *)>;
  signal(SIGALRM, &endNow);
  signal(SIGTERM, &endSoon);
  snug_comm *made = nullptr;
  check(snug_comm_create_mpi(nullptr, nullptr, &made));
  CommHandle comm(made, &snug_comm_destroy);
  try {
    body(made);
  } catch (const CommandFailure &failure) {
    tell(failure, snug_comm_reporter(made) == snug_comm_rank(made));
    throw CommandFailure(failure.code, "");
  }
}

void snug::tellOnce(const CommandFailure &failure) {
  if (*failure.what() && launchedRanks() > 1)
    tell(failure, launchedRank() == 0);
  else if (*failure.what())
    fprintf(stderr, "snug-run: error: %s\n", failure.what());
}

void snug::overLoopback(uint32_t size, const std::function<void(snug_comm *)> &body) {
  std::vector<snug_comm *> comms(size);
  check(snug_comm_create_loopback(size, nullptr, comms.data()));
  std::vector<std::exception_ptr> failures(size);
  std::vector<std::thread> threads;
  auto runRank = [&](uint32_t rank) {
    try {
      body(comms[rank]);
    } catch (...) {
      failures[rank] = std::current_exception();
    }
    snug_comm_destroy(comms[rank]); // now, so that nobody waits for this one
  };
  for (uint32_t rank = 1; rank < size; ++rank)
    threads.emplace_back(runRank, rank);
  runRank(0);
  for (std::thread &thread : threads)
    thread.join();
  for (const std::exception_ptr &failure : failures)
    if (failure)
      std::rethrow_exception(failure);
}
