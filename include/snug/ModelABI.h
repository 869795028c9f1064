// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a compiled model exports, and what the runtime hands to it. Read by codegen/link (which writes it) and by
// runtime/core (which reads it). C only. A library exports exactly one symbol, SNUG_MODEL_QUERY_SYMBOL.
//
// Compatibility: fields are only ever appended; a reader checks `abi_version` and `struct_size` before it touches a
// field. All strings and tables live as long as the library stays loaded.
#ifndef SNUG_MODEL_ABI_H
#define SNUG_MODEL_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A library states the oldest version whose readers it serves. 2: outputs whose shape is computed from data, and dims that
// are elements of inputs. 3: models that are cut for a mesh of devices. 4: collectives that run while a model computes, and
// inputs and outputs of which each device has a part. 5: models for a GPU.
#define SNUG_MODEL_ABI_VERSION 5u
#define SNUG_MODEL_QUERY_SYMBOL "snug_model_query"

// Element types use DLPack's codes (int 0, uint 1, float 2, bfloat 4, complex 5, bool 6; float8_e4m3fn 10, e4m3fnuz 11,
// e5m2 12, e5m2fnuz 13, e8m0fnu 14; float6_e2m3fn 15, e3m2fn 16; float4_e2m1fn 17), one lane. Elements of less than 8 bits
// take a byte each, in its low bits; what is in the high bits does not count, and is 0 in outputs.
// An element of a string tensor is a snug_string: dtype opaque handle (3) of 128 bits.
typedef struct snug_dtype {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
} snug_dtype;

// An element of a string tensor: UTF-8 that is not NUL-terminated, of any bytes. `data` may be NULL where `size` is 0.
typedef struct __attribute__((aligned(16))) snug_string {
  const char *data;
  uint64_t size;
} snug_string;

// A named dim of the model; min == max when it was fixed at compile time. All actual values obey
// min <= v <= max and (v - min) % step == 0.
typedef struct snug_dim_info {
  const char *name;
  int64_t min, max, step;
} snug_dim_info;

// One extent of a tensor. `symbol` >= 0: extent == scale * dims[symbol] + offset, which the runtime solves to bind the
// named dim from an input's shape. `symbol` == -1: the extent is the constant `offset`. `symbol` == -2: any other
// expression; only snug_model_header.shapes knows its value. `text` is the expression as the ONNX file writes it.
typedef struct snug_extent {
  int32_t symbol;
  int32_t reserved;
  int64_t scale, offset;
  const char *text;
} snug_extent;

// ABI 1 has tensors, of numbers and of strings; other kinds are appended as they come.
typedef enum snug_value_kind { SNUG_VALUE_TENSOR = 0, SNUG_VALUE_OPTIONAL = 1, SNUG_VALUE_SEQUENCE = 2, SNUG_VALUE_STRING_TENSOR = 3 } snug_value_kind;

// SNUG_VALUE_OVERWRITTEN: of an input that was donated (snugc --donate): a run may write to it, and what it holds
// afterwards is unspecified. All other inputs are only read.
// SNUG_VALUE_DATA_SHAPE: of an output whose shape is computed from data. Its extents are the largest for given dims; the
// elements of the actual shape stand dense at the start of its memory, and what follows them is unspecified.
typedef enum snug_value_flags { SNUG_VALUE_OVERWRITTEN = 1, SNUG_VALUE_DATA_SHAPE = 2 } snug_value_flags;

// A model input or output; `flags` are snug_value_flags. Data is dense row-major, aligned to `alignment` bytes where it is an arena or weight;
// caller-owned tensors need only their element's alignment.
typedef struct snug_value_info {
  const char *name;
  uint32_t kind; // snug_value_kind
  snug_dtype dtype;
  int32_t rank;
  uint32_t flags;
  const snug_extent *extents; // [rank]
} snug_value_info;

// Of an input or output of which each device of a mesh has a part: the dim that is cut along each of the mesh's axes, or -1, and
// its extent as a whole. The device at place i of n along the axis has part i of n equal ones; where both axes cut one dim, axis 1
// cuts the parts of axis 0, so that the device at (i, j) of n x m has part i m + j.
typedef struct snug_value_cut {
  int32_t dim[2];
  int64_t extent[2];
} snug_value_cut;

