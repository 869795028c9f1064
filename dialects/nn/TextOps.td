// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_TEXTOPS
#define SNUG_DIALECTS_NN_TEXTOPS

include "dialects/nn/NnOps.td"
include "dialects/nn/TextKind.td"

def Nn_TextOp : Op<Nn_Dialect, "text", [NoMemoryEffect]> {
  let summary = "What the runtime does with strings for the enclosing scalar kernel";
  let description = [{
    A string is an i128: the address of its bytes and, in the upper half, their number. All else is an i64; of a float it
    has the bits of an f64. Which operands and results a kind has is documented with snug_text_op. Strings that it makes
    live until the next run. Where it fails the run is reported as failed, so it is not to be executed speculatively.

    Example: `%order = snug_nn.text compare(%a, %b) : (i128, i128) -> i64`
  }];
  let arguments = (ins Nn_TextKind:$kind, Variadic<AnyTypeOf<[I64, I<128>]>>:$operands);
  let results = (outs Variadic<AnyTypeOf<[I64, I<128>]>>:$results);
  let extraClassDeclaration = [{
    // One letter an operand or result of the kind: s a string, n a number.
    static ::llvm::StringRef operandsOf(TextKind kind);
    static ::llvm::StringRef resultsOf(TextKind kind);
    // Whether it needs room for strings.
    static bool makesStrings(TextKind kind);
  }];
  let assemblyFormat = "$kind `(` $operands `)` attr-dict `:` functional-type($operands, $results)";
  let hasVerifier = 1;
}

def Nn_TextBytesOp : Op<Nn_Dialect, "text_bytes", [NoMemoryEffect]> {
  let summary = "An operand of the enclosing scalar kernel, of elements of a byte each, as a string";
  let description = [{
    For snug_nn.text, which may write into it where the operand is a destination.
  }];
  let arguments = (ins ConfinedAttr<I64Attr, [IntMinValue<0>]>:$number);
  let results = (outs I<128>:$bytes);
  let assemblyFormat = "$number attr-dict";
  let hasVerifier = 1;
}

#endif
