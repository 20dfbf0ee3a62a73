//! The `credenza` command.

fn main() {}
