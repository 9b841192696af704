//! Simulated world, workloads and checkers.
