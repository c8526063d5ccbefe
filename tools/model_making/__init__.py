"""The library of tools/make_models."""
