// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_NN_TEXTKIND
#define SNUG_DIALECTS_NN_TEXTKIND

include "mlir/IR/EnumAttr.td"

// The numbers are those of snug_text_op in include/snug/ModelABI.h.
def Nn_TextCompare : I32EnumAttrCase<"Compare", 0, "compare">;
def Nn_TextConcat : I32EnumAttrCase<"Concat", 1, "concat">;
def Nn_TextFromInt : I32EnumAttrCase<"FromInt", 2, "from_int">;
def Nn_TextFromUint : I32EnumAttrCase<"FromUint", 3, "from_uint">;
def Nn_TextFromFloat : I32EnumAttrCase<"FromFloat", 4, "from_float">;
def Nn_TextToInt : I32EnumAttrCase<"ToInt", 5, "to_int">;
def Nn_TextToUint : I32EnumAttrCase<"ToUint", 6, "to_uint">;
def Nn_TextToFloat : I32EnumAttrCase<"ToFloat", 7, "to_float">;
def Nn_TextFullMatch : I32EnumAttrCase<"FullMatch", 8, "full_match">;
def Nn_TextLower : I32EnumAttrCase<"Lower", 9, "lower">;
def Nn_TextUpper : I32EnumAttrCase<"Upper", 10, "upper">;
def Nn_TextPiece : I32EnumAttrCase<"Piece", 11, "piece">;
def Nn_TextAtMost : I32EnumAttrCase<"AtMost", 12, "at_most">;
def Nn_TextDecodeImage : I32EnumAttrCase<"DecodeImage", 13, "decode_image">;
def Nn_TextMatch : I32EnumAttrCase<"Match", 14, "match">;
def Nn_TextImageSize : I32EnumAttrCase<"ImageSize", 15, "image_size">;
def Nn_TextKind : I32EnumAttr<"TextKind", "what is done with strings", [
    Nn_TextCompare, Nn_TextConcat, Nn_TextFromInt, Nn_TextFromUint, Nn_TextFromFloat, Nn_TextToInt, Nn_TextToUint,
    Nn_TextToFloat, Nn_TextFullMatch, Nn_TextLower, Nn_TextUpper, Nn_TextPiece, Nn_TextAtMost,
    Nn_TextDecodeImage, Nn_TextMatch, Nn_TextImageSize]> {
  let cppNamespace = "::snug::nn";
}

#endif
