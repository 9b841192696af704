//! Black-box, interop and regression tests.
