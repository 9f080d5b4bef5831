"""Encoders and decoders, by what their latents are: a vector, a grid, features."""
