// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_NNOPS
#define SNUG_DIALECTS_NN_NNOPS

include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/DestinationStyleOpInterface.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Dialect/Linalg/IR/LinalgInterfaces.td"
include "dialects/nn/IndexRuleInterface.td"

def Nn_Dialect : Dialect {
  let name = "snug_nn";
  let cppNamespace = "::snug::nn";
  let summary = "What linalg cannot say as one kernel";
  let description = [{
    Each op of this dialect is one kernel in destination-passing style: it reads `ins`, writes every element of `outs`
    (but for snug_nn.scatter, which keeps what it does not write) and, on tensors, returns them. The same ops stand on tensors before memory planning and on memrefs after it.

    Floats narrower than f32 (f16, bf16) are a way of storing elements: a kernel extends what it loads, computes in f32
    and rounds what it stores, once. So operands of one op may be stored in different types.
  }];
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    // Attaches bufferization models; called by registerNnDialect.
    void registerInterfaces();
  }];
}

class Nn_Attr<string name, string attrMnemonic> : AttrDef<Nn_Dialect, name> { let mnemonic = attrMnemonic; }

// --- weights ------------------------------------------------------------------------------------------------------

def Nn_TransposeAttr : Nn_Attr<"RecipeTranspose", "transpose"> {
  let summary = "Recipe step: permute dims, result dim i is source dim permutation[i]";
  let parameters = (ins ArrayRefParameter<"int64_t">:$permutation);
  let assemblyFormat = "`<` `[` $permutation `]` `>`";
}
def Nn_ReshapeAttr : Nn_Attr<"RecipeReshape", "reshape"> {
  let summary = "Recipe step: same elements in row-major order, another shape";
  let parameters = (ins ArrayRefParameter<"int64_t">:$shape);
  let assemblyFormat = "`<` `[` $shape `]` `>`";
}
def Nn_SliceAttr : Nn_Attr<"RecipeSlice", "slice"> {
  let summary = "Recipe step: a dense slice of stride 1";
  let parameters = (ins ArrayRefParameter<"int64_t">:$offsets, ArrayRefParameter<"int64_t">:$sizes);
  let assemblyFormat = "`<` `[` $offsets `]` `,` `[` $sizes `]` `>`";
}
def Nn_ShardAttr : Nn_Attr<"RecipeShard", "shard"> {
  let summary = "Recipe step: of each segment of a dim, the part of this device along an axis of the mesh";
  let description = [{
    Segments are lengths that add up to the dim's extent, each a multiple of the number n of devices along the axis. The
    device at place i keeps part i of n of each; its parts stand in the order of the segments. One segment is a plain cut, and
    is filled up with zeros to a multiple of all devices of the mesh where it is no multiple of n; the columns of query, key and
    value in one matrix are three.
  }];
  let parameters = (ins "int64_t":$dim, "int64_t":$axis, ArrayRefParameter<"int64_t">:$segments);
  let assemblyFormat = "`<` $dim `,` $axis `,` `[` $segments `]` `>`";
}
def Nn_PackAttr : Nn_Attr<"RecipePack", "pack"> {
  let summary = "Recipe step: K x N to ceil(N / width) x K x width panels, zero filled; the form contractions read";
  let parameters = (ins "int64_t":$width);
  let assemblyFormat = "`<` $width `>`";
}