// A dim that is no extent: element `element` of the integer input `input` is its value.
typedef struct snug_value_dim {
  uint32_t dim, input;
  uint64_t element;
} snug_value_dim;

// Of an output that is a sequence of maps (ONNX's ZipMap): the keys, of one kind; the other pointer is NULL. The output is a
// tensor [maps, count]; the map in a row has the element in column k under key k.
typedef struct snug_map_keys {
  uint32_t output, reserved;
  uint64_t count;
  const int64_t *ints;
  const snug_string *strings;
} snug_map_keys;

// A kernel computes iterations [lo, hi) of its outermost parallel dim. `args` is the launch's argument array (pointers
// and sizes as 64-bit integers, read-only); args[-1] is the launch's index in snug_model_header.launches. `thread` in
// [0, num_threads) selects the thread-private scratch. Kernels never fail, allocate or call back.
typedef void (*snug_kernel_fn)(const int64_t *args, int64_t lo, int64_t hi, int64_t thread);

// What kernels ask of the runtime about strings, in words of 8 bytes: a string has two (data, size), a number one, a
// float as the bits of a double. In front of the arrow are the operands, behind it the results.
typedef enum snug_text_op {
  SNUG_TEXT_COMPARE = 0,     // two strings -> -1, 0 or 1, by their bytes
  SNUG_TEXT_CONCAT = 1,      // two strings -> string
  SNUG_TEXT_FROM_INT = 2,    // integer -> string
  SNUG_TEXT_FROM_UINT = 3,   // unsigned integer -> string
  SNUG_TEXT_FROM_FLOAT = 4,  // float of that many bits of mantissa -> string, the shortest that reads back
  SNUG_TEXT_TO_INT = 5,      // string, least and largest -> integer
  SNUG_TEXT_TO_UINT = 6,     // string, largest -> unsigned integer
  SNUG_TEXT_TO_FLOAT = 7,    // string -> float
  SNUG_TEXT_FULL_MATCH = 8,  // string, regular expression of RE2 -> 1 where all of the string matches, else 0
  SNUG_TEXT_LOWER = 9,       // string -> string
  SNUG_TEXT_UPPER = 10,      // string -> string
  SNUG_TEXT_PIECE = 11,      // string, delimiter (empty: white space), most splits (-1: any) -> its first piece, what is
                             // behind the delimiter, whether there is a piece (0, 1), whether there may be another
  SNUG_TEXT_AT_MOST = 12,    // number of pieces, most that there is room for -> the smaller one; fails where it is that
  SNUG_TEXT_DECODE_IMAGE = 13, // an encoded image, where its pixels go, SNUG_PIXELS_*, height, width -> 1; fails, and gives
                             // 0, where it is no image of that size
  SNUG_TEXT_MATCH = 14,      // string, regular expression of RE2, least number of characters, byte to begin at -> the next longest
                             // match of that many characters, the byte behind it, whether there is one (0, 1)
  SNUG_TEXT_IMAGE_SIZE = 15, // an encoded image, largest height and width -> height, width; fails, and gives 0 and 0, where it is
                             // no image or larger
} snug_text_op;

typedef enum snug_pixel_format { SNUG_PIXELS_RGB = 0, SNUG_PIXELS_BGR = 1, SNUG_PIXELS_GRAYSCALE = 2 } snug_pixel_format;

// What the devices of a group do together: those that differ in their indices of the collective's mesh axes only, g of them,
// in order of rank. All of them do the same collectives in the same order. Buffers are dense and do not overlap, but in an
// all-reduce, where both may be the same.
typedef enum snug_collective_kind {
  SNUG_ALL_REDUCE = 0,     // count elements -> count: element i is combined over the group
  SNUG_REDUCE_SCATTER = 1, // g * count -> count: the device at place r of the group gets part r of what is combined
  SNUG_ALL_GATHER = 2,     // count -> g * count: part r is what the device at place r sent
  SNUG_ALL_TO_ALL = 3,     // g * count -> g * count: part r goes to the device at place r; part r of the result came from it
  SNUG_SHIFT = 4,          // count -> count: what the device before this one in the group sent; the first gets the last one's
} snug_collective_kind;

