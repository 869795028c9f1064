snug_add_dialect(Nn nn SOURCES Floats.cpp NnDialect.cpp NnOps.cpp IndexRule.cpp IndexRuleModels.cpp ScalarKernel.cpp INTERFACES IndexRuleInterface)