def Nn_DataOp : Op<Nn_Dialect, "data", [Symbol]> {
  let summary = "A model's constant, as a reference into a file";
  let description = [{
    `length` bytes at `offset` of `file` (a path as the model names it, relative to the model's folder) in ONNX's raw
    little-endian row-major form, or, for small ones, `value`. Data is never copied into IR beyond `value`.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttr:$type, OptionalAttr<StrAttr>:$file,
                       OptionalAttr<I64Attr>:$offset, OptionalAttr<I64Attr>:$length, OptionalAttr<ElementsAttr>:$value);
  let assemblyFormat = "$sym_name `:` $type attr-dict";
}

def Nn_WeightOp : Op<Nn_Dialect, "weight", [Pure]> {
  let summary = "A constant, made from a snug_nn.data by a recipe that is evaluated by streaming at link";
  let description = [{
    The recipe's steps (transpose, reshape, slice, shard, pack) apply in order to the data. Read-only and resident: it is no
    part of the arena. On memrefs it is the address of the packed form in the weights blob.
  }];
  let arguments = (ins FlatSymbolRefAttr:$data, DefaultValuedAttr<ArrayAttr, "{}">:$recipe);
  let results = (outs AnyTypeOf<[AnyRankedTensor, AnyMemRef]>:$result);
  let assemblyFormat = "$data (`recipe` $recipe^)? attr-dict `:` type($result)";
}

// --- kernels ------------------------------------------------------------------------------------------------------

def Nn_Shaped : AnyTypeOf<[AnyRankedTensor, AnyStridedMemRef]>;

class Nn_KernelOp<string mnemonic, list<Trait> traits = [], list<string> ruleMethods = []>
    : Op<Nn_Dialect, mnemonic, !listconcat([
        DestinationStyleOpInterface,
        DeclareOpInterfaceMethods<IndexRuleOpInterface, ruleMethods>,
        DeclareOpInterfaceMethods<MemoryEffectsOpInterface>], traits)> {
  let results = (outs Variadic<AnyRankedTensor>:$results);
}

def Nn_ContractOp : Nn_KernelOp<"contract", [SingleBlockImplicitTerminator<"YieldOp">], ["mayOverwrite"]> {
  let summary = "Contraction of two operands with an elementwise epilogue";
  let description = [{
    init[c(i)] = epilogue(sum over reduction dims of a[a(i)] * b[b(i)], epilogue_ins[e(i)]...). `indexing_maps` are the
    maps of a, b, the epilogue inputs and the destination over `iterator_types` (linalg's "parallel", "reduction"), all
    projected permutations, but that a may be read through windows (2 * row + tap); there is a reduction dim, exactly
    one with `packed`, at least one dim in b and the destination but not in a (n), any number of dims in a and the
    destination (m) and in all three (batch). The sum is accumulated in f32 or f64 from zero, in an order that depends on
    the reduction dims alone. The region's block takes the sum and one scalar an epilogue input, as it is stored.

    With `packed`, b is a weight in panels (n floordiv width, k, n mod width) and its map still speaks of the logical
    dims (k, n).

    `few_rows` (m) or `few_columns` (n) say that the op as a whole has only few of them, for targets with a kernel for that
    (snug-select-forms). Slices of the op keep it, so the order of a sum does not depend on how the op was cut.

    ```mlir
    %r = snug_nn.contract ins(%x, %w : tensor<1x?x768xf32>, tensor<24x768x32xf32>) epilogue(%b : tensor<768xf32>)
        outs(%e : tensor<1x?x768xf32>) {packed, indexing_maps = [...], iterator_types = ["parallel", ...]} {
    ^bb0(%acc: f32, %bias: f32):
      %0 = arith.addf %acc, %bias : f32
      snug_nn.yield %0 : f32
    } -> tensor<1x?x768xf32>
    ```
  }];
  let arguments = (ins Nn_Shaped:$a, Nn_Shaped:$b, Variadic<Nn_Shaped>:$epilogue_ins, Nn_Shaped:$init,
                       AffineMapArrayAttr:$indexing_maps, StrArrayAttr:$iterator_types, UnitAttr:$packed,
                       UnitAttr:$few_rows, UnitAttr:$few_columns);
  let regions = (region SizedRegion<1>:$epilogue);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); }
    ::mlir::SmallVector<::mlir::AffineMap> getMaps();
  }];
  let assemblyFormat = [{
    `ins` `(` $a `,` $b `:` type($a) `,` type($b) `)` (`epilogue` `(` $epilogue_ins^ `:` type($epilogue_ins) `)`)?
    `outs` `(` $init `:` type($init) `)` attr-dict-with-keyword $epilogue (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_YieldOp : Op<Nn_Dialect, "yield", [Pure, Terminator, ParentOneOf<["ContractOp", "AttentionOp", "ScalarKernelOp", "ScatterOp"]>]> {
  let summary = "Ends the region of a kernel";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ /* only for the implicit terminator; the verifier wants one value */ }]>];
}

