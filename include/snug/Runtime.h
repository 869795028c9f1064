// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The C API of the runtime: load a compiled model, ask what it needs, run it on DLPack tensors.
//
//   snug_model *model = NULL;
//   snug_context *context = NULL;
//   snug_error *error = snug_model_load("model.so", &model);
//   if (!error) error = snug_context_create(model, NULL, &context);
//   if (!error) error = snug_run(context, inputs, num_inputs, outputs, num_outputs);
//   if (error) fprintf(stderr, "%s\n", snug_error_message(error));
//   snug_error_destroy(error);
//   snug_context_destroy(context);
//   snug_model_release(model);
//
// Errors: a function that can fail returns NULL when it succeeded, else an error that the caller destroys. Out-params
// stand last, are named out_*, and are set to NULL (handles) or left as they were (the rest) on failure.
// Threads: a model may be used by any number of threads at once. A context serves one call at a time; different
// contexts run concurrently and share the weights of their model.
// Units: all sizes are bytes, all shapes are counted in elements.
// A compiled model is code that runs in this process: load only libraries that you would run.
#ifndef SNUG_RUNTIME_H
#define SNUG_RUNTIME_H

#include "snug/ExitCodes.h"
#include "snug/ModelABI.h"
#include "snug/Transport.h"

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#ifndef SNUG_API
#define SNUG_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snug_error snug_error;
typedef struct snug_model snug_model;
typedef struct snug_context snug_context;
typedef struct snug_comm snug_comm;

// Version of this runtime as "major.minor.patch". Static string; any thread.
SNUG_API const char *snug_version(void);

//===-- Errors ----------------------------------------------------------------------------------------------------===//

// What went wrong as an exit code (snug/ExitCodes.h); SNUG_EXIT_DONE for NULL. Any thread.
SNUG_API snug_exit_code snug_error_code(const snug_error *error);

// One line in UTF-8: the fact and the remedy; "" for NULL. Owned by the error. Any thread.
SNUG_API const char *snug_error_message(const snug_error *error);

// Frees the error; NULL is allowed. Call once, from any thread.
SNUG_API void snug_error_destroy(snug_error *error);

//===-- Models ----------------------------------------------------------------------------------------------------===//

// Loads the library at `path` (relative to the working directory; no library search path is used). The weights are not
// read yet: they are mapped by the first snug_context_create, so what a model needs can be asked without them.
// On success *out_model has one reference, owned by the caller. Any thread.
// Errors: SNUG_EXIT_MACHINE (no such file, not readable), SNUG_EXIT_INVALID (not a model that Snug compiled),
// SNUG_EXIT_UNSUPPORTED (compiled for a newer runtime).
SNUG_API snug_error *snug_model_load(const char *path, snug_model **out_model);

// Adds or drops one reference; the last release unmaps the weights and unloads the library, and with it all that the
// introspection functions returned. A context holds a reference of its own. NULL is allowed. Any thread.
SNUG_API void snug_model_retain(snug_model *model);
SNUG_API void snug_model_release(snug_model *model);

// Introspection. Strings and structs are owned by the model. An index out of range gives NULL. Any thread.
SNUG_API const char *snug_model_name(const snug_model *model);
SNUG_API const char *snug_model_target(const snug_model *model);           // as given to snugc --target
SNUG_API const char *snug_model_compiler_version(const snug_model *model); // of the compiler that made it
SNUG_API const char *snug_model_precision(const snug_model *model);        // as given to snugc --precision
SNUG_API snug_device_kind snug_model_device(const snug_model *model);      // where it computes
SNUG_API uint32_t snug_model_num_threads(const snug_model *model);         // planned; a run may use fewer
SNUG_API uint32_t snug_model_num_dims(const snug_model *model);
SNUG_API uint32_t snug_model_num_inputs(const snug_model *model);
SNUG_API uint32_t snug_model_num_outputs(const snug_model *model);
SNUG_API uint32_t snug_model_num_launches(const snug_model *model);
SNUG_API const snug_launch_info *snug_model_launch(const snug_model *model, uint32_t index);
SNUG_API const snug_dim_info *snug_model_dim(const snug_model *model, uint32_t index);
SNUG_API const snug_value_info *snug_model_input(const snug_model *model, uint32_t index);
SNUG_API const snug_value_info *snug_model_output(const snug_model *model, uint32_t index);
// The dims that are elements of inputs (snugc --value NAME=A..B), one after the other.
SNUG_API const snug_value_dim *snug_model_value_dim(const snug_model *model, uint32_t index);

