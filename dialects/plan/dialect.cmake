snug_add_dialect(Plan plan SOURCES PlanDialect.cpp Buckets.cpp)
