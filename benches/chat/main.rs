//! Benchmarks of both programs. docs/performance.md has the commands and the method.

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::run();
}
