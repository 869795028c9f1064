snug_add_dialect(Nn nn SOURCES NnDialect.cpp NnOps.cpp IndexRule.cpp IndexRuleModels.cpp INTERFACES IndexRuleInterface)
