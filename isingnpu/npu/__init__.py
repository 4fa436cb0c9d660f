"""Machines of Ising and Potts spins that learn by local two-phase statistics."""
