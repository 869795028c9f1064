snug_add_dialect(Onnx onnx SOURCES OnnxDialect.cpp OnnxOps.cpp)
