"""Tours of adoption: a framework's pgvector provider writes its table, Outrigger serves that table,
and the framework's Qdrant provider reads the same memories through it.
"""
