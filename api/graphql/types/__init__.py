"""The types of the schema, a module for each group of resources."""