def Nn_SoftmaxOp : Nn_KernelOp<"softmax", [], ["mayOverwrite"]> {
  let summary = "exp(x - max x) / sum exp(x - max x) along the last dim";
  let arguments = (ins Nn_Shaped:$input, Nn_Shaped:$init, DefaultValuedAttr<F32Attr, "1.0f">:$scale);
  let extraClassDeclaration = [{ ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); } }];
  let assemblyFormat = [{
    `ins` `(` $input `:` type($input) `)` `outs` `(` $init `:` type($init) `)` attr-dict (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_NormLayer : I32EnumAttrCase<"Layer", 0, "layer">;
def Nn_NormRms : I32EnumAttrCase<"Rms", 1, "rms">;
def Nn_NormKind : I32EnumAttr<"NormKind", "kind of normalization", [Nn_NormLayer, Nn_NormRms]> {
  let cppNamespace = "::snug::nn";
}

def Nn_NormOp : Nn_KernelOp<"norm", [AttrSizedOperandSegments], ["mayOverwrite"]> {
  let summary = "Normalization over the last dim, with optional scale and shift";
  let description = [{
    layer: (x - mean) / sqrt(variance + epsilon); rms: x / sqrt(mean(x * x) + epsilon); times `scale`, plus `shift`
    (both of the last dim's length). Moments are accumulated in f32 in two passes over the row.
  }];
  let arguments = (ins Nn_Shaped:$input, Optional<Nn_Shaped>:$scale, Optional<Nn_Shaped>:$shift, Nn_Shaped:$init,
                       Nn_NormKind:$kind, F32Attr:$epsilon);
  let extraClassDeclaration = [{ ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); } }];
  let assemblyFormat = [{
    $kind `ins` `(` $input `:` type($input) `)` (`scale` `(` $scale^ `:` type($scale) `)`)?
    (`shift` `(` $shift^ `:` type($shift) `)`)? `outs` `(` $init `:` type($init) `)` attr-dict (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_GatherOp : Nn_KernelOp<"gather"> {
  let summary = "Slices of data along one dim, chosen by indices, or weighted sums of some";
  let description = [{
    result[d0..d(axis-1), i0..iq, d(axis+1)..] = data[d0..d(axis-1), indices[i0..iq], d(axis+1)..]. Negative indices
    count from the end; an index outside the dim reads the nearest element (ONNX leaves it undefined).

    With `weights`, of the shape of `indices`, the last dim of both is one of taps, which the result lacks: it is the sum
    over t of weights[i0..iq, t] * data[.., indices[i0..iq, t], ..], in the order of t, as interpolations are.
  }];
  let arguments = (ins Nn_Shaped:$data, Nn_Shaped:$indices, Optional<Nn_Shaped>:$weights, Nn_Shaped:$init, I64Attr:$axis);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); }
    // How many of the result's dims indices choose along.
    int64_t getNumChosenDims() {
      return ::mlir::cast<::mlir::ShapedType>(getIndices().getType()).getRank() - (getWeights() ? 1 : 0);
    }
  }];
  let assemblyFormat = [{
    `ins` `(` $data `,` $indices `:` type($data) `,` type($indices) `)` (`weights` `(` $weights^ `:` type($weights) `)`)?
    `outs` `(` $init `:` type($init) `)` `axis` `=` $axis attr-dict (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_AttentionOp : Nn_KernelOp<"attention",
    [AttrSizedOperandSegments, SingleBlockImplicitTerminator<"YieldOp">], ["placeSlice"]> {
  let summary = "softmax(score(q k^T)) v, streamed over the keys";
  let description = [{
    Iteration dims are (batch..., s, t, d, e): any number of batch dims (batch, query head...), query row, key row, head
    size, value size. `indexing_maps` of q, k, v, the score inputs and the destination give each operand dim as a bare
    iteration dim, the constant 0 (broadcast), or an affine expression of batch dims: transposes around attention fold
    away, and grouped queries read key head `h floordiv group`.

    The region makes the score of one (row, key) pair from q k^T at that pair and one scalar a score input; it asks for
    its place by snug_nn.index. Scale, bias, masks and soft caps are all said there. With `zero_if_masked` a row whose
    softmax is NaN (all of its scores are -inf) gives 0. No S x T tensor ever exists.

    With `stats` each row's largest score (-inf where there is none) and the sum of exp(score - largest) are results, too,
    before the last one, in f32. Attentions of a row to several sets of keys become the one to all of them by these.

    `few_rows` says that the op as a whole has few query rows, as snug_nn.contract's. With `in_parts`, which has `stats` and
    `few_rows`, the last batch dim counts parts of the keys, of which each row has results and statistics of its own: part p of n
    attends to keys [p * ceil(t / n), (p + 1) * ceil(t / n)).

    ```mlir
    %r = snug_nn.attention ins(%q, %k, %v : tensor<2x8x?x64xf32>, tensor<2x2x?x64xf32>, tensor<2x2x?x64xf32>)
        score(%bias : tensor<8x?x?xf32>) outs(%e : tensor<2x?x8x64xf32>)
        attributes {indexing_maps = [affine_map<(b, h, s, t, d, e) -> (b, h, s, d)>,
                                     affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, d)>,
                                     affine_map<(b, h, s, t, d, e) -> (b, h floordiv 4, t, e)>,
                                     affine_map<(b, h, s, t, d, e) -> (h, s, t)>,
                                     affine_map<(b, h, s, t, d, e) -> (b, s, h, e)>]} {
    ^bb0(%qk: f32, %b: f32):
      %scaled = arith.mulf %qk, %scale : f32
      %biased = arith.addf %scaled, %b : f32
      %s = snug_nn.index 2
      %t = snug_nn.index 3
      %seen = arith.cmpi sle, %t, %s : index
      %score = arith.select %seen, %biased, %minusInfinity : f32
      snug_nn.yield %score : f32
    } -> tensor<2x?x8x64xf32>
    ```
  }];
  let arguments = (ins Nn_Shaped:$q, Nn_Shaped:$k, Nn_Shaped:$v, Variadic<Nn_Shaped>:$score_ins,
                       Optional<Nn_Shaped>:$max, Optional<Nn_Shaped>:$total, Nn_Shaped:$init,
                       AffineMapArrayAttr:$indexing_maps, UnitAttr:$zero_if_masked, UnitAttr:$few_rows,
                       UnitAttr:$in_parts);
  let regions = (region SizedRegion<1>:$score);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() {
      unsigned inits = getMax() ? 3 : 1;
      return ::mlir::MutableOperandRange(getOperation(), getNumOperands() - inits, inits);
    }
    ::mlir::SmallVector<::mlir::AffineMap> getMaps();
    // Positions of the iteration dims.
    unsigned getNumBatchDims() { return getMaps()[0].getNumDims() - 4; }
    unsigned rowDim() { return getNumBatchDims(); }
    unsigned keyDim() { return getNumBatchDims() + 1; }
    unsigned headSizeDim() { return getNumBatchDims() + 2; }
    unsigned valueSizeDim() { return getNumBatchDims() + 3; }
    ::std::optional<unsigned> partDim() {
      return getInParts() ? ::std::optional<unsigned>(getNumBatchDims() - 1) : ::std::nullopt;
    }
    // Whether each of these indices may stand in an operand's map.
    static bool isSupportedAccess(::llvm::ArrayRef<::mlir::AffineExpr> indices, unsigned numBatchDims);
  }];
  let assemblyFormat = [{
    `ins` `(` $q `,` $k `,` $v `:` type($q) `,` type($k) `,` type($v) `)` (`score` `(` $score_ins^ `:` type($score_ins) `)`)?
    (`stats` `(` $max^ `,` $total `:` type($max) `,` type($total) `)`)?
    `outs` `(` $init `:` type($init) `)` attr-dict-with-keyword $score (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

// --- work of few rows for many ------------------------------------------------------------------------------------

def Nn_PartialReduceOp : Nn_KernelOp<"partial_reduce", [AttrSizedOperandSegments, LinalgStructuredInterface], ["placeSlice"]> {
  let summary = "The reductions of a linalg.generic, each in parts side by side";
  let description = [{
    What a linalg.generic with these maps and this region computes, but that the last iteration dim, a parallel one, is the first dim
    of each destination and of nothing else: it counts parts. A part is what some of a reduction's terms come to, started from the
    neutral element of what the region combines them with (never from what the destination holds), and each term is in one part.
    Which terms are in which part, and in what order, depends on the number of parts and on the extents of the reduced dims alone,
    and is a target's to say, so these are never cut. A reduction over the parts gives what the linalg.generic does.

    Each output is combined by one op whose order may be chosen (lib/analysis/Combiners.h).

    ```mlir
    // The sum of 1000000 elements in 244 parts.
    %p = snug_nn.partial_reduce ins(%x : tensor<1000000xf32>) outs(%e : tensor<244xf32>) attributes
        {indexing_maps = [affine_map<(i, p) -> (i)>, affine_map<(i, p) -> (p)>], iterator_types = ["reduction", "parallel"]} {
    ^bb0(%a: f32, %sum: f32):
      %next = arith.addf %a, %sum fastmath<reassoc> : f32
      linalg.yield %next : f32
    } -> tensor<244xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$inputs, Variadic<Nn_Shaped>:$inits, AffineMapArrayAttr:$indexing_maps,
                       StrArrayAttr:$iterator_types);
  let regions = (region SizedRegion<1>:$region);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitsMutable(); }
    unsigned partDim() { return getIteratorTypes().size() - 1; }
    ::mlir::SmallVector<::mlir::utils::IteratorType> getIteratorTypesArray();
    // What the interface of linalg's ops asks for.
    ::mlir::Block *getBody() { return &getRegion().front(); }
    bool hasIndexSemantics();
    std::string getLibraryCallName() { return "op_has_no_registered_library_name"; }
    static std::function<void(::mlir::ImplicitLocOpBuilder &, ::mlir::Block &, ::llvm::ArrayRef<::mlir::NamedAttribute>,
                              ::llvm::function_ref<::mlir::InFlightDiagnostic()>)>
    getRegionBuilder() {
      return nullptr;
    }
  }];
  let assemblyFormat = [{
    (`ins` `(` $inputs^ `:` type($inputs) `)`)? `outs` `(` $inits `:` type($inits) `)` attr-dict-with-keyword $region
    (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_ScanSum : I32EnumAttrCase<"Sum", 0, "sum">;
def Nn_ScanProduct : I32EnumAttrCase<"Product", 1, "product">;
def Nn_ScanKind : I32EnumAttr<"ScanKind", "what a scan combines by", [Nn_ScanSum, Nn_ScanProduct]> {
  let cppNamespace = "::snug::nn";
}

def Nn_ScanOp : Nn_KernelOp<"scan", [], ["mayOverwrite"]> {
  let summary = "Sums or products of what stands before each element along one dim";
  let description = [{
    result[.., i, ..] = input[.., 0, ..] + ... + input[.., i, ..], up to and without i where it is `exclusive`, from the other end
    where it is `reverse`. Narrow floats are combined in f32 and each result is rounded once. Integers wrap.
  }];
  let arguments = (ins Nn_Shaped:$input, Nn_Shaped:$init, Nn_ScanKind:$kind, I64Attr:$dim, UnitAttr:$exclusive, UnitAttr:$reverse);
  let extraClassDeclaration = [{ ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitMutable(); } }];
  let assemblyFormat = [{
    $kind `ins` `(` $input `:` type($input) `)` `outs` `(` $init `:` type($init) `)` `dim` `=` $dim attr-dict
    (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_TopKOp : Nn_KernelOp<"top_k"> {
  let summary = "The largest or smallest elements of each row in order, and their places";
  let description = [{
    Rows lie along `dim`; as many elements are kept as the destinations have there, at most all of a row, which is a sort. Of equal
    elements the one that stands first comes first. NaN is taken for the largest number, as NumPy and PyTorch do, and -0 is
    equal to 0. Integers are signed, but for those that are `is_unsigned`.
  }];
  let arguments = (ins Nn_Shaped:$input, Nn_Shaped:$values, Nn_Shaped:$places, I64Attr:$dim, UnitAttr:$largest, UnitAttr:$is_unsigned);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return ::mlir::MutableOperandRange(getOperation(), 1, 2); }
  }];
  let assemblyFormat = [{
    `ins` `(` $input `:` type($input) `)` `outs` `(` $values `,` $places `:` type($values) `,` type($places) `)` `dim` `=` $dim
    attr-dict (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_ScalarKernelOp : Nn_KernelOp<"scalar_kernel",
    [AttrSizedOperandSegments, SingleBlockImplicitTerminator<"YieldOp">], ["placeSlice", "mayOverwrite"]> {
  let summary = "A kernel given by its scalar code: sorts, scans, reads anywhere";
  let description = [{
    For what no map of indices says, because an index is data, or because steps follow each other. The region is executed
    once a point of the parallel iteration dims, which are its arguments, in any order; what it does there is in order.
    It reads and writes elements of operands, which it names by their numbers (`snug_nn.load`, `snug_nn.store`), and must
    write every element of each destination before it reads it. A destination whose result nobody uses is scratch memory.

    `indexing_maps` tell of each dim of an operand whether it is indexed by one of the parallel dims, and by nothing else,
    or by a dim behind these, which the region indexes as it likes and which is never cut. The arguments may be used as
    indices of operands along their dims only; a point's place as a number is snug_nn.index.

    The first destination may take over the buffers of the inputs that `overwrites` lists: a point reads nothing of them
    that another one writes, nor anything that it has written itself.

    Loops of a point whose steps do not depend on each other are `scf.parallel`, of one dim: no step reads what another one
    stores, or stores where another one does. What they find out together is reduced by `scf.reduce`: the largest or
    smallest of f32 (arith.maximumf, arith.minimumf), i32 or i64 (arith.maxsi, arith.minsi), or the sum of such integers
    (arith.addi). They do not stand in each other, and a kernel that has one has no `overwrites`. On a GPU a point of such
    a kernel is a block's work: its threads share the steps of each of these loops, and do all else alike.

    ```mlir
    // Sums along rows.
    %r = snug_nn.scalar_kernel ins(%x : tensor<4x?xf32>) outs(%e : tensor<4x?xf32>)
        attributes {indexing_maps = [affine_map<(b, n) -> (b, n)>, affine_map<(b, n) -> (b, n)>], overwrites = array<i64: 0>} {
    ^bb0(%b: index):
      %n = snug_nn.extent 0, 1
      %sum = scf.for %i = %c0 to %n step %c1 iter_args(%s = %zero) -> f32 {
        %v = snug_nn.load 0[%b, %i] : f32
        %next = arith.addf %s, %v : f32
        snug_nn.store %next, 1[%b, %i] : f32
        scf.yield %next : f32
      }
      snug_nn.yield
    } -> tensor<4x?xf32>
    ```
  }];
  let arguments = (ins Variadic<Nn_Shaped>:$ins, Variadic<Nn_Shaped>:$inits, AffineMapArrayAttr:$indexing_maps,
                       DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$overwrites);
  let regions = (region SizedRegion<1>:$body);
  let extraClassDeclaration = [{
    ::mlir::MutableOperandRange getDpsInitsMutable() { return getInitsMutable(); }
    ::mlir::SmallVector<::mlir::AffineMap> getMaps();
    unsigned getNumParallelDims() { return getBody().front().getNumArguments(); }
    bool hasParallelLoop(); // within a point
  }];
  let assemblyFormat = [{
    (`ins` `(` $ins^ `:` type($ins) `)`)? `outs` `(` $inits `:` type($inits) `)` attr-dict-with-keyword $body
    (`->` type($results)^)?
  }];
  let hasVerifier = 1;
}

def Nn_LoadOp : Op<Nn_Dialect, "load", [MemoryEffects<[MemRead]>]> {
  let summary = "An element of an operand of the enclosing scalar kernel, floats in the type that is computed in";
  let arguments = (ins ConfinedAttr<I64Attr, [IntMinValue<0>]>:$number, Variadic<Index>:$indices);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$number `[` $indices `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Nn_StoreOp : Op<Nn_Dialect, "store", [MemoryEffects<[MemWrite]>]> {
  let summary = "Sets an element of a destination of the enclosing scalar kernel; floats are rounded to what it stores";
  let arguments = (ins AnyType:$value, ConfinedAttr<I64Attr, [IntMinValue<0>]>:$number, Variadic<Index>:$indices);
  let assemblyFormat = "$value `,` $number `[` $indices `]` attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def Nn_ExtentOp : Op<Nn_Dialect, "extent", [Pure]> {
  let summary = "The extent of a dim of an operand of the enclosing scalar kernel";
  let arguments = (ins ConfinedAttr<I64Attr, [IntMinValue<0>]>:$number, ConfinedAttr<I64Attr, [IntMinValue<0>]>:$dim);
  let results = (outs Index:$result);
  let assemblyFormat = "$number `,` $dim attr-dict";
  let hasVerifier = 1;
}

def Nn_IndexOp : Op<Nn_Dialect, "index", [Pure]> {
  let summary = "The place along one iteration dim of the enclosing attention (batch, row or key) or scalar kernel (parallel)";
  let arguments = (ins ConfinedAttr<I64Attr, [IntMinValue<0>]>:$dim);
  let results = (outs Index:$result);
  let assemblyFormat = "$dim attr-dict";
  let hasVerifier = 1;
}

#endif
