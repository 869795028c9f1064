snug_add_dialect(Nn nn SOURCES NnDialect.cpp NnOps.cpp IndexRuleModels.cpp INTERFACES IndexRuleInterface)
