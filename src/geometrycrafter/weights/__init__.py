"""Weights: where they are, how they are read and checked, and the networks built from them."""