typedef enum snug_reduction {
  SNUG_REDUCE_SUM = 0,
  SNUG_REDUCE_MAX = 1,
  SNUG_REDUCE_MIN = 2,
  SNUG_REDUCE_PROD = 3,
} snug_reduction;

typedef struct snug_collective_info {
  uint32_t kind;      // snug_collective_kind
  uint32_t axes;      // bit 0: the mesh's first axis, bit 1: its second; 3: all devices
  uint32_t reduction; // snug_reduction, of those that combine
  snug_dtype dtype;
  const char *nodes; // names of the ONNX nodes that need it, separated by ", "
} snug_collective_info;

// Where a model computes. The host program is code for the CPU in any case.
typedef enum snug_device_kind { SNUG_DEVICE_CPU = 0, SNUG_DEVICE_CUDA = 1 } snug_device_kind;

// A kernel of a model for a GPU, under its name in the image. Its parameters are num_args values of 8 bytes each: addresses,
// integers, or floats in the low bytes. Blocks and grids are one-dimensional.
typedef struct snug_gpu_kernel {
  const char *name;
  uint32_t threads;      // of a block
  uint32_t shared_bytes; // dynamic shared memory of a block, beside what the image says of static
  uint32_t num_args;
  uint32_t reserved;
} snug_gpu_kernel;

// A contraction that a library may do in a kernel's place: of each instance of a batch,
//   d = activation(alpha a b + beta c + bias),
// all sums in f32 or f64, never in a shorter type, of operands as they are but with SNUG_CONTRACTION_TF32. Without spatial dims it is
// a product op(a) op(b) of matrices whose columns are contiguous (a row-major matrix is a transposed one), and bias has an element for
// each row of d; with 1 to 3 of them it is the convolution of a with the filters b, not turned around and without padding, and bias has
// an element for each filter.
typedef enum snug_contraction_flags {
  SNUG_CONTRACTION_TRANSPOSE_A = 1, // op(a) is a transposed; of products only, as the next one
  SNUG_CONTRACTION_TRANSPOSE_B = 2,
  SNUG_CONTRACTION_BIAS = 4,
  SNUG_CONTRACTION_RELU = 8,  // max(x, 0)
  SNUG_CONTRACTION_GELU = 16, // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  SNUG_CONTRACTION_TF32 = 32, // operands of f32 may be rounded to tf32 (10 bits of mantissa)
} snug_contraction_flags;
typedef struct snug_contraction {
  snug_dtype operands, result; // of a and b; of c, d and bias
  uint32_t flags;              // snug_contraction_flags
  uint32_t spatial;            // dims of a convolution beside instances and channels; 0: a product
  double alpha, beta; // with a beta of 0 there is no c
} snug_contraction;

// Of one launch of a product. d has m x n elements, op(a) m x k, op(b) k x n.
typedef struct snug_contraction_shape {
  int64_t m, n, k, batch;
  int64_t ld_a, ld_b, ld_c, ld_d;                 // elements from a column to the next one
  int64_t stride_a, stride_b, stride_c, stride_d; // from an instance of the batch to the next one; 0: all have the same
  int64_t a, b, c, d, bias, workspace;            // addresses; 0: there is none
} snug_contraction_shape;

// Of one launch of a convolution: of each filter f, of channels / groups channels,
//   (a b)[n, f, o] = sum over c, w of a[n, first channel of f's group + c, o * step + w * dilation] b[f, c, w],
// where o, w and the like stand for an index along each spatial dim. Dims that it does not have are of extent 1.
typedef struct snug_convolution_shape {
  int64_t batch, channels, filters, groups; // channels and filters: of all groups
  int64_t in[3], window[3], out[3], step[3], dilation[3];
  // Elements from an index to the next one: of instances (of b: filters), channels (of b: of a group), spatial dims.
  int64_t strides_a[5], strides_b[5], strides_c[5], strides_d[5];
  int64_t a, b, c, d, bias, workspace; // as above
} snug_convolution_shape;

// Where the weights of one device are.
typedef struct snug_rank_weights {
  const char *file; // as snug_model_header.weights_file
  uint64_t offset;
  const char *id;
} snug_rank_weights;

