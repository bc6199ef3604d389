//! The program `sekisho`.

use std::process::ExitCode;

/// Memory is overwritten when it is given back: keys pass through buffers of HTTP, protobuf and TLS that know nothing
/// of it.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    sekisho::main()
}
