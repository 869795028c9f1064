snug_add_dialect(Nn nn SOURCES NnDialect.cpp NnOps.cpp INTERFACES IndexRuleInterface)
