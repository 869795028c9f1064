# snug_compile(TARGET MODEL [OUTPUT FILE] [OPTIONS FLAG...])
#
# A target that compiles the ONNX file MODEL with snugc and the given flags, as in
#   snug_compile(gpt2 gpt2.onnx OPTIONS --dim batch=1 --dim seq=1..4096 --activation-budget 40MiB)
# It is compiled again when the model or its external data change. FILE is by default TARGET.so in the current binary
# folder; the target's property SNUG_LIBRARY has its path, and large weights lie beside it as FILE.safetensors. Models are
# loaded at run time (snug_model_load), not linked, so a program that needs one says add_dependencies(program TARGET).
function(snug_compile target model)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "OUTPUT" "OPTIONS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "snug_compile(${target}): unknown arguments ${arg_UNPARSED_ARGUMENTS}; flags stand behind OPTIONS")
  endif()
  cmake_path(ABSOLUTE_PATH model BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} NORMALIZE)
  if(NOT arg_OUTPUT)
    set(arg_OUTPUT ${target}.so)
  endif()
  cmake_path(ABSOLUTE_PATH arg_OUTPUT BASE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} NORMALIZE OUTPUT_VARIABLE library)
  cmake_path(GET library FILENAME name)
  set(depfile ${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/${target}.${name}.d)
  add_custom_command(OUTPUT ${library}
    COMMAND Snug::snugc ${model} -o ${library} --depfile ${depfile} ${arg_OPTIONS}
    DEPENDS ${model} Snug::snugc
    DEPFILE ${depfile}
    COMMENT "Compiling ${name} with snugc"
    VERBATIM)
  add_custom_target(${target} ALL DEPENDS ${library})
  set_target_properties(${target} PROPERTIES SNUG_LIBRARY ${library})
endfunction()
