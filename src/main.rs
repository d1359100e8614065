//! The `dlite` binary.

fn main() {}