// The keys of an output that is a sequence of maps, for which the model has a tensor [maps, keys] of values; NULL of any other.
SNUG_API const snug_map_keys *snug_model_output_keys(const snug_model *model, uint32_t index);

// What a process needs to run the model, in bytes.
typedef struct snug_memory_need {
  uint64_t weights; // shared by all contexts of the model: file-backed, read-only; of a GPU, on the device
  uint64_t arena;   // one for each context
  uint64_t arena_alignment;
  uint64_t library; // what the libraries that the runtime calls need besides
  uint64_t inputs;  // caller-owned
  uint64_t outputs; // caller-owned
  uint64_t total;   // weights + arena + library + inputs + outputs
} snug_memory_need;

// What the model needs for `dims` (snug_model_num_dims values), or for the largest dims where `dims` is NULL. It is never
// more than for larger dims: inputs and outputs follow the dims, the arena goes up in steps, where the compiler planned
// for short ranges of them, too. Reads no weights. Any thread. Errors: SNUG_EXIT_RUN (a dim outside of its bounds).
SNUG_API snug_error *snug_model_memory(const snug_model *model, const int64_t *dims, snug_memory_need *out_need);

// Solves the named dims from the shapes of `inputs` (in the model's order; data may be NULL, and a NULL tensor is
// skipped). inout_dims has snug_model_num_dims values: one that is >= 0 is taken as given, -1 asks for it to be solved.
// Dims fixed at compile time need no input. One that is an element of an input (snug_model_value_dim) is read from its
// data where that is not NULL. Any thread.
// Errors: SNUG_EXIT_RUN (a wrong shape, a dim outside of its bounds, a dim that no input determines).
SNUG_API snug_error *snug_model_bind_dims(const snug_model *model, const DLTensor *const *inputs, uint32_t num_inputs,
                                          int64_t *inout_dims);

// The shape of one input or output for `dims` (all known): writes `rank` extents, rank being that of
// snug_model_input/_output. With snug_model_bind_dims this is how a caller sizes its outputs. Of an output with
// SNUG_VALUE_DATA_SHAPE it is the largest shape; the actual one is known after a run (snug_context_output_shape). Any thread.
// Errors: SNUG_EXIT_USAGE (no such index), SNUG_EXIT_RUN (a dim outside of its bounds).
SNUG_API snug_error *snug_model_input_shape(const snug_model *model, uint32_t index, const int64_t *dims,
                                            int64_t *out_shape);
SNUG_API snug_error *snug_model_output_shape(const snug_model *model, uint32_t index, const int64_t *dims,
                                             int64_t *out_shape);

// How many devices along the two axes of a mesh the model is cut for; 0 and 0 where it is for one device. Any thread.
SNUG_API void snug_model_mesh(const snug_model *model, uint32_t out_mesh[2]);

// Of a model that is cut for a mesh each device may have a part of an input or output, as of a key-value cache: then all that is
// said of its shape and bytes, here and in a run, is of one device. NULL where each has all of it, and where there is no such
// index. Owned by the model. Any thread.
SNUG_API const snug_value_cut *snug_model_input_cut(const snug_model *model, uint32_t index);
SNUG_API const snug_value_cut *snug_model_output_cut(const snug_model *model, uint32_t index);

// Where the part of device `rank` lies, for `dims` (all known): writes the extents of the whole, and along each dim the index in it
// of the part's first element; `rank` values each, of the value's rank. The part's own extents are snug_model_input_shape's.
// What each device has all of starts at 0. Any thread.
// Errors: SNUG_EXIT_USAGE (no such index or device), SNUG_EXIT_RUN (a dim outside of its bounds).
SNUG_API snug_error *snug_model_input_part(const snug_model *model, uint32_t index, uint32_t rank, const int64_t *dims,
                                           int64_t *out_whole, int64_t *out_start);