// What the runtime offers to a running model.
typedef struct snug_runtime_table {
  uint32_t abi_version;
  uint32_t struct_size;
  // Runs kernel over [0, extent), split in contiguous ranges of at least `grain` iterations; returns when all is done.
  // A range starts at a multiple of `grain`, so results do not depend on the number of threads.
  void (*parallel_for)(void *state, snug_kernel_fn kernel, const int64_t *args, int64_t extent, int64_t grain);
  // Does `op` (snug_text_op) for the launch of that number. Any thread. It never fails: what cannot be done gives empty
  // strings and zeros, and the run is reported as failed once it has ended.
  void (*text)(void *text_state, int64_t op, int64_t launch, const int64_t *operands, int64_t *results);
  void *text_state;
  // Does collective `number` of snug_model_header.collectives; returns when `recv` is written. The thread that runs the
  // model. It never fails: once a peer is lost, this and all later ones do nothing, and the run is reported as failed when
  // it has ended. NULL for a model without a mesh.
  void (*collective)(void *comm_state, int64_t number, const void *send, void *recv, int64_t count);
  void *comm_state;
  // Begins what `collective` does, and `wait` returns when that is done. Between the two nobody writes to `send` or looks at
  // `recv`; others may be started and done meanwhile, but this one not again. All devices start and wait in the same order.
  // The thread that runs the model; errors as with `collective`.
  void (*start)(void *comm_state, int64_t number, const void *send, void *recv, int64_t count);
  void (*wait)(void *comm_state, int64_t number);
  // Of a model for a GPU: starts launch number `launch` of snug_model_header.launches, which is `kernel` of gpu_kernels on
  // `blocks` blocks, in order behind what the run started before; with no blocks nothing is done. `args` are the kernel's
  // parameters, and copied. The thread that runs the model. It never fails: once a launch could not be started, later ones do
  // nothing, and the run is reported as failed. NULL for a CPU model.
  void (*launch)(void *device_state, int64_t launch, int64_t kernel, int64_t blocks, const int64_t *args);
  void *device_state;
  // Of a model for a GPU whose course depends on data: waits for what the run has started, and returns the `bytes` (1 to 8) at an
  // address of the device, the others 0. All are 0 once something has failed.
  int64_t (*read)(void *device_state, const void *address, int64_t bytes);
  // As `launch`, but that a library may do `contraction` of snug_model_header.contractions instead, of that shape: of a product a
  // snug_contraction_shape, of a convolution a snug_convolution_shape. NULL for a model without any.
  void (*contract)(void *device_state, int64_t launch, int64_t contraction, const void *shape, int64_t kernel, int64_t blocks,
                   const int64_t *args);
} snug_runtime_table;

// Of a model for a GPU, arena, weights, inputs and outputs are addresses on its device: arena and weights 256-byte aligned, the
// others to SNUG_GPU_TENSOR_ALIGNMENT. The extents of data_shapes are there, too, next to each other.
#define SNUG_GPU_TENSOR_ALIGNMENT 16
typedef struct snug_run_args {
  const snug_runtime_table *runtime;
  void *runtime_state;     // first argument of each runtime call
  uint8_t *arena;          // arena_need(dims), arena_alignment
  const uint8_t *weights;  // weights_bytes, 64-byte aligned (of a GPU 256), read-only
  const int64_t *dims;     // [num_dims] actual values, checked by the caller against snug_dim_info
  void *const *inputs;     // [num_inputs] dense data; must not alias outputs or arena, nor an overwritten one others
  // [num_outputs + num_data_shapes] dense data; after the outputs themselves the actual extents, int64, of those that
  // snug_model_header.data_shapes lists
  void *const *outputs;
  const int64_t *mesh_index; // [2] of this device along the mesh's axes; NULL for a model without a mesh
} snug_run_args;

// All byte counts are for the largest dims; what a run needs grows monotonically with dims (see arena_need).
typedef struct snug_memory_info {
  uint64_t weights_bytes; // bytes of the weights blob
  uint64_t arena_bytes;
  uint64_t arena_alignment;
  uint64_t library_bytes; // what the libraries that the runtime calls need besides; of a GPU, with 8 for each extent of data_shapes
  uint64_t input_bytes, output_bytes;
} snug_memory_info;

