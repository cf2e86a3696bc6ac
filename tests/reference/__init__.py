"""A second, independent reading of the language, and what compares the engine with it."""
