// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#ifndef SNUG_DIALECTS_MESH_COLLECTIVEINTERFACE
#define SNUG_DIALECTS_MESH_COLLECTIVEINTERFACE

include "mlir/IR/OpBase.td"

def CollectiveOpInterface : OpInterface<"CollectiveOpInterface"> {
  let cppNamespace = "::snug::mesh";
  let description = [{ What the devices of a group do together, read alike of all such ops. }];
  let methods = [
    InterfaceMethod<"What is done.", "::snug::mesh::CollectiveKind", "getCollectiveKind">,
    InterfaceMethod<"The mesh axes along which the devices of a group differ, rising.", "::llvm::ArrayRef<int64_t>",
                    "getAxes">,
    InterfaceMethod<"How elements are combined; nullopt where they only move.",
                    "::std::optional<::snug::mesh::Reduction>", "getCombination">,
    InterfaceMethod<"What each device gives.", "::mlir::Value", "getInput">,
    InterfaceMethod<"Where each device's result goes.", "::mlir::Value", "getInit">,
    InterfaceMethod<"Whether it is only started here, and a snug_mesh.wait ends it.", "bool", "getStarts">,
    InterfaceMethod<"", "void", "setStarts", (ins "bool":$starts)>
  ];
}
#endif