SNUG_API snug_error *snug_model_output_part(const snug_model *model, uint32_t index, uint32_t rank, const int64_t *dims,
                                            int64_t *out_whole, int64_t *out_start);

//===-- Communicators ---------------------------------------------------------------------------------------------===//

// A model that is cut for a mesh of devices (snugc --mesh) runs once on each of them, in threads or processes that call the
// same functions in the same order, each with a communicator of its own: its rank, and a way to the others. "All ranks
// call" means that a function returns only when the others came to it as well, or one of them was lost.
// A lost rank is noticed at once where the transport can see it end (threads of one process that destroy their
// communicator; processes on one machine), else when it was waited for in vain. Then the communicator is of no more use on any
// rank: all that is done with it fails with the same error (SNUG_EXIT_RUN).
// A communicator is used by one thread at a time, over all contexts that have it, and has to outlive them.
typedef struct snug_comm_options {
  size_t struct_size; // sizeof(snug_comm_options); SNUG_COMM_OPTIONS_INIT sets it
  // How long the others are waited for within a run, in milliseconds; 0: 8000. It bounds how far ranks may be apart. Of a model for GPUs
  // it is how long a run may take as a whole, computing included, and 0: as long as no rank is known to be lost.
  uint32_t timeout_ms;
  // The same where they come from work of their own: to create a context, to start a run, to snug_comm_agree and
  // snug_comm_all_gather; 0: 60000.
  uint32_t start_timeout_ms;
} snug_comm_options;

#define SNUG_COMM_OPTIONS_INIT {sizeof(snug_comm_options), 0, 0}

// Makes the communicators of `size` threads of this process: out_comms[r] is rank r's. Elements are combined in order of
// rank, those of float16 and bfloat16 in float32, rounded once. Allocates nothing in a run. `options` may be NULL and is not kept. The caller owns
// each. Any thread. Errors: SNUG_EXIT_USAGE (no ranks, or more than 1024).
SNUG_API snug_error *snug_comm_create_loopback(uint32_t size, const snug_comm_options *options, snug_comm **out_comms);

// Makes this process's communicator over MPI. `mpi_comm` points to the MPI_Comm to use, which is duplicated; NULL:
// MPI_COMM_WORLD. Initializes MPI where the program did not, and then finalizes it with the last communicator. Opens
// libsnug_comm_mpi.so, which lies beside this library, and with it the system's MPI. All ranks call it.
// float16 and bfloat16 are rounded with each combination; MPI allocates memory of its own for each collective.
// When a rank was lost, MPI may still hold buffers of the failed run: end the process.
// Errors: SNUG_EXIT_MACHINE (no such library or no MPI, MPI failed or was finalized before).
SNUG_API snug_error *snug_comm_create_mpi(const void *mpi_comm, const snug_comm_options *options, snug_comm **out_comm);

// Makes a communicator over a transport of the caller's (snug/Transport.h), which is copied, and owned from now on when it
// succeeds. Any thread. Errors: SNUG_EXIT_USAGE (a version that this runtime does not know, a missing function, a rank that
// is not below the size).
SNUG_API snug_error *snug_comm_create(const snug_transport *transport, const snug_comm_options *options,
                                      snug_comm **out_comm);

// Frees it; NULL is allowed. Of MPI all ranks call it, unless one was lost.
SNUG_API void snug_comm_destroy(snug_comm *comm);

// Any thread.
SNUG_API uint32_t snug_comm_rank(const snug_comm *comm);
SNUG_API uint32_t snug_comm_size(const snug_comm *comm);

// All ranks call it: `recv` gets `bytes` bytes of each, in order of rank. The same number on all ranks.
SNUG_API snug_error *snug_comm_all_gather(snug_comm *comm, const void *send, void *recv, uint64_t bytes);

