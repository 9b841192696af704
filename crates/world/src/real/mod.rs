//! The doors of production.
