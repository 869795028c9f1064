snug_add_dialect(Mesh mesh SOURCES MeshDialect.cpp MeshOps.cpp INTERFACES CollectiveInterface LINK SnugNn)