// All ranks call it, with the code and message of what went wrong on them, or SNUG_EXIT_DONE and NULL. Returns NULL on all
// ranks when nothing did; else on each an error of the same code and message: those of the least rank that has one, which
// the message names unless all have the same. Messages are cut at 2000 bytes.
SNUG_API snug_error *snug_comm_agree(snug_comm *comm, snug_exit_code code, const char *message);

// Measures what connects the ranks; all of them call it. For `milliseconds` each exchanges messages of `bytes` bytes with every
// rank r that has peers[r] != 0, which says the same of this one: both send, and send again once they have the other's
// message; different pairs do not wait for each other. messages[r] is how many came from rank r, seconds[r] how long the last
// of these took from the start: a message took seconds[r] / messages[r], in one direction while the other was busy as well.
// All arrays are [size]. Errors: SNUG_EXIT_USAGE (threads of one process have no links; bytes is 0 or above 2^31 - 1).
SNUG_API snug_error *snug_comm_exchange(snug_comm *comm, const uint8_t *peers, uint64_t bytes, uint32_t milliseconds,
                                        uint64_t *messages, double *seconds);

// The least rank that is not known to be lost: the one to report what all ranks have met. The thread that uses the
// communicator.
SNUG_API uint32_t snug_comm_reporter(const snug_comm *comm);

// How many devices of a kind (snug_device_kind) contexts can be made for, counted from 0; of CPUs 1. Any thread.
// Errors: SNUG_EXIT_USAGE (no such kind), SNUG_EXIT_MACHINE (no driver, or no device).
SNUG_API snug_error *snug_device_count(uint32_t kind, uint32_t *out_count);

//===-- Contexts --------------------------------------------------------------------------------------------------===//

// Runs `kernel` over [0, extent) as snug_runtime_table.parallel_for states it: contiguous ranges that start at
// multiples of `grain`, `thread` in [0, num_threads) with no two concurrent calls on one value; returns when all is
// done.
typedef void (*snug_parallel_for_fn)(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent,
                                     int64_t grain);

// What only models for a GPU have.
typedef enum snug_context_flags {
  // Inputs and outputs of runs are on the device, but for inputs with elements that are dims (snug_model_value_dim), which stay on the
  // host. Others on the host are refused. Without it, the context has device memory for a copy of each input and output at
  // `max_dims`, which is what snug_memory_need.inputs and .outputs count where the caller has none there.
  SNUG_CONTEXT_DEVICE_TENSORS = 1,
  // A run's launches become a CUDA graph, which later runs with the same dims and addresses replay with one call. Other dims or
  // addresses record it anew, for which the driver may allocate.
  SNUG_CONTEXT_GRAPH = 2,
  // While the context is made, algorithms of libraries are timed on the device, for all that a run with `max_dims` asks of them, and the
  // fastest are used and written to `tune_file`, beside those of other shapes that it has. Of a mesh rank 0 writes.
  SNUG_CONTEXT_TUNE = 4,
} snug_context_flags;

typedef struct snug_context_options {
  size_t struct_size; // sizeof(snug_context_options); SNUG_CONTEXT_OPTIONS_INIT sets it
  // The arena. NULL: the context maps exactly snug_memory_need.arena for `max_dims` (rounded up to a page) and touches
  // all of it at creation, so that no run grows the process. Else: at least that many bytes at that alignment, owned by
  // the caller, who keeps it until the context is destroyed and gives it to no other context meanwhile.
  void *workspace;
  uint64_t workspace_bytes;
  // Threads of a run, 0 for the planned number. More than planned is refused: their scratch is not in the arena.
  uint32_t num_threads;
  uint32_t flags; // snug_context_flags
  // Threads of the host application, NULL for OpenMP. Must not allocate if runs are to stay free of allocations.
  snug_parallel_for_fn parallel_for;
  void *parallel_for_state;
  // Of a model for a GPU: the stream of runs, a CUstream (which is a cudaStream_t) of the device's primary context that outlives
  // the context; 1 and 2 are CUDA's legacy and per-thread default streams. A run is then in order with what is on the stream,
  // and snug_run returns before it is done. NULL: a stream of the context's own, and snug_run returns when the run is done.
  void *stream;
  // This rank's communicator, for a model that is cut for a mesh: as many ranks as devices. NULL for other models.
  snug_comm *comm;
  // A profile: NULL, or snug_model_num_launches counters that the caller owns until the context is destroyed; each
  // launch adds the nanoseconds that it took.
  uint64_t *launch_ns;
  // The largest dims of this context's runs (snug_model_num_dims values), NULL for the model's. Not kept. A run that needs
  // a larger arena than these is refused.
  const int64_t *max_dims;
  // Of a model for a GPU: the number of the device, as CUDA counts them.
  uint32_t device;
  uint32_t reserved; // 0
  // Of a model for a GPU: the path of a tuning file (SNUG_CONTEXT_TUNE writes it), which then has to be there. NULL: that of the model's
  // library with .tune behind it, if there is one. Not kept.
  const char *tune_file;
} snug_context_options;

