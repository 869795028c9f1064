# find_package(Snug): targets Snug::runtime (to link) and Snug::snugc (the compiler), and the function snug_compile.
include(CMakeFindDependencyMacro)
find_dependency(dlpack CONFIG)
include(${CMAKE_CURRENT_LIST_DIR}/SnugTargets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/SnugCompile.cmake)
