// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dialect snug_onnx: an ONNX model as it stands in its file, with nothing judged. See README.md for why.

#ifndef SNUG_DIALECTS_ONNX_ONNXOPS_TD
#define SNUG_DIALECTS_ONNX_ONNXOPS_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/CommonAttrConstraints.td"
include "mlir/IR/CommonTypeConstraints.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Onnx_Dialect : Dialect {
  let name = "snug_onnx";
  let cppNamespace = "::snug::onnx";
  let summary = "ONNX models as imported: one generic op, and weights as symbols that refer into files";
  let description = [{
    Holds every ONNX model, of any opset and with operators that Snug does not know, so that import judges nothing and
    one stage (canonicalize) can list all that is unsupported at once.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

class Onnx_Type<string cppName, string keyword> : TypeDef<Onnx_Dialect, cppName> { let mnemonic = keyword; }

def Onnx_UnknownType : Onnx_Type<"Unknown", "unknown"> {
  let summary = "A value whose type the model file does not state";
}

def Onnx_StringType : Onnx_Type<"String", "string"> {
  let summary = "Element type of an ONNX string tensor";
}

def Onnx_SequenceType : Onnx_Type<"Sequence", "sequence"> {
  let summary = "An ONNX sequence";
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}

def Onnx_OptionalType : Onnx_Type<"Optional", "optional"> {
  let summary = "An ONNX optional";
  let parameters = (ins "::mlir::Type":$elementType);
  let assemblyFormat = "`<` $elementType `>`";
}

def Onnx_MapType : Onnx_Type<"Map", "map"> {
  let summary = "An ONNX map";
  let parameters = (ins "::mlir::Type":$keyType, "::mlir::Type":$valueType);
  let assemblyFormat = "`<` $keyType `,` $valueType `>`";
}

def Onnx_SparseType : Onnx_Type<"Sparse", "sparse"> {
  let summary = "An ONNX sparse tensor, by the tensor type it stands for";
  let parameters = (ins "::mlir::Type":$tensorType);
  let assemblyFormat = "`<` $tensorType `>`";
}

def Onnx_OpaqueType : Onnx_Type<"Opaque", "opaque"> {
  let summary = "An ONNX opaque type, by domain and name";
  let parameters = (ins StringRefParameter<>:$domain, StringRefParameter<>:$name);
  let assemblyFormat = "`<` $domain `,` $name `>`";
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

def Onnx_RefAttr : AttrDef<Onnx_Dialect, "Ref"> {
  let mnemonic = "ref";
  let summary = "Inside a model-local function: the attribute of that name of the calling node";
  let description = [{
    `kind` is ONNX's name of the attribute type (`INT`, `FLOATS`, ...). `#snug_onnx.ref<"alpha", "FLOAT">`.
  }];
  let parameters = (ins StringRefParameter<>:$name, StringRefParameter<>:$kind);
  let assemblyFormat = "`<` $name `,` $kind `>`";
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

class Onnx_Op<string mnemonic, list<Trait> traits = []> : Op<Onnx_Dialect, mnemonic, traits>;

def Onnx_NodeOp : Onnx_Op<"node", [DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let summary = "One ONNX node, of any operator";
  let description = [{
    An absent optional input is the value of `snug_onnx.none`; an absent optional output is a result of type `none`.
    `opset` is the version that the model imports for `domain` (0: the model imports none), not the operator's
    since-version. ONNX attributes are in `node_attrs`:

    | ONNX | MLIR |
    |---|---|
    | INT, FLOAT, STRING | `i64` IntegerAttr, `f32` FloatAttr, StringAttr |
    | INTS, FLOATS, STRINGS | DenseI64ArrayAttr, DenseF32ArrayAttr, ArrayAttr |
    | TENSOR, SPARSE_TENSOR | DenseElementsAttr, or the symbol of an initializer (large); SparseElementsAttr |
    | TENSORS, TYPE_PROTO(S), reference | ArrayAttr, TypeAttr, RefAttr |

    Each GRAPH is a region in `bodies`, named by `region_names`; it may use values from outside and ends with
    `snug_onnx.yield`. Results carry the types that the file states, or `!snug_onnx.unknown`: no pass may rely on them.

    ```mlir
    %y = snug_onnx.node "Softmax"(%x) {axis = -1 : i64} opset 13 : (tensor<?x4xf32>) -> tensor<?x4xf32>
    %z = snug_onnx.node "If"(%c) {} opset 13 : (tensor<i1>) -> !snug_onnx.unknown
      body "then_branch" { snug_onnx.yield %x : tensor<?x4xf32> }
      body "else_branch" { snug_onnx.yield %y : tensor<?x4xf32> }
    ```
  }];
  let arguments = (ins
    Variadic<AnyType>:$inputs,
    StrAttr:$op_type,
    DefaultValuedStrAttr<StrAttr, "">:$domain,
    DefaultValuedStrAttr<StrAttr, "">:$overload,
    I64Attr:$opset,
    DictionaryAttr:$node_attrs,
    DefaultValuedAttr<StrArrayAttr, "{}">:$region_names);
  let results = (outs Variadic<AnyType>:$outputs);
  let regions = (region VariadicRegion<SizedRegion<1>>:$bodies);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The ONNX attributes. (ODS reserves the accessor's name, so the argument is called node_attrs.)
    ::mlir::DictionaryAttr getAttributes() { return getNodeAttrs(); }
    /// The ONNX attribute `name`, or null.
    ::mlir::Attribute getNodeAttr(::llvm::StringRef name) { return getNodeAttrs().get(name); }
    /// The same as one C++ type; null if absent or of another type. getNodeAttrOfType<::mlir::IntegerAttr>("axis").
    template <typename T> T getNodeAttrOfType(::llvm::StringRef name) {
      return ::llvm::dyn_cast_or_null<T>(getNodeAttr(name));
    }
    /// The region named `name`, or null.
    ::mlir::Region *getBody(::llvm::StringRef name);
    /// Whether optional input or output `i` is given (false past the end).
    bool hasInput(unsigned i) {
      return i < getInputs().size() && !::llvm::isa<::mlir::NoneType>(getInputs()[i].getType());
    }
    bool hasOutput(unsigned i) {
      return i < getOutputs().size() && !::llvm::isa<::mlir::NoneType>(getOutputs()[i].getType());
    }
    /// "Softmax", or "com.microsoft::Gelu" outside the default domain: how messages name the operator.
    std::string getQualifiedOpType();
    /// Symbol of the model-local function that this node would call: "domain::Name[::overload]". Such a function
    /// takes precedence over an operator of that name.
    std::string getFunctionSymbol();
    /// Symbol of the function by which ONNX's schema defines the operator, where import has added it.
    std::string getSchemaFunctionSymbol();
  }];
}

def Onnx_YieldOp : Onnx_Op<"yield", [Pure, ReturnLike, Terminator, ParentOneOf<["NodeOp"]>]> {
  let summary = "Ends a subgraph with its outputs";
  let description = [{ Its operands are the graph's outputs in order. }];
  let arguments = (ins Variadic<AnyType>:$operands);
  let assemblyFormat = "attr-dict ($operands^ `:` type($operands))?";
}

def Onnx_PinOp : Onnx_Op<"pin", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "A value that is to be in parts on the devices of a mesh";
  let description = [{
    `dims` are those that are cut along the two axes of the mesh, or -1 where the user has not said. It becomes a snug_mesh.pin.
  }];
  let arguments = (ins AnyType:$input, DenseI64ArrayAttr:$dims);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$input `along` $dims attr-dict `:` type($input)";
}

def Onnx_NoneOp : Onnx_Op<"none", [Pure, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let summary = "Stands where a node leaves an optional input out";
  let description = [{ Has the builtin type `none`. }];
  let results = (outs NoneType:$result);
  let assemblyFormat = "attr-dict";
}

def Onnx_InitializerOp : Onnx_Op<"initializer", [Symbol]> {
  let summary = "A constant of the graph, by reference into a file or, when small, by value";
  let description = [{
    `file` is relative to the model's folder and names either an external data file or the model file itself; `offset`
    and `length` are bytes of little-endian row-major elements there (4-bit types: two an element byte, low half
    first). Import has checked them against the file. Otherwise `value` holds the elements.

    ```mlir
    snug_onnx.initializer @w file "model.onnx.data" offset 4096 length 1024 : tensor<16x16xf32>
    snug_onnx.initializer @axes value dense<[0, 1]> : tensor<2xi64>
    ```
  }];
  let arguments = (ins
    SymbolNameAttr:$sym_name,
    TypeAttr:$type,
    OptionalAttr<StrAttr>:$file,
    OptionalAttr<I64Attr>:$offset,
    OptionalAttr<I64Attr>:$length,
    OptionalAttr<ElementsAttr>:$value);
  let assemblyFormat = "$sym_name custom<InitializerData>($type, $file, $offset, $length, $value) attr-dict";
  let hasVerifier = 1;
}

def Onnx_GetOp : Onnx_Op<"get", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>,
                                 DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let summary = "The value of an initializer";
  let description = [{ Its type is the initializer's. }];
  let arguments = (ins FlatSymbolRefAttr:$initializer);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$initializer attr-dict `:` type($result)";
}

#endif // SNUG_DIALECTS_ONNX_ONNXOPS_TD
