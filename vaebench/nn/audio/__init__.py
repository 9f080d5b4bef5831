"""Waveforms and their spectra, and the autoencoders of both."""
