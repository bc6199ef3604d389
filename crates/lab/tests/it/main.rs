//! The lab's tests, one binary.

mod vectors;
