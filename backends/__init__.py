"""Backends of isingnpu, one file each; see isingnpu.backend for the protocol."""