#define SNUG_CONTEXT_OPTIONS_INIT {sizeof(snug_context_options), NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, NULL}

// Of a model for a GPU: `workspace` is an address on the device, and what the context allocates there (with the weights, which
// contexts of a model on one device share) is all that runs use; num_threads and parallel_for are not used; launch_ns
// counts what the device took, with every launch waited for. The device's primary context is used and kept, as
// the CUDA runtime and PyTorch do; functions leave the calling thread's current context as it was.

// Makes a context: maps the model's weights if no context did before, allocates all that runs need, and starts the
// worker threads. `options` may be NULL for the defaults and is not kept. The caller owns *out_context. Any thread;
// with OpenMP, runs on the thread that creates the context find the workers ready, another thread's first run starts
// its own. Errors: SNUG_EXIT_USAGE (too many threads, workspace too small or misaligned), SNUG_EXIT_MACHINE (weights
// file missing, out of memory), SNUG_EXIT_INVALID (the weights file is damaged or belongs to another model),
// SNUG_EXIT_RUN (one of max_dims outside of its bounds). Of a model for a GPU, SNUG_EXIT_MACHINE as well: no driver, no such
// device, a chip that the model was not compiled for, not enough memory on the device, a tuning file that cannot be read or written;
// SNUG_EXIT_INVALID: one that is damaged; SNUG_EXIT_USAGE: nothing to tune.
// With a communicator all ranks call it, and it fails on all ranks when it does on one, or when they have not loaded the same
// library (SNUG_EXIT_RUN); SNUG_EXIT_USAGE: a communicator of another size than the mesh, none for a model that needs one,
// or one for a model that has no mesh.
SNUG_API snug_error *snug_context_create(snug_model *model, const snug_context_options *options,
                                         snug_context **out_context);

// Frees the context and drops its reference on the model; NULL is allowed. Not during a run. With a communicator all ranks
// call it, unless one was lost.
SNUG_API void snug_context_destroy(snug_context *context);

// The number of threads its runs use at most.
SNUG_API uint32_t snug_context_num_threads(const snug_context *context);

// What is allocated on a GPU, in bytes.
typedef struct snug_device_memory {
  uint64_t allocated;        // by this context, with the weights that it shares with others
  uint64_t free_at_creation; // on the device, before the model's first context there allocated anything
  uint64_t free, total;      // on the device, now; the driver hands out memory in large steps, to other processes, too
  uint64_t mesh;             // of a model that is cut for a mesh: what NCCL took for this context's communicators, which no plan knows
} snug_device_memory;

// All 0 for a context on the CPU. Not during a run. Errors: SNUG_EXIT_MACHINE (the device is lost).
SNUG_API snug_error *snug_context_device_memory(const snug_context *context, snug_device_memory *out_memory);