// One launch of the host program, in program order; one inside of a loop runs with every iteration.
typedef struct snug_launch_info {
  const char *kernel; // name of the kernel, e.g. "contract_3"; launches of equal kernels share it
  const char *nodes;  // names of the ONNX nodes that it computes, separated by ", "
} snug_launch_info;

typedef struct snug_model_header {
  uint32_t abi_version; // the oldest that serves the library
  uint32_t struct_size; // sizeof(snug_model_header) of the compiler
  const char *snug_version;
  const char *model_name;
  const char *target; // as given to --target, e.g. "cpu"
  uint32_t num_dims, num_inputs, num_outputs;
  uint32_t num_threads; // planned; a run may use fewer
  const snug_dim_info *dims;
  const snug_value_info *inputs, *outputs;
  snug_memory_info memory;
  // Weights: embedded (`weights_data` != NULL) or a .safetensors file named `weights_file` (base name) beside the
  // library, whose data section starts with the blob at `weights_offset` bytes from the start of the file.
  // `weights_id` is the 16-digit hexadecimal content hash stored in the file's __metadata__ as "snug_weights_id".
  const uint8_t *weights_data;
  const char *weights_file;
  uint64_t weights_offset;
  const char *weights_id;
  // Writes all extents of all inputs, then of all outputs, concatenated, for the given dims.
  void (*shapes)(const int64_t *dims, int64_t *extents);
  // Runs the model. Thread-safe as long as no two runs share arena or outputs.
  void (*run)(const snug_run_args *args);
  uint32_t num_launches, num_requirements;
  const snug_launch_info *launches;
  // Bytes of the arena that a run with these dims uses; never more than for larger dims. NULL: memory.arena_bytes always.
  uint64_t (*arena_need)(const int64_t *dims);
  // What has to hold between the dims of a run, beside their ranges: texts ("h + 2 >= kernel"), and a function that
  // returns the number of the first that does not, or num_requirements. The caller of `shapes` and `run` checks that.
  const char *const *requirements;
  uint32_t (*unmet)(const int64_t *dims);
  // Outputs with SNUG_VALUE_DATA_SHAPE, in order, and dims that are elements of inputs.
  uint32_t num_data_shapes, num_value_dims;
  const uint32_t *data_shapes;
  const snug_value_dim *value_dims;
  // Bytes that strings made by a run may have in all, in memory of the context's that is part of memory.library_bytes.
  uint64_t text_bytes;
  // Keys of the outputs that are sequences of maps.
  uint32_t num_maps, reserved;
  const snug_map_keys *maps;
  // Devices along the two axes of the mesh that the model is cut for; 0 where it is for one device. Rank r is at
  // (r / mesh[1], r % mesh[1]). Tensors, sizes and the memory above are those of one device.
  uint32_t mesh[2];
  uint32_t num_collectives, reserved_mesh;
  const snug_collective_info *collectives;
  const snug_rank_weights *rank_weights; // [mesh[0] * mesh[1]]; weights_data and weights_file are NULL then
  // [num_inputs] and [num_outputs], or NULL where each device has all of them. The extents in `inputs`, `outputs` and `shapes`
  // are those of one device.
  const snug_value_cut *input_cuts, *output_cuts;
  // Where it computes (snug_device_kind). Of a GPU: the kernels that launches name, and the image that has them, in a form that
  // its driver loads (of CUDA a fat binary).
  uint32_t device;
  uint32_t num_gpu_kernels;
  const snug_gpu_kernel *gpu_kernels;
  const uint8_t *gpu_image;
  uint64_t gpu_image_bytes;
  // What libraries may do, and the bytes of the arena (a part of memory.arena_bytes) in which they work, one call at a time.
  uint64_t workspace_bytes;
  uint32_t num_contractions, reserved_contractions;
  const snug_contraction *contractions;
  // In which type products of f32 are made: "f32", or "tf32" where operands are rounded to that.
  const char *precision;
} snug_model_header;

// Returns NULL when the library cannot serve a reader of at most `max_abi_version`.
typedef const snug_model_header *(*snug_model_query_fn)(uint32_t max_abi_version);

#ifdef __cplusplus
}
#endif
#endif