// How algorithms of libraries were chosen, of a model for a GPU: for what the context's runs have asked for, and when it was made for all that
// a run with `max_dims` asks for.
typedef struct snug_tuning {
  uint32_t choices;  // that there are: of a contraction and its shape
  uint32_t tuned;    // of these, from the tuning file, or measured by SNUG_CONTEXT_TUNE; the others are what the library thinks is fastest
  uint32_t unloaded; // of these, not run yet, for want of memory: a kernel of the model takes their place in a CUDA graph
  uint32_t reserved;
  const char *file; // the tuning file that was read or written, "" for none; owned by the context
  const char *note; // what of it is not used, and why, "" for nothing; owned by the context
} snug_tuning;

// All 0 and "" for a context on the CPU. Not during a run.
SNUG_API void snug_context_tuning(const snug_context *context, snug_tuning *out_tuning);

// The stream of its runs, a CUstream: what writes its inputs, or reads its outputs, on another stream has to be made to wait for it
// where the caller gave it. NULL for a context on the CPU. Any thread.
SNUG_API void *snug_context_stream(const snug_context *context);

// Fixes a named dim for the following runs; -1 leaves it to the inputs' shapes again. Only a dim that no input shape
// determines has to be set. Not during a run.
// Errors: SNUG_EXIT_USAGE (no such dim), SNUG_EXIT_RUN (outside of its bounds).
SNUG_API snug_error *snug_context_set_dim(snug_context *context, const char *name, int64_t value);

// Runs the model once and returns when the outputs are written. Inputs and outputs are in the model's order, dense
// row-major tensors on the CPU (strides NULL or compact) owned by the caller, aligned to their element; outputs have the exact
// shape (snug_model_output_shape) and overlap neither each other, nor inputs, nor the workspace. Nothing is kept. Inputs
// are only read, but for those with SNUG_VALUE_OVERWRITTEN in snug_value_info.flags: what such an input holds after the
// run is unspecified, so fill it anew for the next one; it may not overlap another input.
// Strings: the data of a tensor with SNUG_VALUE_STRING_TENSOR are snug_strings (dtype {kDLOpaqueHandle, 128, 1}). The bytes
// of inputs are the caller's. Those of outputs are the context's, the model's or an input's: they stay until the next run of
// the context, and no longer than any of these.
// Allocates nothing unless it fails, but for what a regular expression or MPI needs. One call at a time on a context.
// Of a model for a GPU, tensors may be on its device (kDLCUDA), too, aligned to SNUG_GPU_TENSOR_ALIGNMENT, and are used in place. What is
// on them has to be there in the order of the context's stream: with one of its own, before the call. Those on the host are copied
// in the same order; the call waits for the run where an output is on the host. With a stream of the caller's and all outputs on
// the device nothing is waited for, a CUDA graph can capture the call, inputs on the host have to stay until the run is done,
// and what goes wrong on the device later is reported by whoever waits for the stream.
// Of a model that is cut for a mesh all ranks call it, with the same dims. What one rank refuses, all refuse, with the same
// error; a run that has begun fails on each rank that waits for a lost one, and outputs are unspecified then.
// Errors: SNUG_EXIT_RUN (strings need more room than snugc --text-bytes gave, or one is no number where one is needed: outputs
// are unspecified then;
// a wrong count, shape, dtype, layout, device or overlap, dims that need a larger arena than the
// context's; nothing was computed),
// a launch that CUDA refused, or what it reports of the device; outputs are unspecified then),
// SNUG_EXIT_USAGE (the context is already running).
SNUG_API snug_error *snug_run(snug_context *context, const DLTensor *const *inputs, uint32_t num_inputs,
                              const DLTensor *const *outputs, uint32_t num_outputs);

// The actual shape of one output of the last run: for one with SNUG_VALUE_DATA_SHAPE its elements stand dense at the start
// of the output's memory, in that shape; for others it is the shape of the tensor. Writes `rank` extents, rank being that
// of snug_model_output. Of a model for a GPU it waits for the run, for such an output. Not during a run.
// Errors: SNUG_EXIT_USAGE (no such index, or the last run failed, or there was none).
SNUG_API snug_error *snug_context_output_shape(const snug_context *context, uint32_t index, int64_t *out_shape);

#ifdef __cplusplus
}
#endif
#endif
